//! The thread that names: segments in the order of their coming → windows in the spool, pulls answered.
//!
//! ```text
//!   session ─ Work, bounded ─▶ thread "names": windows.rs ─┬─▶ Spool::put (fsync)
//!                                                          └─▶ reply of a pull
//! ```
//!
//! The session never waits for it: what finds the queue full is lost, and counted. But what comes at the end, when nothing is
//! sampled any more, waits for room: without the last window's end all of that window would be lost.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::pulls::Reply;
use super::thread::{self, ThreadError};
use super::windows::{PullId, Times, WindowCounts, Windows};
use crate::allocator::give_back_freed_memory;
use crate::attribute::budget::LabelBudget;
use crate::attribute::labels::Labels;
use crate::capture::segment::Segment;
use crate::deliver::finished::FinishedWindow;
use crate::deliver::series::SizeLimits;
use crate::deliver::serve::{PullError, PullReply, Selector};
use crate::host::{Clock, MonotonicNanos};
use crate::privileges::{Kernel, Role};
use crate::telemetry::account::Queue;

/// Pieces of work that may wait: some windows of a host whose names take long.
const WORK_MAX: usize = 16;

/// What is to be done.
pub(super) enum Work {
    /// A segment, with the labels of its processes.
    Segment(Box<Segment>, Vec<Arc<Labels>>),
    /// The window has ended with the segments before.
    WindowEnd(Times),
    /// A pull begins with the next segment.
    PullBegin(PullId, Selector),
    /// A pull has ended with the segment before.
    PullEnd(PullId, Times, Option<Reply>),
    /// Memory is short.
    EmptyCaches,
    /// The configuration has changed.
    Reconfigure(SizeLimits, LabelBudget),
}

/// What the thread tells others about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct NamesStatus {
    /// What it has counted.
    pub(super) counts: WindowCounts,
    /// CPU time that the thread has taken.
    pub(super) cpu: Duration,
    /// Windows that could not be encoded: a fault of ours.
    pub(super) failed: u64,
    /// What it keeps of names, bytes.
    pub(super) cache_bytes: usize,
    /// Since when it has been at a piece of work; `None` while it waits for one.
    pub(super) busy_since: Option<MonotonicNanos>,
    /// Pieces of work that it has begun.
    pub(super) begun: u64,
}

/// The thread, from outside.
pub(super) struct Names {
    work: SyncSender<Work>,
    thread: JoinHandle<()>,
    status: Arc<Mutex<NamesStatus>>,
    /// Pieces that were taken into the queue.
    handed_over: u64,
    /// What is handed over at the end.
    last: Option<Vec<Work>>,
    /// Of a window whose end found the queue full: it ends with the next one.
    unended: Option<Times>,
    /// Pieces that found the queue full, and samples in them.
    lost: u64,
    lost_samples: u64,
}

impl Names {
    /// Starts it. `put` takes each window that is finished.
    pub(super) fn start(
        windows: Windows,
        clock: Clock,
        kernel: Kernel,
        put: impl FnMut(FinishedWindow) + Send + 'static,
    ) -> Result<Self, ThreadError> {
        let (work, waiting) = sync_channel(WORK_MAX);
        let status = Arc::new(Mutex::new(NamesStatus::default()));
        let mut namer = Namer { windows, put, status: Arc::clone(&status), clock };
        let work_on = move |()| namer.work(&waiting);
        let thread = thread::start("names", Role::Naming, kernel, || Ok(()), work_on)?;
        Ok(Self { work, thread, status, last: None, handed_over: 0, unended: None, lost: 0, lost_samples: 0 })
    }

    /// What is handed over from now on is the last, and waits for room in [`Self::finish`].
    pub(super) fn end(&mut self) {
        self.last.get_or_insert_default();
    }

    /// Hands over a piece of work. Never waits; what does not fit is lost.
    pub(super) fn hand_over(&mut self, work: Work) {
        let work = match work {
            Work::WindowEnd(times) => {
                Work::WindowEnd(self.unended.take().map_or(times, |first| first.and(times)))
            }
            other => other,
        };
        if let Some(last) = &mut self.last {
            return last.push(work);
        }
        let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.work.try_send(work)
        else {
            self.handed_over += 1;
            return;
        };
        self.lost += 1;
        match lost {
            Work::Segment(segment, _) => self.lost_samples += segment.window.samples(),
            Work::WindowEnd(times) => self.unended = Some(times),
            Work::PullEnd(_, _, Some(reply)) => {
                let reason = "naming is behind; try again".to_owned();
                let _gone = reply.send(Err(PullError::Failed { reason }));
            }
            _ => {}
        }
    }

