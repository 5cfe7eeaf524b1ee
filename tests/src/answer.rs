//! Known answers to whole stacks: which functions of a program call one another → how many of its samples say so.
//!
//! ```text
//!   Stacks ──Answer::judge──▶ Verdict: samples │ with a user stack │ complete │ named │ hot │ falsely claimed complete
//! ```
//!
//! Complete is judged from the names alone, never from what the profiler says about a stack: the outermost frame is one
//! that threads begin in, and the program's own functions in the stack are the first few of a known chain, in order and
//! without a gap. What lies between them, such as a libc's `qsort` or the dynamic linker, is not the test's business.

use std::fmt;

use anyhow::{Result, ensure};

use crate::stacks::{Stack, Stacks, fits, ratio};

/// Where programs begin.
const PROGRAM: &[&str] = &["_start"];
/// Where glibc's threads begin.
const THREAD: &[&str] = &["clone", "clone3", "__clone", "__clone3", "__GI___clone", "__GI___clone3"];
/// Where what Go runs begins: goroutines, the stacks that its scheduler runs on (which leaves a goroutine by `mcall` and
/// `morestack`, where Go's own traces end), C's threads for cgo.
const GO: &[&str] = &[
    "runtime.goexit*",
    "runtime.mstart*",
    "runtime.mcall*",
    "runtime.morestack*",
    "runtime.rt0_go*",
    "_start",
    "clone",
    "clone3",
];

/// Begins the frame that stands for what is missing.
const MARKER: &str = "[incomplete";
/// A process in exec or at its end has no user memory and hence no user stack.
const NO_USER_STACK: &str = "[exiting or in exec]";

/// Fewer samples cannot show 99 %.
const LEAST_SAMPLES: u64 = 500;

/// Share of samples that may fall into the instant of a change, such as between an unmapping and what is mapped there next.
const INSTANTS: f64 = 0.002;

/// Functions that call one another, outermost first.
#[derive(Clone, Debug)]
struct Chain {
    roots: Vec<String>,
    functions: Vec<String>,
}

impl Chain {
    fn new(roots: &[&str], functions: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self { roots: owned(roots), functions: owned(functions) }
    }

    /// Whether the program's functions in a stack are the first few of this chain.
    fn begins_with(&self, root: &str, own: &[&str]) -> bool {
        self.roots.iter().any(|pattern| fits(pattern, root))
            && own.len() <= self.functions.len()
            && own.iter().zip(&self.functions).all(|(frame, pattern)| fits(pattern, frame))
    }
}

/// What the stacks of a program must be. A `*` at either end of a name stands for any text.
#[derive(Clone, Debug)]
pub struct Answer {
    chains: Vec<Chain>,
    start_up: bool,
    without_symbols: bool,
    made_code: bool,
    hot: f64,
    taken_for_complete: f64,
}

impl Answer {
    fn of(chain: Chain) -> Self {
        Self {
            chains: vec![chain],
            start_up: false,
            without_symbols: false,
            made_code: false,
            hot: 0.9,
            taken_for_complete: INSTANTS,
        }
    }

    /// The main thread of a program of C, C++ or Rust calls these functions.
    pub fn program(functions: &[&str]) -> Self {
        Self::of(Chain::new(PROGRAM, functions))
    }

    /// Threads of the C library call these.
    pub fn thread(functions: &[&str]) -> Self {
        Self::of(Chain::new(THREAD, functions))
    }

    /// Something that Go's runtime started calls these.
    pub fn go(functions: &[&str]) -> Self {
        Self::of(Chain::new(GO, functions))
    }

    /// These begin in places of their own, such as a coroutine's first function.
    pub fn rooted(roots: &[&str], functions: &[&str]) -> Self {
        Self::of(Chain::new(roots, functions))
    }

    /// The same, or what the other answer says.
    pub fn or(mut self, other: Self) -> Self {
        self.chains.extend(other.chains);
        self
    }

    /// Also without any of the functions: processes are watched from their first instruction to their last.
    pub fn from_the_first_instruction(mut self) -> Self {
        self.start_up = true;
        self
    }

