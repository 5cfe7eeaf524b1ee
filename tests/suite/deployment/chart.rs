//! The Helm chart: Helm and the API's types are asked in Go (`tests/peers/chart`), the daemon and a container here.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, tool_or_skip};
use serde_json::Value;
use tempfile::TempDir;

/// What the chart makes of each file of values: `NAME.toml` and `NAME.json`, the DaemonSet.
pub(super) struct Rendered {
    folder: TempDir,
}

impl Rendered {
    /// Has all checks of the Go program made on the way.
    pub(super) fn make() -> Result<Self> {
        let folder = TempDir::new()?;
        super::go_test("chart", "FLAMEKEEPER_CHART_OUT", folder.path())?;
        Ok(Self { folder })
    }

    /// The container of the DaemonSet.
    pub(super) fn container(&self, values: &str) -> Result<Value> {
        let path = self.folder.path().join(format!("{values}.json"));
        let daemon_set: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        Ok(daemon_set["spec"]["template"]["spec"]["containers"][0].clone())
    }
}

/// The daemon itself reads what the chart writes; the Secrets that it names are not on this machine.
#[test]
fn the_daemon_takes_every_configuration() -> Result<()> {
    tool_or_skip!("go");
    let rendered = Rendered::make()?;
    let mut taken = 0;
    for entry in std::fs::read_dir(rendered.folder.path())? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let check = Capture::plain([
            "daemon".into(),
            "--check-config".into(),
            "--config".into(),
            path.into_os_string(),
        ])?
        .run()?;
        let said = check
            .stderr
            .lines()
            .filter(|line| !line.contains("/etc/flamekeeper-secrets/") && !line.contains("warning:"));
        let said: Vec<&str> = said.collect();
        let secrets = check.stderr.contains("/etc/flamekeeper-secrets/");
        ensure!(
            said.is_empty() && check.code == Some(if secrets { 64 } else { 0 }),
            "{:?}: {said:?}",
            check.code
        );
        taken += 1;
    }
    ensure!(taken >= 5, "{taken} configurations");
    Ok(())
}

/// The variables of the pod are keys of the daemon, which a mistyped one would not be.
#[test]
fn the_daemon_takes_the_variables_of_the_pod() -> Result<()> {
    tool_or_skip!("go");
    let container = Rendered::make()?.container("defaults")?;
    let variables = container["env"].as_array().context("no variables")?;
    let names: Vec<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    ensure!(names.len() == 2, "{names:?}");
    let mut check = Capture::plain(["daemon", "--check-config"])?;
    for name in &names {
        check = check.env(name, "node-7");
    }
    let checked = check.run()?.expect_code(0)?;
    for name in names {
        let in_force = |line: &str| line.contains("\"node-7\"") && line.ends_with(name);
        ensure!(checked.stdout_text().lines().any(in_force), "{name}:\n{}", checked.stdout_text());
    }
    Ok(())
}

#[test]
fn helm_renders_what_kubernetes_takes() -> Result<()> {
    tool_or_skip!("go");
    let rendered = Rendered::make()?;
    let container = rendered.container("defaults")?;
    ensure!(container["name"] == "flamekeeper", "{container}");
    Ok(())
}
