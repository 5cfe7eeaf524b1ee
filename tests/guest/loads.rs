//! Known-answer programs, recorded: the share of whole stacks, and what a sample cost.
//!
//! Shares are judged, not counts: an emulated CPU loses time that nobody books.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Answer, Capture, Captured, Machine, Stack, Stacks, Workload};

use crate::WORKLOADS;
use crate::outcome::{Figures, Outcome};
use crate::watch::{Cost, Watch};

/// Enough for the least number of samples that [`Answer`] judges, from one busy thread.
const RATE: [&str; 2] = ["-F", "199"];
const DURATION: [&str; 2] = ["-d", "4s"];

/// Of complete and named stacks.
const LEAST: f64 = 0.99;

/// The same of processes that live for milliseconds. What cannot be whole, the moments in which a program is being replaced
/// or its stack's first pages are being made, takes an emulator ten times as long as a CPU.
const LEAST_OF_SHORT_LIVES: f64 = 0.9;

/// A workload by its file's name.
pub(crate) fn workload(name: &str) -> Workload {
    Workload::program(format!("{WORKLOADS}/{name}"))
}

/// Share of samples of short lives that may fall into the instant of a change; see [`LEAST_OF_SHORT_LIVES`].
const INSTANTS: f64 = 0.002;

/// The guest is ours alone; a missing privilege is a failure here.
pub(crate) fn machine() -> Result<Machine> {
    Machine::acquire()?.map_err(|reason| anyhow::anyhow!(reason))
}

/// The static program that most tests sample, and its known answer.
pub(crate) fn plain() -> (Workload, Answer) {
    (workload("c_recursion_static").args(["0", "40"]), recursion(40))
}

fn recursion(calls: usize) -> Answer {
    let mut chain = vec!["main"];
    chain.resize(1 + calls, "descend");
    chain.push("burn_at_the_end");
    Answer::program(&chain)
}

pub(crate) fn dynamic_c() -> Result<Outcome> {
    watched(&workload("c_qsort"), &Answer::program(&["main", "sort_round", "compare", "burn_a_bit"]))
}

pub(crate) fn static_c() -> Result<Outcome> {
    let (workload, answer) = plain();
    watched(&workload, &answer)
}

pub(crate) fn signal_handler() -> Result<Outcome> {
    let answer = Answer::program(&["main", "interrupted", "on_signal", "burn_in_handler"]);
    let running = workload("c_signal").start()?;
    let (captured, cost) = costed(to_watch(running.pid())?)?;
    let stacks = with_named_trampoline(captured.expect_code(0)?.folded("p.folded")?);
    figures(&stacks, &answer.hot(0.2), LEAST, cost).map(Outcome::Passed)
}

/// A handler returns to the first instruction of the kernel's trampoline. On arm64 no symbol has what lies before that, where
/// return addresses are looked up.
fn with_named_trampoline(stacks: Stacks) -> Stacks {
    let named = |frame: String| if frame.starts_with("[vdso]+0x") { "trampoline".to_owned() } else { frame };
    let stack = |stack: Stack| Stack { frames: stack.frames.into_iter().map(named).collect(), ..stack };
    Stacks(stacks.0.into_iter().map(stack).collect())
}

pub(crate) fn kernel_heavy() -> Result<Outcome> {
    watched(&workload("c_kernel_reader"), &Answer::program(&["main", "read_zeroes"]))
}

pub(crate) fn signed_returns() -> Result<Outcome> {
    if std::env::consts::ARCH != "aarch64" {
        return Ok(Outcome::Untested("only arm64 signs return addresses".to_owned()));
    }
    watched(&workload("c_recursion_pac").args(["0", "40"]), &recursion(40))
}

pub(crate) fn fork_storm() -> Result<Outcome> {
    let answer = Answer::program(&["main", "burn_briefly"]).from_the_first_instruction().hot(0.5);
    let answer = answer.some_taken_for_complete(INSTANTS);
    let capture = Capture::record(&machine()?)?.args(RATE).output("p.folded");
    judged(capture.command(&workload("c_storm").args(["300"])), &answer, LEAST_OF_SHORT_LIVES)
}

/// Some seconds of a process that runs for ever.
pub(crate) fn watched(workload: &Workload, answer: &Answer) -> Result<Outcome> {
    watched_by(workload, answer, |capture| capture)
}

/// The same, with a capture that is changed before it starts.
pub(crate) fn watched_by(
    workload: &Workload,
    answer: &Answer,
    change: impl FnOnce(Capture) -> Capture,
) -> Result<Outcome> {
    let running = workload.start()?;
    judged(change(to_watch(running.pid())?), answer, LEAST)
}

fn to_watch(pid: u32) -> Result<Capture> {
    Ok(Capture::record(&machine()?)?.args(RATE).args(DURATION).output("p.folded").of(pid))
}

/// The same outcome with words.
pub(crate) fn figures_of(outcome: Outcome, words: &str) -> Result<Outcome> {
    match outcome {
        Outcome::Passed(figures) => Ok(Outcome::Passed(Figures { words: words.to_owned(), ..figures })),
        untested @ Outcome::Untested(_) => Ok(untested),
    }
}

fn judged(capture: Capture, answer: &Answer, least: f64) -> Result<Outcome> {
    let (captured, cost) = costed(capture)?;
    let stacks = captured.expect_code(0)?.folded("p.folded")?;
    figures(&stacks, answer, least, cost).map(Outcome::Passed)
}

/// Runs it, and tells what its programs cost.
fn costed(capture: Capture) -> Result<(Captured, Cost)> {
    let running = capture.start()?;
    let watch = Watch::of(running.pid())?;
    let captured = running.finish();
    let cost = watch.end()?;
    Ok((captured?, cost))
}

fn figures(stacks: &Stacks, answer: &Answer, least: f64, cost: Cost) -> Result<Figures> {
    let verdict = answer.judge(stacks);
    verdict.ensure(least).with_context(|| {
        let claimed = verdict.faults.0.iter().filter(|stack| stack.has_no_marker()).cloned().collect();
        format!("without a marker, and not as they should be: {}", Stacks(claimed))
    })?;
    ensure!(cost.run_nanos > 0, "the programs took no time");
    Ok(Figures {
        complete_percent: Some(verdict.share() * 100.0),
        verified: cost.verified,
        nanos_a_sample: Some(cost.run_nanos.checked_div(verdict.samples).context("no samples")?),
        samples: Some(verdict.samples),
        words: String::new(),
    })
}
