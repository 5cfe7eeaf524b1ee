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

impl BpfTime {
    /// Of all programs that the process holds.
    pub(super) fn of(process: &Process) -> Result<Self> {
        let mut sum = Self::default();
        let mut programs = 0;
        let folder = format!("/proc/{}", process.pid);
        for entry in
            fs::read_dir(format!("{folder}/fd")).with_context(|| format!("list {folder}/fd"))?.flatten()
        {
            let is_program =
                fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:bpf-prog");
            if is_program {
                let info = format!("{folder}/fdinfo/{}", entry.file_name().display());
                sum.add(&fs::read_to_string(&info).with_context(|| format!("read {info}"))?);
                programs += 1;
            }
        }
        if programs == 0 {
            bail!("process {} holds no BPF program", process.pid);
        }
        Ok(sum)
    }

    fn add(&mut self, fdinfo: &str) {
        let number = |key: &str| {
            let line = fdinfo.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse::<u64>().ok()
        };
        self.nanos += number("run_time_ns:").unwrap_or(0);
        self.runs += number("run_cnt:").unwrap_or(0);
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(before.nanos), runs: self.runs.saturating_sub(before.runs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_added_up() {
        let mut sum = BpfTime { nanos: 1, runs: 1 };
        sum.add("pos:\t0\nprog_type:\t7\nrun_time_ns:\t2500\nrun_cnt:\t3\nverified_insns:\t900\n");
        assert_eq!(sum, BpfTime { nanos: 2501, runs: 4 });
    }
}
