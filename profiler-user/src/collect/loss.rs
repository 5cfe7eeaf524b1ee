//! Counts of what was lost, by cause: the kernel half's counters and our own in one table.

use std::collections::BTreeMap;

use profiler_common::outcome::Outcome;

/// Counters by outcome; only what is not zero is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Outcome, u64>);

impl Counts {
    /// Adds to one counter.
    pub fn add(&mut self, outcome: Outcome, by: u64) {
        if by > 0 {
            let count = self.0.entry(outcome).or_default();
            *count = count.saturating_add(by);
        }
    }

    /// The value of one counter.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0.get(&outcome).copied().unwrap_or(0)
    }

    /// Adds another table to this one.
    pub fn merge(&mut self, other: &Self) {
        for (&outcome, &by) in &other.0 {
            self.add(outcome, by);
        }
    }

    /// Every counter that stands for something lost, in the order of the list.
    pub fn losses(&self) -> impl Iterator<Item = (Outcome, u64)> {
        self.0.iter().map(|(&outcome, &count)| (outcome, count)).filter(|(outcome, _)| outcome.is_loss())
    }
}
