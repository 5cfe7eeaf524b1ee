//! What the daemon costs → the rate that it samples at: down in steps while it costs more than its budget, and up again.
//!
//! ```text
//!   19 ─▶ 13 ─▶ 9 ─▶ 5 ─▶ 3 ─▶ 1      each some 0.7 of the one before
//! ```
//!
//! Judged by periods of 15 s since the last change of rate. Down: two periods in a row cost too much, so that a burst (a
//! new large program, whose tables are made once) changes nothing. Up: a minute costs so little that even the higher rate's share is within the budget; or, since much of the cost has
//! nothing to do with the rate, it is tried now and then, ever more rarely while that fails.
//!
//! Only computes: the weights of samples, which keep totals CPU time, are where samples are.

use std::collections::VecDeque;
use std::time::Duration;

use profiler_common::abi::RunTime;

use crate::sample::Hertz;

/// Shorter, the cost of single events would be judged: naming at a window's end.
const PERIOD: Duration = Duration::from_secs(15);
/// Periods that are remembered, and that it has to be calm for.
const PERIODS_MAX: usize = 4;
/// Periods in a row that cost too much, to go down.
const OVER_MIN: usize = 2;
/// Part of the budget that a higher rate may be expected to cost: the rest is for what is not foreseen.
const ROOM: f64 = 0.9;
/// Until a higher rate is tried though it is not known to fit, at first and at most.
const TRY_AFTER_MIN: Duration = Duration::from_secs(2 * 60);
const TRY_AFTER_MAX: Duration = Duration::from_secs(32 * 60);

/// Holds the daemon to its budget.
#[derive(Clone, Debug)]
pub(super) struct CpuBudget {
    /// Of one CPU, 1 for all of it; 0 for no budget.
    budget_share: f64,
    configured: Hertz,
    /// The configured rate, and those below it.
    steps: Vec<Hertz>,
    /// Which of them is in force.
    step: usize,
    /// BPF programs' time in all, when it was last told.
    bpf_time: Option<Duration>,
    /// Of the period in progress.
    used: Duration,
    elapsed: Duration,
    /// What the last periods at this rate have cost, shares of one CPU.
    periods: VecDeque<f64>,
    /// How long the rate has been what it is.
    held: Duration,
    /// Whether the last change was a try to go up.
    is_try: bool,
    try_after: Duration,
}

impl CpuBudget {
    /// At the configured rate. `budget_percent` is of one CPU; 0 for no budget.
    pub(super) fn new(rate: Hertz, budget_percent: f64) -> Self {
        Self {
            budget_share: budget_percent.max(0.0) / 100.0,
            configured: rate,
            steps: steps(rate),
            step: 0,
            bpf_time: None,
            used: Duration::ZERO,
            elapsed: Duration::ZERO,
            periods: VecDeque::new(),
            held: Duration::ZERO,
            is_try: false,
            try_after: TRY_AFTER_MIN,
        }
    }

    /// The rate to sample at.
    pub(super) fn rate(&self) -> Hertz {
        self.steps.get(self.step).copied().unwrap_or(self.configured)
    }

    /// Whether it is lower than the configured one.
    pub(super) fn is_lowered(&self) -> bool {
        self.step > 0
    }

    /// What the last period has cost, in percent of one CPU; `None` while the first one at this rate goes on.
    pub(super) fn cost_percent(&self) -> Option<f64> {
        self.periods.back().map(|share| share * 100.0)
    }

    /// Takes another configuration: from its rate on, if it is another.
    pub(super) fn reconfigure(&mut self, rate: Hertz, budget_percent: f64) {
        let fresh = Self::new(rate, budget_percent);
        if (fresh.configured, fresh.budget_share) != (self.configured, self.budget_share) {
            *self = Self { bpf_time: self.bpf_time, ..fresh };
        }
    }

