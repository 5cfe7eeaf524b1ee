//! How each stack ends → how many reach their root, overall and by executable, and where and why the others end.
//! What would mend those is said by `mend.rs`.
//!
//! The kernel's frame-pointer walker cannot tell a root from a broken chain. Names can: a stack is
//! complete if its outermost function is one that threads begin in.

use std::cmp::Reverse;
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

/// The code in which a walk ended: that of its outermost frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndedIn {
    /// A file.
    File {
        /// Without its folder.
        name: Arc<str>,
        /// Whether it has unwind information for the most of its code (`PT_GNU_EH_FRAME`).
        is_described: bool,
    },
    /// Memory of the process that no ELF file backs: what a JIT compiler made.
    MadeAtRunTime,
}

/// Why a walk did not reach the root, and in which code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokenOff {
    /// Why.
    pub reason: Outcome,
    /// Where, if there is a frame at all.
    pub at: Option<EndedIn>,
}

/// How a stack ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its root.
    Root,
    /// It has no user part, and why: a kernel thread, or a process that is exiting or in exec.
    NoUserStack(Outcome),
    /// Somewhere before.
    BrokenOff(BrokenOff),
}

/// Samples of one executable, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Those whose stack reaches its root.
    pub complete: u64,
    /// Those whose stack does not, by why and where.
    pub broken_off: BTreeMap<BrokenOff, u64>,
    /// Those that have no user part, by why. They are in no share.
    pub without_user_stack: BTreeMap<Outcome, u64>,
}

impl Share {
    fn add(&mut self, ending: &Ending, count: u64) {
        match ending {
            Ending::Root => self.complete += count,
            Ending::NoUserStack(why) => *self.without_user_stack.entry(*why).or_default() += count,
            Ending::BrokenOff(broken) => match self.broken_off.get_mut(broken) {
                Some(known) => *known += count,
                None => _ = self.broken_off.insert(broken.clone(), count),
            },
        }
    }

    fn merge(&mut self, other: &Self) {
        self.complete += other.complete;
        for (end, count) in &other.broken_off {
            self.add(&Ending::BrokenOff(end.clone()), *count);
        }
        for (why, count) in &other.without_user_stack {
            self.add(&Ending::NoUserStack(*why), *count);
        }
    }

    /// Samples whose stack does not reach its root.
    pub fn incomplete(&self) -> u64 {
        self.broken_off.values().sum()
    }

    /// Samples that have a user stack.
    pub fn with_user_stack(&self) -> u64 {
        self.complete + self.incomplete()
    }

    /// Complete stacks in a thousand of those that there are, rounded down, so that 1,000 means all; that too
    /// when there are none.
    pub fn complete_permille(&self) -> u64 {
        let thousandfold = u128::from(self.complete) * 1_000;
        let permille = thousandfold.checked_div(u128::from(self.with_user_stack())).unwrap_or(1_000);
        u64::try_from(permille).unwrap_or(1_000)
    }

    /// Why and where the others end, most frequent first.
    pub fn ends(&self) -> Vec<(&BrokenOff, u64)> {
        let mut ends: Vec<_> = self.broken_off.iter().map(|(end, &count)| (end, count)).collect();
        ends.sort_by_key(|&(_, count)| Reverse(count));
        ends
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
    /// Counts samples of a stack.
    pub fn add(&mut self, executable: &Arc<str>, ending: &Ending, count: u64) {
        self.overall.add(ending, count);
        self.by_executable.entry(Arc::clone(executable)).or_default().add(ending, count);
    }

    /// Adds another part of a capture.
    pub fn merge(&mut self, other: &Self) {
        self.overall.merge(&other.overall);
        for (executable, share) in &other.by_executable {
            self.by_executable.entry(Arc::clone(executable)).or_default().merge(share);
        }
    }

    /// Executables with the most incomplete samples first; those without any left out.
    pub fn worst(&self) -> Vec<(&Arc<str>, &Share)> {
        let mut worst: Vec<_> =
            self.by_executable.iter().filter(|(_, share)| share.incomplete() > 0).collect();
        worst.sort_by_key(|(_, share)| Reverse(share.incomplete()));
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(reason: Outcome, file: &str) -> Ending {
        Ending::BrokenOff(BrokenOff {
            reason,
            at: Some(EndedIn::File { name: file.into(), is_described: false }),
        })
    }

    #[test]
    fn the_worst_come_first_with_their_reason_and_file() {
        let mut completeness = Completeness::default();
        let (bash, python): (Arc<str>, Arc<str>) = ("bash".into(), "python3".into());
        completeness.add(&bash, &Ending::Root, 90);
        completeness.add(&bash, &broken(Outcome::FrameLimit, "bash"), 2);
        completeness.add(&python, &broken(Outcome::NoUnwindRow, "a.so"), 3);
        completeness.add(&python, &broken(Outcome::NoUnwindRow, "b.so"), 4);
        completeness.add(&python, &broken(Outcome::FrameLimit, "a.so"), 1);
        let worst = completeness.worst();
        assert_eq!(worst.iter().map(|(name, _)| &***name).collect::<Vec<_>>(), ["python3", "bash"]);
        let (main, count) = worst[0].1.ends()[0];
        assert_eq!((main.reason, count), (Outcome::NoUnwindRow, 4));
        assert_eq!(main.at, Some(EndedIn::File { name: "b.so".into(), is_described: false }));
        assert_eq!(completeness.overall.complete_permille(), 900);
    }

    #[test]
    fn samples_without_a_user_stack_are_in_no_share() {
        let mut completeness = Completeness::default();
        let name: Arc<str> = "sh".into();
        assert_eq!(completeness.overall.complete_permille(), 1_000);
        completeness.add(&name, &Ending::Root, 1);
        completeness.add(&name, &broken(Outcome::FrameLimit, "sh"), 1);
        completeness.add(&name, &Ending::NoUserStack(Outcome::NoUserMemory), 98);
        let share = &completeness.overall;
        assert_eq!((share.complete_permille(), share.with_user_stack()), (500, 2));
        assert_eq!(share.without_user_stack[&Outcome::NoUserMemory], 98);
    }

    #[test]
    fn all_but_one_is_not_all() {
        let mut completeness = Completeness::default();
        let name: Arc<str> = "sh".into();
        completeness.add(&name, &Ending::Root, 99_999);
        completeness.add(&name, &broken(Outcome::FrameLimit, "sh"), 1);
        assert_eq!(completeness.overall.complete_permille(), 999);
    }
}
