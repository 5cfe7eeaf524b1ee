//! The rights that the DaemonSet gives are enough: a capture in a real container that has them and nothing else.
//!
//! runc makes it as a node's runtime would: the capabilities and the read-only root of the chart, the seccomp profile
//! beside it, no user of its own, the host's process ids.

use super::{chart::Rendered, text};
use anyhow::{Context, Result, ensure};
use profiler_tests::{Machine, Workload, machine_or_skip, tool_or_skip};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(super) const PROFILE: &str = "kubernetes/seccomp/flamekeeper.json";

/// A bundle that runc runs; the machine's programs and libraries are its image.
struct Bundle {
    folder: TempDir,
}

impl Bundle {
    /// `flamekeeper` with these arguments, and the rights of this container of a pod.
    fn make(container: &Value, args: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("flamekeeper-test-").tempdir()?;
        for name in ["root/proc", "root/sys", "root/dev", "root/tmp", "state", "spool"] {
            std::fs::create_dir_all(folder.path().join(name))?;
        }
        let program = profiler_tests::flamekeeper()?;
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "nodev", "ro"]}),
            bind(&folder.path().join("spool"), "/var/lib/flamekeeper", "rw"),
            bind(&program, "/flamekeeper", "ro"),
        ];
        mounts.extend(["/lib", "/lib64", "/usr/lib"].map(|path| bind(Path::new(path), path, "ro")));
        let security = &container["securityContext"];
        let granted = security["capabilities"]["add"].as_array().context("it adds no capabilities")?;
        let granted: Vec<String> =
            granted.iter().filter_map(|name| Some(format!("CAP_{}", name.as_str()?))).collect();
        let args: Vec<&str> = std::iter::once("/flamekeeper").chain(args.iter().copied()).collect();
        // No `pid`: hostPID. No `cgroup`: the runtime's choice, and older ones do not have it.
        let namespaces = ["mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": args,
                "cwd": "/",
                "env": ["PATH=/"],
                "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": granted, "effective": granted, "permitted": granted},
                "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
            },
            "root": {"path": "root", "readonly": security["readOnlyRootFilesystem"] == true},
            "mounts": mounts,
            "linux": {
                "namespaces": namespaces,
                "seccomp": serde_json::from_str::<Value>(&text(PROFILE)?)?,
            },
        });
        std::fs::write(folder.path().join("config.json"), config.to_string())?;
        Ok(Self { folder })
    }

    fn run(&self) -> Result<Output> {
        let name = self.folder.path().file_name().context("a folder without a name")?;
        let mut runc = Command::new("runc");
        runc.arg("--root")
            .arg(self.folder.path().join("state"))
            .arg("run")
            .arg("--bundle")
            .arg(self.folder.path());
        runc.arg(name).output().context("run runc")
    }
}

fn bind(source: &Path, destination: &str, access: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", access]})
}

fn in_container(_machine: &Machine, args: &[&str]) -> Result<(Bundle, Output)> {
    let bundle = Bundle::make(&Rendered::make()?.container("defaults")?, args)?;
    let output = bundle.run()?;
    Ok((bundle, output))
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_rights_of_the_chart_are_enough_for_a_capture() -> Result<()> {
    let machine = machine_or_skip!();
    tool_or_skip!("go");
    tool_or_skip!("runc");
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let pid = burning.pid().to_string();
    let file = "/var/lib/flamekeeper/p.folded";
    let args = ["record", "-F", "499", "-d", "1s", "-p", &pid, "--cache-dir", "", "-o", file];
    let (bundle, output) = in_container(&machine, &args)?;
    ensure!(output.status.success(), "{}: {}", output.status, said(&output));
    let folded = std::fs::read_to_string(bundle.folder.path().join("spool/p.folded"))?;
    ensure!(folded.contains("main;outer;inner;burn_seventy"), "{folded}");
    Ok(())
}

#[test]
fn the_rights_of_the_chart_content_doctor() -> Result<()> {
    let machine = machine_or_skip!();
    tool_or_skip!("go");
    tool_or_skip!("runc");
    let (_bundle, output) = in_container(&machine, &["doctor", "--json"])?;
    let verdict: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    let checks = verdict["checks"].as_array().with_context(|| said(&output))?;
    let missing: Vec<_> = checks.iter().filter(|check| check["state"] == "missing").collect();
    ensure!(checks.len() > 8 && missing.is_empty(), "{missing:?}");
    let kernel =
        checks.iter().find(|check| check["title"] == "kernel symbols").with_context(|| said(&output))?;
    ensure!(kernel["state"] == "ok", "{kernel}");
    Ok(())
}
