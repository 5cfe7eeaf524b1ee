//! Rounds of both profilers → figures with their targets and verdicts. Measures nothing.

use super::{flamekeeper, perf};
use serde::Serialize;
use std::time::Duration;

/// One line of the result. A figure that nobody measured is an empty list.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
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
}

/// Both profilers' results, by round.
#[derive(Default)]
pub(super) struct Rounds {
    pub(super) flamekeeper: Vec<flamekeeper::Capture>,
    pub(super) perf: Vec<perf::Capture>,
}

impl Rounds {
    /// All figures, in the order of a capture's life.
    pub(super) fn figures(&self) -> Vec<Figure> {
        use Target::{AtMost, AtMostPerf, None};
        let finish = |capture: &flamekeeper::Capture| capture.finish.as_secs_f64();
        let finish_cpu = |capture: &flamekeeper::Capture| capture.finish_cpu.as_secs_f64();
        let nothing = Vec::new;
        vec![
            figure(
                "start to first sample, s",
                3,
                AtMost(0.5),
                self.ours(|it| it.to_first_sample.as_secs_f64()),
                nothing(),
            ),
            figure(
                "CPU while sampling, % of one CPU",
                3,
                AtMost(0.2),
                self.ours(|it| it.sampling_cpu_share * 100.0),
                self.theirs(|it| it.sampling_cpu_share * 100.0),
            ),
            figure("BPF programs, % of one CPU", 3, None, self.ours(|it| it.bpf_share * 100.0), nothing()),
            figure("BPF programs, µs a run", 2, None, self.ours(|it| micros(it.bpf_per_run)), nothing()),
            figure("end of sampling to exit, s", 2, AtMost(2.0), self.ours(finish), nothing()),
            figure(
                "… beside perf script",
                2,
                AtMostPerf,
                self.ours(finish),
                self.theirs(|it| it.script.wall_seconds),
            ),
            figure(
                "… beside perf script --no-inline",
                2,
                AtMostPerf,
                self.ours(finish),
                self.theirs(|it| it.script_no_inline.wall_seconds),
            ),
            figure(
                "its CPU time, beside perf script, s",
                2,
                None,
                self.ours(finish_cpu),
                self.theirs(|it| it.script.cpu_seconds),
            ),
            figure(
                "… beside perf script --no-inline, s",
                2,
                None,
                self.ours(finish_cpu),
                self.theirs(|it| it.script_no_inline.cpu_seconds),
            ),
            figure(
                "CPU time of all of record, s",
                2,
                None,
                self.ours(|it| it.whole_cpu.as_secs_f64()),
                self.theirs(|it| it.whole_cpu.as_secs_f64()),
            ),
            figure(
                "peak resident with children, MB",
                1,
                AtMost(60.0),
                self.ours(|it| megabytes(it.family_bytes)),
                self.theirs(|it| megabytes(it.resident_bytes)),
            ),
            figure(
                "… of itself alone; of perf script, MB",
                1,
                None,
                self.ours(|it| megabytes(it.own_bytes)),
                self.theirs(|it| megabytes(it.script_no_inline.resident_bytes)),
            ),
            figure(
                "samples",
                0,
                None,
                self.ours(|it| count(it.samples)),
                self.theirs(|it| count(it.samples)),
            ),
            figure(
                "written (five outputs; perf.data), MB",
                1,
                None,
                self.ours(|it| megabytes(it.written_bytes)),
                self.theirs(|it| megabytes(it.written_bytes)),
            ),
        ]
    }

    fn ours(&self, of: impl Fn(&flamekeeper::Capture) -> f64) -> Vec<f64> {
        self.flamekeeper.iter().map(of).collect()
    }

    fn theirs(&self, of: impl Fn(&perf::Capture) -> f64) -> Vec<f64> {
        self.perf.iter().map(of).collect()
    }
}

fn figure(
    name: &'static str,
    decimals: usize,
    target: Target,
    flamekeeper: Vec<f64>,
    perf: Vec<f64>,
) -> Figure {
    let is_reached = match target {
        Target::None => None,
        Target::AtMost(most) => spread(&flamekeeper).map(|spread| spread.median <= most),
        Target::AtMostPerf => Some(flamekeeper.iter().zip(&perf).all(|(ours, theirs)| ours <= theirs)),
    };
    Figure { name, flamekeeper, perf, target, is_reached, decimals }
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

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A million bytes each.
#[expect(clippy::cast_precision_loss, reason = "sizes of files and of memory are far below 2^53")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "samples of a minute are far below 2^53")]
fn count(samples: u64) -> f64 {
    samples as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_judged_against_a_bound() {
        let reached = |rounds: Vec<f64>| figure("x", 0, Target::AtMost(2.0), rounds, vec![]).is_reached;
        assert_eq!(reached(vec![9.0, 1.0, 2.0]), Some(true));
        assert_eq!(reached(vec![9.0, 1.0, 2.1]), Some(false));
        assert_eq!(reached(vec![]), None);
    }

    #[test]
    fn every_round_is_judged_against_perf() {
        let reached =
            |ours: Vec<f64>| figure("x", 0, Target::AtMostPerf, ours, vec![2.0, f64::INFINITY]).is_reached;
        assert_eq!(reached(vec![2.0, 300.0]), Some(true));
        assert_eq!(reached(vec![2.1, 300.0]), Some(false));
    }
}
