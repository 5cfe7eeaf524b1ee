//! The targets of `fuzz/` under libFuzzer, each for some seconds; where it cannot be built, the corpus and damages of it.
//!
//! ```text
//!   flags ─▶ target/fuzz/…/fuzzer ─▶ NAME: corpus/NAME, and what earlier runs found ─▶ runs a second, or the input
//! ```
//!
//! Not cargo-fuzz: it would be built first, minutes of it, to pass these flags on. They are stable ones, so the pinned
//! compiler takes them as it is. No AddressSanitizer either, which is not stable: the code under test has no `unsafe`, and
//! its heap is counted exactly by the targets themselves.

use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Counters on every edge, and what comparisons compared: what libFuzzer is guided by.
const COVERAGE_FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// An input that takes longer than 5 s, or a process that grows beyond 256 MiB with the fuzzer's own corpus, is a find.
const BOUNDS: [&str; 3] = ["-timeout=5", "-rss_limit_mb=256", "-max_len=65536"];
/// How often each input is damaged where there is no fuzzer.
const REPLAY_ROUNDS: &str = "1000";
/// Seconds for each target in CI: a regression shows at once, a search is somebody's own run.
const CI_SECONDS: u32 = 10;

/// What to fuzz and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; all of them if absent
    target: Option<String>,
    /// For each target
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,
}

/// Runs what a person asked for, from another seed each time.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let targets = targets(workspace)?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| args.target.as_ref().is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        bail!("no such target; there are {}", targets.join(", "));
    }
    let fuzzer = build(workspace)?;
    chosen.into_iter().try_for_each(|name| fuzz(workspace, &fuzzer, name, args.seconds, None))
}

/// Runs every target shortly, the same way each time. Gives what was left out, and why.
pub(crate) fn run_shortly(workspace: &Workspace) -> Result<Option<String>> {
    let fuzzer = match build(workspace) {
        Ok(fuzzer) => fuzzer,
        Err(error) => {
            println!("fuzz: NO FUZZER, so the corpus and damages of it are all that is run: {error:#}");
            let mut replay = workspace.cargo();
            replay.args(["test", "--locked", "--package", "profiler-fuzz"]);
            shell::run(replay.env("FLAMEKEEPER_FUZZ_ROUNDS", REPLAY_ROUNDS))?;
            return Ok(Some(format!("no fuzzer, only the corpus: {error:#}")));
        }
    };
    let targets = targets(workspace)?;
    targets.iter().try_for_each(|name| fuzz(workspace, &fuzzer, name, CI_SECONDS, Some(1)))?;
    Ok(None)
}

/// Each has a folder in the corpus; `fuzz/tests/replay.rs` checks that the list in the code is the same.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.path("fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    if !["c++", "g++", "clang++"].iter().any(|name| shell::find_program(name).is_some()) {
        bail!("no C++ compiler for libFuzzer");
    }
    let rustc = Rustc::of(workspace)?;
    let folder = workspace.target().join("fuzz");
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--locked",
        "--package",
        "profiler-fuzz",
        "--features",
        "fuzzer",
        "--bin",
        "fuzzer",
    ]);
    // With a target of its own name, so that build scripts and macros are not counted too.
    build.args(["--profile", "fuzz", "--target", &rustc.host, "--target-dir"]).arg(&folder);
    shell::run(build.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE_FLAGS.join("\x1f")))?;
    Ok(folder.join(&rustc.host).join("fuzz/fuzzer"))
}

fn fuzz(workspace: &Workspace, fuzzer: &Path, name: &str, seconds: u32, seed: Option<u32>) -> Result<()> {
    let folder = workspace.target().join("fuzz");
    let (found, failed) = (folder.join("found").join(name), folder.join("failed").join(name));
    for folder in [&found, &failed] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let mut command = workspace.command(fuzzer);
    command.env("FLAMEKEEPER_FUZZ_TARGET", name).args(BOUNDS).arg("-print_final_stats=1");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", failed.display()));
    command.args(seed.map(|seed| format!("-seed={seed}")));
    command.arg(&found).arg(workspace.path("fuzz/corpus").join(name));
    // libFuzzer writes its progress to stderr, which would scroll everything else away.
    let done = command.output().with_context(|| format!("start {}", fuzzer.display()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n");
        bail!("{name} did not stand an input, which lies in {}:\n{last}", failed.display());
    }
    println!("fuzz: {}", summary(name, &said, seconds));
    Ok(())
}

/// `walk         5978585 inputs in 10 s, 2944 of them new, 32 MB`
fn summary(name: &str, said: &str, seconds: u32) -> String {
    let number = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("stat::{key}:")));
        line.map_or("?", str::trim)
    };
    let (runs, new) = (number("number_of_executed_units"), number("new_units_added"));
    format!("{name:<13}{runs:>9} inputs in {seconds} s, {new} of them new, {} MB", number("peak_rss_mb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_what_libfuzzer_counted() {
        let said = "#2\tINITED cov: 9\nstat::number_of_executed_units: 45896\nstat::average_exec_per_sec:     0\n\
                    stat::new_units_added:          771\nstat::peak_rss_mb:              125\n";
        expect_test::expect!["walk             45896 inputs in 10 s, 771 of them new, 125 MB"]
            .assert_eq(&summary("walk", said, 10));
    }
}
