//! What was sampled from one cut to the next is handed over; what nobody needs any more is let go.
//!
//! So the table holds what is alive, what was sampled since the last cut, and files that were sampled in the last minutes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{ProcessTable, Root, SampleOwner, Sampled, SampledProcess, SampledThread};
use crate::collect::Tgid;
use crate::host::MonotonicNanos;
use crate::process::mappings::{Backing, Mapping};
use crate::process::{FileId, Place, ProcessId, ThreadId};

/// A process that was not sampled in so many segments needs no root folder for now.
const ROOT_SEGMENTS_MAX: u32 = 8;

impl ProcessTable {
    /// Hands over what was sampled, with the files of these places, and begins anew: ids given before mean nothing from now
    /// on. Those that are still held are `carried` over.
    pub fn take_sampled<'a>(
        &mut self,
        places: &[Place],
        carried: impl Iterator<Item = &'a mut SampleOwner>,
    ) -> Sampled {
        let files = places.iter().filter_map(Place::file);
        let files = files.filter_map(|id| Some((id, Arc::clone(self.files.get(id)?)))).collect();
        let processes = std::mem::take(&mut self.sampled_processes);
        let threads = std::mem::take(&mut self.sampled_threads);
        self.thread_ids.clear();
        self.many = None;
        self.files.begin_segment();
        let mut carried_processes = HashMap::new();
        for owner in carried {
            self.carry_over(owner, &processes, &threads, &mut carried_processes);
        }
        for (id, process) in (0..).map(ProcessId).zip(&processes) {
            if let Some(live) = self.live.get_mut(&process.tgid)
                && live.sampled_as == Some(id)
            {
                live.sampled_as = carried_processes.get(&id).copied();
                live.segments_unsampled = 0;
            }
        }
        self.let_unused_roots_go();
        Sampled { processes, threads, files }
    }

    fn carry_over(
        &mut self,
        owner: &mut SampleOwner,
        processes: &[SampledProcess],
        threads: &[SampledThread],
        carried: &mut HashMap<ProcessId, ProcessId>,
    ) {
        let (Some(process), Some(thread)) =
            (processes.get(owner.process.0 as usize), threads.get(owner.thread.0 as usize))
        else {
            return;
        };
        let id = *carried.entry(owner.process).or_insert_with(|| {
            self.sampled_processes.push(SampledProcess { root: Root::NotNeeded, ..process.clone() });
            ProcessId(u32::try_from(self.sampled_processes.len() - 1).unwrap_or(u32::MAX))
        });
        owner.process = id;
        owner.thread = *self.thread_ids.entry((id, thread.tid)).or_insert_with(|| {
            self.sampled_threads.push(SampledThread { process: id, ..thread.clone() });
            ThreadId(u32::try_from(self.sampled_threads.len() - 1).unwrap_or(u32::MAX))
        });
    }

    fn let_unused_roots_go(&mut self) {
        for live in self.live.values_mut().filter(|live| matches!(live.root, Root::Open(_))) {
            live.segments_unsampled += 1;
            if live.segments_unsampled > ROOT_SEGMENTS_MAX {
                live.root = Root::NotNeeded;
            }
        }
    }

    /// Closes files that were not sampled for minutes, and forgets those that were not for longer and that nobody maps.
    /// Gives these: whatever is kept by their ids will not be asked for again. To be called in each round.
    ///
    /// `published`: files that the walker's tables name.
    pub fn sweep(&mut self, now: MonotonicNanos, published: impl FnOnce() -> HashSet<FileId>) -> Vec<FileId> {
        let live = &self.live;
        self.files.sweep(now, || {
            let mapped = live.values().flat_map(|live| live.mappings.iter()).filter_map(file_of);
            mapped.chain(published()).collect()
        })
    }

    /// Opens a file again that was closed, through a process that maps it. False if it stays closed.
    pub fn reopen(&mut self, id: FileId) -> bool {
        let shows = |mapping: &&Mapping| file_of(mapping) == Some(id);
        let found = self.live.iter().find_map(|(tgid, live)| {
            let mapping = live.mappings.iter().find(shows)?;
            Some((*tgid, mapping.clone()))
        });
        found.is_some_and(|(tgid, mapping)| self.files.reopen(id, &self.proc, tgid, &mapping))
    }

    /// Notes that a sample of a process was seen in a file, which may have been closed.
    pub(super) fn use_file(&mut self, tgid: Tgid, id: FileId) {
        if !self.files.mark_used(id) {
            return;
        }
        let shows = |mapping: &&Mapping| file_of(mapping) == Some(id);
        let mapping = self.live.get(&tgid).and_then(|live| live.mappings.iter().find(shows)).cloned();
        if let Some(mapping) = mapping {
            self.files.reopen(id, &self.proc, tgid, &mapping);
        }
    }
}

fn file_of(mapping: &Mapping) -> Option<FileId> {
    match mapping.backing {
        Backing::File(id) | Backing::Foreign(id) => Some(id),
        Backing::Unopened(_) | Backing::Vdso | Backing::Memory => None,
    }
}
