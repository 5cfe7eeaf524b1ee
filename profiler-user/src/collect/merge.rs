//! Samples and process events of many CPUs → one sequence by time.
//!
//! The two come through different rings. A round drains the samples first and the process events after,
//! so every event older than a drained sample is there. What is younger than the *horizon* (taken before
//! the round) stays for the next one, because a sample still older than it may be on its way.

use super::RawSample;
use super::process_event::ProcessEvent;
use crate::host::MonotonicNanos;

/// Something that happened, in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A process changed.
    Process(ProcessEvent),
    /// A tick.
    Sample(RawSample),
}

/// Holds back what cannot be ordered yet.
#[derive(Debug, Default)]
pub struct Merge {
    samples: Vec<RawSample>,
    events: Vec<ProcessEvent>,
}

impl Merge {
    /// Takes a sample of this round.
    pub fn sample(&mut self, sample: RawSample) {
        self.samples.push(sample);
    }

    /// Takes a process event of this round.
    pub fn event(&mut self, event: ProcessEvent) {
        self.events.push(event);
    }

    /// Hands out all that is older than the horizon, by time. At the same nanosecond a process event
    /// comes first: a sample in a mapping cannot be older than the mapping.
    pub fn release(&mut self, horizon: MonotonicNanos, mut handle: impl FnMut(Happening)) {
        // Stable sorts: records of one CPU with equal time keep their order.
        self.samples.sort_by_key(|sample| sample.at);
        self.events.sort_by_key(|event| event.at);
        let samples_until = self.samples.partition_point(|sample| sample.at < horizon);
        let events_until = self.events.partition_point(|event| event.at < horizon);
        let mut events = self.events.drain(..events_until).peekable();
        for sample in self.samples.drain(..samples_until) {
            while let Some(event) = events.next_if(|event| event.at <= sample.at) {
                handle(Happening::Process(event));
            }
            handle(Happening::Sample(sample));
        }
        events.for_each(|event| handle(Happening::Process(event)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::process_event::ProcessChange;
    use super::*;

    fn sample(at: u64) -> RawSample {
        RawSample { at: MonotonicNanos(at), ..RawSample::fixture(1) }
    }

    fn event(at: u64) -> ProcessEvent {
        ProcessEvent { at: MonotonicNanos(at), change: ProcessChange::Lost(at) }
    }

    fn order(merge: &mut Merge, horizon: u64) -> Vec<String> {
        let mut seen = Vec::new();
        merge.release(MonotonicNanos(horizon), |happening| {
            seen.push(match happening {
                Happening::Process(event) => format!("e{}", event.at.0),
                Happening::Sample(sample) => format!("s{}", sample.at.0),
            });
        });
        seen
    }

    #[test]
    fn events_come_before_samples_of_the_same_time() {
        let mut merge = Merge::default();
        [30, 10, 20].into_iter().for_each(|at| merge.sample(sample(at)));
        [25, 20, 5].into_iter().for_each(|at| merge.event(event(at)));
        assert_eq!(order(&mut merge, 100), ["e5", "s10", "e20", "s20", "e25", "s30"]);
    }

    #[test]
    fn what_is_younger_than_the_horizon_waits_for_its_elders() {
        let mut merge = Merge::default();
        merge.sample(sample(10));
        merge.event(event(40));
        assert_eq!(order(&mut merge, 30), ["s10"]);
        merge.sample(sample(35)); // was still on its way
        assert_eq!(order(&mut merge, 100), ["s35", "e40"]);
        assert_eq!(order(&mut merge, u64::MAX), [""; 0]);
    }
}
