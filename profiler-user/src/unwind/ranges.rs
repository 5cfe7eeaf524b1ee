//! Ranges of a table's slots, given out and taken back.
//!
//! What a tick may still look at cools for a second before it is given out again. Neighbours that are free become one
//! range, but never across the end of a piece: what lies in one block stays in one block.

use std::collections::{BTreeMap, VecDeque};

use crate::host::MonotonicNanos;

/// A tick is over by then, whatever it interrupted.
pub(super) const COOLING_NANOS: u64 = 1_000_000_000;

/// Who has which slots.
#[derive(Debug)]
pub(super) struct Ranges {
    /// First slot → number of slots.
    free: BTreeMap<u32, u32>,
    /// In order of time.
    cooling: VecDeque<(MonotonicNanos, u32, u32)>,
    piece: u32,
}

impl Ranges {
    /// All slots of a table of one piece.
    pub(super) fn new(slots: u32) -> Self {
        Self::in_pieces(1, slots)
    }

    /// All slots of a table of such pieces.
    pub(super) fn in_pieces(pieces: u32, slots_each: u32) -> Self {
        let free = (0..pieces).map(|piece| (piece * slots_each, slots_each)).collect();
        Self { free, cooling: VecDeque::new(), piece: slots_each.max(1) }
    }

    /// So many slots side by side, the lowest that there are.
    pub(super) fn take(&mut self, count: u32, now: MonotonicNanos) -> Option<u32> {
        self.cool(now);
        if count == 0 {
            return Some(0);
        }
        let (&first, &length) = self.free.iter().find(|(_, length)| **length >= count)?;
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        Some(first)
    }

    /// Takes back what a tick may look at.
    pub(super) fn give_back(&mut self, first: u32, count: u32, now: MonotonicNanos) {
        if count > 0 {
            self.cooling.push_back((now, first, count));
        }
    }

    /// Takes back what no tick could find.
    pub(super) fn release(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let (mut first, mut end) = (first, first + count);
        if !end.is_multiple_of(self.piece)
            && let Some(length) = self.free.remove(&end)
        {
            end += length;
        }
        let before = self.free.range(..first).next_back().map(|(&before, &length)| (before, length));
        if let Some((before, length)) = before
            && !first.is_multiple_of(self.piece)
            && before + length == first
        {
            self.free.remove(&before);
            first = before;
        }
        self.free.insert(first, end - first);
    }

    /// Whether something that was taken back will be free soon.
    pub(super) fn is_cooling(&self) -> bool {
        !self.cooling.is_empty()
    }

    fn cool(&mut self, now: MonotonicNanos) {
        while let Some(&(since, first, count)) = self.cooling.front()
            && now.0.saturating_sub(since.0) >= COOLING_NANOS
        {
            self.cooling.pop_front();
            self.release(first, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonotonicNanos = MonotonicNanos(0);
    const COOL: MonotonicNanos = MonotonicNanos(COOLING_NANOS);

    #[test]
    fn a_range_is_not_given_out_while_a_tick_may_look_at_it() {
        let mut slots = Ranges::new(10);
        assert_eq!(slots.take(6, NOW), Some(0));
        slots.give_back(0, 6, NOW);
        assert_eq!(slots.take(6, MonotonicNanos(COOLING_NANOS - 1)), None);
        assert!(slots.is_cooling());
        assert_eq!(slots.take(2, COOL), Some(0));
        assert_eq!(slots.take(4, COOL), Some(2));
        assert_eq!(slots.take(5, COOL), None);
        assert_eq!(slots.take(4, COOL), Some(6));
        assert_eq!(slots.take(1, COOL), None);
        assert_eq!(slots.take(0, COOL), Some(0));
        assert!(!slots.is_cooling());
    }

    #[test]
    fn neighbours_become_one_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut slots = Ranges::new(9);
            for first in [0, 3, 6] {
                assert_eq!(slots.take(3, NOW), Some(first));
            }
            order.iter().for_each(|third| slots.release(third * 3, 3));
            assert_eq!(slots.take(9, NOW), Some(0), "{order:?}");
        }
    }

    #[test]
    fn no_range_crosses_the_end_of_a_piece() {
        let mut slots = Ranges::in_pieces(3, 4);
        assert_eq!(slots.take(5, NOW), None);
        assert_eq!([3, 2, 1, 4].map(|count| slots.take(count, NOW)), [Some(0), Some(4), Some(3), Some(8)]);
        for (first, count) in [(0, 3), (3, 1), (4, 2), (8, 4)] {
            slots.release(first, count);
        }
        assert_eq!(slots.free, BTreeMap::from([(0, 4), (4, 4), (8, 4)]));
    }

    #[test]
    fn whatever_is_taken_and_given_back_never_overlaps_and_all_comes_back() {
        let mut slots = Ranges::in_pieces(8, 64);
        let (mut held, mut state) = (Vec::<(u32, u32)>::new(), 1u64);
        for round in 0..4000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = u32::try_from(state >> 40).unwrap();
            let now = MonotonicNanos(round * COOLING_NANOS / 4);
            let count = random % 40 + 1;
            match slots.take(count, now) {
                Some(first) => {
                    let overlaps =
                        |&(other, length): &(u32, u32)| first < other + length && other < first + count;
                    assert!(!held.iter().any(overlaps), "{first}+{count} of {held:?}");
                    assert_eq!(first / 64, (first + count - 1) / 64);
                    held.push((first, count));
                }
                None => {
                    let (first, count) = held.swap_remove(random as usize % held.len());
                    slots.give_back(first, count, now);
                }
            }
        }
        held.into_iter().for_each(|(first, count)| slots.give_back(first, count, NOW));
        slots.cool(MonotonicNanos(u64::MAX));
        assert_eq!(slots.free, (0..8).map(|piece| (piece * 64, 64)).collect());
    }
}
