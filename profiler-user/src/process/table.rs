//! All processes of the host as far as their events tell, and which of them were sampled.
//!
//! An event changes a [`Live`] process. A sample makes it a *sampled* one, with an id that outlives the
//! process. Processes older than our events are read from `/proc` when their first sample comes.
//!
//! ```text
//!   ProcessEvent ─ this file ─▶ table/live.rs ◀─ table/known.rs ─ /proc/PID
//!   frame ────────────────────────────┴─ table/locate.rs ─▶ Place
//! ```

mod known;
mod live;
mod locate;
mod program;
mod segments;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use profiler_common::address::RuntimeAddr;
use profiler_common::outcome::Outcome;

use self::live::Live;
pub use self::program::Program;
use super::files::{CodeFile, FileTable};
use super::mappings::Mapping;
use super::namespace::ProcessRoot;
use super::scan::{self, file_name};
use super::{FileId, ProcessId, ProcessKey, ThreadId};
use crate::collect::loss::Counts;
use crate::collect::process_event::{ProcessChange, ProcessEvent};
use crate::collect::{RawSample, Tgid, Tid};
use crate::host::{MonotonicNanos, ProcFs};

/// A process that was sampled: one program, from its exec to the next or to the end.
#[derive(Clone, Debug)]
pub struct SampledProcess {
    /// Process id.
    pub tgid: Tgid,
    /// Which program in which process it is, also beyond the next cut.
    pub key: ProcessKey,
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

/// What was sampled from one cut to the next: processes and threads by their ids, and the files that their code lies in.
#[derive(Debug, Default)]
pub struct Sampled {
    /// By [`ProcessId`].
    pub processes: Vec<SampledProcess>,
    /// By [`ThreadId`].
    pub threads: Vec<SampledThread>,
    /// Files of the places that were asked for.
    pub files: HashMap<FileId, Arc<CodeFile>>,
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
    /// When code of it last came to lie where other code was.
    pub code_replaced: Option<MonotonicNanos>,
    /// When the program began, if that was while we watched.
    pub started: Option<MonotonicNanos>,
    /// Whose memory it was forked with, while it still runs the same program.
    pub parent: Option<Tgid>,
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
    roots: Vec<Weak<ProcessRoot>>,
    roots_max: usize,
    /// Processes that are older than our events and were not read yet.
    unread: Vec<Tgid>,
    /// Processes that may have ended unseen, and when.
    unverified: Vec<(MonotonicNanos, Tgid)>,
    /// Whether events may have gone unseen, ever.
    has_missed_events: bool,
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
impl ProcessTable {
    /// A table over a host, with at most so many file descriptors. Make it after process events have begun,
    /// so that no process is missed.
    pub fn new(proc: ProcFs, descriptors_max: usize) -> Self {
        let roots_max = ROOTS_MAX.min(descriptors_max / 4);
        Self {
            unread: scan::running(&proc),
            proc,
            unverified: Vec::new(),
            has_missed_events: false,
            live: HashMap::new(),
            files: FileTable::new(descriptors_max - roots_max),
            sampled_processes: Vec::new(),
            sampled_threads: Vec::new(),
            thread_ids: HashMap::new(),
            next_generation: 1,
            roots: Vec::new(),
            roots_max,
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
                    if Arc::make_mut(&mut live.mappings).insert(mapping) {
                        live.code_replaced = Some(at);
                    }
                    live.mappings_generation = next(&mut self.next_generation);
                    live.bound_mappings();
                }
            }
            ProcessChange::ThreadExit { tgid, tid } => self.thread_exit(tgid, tid, at),
            ProcessChange::Lost(records) => self.events_lost(records, at),
        }
    }

    /// Whether a process was forked by another.
    pub fn is_child(&self, tgid: Tgid, parent: Tgid) -> bool {
        self.live.get(&tgid).is_some_and(|live| live.parent == Some(parent))
    }

    /// Whether a process was forked by another and still runs its program.
    pub fn is_fork_without_exec(&self, tgid: Tgid, parent: Tgid) -> bool {
        self.live.get(&tgid).is_some_and(|live| live.parent == Some(parent) && !live.has_executed)
    }

    fn fork(&mut self, child: Tgid, parent: Tgid, at: MonotonicNanos) {
        let live = match self.live.get(&parent) {
            Some(known) => known.forked(child, parent, at),
            None => Live::unknown(next(&mut self.next_generation)).forked(child, parent, at),
        };
        self.live.insert(child, live);
    }

    fn exec(&mut self, tgid: Tgid, name: &str, at: MonotonicNanos) {
        self.end_sampled(tgid, at);
        let generation = next(&mut self.next_generation);
        let live = Live::executed(self.live.get(&tgid), tgid, name, at, generation);
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
    fn events_lost(&mut self, records: u64, at: MonotonicNanos) {
        self.counts.add(Outcome::ProcessEventsLost, records);
        self.events_unseen(at);
    }

    /// There were events that nobody saw, such as those of a CPU that came back: nobody can say how many.
    pub fn events_unseen(&mut self, at: MonotonicNanos) {
        self.has_missed_events = true;
        for live in self.live.values_mut() {
            live.is_known = false;
            live.is_suspect = true;
        }
        self.unverified = self.live.keys().map(|&tgid| (at, tgid)).collect();
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
                key: key_of(sample),
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
        SampleOwner {
            thread,
            process,
            mappings_generation: live.mappings_generation,
            code_replaced: live.code_replaced,
            started: live.started,
            parent: live.parent.filter(|_| !live.has_executed),
        }
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
                key: key_of(sample),
                executable_name,
                started: None,
                ended: None,
                root: Root::Unavailable,
            });
            let process = ProcessId(u32::try_from(self.sampled_processes.len() - 1).unwrap_or(u32::MAX));
            self.sampled_threads.push(SampledThread { process, tid: sample.tid, name });
            (process, ThreadId(u32::try_from(self.sampled_threads.len() - 1).unwrap_or(u32::MAX)))
        });
        SampleOwner { thread, process, mappings_generation, code_replaced: None, started: None, parent: None }
    }
}

fn key_of(sample: &RawSample) -> ProcessKey {
    ProcessKey { tgid: sample.tgid, start_time: sample.start_time, exec_id: sample.exec_id }
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
