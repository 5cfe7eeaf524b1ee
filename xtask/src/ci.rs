//! Every check and every test, in order of cost; the same on a laptop as on the machine that guards the branch.
//!
//! Goes on after a failure, so that one run names everything that is wrong.

use crate::workspace::Workspace;
use crate::{dist, ebpf, fuzz, miri, shell, sources, test, tidy, tools, verifier, vm};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// What fails if a check does not hold.
#[derive(Clone, Copy)]
enum Check {
    /// All of it, on every machine.
    Whole(fn(&Workspace) -> Result<()>),
    /// Gives what was left out because the machine lacks something.
    AsFarAsPossible(fn(&Workspace) -> Result<Option<String>>),
}

use Check::{AsFarAsPossible, Whole};

const STEPS: [(&str, Check); 13] = [
    ("eBPF objects fresh", Whole(sources::check_lock)),
    ("format", Whole(format)),
    ("tidy", Whole(tidy::run)),
    ("clippy", Whole(clippy)),
    ("clippy, eBPF", Whole(ebpf::clippy)),
    ("deny", Whole(deny)),
    ("eBPF objects rebuilt", Whole(ebpf::check)),
    ("verifier", Whole(|workspace| verifier::run(workspace, false))),
    ("miri", AsFarAsPossible(miri::run)),
    // Before the tests: they read, install and run what it makes.
    ("dist, this architecture", AsFarAsPossible(dist::run_for_tests)),
    ("tests", Whole(|workspace| test::run(workspace, &[]))),
    ("fuzz", AsFarAsPossible(fuzz::run_shortly)),
    ("guests", AsFarAsPossible(vm::run_in_ci)),
];

/// How a check went.
enum Verdict {
    Passed,
    /// As far as it went: this was left out.
    Partly(String),
    Failed,
}

/// Runs all steps and fails if one did.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut results = Vec::new();
    for (name, check) in STEPS {
        println!("\n== {name}");
        let (took, result) = timed(|| match check {
            Whole(check) => check(workspace).map(|()| None),
            AsFarAsPossible(check) => check(workspace),
        });
        let verdict = match result {
            Ok(None) => Verdict::Passed,
            Ok(Some(left_out)) => Verdict::Partly(left_out),
            Err(error) => {
                println!("== {name} FAILED: {error:#}");
                Verdict::Failed
            }
        };
        results.push((name, took, verdict));
    }
    println!("\n{}", report(&results));
    let failed = results.iter().filter(|(.., verdict)| matches!(verdict, Verdict::Failed));
    let failed: Vec<&str> = failed.map(|(name, ..)| *name).collect();
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

fn report(results: &[(&str, Duration, Verdict)]) -> String {
    let line = |(name, took, verdict): &(&str, Duration, Verdict)| {
        let seconds = took.as_secs();
        match verdict {
            Verdict::Passed => format!("ok     {seconds:>5} s  {name}"),
            Verdict::Partly(left_out) => format!("PARTLY {seconds:>5} s  {name}: {left_out}"),
            Verdict::Failed => format!("FAILED {seconds:>5} s  {name}"),
        }
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
        let results = [
            ("format", Duration::from_secs(2), Verdict::Passed),
            ("tests", Duration::from_secs(600), Verdict::Failed),
            ("miri", Duration::from_secs(0), Verdict::Partly("skipped: no nightly".to_owned())),
        ];
        expect_test::expect![[r#"
            ok         2 s  format
            FAILED   600 s  tests
            PARTLY     0 s  miri: skipped: no nightly
                     602 s  together"#]]
        .assert_eq(&report(&results));
    }
}
