//! Every test that this host can run, on the release binary, and a list of what was skipped and why.
//!
//! Installs the packages that the tests need, builds the binary once, and leaves the rest to `cargo test`, whose
//! output passes through. A test that cannot run here appends a line to the file named by `FLAMEKEEPER_SKIP_LOG`.

use crate::packages;
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::thread::available_parallelism;

/// Captures take turns; more threads than this only make the other tests disturb them.
const MAX_TEST_THREADS: usize = 4;

/// Runs the tests; `args` goes to `cargo test` as it is.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    packages::install_missing(workspace)?;
    shell::run(workspace.cargo().args(["build", "--release", "--locked", "--package", "profiler-user"]))?;

    let skip_log = workspace.target().join("skipped-tests.txt");
    match fs::remove_file(&skip_log) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", skip_log.display()));
        }
        _ => {}
    }
    let mut test = workspace.cargo();
    test.args(["test", "--locked", "--no-fail-fast"]);
    if !names_a_package(args) {
        test.args(["--workspace", "--exclude", "profiler-ebpf"]);
    }
    test.args(args);
    test.env("FLAMEKEEPER_BIN", workspace.target().join("release/flamekeeper"));
    test.env("FLAMEKEEPER_SKIP_LOG", &skip_log);
    if env::var_os("RUST_TEST_THREADS").is_none() {
        let threads = available_parallelism().map_or(1, |cores| cores.get().min(MAX_TEST_THREADS));
        test.env("RUST_TEST_THREADS", threads.to_string());
    }
    let result = shell::run(&mut test);

    let log = match fs::read_to_string(&skip_log) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("read {}", skip_log.display()))?,
    };
    println!("\n{}", summary(&log, packages::is_root()));
    result
}

/// Whether the caller chose the packages, which cargo refuses together with `--workspace`.
fn names_a_package(args: &[String]) -> bool {
    let own = args.iter().take_while(|arg| *arg != "--");
    own.into_iter().any(|arg| arg == "--package" || arg.starts_with("--package=") || arg.starts_with("-p"))
}

/// The skipped tests, by reason.
fn summary(log: &str, is_root: bool) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in log.lines() {
        let Some((test, reason)) = line.strip_prefix("SKIPPED: ").and_then(|rest| rest.split_once(": "))
        else {
            continue;
        };
        by_reason.entry(reason).or_default().push(test);
    }
    if by_reason.is_empty() {
        return "skipped: nothing".to_owned();
    }
    let mut text = format!("skipped: {} tests", by_reason.values().map(Vec::len).sum::<usize>());
    for (reason, tests) in by_reason {
        text += &format!("\n  {reason}\n    {}", tests.join("\n    "));
    }
    if !is_root {
        text += "\nRoot runs more of them: sudo --preserve-env=PATH,HOME cargo xtask test";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_listed_by_reason() {
        let log = "SKIPPED: suite::a: needs root\nSKIPPED: suite::js: node is not installed\n\
                   noise\nSKIPPED: suite::b: needs root\n";
        expect_test::expect![[r#"
            skipped: 3 tests
              needs root
                suite::a
                suite::b
              node is not installed
                suite::js
            Root runs more of them: sudo --preserve-env=PATH,HOME cargo xtask test"#]]
        .assert_eq(&summary(log, false));
    }

    #[test]
    fn nothing_skipped_is_said_too() {
        assert_eq!(summary("", true), "skipped: nothing");
    }

    #[test]
    fn a_package_behind_the_dashes_is_the_test_binary_s_business() {
        let args = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(names_a_package(&args(&["-p", "xtask"])));
        assert!(names_a_package(&args(&["--package=xtask", "tidy"])));
        assert!(!names_a_package(&args(&["tidy", "--", "-p"])));
    }
}
