//! Perf maps of all processes, kept from window to window: what was appended is read, up to a share of the time.
//!
//! A busy JVM appends some 100 KiB in a window, and its map has some 10 MiB. Processes that were not asked for longest
//! are forgotten first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::address::RuntimeAddr;

use super::NamedAddress;
use super::UNUSED_NANOS_MAX;
use super::perf_map::{PERF_MAP_BYTES_MAX, PerfMap, perf_map_path};
use super::reader_budget::ReaderBudget;
use crate::host::MonotonicNanos;
use crate::process::ProcessKey;
use crate::process::namespace::{FinalLink, ProcessRoot};

/// Lines of all maps together: 20 MB at worst.
const LINES_MAX: usize = 1 << 19;
/// What a byte costs to read (measured: 2 to 3 ns).
const NANOS_A_BYTE: u64 = 3;
/// Read at a time even if the time is nearly used up, so that it goes on at all.
const BYTES_MIN: u64 = 64 << 10;
/// The time for a first look: 65 MB.
const FULL: Duration = Duration::from_millis(200);
/// Of one CPU: 0.03 %, that is 1.5 MB in 15 s.
const NANOS_A_SECOND: u64 = 300_000;

#[derive(Debug, Default)]
struct Kept {
    map: PerfMap,
    last_used: MonotonicNanos,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct PerfMaps {
    maps: HashMap<ProcessKey, Kept>,
    budget: ReaderBudget,
    now: MonotonicNanos,
}

impl PerfMaps {
    /// For a single window, which is to be complete.
    pub(super) fn of_one_window() -> Self {
        Self { maps: HashMap::new(), budget: ReaderBudget::unlimited(), now: MonotonicNanos(0) }
    }

    /// For windows without end.
    pub(super) fn of_many_windows() -> Self {
        let budget = ReaderBudget::limited(FULL, NANOS_A_SECOND);
        Self { budget, ..Self::of_one_window() }
    }

    /// Forgets all maps.
    pub(super) fn forget(&mut self) {
        self.maps.clear();
    }

    /// Begins a window.
    pub(super) fn begin(&mut self, now: MonotonicNanos) {
        self.budget.fill(now);
        self.now = now;
    }

    /// Names that the process wrote down itself, in the order of the addresses; empty where there is none. Most processes
    /// with code in memory wrote none: then `None`.
    pub(super) fn names(
        &mut self,
        process: ProcessKey,
        root: &ProcessRoot,
        wanted: impl Iterator<Item = RuntimeAddr>,
    ) -> Option<std::io::Result<Vec<Arc<NamedAddress>>>> {
        let path = perf_map_path(root.innermost_pid());
        let file = root.open_planted(&path, FinalLink::Refuse, PERF_MAP_BYTES_MAX).ok()?;
        let kept = self.maps.entry(process).or_default();
        kept.last_used = self.now;
        let bytes_max = match self.budget.left() {
            None => u64::MAX,
            Some(left) => u64::try_from(left.as_nanos()).unwrap_or(u64::MAX) / NANOS_A_BYTE,
        };
        let read = file
            .metadata()
            .and_then(|metadata| kept.map.catch_up(&file, metadata.len(), bytes_max.max(BYTES_MIN)));
        Some(read.map(|bytes| {
            self.budget.charge(Duration::from_nanos(bytes.saturating_mul(NANOS_A_BYTE)));
            kept.map.names(&file, wanted)
        }))
    }

    /// Ends the window, and forgets what does not fit.
    pub(super) fn make_room(&mut self) {
        let now = self.now;
        self.maps.retain(|_, kept| now.0.saturating_sub(kept.last_used.0) < UNUSED_NANOS_MAX);
        let lines = |maps: &HashMap<_, Kept>| maps.values().map(|kept| kept.map.len()).sum::<usize>();
        while lines(&self.maps) > LINES_MAX
            && let Some(oldest) = self.maps.iter().min_by_key(|(_, kept)| kept.last_used).map(|(key, _)| *key)
        {
            self.maps.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Tgid;
    use crate::host::ProcFs;

    #[test]
    fn maps_of_processes_are_kept_while_they_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let own = rustix::process::getuid().as_raw();
        let root = |pid| ProcessRoot::at_folder(&ProcFs::host(), folder.path(), own, pid).unwrap();
        let key = |tgid| ProcessKey { tgid: Tgid(tgid), start_time: 1, exec_id: 1 };
        let mut maps = PerfMaps::of_many_windows();
        let ask = |maps: &mut PerfMaps, tgid: u32| {
            let names = maps.names(key(tgid), &root(tgid), [RuntimeAddr(0x1008)].into_iter());
            names.map(|names| names.unwrap()[0].first().map(|line| line.function.name.to_string()))
        };
        assert_eq!(ask(&mut maps, 7), None);
        std::fs::write(folder.path().join("tmp/perf-7.map"), "1000 10 seven\n").unwrap();
        std::fs::write(folder.path().join("tmp/perf-8.map"), "2000 10 eight\n").unwrap();
        assert_eq!(ask(&mut maps, 7), Some(Some("seven".to_owned())));
        assert_eq!(ask(&mut maps, 8), Some(None));
        for second in (15..=600).step_by(15) {
            maps.begin(MonotonicNanos(second * 1_000_000_000));
            ask(&mut maps, 7);
            maps.make_room();
        }
        assert_eq!(maps.maps.keys().collect::<Vec<_>>(), [&key(7)]);
    }
}
