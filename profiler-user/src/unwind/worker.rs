//! Files → rows, in a thread of low priority: small files first, never on the path of a sample.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Budget, FileRows, UnwindError, read_rows};
use crate::elf::ElfHeaders;
use crate::process::FileId;

/// Requests that wait; one more is refused and asked again later.
const REQUESTS_MAX: usize = 1024;
/// Behind what the host is for, but not starved by it.
const NICE: i32 = 10;

/// A file to be read.
struct Request {
    bytes: u64,
    id: FileId,
    file: File,
    headers: ElfHeaders,
}

/// The worker and what it has done.
pub struct RowWorker {
    requests: SyncSender<Request>,
    done: Receiver<(FileId, Result<FileRows, UnwindError>)>,
}

impl RowWorker {
    /// Starts the thread; it ends when this is dropped.
    pub fn start() -> io::Result<Self> {
        let (requests, requested) = sync_channel(REQUESTS_MAX);
        let (results, done) = sync_channel(REQUESTS_MAX);
        std::thread::Builder::new().name("rows".to_owned()).spawn(move || work(&requested, &results))?;
        Ok(Self { requests, done })
    }

    /// Asks for the rows of a file. False if too many wait.
    pub fn request(&self, id: FileId, file: &File, headers: &ElfHeaders) -> bool {
        let Ok(file) = file.try_clone() else { return false };
        let bytes = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        self.requests.try_send(Request { bytes, id, file, headers: headers.clone() }).is_ok()
    }

    /// What is done by now.
    pub fn done(&self) -> impl Iterator<Item = (FileId, Result<FileRows, UnwindError>)> + '_ {
        self.done.try_iter()
    }
}

fn work(requested: &Receiver<Request>, results: &SyncSender<(FileId, Result<FileRows, UnwindError>)>) {
    // A thread of higher priority does the same, only less politely.
    let _as_it_is = rustix::process::nice(NICE);
    let mut waiting: BinaryHeap<Request> = BinaryHeap::new();
    while let Some(request) = waiting.pop().or_else(|| requested.recv().ok()) {
        waiting.push(request);
        waiting.extend(requested.try_iter());
        let Some(smallest) = waiting.pop() else { continue };
        let rows = read_rows(&smallest.file, &smallest.headers, Budget::default());
        if results.send((smallest.id, rows)).is_err() {
            return; // nobody waits any more
        }
    }
}

// Ordered so that the heap gives the smallest file first.
impl Ord for Request {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.bytes.cmp(&self.bytes).then_with(|| other.id.cmp(&self.id))
    }
}

impl PartialOrd for Request {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Request {}
