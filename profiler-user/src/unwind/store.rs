//! Which file's rows are wanted → its rows, kept in memory up to a bound, made by the worker.
//!
//! ```text
//!   rows(key) ─┬ kept ──────▶ Ready
//!              ├ unusable ──▶ Never, and why
//!              └ else ──────▶ Pending, asked of the worker ── collect ──▶ kept or unusable
//! ```
//!
//! Who walks stacks off line and who fills the kernel's tables ask here. Never waits but in [`RowStore::wait`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::cache::RowCache;
use super::error::UnwindError;
use super::queue::{Asked, Job, Made, RowQueue, RowsWork, WantedFile};
use super::{FileRows, is_native, worker};
use crate::host::{Clock, ProcFs};
use crate::process::FileId;
use crate::process::files::FileTable;

/// What has rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// An ELF file.
    File(FileId),
    /// The kernel's page of user code, the same in every process of our own architecture.
    Vdso,
}

/// Where the rows of a file are.
#[derive(Clone, Debug)]
pub enum RowsAt {
    /// Here.
    Ready(Arc<FileRows>),
    /// Being made; [`RowStore::collect`] tells when it is worth asking again.
    Pending,
    /// There will be none; its frames are walked by frame pointers.
    Never(NoRows),
}

/// Why there will be no rows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoRows {
    /// No ELF file, or one that could not be opened or kept open.
    #[error("not an ELF file that could be opened")]
    NotOpen,
    /// Damaged, too large, or for another machine.
    #[error("{0}")]
    Unusable(#[source] Arc<UnwindError>),
    /// The kernel gives its processes no page of user code.
    #[error("there is no vdso")]
    NoVdso,
    /// The thread that makes rows has ended, which is a fault of ours.
    #[error("the thread that makes rows has ended")]
    NoWorker,
}

#[derive(Debug)]
struct Kept {
    rows: Arc<FileRows>,
    last_asked: u64,
}

/// Rows of all files.
#[derive(Debug)]
pub struct RowStore {
    queue: Arc<RowQueue>,
    kept: HashMap<RowKey, Kept>,
    kept_bytes: usize,
    bytes_max: usize,
    /// Counts what was asked, so that the least recently asked can be told.
    asks: u64,
    never: HashMap<RowKey, NoRows>,
    /// Files that were closed, to be opened again for who asked.
    closed: BTreeSet<FileId>,
    /// Those of which this was tried in vain.
    given_up: HashSet<FileId>,
    /// Files whose unwind information could not be used, so far.
    unusable_met: u64,
}

impl RowStore {
    /// Starts the thread that makes rows, and reads and writes the cache; it ends with this. Rows of so many bytes are kept, the
    /// ones asked for last; what was let go is read from the cache or made again. `begin` is what the thread does first.
    pub fn start(
        proc: ProcFs,
        clock: Clock,
        cache: Option<RowCache>,
        bytes_max: usize,
        begin: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(RowQueue::default());
        worker::start(Arc::clone(&queue), proc, clock, cache, begin)?;
        Ok(Self::over(queue, bytes_max))
    }

    fn over(queue: Arc<RowQueue>, bytes_max: usize) -> Self {
        Self {
            queue,
            kept: HashMap::new(),
            kept_bytes: 0,
            bytes_max,
            asks: 0,
            never: HashMap::new(),
            closed: BTreeSet::new(),
            given_up: HashSet::new(),
            unusable_met: 0,
        }
    }

