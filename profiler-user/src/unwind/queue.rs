//! Files whose rows are wanted → one after the other to the worker, and its answers back. Between two threads; reads
//! no file itself.
//!
//! The order: by size class, powers of two of the file's bytes, small ones first; within a class who was asked for most
//! often. So a large file never holds up small ones, which are most, and heat decides where the cost is about the same.
//! Heat counts until the moment that a file's turn comes.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::UnwindError;
use super::{FileRows, RowKey};
use crate::elf::ElfHeaders;
use crate::process::namespace::ProcessRoot;

/// Requests that wait; one more is refused and asked again later. Each holds a file descriptor.
pub(super) const REQUESTS_MAX: usize = 96;
/// Rows that are ready and not yet taken: the worker pauses at this, so that it is ahead by one file at most.
const DONE_BYTES_MAX: usize = 8 << 20;

/// What rows are to be made of.
#[derive(Debug)]
pub(super) enum Job {
    /// An ELF file.
    File(Box<WantedFile>),
    /// The kernel's page of user code.
    Vdso,
}

/// A file, with what is needed to find what was split off from it.
#[derive(Debug)]
pub(super) struct WantedFile {
    pub(super) file: File,
    /// Read at first sight.
    pub(super) headers: ElfHeaders,
    /// As its process sees it.
    pub(super) path: PathBuf,
    pub(super) root: Option<Arc<ProcessRoot>>,
}

/// What became of a request; `None` if the kernel gives no vdso.
pub(super) type Made = Option<Result<FileRows, UnwindError>>;

/// What the worker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsWork {
    /// Files whose rows were made, or could not be.
    pub made: u64,
    /// Files whose rows were on disk.
    pub reused: u64,
    /// CPU time of all of it.
    pub cpu: Duration,
}

#[derive(Debug)]
struct Waiting {
    bytes: u64,
    heat: u32,
    job: Job,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<RowKey, Waiting>,
    /// What the worker is at.
    current: Option<RowKey>,
    /// Nobody wants what it is at any more.
    is_current_unwanted: bool,
    done: Vec<(RowKey, Made)>,
    done_bytes: usize,
    work: RowsWork,
    /// Nobody asks or nobody works any more.
    is_closed: bool,
}

/// Shared by who asks and who works.
#[derive(Debug, Default)]
pub(super) struct RowQueue {
    state: Mutex<State>,
    /// The worker waits for it: there is work, room for results, or the end.
    work: Condvar,
    /// Who asked waits for it: something is done.
    finished: Condvar,
}

/// How a request was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It waits its turn.
    Waits,
    /// Too many wait; ask again later.
    Refused,
    /// There is no worker any more.
    Closed,
}

impl RowQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once more for what waits already or is being made. False if it does neither.
    pub(super) fn ask_again(&self, key: RowKey) -> bool {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.get_mut(&key) {
            waiting.heat = waiting.heat.saturating_add(1);
            return true;
        }
        state.current == Some(key) || state.done.iter().any(|(done, _)| *done == key)
    }

    /// Asks for the first time.
    pub(super) fn ask(&self, key: RowKey, bytes: u64, job: Job) -> Asked {
        let mut state = self.lock();
        if state.is_closed {
            return Asked::Closed;
        }
        if state.waiting.len() >= REQUESTS_MAX {
            return Asked::Refused;
        }
        state.waiting.insert(key, Waiting { bytes, heat: 1, job });
        self.work.notify_one();
        Asked::Waits
    }

    /// The worker's next request; waits for one. `None` when nobody asks any more.
    pub(super) fn next(&self) -> Option<(RowKey, Job)> {
        let must_wait = |state: &mut State| {
            let has_room = state.done_bytes < DONE_BYTES_MAX;
            !state.is_closed && (state.waiting.is_empty() || !has_room)
        };
        let waited = self.work.wait_while(self.lock(), must_wait);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return None;
        }
        let first = state.waiting.iter().min_by_key(|(key, waiting)| rank(**key, waiting));
        let key = *first?.0;
        let waiting = state.waiting.remove(&key)?;
        state.current = Some(key);
        Some((key, waiting.job))
    }

    /// What the worker has done so far.
    pub(super) fn work(&self) -> RowsWork {
        self.lock().work
    }

    /// The worker's answer to the request that it took last, and what it has done so far.
    pub(super) fn finish(&self, key: RowKey, made: Made, work: RowsWork) {
        let mut state = self.lock();
        state.work = work;
        state.current = None;
        if !std::mem::take(&mut state.is_current_unwanted) {
            state.done_bytes += made_bytes(&made);
            state.done.push((key, made));
        }
        self.finished.notify_all();
    }

    /// Nobody will ask for this any more.
    pub(super) fn forget(&self, key: RowKey) {
        let mut state = self.lock();
        state.waiting.remove(&key);
        state.is_current_unwanted |= state.current == Some(key);
    }

    /// Takes all answers.
    pub(super) fn take_done(&self) -> Vec<(RowKey, Made)> {
        let mut state = self.lock();
        if state.done.is_empty() {
            return Vec::new(); // and the worker need not be woken for it, ten times a second
        }
        state.done_bytes = 0;
        self.work.notify_one();
        std::mem::take(&mut state.done)
    }

    /// Waits until there is an answer, nothing is left to wait for, or the time is over. True if there is one.
    pub(super) fn wait_done(&self, at_most: Duration) -> bool {
        let must_wait = |state: &mut State| state.done.is_empty() && !state.is_idle() && !state.is_closed;
        let waited = self.finished.wait_timeout_while(self.lock(), at_most, must_wait);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.done.is_empty()
    }

    /// Whether nothing waits, is made, or is ready to be taken.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.is_closed && state.done.is_empty() || state.is_idle()
    }

    /// Ends the worker when it is done with its file, and what waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.current = None;
        state.waiting.clear();
        self.work.notify_all();
        self.finished.notify_all();
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none() && self.done.is_empty()
    }
}

