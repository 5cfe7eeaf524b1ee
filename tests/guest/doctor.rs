//! `flamekeeper doctor` in the guest: what it must say of a kernel on which everything is allowed.

use anyhow::{Context, Result, ensure};
use profiler_tests::Capture;
use serde_json::Value;

use crate::outcome::Outcome;

/// Root on a kernel with everything that the product wants: nothing may be missing, and nothing lost that the kernel has.
pub(crate) fn says_what_is_expected() -> Result<Outcome> {
    let captured = Capture::plain(["doctor", "--json"])?.run()?;
    let text = captured.stdout_text();
    let json: Value = serde_json::from_str(&text).with_context(|| captured.stderr.clone())?;
    let not_ok: Vec<String> = json["checks"]
        .as_array()
        .context("no checks")?
        .iter()
        .filter(|check| check["state"] != "ok")
        .map(|check| format!("{} {}: {}", check["id"], check["state"], check["found"]))
        .collect();
    ensure!(captured.code == Some(0), "exit code {:?}: {}\n{text}", captured.code, not_ok.join("; "));
    Ok(Outcome::said(json["summary"].as_str().unwrap_or_default()))
}
