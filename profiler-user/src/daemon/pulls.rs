//! Pulls in progress: which one ends when, and what rate they ask for together. All share the one sampler.
//!
//! Each begins and ends with a cut, so that the segments between belong to it as a whole, whatever windows they are in.

use std::time::Duration;

use tokio::sync::oneshot;

use super::windows::PullId;
use crate::deliver::serve::{PULLS_MAX, PullError, PullReply, PullRequest, Selector};
use crate::host::MonotonicNanos;
use crate::sample::Hertz;

/// For whoever pulled.
pub(super) type Reply = oneshot::Sender<Result<PullReply, PullError>>;

/// A pull that goes on.
#[derive(Debug)]
struct Pull {
    id: PullId,
    began: MonotonicNanos,
    ends: MonotonicNanos,
    hz: Option<Hertz>,
    /// Taken when it ends.
    reply: Option<Reply>,
}

/// A pull that has ended, by time or because nobody waits for it any more.
#[derive(Debug)]
pub(super) struct EndedPull {
    /// Which.
    pub(super) id: PullId,
    /// When it began.
    pub(super) began: MonotonicNanos,
    /// Where its answer goes; `None` if nobody waits.
    pub(super) reply: Option<Reply>,
}

/// Those that go on.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    pulls: Vec<Pull>,
    last_id: u64,
}

impl Pulls {
    /// Takes a request, unless there are too many: that is answered at once.
    pub(super) fn begin(&mut self, request: PullRequest, now: MonotonicNanos) -> Option<(PullId, Selector)> {
        let PullRequest { duration, hz, selector, reply } = request;
        if self.pulls.len() >= PULLS_MAX {
            let reason = format!("{PULLS_MAX} profiles are being taken already");
            let _gone = reply.send(Err(PullError::Busy { reason, retry_after: self.first_end(now) }));
            return None;
        }
        self.last_id += 1;
        let id = PullId(self.last_id);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let ends = MonotonicNanos(now.0.saturating_add(nanos));
        self.pulls.push(Pull { id, began: now, ends, hz, reply: Some(reply) });
        Some((id, selector))
    }

    /// Those whose time is over or whose client has gone.
    pub(super) fn ended(&mut self, now: MonotonicNanos) -> Vec<EndedPull> {
        let is_over = |pull: &mut Pull| pull.ends <= now || pull.reply.as_ref().is_none_or(Reply::is_closed);
        let ended = self.pulls.extract_if(.., is_over);
        ended
            .map(|pull| EndedPull {
                id: pull.id,
                began: pull.began,
                reply: pull.reply.filter(|reply| !reply.is_closed()),
            })
            .collect()
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Option<MonotonicNanos> {
        self.pulls.iter().map(|pull| pull.ends).min()
    }

    /// The highest rate that one of them asks for.
    pub(super) fn rate(&self) -> Option<Hertz> {
        self.pulls.iter().filter_map(|pull| pull.hz).max()
    }

    /// All of them are told that there will be no answer.
    pub(super) fn stop(&mut self) {
        for pull in self.pulls.drain(..) {
            if let Some(reply) = pull.reply {
                let _gone = reply.send(Err(PullError::Stopping));
            }
        }
    }

    fn first_end(&self, now: MonotonicNanos) -> Duration {
        let ends = self.next_end().map_or(0, |ends| ends.0.saturating_sub(now.0));
        Duration::from_nanos(ends).max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn request(
        seconds: u64,
        hz: Option<u32>,
    ) -> (PullRequest, oneshot::Receiver<Result<PullReply, PullError>>) {
        let (reply, answer) = oneshot::channel();
        let duration = Duration::from_secs(seconds);
        let hz = hz.map(|hz| Hertz::new(hz).unwrap());
        (PullRequest { duration, hz, selector: Selector::default(), reply }, answer)
    }

    #[test]
    fn each_ends_in_its_time_and_the_highest_rate_holds() {
        let mut pulls = Pulls::default();
        let (slow, _slow_answer) = request(30, None);
        let (fast, _fast_answer) = request(10, Some(99));
        pulls.begin(slow, MonotonicNanos(0)).unwrap();
        let (fast, _) = pulls.begin(fast, MonotonicNanos(5 * SECOND)).unwrap();
        assert_eq!((pulls.rate(), pulls.next_end()), (Hertz::new(99), Some(MonotonicNanos(15 * SECOND))));
        assert!(pulls.ended(MonotonicNanos(15 * SECOND - 1)).is_empty());
        let ended = pulls.ended(MonotonicNanos(15 * SECOND));
        assert_eq!(ended.iter().map(|pull| pull.id).collect::<Vec<_>>(), [fast]);
        assert_eq!((pulls.rate(), pulls.next_end()), (None, Some(MonotonicNanos(30 * SECOND))));
    }

    #[test]
    fn who_has_gone_gets_no_answer_and_holds_no_rate() {
        let mut pulls = Pulls::default();
        let (gone, answer) = request(300, Some(99));
        let (id, _) = pulls.begin(gone, MonotonicNanos(0)).unwrap();
        drop(answer);
        let ended = pulls.ended(MonotonicNanos(1));
        assert!(matches!(ended.as_slice(), [EndedPull { id: ended, reply: None, .. }] if *ended == id));
        assert_eq!(pulls.rate(), None);
    }

    #[test]
    fn one_too_many_is_told_when_to_come_again() {
        let mut pulls = Pulls::default();
        let mut answers = Vec::new();
        for _ in 0..PULLS_MAX {
            let (pull, answer) = request(7, None);
            pulls.begin(pull, MonotonicNanos(0)).unwrap();
            answers.push(answer);
        }
        let (pull, mut answer) = request(7, None);
        assert!(pulls.begin(pull, MonotonicNanos(SECOND)).is_none());
        let Ok(Err(PullError::Busy { retry_after, .. })) = answer.try_recv() else { panic!() };
        assert_eq!(retry_after, Duration::from_secs(6));
        pulls.stop();
        assert!(answers.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Err(PullError::Stopping)))));
    }
}
