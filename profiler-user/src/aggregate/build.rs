//! A window, its processes and the names → a finished [`Profile`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::outcome::Outcome;

use super::completeness::{BrokenOff, Completeness, EndedIn, Ending, is_entry_point};
use super::locations::{Locations, marker_text};
use super::profile::{Process, Profile, Sample, SampledEvent, Thread, TimedSample};
use super::window::{PartId, StackKey, Window};
use crate::host::{Clock, MonotonicNanos};
use crate::process::files::CodeFile;
use crate::process::scan::file_name;
use crate::process::table::{Sampled, SampledProcess};
use crate::process::{FileId, Place};
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
    sampled: &Sampled,
    names: &HashMap<Place, Arc<NamedAddress>>,
    capture: &Capture,
    clock: &Clock,
) -> Finished {
    let mut locations = Locations::new(&sampled.files);
    let location_ids: Vec<u32> = window
        .places()
        .iter()
        .map(|&place| locations.add(place, names.get(&place).map(|name| &**name)))
        .collect();
    let mut stacks = Stacks {
        window,
        files: &sampled.files,
        location_ids: &location_ids,
        locations,
        ids: HashMap::new(),
        stacks: Vec::new(),
        endings: Vec::new(),
        file_names: HashMap::new(),
    };

    let threads: Vec<Thread> = sampled
        .threads
        .iter()
        .map(|thread| Thread { process: thread.process.0, tid: thread.tid.0, name: Arc::clone(&thread.name) })
        .collect();
    let profile_processes = profile_processes(&sampled.processes, capture, clock);
    let mut completeness = Completeness::default();
    let mut samples: Vec<Sample> = Vec::new();
    for (thread, key, tally) in window.tallies() {
        let stack = stacks.add(key);
        samples.push(Sample { thread: thread.0, stack, count: tally.count, weight: tally.weight });
        let process =
            threads.get(thread.0 as usize).and_then(|thread| profile_processes.get(thread.process as usize));
        if let (Some(process), Some(ending)) = (process, stacks.endings.get(stack as usize)) {
            completeness.add(&process.executable_name, ending, tally.count);
        }
    }
    samples.sort_by_key(|sample| (std::cmp::Reverse(sample.weight), sample.thread, sample.stack));
    let timeline = window.timeline().map(|entries| {
        let timed = |stacks: &mut Stacks<'_>, entry: &super::window::TimelineEntry| TimedSample {
            at_nanos: clock.wall(entry.at).0,
            thread: entry.thread.0,
            stack: stacks.add(entry.stack),
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

fn profile_processes(processes: &[SampledProcess], capture: &Capture, clock: &Clock) -> Vec<Process> {
    let process = |sampled: &SampledProcess| Process {
        pid: sampled.tgid.0,
        executable_name: Arc::clone(&sampled.executable_name),
        started_nanos: clock.wall(sampled.started.unwrap_or(capture.started)).0,
        ended_nanos: sampled.ended.map(|at| clock.wall(at).0),
    };
    processes.iter().map(process).collect()
}

/// Entry points are among the outermost frames: behind `main`'s caller, in a C library that has no frame
/// pointers, the walk may find one or two that are none.
const ENTRY_DEPTH: usize = 3;

/// Whole stacks out of parts, each once.
struct Stacks<'a> {
    window: &'a Window,
    files: &'a HashMap<FileId, Arc<CodeFile>>,
    location_ids: &'a [u32],
    locations: Locations<'a>,
    ids: HashMap<StackKey, u32>,
    stacks: Vec<Vec<u32>>,
    /// How each of them ends.
    endings: Vec<Ending>,
    file_names: HashMap<FileId, Arc<str>>,
}

impl Stacks<'_> {
    /// The index of a stack.
    fn add(&mut self, key: StackKey) -> u32 {
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
        let ending = self.ending(key, &stack);
        let note = match &ending {
            Ending::BrokenOff(broken) => Some(broken.reason),
            // A kernel thread's own stack is all there is.
            Ending::NoUserStack(why) => (*why != Outcome::KernelThread).then_some(*why),
            Ending::Root => None,
        };
        if let Some(reason) = note
            && self.marker_at_end(key).is_none()
        {
            stack.push(self.locations.marker(marker_text(reason)));
        }
        if stack.is_empty() {
            // A kernel thread whose kernel stack could not be walked.
            stack.push(self.locations.marker(marker_text(Outcome::KernelStackFailed)));
        }
        let id = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
        self.stacks.push(stack);
        self.endings.push(ending);
        self.ids.insert(key, id);
        id
    }

    fn ending(&mut self, key: StackKey, stack: &[u32]) -> Ending {
        if let Some(reason) = self.marker_at_end(key) {
            return Ending::BrokenOff(BrokenOff { reason, at: None });
        }
        let Some(user) = key.user else {
            return match key.outcome {
                why @ (Outcome::KernelThread | Outcome::NoUserMemory) => Ending::NoUserStack(why),
                reason => Ending::BrokenOff(BrokenOff { reason, at: None }),
            };
        };
        let reaches_root = || stack.last().is_some_and(|&id| self.is_entry_point(id));
        // Frames that were left out are missed in the middle, where a marker says so.
        if key.outcome.is_complete() || key.outcome == Outcome::FramesLeftOut || reaches_root() {
            return Ending::Root;
        }
        Ending::BrokenOff(BrokenOff { reason: key.outcome, at: self.code_at_end(user) })
    }

    /// The note that stands in the place of a stack's outermost part, if one does.
    fn marker_at_end(&self, key: StackKey) -> Option<Outcome> {
        match self.outermost(key.user.or(key.kernel)?)? {
            Place::Marker(reason) => Some(reason),
            _ => None,
        }
    }

    fn code_at_end(&mut self, part: PartId) -> Option<EndedIn> {
        match self.outermost(part)? {
            Place::File(file, _) => {
                let found = self.files.get(&file);
                let name = || found.map_or_else(|| "".into(), |file| file_name(file.path.as_os_str()));
                let name = Arc::clone(self.file_names.entry(file).or_insert_with(name));
                let elf = found.and_then(|file| file.elf.as_ref());
                let is_described = elf.is_some_and(|elf| elf.unwind_header().is_some());
                Some(EndedIn::File { name, is_described })
            }
            Place::Vdso(_) => Some(EndedIn::File { name: "[vdso]".into(), is_described: true }),
            Place::Process(..) | Place::Foreign(..) => Some(EndedIn::MadeAtRunTime),
            Place::Kernel(_) | Place::Marker(_) => None,
        }
    }

    fn outermost(&self, part: PartId) -> Option<Place> {
        let place = self.window.part(part).last()?;
        self.window.places().get(place.0 as usize).copied()
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
}

#[cfg(test)]
mod tests;
