//! What the filter is to let through → entries of the kernel half's table, and whether they still live.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use profiler_common::abi::Target;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::config::Config;
use crate::host::ProcFs;
use crate::sample::{SampleError, Sampler};

/// Processes that were asked for by pid.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Readable once the process has ended.
    watched: Vec<OwnedFd>,
    wait_for_children: bool,
}

impl Targets {
    /// Enters everything that is to be sampled. `own_pid` is entered for its children if there is a command.
    pub(super) fn enter(
        config: &Config,
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
        if !config.command.is_empty() {
            sampler.add_target(own_pid, any(config.include_self, true))?;
        }
        let mut watched = Vec::new();
        for &pid in &config.pids {
            sampler.add_target(pid, any(true, config.children))?;
            // Gone already: poll has nothing to watch, which counts as ended.
            watched.extend(process_handle(pid));
        }
        if config.children {
            for pid in descendants(proc, &config.pids) {
                sampler.add_target(pid, any(true, true))?;
            }
        }
        Ok(Self { watched, wait_for_children: config.children })
    }

    /// Whether everything that was asked for by pid has ended. Never, if children are followed: they may
    /// outlive their parents.
    pub(super) fn have_ended(&self, config: &Config) -> bool {
        if config.pids.is_empty() || !config.command.is_empty() || self.wait_for_children {
            return false;
        }
        let mut fds: Vec<PollFd<'_>> = self.watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let no_wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&no_wait)).is_ok() && fds.iter().all(|fd| fd.revents().contains(PollFlags::IN))
    }
}

fn process_handle(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
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
