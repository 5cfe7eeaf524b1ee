//! Sampled processes → published ones: which the walker is to know, and when; and which pages of text it is to have.
//!
//! A process is published after its second sample, or when it has lived for a while after its first, so that a storm of
//! short ones never writes the kernel's tables; again when its mappings change. What one round does is bounded: the
//! rest is for the next.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use profiler_common::abi::{LIFE_NANOS_MIN, WalkedProcess};
use profiler_common::outcome::Outcome;

use super::ahead::Ahead;
use super::publisher::{Publisher, TablesBytes};
use super::queue::RowsWork;
use super::store::{RowKey, RowStore, RowsAt};
use super::text_pages::Wish;
use crate::collect::loss::Counts;
use crate::collect::{RawSample, Tgid};
use crate::host::MonotonicNanos;
use crate::process::FileId;
use crate::process::table::{ProcessTable, SampleOwner};
use crate::sample::chain;

/// Samples after which a process is worth a place in the tables; or one, if it still runs after [`LIFE_NANOS_MIN`].
const SAMPLES_MIN: u32 = 2;
/// Processes that a round publishes: with some 20 mappings each a millisecond.
const PROCESSES_A_ROUND: usize = 64;
/// Mappings that a round writes, if it is not one process alone that has more.
const MAPPINGS_A_ROUND: usize = 2048;
/// A process whose mappings change all the time is published again after so long for each of them, at most a second.
const AGAIN_NANOS_A_MAPPING: u64 = 1_000_000;
/// A process that replaced code is not published before it has left its code alone for so long: the kernel half would
/// walk by what lay there before, until it is told. Its samples come as snapshots instead, which are always right.
const QUIET_NANOS: u64 = 10_000_000_000;
/// A round that began now has written its tables by then.
const ROUND_NANOS_MAX: u64 = 100_000_000;
/// When a process that found no room is tried again, if room comes by itself; else ten times later.
const RETRY_NANOS: u64 = 1_000_000_000;
/// Pages that are remembered as wanted.
const WISHES_MAX: usize = 4096;
/// Pages that a round loads: some 2 ms.
const PAGES_A_ROUND: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Seen {
    samples: u32,
    start_time: u64,
    exec_id: u32,
    /// Generation of its mappings now, and as published.
    generation: u64,
    published: Option<u64>,
    /// Not published again before.
    not_before: MonotonicNanos,
    is_due: bool,
    /// Counted among those that found no room.
    is_counted: bool,
    /// The entry in the kernel's tables, and the one before.
    entries: [Option<Entry>; 2],
}

impl Seen {
    fn process(&self) -> WalkedProcess {
        WalkedProcess { start_time: self.start_time, exec_id: self.exec_id, ..WalkedProcess::default() }
    }
}

/// What the kernel half has walked a process by, from a time on.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Since when.
    since: MonotonicNanos,
    /// The mappings are those of this time.
    as_of: MonotonicNanos,
}

/// Keeps the walker's tables in step with the processes.
pub struct Walker {
    publisher: Publisher,
    store: RowStore,
    seen: HashMap<Tgid, Seen>,
    /// When to look at a process again without a sample.
    alarms: BTreeSet<(MonotonicNanos, Tgid)>,
    due: VecDeque<Tgid>,
    ahead: Ahead,
    /// Pages that are not loaded, and how many walks came by.
    wishes: HashMap<(RowKey, u32), u32>,
    counts: Counts,
}

impl Walker {
    /// Over empty tables.
    pub fn new(publisher: Publisher, store: RowStore) -> Self {
        Self {
            publisher,
            store,
            seen: HashMap::new(),
            alarms: BTreeSet::new(),
            due: VecDeque::new(),
            ahead: Ahead::default(),
            wishes: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// Rows of files, for who walks stacks off line.
    pub fn store(&mut self) -> &mut RowStore {
        &mut self.store
    }

    /// Memory of the tables in the kernel.
    pub fn bytes(&self) -> TablesBytes {
        self.publisher.bytes()
    }

    /// What making rows has come to.
    pub fn work(&self) -> RowsWork {
        self.store.work()
    }

    /// Files whose unwind information cannot be used, and why; the vdso has none.
    pub fn unusable(&self) -> impl Iterator<Item = (FileId, String)> + '_ {
        self.store.unusable().filter_map(|(key, why)| match key {
            RowKey::File(id) => Some((id, why.to_string())),
            RowKey::Vdso => None,
        })
    }

    /// What found no room, what was unloaded, and what cannot be used.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        counts.add(Outcome::UnwindInfoUnusable, self.store.unusable_met());
        counts
    }

