//! The uid of a pod that nobody has told us of → whether it is worth to wait before deciding on its processes.
//!
//! A process may be sampled before the API server has told of its pod: as the daemon starts, before the first list is
//! there, and as a pod starts, before its event is. A rule that keeps or drops by what pods say cannot know better than
//! to take it for a process without a pod, so for a short time nothing is decided. The time is counted for each pod, not
//! for each process, or a pod of short processes would wait for ever.

use std::collections::HashMap;
use std::time::Duration;

use crate::host::MonotonicNanos;

/// From the first sample of a pod. A list takes some 100 ms, the kubelet's word on a new pod a second; an API server that
/// takes longer is away, and then what is known has to do.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// Pods that are remembered: twice as many as are watched. Beyond, all may be waited for once more.
const PODS_MAX: usize = 2048;

/// Pods by when they were first asked for.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    is_waiting: bool,
    since: HashMap<Box<str>, MonotonicNanos>,
}

impl Awaited {
    /// Whether there is anything to wait for: pods are watched, and a rule may keep or drop.
    pub(super) fn set_waiting(&mut self, is_waiting: bool) {
        self.is_waiting = is_waiting;
    }

    /// Whether a pod that is not known is still waited for.
    pub(super) fn is_awaited(&mut self, pod_uid: &str, now: MonotonicNanos) -> bool {
        if !self.is_waiting {
            return false;
        }
        if let Some(since) = self.since.get(pod_uid) {
            return Duration::from_nanos(now.0.saturating_sub(since.0)) < WAIT;
        }
        if self.since.len() >= PODS_MAX {
            self.since.clear();
        }
        self.since.insert(pod_uid.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos(millis * 1_000_000)
    }

    #[test]
    fn a_pod_is_waited_for_once_and_not_for_ever() {
        let mut awaited = Awaited::default();
        assert!(!awaited.is_awaited("a", at(0)), "nobody would tell of it");
        awaited.set_waiting(true);
        assert!(awaited.is_awaited("a", at(1_000)));
        assert!(awaited.is_awaited("a", at(5_999)));
        assert!(awaited.is_awaited("b", at(5_999)));
        assert!(!awaited.is_awaited("a", at(6_000)));
        assert!(!awaited.is_awaited("a", at(1_000_000)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut awaited = Awaited::default();
        awaited.set_waiting(true);
        for pod in 0..10_000 {
            assert!(awaited.is_awaited(&pod.to_string(), at(pod)));
            assert!(awaited.since.len() <= PODS_MAX);
        }
    }
}
