//! Registers of a frame and a rule → registers of its caller.
//!
//! ```text
//!   pc ─ look-up address ─▶ row ─▶ rule ─┬─ step ───────────────▶ Frame(caller) │ Root │ Stop(why)
//!                                        └─ Gap: step_without_row ─▶
//! ```
//!
//! Pure: memory, and the registers of the interrupted frame that only some rules need, come in as closures. The same
//! code runs in the kernel half (memory by a helper), in user space over a copied stack, and under tests and Miri.
//!
//! **Where the walk can go.** Stacks grow down, so a caller's stack pointer lies above its callee's; a rule that says
//! otherwise ends the walk, with two exceptions that leave the stack on purpose: the kernel's signal frame
//! (the handler may run on a stack of its own), and rules marked [`Rule::switches_stack`] (Go's `systemstack`, and
//! `asmcgocall`, which calls into C on the thread's stack). Coroutines of `makecontext` need none: their outermost frame is a root. With the
//! exceptions a damaged stack could go round in a circle, so the caller bounds the number of frames.
//!
//! **Noreturn calls.** A function that ends in a call of `abort` leaves a return address that belongs to the next
//! function. Rows, like names, are looked up at [`CodeAddr::lookup`], inside the call.

use crate::address::{CodeAddr, RuntimeAddr};
use crate::outcome::Outcome;
use crate::unwind_rule::{Base, ReturnAddress, Rule, RuleKind, Saved};

/// What the registers and the kernel's signal frame look like. A constant at each call: the other half is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// sp is rsp, fp is rbp.
    X86_64,
    /// sp is sp, fp is x29, lr is x30. Only these bits of a return address are address; the others may be a
    /// pointer authentication code.
    Arm64 {
        /// Zero where the code is.
        address_mask: u64,
    },
}

/// User addresses of arm64 without its code: 48 bits. Kernels with 52-bit addresses give those only to who asks.
pub const ARM64_ADDRESS_MASK: u64 = (1 << 48) - 1;

impl Arch {
    #[inline(always)]
    const fn without_code(self, return_address: u64) -> u64 {
        match self {
            Arch::X86_64 => return_address,
            Arch::Arm64 { address_mask } => return_address & address_mask,
        }
    }
}

/// Registers of a frame that are known in every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regs {
    /// Where the frame is.
    pub pc: CodeAddr<RuntimeAddr>,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register: rbp, x29. Whether it points to a frame is not known.
    pub fp: u64,
    /// Link register of arm64's interrupted frame; means nothing behind it.
    pub lr: u64,
    /// rbx on x86_64.
    pub bx: u64,
}

impl Regs {
    /// Whether the frame was interrupted, so that all of its registers are those of the sample.
    #[inline(always)]
    pub const fn is_interrupted(&self) -> bool {
        matches!(self.pc, CodeAddr::Interrupted(_))
    }
}

/// What one step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// The caller.
    Frame(Regs),
    /// There is no caller: the frame is the outermost.
    Root,
    /// The walk cannot go on.
    Stop(Outcome),
}

/// The value, or the end of the walk for this reason.
macro_rules! or_stop {
    ($value:expr, $why:expr) => {
        match $value {
            Some(value) => value,
            None => return StepOutcome::Stop($why),
        }
    };
}

