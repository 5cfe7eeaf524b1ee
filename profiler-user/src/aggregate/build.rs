//! A window, its processes and the names → a finished [`Profile`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::outcome::Outcome;

use super::completeness::{Completeness, is_entry_point};
use super::locations::{Locations, marker_text};
use super::profile::{Process, Profile, Sample, SampledEvent, Space, Thread, TimedSample};
use super::window::{StackKey, Window};
use crate::host::{Clock, MonotonicNanos};
use crate::process::Place;
use crate::process::table::ProcessTable;
use crate::symbolize::NamedAddress;

/// When and how was sampled.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Name of the host.
    pub host: Arc<str>,
    /// Start of sampling.
    pub started: MonotonicNanos,
    /// For how long.
    pub duration: Duration,
    /// What made the clock tick.
    pub event: SampledEvent,
}

/// A profile, and how complete its stacks are.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The profile.
    pub profile: Profile,
    /// How many of its stacks reach their root.
    pub completeness: Completeness,
}

/// Joins samples and names.
pub fn build(
    window: &Window,
    processes: &ProcessTable,
    names: &HashMap<Place, NamedAddress>,
    capture: &Capture,
    clock: &Clock,
) -> Finished {
    let mut locations = Locations::new(processes.files());
    let location_ids: Vec<u32> =
        window.places().iter().map(|&place| locations.add(place, names.get(&place))).collect();
    let mut stacks =
        Stacks { window, location_ids: &location_ids, locations, ids: HashMap::new(), stacks: Vec::new() };

    let threads: Vec<Thread> = processes
        .sampled_threads()
        .iter()
        .map(|thread| Thread { process: thread.process.0, tid: thread.tid.0, name: Arc::clone(&thread.name) })
        .collect();
    let profile_processes = profile_processes(processes, capture, clock);
    let mut completeness = Completeness::default();
    let mut samples: Vec<Sample> = Vec::new();
    for (thread, key, tally) in window.tallies() {
        let (stack, reason) = stacks.add(key);
        samples.push(Sample { thread: thread.0, stack, count: tally.count, weight: tally.weight });
        let process =
            threads.get(thread.0 as usize).and_then(|thread| profile_processes.get(thread.process as usize));
        if let Some(process) = process {
            completeness.add(&process.executable_name, reason, tally.count);
        }
    }
    samples.sort_by_key(|sample| (std::cmp::Reverse(sample.weight), sample.thread, sample.stack));
    let timeline = window.timeline().map(|entries| {
        let timed = |stacks: &mut Stacks<'_>, entry: &super::window::TimelineEntry| TimedSample {
            at_nanos: clock.wall(entry.at).0,
            thread: entry.thread.0,
            stack: stacks.add(entry.stack).0,
            weight: entry.weight,
        };
        entries.iter().map(|entry| timed(&mut stacks, entry)).collect()
    });
    let Locations { locations, functions, mappings, .. } = stacks.locations;
    let profile = Profile {
        host: Arc::clone(&capture.host),
        started_nanos: clock.wall(capture.started).0,
        duration: capture.duration,
        event: capture.event,
        processes: profile_processes,
        threads,
        mappings,
        functions,
        locations,
        stacks: stacks.stacks,
        samples,
        timeline,
        comments: Vec::new(),
    };
    Finished { profile, completeness }
}

fn profile_processes(processes: &ProcessTable, capture: &Capture, clock: &Clock) -> Vec<Process> {
    let process = |sampled: &crate::process::table::SampledProcess| Process {
        pid: sampled.tgid.0,
        executable_name: Arc::clone(&sampled.executable_name),
        started_nanos: clock.wall(sampled.started.unwrap_or(capture.started)).0,
        ended_nanos: sampled.ended.map(|at| clock.wall(at).0),
    };
    processes.sampled_processes().iter().map(process).collect()
}

/// Entry points are among the outermost frames: behind `main`'s caller, in a C library that has no frame
/// pointers, the walk may find one or two that are none.
const ENTRY_DEPTH: usize = 3;

/// Whole stacks out of parts, each once.
struct Stacks<'a> {
    window: &'a Window,
    location_ids: &'a [u32],
    locations: Locations<'a>,
    ids: HashMap<StackKey, (u32, Option<Outcome>)>,
    stacks: Vec<Vec<u32>>,
}

impl Stacks<'_> {
    /// The index of a stack, and why it is not complete if it is not.
    fn add(&mut self, key: StackKey) -> (u32, Option<Outcome>) {
        if let Some(&known) = self.ids.get(&key) {
            return known;
        }
        let window = self.window;
        let parts = [key.kernel, key.user].into_iter().flatten();
        let mut stack: Vec<u32> = parts
            .flat_map(|part| window.part(part))
            .filter_map(|place| self.location_ids.get(place.0 as usize).copied())
            .collect();
        if key.outcome == Outcome::FramePointerChainEnd {
            self.cut_behind_entry_point(&mut stack);
        }
        let reason = self.why_incomplete(key, &stack);
        if let Some(reason) = reason
            && !self.ends_in_marker(&stack)
        {
            stack.push(self.locations.marker(marker_text(reason)));
        }
        if stack.is_empty() {
            // A kernel thread whose kernel stack could not be walked.
            stack.push(self.locations.marker(marker_text(Outcome::KernelStackFailed)));
        }
        let id = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
        self.stacks.push(stack);
        self.ids.insert(key, (id, reason));
        (id, reason)
    }

    fn why_incomplete(&self, key: StackKey, stack: &[u32]) -> Option<Outcome> {
        if self.ends_in_marker(stack) {
            return Some(Outcome::DefinitionMissing);
        }
        if key.outcome.is_complete() {
            return None;
        }
        if key.user.is_none() {
            return Some(key.outcome);
        }
        let reaches_root = stack.last().is_some_and(|&id| self.is_entry_point(id));
        (!reaches_root).then_some(key.outcome)
    }

    /// Removes what a walk without frame pointers made up behind the function that the thread began in.
    fn cut_behind_entry_point(&self, stack: &mut Vec<u32>) {
        let made_up = stack.iter().rev().take(ENTRY_DEPTH).position(|&id| self.is_entry_point(id));
        stack.truncate(stack.len() - made_up.unwrap_or(0));
    }

    /// Whether threads begin in the function that physically holds a location.
    fn is_entry_point(&self, location: u32) -> bool {
        let physical =
            self.locations.locations.get(location as usize).and_then(|location| location.lines.last());
        let function = physical.and_then(|line| self.locations.functions.get(line.function as usize));
        function.is_some_and(|function| is_entry_point(&function.system_name))
    }

    fn ends_in_marker(&self, stack: &[u32]) -> bool {
        let outermost = stack.last().and_then(|&id| self.locations.locations.get(id as usize));
        outermost.is_some_and(|location| location.space == Space::Marker)
    }
}

#[cfg(test)]
mod tests;
