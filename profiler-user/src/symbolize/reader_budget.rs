//! CPU time that reading of what strangers wrote may take, so that a host whose programs change all the time costs no more
//! than one that stands still.
//!
//! A bucket: full at first, for the first windows have most to learn, then filled by a share of the time that passes.
//! Who finds it empty waits for a later window. So does a file that was just read: most of what a reading costs is the same for
//! one address as for a hundred, and every window brings some new ones.

use std::time::Duration;

use crate::host::MonotonicNanos;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct ReaderBudget {
    /// `None`: no limit.
    limited: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    full: Duration,
    nanos_a_second: u64,
    /// Below zero after a reader that took more than was left.
    left_nanos: i64,
    filled_at: Option<MonotonicNanos>,
}

/// Between two readings of a file at least.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// And so many times what the last one took: 0.05 % of a CPU for one file.
const PAUSE_FACTOR: u32 = 2_000;

impl ReaderBudget {
    /// For a single window, which is to be complete.
    pub(super) fn unlimited() -> Self {
        Self { limited: None }
    }

    /// For windows without end: so much at first, and so many nanoseconds in each second.
    pub(super) fn limited(full: Duration, nanos_a_second: u64) -> Self {
        let bucket = Bucket { full, nanos_a_second, left_nanos: nanos(full), filled_at: None };
        Self { limited: Some(bucket) }
    }

    /// Adds what the time since the last call is worth.
    pub(super) fn fill(&mut self, now: MonotonicNanos) {
        let Some(bucket) = &mut self.limited else { return };
        let since = bucket.filled_at.map_or(0, |before| now.0.saturating_sub(before.0));
        let worth = i64::try_from(since / 1_000 * bucket.nanos_a_second / 1_000_000).unwrap_or(i64::MAX);
        bucket.left_nanos = bucket.left_nanos.saturating_add(worth).min(nanos(bucket.full));
        bucket.filled_at = Some(now);
    }

    /// Whether there is any left.
    pub(super) fn has_some(&self) -> bool {
        self.left().is_none_or(|left| left > Duration::ZERO)
    }

    /// What is left; `None` without limit.
    pub(super) fn left(&self) -> Option<Duration> {
        let bucket = self.limited.as_ref()?;
        Some(Duration::from_nanos(u64::try_from(bucket.left_nanos).unwrap_or(0)))
    }

    /// Takes what a reader took. Gives when the same file may be read again; `None` at once.
    pub(super) fn charge(&mut self, cpu: Duration) -> Option<MonotonicNanos> {
        let bucket = self.limited.as_mut()?;
        bucket.left_nanos = bucket.left_nanos.saturating_sub(nanos(cpu));
        let pause = cpu.saturating_mul(PAUSE_FACTOR).max(PAUSE_MIN);
        let now = bucket.filled_at?;
        Some(MonotonicNanos(now.0.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX))))
    }

    /// Whether it is not yet time for what may be done from then on. Goes by the time when it was filled.
    pub(super) fn is_before(&self, then: MonotonicNanos) -> bool {
        self.limited.as_ref().and_then(|bucket| bucket.filled_at).is_some_and(|now| now < then)
    }
}

fn nanos(of: Duration) -> i64 {
    i64::try_from(of.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_take_a_share_of_the_time_and_what_was_saved_up() {
        let full = Duration::from_secs(2);
        let mut budget = ReaderBudget::limited(full, 1_000_000);
        let at = |second: u64| MonotonicNanos(second * 1_000_000_000);
        budget.fill(at(100));
        budget.charge(Duration::from_millis(2_015));
        assert!(!budget.has_some());
        budget.fill(at(115));
        assert!(!budget.has_some(), "15 s are worth 15 ms");
        budget.fill(at(116));
        assert!(budget.has_some());
        // However long nothing was read, no more than a bucket is saved.
        budget.fill(at(1_000_000));
        budget.charge(full);
        assert!(!budget.has_some());
    }

    #[test]
    fn a_file_that_was_read_waits_by_what_it_took() {
        let at = |second: u64| MonotonicNanos(second * 1_000_000_000);
        let mut budget = ReaderBudget::limited(Duration::from_secs(1), 500_000);
        budget.fill(at(100));
        assert_eq!(budget.charge(Duration::from_millis(1)), Some(at(160)));
        let again = budget.charge(Duration::from_millis(50)).unwrap();
        assert_eq!(again, at(200));
        assert!(budget.is_before(again));
        budget.fill(at(200));
        assert!(!budget.is_before(again));
        let mut unlimited = ReaderBudget::unlimited();
        unlimited.fill(at(100));
        assert_eq!((unlimited.charge(Duration::from_secs(9)), unlimited.is_before(again)), (None, false));
    }

    #[test]
    fn a_single_window_is_not_limited() {
        let mut budget = ReaderBudget::unlimited();
        budget.charge(Duration::MAX);
        assert!(budget.has_some());
    }
}