/// Smaller is earlier; see the head of this file.
fn rank(key: RowKey, waiting: &Waiting) -> (u32, u32, RowKey) {
    (u64::BITS - waiting.bytes.leading_zeros(), u32::MAX - waiting.heat, key)
}

fn made_bytes(made: &Made) -> usize {
    match made {
        Some(Ok(rows)) => rows.bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::FileId;

    fn key(number: u32) -> RowKey {
        RowKey::File(FileId(number))
    }

    fn order(queue: &RowQueue) -> Vec<RowKey> {
        let mut order = Vec::new();
        while !queue.is_idle() {
            let (key, _) = queue.next().unwrap();
            order.push(key);
            queue.finish(key, None, RowsWork::default());
            queue.take_done();
        }
        order
    }

    #[test]
    fn small_files_come_first_and_hot_ones_before_cold_ones_of_their_size() {
        let queue = RowQueue::default();
        for (number, bytes, asks) in
            [(0, 40 << 20, 90), (1, 90_000, 1), (2, 70_000, 1), (3, 100_000, 5), (4, 20, 1)]
        {
            assert_eq!(queue.ask(key(number), bytes, Job::Vdso), Asked::Waits);
            (1..asks).for_each(|_| assert!(queue.ask_again(key(number))));
        }
        assert!(!queue.ask_again(key(9)));
        assert_eq!(order(&queue), [key(4), key(3), key(1), key(2), key(0)]);
    }

    #[test]
    fn what_comes_late_is_still_before_larger_ones() {
        let queue = RowQueue::default();
        queue.ask(key(0), 100, Job::Vdso);
        queue.ask(key(1), 1 << 30, Job::Vdso);
        assert_eq!(queue.next().unwrap().0, key(0));
        queue.ask(key(2), 100, Job::Vdso);
        assert!(queue.ask_again(key(0)), "it is being made");
        queue.finish(key(0), None, RowsWork::default());
        assert!(queue.ask_again(key(0)), "its rows wait to be taken");
        assert_eq!(order(&queue), [key(2), key(1)]);
    }

    #[test]
    fn what_is_forgotten_is_neither_made_nor_given() {
        let queue = RowQueue::default();
        (0..3).for_each(|number| assert_eq!(queue.ask(key(number), 1, Job::Vdso), Asked::Waits));
        assert_eq!(queue.next().unwrap().0, key(0));
        [0, 1].into_iter().for_each(|number| queue.forget(key(number)));
        queue.finish(key(0), None, RowsWork::default());
        assert!(queue.take_done().is_empty());
        assert_eq!(order(&queue), [key(2)]);
    }

    #[test]
    fn requests_are_bounded_and_end_with_the_queue() {
        let queue = RowQueue::default();
        let taken = |number: usize| queue.ask(key(u32::try_from(number).unwrap()), 1, Job::Vdso);
        assert!((0..REQUESTS_MAX).all(|number| taken(number) == Asked::Waits));
        assert_eq!(taken(REQUESTS_MAX), Asked::Refused);
        assert!(!queue.wait_done(Duration::ZERO));
        queue.close();
        assert_eq!(taken(0), Asked::Closed);
        assert!(queue.next().is_none() && queue.is_idle());
        assert!(!queue.wait_done(Duration::MAX), "nothing to wait for");
    }
}
