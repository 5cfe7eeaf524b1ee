//! How complete a capture's stacks are → lines for people: a few on stderr, the same and more in pprof comments.

use std::collections::HashSet;

use profiler_common::outcome::Outcome;

use super::stranger::shortened;
use crate::aggregate::completeness::{BrokenOff, Completeness, EndedIn, Share};
use crate::aggregate::mend::mend;
use crate::capture::Unwind;

/// How much is told.
#[derive(Clone, Copy, Debug)]
struct Detail {
    /// Executables with the most incomplete stacks.
    worst: usize,
    /// Ends by reason and file, over all executables.
    ends: usize,
}

/// What fits a summary.
pub(super) fn in_short(completeness: &Completeness, unwind: Unwind) -> Vec<String> {
    lines(completeness, unwind, Detail { worst: 3, ends: 0 })
}

/// What a reader of the file may ask for later.
pub(super) fn in_full(completeness: &Completeness, unwind: Unwind) -> Vec<String> {
    lines(completeness, unwind, Detail { worst: 10, ends: 20 })
}

fn lines(completeness: &Completeness, unwind: Unwind, detail: Detail) -> Vec<String> {
    let overall = &completeness.overall;
    let mut lines = vec![match overall.with_user_stack() {
        0 => "No sample has a user stack.".to_owned(),
        all => {
            format!("{} of the user stacks reach their root ({} of {all}).", share(overall), overall.complete)
        }
    }];
    let mut told = HashSet::new();
    for (name, of_one) in completeness.worst().into_iter().take(detail.worst) {
        let Some(&(main, _)) = of_one.ends().first() else { continue };
        lines.push(format!("  {}: {}; in the others {}", shortened(name), share(of_one), words(main)));
        let new = remedy(main, name, unwind).filter(|&order| told.insert(order));
        lines.extend(new.map(|order| format!("    {order}")));
    }
    let ends = overall.ends();
    for (end, count) in ends.iter().take(detail.ends) {
        lines.push(format!("  {count} end because {}", words(end)));
    }
    lines.extend(without_user_stack(overall));
    lines
}

fn share(of: &Share) -> String {
    let permille = of.complete_permille();
    format!("{}.{} %", permille / 10, permille % 10)
}

fn words(end: &BrokenOff) -> String {
    let reason = end.reason.words();
    match &end.at {
        None => reason.to_owned(),
        Some(EndedIn::File { name, .. }) => format!("{reason} ({})", shortened(name)),
        Some(EndedIn::MadeAtRunTime) => format!("{reason} (code made at run time)"),
    }
}

fn remedy(end: &BrokenOff, executable: &str, unwind: Unwind) -> Option<&'static str> {
    let is_the_kernels_walk = unwind == Unwind::FramePointers
        && matches!(end.reason, Outcome::FramePointerChainEnd | Outcome::FrameLimit);
    if is_the_kernels_walk {
        return Some("record with --unwind rows, which needs no frame pointers and goes deeper");
    }
    mend(end, executable)
}

