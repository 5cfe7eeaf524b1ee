//! Every check and every test, in order of cost; the same on a laptop as on the machine that guards the branch.
//!
//! Goes on after a failure, so that one run names everything that is wrong.

use crate::workspace::Workspace;
use crate::{ebpf, shell, sources, test, tidy, tools, verifier};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// One check: its name, and what fails if it does not hold.
type Step = (&'static str, fn(&Workspace) -> Result<()>);

const STEPS: [Step; 9] = [
    ("eBPF objects fresh", sources::check_lock),
    ("format", format),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("clippy, eBPF", ebpf::clippy),
    ("deny", deny),
    ("eBPF objects rebuilt", ebpf::check),
    ("verifier", |workspace| verifier::run(workspace, false)),
    ("tests", |workspace| test::run(workspace, &[])),
];

/// Runs all steps and fails if one did.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut results = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let (took, result) = timed(|| step(workspace));
        if let Err(error) = &result {
            println!("== {name} FAILED: {error:#}");
        }
        results.push((name, took, result.is_ok()));
    }
    println!("\n{}", report(&results));
    let failed: Vec<&str> = results.iter().filter(|(.., passed)| !passed).map(|(name, ..)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "host.rs owns the product's clocks; this one only times the checks"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn report(results: &[(&str, Duration, bool)]) -> String {
    let line = |(name, took, passed): &(&str, Duration, bool)| {
        format!("{} {:>5} s  {name}", if *passed { "ok    " } else { "FAILED" }, took.as_secs())
    };
    let total: Duration = results.iter().map(|(_, took, _)| *took).sum();
    let mut lines: Vec<String> = results.iter().map(line).collect();
    lines.push(format!("       {:>5} s  together", total.as_secs()));
    lines.join("\n")
}

fn format(workspace: &Workspace) -> Result<()> {
    shell::run(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--locked", "--workspace", "--exclude", "profiler-ebpf", "--all-targets"]);
    shell::run(clippy.args(["--", "-D", "warnings"]))
}

/// Advisories are left out: they change without a change of ours.
fn deny(workspace: &Workspace) -> Result<()> {
    let deny = tools::cargo_deny(workspace)?;
    shell::run(workspace.command(deny).args(["--locked", "check", "bans", "licenses", "sources"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_a_line_for_each_step_and_the_sum() {
        let results = [("format", Duration::from_secs(2), true), ("tests", Duration::from_secs(600), false)];
        expect_test::expect![[r#"
            ok         2 s  format
            FAILED   600 s  tests
                     602 s  together"#]]
        .assert_eq(&report(&results));
    }
}