    /// The rows of a file, or of the vdso. If they are not at hand the worker is asked for them; each time counts for
    /// how early it makes them.
    pub fn rows(&mut self, key: RowKey, files: &FileTable) -> RowsAt {
        self.asks += 1;
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.last_asked = self.asks;
            return RowsAt::Ready(Arc::clone(&kept.rows));
        }
        if let Some(why) = self.never.get(&key) {
            return RowsAt::Never(why.clone());
        }
        if self.queue.ask_again(key) {
            return RowsAt::Pending;
        }
        match self.ask(key, files) {
            Ok(Asked::Waits | Asked::Refused) => RowsAt::Pending,
            Ok(Asked::Closed) => self.never(key, NoRows::NoWorker),
            // It may be opened again.
            Err(NoRows::NotOpen) => self.not_open(key, files),
            Err(why) => self.never(key, why),
        }
    }

    fn not_open(&mut self, key: RowKey, files: &FileTable) -> RowsAt {
        let RowKey::File(id) = key else { return RowsAt::Never(NoRows::NotOpen) };
        let is_elf = files.get(id).is_some_and(|known| known.elf.is_some());
        if !is_elf || self.given_up.contains(&id) {
            return RowsAt::Never(NoRows::NotOpen);
        }
        self.closed.insert(id);
        RowsAt::Pending
    }

    /// Files that rows were asked of and that are closed. Who takes them opens them again, or says that it cannot.
    pub(super) fn take_closed(&mut self) -> BTreeSet<FileId> {
        std::mem::take(&mut self.closed)
    }

    /// A file cannot be opened again. If it is some day, all the better.
    pub(super) fn give_up(&mut self, id: FileId) {
        self.given_up.insert(id);
    }

    /// Lets go of all rows; they are read or made again when they are asked for.
    pub fn empty(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// What is kept takes so much.
    pub fn bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Lets go of all that is kept for a file whose id will not come again.
    pub(super) fn forget(&mut self, id: FileId) {
        let key = RowKey::File(id);
        if let Some(kept) = self.kept.remove(&key) {
            self.kept_bytes -= kept.rows.bytes();
        }
        self.never.remove(&key);
        self.closed.remove(&id);
        self.given_up.remove(&id);
        self.queue.forget(key);
    }

    /// Whether it is known that there will be no rows. Asks nobody.
    pub fn has_none(&self, key: RowKey) -> bool {
        self.never.contains_key(&key)
    }

    fn ask(&self, key: RowKey, files: &FileTable) -> Result<Asked, NoRows> {
        let RowKey::File(id) = key else { return Ok(self.queue.ask(key, 0, Job::Vdso)) };
        let found = files.get(id).and_then(|known| Some((known, known.file.as_ref()?, known.elf.as_ref()?)));
        let (known, file, headers) = found.ok_or(NoRows::NotOpen)?;
        if !is_native(headers) {
            return Err(NoRows::Unusable(Arc::new(UnwindError::ForeignMachine)));
        }
        // Out of descriptors for a moment; the next ask may find one.
        let Ok(file) = file.try_clone() else { return Ok(Asked::Refused) };
        let bytes = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let (path, root) = (known.path.clone(), known.root.clone());
        let wanted = WantedFile { file, headers: headers.clone(), path, root };
        Ok(self.queue.ask(key, bytes, Job::File(Box::new(wanted))))
    }

    fn never(&mut self, key: RowKey, why: NoRows) -> RowsAt {
        self.unusable_met += u64::from(matches!(why, NoRows::Unusable(_)));
        self.never.insert(key, why.clone());
        RowsAt::Never(why)
    }

    /// Takes what the worker has done since.
    pub fn collect(&mut self) {
        let done = self.queue.take_done();
        done.into_iter().for_each(|(key, made)| self.keep(key, made));
    }

    fn keep(&mut self, key: RowKey, made: Made) {
        match made {
            Some(Ok(rows)) => {
                self.asks += 1;
                self.kept_bytes += rows.bytes();
                self.kept.insert(key, Kept { rows: Arc::new(rows), last_asked: self.asks });
                self.let_go(key);
            }
            Some(Err(error)) => {
                self.never(key, NoRows::Unusable(Arc::new(error)));
            }
            None => {
                self.never(key, NoRows::NoVdso);
            }
        }
    }

    /// Lets go of what was asked for longest ago until the bound holds, but for `newest`.
    fn let_go(&mut self, newest: RowKey) {
        while self.kept_bytes > self.bytes_max {
            let others = self.kept.iter().filter(|(key, _)| **key != newest);
            let oldest = others.min_by_key(|(_, kept)| kept.last_asked).map(|(key, _)| *key);
            let Some(kept) = oldest.and_then(|key| self.kept.remove(&key)) else { return };
            self.kept_bytes -= kept.rows.bytes();
        }
    }

    /// What the thread that makes rows has done so far.
    pub fn work(&self) -> RowsWork {
        self.queue.work()
    }

    /// Waits until the worker has done something, nothing is left to wait for, or the time is over. True if there is
    /// something to collect.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.queue.wait_done(at_most)
    }

    /// Whether nothing is being made and nothing waits to be collected.
    pub fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    /// How many files there were whose unwind information cannot be used, with those that were forgotten since.
    pub(super) fn unusable_met(&self) -> u64 {
        self.unusable_met
    }

    /// Files whose unwind information cannot be used, and why. Those that were never opened are not among them.
    pub fn unusable(&self) -> impl Iterator<Item = (RowKey, &UnwindError)> {
        self.never.iter().filter_map(|(key, why)| match why {
            NoRows::Unusable(error) => Some((*key, &**error)),
            _ => None,
        })
    }
}

impl Drop for RowStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
