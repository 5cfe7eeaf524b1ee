//! How long an endpoint is left alone after a failure: 0.5 s to 5 min, longer with each failure, at random within that,
//! and never shorter than the server asked for.
//!
//! Not the crate `backon`: its jitter is added to the exponential delay instead of being drawn from zero on ("full
//! jitter"), it is an iterator that ends instead of a state that a success resets, and a server's own wish has no
//! place in it. This is smaller than what would be needed around it.

use std::time::Duration;

use crate::host::MonotonicNanos;

/// Shortest wait, unless the server asks for less than nothing.
pub const FLOOR: Duration = Duration::from_millis(500);
/// Longest wait of our own; the server may ask for more.
pub const CEILING: Duration = Duration::from_secs(5 * 60);

/// State of one endpoint. Holds no clock and no randomness: both are handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    ready_at: MonotonicNanos,
}

impl Backoff {
    /// A success: the endpoint may be used at once.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A failure now: until when to wait. `after` is what the server asked for.
    pub fn failed(
        &mut self,
        now: MonotonicNanos,
        after: Option<Duration>,
        random: &mut fastrand::Rng,
    ) -> MonotonicNanos {
        let ceiling =
            FLOOR.saturating_mul(2_u32.saturating_pow(self.failures.saturating_add(1))).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        let own = drawn_between(FLOOR, ceiling, random);
        // Many agents were told the same number by the same server: they come back spread over a tenth of it.
        let asked =
            after.map(|after| after.saturating_add(drawn_between(Duration::ZERO, after / 10, random)));
        let wait = asked.map_or(own, |asked| asked.max(own));
        self.ready_at = MonotonicNanos(now.0.saturating_add(nanos(wait)));
        self.ready_at
    }

    /// From when on the endpoint may be used.
    pub fn ready_at(&self) -> MonotonicNanos {
        self.ready_at
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn drawn_between(low: Duration, high: Duration, random: &mut fastrand::Rng) -> Duration {
    Duration::from_nanos(random.u64(nanos(low)..=nanos(high.max(low))))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonotonicNanos = MonotonicNanos(7_000_000_000);

    fn waits(backoff: &mut Backoff, after: Option<Duration>, seed: u64) -> Duration {
        let until = backoff.failed(NOW, after, &mut fastrand::Rng::with_seed(seed));
        assert_eq!(backoff.ready_at(), until);
        Duration::from_nanos(until.0 - NOW.0)
    }

    #[test]
    fn waits_grow_from_half_a_second_to_five_minutes_and_a_success_resets_them() {
        for seed in 0..200 {
            let mut backoff = Backoff::default();
            assert_eq!(backoff.ready_at(), MonotonicNanos(0));
            for failure in 0..40 {
                let ceiling = Duration::from_secs(2_u64.pow(failure.min(9))).min(CEILING);
                let wait = waits(&mut backoff, None, seed);
                assert!((FLOOR..=ceiling).contains(&wait), "failure {failure}: {wait:?} of {ceiling:?}");
            }
            assert_eq!(backoff.failures(), 40);
            backoff.succeeded();
            assert_eq!((backoff.failures(), backoff.ready_at()), (0, MonotonicNanos(0)));
            assert!(waits(&mut backoff, None, seed) <= Duration::from_secs(1));
        }
    }

    #[test]
    fn the_jitter_is_full() {
        // After ten failures the ceiling is reached: waits lie all over it.
        let mut after_ten = Backoff { failures: 10, ready_at: NOW };
        let all: Vec<Duration> = (0..2_000)
            .map(|seed| {
                let mut backoff = after_ten;
                waits(&mut backoff, None, seed)
            })
            .collect();
        let below = |limit: u64| all.iter().filter(|wait| **wait < Duration::from_secs(limit)).count();
        assert!((400..600).contains(&below(75)), "a quarter below 75 s: {}", below(75));
        assert!((900..1_100).contains(&below(150)), "half below 150 s: {}", below(150));
        assert!(waits(&mut after_ten, None, 1) <= CEILING);
    }

    #[test]
    fn the_server_is_given_the_time_that_it_asks_for() {
        for seed in 0..100 {
            let mut backoff = Backoff::default();
            let wait = waits(&mut backoff, Some(Duration::from_secs(600)), seed);
            assert!((600..=660).contains(&wait.as_secs()), "{wait:?}");
            // A short wish does not make us hurry.
            assert!(waits(&mut backoff, Some(Duration::ZERO), seed) >= FLOOR);
        }
    }
}
