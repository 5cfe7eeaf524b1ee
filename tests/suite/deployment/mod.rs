//! `deploy/`: what a host, a cluster and a composed set of containers are given, each read by the program that is to take it.
//!
//! Nothing here starts a daemon on this machine; what needs an engine or a machine of its own says that it was skipped.

mod boot;
mod chart;
mod container;
mod filters;
mod guest;
mod image;
mod images;
mod install;
mod packaged;
mod packages;
mod pages;
mod syscalls;
mod systemd;

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The capabilities that the product needs, in the order of its documentation.
const CAPABILITIES: [&str; 6] = [
    "CAP_BPF",
    "CAP_PERFMON",
    "CAP_SYS_PTRACE",
    "CAP_DAC_READ_SEARCH",
    "CAP_SYSLOG",
    "CAP_CHECKPOINT_RESTORE",
];

/// A file below `deploy/`.
fn path(name: &str) -> PathBuf {
    profiler_tests::repository().join("deploy").join(name)
}

/// Its text.
fn text(name: &str) -> Result<String> {
    let path = path(name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Runs the Go tests of `tests/peers/MODULE`, which leave what they made at the place that the variable names.
fn go_test(module: &str, variable: &str, place: &Path) -> Result<()> {
    let folder = profiler_tests::repository().join("tests/peers").join(module);
    let mut go = Command::new("go");
    go.args(["test", "-count=1", "./..."]).current_dir(folder).env(variable, place);
    let output = go.output().context("run go test")?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{}", said.join("\n"));
    Ok(())
}
