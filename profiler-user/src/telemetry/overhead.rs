//! `/proc/self` → what the daemon costs: CPU time of all its threads and of the helpers that it started, memory, files.

use std::fs;
use std::time::Duration;

use crate::host::{Clock, ProcFs};

/// What the daemon costs. `None`: /proc does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnCost {
    /// CPU time of all threads, user and system, those that have ended too.
    pub cpu: Duration,
    /// CPU time of helper processes that have ended, to the clock tick (10 ms).
    pub children_cpu: Option<Duration>,
    /// Memory in RAM, bytes.
    pub resident_bytes: Option<u64>,
    /// The most that it ever was.
    pub resident_peak_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
}

impl OwnCost {
    /// As it is now: three small files and a folder, some 50 µs.
    pub fn measure(proc: &ProcFs, clock: &Clock) -> Self {
        let status = proc.text("self/status").unwrap_or_default();
        Self {
            cpu: clock.own_cpu(),
            children_cpu: children_cpu(&proc.text("self/stat").unwrap_or_default()),
            resident_bytes: kilobytes(&status, "VmRSS:"),
            resident_peak_bytes: kilobytes(&status, "VmHWM:"),
            threads: field(&status, "Threads:"),
            open_files: open_files(proc),
        }
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    field(status, name)?.checked_mul(1024)
}

/// `cutime` and `cstime`, fields 16 and 17 of proc_pid_stat(5). The second, our own name, may hold blanks: it ends with
/// the last parenthesis.
fn children_cpu(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(13);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let nanos_a_tick = 1_000_000_000_u64.checked_div(rustix::param::clock_ticks_per_second())?;
    Some(Duration::from_nanos(user.checked_add(system)?.checked_mul(nanos_a_tick)?))
}

fn open_files(proc: &ProcFs) -> Option<u64> {
    let count = fs::read_dir(proc.path("self/fd")).ok()?.count();
    // The folder itself is open while it is counted.
    u64::try_from(count).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("self");
        fs::create_dir_all(own.join("fd")).unwrap();
        for fd in 0..4 {
            fs::write(own.join("fd").join(fd.to_string()), "").unwrap();
        }
        let status = "Name:\ta\nVmHWM:\t   60000 kB\nVmRSS:\t   51200 kB\nThreads:\t7\n";
        fs::write(own.join("status"), status).unwrap();
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 111 222 300 45 20 0 7 0 99 1 2";
        fs::write(own.join("stat"), stat).unwrap();
        let cost = OwnCost::measure(&ProcFs::at(folder.path()), &Clock::host());
        assert_eq!(cost.resident_bytes, Some(51_200 * 1024));
        assert_eq!(cost.resident_peak_bytes, Some(60_000 * 1024));
        assert_eq!((cost.threads, cost.open_files), (Some(7), Some(3)));
        assert_eq!(cost.children_cpu, Some(Duration::from_millis(3_450)));
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let cost = OwnCost::measure(&ProcFs::at(folder.path()), &Clock::host());
        assert_eq!(cost, OwnCost { cpu: cost.cpu, ..OwnCost::default() });
        assert_eq!(children_cpu("1 (x"), None);
        assert_eq!(children_cpu("1 (x) S 1 2 3"), None);
    }

    #[test]
    fn the_real_one_is_read() {
        let host = crate::host::Host::new();
        let cost = OwnCost::measure(&host.proc, &host.clock);
        assert!(cost.resident_bytes.unwrap() > 1 << 20 && cost.resident_peak_bytes >= cost.resident_bytes);
        assert!(cost.threads.unwrap() >= 2 && cost.open_files.unwrap() >= 3 && cost.children_cpu.is_some());
    }
}
