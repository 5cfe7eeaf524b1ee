//! The machine that was measured on: what it is, and how much of it others took meanwhile.

use super::running::ticks;
use crate::shell;
use anyhow::{Context, Result};
use procfs::{Current, CurrentSI, KernelStats, LoadAverage};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Date, kernel, CPU, cores, load and number of processes, one line.
pub(super) fn describe() -> Result<String> {
    let date = shell::output(Command::new("date").arg("+%F %H:%M %Z"))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    let load = LoadAverage::current().context("read the load average")?;
    let processes = procfs::process::all_processes().context("list processes")?.count();
    Ok(format!(
        "{}; Linux {} {}; {}, {} CPUs; load average before: {} {} {}; {processes} processes",
        date.trim(),
        kernel.trim(),
        std::env::consts::ARCH,
        cpu_model(),
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        load.one,
        load.five,
        load.fifteen,
    ))
}

/// lscpu knows arm64's numbers too.
fn cpu_model() -> String {
    let listed = shell::output(Command::new("lscpu").env("LC_ALL", "C")).unwrap_or_default();
    let model = listed.lines().find_map(|line| line.strip_prefix("Model name:"));
    model.map_or_else(|| "unknown CPU".to_owned(), |model| model.trim().to_owned())
}

/// CPU time of the whole host up to now.
#[derive(Clone, Copy)]
pub(super) struct HostCpu {
    busy: Duration,
    stolen: Duration,
    all: Duration,
}

impl HostCpu {
    pub(super) fn now() -> Result<Self> {
        let total = KernelStats::current().context("read /proc/stat")?.total;
        let busy =
            total.user + total.nice + total.system + total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
        let stolen = total.steal.unwrap_or(0);
        let all = busy + stolen + total.idle + total.iowait.unwrap_or(0);
        Ok(Self { busy: ticks(busy), stolen: ticks(stolen), all: ticks(all) })
    }

    /// Shares of the host's CPU time since `before`: what neither `ours` nor idleness took, and what a hypervisor took.
    pub(super) fn others_and_stolen(self, before: Self, ours: Duration) -> (f64, f64) {
        let all = (self.all.saturating_sub(before.all)).as_secs_f64().max(0.01);
        let others = self.busy.saturating_sub(before.busy).saturating_sub(ours);
        let stolen = self.stolen.saturating_sub(before.stolen);
        (others.as_secs_f64() / all, stolen.as_secs_f64() / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_remains() {
        let seconds = Duration::from_secs;
        let before = HostCpu { busy: seconds(100), stolen: seconds(1), all: seconds(1000) };
        let after = HostCpu { busy: seconds(190), stolen: seconds(6), all: seconds(1100) };
        assert_eq!(after.others_and_stolen(before, seconds(80)), (0.1, 0.05));
    }
}