    /// The program's file has no symbols of its own for some functions: `file+0x…` is the best name there is.
    pub fn without_symbols(mut self) -> Self {
        self.without_symbols = true;
        self
    }

    /// Code that was made at run time may have no name.
    pub fn with_made_code(mut self) -> Self {
        self.made_code = true;
        self
    }

    /// The least share of samples in which a chain is there to its end (0.9 unless told).
    pub fn hot(mut self, share: f64) -> Self {
        self.hot = share;
        self
    }

    /// At most this share may be taken for complete by the profiler without being it (two in a thousand unless told).
    pub fn some_taken_for_complete(mut self, share: f64) -> Self {
        self.taken_for_complete = share;
        self
    }

    fn own<'s>(&self, stack: &'s Stack) -> Vec<&'s str> {
        let is_own = |frame: &str| {
            self.chains.iter().flat_map(|chain| &chain.functions).any(|pattern| fits(pattern, frame))
        };
        stack.frames.iter().map(String::as_str).filter(|frame| is_own(frame)).collect()
    }

    fn is_complete(&self, stack: &Stack) -> bool {
        let Some(root) = stack.frames.first() else { return false };
        let own = self.own(stack);
        if !stack.has_no_marker() {
            return false;
        }
        (self.start_up || !own.is_empty()) && self.chains.iter().any(|chain| chain.begins_with(root, &own))
    }

    fn is_hot(&self, stack: &Stack) -> bool {
        let own = self.own(stack).len();
        own > 0 && self.is_complete(stack) && self.chains.iter().any(|chain| chain.functions.len() == own)
    }

    fn is_named(&self, stack: &Stack) -> bool {
        let nameless = format!("{}+0x", stack.process);
        let has_name = |frame: &String| {
            let made = self.made_code && frame.starts_with("[anon]");
            let kernels = frame.starts_with("[kernel]"); // such as code that BPF made
            (made || kernels || !frame.starts_with('['))
                && (self.without_symbols || !frame.starts_with(&nameless))
        };
        stack.frames.iter().all(has_name)
    }

    /// Counts.
    pub fn judge(&self, stacks: &Stacks) -> Verdict {
        let sum = |fits: &dyn Fn(&Stack) -> bool| {
            stacks.0.iter().filter(|stack| fits(stack)).map(|stack| stack.count).sum()
        };
        let has_user_stack = |stack: &Stack| !stack.is_in_exec_or_at_its_end();
        let is_claimed = |stack: &Stack| stack.has_no_marker() && has_user_stack(stack);
        let faults =
            |stack: &&Stack| has_user_stack(stack) && !(self.is_complete(stack) && self.is_named(stack));
        Verdict {
            samples: stacks.total(),
            with_user_stack: sum(&has_user_stack),
            complete: sum(&|stack| self.is_complete(stack)),
            named: sum(&|stack| self.is_complete(stack) && self.is_named(stack)),
            hot: sum(&|stack| self.is_hot(stack)),
            claimed: sum(&is_claimed),
            overclaimed: sum(&|stack| is_claimed(stack) && !self.is_complete(stack)),
            faults: Stacks(stacks.0.iter().filter(faults).cloned().collect()),
            least_hot: self.hot,
            most_overclaimed: self.taken_for_complete,
        }
    }
}

impl Stack {
    /// Whether nothing in it stands for what is missing: the profiler takes it for complete.
    pub fn has_no_marker(&self) -> bool {
        !self.frames.iter().any(|frame| frame.starts_with(MARKER))
    }

    /// Whether the process had no user memory at the time.
    pub fn is_in_exec_or_at_its_end(&self) -> bool {
        self.frames.first().is_some_and(|root| root == NO_USER_STACK)
    }
}

/// What became of a program's samples.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// All of them.
    pub samples: u64,
    /// Those that were taken while the process had a user stack.
    pub with_user_stack: u64,
    /// Those with all functions from root to leaf.
    pub complete: u64,
    /// Those of them without a nameless frame.
    pub named: u64,
    /// Complete ones in which a chain is there to its end.
    pub hot: u64,
    /// Those that the profiler takes for complete.
    pub claimed: u64,
    /// Those of them that are not.
    pub overclaimed: u64,
    /// Stacks that are not complete, or not named.
    pub faults: Stacks,
    least_hot: f64,
    most_overclaimed: f64,
}

