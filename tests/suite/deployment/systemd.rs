//! The systemd unit: systemd takes every line of it, it gives what the product needs and nothing else.

use super::{CAPABILITIES, path, text};
use anyhow::{Context, Result, ensure};
use profiler_tests::tool_or_skip;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(super) const UNIT: &str = "systemd/flamekeeper.service";

/// The exposure that the documentation tells, of ten, and the systemd that counted it.
pub(super) const EXPOSURE: &str = "2.5";
const COUNTED_BY: &str = "252";

/// Values of a key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn systemd_analyze(args: &[&str], unit: &std::path::Path) -> Result<Output> {
    Command::new("systemd-analyze").args(args).arg(unit).output().context("run systemd-analyze")
}

/// Major version of this machine's systemd.
fn systemd_version() -> Result<String> {
    let output = Command::new("systemd-analyze").arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().nth(1).map(str::to_owned).context("systemd-analyze tells no version")
}

#[test]
fn systemd_understands_every_line() -> Result<()> {
    tool_or_skip!("systemd-analyze");
    // It looks for the program, which is not installed here.
    let folder = TempDir::new()?;
    let copy = folder.path().join("flamekeeper.service");
    let unit = text(UNIT)?;
    let program = unit.replace("/usr/local/bin/flamekeeper ", "/bin/true ");
    ensure!(program != unit, "the unit starts another program than the documentation installs");
    std::fs::write(&copy, program)?;
    let output = systemd_analyze(&["--man=no", "verify"], &copy)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
    Ok(())
}

#[test]
fn its_exposure_is_what_the_documentation_says() -> Result<()> {
    tool_or_skip!("systemd-analyze");
    let output = systemd_analyze(&["security", "--no-pager", "--offline=true"], &path(UNIT))?;
    let report = String::from_utf8(output.stdout)?;
    let exposure =
        report.lines().find_map(|line| line.split_once("Overall exposure level for flamekeeper.service: "));
    let exposure = exposure.and_then(|(_, rest)| rest.split_whitespace().next()).context(report.clone())?;
    println!("exposure {exposure}");
    ensure!(
        text("README.md")?.contains(&format!("**{EXPOSURE}**")),
        "the documentation tells another exposure"
    );
    // Each release of systemd looks at more; only its own count is comparable.
    let is_worse = exposure.parse::<f64>()? > EXPOSURE.parse::<f64>()?;
    ensure!(!is_worse || systemd_version()? != COUNTED_BY, "{exposure}:\n{report}");
    Ok(())
}

#[test]
fn it_grants_the_six_capabilities_to_a_user_of_its_own() -> Result<()> {
    let unit = text(UNIT)?;
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let granted: Vec<&str> = values(&unit, key).into_iter().flat_map(str::split_whitespace).collect();
        ensure!(granted == CAPABILITIES, "{key} is {granted:?}");
    }
    ensure!(values(&unit, "User") == ["flamekeeper"], "it does not run as flamekeeper");
    let users = text("systemd/flamekeeper.sysusers")?;
    ensure!(
        users.lines().any(|line| line.starts_with("u flamekeeper ")),
        "sysusers makes no such user:\n{users}"
    );
    Ok(())
}

#[test]
fn it_sets_variables_that_the_daemon_reads() -> Result<()> {
    let documented = std::fs::read_to_string(path("../docs/configuration.md"))?;
    let unit = text(UNIT)?;
    let variables: Vec<&str> =
        values(&unit, "Environment").into_iter().filter_map(|set| set.split('=').next()).collect();
    ensure!(!variables.is_empty(), "where the kernel's functions are is not told");
    for variable in variables {
        ensure!(documented.contains(&format!("`{variable}`")), "the daemon reads no {variable}");
    }
    Ok(())
}

#[test]
fn what_stays_off_has_its_reason_beside_it() -> Result<()> {
    let unit = text(UNIT)?;
    let off = ["PrivateUsers=no", "ProcSubset=all", "ProtectProc=default", "ProtectKernelLogs=no"];
    let lines: Vec<&str> = unit.lines().collect();
    for wanted in off {
        let at =
            lines.iter().position(|line| *line == wanted).with_context(|| format!("no line {wanted}"))?;
        let before = at.checked_sub(1).and_then(|at| lines.get(at)).copied().unwrap_or_default();
        ensure!(before.starts_with("# "), "{wanted} has no reason");
    }
    Ok(())
}
