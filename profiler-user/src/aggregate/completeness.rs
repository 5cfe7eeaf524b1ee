//! How many stacks reach their root, overall and by process.
//!
//! The kernel's frame-pointer walker cannot tell a root from a broken chain. Names can: a stack is
//! complete if its outermost function is one that threads begin in.

use std::collections::BTreeMap;
use std::sync::Arc;

use profiler_common::outcome::Outcome;

/// Functions in which threads begin, by the names that C libraries and language runtimes give them.
const ENTRY_POINTS: &[&str] = &[
    // glibc: programs, threads; musl's names where they differ
    "_start",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "__libc_start_main@@GLIBC_2.34",
    "_start_c",
    "start_thread",
    "start",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "__GI___clone",
    "__GI___clone3",
    "thread_start",
    // the dynamic linker, before the program
    "_dl_start_user",
    "_dl_start",
    // Go: goroutines, threads, start
    "runtime.goexit",
    "runtime.goexit.abi0",
    "runtime.mstart",
    "runtime.mstart.abi0",
    "runtime.rt0_go",
    "runtime.rt0_go.abi0",
];

/// Whether threads begin in a function of this name.
pub fn is_entry_point(system_name: &str) -> bool {
    ENTRY_POINTS.contains(&system_name)
}

/// Samples of one process, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Samples in all.
    pub samples: u64,
    /// Those whose stack reaches its root.
    pub complete: u64,
    /// The others, by the reason why their walk ended.
    pub incomplete: BTreeMap<Outcome, u64>,
}

impl Share {
    fn add(&mut self, reason: Option<Outcome>, count: u64) {
        self.samples += count;
        match reason {
            None => self.complete += count,
            Some(reason) => *self.incomplete.entry(reason).or_default() += count,
        }
    }

    /// Complete stacks of all, 0 to 1; 1 when there are none.
    pub fn complete_share(&self) -> f64 {
        if self.samples == 0 { 1.0 } else { self.complete as f64 / self.samples as f64 }
    }

    /// The most frequent reason of the others.
    pub fn main_reason(&self) -> Option<Outcome> {
        self.incomplete.iter().max_by_key(|&(_, count)| count).map(|(&reason, _)| reason)
    }
}

/// Completeness of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// Of all samples.
    pub overall: Share,
    /// By the name of the executable.
    pub by_executable: BTreeMap<Arc<str>, Share>,
}

impl Completeness {
    /// Counts samples: complete if there is no reason against.
    pub fn add(&mut self, executable: &Arc<str>, reason: Option<Outcome>, count: u64) {
        self.overall.add(reason, count);
        self.by_executable.entry(Arc::clone(executable)).or_default().add(reason, count);
    }

    /// Executables with the most incomplete samples first; those without any left out.
    pub fn worst(&self) -> Vec<(&Arc<str>, &Share)> {
        let incomplete = |share: &Share| share.samples - share.complete;
        let mut worst: Vec<_> =
            self.by_executable.iter().filter(|(_, share)| incomplete(share) > 0).collect();
        worst.sort_by_key(|(_, share)| std::cmp::Reverse(incomplete(share)));
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first_with_their_reason() {
        let mut completeness = Completeness::default();
        let (bash, python): (Arc<str>, Arc<str>) = ("bash".into(), "python3".into());
        completeness.add(&bash, None, 90);
        completeness.add(&bash, Some(Outcome::NoUserMemory), 2);
        completeness.add(&python, Some(Outcome::FramePointerChainEnd), 7);
        completeness.add(&python, Some(Outcome::FrameLimit), 1);
        let worst = completeness.worst();
        assert_eq!(worst[0].0, &python);
        assert_eq!(worst[0].1.main_reason(), Some(Outcome::FramePointerChainEnd));
        assert_eq!(completeness.overall.complete_share(), 0.9);
    }
}
