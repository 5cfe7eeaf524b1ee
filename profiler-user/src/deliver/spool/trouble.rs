//! Profiles that an endpoint did not take, but may yet: when to try each again, and when to give one up.
//!
//! A real server answers 500 to bytes that it can never read, and 429 to a profile larger than its tenant's burst, for
//! ever. So what is refused again and again *while others pass* is given up. An outage, or a storm of 429, is not that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::after;
use super::id::ProfileId;
use crate::deliver::push::backoff::Backoff;
use crate::host::MonotonicNanos;

/// Profiles in trouble at a time; what is refused on top of that is given up at once.
const TROUBLES_MAX: usize = 4096;

/// The longest that one of them is left alone: so ten attempts take some minutes.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    backoff: Backoff,
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
    /// What it tells against the profile.
    pub(super) tells: Tells,
}

/// What an attempt that failed tells against the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    /// Nothing: every profile would have fared alike.
    Nothing,
    /// It met a limit, which tells something only if nothing as large passed.
    IfLargest,
    /// Others passed, it did not.
    Something,
}

impl Troubles {
    /// An attempt failed now: the profile is left alone for a while. True if it is to be given up instead.
    pub(super) fn failed(
        &mut self,
        attempt: Attempt,
        refusals_max: u32,
        now: MonotonicNanos,
        random: &mut fastrand::Rng,
    ) -> bool {
        if self.0.len() >= TROUBLES_MAX && !self.0.contains_key(&attempt.id) {
            return attempt.tells != Tells::Nothing;
        }
        let new = Trouble {
            backoff: Backoff::default(),
            refusals: 0,
            not_before: MonotonicNanos(0),
            passed_bytes: Some(0),
        };
        let trouble = self.0.entry(attempt.id).or_insert(new);
        let counts = trouble.passed_bytes.is_some_and(|bytes| match attempt.tells {
            Tells::Nothing => false,
            Tells::IfLargest => bytes < attempt.bytes,
            Tells::Something => true,
        });
        if attempt.tells != Tells::Nothing {
            trouble.refusals += u32::from(counts);
            trouble.passed_bytes = None;
        }
        let longest = after(now, PAUSE_MAX);
        trouble.not_before = trouble.backoff.failed(now, None, random).min(longest);
        let is_given_up = trouble.refusals >= refusals_max;
        if is_given_up {
            self.0.remove(&attempt.id);
        }
        is_given_up
    }

    /// Whether it failed before.
    pub(super) fn is_known(&self, id: ProfileId) -> bool {
        self.0.contains_key(&id)
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

    /// Attempts until it is given up, 100 at most; after each something of a size passes, or nothing.
    fn attempts(tells: Tells, passes: impl Fn(u32) -> Option<u32>) -> u32 {
        let (mut troubles, mut random) = (Troubles::default(), fastrand::Rng::with_seed(1));
        for attempt in 1..=100 {
            let failed = Attempt { id: ID, bytes: 100, tells };
            if troubles.failed(failed, 10, MonotonicNanos(0), &mut random) {
                return attempt;
            }
            passes(attempt).into_iter().for_each(|bytes| troubles.passed(bytes));
        }
        100
    }

    #[test]
    fn only_what_fails_while_others_pass_is_given_up() {
        assert_eq!(attempts(Tells::Something, |_| Some(1)), 10);
        assert_eq!(attempts(Tells::Something, |_| None), 100);
        assert_eq!(attempts(Tells::Something, |attempt| attempt.is_multiple_of(2).then_some(500)), 19);
        assert_eq!(attempts(Tells::Nothing, |_| Some(1)), 100);
    }

    #[test]
    fn a_limit_tells_against_the_largest_only() {
        assert_eq!(attempts(Tells::IfLargest, |_| Some(99)), 10);
        assert_eq!(attempts(Tells::IfLargest, |_| Some(100)), 100);
        assert_eq!(attempts(Tells::IfLargest, |_| None), 100);
    }

    #[test]
    fn pauses_grow_to_a_minute_and_are_told() {
        let (mut troubles, mut random) = (Troubles::default(), fastrand::Rng::with_seed(1));
        let mut longest = 0;
        for attempt in 0..200 {
            let now = MonotonicNanos(1_000_000_000_000 * (attempt + 1));
            assert!(troubles.may_go(ID, now));
            assert!(!troubles.failed(
                Attempt { id: ID, bytes: 1, tells: Tells::Nothing },
                10,
                now,
                &mut random
            ));
            let then = troubles.next_after(now).expect("a pause");
            assert!(!troubles.may_go(ID, now) && troubles.may_go(ID, then));
            assert!(attempt > 0 || then.0 - now.0 <= 1_000_000_000);
            longest = longest.max(then.0 - now.0);
        }
        assert_eq!(longest, 60_000_000_000);
        troubles.forget(ID);
        assert!(!troubles.is_known(ID));
        assert_eq!(troubles.next_after(MonotonicNanos(0)), None);
    }
}
