//! The service under a real systemd: a Debian boots in a virtual machine, follows the instructions, and is asked.
//!
//! ```text
//!   root by mmdebstrap + checkout + boot.sh ──mke2fs──▶ disk ──qemu──▶ lines on the console
//! ```
//!
//! Without hardware help this takes some five minutes on a quiet machine, so it is run when `FLAMEKEEPER_BOOT` is set.

use super::install::{block, debian_root, put_checkout};
use super::systemd::EXPOSURE;
use anyhow::{Context, Result, ensure};
use profiler_tests::{machine_or_skip, skip, test_name, tool_or_skip};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,procps,linux-image-cloud-amd64";

/// Boot, the script and the end; many times what a quiet machine takes.
const SECONDS_MAX: &str = "2400";

const SCRIPT: &str = include_str!("boot.sh");

const UNIT: &str = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nStandardOutput=tty\n\
                    StandardError=tty\nTTYPath=/dev/console\nExecStart=/bin/bash /follow\n[Install]\nWantedBy=multi-user.target\n";

/// What the guest has to say, in any order.
const SAID: [&str; 14] = [
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
];

fn prepare(root: &Path) -> Result<()> {
    put_checkout(root, &profiler_tests::flamekeeper()?)?;
    std::fs::create_dir(root.join("steps"))?;
    for name in ["install", "paranoid", "start", "uninstall"] {
        std::fs::write(root.join("steps").join(name), block(name)?)?;
    }
    std::fs::write(root.join("follow"), SCRIPT)?;
    std::fs::write(root.join("etc/systemd/system/follow.service"), UNIT)?;
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("/etc/systemd/system/follow.service", wants.join("follow.service"))?;
    Ok(())
}

fn kernel(root: &Path) -> Result<PathBuf> {
    let mut kernels = Vec::new();
    for entry in std::fs::read_dir(root.join("boot"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz-") {
            kernels.push(entry.path());
        }
    }
    kernels.pop().context("no kernel in /boot")
}

/// What came over the console.
fn boot(root: &Path) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("flamekeeper-test-").tempdir()?;
    let disk = folder.path().join("disk");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(root)
        .arg(&disk)
        .arg("1500M")
        .stdout(Stdio::null())
        .status()?;
    ensure!(made.success(), "mke2fs: {made}");
    let drive = format!("file={},if=none,id=disk,format=raw", disk.display());
    // Both end with the test, also with one that is interrupted.
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--", "timeout", SECONDS_MAX, "qemu-system-x86_64"])
        .args(["-M", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel(root)?)
        .args(["-append", "console=ttyS0 no_timer_check root=/dev/nvme0n1 rw quiet panic=-1 mitigations=off"])
        .args(["-drive", &drive, "-device", "nvme,drive=disk,serial=disk"])
        .stdin(Stdio::null())
        .output()
        .context("run qemu")?;
    Ok(String::from_utf8_lossy(&output.stdout).replace('\r', ""))
}

#[test]
fn the_service_runs_under_systemd() -> Result<()> {
    if std::env::var_os("FLAMEKEEPER_BOOT").is_none() {
        return skip(test_name!(), "boots a machine, for minutes: set FLAMEKEEPER_BOOT");
    }
    tool_or_skip!("mmdebstrap");
    tool_or_skip!("qemu-system-x86_64");
    tool_or_skip!("mke2fs");
    let root = match debian_root(PACKAGES)? {
        Ok(root) => root,
        Err(reason) => return skip(test_name!(), &reason),
    };
    prepare(root.path())?;
    // It keeps both processors busy.
    let _machine = machine_or_skip!();
    let console = boot(root.path())?;
    println!("{console}");
    // The console's own prompt may stand before a line.
    let said = |line: &str| console.lines().any(|other| other.ends_with(&format!("VM: {line}")));
    for line in SAID {
        ensure!(said(line), "the guest did not say {line:?}:\n{console}");
    }
    ensure!(said("last words 1") && said("uninstalled wholly") && said("exit 0"), "{console}");
    ensure!(said(&format!("exposure {EXPOSURE}")), "another exposure than the documentation's:\n{console}");
    ensure!(!console.contains("VM: Uid: 0 "), "it is root:\n{console}");
    Ok(())
}
