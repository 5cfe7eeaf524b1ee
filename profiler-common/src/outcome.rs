//! Why a stack walk ended and what was lost: ONE list, used three times.
//!
//! The number is the index of a per-CPU counter array in the kernel, the value of a marker frame, and
//! (by its label) the name of a metric and of a row in reports. Numbers are ABI and are never reused:
//!
//! ```text
//!     0 ..  63   how a native walk ended
//!    64 .. 255   how a runtime's walk ended (interpreters, JITs), by runtime
//!   256 ..       counters: what was done, what was lost
//! ```

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $label:literal, $words:literal;)+) => {
        /// How a walk ended, or what was counted. See the module's documentation for the number space.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Outcome {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Outcome {
            /// Every outcome, in the order of numbers.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The label of its metric: lower case, words joined by `_`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The same for people: completes "the stack ends because …" or "… were lost".
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)+ }
            }

            /// The outcome with this number, if there is one.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

outcomes! {
    /// The walk reached the thread's entry point.
    RootReached = 0, "root_reached", "the root was reached";
    /// A kernel thread: there is no user stack.
    KernelThread = 1, "kernel_thread", "a kernel thread has no user stack";
    /// The task has no user memory: it is exiting, or in the middle of exec.
    NoUserMemory = 2, "no_user_memory", "the process was exiting or in exec";
    /// The chain of frame pointers ended; whether that was the root is not known to the kernel.
    FramePointerChainEnd = 3, "frame_pointer_chain_end", "the chain of frame pointers ended";
    /// The kernel's walker gave as many frames as it gives at most (kernel.perf_event_max_stack).
    FrameLimit = 4, "frame_limit", "the stack is deeper than the walker goes";
    /// The user stack could not be read at all.
    UserStackUnreadable = 5, "user_stack_unreadable", "the user stack could not be read";
    /// The stack's definition never arrived.
    DefinitionMissing = 6, "definition_missing", "its definition was lost on the way";
    /// No unwind information covers an address, and no frame pointer helped.
    NoUnwindRow = 7, "no_unwind_row", "no unwind information covers an address";
    /// Unwind information by an expression that no rule can hold.
    CfaExpressionUnknown = 8, "cfa_expression_unknown", "its unwind information is an expression of an unknown form";
    /// Unwind information relative to a register that is not kept, or no longer known behind the first frame.
    CfaRegisterUnknown = 9, "cfa_register_unknown", "its unwind information needs a register that is not kept";
    /// Unwind information with a number too large for a rule.
    RuleOutOfRange = 10, "rule_out_of_range", "its unwind information has a number too large to keep";
    /// Unwind information with the return address in an unknown place.
    ReturnAddressRuleUnknown = 11, "return_address_rule_unknown", "its return address lies in an unknown place";
    /// Unwind information with a saved register in an unknown place.
    SavedRegisterRuleUnknown = 12, "saved_register_rule_unknown", "a saved register lies in an unknown place";
    /// The table of distinct unwind rules is full, or this file's share of it.
    TooManyRules = 13, "too_many_rules", "there are more distinct unwind rules than the table holds";
    /// Unwind information of a function that could not be read.
    UnwindInfoMalformed = 14, "unwind_info_malformed", "its unwind information is damaged";
    /// Memory of the stack could not be read: not resident, or not mapped.
    StackMemoryUnreadable = 15, "stack_memory_unreadable", "a page of the stack was not in memory";
    /// A frame pointer, where only it could help, that does not lead to a frame.
    FramePointerImplausible = 16, "frame_pointer_implausible", "the frame pointer does not lead to a frame";
    /// An address that is in no known mapping of the process.
    NoMapping = 17, "no_mapping", "an address is in no mapping of the process";
    /// The caller's stack pointer would be below the frame's own.
    StackPointerFell = 18, "stack_pointer_fell", "the stack pointer would go backwards";

    /// The unwind rows of an address had not been loaded, or not been read, when they were needed.
    RowsNotReady = 19, "rows_not_ready", "the unwind information of a file had not been read yet";
    /// The part of the stack that a snapshot copies was too short, or the caller is on another stack.
    StackCopyEnded = 20, "stack_copy_ended", "the stack goes on beyond what is copied of it before a process is known";

    /// The stack reaches its root, but has more frames than are kept: some in the middle are missing.
    FramesLeftOut = 21, "frames_left_out", "the stack has more frames than are kept";

    /// Code came to lie where other code was, and the walk may have gone by what lay there before.
    CodeReplaced = 22, "code_replaced", "the process replaced code while its stack was walked";

    /// Samples taken and handed to the ring.
    Samples = 256, "samples", "samples taken";
    /// Samples that found the ring full.
    SampleRingFull = 257, "sample_ring_full", "samples found the ring full";
    /// Stack definitions that found the ring full; sent again with the stack's next sample.
    DefinitionRingFull = 258, "definition_ring_full", "stack definitions found the ring full";
    /// Stack definitions handed to the ring.
    Definitions = 259, "definitions", "stack definitions sent";
    /// Ticks in processes that the filter leaves out.
    Filtered = 260, "filtered", "ticks in processes that were not asked for";
    /// The kernel part of a stack could not be walked.
    KernelStackFailed = 261, "kernel_stack_failed", "kernel stacks could not be walked";
    /// A child of a sampled process found the table of sampled processes full.
    TargetTableFull = 262, "target_table_full", "child processes found the table of sampled processes full";
    /// A per-CPU scratch buffer was missing; cannot happen, counted all the same.
    NoScratch = 263, "no_scratch", "ticks found no scratch buffer";

    /// Samples that carried registers and the top of their stack.
    Snapshots = 264, "snapshots", "samples carried a part of their stack";
    /// Samples that should have, and did not: their process had sent enough for now, or the ring was filling up.
    SnapshotRefused = 265, "snapshot_refused", "stacks could not be copied: too many at once";
    /// Samples walked by what was published of the process that forked theirs.
    WalkedByParent = 266, "walked_by_parent", "samples of forked processes were walked by their parent's tables";
    /// Samples in kernel mode whose user registers were not where they are saved; their user part is by frame pointers.
    UserRegistersUnknown = 267, "user_registers_unknown", "samples in the kernel did not find their user registers";

    /// Bytes in the ring that are no event of this version.
    MalformedEvent = 320, "malformed_event", "ring events could not be read";
    /// Process events that the kernel dropped because the side-band ring was full.
    ProcessEventsLost = 321, "process_events_lost", "process events were dropped by the kernel";
    /// Samples whose stack definition never arrived.
    SampleWithoutDefinition = 322, "sample_without_definition", "samples lost their stack on the way";
    /// Samples beyond what the time line keeps; they are in every total.
    TimelineFull = 323, "timeline_full", "samples are in the totals but not in the time line";
    /// Files that were mapped in a sampled process and could not be opened.
    FileUnopenable = 324, "file_unopenable", "mapped files could not be opened";
    /// Samples of processes that ended before anything about them was known.
    ProcessUnknown = 325, "process_unknown", "samples are of processes that ended unseen";
    /// Files that were open and could not be read for names.
    FileUnreadable = 326, "file_unreadable", "files could not be read for names";
    /// Files whose debug information is damaged or too large; their symbols are used.
    DebugInfoUnusable = 327, "debug_info_unusable", "files have debug information that cannot be used";
    /// The kernel does not show its symbols (kernel.kptr_restrict, CAP_SYSLOG).
    KernelNamesHidden = 328, "kernel_names_hidden", "time the kernel's names were hidden (kernel.kptr_restrict, CAP_SYSLOG)";
    /// Samples beyond the processes, threads and stacks that one capture keeps apart; they are in the totals.
    TablesFull = 329, "tables_full", "samples are summed up together: the tables of processes and stacks were full";
    /// Snapshots that waited for unwind rows and found too many waiting.
    SnapshotsWaiting = 330, "snapshots_waiting", "copied stacks could not wait for unwind information: too many did";
    /// Processes whose mappings, or files whose text, found no room in the walker's tables.
    UnwindTablesFull = 336, "unwind_tables_full", "processes or files found no room in the unwind tables (--unwind-tables-max)";
    /// Pages of unwind rows that made room for hotter ones.
    TextPagesUnloaded = 337, "text_pages_unloaded", "pages of unwind rows made room for hotter ones (--unwind-tables-max)";
    /// Files with unwind information that is damaged, too large or of another machine.
    UnwindInfoUnusable = 338, "unwind_info_unusable", "files have unwind information that cannot be used";
    /// Samples of segments that found no room in the queue of what is to be named.
    NamingBehind = 339, "naming_behind", "samples were lost because naming was behind";
}

