//! A Debian root → a virtual machine that boots it and runs one script → what the script said on its console.
//!
//! ```text
//!   root by mmdebstrap + guest.sh + script ──mke2fs──▶ disk ──qemu──▶ lines on the console
//! ```
//!
//! Without hardware help a boot takes some minutes, so it happens when `FLAMEKEEPER_BOOT` is set.

use super::install::debian_root;
use anyhow::{Context, Result, ensure};
use profiler_tests::tool;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,procps,linux-image-cloud-amd64";

/// Boot, the script and the end; many times what a quiet machine takes.
const SECONDS_MAX: &str = "2400";

/// What every script begins with.
const HEAD: &str = include_str!("guest.sh");

const UNIT: &str = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nStandardOutput=tty\n\
                    StandardError=tty\nTTYPath=/dev/console\nExecStart=/bin/bash /follow\n[Install]\nWantedBy=multi-user.target\n";

/// A root folder to put things into; the inner error says why there is none.
pub(super) fn root() -> Result<Result<TempDir, String>> {
    if std::env::var_os("FLAMEKEEPER_BOOT").is_none() {
        return Ok(Err("boots a machine, for minutes: set FLAMEKEEPER_BOOT".to_owned()));
    }
    for name in ["mmdebstrap", "qemu-system-x86_64", "mke2fs"] {
        if tool(name).is_none() {
            return Ok(Err(format!("{name} is not installed")));
        }
    }
    debian_root(PACKAGES)
}

/// What came over the console.
pub(super) struct Console(pub(super) String);

impl Console {
    /// Whether a line of the script's says this. The console's own prompt may stand before it.
    pub(super) fn said(&self, line: &str) -> bool {
        self.0.lines().any(|other| other.ends_with(&format!("VM: {line}")))
    }

    /// Fails unless the script said all of it, in any order, and came to its end.
    pub(super) fn expect(&self, lines: &[&str]) -> Result<()> {
        for line in lines.iter().chain(&["exit 0"]) {
            ensure!(self.said(line), "the guest did not say {line:?}:\n{}", self.0);
        }
        Ok(())
    }
}

/// Boots the root, which runs the script, to its end. It keeps all processors busy.
pub(super) fn boot(root: &Path, script: &str) -> Result<Console> {
    std::fs::write(root.join("follow"), format!("{HEAD}\n{script}"))?;
    std::fs::write(root.join("etc/systemd/system/follow.service"), UNIT)?;
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("/etc/systemd/system/follow.service", wants.join("follow.service"))?;
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
    Ok(Console(String::from_utf8_lossy(&output.stdout).replace('\r', "")))
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
