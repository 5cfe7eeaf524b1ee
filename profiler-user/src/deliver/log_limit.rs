//! What happens again and again → one log line a minute, with how many were left out.
//!
//! Decides, and writes nothing itself: every place has its own words and fields.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::host::MonotonicNanos;

/// Between two lines of the same kind.
pub const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Kinds that are told apart. Beyond that the one that was said longest ago is forgotten, so that it may be said again.
const MAX_KINDS: usize = 256;

/// When each kind of line was written last.
#[derive(Clone, Debug)]
pub struct LogLimit<K> {
    interval: Duration,
    kinds: BTreeMap<K, Said>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    at: MonotonicNanos,
    left_out: u64,
}

impl<K: Ord + Clone> LogLimit<K> {
    /// One line of a kind in an interval.
    pub fn every(interval: Duration) -> Self {
        Self { interval, kinds: BTreeMap::new() }
    }

    /// Whether to write a line of this kind now: if so, how many were left out since the last.
    pub fn admit(&mut self, kind: &K, now: MonotonicNanos) -> Option<u64> {
        if let Some(said) = self.kinds.get_mut(kind) {
            let passed = Duration::from_nanos(now.0.saturating_sub(said.at.0));
            if passed < self.interval {
                said.left_out = said.left_out.saturating_add(1);
                return None;
            }
            let left_out = said.left_out;
            *said = Said { at: now, left_out: 0 };
            return Some(left_out);
        }
        if self.kinds.len() >= MAX_KINDS {
            let oldest = self.kinds.iter().min_by_key(|(_, said)| said.at).map(|(kind, _)| kind.clone());
            oldest.and_then(|oldest| self.kinds.remove(&oldest));
        }
        self.kinds.insert(kind.clone(), Said { at: now, left_out: 0 });
        Some(0)
    }
}

impl<K: Ord + Clone> Default for LogLimit<K> {
    fn default() -> Self {
        Self::every(LOG_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_kind_is_said_once_an_interval_and_others_meanwhile() {
        let mut limit = LogLimit::default();
        assert_eq!(limit.admit(&"a", at(100)), Some(0));
        assert_eq!(limit.admit(&"a", at(100)), None);
        assert_eq!(limit.admit(&"b", at(130)), Some(0));
        assert_eq!(limit.admit(&"a", at(159)), None);
        assert_eq!(limit.admit(&"a", at(160)), Some(2));
        assert_eq!(limit.admit(&"a", at(300)), Some(0));
    }

    #[test]
    fn kinds_are_bounded() {
        let mut limit = LogLimit::default();
        for kind in 0..1_000_u64 {
            assert_eq!(limit.admit(&kind, at(kind)), Some(0));
        }
        assert_eq!(limit.kinds.len(), MAX_KINDS);
        assert_eq!(limit.admit(&999, at(1_000)), None, "the newest are remembered");
    }
}
