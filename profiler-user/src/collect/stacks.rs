//! Stack definitions by hash, bounded in memory: what the kernel half said once, kept for as long as it is used.
//!
//! Two generations: a look-up moves a stack into the young one; when that is full the old one goes. A
//! stack that went and comes again is asked for again, so a bound costs ring bytes, never a sample's stack
//! for good.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::frame::Frame;

use super::StackHash;
use super::decode::RawStack;

/// A stack's frames, leaf first, shared between who looks at them.
pub type Frames = Arc<[Frame]>;

/// What an entry of the table takes, in frames.
const ENTRY_FRAMES: usize = 4;

/// The definitions at hand.
#[derive(Debug)]
pub struct DefinedStacks {
    young: HashMap<StackHash, Frames>,
    old: HashMap<StackHash, Frames>,
    young_frames: usize,
    frames_max: usize,
}

impl DefinedStacks {
    /// Keeps stacks of at most `frames_max` frames together, of 16 bytes each; of which half are sure to stay.
    pub fn with_frames(frames_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_frames: 0, frames_max: frames_max / 2 }
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
        self.insert(hash, Arc::clone(&frames));
        Some(frames)
    }

    fn insert(&mut self, hash: StackHash, frames: Frames) {
        // A stack costs its table entry too, some frames' worth.
        let cost = frames.len() + ENTRY_FRAMES;
        if self.young_frames + cost > self.frames_max {
            self.old = std::mem::take(&mut self.young);
            self.young_frames = 0;
        }
        if self.young.insert(hash, frames).is_none() {
            self.young_frames += cost;
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
    }
}
