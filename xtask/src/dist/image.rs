//! Binaries → a container image in the Open Container Initiative's layout, one for all architectures, without an engine.
//!
//! ```text
//!   index.json ─▶ index ─┬▶ manifest, amd64 ─▶ configuration, layer: /flamekeeper and nothing else
//!                        └▶ manifest, arm64 ─▶ …
//! ```
//!
//! Says of itself what `deploy/Dockerfile` says. The same binaries give the same bytes: times are those of the last commit.

use super::architecture::Architecture;
use super::{BINARY, pack};
use crate::folders::fresh_folder;
use crate::shell;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Media types of the image specification 1.1.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A folder in the layout.
pub(super) struct Layout {
    folder: PathBuf,
    /// In seconds since 1970.
    changed_at: String,
}

impl Layout {
    /// An empty one.
    pub(super) fn new(folder: &Path, changed_at: &str) -> Result<Self> {
        let folder = fresh_folder(folder)?;
        fresh_folder(&folder.join("blobs/sha256"))?;
        Ok(Self { folder, changed_at: changed_at.to_owned() })
    }

    /// The image of these architectures, each with the folder that its binary lies in, under the name of the version.
    pub(super) fn fill(&self, version: &str, binaries: &[(Architecture, PathBuf)]) -> Result<()> {
        let manifests: Vec<Value> = binaries
            .iter()
            .map(|(architecture, folder)| {
                let mut manifest = self.manifest(version, *architecture, folder)?;
                manifest["platform"] = json!({"os": "linux", "architecture": architecture.debian()});
                Ok(manifest)
            })
            .collect::<Result<_>>()?;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let mut index = self.blob(INDEX, index.to_string().as_bytes())?;
        index["annotations"] = json!({"org.opencontainers.image.ref.name": version});
        let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index]});
        self.write("index.json", top.to_string().as_bytes())?;
        self.write("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())
    }

    fn manifest(&self, version: &str, architecture: Architecture, folder: &Path) -> Result<Value> {
        let layer = self.layer(folder)?;
        let packed = pack::gzip(&layer)?;
        let created = shell::output(Command::new("date").args([
            "--utc",
            "--date",
            &format!("@{}", self.changed_at),
            "+%FT%TZ",
        ]))?;
        let configuration = json!({
            "created": created.trim(),
            "os": "linux",
            "architecture": architecture.debian(),
            "config": {
                // Capabilities that are added to a container reach a process in it only if it is root.
                "User": "0:0",
                "ExposedPorts": {"4041/tcp": {}},
                "Entrypoint": [format!("/{BINARY}")],
                "Cmd": ["daemon"],
                "Labels": {
                    "org.opencontainers.image.title": BINARY,
                    "org.opencontainers.image.description":
                        "Profiles the CPU time of every process on a Linux host through eBPF",
                    "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
                    "org.opencontainers.image.version": version,
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", shell::sha256(&layer)?)]},
        });
        let configuration = self.blob(CONFIGURATION, configuration.to_string().as_bytes())?;
        let layers = [self.blob(LAYER, &packed)?];
        let manifest = json!(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": configuration, "layers": layers}
        );
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// A tar archive of the binary, as root's.
    fn layer(&self, folder: &Path) -> Result<Vec<u8>> {
        let mut tar = pack::tar(&self.changed_at);
        shell::output_bytes(tar.arg("--mode=0755").arg("--directory").arg(folder).arg(BINARY), &[])
    }

    /// Puts bytes where their sum says, and describes them.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let sum = shell::sha256(bytes)?;
        self.write(&format!("blobs/sha256/{sum}"), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{sum}"), "size": bytes.len()}))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        fs::write(self.folder.join(name), bytes).with_context(|| format!("write {name}"))
    }

    /// All of it in one file, which engines load as it is.
    pub(super) fn pack(&self, file: &Path) -> Result<()> {
        let mut tar = pack::tar(&self.changed_at);
        tar.args([pack::PLAIN_MODES, "--file"]).arg(file);
        shell::output(tar.arg("--directory").arg(&self.folder).args(["blobs", "index.json", "oci-layout"]))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(layout: &Path, digest: &Value) -> Vec<u8> {
        let sum = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = fs::read(layout.join("blobs/sha256").join(sum)).unwrap();
        assert_eq!(shell::sha256(&bytes).unwrap(), sum);
        bytes
    }

    fn parsed(layout: &Path, descriptor: &Value) -> Value {
        let bytes = read(layout, &descriptor["digest"]);
        assert_eq!(descriptor["size"], bytes.len());
        serde_json::from_slice(&bytes).unwrap()
    }

    fn made(binary: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let binaries = Architecture::ALL.map(|architecture| {
            let place = folder.path().join(architecture.name());
            fs::create_dir(&place).unwrap();
            fs::write(place.join(BINARY), binary).unwrap();
            (architecture, place)
        });
        let layout = Layout::new(&folder.path().join("oci"), "86400").unwrap();
        layout.fill("1.2.3", &binaries).unwrap();
        layout.pack(&folder.path().join("image.tar")).unwrap();
        folder
    }

    #[test]
    fn an_image_of_each_architecture_is_found_from_the_top_by_sums() {
        let folder = made(b"a program");
        let layout = folder.path().join("oci");
        let top: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(top["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
        let index = parsed(&layout, &top["manifests"][0]);
        for (at, name) in ["amd64", "arm64"].into_iter().enumerate() {
            let descriptor = &index["manifests"][at];
            assert_eq!(descriptor["platform"]["architecture"], name);
            let manifest = parsed(&layout, descriptor);
            let configuration = parsed(&layout, &manifest["config"]);
            assert_eq!(configuration["architecture"], name);
            assert_eq!(configuration["created"], "1970-01-02T00:00:00Z");
            let packed = read(&layout, &manifest["layers"][0]["digest"]);
            let tar = shell::output_bytes(Command::new("gzip").arg("--decompress"), &packed).unwrap();
            let sum = format!("sha256:{}", shell::sha256(&tar).unwrap());
            assert_eq!(configuration["rootfs"]["diff_ids"][0], sum);
            let list = shell::output_bytes(Command::new("tar").arg("--list"), &tar).unwrap();
            assert_eq!(list, b"flamekeeper\n");
        }
    }

    #[test]
    fn the_same_binaries_make_the_same_image() {
        let pack = |binary| fs::read(made(binary).path().join("image.tar")).unwrap();
        let first = pack(b"a program");
        assert!(first == pack(b"a program"), "other bytes");
        assert!(first != pack(b"b program"), "the binary is not in it");
    }
}