    /// What it has cost since it was last told: CPU time of our own threads, and how much time has passed; the BPF
    /// programs tell theirs since they were loaded. True if the rate has changed.
    pub(super) fn judge(&mut self, used: Duration, bpf: &[RunTime], elapsed: Duration) -> bool {
        let bpf_time = total(bpf);
        let bpf_used =
            self.bpf_time.replace(bpf_time).map_or(Duration::ZERO, |last| bpf_time.saturating_sub(last));
        self.used = self.used.saturating_add(used).saturating_add(bpf_used);
        self.elapsed = self.elapsed.saturating_add(elapsed);
        if self.elapsed < PERIOD {
            return false;
        }
        let share = self.used.as_secs_f64() / self.elapsed.as_secs_f64();
        self.held = self.held.saturating_add(self.elapsed);
        (self.used, self.elapsed) = (Duration::ZERO, Duration::ZERO);
        if self.periods.len() == PERIODS_MAX {
            self.periods.pop_front();
        }
        self.periods.push_back(share);
        self.budget_share > 0.0 && self.end_of_period()
    }

    /// In place of [`Self::judge`] while somebody else asks for a higher rate (a pull): what that costs is not judged.
    pub(super) fn skip(&mut self, bpf: &[RunTime]) {
        self.bpf_time = Some(total(bpf));
        (self.used, self.elapsed) = (Duration::ZERO, Duration::ZERO);
    }

    fn end_of_period(&mut self) -> bool {
        let mut latest = self.periods.iter().rev().take(OVER_MIN);
        let is_over = self.periods.len() >= OVER_MIN && latest.all(|share| *share > self.budget_share);
        if is_over && self.step + 1 < self.steps.len() {
            if self.is_try {
                self.try_after = self.try_after.saturating_mul(2).min(TRY_AFTER_MAX);
            }
            self.change_to(self.step + 1, false);
            return true;
        }
        if self.periods.len() < PERIODS_MAX {
            return false;
        }
        self.is_try = false; // it has held
        let Some(higher) = self.step.checked_sub(1) else {
            self.try_after = TRY_AFTER_MIN;
            return false;
        };
        #[expect(clippy::cast_precision_loss, reason = "four at most")]
        let mean = self.periods.iter().sum::<f64>() / self.periods.len() as f64;
        let allowed = self.budget_share * ROOM;
        let is_known_to_fit = mean * self.ratio(higher) <= allowed;
        let may_be_tried = mean <= allowed && self.held >= self.try_after;
        if is_known_to_fit || may_be_tried {
            self.change_to(higher, true);
        }
        is_known_to_fit || may_be_tried
    }

    /// How many times as many samples a step has as the one in force.
    fn ratio(&self, step: usize) -> f64 {
        let other = self.steps.get(step).copied().unwrap_or_else(|| self.rate());
        f64::from(other.get()) / f64::from(self.rate().get())
    }

    fn change_to(&mut self, step: usize, is_try: bool) {
        self.step = step;
        self.is_try = is_try;
        self.held = Duration::ZERO;
        self.periods.clear();
    }
}

fn total(bpf: &[RunTime]) -> Duration {
    Duration::from_nanos(bpf.iter().fold(0, |sum, time| sum.saturating_add(time.nanos)))
}

