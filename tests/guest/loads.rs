//! Known-answer programs of the guest, recorded: the stacks of each must be whole, from root to leaf.

use anyhow::Result;
use profiler_tests::{Answer, Stack, Stacks, Workload};

use crate::WORKLOADS;
use crate::captures::{LEAST, Watched, watched};
use crate::outcome::Outcome;

/// Least share of processes that live for milliseconds. What cannot be whole, the moments in which a program is being replaced
/// or its stack's first pages are being made, takes an emulator ten times as long as a CPU: 98.3 to 99.3 % were seen on amd64, 96.9 to
/// 98.7 % on arm64.
const LEAST_OF_SHORT_LIVES: f64 = 0.93;

/// Share of their samples that may fall into the instant of a change, for the same reason.
const INSTANTS_OF_SHORT_LIVES: f64 = 0.01;

/// A workload by its file's name.
pub(crate) fn workload(name: &str) -> Workload {
    Workload::program(format!("{WORKLOADS}/{name}"))
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
    let answer = Answer::program(&["main", "interrupted", "on_signal", "burn_in_handler"]).hot(0.2);
    let mut seen = Watched::of(&workload("c_signal"), |capture| capture)?;
    seen.stacks = with_named_trampoline(seen.stacks);
    seen.judged(&answer, LEAST).map(Outcome::Passed)
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
    // Start and end of a process take longer than its work.
    let answer = Answer::program(&["main", "burn_briefly"]).from_the_first_instruction().hot(0.25);
    let answer = answer.some_taken_for_complete(INSTANTS_OF_SHORT_LIVES);
    let seen = Watched::command(&workload("c_storm").args(["180"]))?;
    seen.judged(&answer, LEAST_OF_SHORT_LIVES).map(Outcome::Passed)
}
