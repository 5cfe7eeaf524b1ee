//! What the daemon takes of RAM → when its caches are to be emptied: when it comes near its budget.
//!
//! What is kept between windows is names and unwind rows; each has a bound of its own, so that this is for hosts where the
//! bounds together are too much. Emptying them costs CPU time later, so it is done once a minute at most.

use std::time::Duration;

use crate::host::MonotonicNanos;

/// Tenths of the budget from which on caches are emptied.
const NEAR_TENTHS: u64 = 9;
/// Between two times.
const PAUSE: Duration = Duration::from_secs(60);

/// Holds the daemon to its budget.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryBudget {
    emptied_at: Option<MonotonicNanos>,
    emptied: u64,
}

impl MemoryBudget {
    /// Whether caches are to be emptied now.
    pub(super) fn judge(&mut self, resident_bytes: u64, bytes_max: u64, now: MonotonicNanos) -> bool {
        let is_near = resident_bytes / NEAR_TENTHS >= bytes_max / 10;
        let pause = u64::try_from(PAUSE.as_nanos()).unwrap_or(u64::MAX);
        let has_paused = self.emptied_at.is_none_or(|at| now.0.saturating_sub(at.0) >= pause);
        let is_time = is_near && has_paused;
        if is_time {
            self.emptied_at = Some(now);
            self.emptied = self.emptied.saturating_add(1);
        }
        is_time
    }

    /// How many times they were emptied.
    pub(super) fn times_emptied(&self) -> u64 {
        self.emptied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_emptied_near_the_budget_and_once_a_minute() {
        const SECOND: u64 = 1_000_000_000;
        let mut budget = MemoryBudget::default();
        let mut at = |resident: u64, seconds: u64| {
            budget.judge(resident << 20, 100 << 20, MonotonicNanos(seconds * SECOND))
        };
        assert!(!at(89, 1));
        assert!(at(90, 2));
        assert!(!at(300, 61), "it was just done");
        assert!(at(300, 62));
        assert!(!at(50, 300));
        assert_eq!(budget.times_emptied(), 2);
    }
}