impl Outcome {
    /// The index in the counter array, and the value in a marker frame.
    #[inline(always)]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a walk that ended so has all its frames.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::RootReached | Self::KernelThread)
    }

    /// Whether this counts something that the user asked for and did not get.
    pub const fn is_loss(self) -> bool {
        self.number() >= 256
            && !matches!(
                self,
                Self::Samples | Self::Definitions | Self::Filtered | Self::Snapshots | Self::WalkedByParent
            )
    }
}

/// Entries of the per-CPU counter array.
pub const OUTCOME_SLOTS: u32 = 384;

const _: () = {
    let mut i = 1;
    while i < Outcome::ALL.len() {
        assert!(
            Outcome::ALL[i - 1].number() < Outcome::ALL[i].number(),
            "numbers ascend, so none is used twice"
        );
        i += 1;
    }
    assert!((Outcome::ALL[i - 1].number() as u32) < OUTCOME_SLOTS);
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_unique_metric_names() {
        let labels: HashSet<_> = Outcome::ALL.iter().map(|o| o.label()).collect();
        assert_eq!(labels.len(), Outcome::ALL.len());
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn numbers_lead_back_to_their_outcome() {
        for &outcome in Outcome::ALL {
            assert_eq!(Outcome::from_number(outcome.number()), Some(outcome));
        }
        assert_eq!(Outcome::from_number(9999), None);
    }
}
