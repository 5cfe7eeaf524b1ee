//! Samples of one window of time → counts by thread and stack, and the time line if it is wanted.
//!
//! A stack is two *parts*, kernel and user, each a list of places. Parts are located when their first
//! sample comes, because only then it is sure what is mapped at their addresses; afterwards a sample
//! costs two look-ups and an addition.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use profiler_common::address::{CodeAddr, RuntimeAddr};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use super::interned::Interned;
use crate::collect::loss::Counts;
use crate::collect::stacks::DefinedStacks;
use crate::collect::{RawSample, StackHash};
use crate::host::MonotonicNanos;
use crate::process::table::{ProcessTable, SampleOwner};
use crate::process::{Place, ThreadId};
use crate::unwind::snapshots::Walked;

/// A list of places, leaf first. Index into [`Window::part`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(u32);

/// A place. Index into [`Window::places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(pub u32);

/// What samples are merged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackKey {
    /// Kernel part.
    pub kernel: Option<PartId>,
    /// User part.
    pub user: Option<PartId>,
    /// How the user part's walk ended.
    pub outcome: Outcome,
}

/// Samples merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Sum of their weights.
    pub weight: u64,
}

/// One sample on the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    /// When.
    pub at: MonotonicNanos,
    /// Thread.
    pub thread: ThreadId,
    /// Stack.
    pub stack: StackKey,
    /// Weight.
    pub weight: u64,
}

/// Most samples on a time line: 128 CPUs at 99 Hz for 20 minutes, 0.7 GB. Those beyond are counted.
const TIMELINE_MAX: usize = 16 << 20;
/// Most places and parts of stacks in a window: some 300 MB at worst, far beyond any host's real stacks.
const PLACES_MAX: usize = 1 << 21;
const PARTS_MAX: usize = 1 << 21;
/// Places of all parts together: 160 MB.
const PART_PLACES_MAX: usize = 40 << 20;
/// Threads and stacks that are counted apart: no new stacks are located beyond.
const TALLIES_MAX: usize = 1 << 22;
/// Most stacks whose location is remembered; beyond, all are located anew, which is only slower.
const LOCATED_MAX: usize = 1 << 17;

/// The samples of one window.
#[derive(Debug)]
pub struct Window {
    places: Interned<Place>,
    parts: Interned<Arc<[PlaceId]>>,
    /// Places of all of them.
    part_places: usize,
    located: HashMap<(StackHash, u64), PartId>,
    tallies: HashMap<(ThreadId, StackKey), Tally>,
    timeline: Option<Vec<TimelineEntry>>,
    counts: Counts,
    samples: u64,
}

impl Window {
    /// An empty window.
    pub fn new(keep_timeline: bool) -> Self {
        Self {
            places: Interned::default(),
            parts: Interned::default(),
            part_places: 0,
            located: HashMap::new(),
            tallies: HashMap::new(),
            timeline: keep_timeline.then(Vec::new),
            counts: Counts::default(),
            samples: 0,
        }
    }

    /// Hands over what it has, and is empty.
    pub fn take_all(&mut self) -> Self {
        let keep_timeline = self.timeline.is_some();
        std::mem::replace(self, Self::new(keep_timeline))
    }

    /// Takes a sample, with its user part if that was walked here. Calls `ask_again` for each part whose definition is
    /// missing.
    pub fn take(
        &mut self,
        sample: &RawSample,
        owner: SampleOwner,
        walked: Option<&Walked>,
        stacks: &mut DefinedStacks,
        processes: &mut ProcessTable,
        mut ask_again: impl FnMut(StackHash),
    ) {
        let mut is_whole = true;
        let mut part = |window: &mut Self, hash: StackHash, generation: u64| {
            window.part_of(hash, generation, sample, owner, stacks, processes).unwrap_or_else(|| {
                ask_again(hash);
                is_whole = false;
                window.marker(Outcome::DefinitionMissing)
            })
        };
        // Kernel addresses mean the same in every process and at every time.
        let kernel = sample.kernel_stack.map(|hash| part(self, hash, 0));
        let user = match walked {
            None => sample.user_stack.map(|hash| part(self, hash, owner.mappings_generation)),
            Some(_) => None,
        };
        self.counts.add(Outcome::SampleWithoutDefinition, u64::from(!is_whole));
        let (user, outcome) = match walked {
            None => (user, sample.user_outcome),
            Some(walked) => {
                let has_frames = !walked.unwound.frames.is_empty();
                let part = has_frames.then(|| self.walked_part(sample, owner, walked, processes));
                (part, walked.unwound.outcome)
            }
        };
        self.count(sample, owner, StackKey { kernel, user, outcome });
    }