    /// Notes a sample of a process with user memory.
    pub fn saw(&mut self, sample: &RawSample, owner: SampleOwner) {
        let fresh = Seen {
            samples: 0,
            start_time: sample.start_time,
            exec_id: sample.exec_id,
            generation: owner.mappings_generation,
            published: None,
            not_before: MonotonicNanos(0),
            is_due: false,
            is_counted: false,
            entries: [None; 2],
        };
        let seen = self.seen.entry(sample.tgid).or_insert(fresh);
        if (seen.start_time, seen.exec_id) != (fresh.start_time, fresh.exec_id) {
            *seen = Seen { is_due: seen.is_due, ..fresh };
        }
        seen.samples = seen.samples.saturating_add(1);
        seen.generation = fresh.generation;
        if let Some(replaced) = owner.code_replaced {
            seen.not_before = seen.not_before.max(MonotonicNanos(replaced.0.saturating_add(QUIET_NANOS)));
        }
        let age = owner.started.map(|started| sample.at.0.saturating_sub(started.0));
        if seen.samples >= SAMPLES_MIN || age.is_none_or(|age| age >= LIFE_NANOS_MIN) {
            self.make_due(sample.tgid);
        } else {
            self.alarms.insert((MonotonicNanos(sample.at.0.saturating_add(LIFE_NANOS_MIN)), sample.tgid));
        }
    }

    fn make_due(&mut self, tgid: Tgid) {
        let Some(seen) = self.seen.get_mut(&tgid) else { return };
        if !seen.is_due && seen.published != Some(seen.generation) {
            seen.is_due = true;
            self.due.push_back(tgid);
        }
    }

    /// Whether the kernel half walked a sample by mappings that were no longer true. Its process is then taken out of the
    /// tables until it has left its code alone for a while.
    pub fn is_misled(&mut self, sample: &RawSample, owner: SampleOwner, now: MonotonicNanos) -> bool {
        let published = |tgid| self.seen.get(&tgid).and_then(|seen: &Seen| seen.published);
        let of_parent = owner.parent.and_then(published);
        let Some(seen) = self.seen.get_mut(&sample.tgid) else { return false };
        let mut entries = seen.entries.iter().flatten();
        let is_misled = match entries.clone().find(|entry| entry.since <= sample.at).or(entries.next_back()) {
            Some(used) => owner.code_replaced.is_some_and(|replaced| used.as_of < replaced),
            // It was walked by its parent's mappings, if these were its own too.
            None => of_parent.is_some_and(|generation| generation != owner.mappings_generation),
        };
        if is_misled {
            seen.published = None;
            if self.publisher.hold(sample.tgid, seen.process(), now).is_err() {
                self.publisher.forget(sample.tgid, now);
            }
            self.make_due(sample.tgid);
        }
        is_misled
    }

    /// Notes that a walk came by 64 KiB of text that is not loaded: linked address without its 16 low bits.
    pub fn want(&mut self, key: RowKey, page: u32) {
        if self.wishes.len() < WISHES_MAX || self.wishes.contains_key(&(key, page)) {
            let heat = self.wishes.entry((key, page)).or_default();
            *heat = heat.saturating_add(1);
        }
    }

    /// Takes the rows that were made since. Before stacks that wait for them are walked, and before [`Self::round`], so
    /// that pages which those walks come by are loaded in it.
    pub fn collect(&mut self) {
        self.store.collect();
    }

    /// Publishes what is due and loads what is wanted. `as_of` is the time of what `processes` knows.
    pub fn round(&mut self, processes: &mut ProcessTable, now: MonotonicNanos, as_of: MonotonicNanos) {
        for id in self.store.take_closed() {
            if !processes.reopen(id) {
                self.store.give_up(id);
            }
        }
        self.ring_alarms(processes, now);
        self.publish_due(processes, now, as_of);
        self.load_wanted(processes, now);
    }

    fn ring_alarms(&mut self, processes: &ProcessTable, now: MonotonicNanos) {
        while let Some(&(at, tgid)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            if processes.is_running(tgid) {
                self.make_due(tgid);
            }
        }
    }

    fn publish_due(&mut self, processes: &mut ProcessTable, now: MonotonicNanos, as_of: MonotonicNanos) {
        let mut mappings_left = MAPPINGS_A_ROUND;
        for _ in 0..self.due.len().min(PROCESSES_A_ROUND) {
            if mappings_left == 0 {
                return;
            }
            let Some(tgid) = self.due.pop_front() else { return };
            let written = self.publish(tgid, processes, now, as_of);
            mappings_left = mappings_left.saturating_sub(written);
        }
    }

