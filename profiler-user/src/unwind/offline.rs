//! A snapshot and the rules of the code that it ran in → frames, by the same step as in the kernel.
//!
//! Pure: what lies at an address is asked of [`Code`]. Stops without a result at the first frame whose file has not
//! been read yet; who asked waits for it and begins anew.

use profiler_common::abi::WALKED_FRAMES_MAX;
use profiler_common::address::{CodeAddr, RuntimeAddr};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;
use profiler_common::unwind_rule::Rule;
#[cfg(target_arch = "aarch64")]
use profiler_common::unwind_step::ARM64_ADDRESS_MASK;
use profiler_common::unwind_step::{Arch, Regs, StepOutcome, step};

use crate::collect::{StackEnd, StackSnapshot};

#[cfg(target_arch = "x86_64")]
const ARCH: Arch = Arch::X86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: Arch = Arch::Arm64 { address_mask: ARM64_ADDRESS_MASK };
/// As in the kernel half.
const FRAMES_MAX: usize = WALKED_FRAMES_MAX as usize;

/// What is known of the code at an address. `Waiting` is what its rows are waited for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAt<Waiting> {
    /// The rule; [`Rule::GAP`] where no row says anything.
    Rule(Rule),
    /// Not yet.
    Waits(Waiting),
    /// No executable memory is there.
    NoMapping,
}

/// The code of one process at one time.
pub trait Code {
    /// What waiting for rows goes by.
    type Waiting;
    /// The rule at a look-up address.
    fn rule(&mut self, at: RuntimeAddr) -> RuleAt<Self::Waiting>;
    /// The word at an address in code that a file holds.
    fn word(&mut self, at: RuntimeAddr) -> Option<u64>;
}

/// A stack, walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwound {
    /// Leaf first, by addresses in the process.
    pub frames: Vec<Frame>,
    /// How the walk ended.
    pub outcome: Outcome,
    /// Whether it came to an address where no executable memory is known.
    pub is_off_the_map: bool,
}

/// A walk that stopped at a file that has not been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits<Waiting> {
    /// For what.
    pub waiting: Waiting,
    /// The stack as far as it is known, if nobody wants to wait.
    pub so_far: Unwound,
}

/// Unwinds a snapshot, or tells what has to be waited for.
pub fn unwind<C: Code>(snapshot: &StackSnapshot, code: &mut C) -> Result<Unwound, Waits<C::Waiting>> {
    let mut regs = interrupted(snapshot);
    let mut frames = Vec::new();
    let (mut is_sampled_frame, mut is_off_the_map) = (true, false);
    let ended = |frames, outcome, is_off_the_map| Ok(Unwound { frames, outcome, is_off_the_map });
    while frames.len() < FRAMES_MAX {
        let is_return = !regs.is_interrupted();
        let (CodeAddr::Interrupted(pc) | CodeAddr::Return(pc)) = regs.pc;
        let rule = match code.rule(regs.pc.lookup()) {
            RuleAt::Rule(rule) => rule,
            RuleAt::Waits(waiting) => {
                frames.push(Frame::unbacked(pc.0, is_return));
                let so_far = Unwound { frames, outcome: Outcome::RowsNotReady, is_off_the_map };
                return Err(Waits { waiting, so_far });
            }
            RuleAt::NoMapping if is_return => return ended(frames, Outcome::NoMapping, true),
            // Between the change of memory and the start of the new program, exec still has the old registers.
            RuleAt::NoMapping if is_sampled_frame && snapshot.stack.is_empty() => {
                return ended(frames, Outcome::NoUserMemory, false);
            }
            RuleAt::NoMapping => {
                is_off_the_map = true;
                Rule::GAP
            }
        };
        frames.push(Frame::unbacked(pc.0, is_return));
        let leaf = |number: u8| {
            let known = snapshot.registers.get(usize::from(number)).copied();
            known.filter(|_| is_sampled_frame)
        };
        // Whether the caller's address is code is seen in the next round.
        let read = |at| stack_word(snapshot, at).or_else(|| code.word(at));
        match step(ARCH, &regs, rule, leaf, read, |_| true) {
            StepOutcome::Frame(caller) => regs = caller,
            StepOutcome::Root => return ended(frames, Outcome::RootReached, is_off_the_map),
            // Behind the base too: a signal handler with a stack of its own was called from another.
            StepOutcome::Stop(Outcome::StackMemoryUnreadable) if snapshot.end != StackEnd::NotResident => {
                return ended(frames, Outcome::StackCopyEnded, is_off_the_map);
            }
            StepOutcome::Stop(outcome) => return ended(frames, outcome, is_off_the_map),
        }
        is_sampled_frame = false;
    }
    ended(frames, Outcome::FrameLimit, is_off_the_map)
}

/// DWARF numbers: System V ABI for AMD64 figure 3.36.
#[cfg(target_arch = "x86_64")]
fn interrupted(snapshot: &StackSnapshot) -> Regs {
    let [_, _, _, bx, _, _, fp, sp, ..] = snapshot.registers;
    Regs { pc: CodeAddr::Interrupted(snapshot.pc), sp, fp, lr: 0, bx }
}

