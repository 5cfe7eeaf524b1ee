//! Bytes as unwind information, registers and a stack → a walk by the step that the kernel half takes.
//!
//! ```text
//!   byte 0       bit 0: arm64
//!   1..3         bytes of .eh_frame, little-endian
//!   3..43        pc in the text, sp in the stack, fp, lr, bx
//!   …            .eh_frame │ the stack, from [`STACK_START`] on
//! ```

use profiler_common::address::{CodeAddr, ElfVaddr, RuntimeAddr};
use profiler_common::unwind_rule::{Rule, RuleKind};
use profiler_common::unwind_step::{ARM64_ADDRESS_MASK, Arch, Regs, StepOutcome, step};
use profiler_user::elf::ElfHeaders;
use profiler_user::unwind::FileRows;

use super::rows;
use crate::image::{self, Machine, Section, TEXT_BYTES, TEXT_START};

const STACK_START: u64 = 0x7ffc_0000_0000;
/// As the kernel half has them.
const FRAMES_MAX: usize = 512;

pub(crate) fn run(bytes: &[u8]) {
    let Some((&[flags, low, high], bytes)) = bytes.split_first_chunk() else { return };
    let Some((registers, bytes)) = bytes.split_at_checked(40) else { return };
    let section_bytes = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
    let (section, stack) = bytes.split_at(section_bytes);
    let is_arm64 = flags & 1 != 0;
    let machine = if is_arm64 { Machine::Arm64 } else { Machine::X86_64 };
    let file = image::with_sections(machine, &[Section { name: ".eh_frame", flags: 0, bytes: section }]);
    let headers = ElfHeaders::read(&file[..]).expect("the image is a good file");
    let Some(rows) = rows::checked(&file, &headers) else { return };
    let arch = if is_arm64 { Arch::Arm64 { address_mask: ARM64_ADDRESS_MASK } } else { Arch::X86_64 };
    let word = |index: usize| word_at(registers, index * 8).unwrap_or(0);
    let regs = Regs {
        pc: CodeAddr::Interrupted(RuntimeAddr(TEXT_START.saturating_add(word(0) % TEXT_BYTES))),
        sp: STACK_START.saturating_add(word(1) % 4096),
        fp: word(2),
        lr: word(3),
        bx: word(4),
    };
    walk(arch, regs, &rows, stack);
}

fn walk(arch: Arch, mut regs: Regs, rows: &FileRows, stack: &[u8]) {
    let read = |at: RuntimeAddr| {
        let into = usize::try_from(at.0.checked_sub(STACK_START)?).ok()?;
        word_at(stack, into)
    };
    for _ in 0..FRAMES_MAX {
        let rule = rows.rule_at(ElfVaddr(regs.pc.lookup().0));
        let is_code = |at: RuntimeAddr| (TEXT_START..TEXT_START + TEXT_BYTES).contains(&at.0);
        match step(arch, &regs, rule, |number| Some(u64::from(number)), read, is_code) {
            StepOutcome::Frame(caller) => {
                check_step(arch, &regs, rule, &caller);
                regs = caller;
            }
            StepOutcome::Root | StepOutcome::Stop(_) => return,
        }
    }
}

/// Only a signal frame, and a rule that says so, may lead to a stack pointer that is no higher; the interrupted
/// frame may also keep its own.
fn check_step(arch: Arch, regs: &Regs, rule: Rule, caller: &Regs) {
    if matches!(rule.kind(), RuleKind::Signal) || rule.switches_stack() {
        return;
    }
    // The kernel's restorer is told by its code, where no row says anything.
    let may_be_restorer = rule.kind() == RuleKind::Gap && !matches!(caller.pc, CodeAddr::Return(_));
    let may_stay = regs.is_interrupted() && caller.sp == regs.sp;
    assert!(may_be_restorer || may_stay || caller.sp > regs.sp, "{rule:?}: {regs:x?} to {caller:x?}");
    if matches!(arch, Arch::Arm64 { .. }) {
        let (CodeAddr::Interrupted(pc) | CodeAddr::Return(pc)) = caller.pc;
        assert!(pc.0 <= ARM64_ADDRESS_MASK || may_be_restorer, "a code is left on {pc:x?}");
    }
}

fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}
