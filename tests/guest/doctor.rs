//! `flamekeeper doctor` in the guest: what it must say of a kernel on which everything is allowed.

use anyhow::{Context, Result, ensure};
use profiler_tests::Capture;
use serde_json::Value;

use crate::outcome::Outcome;

/// Root on a kernel that allows everything: nothing may be missing, and what the product does in place of what the kernel is known
/// to lack (`GUEST_LACKS`, by name, joined by commas) is said.
pub(crate) fn says_what_is_expected() -> Result<Outcome> {
    let captured = Capture::plain(["doctor", "--json"])?.run()?;
    let text = captured.stdout_text();
    let json: Value = serde_json::from_str(&text).with_context(|| captured.stderr.clone())?;
    let checks = json["checks"].as_array().context("no checks")?;
    let not_ok: Vec<String> = checks
        .iter()
        .filter(|check| check["state"] != "ok")
        .map(|check| format!("{} {}: {}", check["id"], check["state"], check["found"]))
        .collect();
    ensure!(captured.code == Some(0), "exit code {:?}: {}\n{text}", captured.code, not_ok.join("; "));
    let lacks = std::env::var("GUEST_LACKS").unwrap_or_default();
    let lacks: Vec<&str> = lacks.split(',').filter(|name| !name.is_empty()).collect();
    let found = |id: &str| {
        let check =
            checks.iter().find(|check| check["id"] == id).with_context(|| format!("no check {id}"))?;
        anyhow::Ok(check["found"].as_str().unwrap_or_default())
    };
    let (walker, attach) = (found("stack_walker")?, found("attach")?);
    let to_walk: Vec<&str> = lacks.iter().copied().filter(|name| name.starts_with("bpf_")).collect();
    let expected = match to_walk.as_slice() {
        [] => "yes, as deep as stacks are kept".to_owned(),
        names => format!("yes, by tail calls ({} missing)", names.join(", ")),
    };
    ensure!(walker.contains(&expected), "walked: {walker:?}, not {expected:?}, without {lacks:?}");
    ensure!(attach.contains("ioctl") == lacks.contains(&"perf_links"), "{attach:?} without {lacks:?}");
    Ok(Outcome::said(json["summary"].as_str().unwrap_or_default()))
}
