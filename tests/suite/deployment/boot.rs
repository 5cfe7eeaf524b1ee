//! The service under a real systemd: a Debian boots in a virtual machine, follows the instructions, and is asked.

use super::guest::{self, boot};
use super::install::{block, put_checkout};
use super::systemd::EXPOSURE;
use anyhow::{Result, ensure};
use profiler_tests::{machine_or_skip, skip, test_name};
use std::path::Path;

const SCRIPT: &str = include_str!("boot.sh");

/// What the guest has to say, in any order.
const SAID: [&str; 16] = [
    "started active by notify",
    "CapBnd: 000001c400080004",
    "NoNewPrivs: 1",
    "Seccomp: 2",
    "windows written",
    "first process \"executable\":\"/usr/lib/systemd/systemd\"",
    "kernel named",
    "both CPUs",
    "CPU sampled again",
    "CPU sampled again unseen",
    "reloaded same",
    "later active same restarts 0",
    "restarted, Watchdog timeout",
    "stopped, success",
    "last words 1",
    "uninstalled wholly",
];

/// The instructions, and what they begin from.
fn prepare(root: &Path) -> Result<()> {
    put_checkout(root, &profiler_tests::flamekeeper()?)?;
    std::fs::create_dir(root.join("steps"))?;
    for name in ["install", "paranoid", "start", "uninstall"] {
        std::fs::write(root.join("steps").join(name), block(name)?)?;
    }
    Ok(())
}

#[test]
fn the_service_runs_under_systemd() -> Result<()> {
    let root = match guest::root()? {
        Ok(root) => root,
        Err(reason) => return skip(test_name!(), &reason),
    };
    prepare(root.path())?;
    let _machine = machine_or_skip!();
    let console = boot(root.path(), SCRIPT)?;
    println!("{}", console.0);
    console.expect(&SAID)?;
    ensure!(
        console.said(&format!("exposure {EXPOSURE}")),
        "another exposure than the documentation's:\n{}",
        console.0
    );
    ensure!(!console.0.contains("VM: Uid: 0 "), "it is root:\n{}", console.0);
    Ok(())
}