impl Verdict {
    /// Complete and named ones of those with a user stack, 0 to 1.
    pub fn share(&self) -> f64 {
        ratio(self.named, self.with_user_stack)
    }

    /// Fails, with what is wrong, unless at least this share of the samples that have a user stack is complete and named.
    pub fn ensure(&self, least: f64) -> Result<()> {
        let faults = &self.faults;
        ensure!(
            self.samples >= LEAST_SAMPLES,
            "{} samples are too few to tell: {self}\n{faults}",
            self.samples
        );
        ensure!(self.share() >= least, "{least:.2} should be whole: {self}\n{faults}");
        let overclaimed = self.overclaimed;
        let share = ratio(overclaimed, self.samples);
        ensure!(
            share <= self.most_overclaimed,
            "{overclaimed} are taken for complete and are not: {self}\n{faults}"
        );
        let hot = ratio(self.hot, self.complete);
        ensure!(hot >= self.least_hot, "a share of {hot:.2} reaches the end of a chain: {self}\n{faults}");
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7} samples {:>7} with user stack {:>7} complete {:>7} named {:>6.2} %",
            self.samples,
            self.with_user_stack,
            self.complete,
            self.named,
            self.share() * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: &Answer, folded: &str) -> Verdict {
        answer.judge(&Stacks::from_folded(folded).unwrap())
    }

    #[test]
    fn a_chain_may_stop_early_and_have_others_between() {
        let answer = Answer::program(&["main", "outer", "inner"]);
        let whole =
            "p;_start;libc;main;outer;qsort;inner 7\np;_start;libc;main;outer 2\np;_start;main;printf 1\n";
        let verdict = judged(&answer, whole);
        assert_eq!((verdict.samples, verdict.complete, verdict.named, verdict.hot), (10, 10, 10, 7));
    }

    #[test]
    fn a_missing_caller_a_missing_root_and_a_wrong_order_are_faults() {
        let answer = Answer::program(&["main", "outer", "inner"]);
        for broken in [
            "p;_start;main;inner 1\n",
            "p;main;outer;inner 1\n",
            "p;_start;main;inner;outer 1\n",
            "p;_start;main;outer;inner;inner 1\n",
            "p;_start;libc 1\n",
        ] {
            let verdict = judged(&answer, broken);
            assert_eq!((verdict.complete, verdict.overclaimed), (0, 1), "{broken}");
        }
        let honest = judged(&answer, "p;[incomplete: no];inner 1\n");
        assert_eq!((honest.complete, honest.overclaimed), (0, 0));
    }

    #[test]
    fn no_user_stack_is_no_fault() {
        let verdict =
            judged(&Answer::program(&["main"]), "p;[exiting or in exec];do_exit 5\np;_start;main 5\n");
        assert_eq!((verdict.samples, verdict.with_user_stack, verdict.complete), (10, 5, 5));
    }

    #[test]
    fn own_functions_without_a_name_are_faults_unless_there_are_no_symbols() {
        let answer = Answer::program(&["main"]);
        let nameless = "p;_start;main;p+0x12 1\n";
        assert_eq!(judged(&answer, nameless).named, 0);
        assert_eq!(judged(&answer.clone().without_symbols(), nameless).named, 1);
        assert_eq!(judged(&answer, "p;_start;main;libc.so.6+0x12 1\n").named, 1);
        assert_eq!(judged(&answer.without_symbols(), "p;_start;main;[anon]+0x12 1\n").named, 0);
    }

    #[test]
    fn too_few_samples_and_too_short_chains_fail() {
        let answer = Answer::program(&["main", "leaf"]);
        assert!(judged(&answer, "p;_start;main;leaf 400\n").ensure(0.99).is_err());
        assert!(judged(&answer, "p;_start;main;leaf 900\n").ensure(0.99).is_ok());
        assert!(judged(&answer, "p;_start;main;leaf 800\np;_start;main 100\n").ensure(0.99).is_err());
    }
}
