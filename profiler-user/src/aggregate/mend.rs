//! Where and why a walk broke off → what its user can do about it. Texts only: nothing is looked up.

use profiler_common::outcome::Outcome;

use super::completeness::{BrokenOff, EndedIn};

/// JIT compilers that keep frame pointers when they are told to, by the executable's name. Sources: the manuals
/// of `java`, `ruby` (YJIT, from 3.3 on) and `erl`.
const RUNTIMES: &[(&str, &str)] = &[
    ("java", "start it with -XX:+PreserveFramePointer"),
    ("ruby", "start it with --yjit-perf"),
    ("beam.smp", "start it with +JPperf true"),
];

/// What would make such stacks whole, as an order to the user; `None` if nothing that he can do would.
pub fn mend(end: &BrokenOff, executable: &str) -> Option<&'static str> {
    match end.reason {
        reason if is_guess_gone_wrong(reason) && end.at == Some(EndedIn::MadeAtRunTime) => {
            let known = RUNTIMES.iter().find(|(name, _)| *name == executable);
            Some(known.map_or("let its JIT compiler keep frame pointers, if it can", |&(_, order)| order))
        }
        reason if needed_a_row(reason) && is_described(end) => Some(
            "sample for longer: the file's unwind information was not in use yet when these were taken; if that does \
             not help, the function has none (assembly)",
        ),
        reason if needed_a_row(reason) => Some(
            "build that file with unwind information (-fasynchronous-unwind-tables) or with -fno-omit-frame-pointer, \
             and keep its .eh_frame",
        ),
        Outcome::CfaExpressionUnknown
        | Outcome::CfaRegisterUnknown
        | Outcome::RuleOutOfRange
        | Outcome::ReturnAddressRuleUnknown
        | Outcome::SavedRegisterRuleUnknown => {
            Some("report the file to us: its unwind information has a form that we did not meet before")
        }
        Outcome::UnwindInfoMalformed => {
            Some("build or install that file anew: its unwind information is damaged")
        }
        Outcome::StackMemoryUnreadable => {
            Some("if it happens often, give the host more memory: pages that are swapped out cannot be read")
        }
        Outcome::StackPointerFell => {
            Some("code that changes stacks by itself has to say so in its unwind information (.cfi_def_cfa)")
        }
        Outcome::RowsNotReady => Some(
            "sample for longer: unwind information is read in the background, once, and kept for the next time",
        ),
        Outcome::DefinitionMissing => {
            Some("take fewer samples a second (--rate), or of fewer processes (--pid)")
        }
        Outcome::TablesFull | Outcome::TooManyRules => Some("sample fewer processes at a time (--pid)"),
        _ => None,
    }
}

fn is_described(end: &BrokenOff) -> bool {
    matches!(end.at, Some(EndedIn::File { is_described: true, .. }))
}

/// Whether a walk ends so where no row says anything.
fn needed_a_row(reason: Outcome) -> bool {
    matches!(
        reason,
        Outcome::NoUnwindRow
            | Outcome::FramePointerChainEnd
            | Outcome::FramePointerImplausible
            | Outcome::NoMapping
    )
}

/// Whether a walk ends so when it followed a frame pointer that was none.
fn is_guess_gone_wrong(reason: Outcome) -> bool {
    needed_a_row(reason) || matches!(reason, Outcome::StackMemoryUnreadable | Outcome::StackPointerFell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(reason: Outcome, at: EndedIn, executable: &str) -> &'static str {
        mend(&BrokenOff { reason, at: Some(at) }, executable).unwrap()
    }

    #[test]
    fn code_of_a_jit_is_mended_at_its_runtime() {
        let java = mended(Outcome::FramePointerImplausible, EndedIn::MadeAtRunTime, "java");
        assert!(java.contains("PreserveFramePointer"), "{java}");
        let other = mended(Outcome::FramePointerImplausible, EndedIn::MadeAtRunTime, "luajit");
        assert!(other.contains("JIT"), "{other}");
    }

    #[test]
    fn a_file_is_to_be_built_anew_only_if_it_lacks_something() {
        let library = |is_described| EndedIn::File { name: "libjvm.so".into(), is_described };
        let lacking = mended(Outcome::FramePointerImplausible, library(false), "java");
        assert!(lacking.contains("-fasynchronous-unwind-tables"), "{lacking}");
        let described = mended(Outcome::FramePointerImplausible, library(true), "java");
        assert!(described.contains("sample for longer"), "{described}");
        let damaged = mended(Outcome::UnwindInfoMalformed, library(true), "java");
        assert!(damaged.contains("damaged"), "{damaged}");
    }

    #[test]
    fn nothing_is_advised_against_what_nobody_can_change() {
        let nothing = |reason| mend(&BrokenOff { reason, at: None }, "sh");
        assert_eq!(nothing(Outcome::NoUserMemory), None);
        assert_eq!(nothing(Outcome::FrameLimit), None);
    }

    #[test]
    fn each_way_a_native_walk_breaks_off_is_mended_or_known_to_be_beyond_that() {
        let beyond = [
            Outcome::KernelThread,
            Outcome::NoUserMemory,
            Outcome::FrameLimit,
            Outcome::UserStackUnreadable,
            Outcome::StackCopyEnded,
            Outcome::FramesLeftOut,
            Outcome::CodeReplaced,
        ];
        let native = Outcome::ALL.iter().filter(|outcome| outcome.number() < 64 && !outcome.is_complete());
        for &reason in native {
            let advice = mend(&BrokenOff { reason, at: None }, "sh");
            assert_eq!(advice.is_none(), beyond.contains(&reason), "{reason:?}");
        }
    }
}
