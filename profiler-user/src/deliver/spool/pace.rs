//! How fast the backlog may go: bytes a second, so that replaying an outage does not make another one of the database's limits.

use std::time::Duration;

use super::until;
use crate::host::MonotonicNanos;

/// A bucket that fills with time. A profile may go while there is anything in it, and may leave a debt: so one that is
/// larger than a second's worth passes too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// Bytes that may go now, if above 0.
    level: i64,
    as_of: MonotonicNanos,
}

impl Pace {
    /// A second's worth may go at once.
    pub(super) fn new(bytes_per_second: u64, now: MonotonicNanos) -> Self {
        let bytes_per_second = bytes_per_second.max(1);
        Self { bytes_per_second, level: signed(bytes_per_second), as_of: now }
    }

    /// How long until something may go; none if it may now.
    pub(super) fn wait(&mut self, now: MonotonicNanos) -> Option<Duration> {
        let filled = self.bytes_in(until(self.as_of, now));
        if filled > 0 {
            self.level = self.level.saturating_add(filled).min(signed(self.bytes_per_second));
            self.as_of = now;
        }
        let missing = u64::try_from(1_i64.saturating_sub(self.level)).ok().filter(|missing| *missing > 0)?;
        let nanos = u128::from(missing) * 1_000_000_000 / u128::from(self.bytes_per_second) + 1;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// So much goes.
    pub(super) fn take(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(signed(bytes));
    }

    fn bytes_in(&self, time: Duration) -> i64 {
        let bytes = time.as_nanos() * u128::from(self.bytes_per_second) / 1_000_000_000;
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::spool::after;

    #[test]
    fn a_debt_is_waited_for_and_no_more_than_a_second_is_saved_up() {
        let mut now = MonotonicNanos(5);
        let mut pace = Pace::new(1000, now);
        assert_eq!(pace.wait(now), None);
        pace.take(3000); // a debt of 2000
        let wait = pace.wait(now).expect("a debt");
        assert!(wait > Duration::from_millis(2000) && wait < Duration::from_millis(2002), "{wait:?}");
        now = after(now, Duration::from_millis(1999));
        assert!(pace.wait(now).is_some());
        now = after(now, Duration::from_millis(2));
        assert_eq!(pace.wait(now), None);
        now = after(now, Duration::from_secs(1_000_000));
        assert_eq!(pace.wait(now), None);
        pace.take(1000);
        assert!(pace.wait(now).is_some());
    }

    #[test]
    fn asking_often_loses_nothing() {
        let start = MonotonicNanos(0);
        let mut pace = Pace::new(1000, start);
        pace.take(2000);
        let asked = (1..).map(|micros| after(start, Duration::from_micros(micros * 100)));
        let free = asked.take_while(|now| pace.wait(*now).is_some()).count();
        assert!((10_000..10_020).contains(&free), "{free}"); // of 100 µs: a second
    }
}
