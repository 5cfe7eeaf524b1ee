//! The machine that was measured on: what it is, and how much of it others took meanwhile.

use super::figures::spread;
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
struct HostCpu {
    busy: Duration,
    stolen: Duration,
    all: Duration,
}

impl HostCpu {
    fn now() -> Result<Self> {
        let total = KernelStats::current().context("read /proc/stat")?.total;
        let busy =
            total.user + total.nice + total.system + total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
        let stolen = total.steal.unwrap_or(0);
        let all = busy + stolen + total.idle + total.iowait.unwrap_or(0);
        Ok(Self { busy: ticks(busy), stolen: ticks(stolen), all: ticks(all) })
    }

    /// Shares of the host's CPU time since `before`: what neither `ours` nor idleness took, and what a hypervisor took.
    fn others_and_stolen(self, before: Self, ours: Duration) -> (f64, f64) {
        let all = (self.all.saturating_sub(before.all)).as_secs_f64().max(0.01);
        let others = self.busy.saturating_sub(before.busy).saturating_sub(ours);
        let stolen = self.stolen.saturating_sub(before.stolen);
        (others.as_secs_f64() / all, stolen.as_secs_f64() / all)
    }
}

/// What others took of the host while a load and a profiler were measured, by capture.
#[derive(Default)]
pub(super) struct Others {
    others: Vec<f64>,
    stolen: Vec<f64>,
}

/// The host and the load before a capture.
pub(super) struct Before(HostCpu, Duration);

impl Others {
    /// With what the load has taken up to now.
    pub(super) fn before(&self, load: Duration) -> Result<Before> {
        Ok(Before(HostCpu::now()?, load))
    }

    /// After a capture that took so much itself, with what the load has taken up to now.
    pub(super) fn after(&mut self, before: Before, load: Duration, own: Duration) -> Result<()> {
        let Before(host, load_before) = before;
        let ours = load.saturating_sub(load_before) + own;
        let (others, stolen) = HostCpu::now()?.others_and_stolen(host, ours);
        self.others.push(others);
        self.stolen.push(stolen);
        Ok(())
    }

    /// One line.
    pub(super) fn told(&self) -> String {
        let percent = |shares: &[f64]| {
            let shares: Vec<f64> = shares.iter().map(|share| share * 100.0).collect();
            spread(&shares)
                .map_or_else(String::new, |of| format!("{:.0} % [{:.0}–{:.0}]", of.median, of.least, of.most))
        };
        let (others, stolen) = (percent(&self.others), percent(&self.stolen));
        format!("Of the host's CPU time, other programs took {others} and the hypervisor {stolen}.")
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
