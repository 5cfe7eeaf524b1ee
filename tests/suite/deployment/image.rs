//! The image that `cargo xtask dist` writes without an engine, run by one: Podman starts it, and it samples from inside with
//! the capabilities of the chart and nothing else.

use super::container::PROFILE;
use super::path;
use crate::containers::podman::Podman;
use anyhow::{Context, Result, ensure};
use profiler_tests::{Workload, dist_folder, machine_or_skip, skip, test_name, tool_or_skip};
use std::process::{Command, Output};

/// Podman's name of the image, if it was made.
fn image() -> Option<String> {
    let layout = dist_folder().join("oci");
    layout.is_dir().then(|| format!("oci:{}:{}", layout.display(), env!("CARGO_PKG_VERSION")))
}

/// Runs the image with options and arguments, to its end.
fn run(podman: &Podman, image: &str, options: &[&str], args: &[&str]) -> Result<Output> {
    let mut run: Command = podman.command();
    run.args(["run", "--rm", "--network=none"]);
    run.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]);
    run.args(options).arg(image).args(args).output().context("run podman")
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn podman_runs_it_and_it_samples() -> Result<()> {
    tool_or_skip!("podman");
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let Some(image) = image() else {
        return skip(test_name!(), "there is no image: run `cargo xtask dist`");
    };
    let podman = Podman::new()?;
    let version = run(&podman, &image, &[], &["--version"])?;
    ensure!(version.status.success(), "{}", said(&version));
    ensure!(version.stdout.starts_with(b"flamekeeper "), "{}", said(&version));

    let burning = Workload::build("c_frame_pointers")?.start()?;
    let pid = burning.pid().to_string();
    let seccomp = format!("seccomp={}", path(PROFILE).display());
    let capabilities = format!("--cap-add={}", super::CAPABILITIES.join(","));
    // With it the runtime filters system calls last, and need not pass the filter itself.
    let no_new = "--security-opt=no-new-privileges";
    let options =
        ["--pid=host", "--read-only", "--cap-drop=all", &capabilities, no_new, "--security-opt", &seccomp];
    let args =
        ["record", "-F", "499", "-d", "1s", "-p", &pid, "--cache-dir", "", "--format", "folded", "-o", "-"];
    let recorded = run(&podman, &image, &options, &args)?;
    ensure!(recorded.status.success(), "{}: {}", recorded.status, said(&recorded));
    ensure!(said(&recorded).contains("main;outer;inner;burn_seventy"), "{}", said(&recorded));
    Ok(())
}
