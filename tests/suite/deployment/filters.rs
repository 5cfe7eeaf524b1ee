//! The two filters of system calls, systemd's and the one for nodes: they let through what is called, and refuse what the
//! capabilities would allow beyond that.

use super::container::PROFILE;
use super::systemd::UNIT;
use super::{syscalls, text};
use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Signal, Workload, descendants, machine_or_skip, tool_or_skip};
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Without these nothing works.
const NEEDED: [&str; 8] =
    ["bpf", "perf_event_open", "process_vm_readv", "seccomp", "capset", "prctl", "fsync", "openat2"];

/// What the capabilities would allow, or what would make it worse.
const REFUSED: [&str; 26] = [
    "ptrace",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "mount",
    "umount2",
    "pivot_root",
    "setns",
    "unshare",
    "init_module",
    "finit_module",
    "kexec_load",
    "reboot",
    "swapon",
    "iopl",
    "keyctl",
    "userfaultfd",
    "syslog",
    "open_by_handle_at",
    "setuid",
    "setresuid",
    "chown",
    "fchownat",
    "mlockall",
    "io_uring_setup",
    "clock_settime",
];

/// Tried, and done without: the shut-in of the reader of debug information, the priority of the worker.
const TRIED: [&str; 2] = ["chroot", "setpriority"];

/// A push fails at once, and a window is five seconds; under strace all of it takes longer.
const WINDOW_WITHIN: Duration = Duration::from_secs(60);

/// What the profile for nodes lets through.
fn of_profile() -> Result<BTreeSet<String>> {
    let profile: Value = serde_json::from_str(&text(PROFILE)?)?;
    ensure!(profile["defaultAction"] == "SCMP_ACT_ERRNO", "{PROFILE} lets unknown calls through");
    let rules = profile["syscalls"].as_array().context("no rules")?;
    let allowed = rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    let names = allowed.flat_map(|rule| rule["names"].as_array()).flatten();
    Ok(names.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What the unit lets through, with this machine's systemd.
fn of_unit() -> Result<BTreeSet<String>> {
    syscalls::Sets::of_this_machine()?.allowed(&text(UNIT)?)
}

fn ensure_as_wide_as_needed(name: &str, allowed: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<_> = NEEDED.into_iter().filter(|call| !allowed.contains(*call)).collect();
    let granted: Vec<_> = REFUSED.into_iter().filter(|call| allowed.contains(*call)).collect();
    ensure!(missing.is_empty() && granted.is_empty(), "{name}: missing {missing:?}, granted {granted:?}");
    Ok(())
}

#[test]
fn they_refuse_what_the_capabilities_would_allow_beyond_need() -> Result<()> {
    let profile = of_profile()?;
    ensure_as_wide_as_needed("profile", &profile)?;
    tool_or_skip!("systemd-analyze");
    let unit = of_unit()?;
    ensure_as_wide_as_needed("unit", &unit)?;
    let wider: Vec<_> = profile.difference(&unit).collect();
    ensure!(wider.is_empty(), "passes on a node and not on a host: {wider:?}");
    Ok(())
}

/// Before the name of the program.
fn under_strace(strace: &Path, log: &Path) -> [std::ffi::OsString; 5] {
    [strace.into(), "-f".into(), "-qq".into(), "-o".into(), log.into()]
}

/// The traced calls that one of the filters refuses.
fn ensure_none_refused(log: &Path) -> Result<()> {
    let called = syscalls::traced(&std::fs::read_to_string(log)?);
    ensure!(called.contains("bpf") && called.contains("perf_event_open"), "nothing was sampled: {called:?}");
    let (unit, profile) = (of_unit()?, of_profile()?);
    let passes =
        |call: &&String| unit.contains(*call) && profile.contains(*call) || TRIED.contains(&call.as_str());
    let refused: Vec<_> = called.iter().filter(|call| !passes(call)).collect();
    ensure!(refused.is_empty(), "refused: {refused:?}");
    Ok(())
}

#[test]
fn they_let_a_capture_through() -> Result<()> {
    let machine = machine_or_skip!();
    tool_or_skip!("systemd-analyze");
    let strace = tool_or_skip!("strace");
    let folder = TempDir::new()?;
    let log = folder.path().join("calls");
    let burning = Workload::build("cpp_names")?.start()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "99", "-d", "1s"]).output("p.pb.gz").of(burning.pid());
    capture.under(under_strace(&strace, &log)).run()?.expect_code(0)?;
    ensure_none_refused(&log)
}

/// It samples, names, keeps a window for a database that is not there, answers nobody, and ends.
#[test]
fn they_let_the_daemon_through() -> Result<()> {
    let _machine = machine_or_skip!();
    tool_or_skip!("systemd-analyze");
    let strace = tool_or_skip!("strace");
    let folder = TempDir::new()?;
    let log = folder.path().join("calls");
    let _burning = Workload::build("cpp_names")?.start()?;
    let spool = folder.path().join("spool");
    let daemon = Capture::plain(["daemon", "--window", "5s", "--http-listen", "127.0.0.1:0"])?
        // Nobody listens on the port that discards.
        .args(["--push-url", "http://127.0.0.1:9", "--spool-min-free-bytes", "1MiB", "--spool-dir"])
        .args([spool.as_os_str()])
        .under(under_strace(&strace, &log))
        .start()?;
    daemon.stderr_line(|line| line.contains("waits for another attempt"), WINDOW_WITHIN)?;
    // strace itself holds back what would end it.
    let traced = descendants(daemon.pid())?.first().copied().context("strace has no child")?;
    let traced = Pid::from_raw(i32::try_from(traced)?).context("process id 0")?;
    kill_process(traced, Signal::TERM).context("end the daemon")?;
    daemon.finish()?.expect_code(0)?;
    ensure_none_refused(&log)
}