/// DWARF numbers: DWARF for the Arm 64-bit architecture section 4.1.
#[cfg(target_arch = "aarch64")]
fn interrupted(snapshot: &StackSnapshot) -> Regs {
    let [.., fp, lr, sp] = snapshot.registers;
    Regs { pc: CodeAddr::Interrupted(snapshot.pc), sp, fp, lr, bx: 0 }
}

/// The word at an address of the copied stack.
fn stack_word(snapshot: &StackSnapshot, at: RuntimeAddr) -> Option<u64> {
    let offset = usize::try_from(at.0.checked_sub(interrupted(snapshot).sp)?).ok()?;
    let bytes = snapshot.stack.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::unwind_rule::Base;

    const SP: u64 = 0x7ffc_0000_0100;
    const LEAF: u64 = 0x1000;
    const CALLER: u64 = 0x2000;
    const ROOT: u64 = 0x3000;
    /// Has nothing but a return address.
    const TINY: u64 = 0x4000;

    /// A leaf of 16 bytes, its caller of 24, and the root.
    struct Program {
        is_read: bool,
    }

    impl Code for Program {
        type Waiting = &'static str;

        fn rule(&mut self, at: RuntimeAddr) -> RuleAt<Self::Waiting> {
            match at.0 & !0xfff {
                LEAF => RuleAt::Rule(Rule::register(Base::StackPointer, 16)),
                CALLER if !self.is_read => RuleAt::Waits("caller.so"),
                CALLER => RuleAt::Rule(Rule::register(Base::StackPointer, 24)),
                TINY => RuleAt::Rule(Rule::register(Base::StackPointer, 8)),
                ROOT => RuleAt::Rule(Rule::END),
                _ => RuleAt::NoMapping,
            }
        }

        fn word(&mut self, _at: RuntimeAddr) -> Option<u64> {
            None
        }
    }

    const READ: Program = Program { is_read: true };

    fn snapshot(pc: u64, words: &[u64], end: StackEnd) -> StackSnapshot {
        let mut registers = [0; 32];
        registers[if cfg!(target_arch = "x86_64") { 7 } else { 31 }] = SP;
        let stack = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        StackSnapshot { registers, pc: RuntimeAddr(pc), stopped_at: None, stack, end }
    }

    fn walked(snapshot: &StackSnapshot) -> (Vec<u64>, Outcome) {
        let unwound = unwind(snapshot, &mut Program { ..READ }).unwrap();
        (unwound.frames.iter().map(|frame| frame.payload()).collect(), unwound.outcome)
    }

    #[test]
    fn a_whole_stack_reaches_its_root() {
        let whole = snapshot(LEAF, &[0, CALLER + 5, 0, 0, ROOT + 7], StackEnd::Base);
        assert_eq!(walked(&whole), (vec![LEAF, CALLER + 5, ROOT + 7], Outcome::RootReached));
    }

    #[test]
    fn a_file_that_has_not_been_read_is_waited_for() {
        let whole = snapshot(LEAF, &[0, CALLER + 5, 0, 0, ROOT + 7], StackEnd::Base);
        let waits = unwind(&whole, &mut Program { is_read: false }).unwrap_err();
        assert_eq!((waits.waiting, waits.so_far.outcome), ("caller.so", Outcome::RowsNotReady));
        assert_eq!(waits.so_far.frames.len(), 2);
    }

    #[test]
    fn where_the_copy_ends_tells_why_the_walk_does() {
        let outcome = |end| walked(&snapshot(LEAF, &[0, CALLER + 5, 0], end));
        assert_eq!(outcome(StackEnd::Cut), (vec![LEAF, CALLER + 5], Outcome::StackCopyEnded));
        assert_eq!(outcome(StackEnd::NotResident), (vec![LEAF, CALLER + 5], Outcome::StackMemoryUnreadable));
    }

    #[test]
    fn an_address_without_memory_is_no_frame_but_the_interrupted_one_is() {
        let lost = snapshot(LEAF, &[0, 0x9000], StackEnd::Base);
        assert_eq!(walked(&lost), (vec![LEAF], Outcome::NoMapping));
        let made_code = snapshot(0x9000, &[0], StackEnd::Base);
        assert_eq!(walked(&made_code), (vec![0x9000], Outcome::FramePointerChainEnd));
        let in_exec = snapshot(0x9000, &[], StackEnd::NotResident);
        assert_eq!(walked(&in_exec), (vec![], Outcome::NoUserMemory));
    }

    #[test]
    fn a_stack_that_goes_on_for_ever_ends() {
        let words: Vec<u64> = (0..4_000).map(|_| TINY + 1).collect();
        assert_eq!(walked(&snapshot(TINY, &words, StackEnd::Cut)).1, Outcome::FrameLimit);
    }
}
