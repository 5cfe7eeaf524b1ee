//! What the filter is to let through → entries of the kernel half's table, and whether they still live.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use procfs::process::Process;
use profiler_common::abi::Target;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::config::Scope;
use crate::host::ProcFs;
use crate::sample::{SampleError, Sampler};

/// How it is told that a process has ended.
#[derive(Debug)]
enum Watched {
    /// Readable once it has.
    Handle(OwnedFd),
    /// Where handles are refused, as by container engines that know no `pidfd_open`: by its state in /proc.
    Pid(Pid),
}

/// Processes that were asked for by pid.
#[derive(Debug, Default)]
pub(super) struct Targets {
    watched: Vec<Watched>,
    /// Nothing else is sampled: neither children of theirs, which may outlive them, nor of ours.
    are_all: bool,
}

impl Targets {
    /// Enters everything that is to be sampled. `own_pid` is entered for its children if they are wanted.
    pub(super) fn enter(
        scope: &Scope,
        include_self: bool,
        proc: &ProcFs,
        own_pid: u32,
        sampler: &mut Sampler,
    ) -> Result<Self, SampleError> {
        // The start time in /proc is rounded to 10 ms, the kernel half compares nanoseconds: 0 is "any".
        let any = |sampled: bool, follow: bool| Target {
            start_time: 0,
            sampled: u32::from(sampled),
            follow_children: u32::from(follow),
        };
        if scope.own_children {
            sampler.add_target(own_pid, any(include_self, true))?;
        }
        let mut watched = Vec::new();
        for &pid in &scope.pids {
            sampler.add_target(pid, any(true, scope.children))?;
            // Gone already: nothing to watch counts as ended.
            watched.extend(Watched::new(pid));
        }
        if scope.children {
            for pid in descendants(proc, &scope.pids) {
                sampler.add_target(pid, any(true, true))?;
            }
        }
        let are_all = !scope.pids.is_empty() && !scope.follows_forks();
        Ok(Self { watched, are_all })
    }

    /// Whether everything that is sampled has ended.
    pub(super) fn have_ended(&self, proc: &ProcFs) -> bool {
        self.are_all && self.watched.iter().all(|watched| watched.has_ended(proc))
    }
}

impl Watched {
    fn new(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Some(Self::Handle(handle)),
            // No such process, or no process but a thread.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => None,
            Err(_refused) => Some(Self::Pid(pid)),
        }
    }

    fn has_ended(&self, proc: &ProcFs) -> bool {
        match self {
            Self::Handle(handle) => {
                let mut handle = [PollFd::new(handle, PollFlags::IN)];
                let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
                poll(&mut handle, Some(&no_wait)).is_ok() && handle[0].revents().contains(PollFlags::IN)
            }
            Self::Pid(pid) => {
                let folder = proc.process_path(pid.as_raw_nonzero().get().unsigned_abs(), "");
                let stat = Process::new_with_root(folder).and_then(|process| process.stat());
                // A zombie has ended; one that cannot be read is gone.
                stat.map_or(true, |stat| matches!(stat.state, 'Z' | 'X'))
            }
        }
    }
}

/// All living descendants of these processes.
fn descendants(proc: &ProcFs, roots: &[u32]) -> Vec<u32> {
    let parents = parents(proc);
    let descends = |pid: u32| {
        // A chain of parents is at most as long as there are processes.
        let ancestors =
            std::iter::successors(parents.get(&pid).copied(), |parent| parents.get(parent).copied());
        ancestors.take(parents.len()).any(|ancestor| roots.contains(&ancestor))
    };
    parents.keys().copied().filter(|&pid| descends(pid)).collect()
}

fn parents(proc: &ProcFs) -> HashMap<u32, u32> {
    let Ok(all) = procfs::process::all_processes_with_root(proc.path("")) else { return HashMap::new() };
    let parent =
        |stat: procfs::process::Stat| Some((u32::try_from(stat.pid).ok()?, u32::try_from(stat.ppid).ok()?));
    all.flatten().filter_map(|process| parent(process.stat().ok()?)).collect()
}