    /// Samples of segments that found the queue full.
    pub(super) fn lost_samples(&self) -> u64 {
        self.lost_samples
    }

    /// How full the queue is.
    pub(super) fn queue(&self) -> Queue {
        let length = self.handed_over.saturating_sub(read(&self.status).begun);
        Queue { length, capacity: u64::try_from(WORK_MAX).unwrap_or(0), refused: self.lost }
    }

    /// For whoever tells about it.
    pub(super) fn status(&self) -> Arc<Mutex<NamesStatus>> {
        Arc::clone(&self.status)
    }

    /// Gives it the last work and waits until it is done with all. False if it has failed.
    pub(super) fn finish(self) -> bool {
        let Self { work, thread, last, .. } = self;
        let are_taken = last.into_iter().flatten().all(|last| work.send(last).is_ok());
        drop(work);
        thread.join().is_ok() && are_taken
    }
}

/// The status as it is.
pub(super) fn read(status: &Mutex<NamesStatus>) -> NamesStatus {
    status.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Namer<P> {
    windows: Windows,
    put: P,
    status: Arc<Mutex<NamesStatus>>,
    clock: Clock,
}

impl<P: FnMut(FinishedWindow)> Namer<P> {
    fn work(&mut self, waiting: &Receiver<Work>) {
        for work in waiting {
            let now = self.clock.monotonic();
            self.tell(|status| {
                status.busy_since = Some(now);
                status.begun += 1;
            });
            match work {
                Work::Segment(segment, labels) => self.windows.segment(*segment, &labels),
                Work::WindowEnd(times) => self.end_window(times),
                Work::PullBegin(id, selector) => self.windows.begin_pull(id, selector),
                Work::PullEnd(id, times, reply) => self.end_pull(id, times, reply),
                Work::EmptyCaches => {
                    self.windows.empty_caches();
                    give_back_freed_memory();
                }
                Work::Reconfigure(limits, budget) => self.windows.reconfigure(limits, budget),
            }
            self.tell(|status| status.busy_since = None);
        }
    }

    fn tell(&self, change: impl FnOnce(&mut NamesStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn end_window(&mut self, times: Times) {
        let failed = match self.windows.end(times) {
            Ok(Some(window)) => {
                (self.put)(window);
                0
            }
            Ok(None) => 0,
            Err(error) => {
                tracing::error!(%error, "a window could not be encoded and is lost");
                1
            }
        };
        let (counts, cpu) = (self.windows.counts().clone(), self.clock.thread_cpu());
        let cache_bytes = self.windows.cache_bytes();
        self.tell(|status| {
            (status.counts, status.cpu) = (counts, cpu);
            status.failed += failed;
            status.cache_bytes = cache_bytes;
        });
    }

    fn end_pull(&mut self, id: PullId, times: Times, reply: Option<Reply>) {
        let pprof = self.windows.end_pull(id, times);
        let Some(reply) = reply else { return };
        let answer = match pprof {
            Some(Ok(pprof_gz)) => Ok(PullReply { pprof_gz }),
            Some(Err(error)) => Err(PullError::Failed { reason: error.to_string() }),
            None => {
                Err(PullError::Failed { reason: "naming was behind when it began; try again".to_owned() })
            }
        };
        let _gone = reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::WallNanos;

    #[test]
    fn a_window_whose_end_found_no_room_ends_with_the_next_one() {
        let (work, waiting) = sync_channel(1);
        let (thread, status) = (std::thread::spawn(|| {}), Arc::default());
        let mut names = Names {
            work,
            thread,
            status,
            handed_over: 0,
            last: None,
            unended: None,
            lost: 0,
            lost_samples: 0,
        };
        let end = |start: u64| {
            Work::WindowEnd(Times {
                started: WallNanos(start * 1_000_000_000),
                duration: Duration::from_secs(15),
            })
        };
        names.hand_over(end(0));
        names.hand_over(end(15));
        names.hand_over(end(30));
        let ended = |waiting: &Receiver<Work>| match waiting.try_recv() {
            Ok(Work::WindowEnd(times)) => (times.started.0 / 1_000_000_000, times.duration.as_secs()),
            _ => panic!(),
        };
        assert_eq!((ended(&waiting), names.queue().refused), ((0, 15), 2));
        names.hand_over(end(45));
        assert_eq!((ended(&waiting), names.queue().length), ((15, 45), 2));
        names.hand_over(end(60));
        assert_eq!(ended(&waiting), (60, 15));
        names.thread.join().unwrap();
    }
}
