//! What a test needs of the machine: privileges, tools, and to be alone with it.
//!
//! Turns "cannot be tested here" into a loud skip: a line on stderr and in the file that
//! `FLAMEKEEPER_SKIP_LOG` names, so that the task that runs the tests can list them.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Capability numbers of `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Exclusive use of the machine by a test that may profile it.
///
/// Two captures at once would share the kernel's ring allowance and two processors: shares would stay
/// right, warnings would not. The lock is a file, so two test runs in one build folder wait for each other.
pub struct Machine {
    _lock: File,
}

impl Machine {
    /// Waits for the machine. The inner error says which privilege is missing.
    pub fn acquire() -> Result<Result<Self, String>> {
        if let Some(reason) = missing_privilege()? {
            return Ok(Err(reason));
        }
        let path = crate::build_folder()?.join("machine.lock");
        let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        lock.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(Ok(Self { _lock: lock }))
    }
}

fn missing_privilege() -> Result<Option<String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Some("needs root".to_owned()));
    }
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    let effective = u64::from_str_radix(effective.trim(), 16).context("read CapEff")?;
    let has = |capability: u32| effective >> capability & 1 == 1;
    let missing = [(CAP_PERFMON, "CAP_PERFMON"), (CAP_BPF, "CAP_BPF")]
        .into_iter()
        .find(|&(number, _)| !has(number) && !has(CAP_SYS_ADMIN));
    Ok(missing.map(|(_, name)| format!("needs {name}")))
}

/// Says that a test did not run, and why.
pub fn skip(test: &str, reason: &str) -> Result<()> {
    let line = format!("SKIPPED: {test}: {reason}");
    // Not `eprintln!`, which the test runner keeps to itself when a test passes, as this one will.
    writeln!(std::io::stderr(), "{line}").context("say that a test was skipped")?;
    if let Some(log) = std::env::var_os("FLAMEKEEPER_SKIP_LOG") {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .with_context(|| format!("open {}", PathBuf::from(&log).display()))?;
        writeln!(file, "{line}").context("write the list of skipped tests")?;
    }
    Ok(())
}

/// Path of a program by its name, as a shell would find it.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