    fn walked_part(
        &mut self,
        sample: &RawSample,
        owner: SampleOwner,
        walked: &Walked,
        processes: &mut ProcessTable,
    ) -> PartId {
        if self.is_full() {
            return self.full();
        }
        let place = |frame: &Frame| {
            let at = CodeAddr::new(RuntimeAddr(frame.payload()), frame.is_return());
            let place = processes.locate_in(&walked.unwalked.mappings, sample.tgid, owner.process, at);
            PlaceId(self.places.id(&place))
        };
        let places: Arc<[PlaceId]> = walked.unwound.frames.iter().map(place).collect();
        self.part_id(&places)
    }

    fn count(&mut self, sample: &RawSample, owner: SampleOwner, stack: StackKey) {
        let tally = self.tallies.entry((owner.thread, stack)).or_default();
        tally.count += 1;
        tally.weight = tally.weight.saturating_add(sample.weight);
        self.samples += 1;
        let Some(timeline) = &mut self.timeline else { return };
        if timeline.len() < TIMELINE_MAX {
            timeline.push(TimelineEntry {
                at: sample.at,
                thread: owner.thread,
                stack,
                weight: sample.weight,
            });
        } else {
            self.counts.add(Outcome::TimelineFull, 1);
        }
    }

    fn is_full(&self) -> bool {
        self.places.len() >= PLACES_MAX
            || self.parts.len() >= PARTS_MAX
            || self.part_places >= PART_PLACES_MAX
            || self.tallies.len() >= TALLIES_MAX
    }

    fn part_id(&mut self, places: &Arc<[PlaceId]>) -> PartId {
        let before = self.parts.len();
        let id = PartId(self.parts.id(places));
        if self.parts.len() > before {
            self.part_places += places.len();
        }
        id
    }

    fn full(&mut self) -> PartId {
        self.counts.add(Outcome::TablesFull, 1);
        self.marker(Outcome::TablesFull)
    }

    fn part_of(
        &mut self,
        hash: StackHash,
        generation: u64,
        sample: &RawSample,
        owner: SampleOwner,
        stacks: &mut DefinedStacks,
        processes: &mut ProcessTable,
    ) -> Option<PartId> {
        if let Some(&part) = self.located.get(&(hash, generation)) {
            return Some(part);
        }
        let frames = stacks.get(hash)?;
        if self.is_full() {
            return Some(self.full());
        }
        // The leaf is where the CPU was; outer frames are what the walker made of the memory above it.
        let outer_end = frames.iter().skip(1).position(|&frame| processes.is_astray(sample.tgid, frame));
        let real = outer_end.map_or(frames.len(), |outer| outer + 1);
        let places: Arc<[PlaceId]> = frames
            .iter()
            .take(real)
            .map(|&frame| PlaceId(self.places.id(&processes.locate(sample.tgid, owner.process, frame))))
            .collect();
        let part = self.part_id(&places);
        if self.located.len() >= LOCATED_MAX {
            self.located.clear();
        }
        self.located.insert((hash, generation), part);
        Some(part)
    }

    fn marker(&mut self, reason: Outcome) -> PartId {
        let place = PlaceId(self.places.id(&Place::Marker(reason)));
        PartId(self.parts.id(&Arc::from([place])))
    }

    /// All places that samples were seen in, by [`PlaceId`].
    pub fn places(&self) -> &[Place] {
        self.places.values()
    }

    /// The places of a part, leaf first.
    pub fn part(&self, id: PartId) -> &[PlaceId] {
        self.parts.values().get(id.0 as usize).map_or(&[], |places| places)
    }

    /// Merged samples.
    pub fn tallies(&self) -> impl Iterator<Item = (ThreadId, StackKey, Tally)> {
        self.tallies.iter().map(|(&(thread, stack), &tally)| (thread, stack, tally))
    }

    /// Takes samples of threads out again that turned out not to be wanted. Gives how many.
    pub fn leave_out(&mut self, mut is_unwanted: impl FnMut(ThreadId) -> bool) -> u64 {
        let before = self.samples;
        self.tallies.retain(|&(thread, _), tally| {
            let is_left_out = is_unwanted(thread);
            self.samples -= if is_left_out { tally.count } else { 0 };
            !is_left_out
        });
        if let Some(timeline) = &mut self.timeline {
            timeline.retain(|entry| !is_unwanted(entry.thread));
        }
        before - self.samples
    }

    /// Single samples by time, if they were kept.
    pub fn timeline(&self) -> Option<&[TimelineEntry]> {
        self.timeline.as_deref()
    }

    /// Samples taken.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// What could not be kept.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}