/// The rate, and those below it: each 0.7 of the one before, and odd, since even ones walk in step with timers.
fn steps(rate: Hertz) -> Vec<Hertz> {
    let lower = |rate: &Hertz| {
        let next = rate.get() * 7 / 10;
        let odd = if next.is_multiple_of(2) { next.saturating_sub(1) } else { next };
        Hertz::new(odd).or(Hertz::new(1)).filter(|next| next < rate)
    };
    std::iter::successors(Some(rate), lower).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hertz(rate: u32) -> Hertz {
        Hertz::new(rate).unwrap()
    }

    /// A host on which the daemon costs this much of a CPU without sampling, and this much with each sample a second;
    /// half of either in BPF programs.
    struct Simulated {
        budget: CpuBudget,
        fixed: f64,
        each: f64,
        bpf: RunTime,
    }

    impl Simulated {
        fn new(fixed: f64, each: f64) -> Self {
            let bpf = RunTime { nanos: 1 << 40, runs: 0 }; // of before
            let mut budget = CpuBudget::new(hertz(19), 1.0);
            budget.judge(Duration::ZERO, &[bpf], Duration::ZERO);
            Self { budget, fixed, each, bpf }
        }

        /// Lets it run for some minutes, told every 5 s, and gives the rates that it had, each once for its time.
        fn run(&mut self, minutes: u64) -> Vec<u32> {
            let mut rates = vec![self.budget.rate().get()];
            for _ in 0..minutes * 12 {
                let share = self.fixed + self.each * f64::from(self.budget.rate().get());
                let half = Duration::from_secs_f64(share * 5.0 / 2.0);
                self.bpf.nanos += u64::try_from(half.as_nanos()).unwrap();
                let bpf = [self.bpf, RunTime::default()];
                if self.budget.judge(half, &bpf, Duration::from_secs(5)) {
                    rates.push(self.budget.rate().get());
                }
            }
            rates
        }
    }

    #[test]
    fn steps_are_odd_and_each_some_seven_tenths() {
        let of = |rate| steps(hertz(rate)).iter().map(|rate| rate.get()).collect::<Vec<_>>();
        assert_eq!(of(19), [19, 13, 9, 5, 3, 1]);
        assert_eq!(of(99), [99, 69, 47, 31, 21, 13, 9, 5, 3, 1]);
        assert_eq!((of(2), of(1)), (vec![2, 1], vec![1]));
    }

    #[test]
    fn within_the_budget_nothing_changes() {
        let mut host = Simulated::new(0.001, 0.0004);
        assert_eq!(host.run(60), [19]);
        assert!((host.budget.cost_percent().unwrap() - 0.86).abs() < 0.01);
        assert!(!host.budget.is_lowered());
    }

    #[test]
    fn it_goes_down_until_it_fits_and_comes_back_when_there_is_room() {
        let mut host = Simulated::new(0.001, 0.001);
        assert_eq!(host.run(10), [19, 13, 9]); // 2.0 %, 1.4 %, 1.0 %
        host.each = 0.0004;
        assert_eq!(host.run(10), [9, 13, 19]);
        assert!(!host.budget.is_lowered());
    }

    #[test]
    fn a_burst_changes_nothing() {
        let mut host = Simulated::new(0.001, 0.0001);
        assert_eq!(host.run(1), [19]);
        host.budget.judge(Duration::from_secs(3), &[host.bpf], Duration::from_secs(15)); // 20 % of a CPU
        assert_eq!(host.run(10), [19]);
    }

    #[test]
    fn what_does_not_depend_on_the_rate_does_not_keep_it_down_for_ever() {
        let mut host = Simulated::new(0.012, 0.0001);
        assert_eq!(host.run(10), [19, 13, 9, 5, 3, 1]);
        host.fixed = 0.006;
        let rates = host.run(20);
        assert_eq!(rates, [1, 3, 5, 9, 13, 19]);
    }

    #[test]
    fn a_higher_rate_that_does_not_fit_is_tried_ever_more_rarely() {
        // 13 Hz cost 0.85 %, which may be more than the rate's own part: 19 Hz cost 1.15 %.
        let mut host = Simulated::new(0.002, 0.0005);
        assert_eq!(host.run(2), [19, 13]);
        let tries: Vec<usize> =
            (0..4).map(|_| host.run(60).iter().filter(|rate| **rate == 19).count()).collect();
        assert!(tries[0] >= 3 && tries[3] <= 2 && tries[3] >= 1, "{tries:?}");
    }

    #[test]
    fn without_a_budget_and_at_the_lowest_rate_there_is_nothing_to_do() {
        let mut host = Simulated::new(0.5, 0.01);
        assert_eq!(host.run(10), [19, 13, 9, 5, 3, 1]);
        assert_eq!(host.run(10), [1]);
        host.budget.reconfigure(hertz(49), 0.0);
        assert_eq!(host.run(10), [49]);
        host.budget.reconfigure(hertz(49), 0.0);
        assert_eq!(host.budget.rate(), hertz(49));
    }

    #[test]
    fn what_a_pull_costs_is_not_judged() {
        let mut host = Simulated::new(0.001, 0.0001);
        for _ in 0..10 {
            host.bpf.nanos += 5_000_000_000;
            host.budget.skip(&[host.bpf]);
        }
        assert_eq!(host.run(10), [19]);
    }
}
