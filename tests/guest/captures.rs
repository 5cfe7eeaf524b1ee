//! Captures of a workload → its stacks and what they cost, judged by the known answer.
//!
//! Shares are judged, not counts: an emulated CPU on a busy machine loses ticks that nobody books. So a capture is repeated
//! until there are enough samples to tell a share.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Answer, Capture, Captured, Machine, Stacks, Workload};

use crate::outcome::{Figures, Outcome};
use crate::watch::{Cost, Watch};

/// Enough samples of one busy thread in one capture, on a quiet machine.
const RATE: [&str; 2] = ["-F", "499"];
const DURATION: [&str; 2] = ["-d", "2s"];

/// [`Answer`] judges no fewer.
const LEAST_SAMPLES: u64 = 500;
const MOST_CAPTURES: u32 = 6;

/// Of complete and named stacks.
pub(crate) const LEAST: f64 = 0.99;

/// The guest is ours alone; a missing privilege is a failure here.
pub(crate) fn machine() -> Result<Machine> {
    Machine::acquire()?.map_err(|reason| anyhow::anyhow!(reason))
}

/// Whole stacks of a process that runs for ever.
pub(crate) fn watched(workload: &Workload, answer: &Answer) -> Result<Outcome> {
    Watched::of(workload, |capture| capture)?.judged(answer, LEAST).map(Outcome::Passed)
}

/// What captures of a workload brought.
pub(crate) struct Watched {
    pub(crate) stacks: Stacks,
    cost: Cost,
    /// The last one.
    pub(crate) captured: Captured,
}

impl Watched {
    /// Captures of a process that runs for ever, each changed before it starts.
    pub(crate) fn of(workload: &Workload, change: impl Fn(Capture) -> Capture) -> Result<Self> {
        let running = workload.start()?;
        let one = || {
            let capture = Capture::record(&machine()?)?.args(RATE).args(DURATION).output("p.folded");
            Self::one(change(capture.of(running.pid())))
        };
        let mut all = one()?;
        for _ in 1..MOST_CAPTURES {
            if all.stacks.total() >= LEAST_SAMPLES {
                break;
            }
            let next = one()?;
            all.stacks.0.extend(next.stacks.0);
            all.cost.run_nanos += next.cost.run_nanos;
            all.captured = next.captured;
        }
        Ok(all)
    }

    /// A capture of a command from its first instruction to its last.
    pub(crate) fn command(workload: &Workload) -> Result<Self> {
        Self::one(Capture::record(&machine()?)?.args(RATE).output("p.folded").command(workload))
    }

    fn one(capture: Capture) -> Result<Self> {
        let running = capture.start()?;
        let watch = Watch::of(running.pid())?;
        let captured = running.finish();
        let cost = watch.end()?;
        let captured = captured?.expect_code(0)?;
        Ok(Self { stacks: captured.folded("p.folded")?, cost, captured })
    }

    /// Fails, with what is wrong, unless at least this share of stacks is whole and named.
    pub(crate) fn judged(&self, answer: &Answer, least: f64) -> Result<Figures> {
        let verdict = answer.judge(&self.stacks);
        verdict.ensure(least).with_context(|| {
            let claimed = verdict.faults.0.iter().filter(|stack| stack.has_no_marker()).cloned().collect();
            format!("{verdict}\nwithout a marker, and not as they should be: {}", Stacks(claimed))
        })?;
        ensure!(self.cost.run_nanos > 0, "the programs took no time");
        Ok(Figures {
            complete_percent: Some(verdict.share() * 100.0),
            verified: self.cost.verified,
            nanos_a_sample: Some(self.cost.run_nanos.checked_div(verdict.samples).context("no samples")?),
            samples: Some(verdict.samples),
            words: String::new(),
        })
    }
}
