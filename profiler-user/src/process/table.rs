//! All processes of the host as far as their events tell, and which of them were sampled.
//!
//! An event changes a [`Live`] process. A sample makes it a *sampled* one, with an id that outlives the
//! process. Processes older than our events are read from `/proc` when their first sample comes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use profiler_common::address::{CodeAddr, FileOffset, KernelAddr, RuntimeAddr};
use profiler_common::frame::{Frame, FrameKind};
use profiler_common::outcome::Outcome;

use super::files::{FileTable, Opened};
use super::mappings::{Backing, Mapping, Mappings, NamedFile};
use super::namespace::ProcessRoot;
use super::scan::{self, ScannedProcess, file_name};
use super::{FileId, Place, ProcessId, ThreadId};
use crate::collect::loss::Counts;
use crate::collect::process_event::{ProcessChange, ProcessEvent};
use crate::collect::{RawSample, Tgid, Tid};
use crate::host::{MonotonicNanos, ProcFs};

/// A process that was sampled: one program, from its exec to the next or to the end.
#[derive(Clone, Debug)]
pub struct SampledProcess {
    /// Process id.
    pub tgid: Tgid,
    /// Name of the executable file, or the kernel's name of a kernel thread.
    pub executable_name: Arc<str>,
    /// When it began, if that was while we watched.
    pub started: Option<MonotonicNanos>,
    /// When it ended, if that was while we watched.
    pub ended: Option<MonotonicNanos>,
    /// Its root folder and user, kept because code was seen there that only it can tell the names of.
    pub root: Root,
}

/// A process's root folder, as far as it was needed.
#[derive(Clone, Debug)]
pub enum Root {
    /// No code without a file was seen.
    NotNeeded,
    /// Needed, and gone or one too many.
    Unavailable,
    /// Kept open.
    Open(Arc<ProcessRoot>),
}

/// A thread that was sampled.
#[derive(Clone, Debug)]
pub struct SampledThread {
    /// Its process.
    pub process: ProcessId,
    /// Thread id.
    pub tid: Tid,
    /// Its last name.
    pub name: Arc<str>,
}

/// What a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleOwner {
    /// The thread.
    pub thread: ThreadId,
    /// Its process.
    pub process: ProcessId,
    /// Changes whenever the same address of the process may mean something else.
    pub mappings_generation: u64,
}

#[derive(Clone, Debug)]
struct Live {
    /// Start on the boot clock, 0 if no sample or scan told yet.
    start_time: u64,
    /// Programs executed by its last sample, 0 if none came since its fork or exec.
    exec_id: u32,
    executable_name: Arc<str>,
    /// Set by exec until the first mapping tells the file's full name.
    executable_name_is_short: bool,
    threads: HashMap<Tid, Arc<str>>,
    mappings: Arc<Mappings>,
    mappings_generation: u64,
    /// All mappings come from events or a scan, so an unknown address is unknown to the kernel too.
    is_known: bool,
    parent: Option<Tgid>,
    has_executed: bool,
    started: Option<MonotonicNanos>,
    sampled_as: Option<ProcessId>,
}

/// Processes by id, and the sampled ones for good.
#[derive(Debug)]
pub struct ProcessTable {
    proc: ProcFs,
    live: HashMap<Tgid, Live>,
    files: FileTable,
    sampled_processes: Vec<SampledProcess>,
    sampled_threads: Vec<SampledThread>,
    thread_ids: HashMap<(ProcessId, Tid), ThreadId>,
    next_generation: u64,
    roots_left: usize,
    /// Processes that are older than our events and were not read yet.
    unread: Vec<Tgid>,
    /// Who stands for all processes that came when the tables were full.
    many: Option<(ProcessId, ThreadId)>,
    /// In order of time.
    ended: VecDeque<(MonotonicNanos, Tgid)>,
    counts: Counts,
}

/// Sampled processes, and sampled threads, that are kept apart: 100 MB at worst.
const SAMPLED_MAX: usize = 1 << 19;
/// Processes whose root folder is kept open for the names of code made at run time, at most.
const ROOTS_MAX: usize = 1024;
/// Freeing a large memory takes some tenths of a second.
const EXIT_NANOS_MAX: u64 = 2_000_000_000;
/// What a process is called that ended before anything about it was known.
const UNSEEN_NAME: &str = "[unknown process]";
/// `/proc/PID/stat` tells the start in clock ticks of 10 ms.
const START_TIME_SLACK_NANOS: u64 = 20_000_000;

