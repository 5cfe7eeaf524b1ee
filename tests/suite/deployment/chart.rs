//! The Helm chart: Helm and the API's types are asked in Go (`tests/peers/chart`), the daemon and a container here.

use anyhow::{Context, Result, ensure};
use profiler_tests::tool_or_skip;
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

/// What the chart makes of each file of values: `NAME.toml` and `NAME.json`, the DaemonSet.
pub(super) struct Rendered {
    folder: TempDir,
}

impl Rendered {
    /// Has all checks of the Go program made on the way.
    pub(super) fn make() -> Result<Self> {
        let folder = TempDir::new()?;
        let output = Command::new("go")
            .args(["test", "-count=1", "./..."])
            .current_dir(profiler_tests::repository().join("tests/peers/chart"))
            .env("FLAMEKEEPER_CHART_OUT", folder.path())
            .output()
            .context("run go test")?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(output.status.success(), "{}", said.join("\n"));
        Ok(Self { folder })
    }

    /// The container of the DaemonSet.
    pub(super) fn container(&self, values: &str) -> Result<Value> {
        let path = self.folder.path().join(format!("{values}.json"));
        let daemon_set: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        Ok(daemon_set["spec"]["template"]["spec"]["containers"][0].clone())
    }
}

#[test]
fn helm_renders_what_kubernetes_takes() -> Result<()> {
    tool_or_skip!("go");
    let rendered = Rendered::make()?;
    let container = rendered.container("defaults")?;
    ensure!(container["name"] == "flamekeeper", "{container}");
    Ok(())
}
