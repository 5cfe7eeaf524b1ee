//! Rounds of measurements → figures with their targets and verdicts. Measures nothing.

use super::paired::Paired;
use serde::Serialize;
use std::time::Duration;

/// One line of the result. A figure that nobody measured is an empty list.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    /// By round; more than the limit is infinite, which JSON has as null.
    pub(super) flamekeeper: Vec<f64>,
    pub(super) perf: Vec<f64>,
    pub(super) target: Target,
    pub(super) is_reached: Option<bool>,
    #[serde(skip)]
    pub(super) decimals: usize,
}

/// What flamekeeper is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) enum Target {
    /// Nothing: the figure explains others.
    None,
    /// The median.
    AtMost(f64),
    /// In every round.
    AtMostPerf,
    /// Rounds are differences: their mean is not above zero by more than chance makes it.
    NotShown,
}

impl Figure {
    /// Without a target.
    pub(super) fn new(name: impl Into<String>, decimals: usize, flamekeeper: Vec<f64>) -> Self {
        let name = name.into();
        Self { name, flamekeeper, perf: Vec::new(), target: Target::None, is_reached: None, decimals }
    }

    /// With perf's rounds beside it.
    pub(super) fn beside(mut self, perf: Vec<f64>) -> Self {
        self.perf = perf;
        let target = self.target;
        self.judged(target)
    }

    /// With something to reach.
    pub(super) fn judged(mut self, target: Target) -> Self {
        self.target = target;
        self.is_reached = match target {
            Target::None => None,
            Target::AtMost(most) => spread(&self.flamekeeper).map(|spread| spread.median <= most),
            Target::AtMostPerf => {
                Some(self.flamekeeper.iter().zip(&self.perf).all(|(ours, theirs)| ours <= theirs))
            }
            Target::NotShown => Paired::of(&self.flamekeeper).map(|paired| !paired.is_shown_to_cost()),
        };
        self
    }
}

/// What is shown of many rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

/// `None` of nothing. Of an even number of rounds the median is the greater of the middle two.
pub(super) fn spread(rounds: &[f64]) -> Option<Spread> {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Spread { least: *sorted.first()?, median: *sorted.get(sorted.len() / 2)?, most: *sorted.last()? })
}

/// One value of each round.
pub(super) fn by_round<T>(rounds: &[T], of: impl Fn(&T) -> f64) -> Vec<f64> {
    rounds.iter().map(of).collect()
}

/// The unit of what a tick costs.
pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A million bytes each.
pub(super) fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

/// To reckon with.
#[expect(clippy::cast_precision_loss, reason = "sizes, counts and nanoseconds of a bench are far below 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_judged_against_a_bound() {
        let reached = |rounds: Vec<f64>| Figure::new("x", 0, rounds).judged(Target::AtMost(2.0)).is_reached;
        assert_eq!(reached(vec![9.0, 1.0, 2.0]), Some(true));
        assert_eq!(reached(vec![9.0, 1.0, 2.1]), Some(false));
        assert_eq!(reached(vec![]), None);
    }

    #[test]
    fn every_round_is_judged_against_perf() {
        let reached = |ours: Vec<f64>| {
            Figure::new("x", 0, ours).beside(vec![2.0, f64::INFINITY]).judged(Target::AtMostPerf).is_reached
        };
        assert_eq!(reached(vec![2.0, 300.0]), Some(true));
        assert_eq!(reached(vec![2.1, 300.0]), Some(false));
    }

    #[test]
    fn a_cost_is_judged_against_chance() {
        let reached = |rounds: Vec<f64>| Figure::new("x", 0, rounds).judged(Target::NotShown).is_reached;
        assert_eq!(reached(vec![1.0, -1.0, 2.0, -1.5]), Some(true));
        assert_eq!(reached(vec![1.0, 1.1, 0.9, 1.0]), Some(false));
        assert_eq!(reached(vec![1.0]), None);
    }
}