/// They are in no share: nothing of them is missing.
fn without_user_stack(overall: &Share) -> Option<String> {
    let count = |why| overall.without_user_stack.get(&why).copied().unwrap_or(0);
    let kernel_threads = count(Outcome::KernelThread);
    let exiting = count(Outcome::NoUserMemory);
    (kernel_threads + exiting > 0).then(|| {
        format!(
            "  {} more samples have no user stack: {kernel_threads} of kernel threads, {exiting} of processes that \
             were exiting or in exec.",
            kernel_threads + exiting
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::aggregate::completeness::Ending;

    fn check(ends: &[(&str, Ending, u64)], lines: fn(&Completeness) -> Vec<String>, expected: &Expect) {
        let mut completeness = Completeness::default();
        for (executable, ending, count) in ends {
            completeness.add(&Arc::from(*executable), ending, *count);
        }
        expected.assert_eq(&(lines(&completeness).join("\n") + "\n"));
    }

    fn broken(reason: Outcome, file: &str) -> Ending {
        Ending::BrokenOff(BrokenOff {
            reason,
            at: Some(EndedIn::File { name: file.into(), is_described: false }),
        })
    }

    fn in_made_code(reason: Outcome) -> Ending {
        Ending::BrokenOff(BrokenOff { reason, at: Some(EndedIn::MadeAtRunTime) })
    }

    fn a_host() -> Vec<(&'static str, Ending, u64)> {
        vec![
            ("java", Ending::Root, 821),
            ("java", in_made_code(Outcome::FramePointerImplausible), 170),
            ("java", broken(Outcome::CfaExpressionUnknown, "libjvm.so"), 9),
            ("crypt\u{1b}[2J", broken(Outcome::NoUnwindRow, "libown\u{1b}[2J.so"), 30),
            ("sh", Ending::Root, 5_000),
            ("sh", broken(Outcome::StackMemoryUnreadable, "libc.so.6"), 1),
            ("deep", broken(Outcome::FrameLimit, "deep"), 2),
            ("sh", Ending::NoUserStack(Outcome::NoUserMemory), 14),
            ("kworker/0:1", Ending::NoUserStack(Outcome::KernelThread), 200),
        ]
    }

    #[test]
    fn the_worst_with_reason_file_and_remedy() {
        check(
            &a_host(),
            |completeness| in_short(completeness, Unwind::Rows),
            &expect![[r#"
                96.4 % of the user stacks reach their root (5821 of 6033).
                  java: 82.1 %; in the others the frame pointer does not lead to a frame (code made at run time)
                    start it with -XX:+PreserveFramePointer
                  crypt�[2J: 0.0 %; in the others no unwind information covers an address (libown�[2J.so)
                    build that file with unwind information (-fasynchronous-unwind-tables) or with -fno-omit-frame-pointer, and keep its .eh_frame
                  deep: 0.0 %; in the others the stack is deeper than the walker goes (deep)
                  214 more samples have no user stack: 200 of kernel threads, 14 of processes that were exiting or in exec.
            "#]],
        );
    }

    #[test]
    fn the_file_tells_every_end_by_reason_and_file() {
        check(
            &a_host(),
            |completeness| in_full(completeness, Unwind::Rows),
            &expect![[r#"
                96.4 % of the user stacks reach their root (5821 of 6033).
                  java: 82.1 %; in the others the frame pointer does not lead to a frame (code made at run time)
                    start it with -XX:+PreserveFramePointer
                  crypt�[2J: 0.0 %; in the others no unwind information covers an address (libown�[2J.so)
                    build that file with unwind information (-fasynchronous-unwind-tables) or with -fno-omit-frame-pointer, and keep its .eh_frame
                  deep: 0.0 %; in the others the stack is deeper than the walker goes (deep)
                  sh: 99.9 %; in the others a page of the stack was not in memory (libc.so.6)
                    if it happens often, give the host more memory: pages that are swapped out cannot be read
                  170 end because the frame pointer does not lead to a frame (code made at run time)
                  30 end because no unwind information covers an address (libown�[2J.so)
                  9 end because its unwind information is an expression of an unknown form (libjvm.so)
                  2 end because the stack is deeper than the walker goes (deep)
                  1 end because a page of the stack was not in memory (libc.so.6)
                  214 more samples have no user stack: 200 of kernel threads, 14 of processes that were exiting or in exec.
            "#]],
        );
    }

    #[test]
    fn the_kernels_own_walk_is_mended_by_rows() {
        check(
            &[
                ("perl", broken(Outcome::FramePointerChainEnd, "libperl.so.5.36"), 7),
                ("perl", Ending::Root, 3),
            ],
            |completeness| in_short(completeness, Unwind::FramePointers),
            &expect![[r#"
                30.0 % of the user stacks reach their root (3 of 10).
                  perl: 30.0 %; in the others the chain of frame pointers ended (libperl.so.5.36)
                    record with --unwind rows, which needs no frame pointers and goes deeper
            "#]],
        );
    }

    #[test]
    fn a_host_whose_kernel_alone_works_has_no_share() {
        check(
            &[("kworker/0:1", Ending::NoUserStack(Outcome::KernelThread), 2)],
            |completeness| in_short(completeness, Unwind::Rows),
            &expect![[r#"
                No sample has a user stack.
                  2 more samples have no user stack: 2 of kernel threads, 0 of processes that were exiting or in exec.
            "#]],
        );
    }
}
