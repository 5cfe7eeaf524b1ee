//! Stack definitions by hash, bounded in memory: what the kernel half said once, kept for as long as it is used.
//!
//! Two generations: a look-up moves a stack into the young one; when that is full, or five minutes old, the old one goes.
//! So memory follows what is sampled now. The kernel half is told which stacks went and defines them again when they
//! come again: that costs ring bytes, no sample its stack.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::frame::Frame;

use super::StackHash;
use super::decode::RawStack;
use crate::host::MonotonicNanos;

/// A stack's frames, leaf first, shared between who looks at them.
pub type Frames = Arc<[Frame]>;

/// What an entry of the table takes, in frames.
const ENTRY_FRAMES: usize = 4;

/// After that a generation is old: what is not sampled for five to ten minutes goes.
const GENERATION_NANOS: u64 = 300_000_000_000;

/// The definitions at hand.
#[derive(Debug)]
pub struct DefinedStacks {
    young: HashMap<StackHash, Frames>,
    old: HashMap<StackHash, Frames>,
    young_frames: usize,
    old_frames: usize,
    frames_max: usize,
    young_since: Option<MonotonicNanos>,
    forgotten: Vec<StackHash>,
}

impl DefinedStacks {
    /// Keeps stacks of at most `frames_max` frames together, of 16 bytes each; of which half are sure to stay.
    pub fn with_frames(frames_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_frames: 0,
            old_frames: 0,
            frames_max: frames_max / 2,
            young_since: None,
            forgotten: Vec::new(),
        }
    }

    /// Takes a definition.
    pub fn define(&mut self, stack: RawStack) {
        self.insert(stack.hash, stack.frames.into());
    }

    /// A stack's frames, if they are known.
    pub fn get(&mut self, hash: StackHash) -> Option<Frames> {
        if let Some(frames) = self.young.get(&hash) {
            return Some(Arc::clone(frames));
        }
        let frames = self.old.remove(&hash)?;
        self.old_frames -= frames.len() + ENTRY_FRAMES;
        self.insert(hash, Arc::clone(&frames));
        Some(frames)
    }

    /// Begins a generation if it is time. To be called now and then.
    pub fn age(&mut self, now: MonotonicNanos) {
        let since = *self.young_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) >= GENERATION_NANOS {
            self.young_since = Some(now);
            self.turn();
        }
    }

    /// Stacks that went since the last call, of which the kernel half still thinks that they are known.
    pub fn take_forgotten(&mut self) -> Vec<StackHash> {
        std::mem::take(&mut self.forgotten)
    }

    /// What all of it takes, more or less.
    pub fn bytes(&self) -> usize {
        (self.young_frames + self.old_frames) * size_of::<Frame>()
    }

    fn turn(&mut self) {
        let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.forgotten.extend(gone.into_keys());
        self.old_frames = std::mem::take(&mut self.young_frames);
    }

    fn insert(&mut self, hash: StackHash, frames: Frames) {
        // A stack costs its table entry too, some frames' worth.
        let cost = frames.len() + ENTRY_FRAMES;
        if self.young_frames + cost > self.frames_max {
            self.turn();
        }
        self.young_frames += cost;
        if let Some(before) = self.young.insert(hash, frames) {
            self.young_frames -= before.len() + ENTRY_FRAMES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(hash: u64) -> RawStack {
        RawStack { hash: StackHash(hash), frames: Box::new([Frame::kernel(hash, false)]) }
    }

    #[test]
    fn a_stack_in_use_outlives_those_that_are_not() {
        let mut stacks = DefinedStacks::with_frames(4 * (1 + ENTRY_FRAMES));
        for hash in 1..100 {
            stacks.define(stack(hash));
            assert!(stacks.get(StackHash(1)).is_some(), "after {hash}");
        }
        assert!(stacks.get(StackHash(2)).is_none());
        assert!(stacks.young.len() + stacks.old.len() <= 4);
        let forgotten = stacks.take_forgotten();
        assert!(forgotten.len() > 90 && !forgotten.contains(&StackHash(1)));
        assert!(stacks.take_forgotten().is_empty(), "told once");
    }

    #[test]
    fn a_stack_that_does_not_come_again_goes_after_a_while() {
        let minutes = |minutes: u64| MonotonicNanos(minutes * 60_000_000_000);
        let mut stacks = DefinedStacks::with_frames(1000);
        stacks.age(minutes(60));
        stacks.define(stack(1));
        stacks.define(stack(2));
        for minute in 61..=70 {
            stacks.age(minutes(minute));
            assert!(stacks.get(StackHash(1)).is_some(), "minute {minute}");
        }
        assert_eq!(stacks.take_forgotten(), [StackHash(2)]);
        assert_eq!(stacks.bytes(), (1 + ENTRY_FRAMES) * 16);
        assert!(stacks.get(StackHash(2)).is_none());
    }
}
