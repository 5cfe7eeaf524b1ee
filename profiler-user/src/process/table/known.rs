//! What events did not tell of a process → read from `/proc`: those that are older than our events, and those of
//! which events were lost.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::live::Live;
use super::{ProcessTable, Root, next};
use crate::collect::{RawSample, Tgid, Tid};
use crate::host::MonotonicNanos;
use crate::process::scan::{self, ScannedProcess};

/// Between two readings of the mappings of a process that keeps having code where none is mapped.
pub(super) const DOUBT_NANOS_MIN: u64 = 1_000_000_000;
/// The same where it was of no use before.
const DOUBT_NANOS_MAX: u64 = 64_000_000_000;
/// `/proc/PID/stat` tells the start in clock ticks of 10 ms.
const START_TIME_SLACK_NANOS: u64 = 20_000_000;

impl ProcessTable {
    /// Reads about some of the processes that are older than our events, so that they are known even if
    /// their first sample comes with their end. Gives whether any are left.
    pub fn read_older(&mut self, processes_max: usize) -> bool {
        self.end_unseen(processes_max);
        let first = self.unread.len().saturating_sub(processes_max);
        for tgid in self.unread.drain(first..) {
            if let Entry::Vacant(entry) = self.live.entry(tgid)
                && let Some(found) = scan::scan(&self.proc, tgid)
            {
                entry.insert(Live::scanned(found, next(&mut self.next_generation)));
            }
        }
        !self.unread.is_empty()
    }

    /// Ends processes that are gone and whose end was among the events that were lost.
    fn end_unseen(&mut self, processes_max: usize) {
        let first = self.unverified.len().saturating_sub(processes_max);
        for (at, tgid) in self.unverified.drain(first..) {
            if scan::is_there(&self.proc, tgid) {
                continue;
            }
            let Some(live) = self.live.get_mut(&tgid).filter(|live| !live.threads.is_empty()) else {
                continue;
            };
            live.threads.clear();
            self.ended.push_back((at, tgid));
        }
    }

    /// Reads a process's mappings again with its next sample: code was seen where none is mapped. The kernel does not
    /// tell of munmap and mremap. Not more often than once a second, and more and more seldom while nothing new is found.
    pub fn doubt(&mut self, tgid: Tgid, now: MonotonicNanos) {
        if let Some(live) = self.live.get_mut(&tgid)
            && live.doubted.is_none_or(|before| now.0.saturating_sub(before.0) > live.doubt_nanos)
        {
            live.doubted = Some(now);
            live.is_known = false;
        }
    }

    /// Brings what is known of a process up to date with its sample.
    pub(super) fn make_known(&mut self, sample: &RawSample) {
        let differs = |known: u64| known != 0 && known.abs_diff(sample.start_time) > START_TIME_SLACK_NANOS;
        let known = self.live.get(&sample.tgid);
        // Another program than its last sample's, of which an event that was missed would have told.
        let has_missed = self.has_missed_events;
        let has_executed = |live: &Live| has_missed && live.exec_id != 0 && live.exec_id != sample.exec_id;
        let is_other =
            |live: &Live| sample.start_time != 0 && (differs(live.start_time) || has_executed(live));
        let is_stale = known.is_some_and(is_other);
        if known.is_some_and(|live| live.is_known) && !is_stale {
            return;
        }
        let scanned = scan::scan(&self.proc, sample.tgid)
            .filter(|found| sample.start_time == 0 || !differs(found.start_time));
        match scanned {
            Some(found) => self.adopt(sample.tgid, found, is_stale),
            None if is_stale || known.is_none() => {
                self.live.remove(&sample.tgid);
            }
            None => self.inherit_late(sample.tgid),
        }
    }

    fn adopt(&mut self, tgid: Tgid, found: ScannedProcess, is_stale: bool) {
        let generation = next(&mut self.next_generation);
        let before = self.live.remove(&tgid).filter(|_| !is_stale);
        if let Some(before) = &before
            && !before.is_suspect
            && before.mappings.are_laid_out_like(&found.mappings)
        {
            // Events would have told of other files at the same places. What was opened stays so.
            let doubt_nanos = before.doubt_nanos.saturating_mul(2).min(DOUBT_NANOS_MAX);
            let mappings_verified = before.mappings.len();
            self.live.insert(tgid, Live { is_known: true, doubt_nanos, mappings_verified, ..before.clone() });
            return;
        }
        let live = Live {
            started: before.as_ref().and_then(|live| live.started),
            parent: before.as_ref().and_then(|live| live.parent),
            has_executed: before.as_ref().is_some_and(|live| live.has_executed),
            doubted: before.as_ref().and_then(|live| live.doubted),
            code_replaced: before.as_ref().and_then(|live| live.code_replaced),
            root: before.as_ref().map_or(Root::NotNeeded, |live| live.root.clone()),
            sampled_as: before.and_then(|live| live.sampled_as),
            ..Live::scanned(found, generation)
        };
        self.live.insert(tgid, live);
    }

    /// A forked child of a process that we did not know either, gone by now: it had its parent's memory.
    fn inherit_late(&mut self, tgid: Tgid) {
        let Some(parent) = self.live.get(&tgid).and_then(|live| live.parent) else { return };
        let Some(found) = scan::scan(&self.proc, parent) else { return };
        if let Some(live) = self.live.get_mut(&tgid) {
            live.executable_name = Arc::clone(&found.executable_name);
            live.threads.entry(Tid(tgid.0)).and_modify(|name| *name = found.executable_name);
            live.mappings = Arc::new(found.mappings);
            live.mappings_generation = next(&mut self.next_generation);
            live.is_known = true;
        }
    }
}