/// Applies a rule. [`RuleKind::Gap`] goes to [`step_without_row`] with `is_code`.
///
/// `leaf_register` gives a register of the **sampled** frame by its DWARF number; it is asked only while `regs` are
/// those of an interrupted frame, and answers `None` when that is one below a signal frame or it has no such register.
#[inline(always)]
pub fn step(
    arch: Arch,
    regs: &Regs,
    rule: Rule,
    mut leaf_register: impl FnMut(u8) -> Option<u64>,
    mut read_word: impl FnMut(RuntimeAddr) -> Option<u64>,
    is_code: impl FnMut(RuntimeAddr) -> bool,
) -> StepOutcome {
    let cfa = match rule.kind() {
        RuleKind::Register => {
            let base = or_stop!(base(regs, rule.base(), &mut leaf_register), Outcome::CfaRegisterUnknown);
            base.wrapping_add(rule.offset())
        }
        RuleKind::Plt => plt_cfa(regs, rule),
        RuleKind::Memory => {
            let base = or_stop!(base(regs, rule.base(), &mut leaf_register), Outcome::CfaRegisterUnknown);
            let at = RuntimeAddr(base.wrapping_add(rule.offset()));
            let read = or_stop!(read_word(at), Outcome::StackMemoryUnreadable);
            read.wrapping_add(words(rule.addend() as i16))
        }
        RuleKind::Indexed => {
            // VERIFIER: an arm of its own; merged with the one above LLVM leaves a register unset on one path.
            let index = or_stop!(base(regs, rule.base(), &mut leaf_register), Outcome::CfaRegisterUnknown);
            let base = regs.sp.wrapping_add(index.wrapping_mul(8));
            let read = read_word(RuntimeAddr(base.wrapping_add(rule.offset())));
            or_stop!(read, Outcome::StackMemoryUnreadable).wrapping_add(words(rule.addend() as i16))
        }
        RuleKind::Signal => return step_signal(arch, regs.sp, read_word),
        RuleKind::End => return StepOutcome::Root,
        RuleKind::Unsupported => return StepOutcome::Stop(rule.why_unsupported().outcome()),
        RuleKind::Gap => return step_without_row(arch, regs, read_word, is_code),
    };
    let (return_address, may_stay) = match rule.return_address() {
        ReturnAddress::BelowCfa => (read_word(RuntimeAddr(cfa.wrapping_sub(8))), false),
        ReturnAddress::AtCfa(at) => (read_word(RuntimeAddr(cfa.wrapping_add(words(at)))), false),
        ReturnAddress::LinkRegister if !regs.is_interrupted() => {
            // Behind the first frame x30 holds what some callee left in it.
            return StepOutcome::Stop(Outcome::ReturnAddressRuleUnknown);
        }
        ReturnAddress::LinkRegister => (Some(regs.lr), true),
        ReturnAddress::Leaf(number) => {
            let known = if regs.is_interrupted() { leaf_register(number) } else { None };
            (Some(or_stop!(known, Outcome::ReturnAddressRuleUnknown)), true)
        }
    };
    let grows = cfa > regs.sp || (may_stay && cfa == regs.sp);
    if !grows && !rule.switches_stack() {
        return StepOutcome::Stop(Outcome::StackPointerFell);
    }
    let return_address = or_stop!(return_address, Outcome::StackMemoryUnreadable);
    let places = Places { arch, regs, cfa };
    let fp = match places.restore(rule.fp(), regs.fp, &mut leaf_register, &mut read_word) {
        Ok(fp) => fp,
        Err(why) => return StepOutcome::Stop(why),
    };
    let bx = match places.restore(rule.bx(), regs.bx, &mut leaf_register, &mut read_word) {
        Ok(bx) => bx,
        Err(why) => return StepOutcome::Stop(why),
    };
    let return_address = arch.without_code(return_address);
    if return_address == 0 {
        // Nothing is called from address 0: thread entries and hand-made stacks end so.
        return StepOutcome::Root;
    }
    let pc = CodeAddr::new(RuntimeAddr(return_address), !rule.is_interrupting());
    StepOutcome::Frame(Regs { pc, sp: cfa, fp, lr: regs.lr, bx })
}

#[inline(always)]
fn base(regs: &Regs, base: Base, leaf_register: &mut impl FnMut(u8) -> Option<u64>) -> Option<u64> {
    match base {
        Base::StackPointer => Some(regs.sp),
        Base::FramePointer => Some(regs.fp),
        Base::Bx => Some(regs.bx),
        Base::Leaf(number) if regs.is_interrupted() => leaf_register(number),
        Base::Leaf(_) => None,
    }
}

