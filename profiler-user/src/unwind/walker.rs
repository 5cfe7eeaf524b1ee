//! Sampled processes → published ones: which the walker is to know, and when.
//!
//! A process is published after its second sample, so that a storm of short ones never writes the kernel's
//! tables; again when its mappings change, and again when rows of its files are ready.

use std::collections::{HashMap, HashSet};

use profiler_common::abi::WalkedProcess;

use super::publish::Publisher;
use super::snapshots::TextPageOf;
use super::store::{RowKey, RowStore, RowsAt};
use crate::collect::{RawSample, Tgid};
use crate::host::MonotonicNanos;
use crate::process::FileId;
use crate::process::mappings::Backing;
use crate::process::table::{ProcessTable, SampleOwner};

/// Samples after which a process is worth a place in the tables.
const SAMPLES_MIN: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Seen {
    samples: u32,
    start_time: u64,
    exec_id: u32,
    /// Generation of its mappings now, and as published.
    generation: u64,
    published: Option<u64>,
}

/// Keeps the walker's tables in step with the processes.
pub struct Walker {
    publisher: Publisher,
    store: RowStore,
    seen: HashMap<Tgid, Seen>,
    /// Files whose rows were asked for, and who waits for them.
    waiting: HashMap<FileId, HashSet<Tgid>>,
    /// Files that have no rows and will not get any.
    without_rows: HashSet<FileId>,
    due: HashSet<Tgid>,
}

impl Walker {
    /// Over empty tables.
    pub fn new(publisher: Publisher, store: RowStore) -> Self {
        Self {
            publisher,
            store,
            seen: HashMap::new(),
            waiting: HashMap::new(),
            without_rows: HashSet::new(),
            due: HashSet::new(),
        }
    }

    /// Rows of files, for who walks stacks off line.
    pub fn store(&mut self) -> &mut RowStore {
        &mut self.store
    }

    /// Notes pages that a walk off line came through.
    pub fn want(&mut self, _pages: &[TextPageOf]) {}

    /// Notes a sample of a process with user memory.
    pub fn saw(&mut self, sample: &RawSample, owner: SampleOwner) {
        let (start_time, exec_id, generation) =
            (sample.start_time, sample.exec_id, owner.mappings_generation);
        let fresh = Seen { samples: 0, start_time, exec_id, generation, published: None };
        let seen = self.seen.entry(sample.tgid).or_insert(fresh);
        if (seen.start_time, seen.exec_id) != (start_time, exec_id) {
            *seen = fresh;
        }
        seen.samples = seen.samples.saturating_add(1);
        seen.generation = generation;
        if seen.samples >= SAMPLES_MIN && seen.published != Some(generation) {
            self.due.insert(sample.tgid);
        }
    }

    /// Loads rows that are ready and publishes what is due.
    pub fn round(&mut self, processes: &mut ProcessTable, now: MonotonicNanos) {
        for key in self.store.collect() {
            let RowKey::File(id) = key else { continue };
            let rows = self.store.rows(key, processes.files());
            // A file that is damaged, or has no room, is walked by frame pointers.
            if !matches!(rows, RowsAt::Ready(rows) if self.publisher.file(id, &rows).is_ok()) {
                self.without_rows.insert(id);
            }
            self.due.extend(self.waiting.remove(&id).unwrap_or_default());
        }
        for tgid in std::mem::take(&mut self.due) {
            self.publish(tgid, processes, now);
        }
    }

    fn publish(&mut self, tgid: Tgid, processes: &mut ProcessTable, now: MonotonicNanos) {
        let Some(mappings) = processes.opened_mappings(tgid) else { return };
        let Some(seen) = self.seen.get_mut(&tgid) else { return };
        for mapping in &mappings {
            let Backing::File(id) = mapping.backing else { continue };
            if self.publisher.has_rows(id) || self.without_rows.contains(&id) {
                continue;
            }
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.insert(tgid);
                continue;
            }
            match self.store.rows(RowKey::File(id), processes.files()) {
                RowsAt::Never(_) => {
                    self.without_rows.insert(id);
                }
                _ => {
                    self.waiting.insert(id, HashSet::from([tgid]));
                }
            }
        }
        let process =
            WalkedProcess { start_time: seen.start_time, exec_id: seen.exec_id, ..WalkedProcess::default() };
        seen.published = Some(seen.generation);
        // A full table leaves the process to the frame pointers.
        let _unpublished = self.publisher.process(tgid, process, &mappings, processes.files(), now);
    }

    /// Forgets a process that has ended.
    pub fn forget(&mut self, tgid: Tgid, now: MonotonicNanos) {
        self.seen.remove(&tgid);
        self.publisher.forget(tgid, now);
    }
}
