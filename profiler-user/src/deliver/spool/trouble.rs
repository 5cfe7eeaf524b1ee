//! Profiles that an endpoint did not take, but may yet: when to try each again, and when to give one up.
//!
//! A real server answers 500 to bytes that it can never read, and 429 to a profile larger than its tenant's burst, for
//! ever. So what is refused again and again *while others pass* is given up. An outage, or a storm of 429, is not that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::after;
use super::id::ProfileId;
use crate::host::MonotonicNanos;

/// Profiles in trouble at a time; what comes on top is given up at once.
const TROUBLES_MAX: usize = 4096;

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    attempts: u32,
    /// Attempts that tell against the profile itself.
    refusals: u32,
    not_before: MonotonicNanos,
    /// The largest profile that passed since the last attempt, bytes; `None` if none did.
    passed_bytes: Option<u32>,
}

/// All of them, of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<ProfileId, Trouble>);

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: ProfileId,
    /// Size of the profile as the endpoint counts it.
    pub(super) bytes: u32,
    /// Whether it was a limit that it met: then it tells against the profile only if nothing as large passed.
    pub(super) is_limit: bool,
}

impl Troubles {
    /// How often it failed, this time included; `None` if it is to be given up.
    pub(super) fn failed(&mut self, attempt: Attempt, refusals_max: u32) -> Option<u32> {
        let is_full = self.0.len() >= TROUBLES_MAX && !self.0.contains_key(&attempt.id);
        let new = Trouble { attempts: 0, refusals: 0, not_before: MonotonicNanos(0), passed_bytes: Some(0) };
        let trouble = self.0.entry(attempt.id).or_insert(new);
        let tells = match trouble.passed_bytes {
            Some(bytes) => !attempt.is_limit || bytes < attempt.bytes,
            None => false,
        };
        trouble.attempts = trouble.attempts.saturating_add(1);
        trouble.refusals += u32::from(tells);
        trouble.passed_bytes = None;
        if is_full || trouble.refusals >= refusals_max {
            self.0.remove(&attempt.id);
            return None;
        }
        Some(trouble.attempts)
    }

    /// Whether it failed before.
    pub(super) fn is_known(&self, id: ProfileId) -> bool {
        self.0.contains_key(&id)
    }

    /// It is not tried again before then.
    pub(super) fn delay(&mut self, id: ProfileId, now: MonotonicNanos, time: Duration) {
        if let Some(trouble) = self.0.get_mut(&id) {
            trouble.not_before = after(now, time);
        }
    }

    /// It passed, or is nobody's business any more.
    pub(super) fn forget(&mut self, id: ProfileId) {
        self.0.remove(&id);
    }

    /// A profile of this size passed.
    pub(super) fn passed(&mut self, bytes: u32) {
        for trouble in self.0.values_mut() {
            trouble.passed_bytes = trouble.passed_bytes.max(Some(bytes));
        }
    }

    /// Whether it may be tried now.
    pub(super) fn may_go(&self, id: ProfileId, now: MonotonicNanos) -> bool {
        self.0.get(&id).is_none_or(|trouble| trouble.not_before <= now)
    }

    /// When the next of those that may not go now may.
    pub(super) fn next_after(&self, now: MonotonicNanos) -> Option<MonotonicNanos> {
        self.0.values().map(|trouble| trouble.not_before).filter(|not_before| *not_before > now).min()
    }

    /// Forgets those that are not in the spool any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(ProfileId) -> bool) {
        self.0.retain(|id, _| is_there(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::WindowId;
    use super::*;

    const ID: ProfileId = ProfileId { window: WindowId { sequence: 1, run: 1 }, index: 0 };

    /// Attempts until it is given up, 100 at most; before each but the first something passed, or did not.
    fn attempts(bytes: u32, is_limit: bool, passed: impl Fn(u32) -> Option<u32>) -> u32 {
        let mut troubles = Troubles::default();
        for attempt in 1..=100 {
            if troubles.failed(Attempt { id: ID, bytes, is_limit }, 10).is_none() {
                return attempt;
            }
            passed(attempt).into_iter().for_each(|bytes| troubles.passed(bytes));
        }
        100
    }

    #[test]
    fn only_what_fails_while_others_pass_is_given_up() {
        assert_eq!(attempts(100, false, |_| Some(1)), 10);
        assert_eq!(attempts(100, false, |_| None), 100);
        assert_eq!(attempts(100, false, |attempt| (attempt % 2 == 0).then_some(500)), 19);
    }

    #[test]
    fn a_limit_tells_against_the_largest_only() {
        assert_eq!(attempts(100, true, |_| Some(99)), 10);
        assert_eq!(attempts(100, true, |_| Some(100)), 100);
        assert_eq!(attempts(100, true, |_| None), 100);
    }

    #[test]
    fn delays_are_kept_and_told() {
        let mut troubles = Troubles::default();
        let now = MonotonicNanos(1_000);
        assert!(troubles.may_go(ID, now));
        assert_eq!(troubles.failed(Attempt { id: ID, bytes: 1, is_limit: false }, 10), Some(1));
        troubles.delay(ID, now, Duration::from_nanos(10));
        assert!(!troubles.may_go(ID, now));
        assert_eq!(troubles.next_after(now), Some(MonotonicNanos(1_010)));
        assert!(troubles.may_go(ID, MonotonicNanos(1_010)));
        troubles.forget(ID);
        assert!(troubles.may_go(ID, now));
        assert_eq!(troubles.next_after(now), None);
    }
}