#[inline(always)]
fn plt_cfa(regs: &Regs, rule: Rule) -> u64 {
    let (CodeAddr::Interrupted(pc) | CodeAddr::Return(pc)) = regs.pc;
    let is_pushed = pc.0 & 15 >= rule.addend() as u64;
    regs.sp.wrapping_add(if is_pushed { 16 } else { 8 })
}

#[inline(always)]
const fn words(count: i16) -> u64 {
    (count as i64 * 8) as u64
}

/// Where a frame keeps what.
struct Places<'a> {
    arch: Arch,
    regs: &'a Regs,
    cfa: u64,
}

impl Places<'_> {
    /// The caller's value of a register.
    #[inline(always)]
    fn restore(
        &self,
        saved: Saved,
        own: u64,
        leaf_register: &mut impl FnMut(u8) -> Option<u64>,
        read_word: &mut impl FnMut(RuntimeAddr) -> Option<u64>,
    ) -> Result<u64, Outcome> {
        let at = match saved {
            Saved::Same => return Ok(own),
            Saved::Leaf(number) => {
                let known = if self.regs.is_interrupted() { leaf_register(number) } else { None };
                return known.ok_or(Outcome::SavedRegisterRuleUnknown);
            }
            Saved::AtCfa(at) => self.cfa.wrapping_add(words(at)),
            Saved::AtFramePointer(at) => self.regs.fp.wrapping_add(words(at)),
        };
        // In an epilogue of x86_64 GCC's rows still point to where a register was saved after it was popped. What lies
        // below the stack pointer is no longer a save slot, and the register has its caller's value again. Not so on
        // arm64: compilers say there when a register is restored, and Go saves x29 below its stack pointer.
        if matches!(self.arch, Arch::X86_64) && at < self.regs.sp {
            return Ok(own);
        }
        read_word(RuntimeAddr(at)).ok_or(Outcome::StackMemoryUnreadable)
    }
}

/// Byte offsets from the stack pointer at the return from a signal handler, from the kernel's user headers.
mod signal_frame {
    /// x86_64: `ucontext` lies at rsp; `uc_mcontext` at 40 begins with r8 … r15, rdi, rsi, rbp, rbx, rdx, rax, rcx,
    /// rsp, rip, 8 bytes each.
    pub(super) mod x86_64 {
        pub(crate) const RBP: u64 = 40 + 10 * 8;
        pub(crate) const RBX: u64 = 40 + 11 * 8;
        pub(crate) const RSP: u64 = 40 + 15 * 8;
        pub(crate) const RIP: u64 = 40 + 16 * 8;
    }
    /// arm64: 128 bytes of `siginfo`, then `ucontext` whose `sigcontext` at 176 has `fault_address`, x0 … x30, sp, pc.
    pub(super) mod arm64 {
        const REGISTERS: u64 = 128 + 176 + 8;
        pub(crate) const X29: u64 = REGISTERS + 29 * 8;
        pub(crate) const X30: u64 = REGISTERS + 30 * 8;
        pub(crate) const SP: u64 = REGISTERS + 31 * 8;
        pub(crate) const PC: u64 = REGISTERS + 32 * 8;
    }
}

/// The interrupted frame below a signal handler: any stack, an exact pc, every register as it was.
#[inline(always)]
fn step_signal(arch: Arch, sp: u64, mut read_word: impl FnMut(RuntimeAddr) -> Option<u64>) -> StepOutcome {
    let (pc_at, sp_at, fp_at, other_at) = match arch {
        Arch::X86_64 => {
            use signal_frame::x86_64::{RBP, RBX, RIP, RSP};
            (RIP, RSP, RBP, RBX)
        }
        Arch::Arm64 { .. } => {
            use signal_frame::arm64::{PC, SP, X29, X30};
            (PC, SP, X29, X30)
        }
    };
    let mut read = |at: u64| read_word(RuntimeAddr(sp.wrapping_add(at)));
    let pc = or_stop!(read(pc_at), Outcome::StackMemoryUnreadable);
    let sp = or_stop!(read(sp_at), Outcome::StackMemoryUnreadable);
    let fp = or_stop!(read(fp_at), Outcome::StackMemoryUnreadable);
    let other = or_stop!(read(other_at), Outcome::StackMemoryUnreadable);
    let pc = CodeAddr::Interrupted(RuntimeAddr(pc));
    match arch {
        Arch::X86_64 => StepOutcome::Frame(Regs { pc, sp, fp, lr: 0, bx: other }),
        Arch::Arm64 { .. } => StepOutcome::Frame(Regs { pc, sp, fp, lr: other, bx: 0 }),
    }
}

