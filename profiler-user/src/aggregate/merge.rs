//! Samples of several profiles → one profile: those of one series in a window, or those that a pull asked for, over however
//! many segments. Names and addresses are compared by value, since each profile has numbers of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::interned::Interned;
use super::profile::{Function, Line, Location, Mapping, Process, Profile, Sample, SampledEvent, Thread};
use super::window::Tally;

/// What samples are kept apart by, besides their stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Executable names.
    Executables,
    /// Processes and threads.
    Threads,
}

/// A profile in the making.
#[derive(Debug)]
pub struct Merger {
    keep: Keep,
    processes: Interned<Process>,
    threads: Interned<Thread>,
    mappings: Interned<Mapping>,
    functions: Interned<Function>,
    locations: Interned<Location>,
    stacks: Interned<Vec<u32>>,
    tallies: HashMap<(u32, u32), Tally>,
    /// Numbers of the profile that is being added, and ours.
    location_ids: HashMap<u32, u32>,
    stack_ids: HashMap<u32, u32>,
    thread_ids: HashMap<u32, u32>,
}

/// What holds for all of a merged profile.
#[derive(Clone, Debug)]
pub struct Span {
    /// Name of the host.
    pub host: Arc<str>,
    /// Wall clock at its start, nanoseconds since 1970.
    pub started_nanos: u64,
    /// How long was sampled.
    pub duration: Duration,
    /// What was sampled.
    pub event: SampledEvent,
}

impl Merger {
    /// Without samples.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            processes: Interned::default(),
            threads: Interned::default(),
            mappings: Interned::default(),
            functions: Interned::default(),
            locations: Interned::default(),
            stacks: Interned::default(),
            tallies: HashMap::new(),
            location_ids: HashMap::new(),
            stack_ids: HashMap::new(),
            thread_ids: HashMap::new(),
        }
    }

    /// To be called before the samples of a profile are added, and before those of the next.
    pub fn begin(&mut self) {
        self.location_ids.clear();
        self.stack_ids.clear();
        self.thread_ids.clear();
    }

    /// Adds a sample of the profile that was begun.
    pub fn add(&mut self, profile: &Profile, sample: &Sample) {
        let Some(thread) = self.thread(profile, sample.thread) else { return };
        let Some(stack) = self.stack(profile, sample.stack) else { return };
        let tally = self.tallies.entry((thread, stack)).or_default();
        tally.count = tally.count.saturating_add(sample.count);
        tally.weight = tally.weight.saturating_add(sample.weight);
    }

    /// How many distinct samples there are.
    pub fn len(&self) -> usize {
        self.tallies.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// The profile: its heaviest samples first, as everywhere.
    pub fn finish(self, span: Span) -> Profile {
        let sample = |((thread, stack), Tally { count, weight })| Sample { thread, stack, count, weight };
        let mut samples: Vec<Sample> = self.tallies.into_iter().map(sample).collect();
        samples.sort_by_key(|sample| (std::cmp::Reverse(sample.weight), sample.thread, sample.stack));
        Profile {
            host: span.host,
            started_nanos: span.started_nanos,
            duration: span.duration,
            event: span.event,
            processes: self.processes.into_values(),
            threads: self.threads.into_values(),
            mappings: self.mappings.into_values(),
            functions: self.functions.into_values(),
            locations: self.locations.into_values(),
            stacks: self.stacks.into_values(),
            samples,
            timeline: None,
            comments: Vec::new(),
        }
    }

    fn thread(&mut self, profile: &Profile, thread: u32) -> Option<u32> {
        if let Some(&known) = self.thread_ids.get(&thread) {
            return Some(known);
        }
        let found = profile.threads.get(thread as usize)?;
        let process = profile.processes.get(found.process as usize)?;
        let (process, tid, name) = match self.keep {
            Keep::Threads => (process.clone(), found.tid, Arc::clone(&found.name)),
            Keep::Executables => {
                let executable_name = Arc::clone(&process.executable_name);
                (Process { pid: 0, executable_name, started_nanos: 0, ended_nanos: None }, 0, "".into())
            }
        };
        let process = self.processes.id(&process);
        let id = self.threads.id(&Thread { process, tid, name });
        self.thread_ids.insert(thread, id);
        Some(id)
    }

    fn stack(&mut self, profile: &Profile, stack: u32) -> Option<u32> {
        if let Some(&known) = self.stack_ids.get(&stack) {
            return Some(known);
        }
        let locations = profile.stacks.get(stack as usize)?;
        let locations =
            locations.iter().map(|&id| self.location(profile, id)).collect::<Option<Vec<u32>>>()?;
        let id = self.stacks.id(&locations);
        self.stack_ids.insert(stack, id);
        Some(id)
    }

    fn location(&mut self, profile: &Profile, location: u32) -> Option<u32> {
        if let Some(&known) = self.location_ids.get(&location) {
            return Some(known);
        }
        let found = profile.locations.get(location as usize)?;
        let mapping = match found.mapping {
            Some(mapping) => Some(self.mappings.id(profile.mappings.get(mapping as usize)?)),
            None => None,
        };
        let line = |line: &Line| {
            let function = self.functions.id(profile.functions.get(line.function as usize)?);
            Some(Line { function, line: line.line })
        };
        let lines = found.lines.iter().map(line).collect::<Option<Vec<Line>>>()?;
        let id = self.locations.id(&Location { mapping, lines, ..*found });
        self.location_ids.insert(location, id);
        Some(id)
    }
}

#[cfg(test)]
mod tests;
