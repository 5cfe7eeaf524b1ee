//! What each thread of the daemon may do once it runs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use profiler_tests::{Daemon, Pyroscope, Workload, machine_or_skip, tool_or_skip};

const BPF_AND_PERFMON: u64 = 1 << 39 | 1 << 38;
/// Where the kernel may not take CAP_PERFMON for enough.
const SYS_ADMIN: u64 = 1 << 21;
/// CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYSLOG, CAP_CHECKPOINT_RESTORE (include/uapi/linux/capability.h).
const READING: u64 = 1 << 19 | 1 << 2 | 1 << 34 | 1 << 40;

/// Effective capabilities of each thread by its name, and that it is filtered.
fn threads(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(entry?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).with_context(|| format!("no {name}"))
        };
        ensure!(field("Seccomp")? == "2" && field("NoNewPrivs")? == "1", "{status}");
        ensure!(field("CapAmb")? == "0000000000000000" && field("CapInh")? == "0000000000000000", "{status}");
        threads.insert(field("Name")?.to_owned(), u64::from_str_radix(field("CapEff")?, 16)?);
    }
    Ok(threads)
}

#[test]
fn every_thread_keeps_what_it_needs_and_no_more() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let _workload = Workload::build("c_frame_pointers")?.start()?;
    let daemon = Daemon::start(&machine, &peer, &[])?;
    // Tables that are made after the rights are gone are made by the broker.
    daemon.wait_for("a stack that was walked in the kernel", || {
        let walked =
            daemon.metric("flamekeeper_samples_total")? - daemon.metric("flamekeeper_snapshots_total")?;
        Ok(walked > 20.0)
    })?;
    let threads = threads(daemon.running.pid())?;
    let of = |name: &str| threads.get(name).copied().with_context(|| format!("no {name} in {threads:?}"));
    let paranoid: i32 = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")?.trim().parse()?;
    let for_debian = if paranoid > 2 { SYS_ADMIN } else { 0 };
    ensure!(of("broker")? == BPF_AND_PERFMON | for_debian, "{threads:x?}");
    for reader in ["rows", "names"] {
        ensure!(of(reader)? & !READING == 0, "{threads:x?}");
    }
    for talker in ["network", "log"] {
        ensure!(of(talker)? == 0, "{threads:x?}");
    }
    let samples_without_perfmon = of("flamekeeper")? & 1 << 38 == 0;
    ensure!(samples_without_perfmon, "{threads:x?}");
    daemon.end().map(drop)
}
