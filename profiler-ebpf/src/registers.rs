//! The interrupted user registers → the walk's first frame.
//!
//! A tick in user mode has them in its context; in kernel mode they are what the task saved when it entered
//! the kernel: a helper tells where, or, on kernels without it, what user space knows of the task's kernel stack. DWARF numbers: System V ABI for AMD64 figure 3.36, DWARF for the Arm 64-bit architecture section 4.1.

use aya_ebpf::bindings::bpf_perf_event_data;
use aya_ebpf::helpers::generated as raw;
use aya_ebpf::programs::PerfEventContext;
use core::ptr::read_volatile as read;

use profiler_common::abi::SamplerConfig;
use profiler_common::outcome::Outcome;

use crate::helpers::{self, Task};
use crate::maps::{SavedRegisters, Walk};

/// LLVM merges equal tails of two branches, volatile loads too; a load that goes through either the context or a
/// task's registers is refused ("same insn cannot be used with different pointers").
#[inline(always)]
fn keep_apart() {
    // SAFETY: no instruction.
    unsafe { core::arch::asm!("") };
}

#[cfg(bpf_target_arch = "x86_64")]
macro_rules! copy_registers {
    ($walk:ident, $regs:expr, [$($name:ident = $number:literal),+], pc $pc:ident, sp $sp:ident, fp $fp:ident, bx $bx:ident) => {{
        let regs = $regs;
        $($walk.sampled[$number] = read(&raw const (*regs).$name);)+
        $walk.pc = read(&raw const (*regs).$pc);
        $walk.sampled_pc = $walk.pc;
        $walk.sp = read(&raw const (*regs).$sp);
        $walk.fp = read(&raw const (*regs).$fp);
        $walk.bx = read(&raw const (*regs).$bx);
    }};
}

/// Copies them by their DWARF numbers.
#[cfg(bpf_target_arch = "x86_64")]
macro_rules! copy_user_registers {
    ($walk:ident, $regs:expr) => {
        copy_registers!($walk, $regs,
            [rax = 0, rdx = 1, rcx = 2, rbx = 3, rsi = 4, rdi = 5, rbp = 6, rsp = 7, r8 = 8, r9 = 9, r10 = 10,
             r11 = 11, r12 = 12, r13 = 13, r14 = 14, r15 = 15],
            pc rip, sp rsp, fp rbp, bx rbx)
    };
}

/// x0 to x30 have the DWARF numbers 0 to 30.
#[cfg(bpf_target_arch = "aarch64")]
macro_rules! copy_user_registers {
    ($walk:ident, $regs:expr) => {{
        let regs = $regs;
        let mut number = 0;
        while number < 31 {
            $walk.sampled[number] = read(&raw const (*regs).regs[number]);
            number += 1;
        }
        $walk.sampled[31] = read(&raw const (*regs).sp);
        $walk.pc = read(&raw const (*regs).pc);
        $walk.sampled_pc = $walk.pc;
        $walk.sp = read(&raw const (*regs).sp);
        $walk.fp = read(&raw const (*regs).regs[29]);
        $walk.lr = read(&raw const (*regs).regs[30]);
        $walk.bx = 0;
    }};
}

/// Whether registers are those of user mode: by the privilege level of the code segment, or, on arm64, by the exception
/// level (PSTATE.M[3:0], Arm Architecture Reference Manual C5.2.19).
macro_rules! are_of_user_mode {
    ($regs:expr) => {{
        let regs = $regs;
        #[cfg(bpf_target_arch = "x86_64")]
        {
            read(&raw const (*regs).cs) & 3 == 3
        }
        #[cfg(bpf_target_arch = "aarch64")]
        {
            read(&raw const (*regs).pstate) & 0xf == 0
        }
    }};
}

/// Fills in the registers of the frame that the sample interrupted.
#[inline(always)]
pub fn load(ctx: &PerfEventContext, walk: &mut Walk) {
    let data: *const bpf_perf_event_data = ctx.ctx;
    // SAFETY: the context of a perf_event program is a bpf_perf_event_data, and a task's saved registers are a
    // pt_regs, which on arm64 begins with a user_pt_regs; 8-byte loads of members are what the verifier allows in both.
    unsafe {
        if are_of_user_mode!(&raw const (*data).regs) {
            copy_user_registers!(walk, &raw const (*data).regs);
            keep_apart();
        } else {
            let task = raw::bpf_get_current_task_btf();
            let regs = raw::bpf_task_pt_regs(task) as *const SavedRegisters;
            copy_user_registers!(walk, regs);
        }
    }
}

/// The same without a helper for it. False if what is where they should be are no user registers.
#[inline(always)]
pub fn load_plain(ctx: &PerfEventContext, task: Task, config: &SamplerConfig, walk: &mut Walk) -> bool {
    let data: *const bpf_perf_event_data = ctx.ctx;
    // SAFETY: as above.
    unsafe {
        if are_of_user_mode!(&raw const (*data).regs) {
            copy_user_registers!(walk, &raw const (*data).regs);
            keep_apart();
            return true;
        }
    }
    let kernel_stack = task.task_at(config.task.stack);
    if !kernel_stack.read(config.task.saved_registers, &mut walk.saved) {
        helpers::count(Outcome::UserRegistersUnknown);
        return false;
    }
    let saved = &raw const walk.saved;
    // SAFETY: a plain member of a map value.
    unsafe {
        if !are_of_user_mode!(saved) {
            helpers::count(Outcome::UserRegistersUnknown);
            return false;
        }
        copy_user_registers!(walk, saved);
    }
    true
}
