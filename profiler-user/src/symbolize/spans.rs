//! Ranges of addresses in which one answer holds → that answer, for any address in them.
//!
//! A source of names tells with each answer how far it reaches: a function's name holds to the next bound of any
//! symbol. So an address that was never asked for is answered by its neighbour's. No two ranges overlap.

use std::collections::BTreeMap;
use std::ops::Range;

/// Answers by range.
#[derive(Clone, Debug)]
pub(super) struct Spans<T> {
    /// By first address, with the first one behind.
    spans: BTreeMap<u64, (u64, T)>,
}

/// What an entry takes in a tree that is two thirds full, beside what `T` points to.
pub(super) const fn entry_bytes<T>() -> usize {
    size_of::<(u64, (u64, T))>() * 3 / 2
}

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Self { spans: BTreeMap::new() }
    }
}

impl<T> Spans<T> {
    /// The answer at an address, and where it holds.
    pub(super) fn get(&self, at: u64) -> Option<(Range<u64>, &T)> {
        let (start, (end, answer)) = self.spans.range(..=at).next_back()?;
        (at < *end).then_some((*start..*end, answer))
    }

    /// Notes an answer that holds around an address, as far as nothing else is known there. Where there is an answer it
    /// stays. True if it was noted.
    pub(super) fn insert(&mut self, at: u64, span: Range<u64>, answer: T) -> bool {
        let before = self.spans.range(..=at).next_back().map(|(_, (end, _))| *end);
        let behind = self.spans.range(at..).next().map(|(start, _)| *start);
        let start = before.map_or(span.start, |end| span.start.max(end));
        let end = behind.map_or(span.end, |start| span.end.min(start));
        // The last address of all is in no range.
        let is_free = start <= at && at < end;
        if is_free {
            self.spans.insert(start, (end, answer));
        }
        is_free
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }
}

/// The part that two ranges share, around an address that is in both.
pub(super) fn shared(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}

/// An address alone.
pub(super) fn alone(at: u64) -> Range<u64> {
    at..at.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_in_its_range_alone() {
        let mut spans = Spans::default();
        assert!(spans.insert(0x15, 0x10..0x20, "a"));
        assert_eq!(spans.get(0xf), None);
        assert_eq!(spans.get(0x10), Some((0x10..0x20, &"a")));
        assert_eq!(spans.get(0x1f), Some((0x10..0x20, &"a")));
        assert_eq!(spans.get(0x20), None);
    }

    #[test]
    fn what_is_known_cuts_what_comes_later() {
        let mut spans = Spans::default();
        assert!(spans.insert(0x18, alone(0x18), "alone"));
        assert!(!spans.insert(0x18, 0x10..0x20, "late"));
        assert!(spans.insert(0x12, 0x10..0x20, "low"));
        assert!(spans.insert(0x1f, 0x10..0x20, "high"));
        let shown: Vec<_> = (0x10..0x20).filter_map(|at| spans.get(at).map(|(_, name)| *name)).collect();
        assert_eq!(shown, [vec!["low"; 8], vec!["alone"], vec!["high"; 7]].concat());
        assert_eq!(spans.len(), 3);
    }

    #[test]
    fn an_address_outside_of_its_range_is_not_noted() {
        let mut spans = Spans::default();
        assert!(!spans.insert(0x30, 0x10..0x20, "elsewhere"));
        assert!(!spans.insert(u64::MAX, alone(u64::MAX), "the last"));
        assert_eq!(spans.len(), 0);
    }
}