impl ProcessTable {
    /// A table over a host, with at most so many file descriptors. Make it after process events have begun,
    /// so that no process is missed.
    pub fn new(proc: ProcFs, descriptors_max: usize) -> Self {
        let roots_max = ROOTS_MAX.min(descriptors_max / 4);
        Self {
            unread: scan::running(&proc),
            proc,
            live: HashMap::new(),
            files: FileTable::new(descriptors_max - roots_max),
            sampled_processes: Vec::new(),
            sampled_threads: Vec::new(),
            thread_ids: HashMap::new(),
            next_generation: 1,
            roots_left: roots_max,
            ended: VecDeque::new(),
            many: None,
            counts: Counts::default(),
        }
    }

    /// Sampled processes, by [`ProcessId`].
    pub fn sampled_processes(&self) -> &[SampledProcess] {
        &self.sampled_processes
    }

    /// Sampled threads, by [`ThreadId`].
    pub fn sampled_threads(&self) -> &[SampledThread] {
        &self.sampled_threads
    }

    /// Files that code ran in.
    pub fn files(&self) -> &FileTable {
        &self.files
    }

    /// What could not be found out.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes one process event.
    pub fn apply(&mut self, event: ProcessEvent) {
        let at = event.at;
        match event.change {
            ProcessChange::Fork { child, parent } => self.fork(child, parent, at),
            ProcessChange::ThreadStart { tgid, tid, creator } => {
                if let Some(live) = self.live.get_mut(&tgid) {
                    let name = live.threads.get(&creator).unwrap_or(&live.executable_name);
                    let name = Arc::clone(name);
                    live.threads.insert(tid, name);
                }
            }
            ProcessChange::Exec { tgid, name } => self.exec(tgid, &name, at),
            ProcessChange::Rename { tgid, tid, name } => self.rename(tgid, tid, name.into()),
            ProcessChange::Map { tgid, start, len, offset, path, hint } => {
                if let Some(live) = self.live.get_mut(&tgid) {
                    if std::mem::take(&mut live.executable_name_is_short) {
                        live.executable_name = file_name(&path);
                        // A sample may have come between exec and its first mapping.
                        let sampled =
                            live.sampled_as.and_then(|id| self.sampled_processes.get_mut(id.0 as usize));
                        if let Some(sampled) = sampled {
                            sampled.executable_name = Arc::clone(&live.executable_name);
                        }
                    }
                    let end = RuntimeAddr(start.0.saturating_add(len));
                    let mapping = Mapping::new(start, end, offset, path, hint);
                    Arc::make_mut(&mut live.mappings).insert(mapping);
                    live.mappings_generation = next(&mut self.next_generation);
                }
            }
            ProcessChange::ThreadExit { tgid, tid } => self.thread_exit(tgid, tid, at),
            ProcessChange::Lost(records) => self.events_lost(records),
        }
    }

