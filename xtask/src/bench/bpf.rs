//! A process with BPF programs → how long they have run, by the kernel's own account.
//!
//! The kernel counts only while somebody asks it to by holding a descriptor; it forgets that by itself when the
//! descriptor is closed, so no setting of the machine changes that could stay behind.

use anyhow::{Context, Result, bail};
use aya::sys::{Stats, enable_stats};
use procfs::process::Process;
use std::fs;
use std::os::fd::OwnedFd;

/// While this lives, the kernel counts.
pub(super) struct Counting(#[expect(dead_code, reason = "held, not used")] OwnedFd);

impl Counting {
    pub(super) fn start() -> Result<Self> {
        enable_stats(Stats::RunTime).map(Self).context("have the kernel count the run time of BPF programs")
    }
}

/// What the programs of a process have taken since they were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BpfTime {
    pub(super) nanos: u64,
    pub(super) runs: u64,
}

/// Which programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    All,
    /// Those that a tick of the sampling clock runs: `BPF_PROG_TYPE_PERF_EVENT` of include/uapi/linux/bpf.h.
    OnTick,
}

impl BpfTime {
    /// Of the programs that the process holds.
    pub(super) fn of(process: &Process, programs: Programs) -> Result<Self> {
        let all = descriptors(process, "bpf-prog")?;
        let mut sum = Self::default();
        all.iter().filter(|fdinfo| programs.has(fdinfo)).for_each(|fdinfo| sum.add(fdinfo));
        if all.is_empty() {
            bail!("process {} holds no BPF program", process.pid);
        }
        Ok(sum)
    }

    fn add(&mut self, fdinfo: &str) {
        self.nanos += number(fdinfo, "run_time_ns:").unwrap_or(0);
        self.runs += number(fdinfo, "run_cnt:").unwrap_or(0);
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(before.nanos), runs: self.runs.saturating_sub(before.runs) }
    }
}

impl Programs {
    fn has(self, fdinfo: &str) -> bool {
        const PERF_EVENT: u64 = 7;
        self == Self::All || number(fdinfo, "prog_type:") == Some(PERF_EVENT)
    }
}

/// What the kernel tells about each descriptor of a kind, such as `bpf-map`.
pub(super) fn descriptors(process: &Process, kind: &str) -> Result<Vec<String>> {
    let folder = format!("/proc/{}", process.pid);
    let kind = format!("anon_inode:{kind}");
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("{folder}/fd")).with_context(|| format!("list {folder}/fd"))?.flatten()
    {
        if fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == kind.as_str()) {
            let info = format!("{folder}/fdinfo/{}", entry.file_name().display());
            found.push(fs::read_to_string(&info).with_context(|| format!("read {info}"))?);
        }
    }
    Ok(found)
}

/// A line of them.
pub(super) fn number(fdinfo: &str, key: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON_TICK: &str = "pos:\t0\nprog_type:\t7\nrun_time_ns:\t2500\nrun_cnt:\t3\nverified_insns:\t900\n";

    #[test]
    fn programs_are_added_up() {
        let mut sum = BpfTime { nanos: 1, runs: 1 };
        sum.add(ON_TICK);
        assert_eq!(sum, BpfTime { nanos: 2501, runs: 4 });
    }

    #[test]
    fn the_program_of_a_fork_is_not_run_by_a_tick() {
        let on_fork = "pos:\t0\nprog_type:\t17\nrun_time_ns:\t90\nrun_cnt:\t1\n";
        assert!(Programs::OnTick.has(ON_TICK) && Programs::All.has(ON_TICK));
        assert!(!Programs::OnTick.has(on_fork) && Programs::All.has(on_fork));
    }
}
