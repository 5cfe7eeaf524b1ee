//! The image and the compose file: read by the engines' own code in Go (`tests/peers/containers`), the image built for
//! real where buildah is, the variables of the agent's service taken by the daemon.

use super::path;
use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, tool_or_skip};
use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn the_daemon_takes_the_variables_of_the_compose_file() -> Result<()> {
    tool_or_skip!("go");
    let folder = TempDir::new()?;
    let file = folder.path().join("variables.json");
    super::go_test("containers", "FLAMEKEEPER_COMPOSE_OUT", &file)?;
    let variables: BTreeMap<String, String> = serde_json::from_slice(&std::fs::read(&file)?)?;
    ensure!(variables.contains_key("FLAMEKEEPER_PUSH_URL"), "{variables:?}");
    let mut check = Capture::plain(["daemon", "--check-config"])?;
    for (name, value) in &variables {
        check = check.env(name, value);
    }
    let checked = check.run()?.expect_code(0)?;
    for value in ["http://pyroscope:4040/", "\"demo\"", "0.0.0.0:4041"] {
        ensure!(checked.stdout_text().contains(value), "{value} is not in force:\n{}", checked.stdout_text());
    }
    Ok(())
}

/// Images and containers of this test alone.
struct Buildah {
    storage: TempDir,
}

impl Buildah {
    /// Without an engine: file systems by copying, no isolation that would need one.
    fn run(&self, args: &[&str]) -> Result<String> {
        let at = |name: &str| self.storage.path().join(name);
        let mut buildah = Command::new("buildah");
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(at("root")).arg("--runroot").arg(at("run"));
        let output = buildah.args(args).output().context("run buildah")?;
        ensure!(output.status.success(), "buildah {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

#[test]
fn the_image_holds_the_binary_and_starts_it() -> Result<()> {
    tool_or_skip!("buildah");
    let buildah = Buildah { storage: tempfile::Builder::new().prefix("flamekeeper-test-").tempdir()? };
    // The static one if it was made; another one has its place in the image, too, but cannot run there.
    let made = profiler_tests::dist_folder().join(ARCH).join("flamekeeper");
    let is_static = made.is_file();
    let context = TempDir::new()?;
    let binary = if is_static { made } else { profiler_tests::flamekeeper()? };
    std::fs::copy(&binary, context.path().join("flamekeeper"))?;
    let dockerfile = path("Dockerfile");
    let (dockerfile, context) = (text_of(&dockerfile)?, text_of(context.path())?);
    buildah.run(&[
        "build",
        "--isolation",
        "chroot",
        "--file",
        dockerfile,
        "--tag",
        "flamekeeper:test",
        context,
    ])?;
    let config = buildah.run(&["inspect", "--type", "image", "flamekeeper:test"])?;
    let config: serde_json::Value = serde_json::from_str(&config)?;
    let config = &config["OCIv1"]["config"];
    ensure!(config["Entrypoint"][0] == "/flamekeeper" && config["Cmd"][0] == "daemon", "{config}");
    ensure!(config["User"] == "0:0", "{config}");
    let container = buildah.run(&["from", "flamekeeper:test"])?;
    let root = buildah.run(&["mount", &container])?;
    let files: Vec<_> =
        std::fs::read_dir(&root)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(files == ["flamekeeper"], "{files:?}");
    if is_static {
        let version = Command::new("chroot").arg(&root).args(["/flamekeeper", "--version"]).output()?;
        ensure!(version.status.success(), "{}", String::from_utf8_lossy(&version.stderr));
        ensure!(version.stdout.starts_with(b"flamekeeper "), "{:?}", version.stdout);
    }
    buildah.run(&["umount", &container])?;
    buildah.run(&["rm", &container])?;
    Ok(())
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