/// The first eight bytes of `mov $15, %rax; syscall`: `rt_sigreturn`, as the C libraries and Go spell it.
const X86_64_SIGRETURN: u64 = 0x0f00_0000_0fc0_c748;
/// The ninth.
const X86_64_SIGRETURN_END: u64 = 0x05;
/// `mov x8, #139; svc #0`, which is all of it.
const ARM64_SIGRETURN: u64 = 0xd400_0001_d280_1168;

/// Where no row says anything: the return from a signal handler if the code is that, else the frame pointer if it
/// leads to a plausible frame.
///
/// Plausible: aligned, not below the stack pointer, and above the frame's saved pointer an address of which `is_code`
/// says that code may be there (it is asked about the call, one byte before the return address). Code that was
/// interrupted before it made its frame loses its caller this way; nothing here can tell.
#[inline(always)]
pub fn step_without_row(
    arch: Arch,
    regs: &Regs,
    mut read_word: impl FnMut(RuntimeAddr) -> Option<u64>,
    mut is_code: impl FnMut(RuntimeAddr) -> bool,
) -> StepOutcome {
    if is_sigreturn(arch, regs, &mut read_word) {
        return step_signal(arch, regs.sp, read_word);
    }
    if regs.fp == 0 {
        return StepOutcome::Stop(Outcome::FramePointerChainEnd);
    }
    // A function without locals has both at the same place.
    if regs.fp & 7 != 0 || regs.fp < regs.sp {
        return StepOutcome::Stop(Outcome::FramePointerImplausible);
    }
    let caller_fp = or_stop!(read_word(RuntimeAddr(regs.fp)), Outcome::StackMemoryUnreadable);
    let return_address = RuntimeAddr(regs.fp.wrapping_add(8));
    let return_address = or_stop!(read_word(return_address), Outcome::StackMemoryUnreadable);
    let return_address = arch.without_code(return_address);
    if return_address == 0 {
        return StepOutcome::Stop(Outcome::FramePointerChainEnd);
    }
    let pc = CodeAddr::Return(RuntimeAddr(return_address));
    if !is_code(pc.lookup()) {
        return StepOutcome::Stop(Outcome::FramePointerImplausible);
    }
    StepOutcome::Frame(Regs { pc, sp: regs.fp.wrapping_add(16), fp: caller_fp, lr: regs.lr, bx: regs.bx })
}

/// The restorer is returned to, so its own address is what counts, not the one before it.
#[inline(always)]
fn is_sigreturn(arch: Arch, regs: &Regs, read_word: &mut impl FnMut(RuntimeAddr) -> Option<u64>) -> bool {
    let (CodeAddr::Interrupted(pc) | CodeAddr::Return(pc)) = regs.pc;
    let expected = match arch {
        Arch::X86_64 => X86_64_SIGRETURN,
        Arch::Arm64 { .. } => ARM64_SIGRETURN,
    };
    if read_word(pc) != Some(expected) {
        return false;
    }
    match arch {
        // The word that ends with the ninth byte: reading from it on could leave the page.
        Arch::X86_64 => match read_word(RuntimeAddr(pc.0.wrapping_add(1))) {
            Some(word) => word >> 56 == X86_64_SIGRETURN_END,
            None => false,
        },
        Arch::Arm64 { .. } => true,
    }
}

#[cfg(test)]
mod tests;