    /// Reads about some of the processes that are older than our events, so that they are known even if
    /// their first sample comes with their end. Gives whether any are left.
    pub fn read_older(&mut self, processes_max: usize) -> bool {
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

    /// Whether a process was forked by another and still runs its program.
    pub fn is_fork_without_exec(&self, tgid: Tgid, parent: Tgid) -> bool {
        self.live.get(&tgid).is_some_and(|live| live.parent == Some(parent) && !live.has_executed)
    }

    fn fork(&mut self, child: Tgid, parent: Tgid, at: MonotonicNanos) {
        let inherited = self.live.get(&parent).cloned();
        let is_known = inherited.as_ref().is_some_and(|parent| parent.is_known);
        let mut live = inherited.unwrap_or_else(|| Live::unknown(next(&mut self.next_generation)));
        let name = live.threads.get(&Tid(parent.0)).unwrap_or(&live.executable_name);
        live.threads = HashMap::from([(Tid(child.0), Arc::clone(name))]);
        live.start_time = 0;
        live.exec_id = 0;
        live.parent = Some(parent);
        live.started = Some(at);
        live.sampled_as = None;
        live.has_executed = false;
        live.is_known = is_known;
        self.live.insert(child, live);
    }

    fn exec(&mut self, tgid: Tgid, name: &str, at: MonotonicNanos) {
        self.end_sampled(tgid, at);
        let generation = next(&mut self.next_generation);
        let before = self.live.remove(&tgid);
        let live = Live {
            start_time: before.as_ref().map_or(0, |live| live.start_time),
            executable_name: name.into(),
            executable_name_is_short: true,
            // Whichever thread called exec is the leader now, and the only one.
            threads: HashMap::from([(Tid(tgid.0), name.into())]),
            is_known: true,
            has_executed: true,
            parent: before.and_then(|live| live.parent),
            started: Some(at),
            ..Live::unknown(generation)
        };
        self.live.insert(tgid, live);
    }

    fn rename(&mut self, tgid: Tgid, tid: Tid, name: Arc<str>) {
        let Some(live) = self.live.get_mut(&tgid) else { return };
        live.threads.insert(tid, Arc::clone(&name));
        let sampled = live.sampled_as.and_then(|process| self.thread_ids.get(&(process, tid)));
        if let Some(thread) = sampled.and_then(|id| self.sampled_threads.get_mut(id.0 as usize)) {
            thread.name = name;
        }
    }

    fn thread_exit(&mut self, tgid: Tgid, tid: Tid, at: MonotonicNanos) {
        let Some(live) = self.live.get_mut(&tgid) else { return };
        live.threads.remove(&tid);
        if live.threads.is_empty() {
            self.end_sampled(tgid, at);
            self.ended.push_back((at, tgid));
        }
    }

    /// Forgets processes that ended a while ago, and calls `forgotten` for each. Not at once: the kernel
    /// reports the end in the middle of the exit, and goes on using CPU time for it.
    pub fn forget_ended(&mut self, now: MonotonicNanos, mut forgotten: impl FnMut(Tgid)) {
        while let Some(&(at, tgid)) = self.ended.front()
            && now.0.saturating_sub(at.0) > EXIT_NANOS_MAX
        {
            self.ended.pop_front();
            // Its id may belong to a new process by now.
            if self.live.get(&tgid).is_some_and(|live| live.threads.is_empty()) {
                self.live.remove(&tgid);
                forgotten(tgid);
            }
        }
    }

    /// The table may now be wrong about any process: each is read again when its next sample comes.
    fn events_lost(&mut self, records: u64) {
        self.counts.add(Outcome::ProcessEventsLost, records);
        for live in self.live.values_mut() {
            live.is_known = false;
        }
    }

    fn end_sampled(&mut self, tgid: Tgid, at: MonotonicNanos) {
        let id = self.live.get(&tgid).and_then(|live| live.sampled_as);
        if let Some(process) = id.and_then(|id| self.sampled_processes.get_mut(id.0 as usize)) {
            process.ended = Some(at);
        }
    }

    /// Finds out whose sample this is, reading `/proc` if the process is new to us.
    pub fn owner(&mut self, sample: &RawSample) -> SampleOwner {
        self.make_known(sample);
        let generation = next(&mut self.next_generation);
        let live = self.live.entry(sample.tgid).or_insert_with(|| Live::unknown(generation));
        live.start_time = sample.start_time;
        live.exec_id = sample.exec_id;
        self.counts.add(Outcome::ProcessUnknown, u64::from(live.is_unseen()));
        let is_full =
            self.sampled_processes.len() >= SAMPLED_MAX || self.sampled_threads.len() >= SAMPLED_MAX;
        if is_full && !is_met(live, &self.thread_ids, sample.tid) {
            self.counts.add(Outcome::TablesFull, 1);
            return self.one_of_many(sample);
        }
        let process = *live.sampled_as.get_or_insert_with(|| {
            self.sampled_processes.push(SampledProcess {
                tgid: sample.tgid,
                executable_name: Arc::clone(&live.executable_name),
                started: live.started,
                ended: None,
                root: Root::NotNeeded,
            });
            ProcessId(u32::try_from(self.sampled_processes.len() - 1).unwrap_or(u32::MAX))
        });
        let thread = *self.thread_ids.entry((process, sample.tid)).or_insert_with(|| {
            let name = live.threads.get(&sample.tid).unwrap_or(&live.executable_name);
            let thread = SampledThread { process, tid: sample.tid, name: Arc::clone(name) };
            self.sampled_threads.push(thread);
            ThreadId(u32::try_from(self.sampled_threads.len() - 1).unwrap_or(u32::MAX))
        });
        SampleOwner { thread, process, mappings_generation: live.mappings_generation }
    }

    /// The owner of all samples that are no longer kept apart.
    fn one_of_many(&mut self, sample: &RawSample) -> SampleOwner {
        let mappings_generation = next(&mut self.next_generation);
        let (process, thread) = *self.many.get_or_insert_with(|| {
            let name: Arc<str> = "[more processes]".into();
            let tgid = sample.tgid;
            let executable_name = Arc::clone(&name);
            self.sampled_processes.push(SampledProcess {
                tgid,
                executable_name,
                started: None,
                ended: None,
                root: Root::Unavailable,
            });
            let process = ProcessId(u32::try_from(self.sampled_processes.len() - 1).unwrap_or(u32::MAX));
            self.sampled_threads.push(SampledThread { process, tid: sample.tid, name });
            (process, ThreadId(u32::try_from(self.sampled_threads.len() - 1).unwrap_or(u32::MAX)))
        });
        SampleOwner { thread, process, mappings_generation }
    }

    /// Brings what is known of a process up to date with its sample.
    fn make_known(&mut self, sample: &RawSample) {
        let differs = |known: u64| known != 0 && known.abs_diff(sample.start_time) > START_TIME_SLACK_NANOS;
        let known = self.live.get(&sample.tgid);
        // Another program than its last sample's, of which a lost event would have told.
        let events_lost = self.counts.get(Outcome::ProcessEventsLost) > 0;
        let has_executed = |live: &Live| events_lost && live.exec_id != 0 && live.exec_id != sample.exec_id;
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
        let live = Live {
            started: before.as_ref().and_then(|live| live.started),
            parent: before.as_ref().and_then(|live| live.parent),
            has_executed: before.as_ref().is_some_and(|live| live.has_executed),
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

    /// Whether there is no executable memory at a frame's address: then it is no frame, and the walk had
    /// lost its way before. Unknown processes have the benefit of the doubt.
    pub fn is_astray(&self, tgid: Tgid, frame: Frame) -> bool {
        let at = CodeAddr::new(RuntimeAddr(frame.payload()), frame.is_return()).lookup();
        let live = self.live.get(&tgid).filter(|live| live.is_known);
        frame.kind() == FrameKind::Unbacked && live.is_some_and(|live| live.mappings.find(at).is_none())
    }

    /// Where a frame of a sampled process lies; opens the file when it is met for the first time.
    pub fn locate(&mut self, tgid: Tgid, process: ProcessId, frame: Frame) -> Place {
        let is_return = frame.is_return();
        match frame.kind() {
            FrameKind::Kernel => {
                Place::Kernel(CodeAddr::new(KernelAddr(frame.payload()), is_return).lookup())
            }
            FrameKind::Unbacked => {
                let at = CodeAddr::new(RuntimeAddr(frame.payload()), is_return).lookup();
                self.locate_runtime(tgid, process, at)
            }
            FrameKind::Native => {
                let at = CodeAddr::new(FileOffset(frame.payload()), is_return).lookup();
                // The value is a file's number: we gave it to the walker.
                u32::try_from(frame.value())
                    .map_or(Place::Marker(Outcome::MalformedEvent), |file| Place::File(FileId(file), at))
            }
            FrameKind::Marker => {
                let reason = u16::try_from(frame.value()).ok().and_then(Outcome::from_number);
                Place::Marker(reason.unwrap_or(Outcome::MalformedEvent))
            }
            _ => Place::Marker(Outcome::MalformedEvent),
        }
    }

    /// Whether a process was not seen to end.
    pub fn is_running(&self, tgid: Tgid) -> bool {
        self.live.get(&tgid).is_some_and(|live| !live.threads.is_empty())
    }

    /// The executable mappings of a process by address, each file opened, for the walker. `None` if the
    /// process is not known well enough.
    pub fn opened_mappings(&mut self, tgid: Tgid) -> Option<Vec<Mapping>> {
        let live = self.live.get(&tgid).filter(|live| live.is_known)?;
        let mut mappings: Vec<Mapping> = live.mappings.iter().cloned().collect();
        for mapping in &mut mappings {
            if let Backing::Unopened(named) = &mapping.backing {
                let named = Arc::clone(named);
                mapping.backing = self.open(tgid, mapping, &named);
            }
        }
        Some(mappings)
    }

    fn open(&mut self, tgid: Tgid, mapping: &Mapping, named: &NamedFile) -> Backing {
        let backing = match self.files.open(&self.proc, tgid, mapping, named) {
            Opened::Elf(id) => Backing::File(id),
            Opened::Foreign(id) => Backing::Foreign(id),
            Opened::Unopenable(id) => {
                self.counts.add(Outcome::FileUnopenable, 1);
                Backing::File(id)
            }
        };
        if let Some(live) = self.live.get_mut(&tgid) {
            Arc::make_mut(&mut live.mappings).resolve(mapping.start, backing.clone());
        }
        backing
    }

    fn locate_runtime(&mut self, tgid: Tgid, process: ProcessId, at: RuntimeAddr) -> Place {
        let mapping = self.live.get(&tgid).and_then(|live| live.mappings.find(at)).cloned();
        let Some(mapping) = mapping else { return self.in_process(tgid, process, at) };
        let backing = match &mapping.backing {
            Backing::Unopened(named) => self.open(tgid, &mapping, named),
            known => known.clone(),
        };
        let offset: Option<FileOffset> = mapping.file_offset(at);
        match (backing, offset) {
            (Backing::File(id), Some(offset)) => Place::File(id, offset),
            (Backing::Foreign(id), Some(offset)) => {
                self.seek_root(tgid, process);
                Place::Foreign(id, offset, process, at)
            }
            (Backing::Vdso, Some(_)) => Place::Vdso(FileOffset(at.0 - mapping.start.0)),
            _ => self.in_process(tgid, process, at),
        }
    }

    fn in_process(&mut self, tgid: Tgid, process: ProcessId, at: RuntimeAddr) -> Place {
        self.seek_root(tgid, process);
        Place::Process(process, at)
    }

    /// Only the process itself can tell the names of code that it made (a perf map in its /tmp).
    fn seek_root(&mut self, tgid: Tgid, process: ProcessId) {
        if let Some(sampled) = self.sampled_processes.get_mut(process.0 as usize)
            && matches!(sampled.root, Root::NotNeeded)
        {
            let root =
                (self.roots_left > 0).then(|| ProcessRoot::of_process(&self.proc, tgid.0).ok()).flatten();
            self.roots_left -= usize::from(root.is_some());
            sampled.root = root.map_or(Root::Unavailable, |root| Root::Open(Arc::new(root)));
        }
    }
}

impl Live {
    fn scanned(found: ScannedProcess, mappings_generation: u64) -> Self {
        Self {
            start_time: found.start_time,
            executable_name: found.executable_name,
            threads: found.threads,
            mappings: Arc::new(found.mappings),
            is_known: true,
            ..Self::unknown(mappings_generation)
        }
    }

    /// Whether nothing was found out about it but that it is there.
    fn is_unseen(&self) -> bool {
        !self.is_known && self.mappings.is_empty() && &*self.executable_name == UNSEEN_NAME
    }

    fn unknown(mappings_generation: u64) -> Self {
        Self {
            start_time: 0,
            exec_id: 0,
            executable_name: UNSEEN_NAME.into(),
            executable_name_is_short: false,
            threads: HashMap::new(),
            mappings: Arc::default(),
            mappings_generation,
            is_known: false,
            parent: None,
            has_executed: false,
            started: None,
            sampled_as: None,
        }
    }
}

/// Whether a thread was sampled before.
fn is_met(live: &Live, threads: &HashMap<(ProcessId, Tid), ThreadId>, tid: Tid) -> bool {
    live.sampled_as.is_some_and(|process| threads.contains_key(&(process, tid)))
}

fn next(generation: &mut u64) -> u64 {
    *generation += 1;
    *generation
}

#[cfg(test)]
mod tests;
