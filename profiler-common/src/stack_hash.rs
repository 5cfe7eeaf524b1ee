//! Frames → the 64-bit identity of a stack.
//!
//! Each word is folded in by xor and an odd multiplication with a rotate between (the mixing step of
//! wyhash and FxHash), and a finalizer spreads the result (the one of splitmix64, Steele et al. 2014).
//! Not meant against an adversary who picks addresses: a collision merges two stacks of one process at
//! worst, because stacks that name one process are seeded with that process.

use crate::frame::Frame;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Builds a stack's hash frame by frame, leaf first.
#[derive(Clone, Copy, Debug)]
pub struct StackHasher(u64);

impl StackHasher {
    /// For stacks that mean the same in every process.
    #[inline(always)]
    pub const fn shared() -> Self {
        Self(MULTIPLIER)
    }

    /// For stacks that hold addresses of one process: its id, its start and which of its programs runs.
    #[inline(always)]
    pub const fn of_process(tgid: u32, start_time: u64, exec_id: u32) -> Self {
        Self(MULTIPLIER).bound_to(tgid, start_time, exec_id)
    }

    #[inline(always)]
    const fn word(self, word: u64) -> Self {
        Self((self.0.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER))
    }

    /// A hash in progress, from its state.
    #[inline(always)]
    pub const fn resumed(state: u64) -> Self {
        Self(state)
    }

    /// The state of a hash in progress, to be resumed.
    #[inline(always)]
    pub const fn state(self) -> u64 {
        self.0
    }

    /// Ties a stack to a process whose addresses it holds.
    #[inline(always)]
    pub const fn bound_to(self, tgid: u32, start_time: u64, exec_id: u32) -> Self {
        self.word(start_time).word(((exec_id as u64) << 32) | tgid as u64)
    }

    /// Folds the next outer frame in.
    #[inline(always)]
    pub const fn frame(self, frame: Frame) -> Self {
        self.word(frame.tag()).word(frame.payload())
    }

    /// The identity; never 0, which stands for "no stack".
    #[inline(always)]
    pub const fn finish(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) | 1
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    fn hash(seed: StackHasher, addresses: &[u64]) -> u64 {
        addresses.iter().fold(seed, |h, &a| h.frame(Frame::unbacked(a, false))).finish()
    }

    #[test]
    fn order_length_and_process_all_count() {
        let shared = StackHasher::shared();
        let seen: HashSet<u64> = [
            hash(shared, &[]),
            hash(shared, &[1, 2]),
            hash(shared, &[2, 1]),
            hash(shared, &[1, 2, 0]),
            hash(StackHasher::of_process(1, 5, 0), &[1, 2]),
            hash(StackHasher::of_process(1, 5, 1), &[1, 2]),
            hash(StackHasher::of_process(2, 5, 0), &[1, 2]),
            hash(StackHasher::of_process(1, 6, 0), &[1, 2]),
        ]
        .into();
        assert_eq!(seen.len(), 8);
    }

    #[test]
    #[cfg_attr(miri, ignore = "65,536 hashes take minutes there")]
    fn neighbouring_stacks_fill_the_direct_mapped_slots_evenly() {
        // 65,536 stacks that differ in one low byte or two must not pile up in a few of 65,536 slots.
        let slots: HashSet<u64> = (0..1u64 << 16)
            .map(|i| hash(StackHasher::shared(), &[0x5555_0000_1000 + i * 4, 0x7fff_1234]) >> 48)
            .collect();
        assert!(slots.len() > 40_000, "{} slots (random: 41,427)", slots.len());
    }
}