    /// Gives the number of mappings that were written, or 1 for a process that shares another's.
    fn publish(
        &mut self,
        tgid: Tgid,
        processes: &mut ProcessTable,
        now: MonotonicNanos,
        as_of: MonotonicNanos,
    ) -> usize {
        let Some(seen) = self.seen.get_mut(&tgid) else { return 0 };
        seen.is_due = false;
        if now < seen.not_before {
            self.alarms.insert((seen.not_before, tgid));
            if seen.published.is_none() {
                // Or the kernel half would take its parent's mappings for its own. If there is no room it does.
                let _full = self.publisher.hold(tgid, seen.process(), now);
            }
            return 0;
        }
        if !processes.is_running(tgid) {
            return 0; // its id stays for a while after its end, but nothing of it will be sampled
        }
        let process = seen.process();
        // What is mapped now may be newer than the sample.
        let Some(generation) = processes.known_generation(tgid) else { return 0 };
        seen.generation = generation;
        let (count, published) = match self.publisher.join(tgid, process, generation, now) {
            Some(joined) => (1, joined.map(|()| true)),
            None => {
                let mappings = processes.pinned_mappings(tgid);
                let (of, files) = ((generation, &*mappings), processes.files());
                let published = self.publisher.process(tgid, process, of, &self.store, files, now);
                (mappings.len(), published)
            }
        };
        seen.published = Some(seen.generation);
        let since = MonotonicNanos(now.0.saturating_add(ROUND_NANOS_MAX));
        seen.entries = [Some(Entry { since, as_of }), seen.entries[0]];
        let pause = u64::try_from(count).unwrap_or(0).saturating_mul(AGAIN_NANOS_A_MAPPING);
        seen.not_before = MonotonicNanos(now.0.saturating_add(pause.min(RETRY_NANOS)));
        if published.is_err() {
            self.publisher.forget(tgid, now); // what is there may be out of date
        }
        if !published.unwrap_or(false) {
            self.counts.add(Outcome::UnwindTablesFull, u64::from(!seen.is_counted));
            seen.is_counted = true;
            seen.published = None;
            let pause = if self.publisher.is_cooling() { RETRY_NANOS } else { 10 * RETRY_NANOS };
            seen.not_before = MonotonicNanos(now.0.saturating_add(pause));
            self.alarms.insert((seen.not_before, tgid));
        }
        count
    }

    fn load_wanted(&mut self, processes: &ProcessTable, now: MonotonicNanos) {
        let publisher = &self.publisher;
        self.wishes.retain(|(key, page), _| publisher.is_wanted(*key, *page));
        let mut hottest: Vec<(u32, RowKey, u32)> =
            self.wishes.iter().map(|(&(key, page), &heat)| (heat, key, page)).collect();
        hottest.sort_unstable_by_key(|&(heat, key, page)| (u32::MAX - heat, key, page));
        let mut known: HashMap<RowKey, RowsAt> = HashMap::new();
        let mut wishes = Vec::new();
        for (heat, key, page) in hottest {
            let at = known.entry(key).or_insert_with(|| self.store.rows(key, processes.files()));
            let rows = match at {
                RowsAt::Ready(rows) => Some(rows.clone()),
                RowsAt::Never(_) => None,
                RowsAt::Pending => continue,
            };
            self.ahead.met(key, rows.as_ref().map_or(0, |rows| rows.pages().len()));
            wishes.push(Wish { key, page, rows, heat });
            if wishes.len() >= PAGES_A_ROUND {
                break;
            }
        }
        let room = PAGES_A_ROUND - wishes.len();
        wishes.extend(self.ahead.wishes(room, &self.publisher, &mut self.store, processes.files()));
        if !wishes.is_empty() {
            // What could not be written is wanted again by the next walk.
            let unloaded = self.publisher.load(wishes, now).unwrap_or_else(|error| {
                tracing::warn!(error = chain(&error), "rows could not be written to the walker's tables");
                0
            });
            self.counts.add(Outcome::TextPagesUnloaded, unloaded);
        }
    }

    /// Files that the tables name.
    pub fn published_files(&self) -> HashSet<FileId> {
        self.publisher.files()
    }

    /// Lets go of all that is kept for files whose ids will not come again: rows, pages in the tables, wishes.
    pub fn forget_files(&mut self, files: &[FileId], now: MonotonicNanos) {
        for id in files {
            self.store.forget(*id);
            self.publisher.forget_file(RowKey::File(*id), now);
            self.ahead.forget(RowKey::File(*id));
        }
    }

    /// Forgets a process that has ended.
    pub fn forget(&mut self, tgid: Tgid, now: MonotonicNanos) {
        self.seen.remove(&tgid);
        self.publisher.forget(tgid, now);
    }
}

#[cfg(test)]
mod tests;
