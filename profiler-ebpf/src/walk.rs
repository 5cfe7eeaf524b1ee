//! The user part of a stack by unwind rows, frame by frame, in the kernel.
//!
//! Row search and step are `profiler_common`'s; here is only what brings them memory. One run of [`walk_frame`] is
//! one frame; `bpf_loop` repeats it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as raw;
use profiler_common::abi::{
    BLOCK_ROWS, HAS_ROWS, IS_MEMORY, LEAF_FRAMES, MAX_STACK_SLOTS, ROOT_FRAMES, SampleEvent,
    WALKED_FRAMES_MAX, WalkedMapping, stack_slot,
};
use profiler_common::address::{CodeAddr, RuntimeAddr};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;
use profiler_common::stack_hash::StackHasher;
use profiler_common::unwind_row::{UnwindRow, find_row};
use profiler_common::unwind_rule::Rule;
#[cfg(bpf_target_arch = "aarch64")]
use profiler_common::unwind_step::ARM64_ADDRESS_MASK;
use profiler_common::unwind_step::{Arch, Regs, StepOutcome, step};

use crate::maps::{MAPPINGS, PAGES, ROWS, RULES, StackScratch, Walk};

/// Where a frame's tag says that it is bound to its process.
const PROCESS_BOUND_SHIFT: u32 = 57;

#[cfg(bpf_target_arch = "x86_64")]
const ARCH: Arch = Arch::X86_64;
#[cfg(bpf_target_arch = "aarch64")]
const ARCH: Arch = Arch::Arm64 { address_mask: ARM64_ADDRESS_MASK };

/// What a frame's step needs; pointers only, see [`Walk`].
#[repr(C)]
struct Cursor {
    walk: *mut Walk,
    scratch: *mut StackScratch,
}

/// Walks from the interrupted frame, whose registers and mappings are in `walk`, to the root. The frames are in `scratch`, their number and the outcome in `walk`.
#[inline(always)]
pub fn walk_user_stack(walk: &mut Walk, scratch: &mut StackScratch) {
    walk.is_return = 0;
    walk.slots = 0;
    walk.is_sampled_frame = 1;
    walk.is_bound = 0;
    walk.hash = StackHasher::shared().state();
    walk.last_mapping = walk.first_mapping;
    walk.outcome = Outcome::FrameLimit as u32;
    let mut cursor = Cursor { walk, scratch };
    // SAFETY: the callback has the signature that the helper asks for, and the cursor lives until it returns.
    unsafe {
        raw::bpf_loop(WALKED_FRAMES_MAX, walk_frame as *const () as *mut c_void, (&raw mut cursor).cast(), 0);
    }
}

/// One frame: emits it and goes to its caller. Gives 1 when the walk is over.
#[inline(never)]
extern "C" fn walk_frame(_index: u32, cursor: *mut Cursor) -> i64 {
    // SAFETY: made by walk_user_stack; both point to map values that nobody else uses during the tick.
    let (walk, scratch) = unsafe { (&mut *(*cursor).walk, &mut *(*cursor).scratch) };
    match frame(walk, scratch) {
        None => 0,
        Some(outcome) => {
            walk.outcome = outcome as u32;
            1
        }
    }
}

#[inline(always)]
fn frame(walk: &mut Walk, scratch: &mut StackScratch) -> Option<Outcome> {
    let is_return = walk.is_return != 0;
    let pc = CodeAddr::new(RuntimeAddr(walk.pc), is_return);
    let at = pc.lookup().0;
    let Some(mapping) = find_mapping(walk, at) else {
        // Where the CPU was is a frame whatever lies there; what a walk came to may be no code at all.
        if !is_return {
            emit(walk, Frame::unbacked(walk.pc, false), scratch);
        }
        return Some(Outcome::NoMapping);
    };
    let frame = if mapping.flags & IS_MEMORY != 0 {
        Frame::unbacked(walk.pc, is_return)
    } else {
        Frame::native(mapping.file, walk.pc.wrapping_sub(mapping.file_bias), is_return)
    };
    emit(walk, frame, scratch);
    match find_rule(walk, mapping, at) {
        Some(rule) => advance(walk, rule),
        None => Some(Outcome::RowsNotReady),
    }
}

#[inline(always)]
fn emit(walk: &mut Walk, frame: Frame, scratch: &mut StackScratch) {
    scratch.slots[stack_slot(walk.slots) as usize & (MAX_STACK_SLOTS - 1)] = frame;
    walk.slots += 1;
    walk.hash = StackHasher::resumed(walk.hash).frame(frame).state();
    walk.is_bound |= (frame.tag() >> PROCESS_BOUND_SHIFT) as u32 & 1;
}

/// Goes to the caller. Gives the outcome when there is none.
#[inline(always)]
fn advance(walk: &mut Walk, rule: Rule) -> Option<Outcome> {
    let pc = CodeAddr::new(RuntimeAddr(walk.pc), walk.is_return != 0);
    let regs = Regs { pc, sp: walk.sp, fp: walk.fp, lr: walk.lr, bx: walk.bx };
    let sampled = &walk.sampled;
    let is_sampled_frame = walk.is_sampled_frame != 0;
    let leaf = |number: u8| if is_sampled_frame { Some(sampled[number as usize & 31]) } else { None };
    // Whether the caller's address is code is seen when its mapping is looked for.
    match step(ARCH, &regs, rule, leaf, read_word, |_| true) {
        StepOutcome::Frame(caller) => {
            let (at, is_return) = match caller.pc {
                CodeAddr::Interrupted(at) => (at, 0),
                CodeAddr::Return(at) => (at, 1),
            };
            walk.pc = at.0;
            walk.is_return = is_return;
            walk.sp = caller.sp;
            walk.fp = caller.fp;
            walk.lr = caller.lr;
            walk.bx = caller.bx;
            walk.is_sampled_frame = 0;
            None
        }
        StepOutcome::Root if walk.slots > LEAF_FRAMES + ROOT_FRAMES => Some(Outcome::FramesLeftOut),
        StepOutcome::Root => Some(Outcome::RootReached),
        StepOutcome::Stop(outcome) => Some(outcome),
    }
}

#[inline(always)]
fn read_word(at: RuntimeAddr) -> Option<u64> {
    let mut word = 0u64;
    // SAFETY: writes eight bytes into a local; the source is checked by the helper.
    let failed = unsafe { raw::bpf_probe_read_user((&raw mut word).cast(), 8, at.0 as *const c_void) };
    if failed == 0 { Some(word) } else { None }
}

/// The first of the strides over a process's mappings: up to 4,095 of them.
const FIRST_STRIDE: u32 = 1 << 11;

/// VERIFIER: the strides bound the loop; the number of mappings comes from a map, the zero makes both arms equal.
#[inline(always)]
fn find_mapping(walk: &mut Walk, at: u64) -> Option<&'static WalkedMapping> {
    if let Some(last) = MAPPINGS.get(walk.last_mapping)
        && at >= last.start
        && at < last.end
    {
        return Some(last);
    }
    let (first, count) = (walk.first_mapping, walk.mappings);
    // SAFETY: a plain field; volatile so that the compiler does not know that it is 0.
    let zero = unsafe { core::ptr::read_volatile(&raw const walk.opaque_zero) };
    let mut base = 0u32;
    let mut stride = FIRST_STRIDE;
    while stride != 0 {
        let candidate = base + stride;
        if candidate < count
            && let Some(mapping) = MAPPINGS.get(first.wrapping_add(candidate))
            && mapping.start <= at
        {
            base = candidate;
        }
        base = (base ^ zero) & (FIRST_STRIDE * 2 - 1);
        stride >>= 1;
    }
    let index = first.wrapping_add(base);
    let mapping = MAPPINGS.get(index)?;
    if base >= count || at < mapping.start || at >= mapping.end {
        return None;
    }
    walk.last_mapping = index;
    Some(mapping)
}

/// The rule in force at an address; `None` if its page is not loaded.
#[inline(always)]
fn find_rule(walk: &Walk, mapping: &WalkedMapping, at: u64) -> Option<Rule> {
    if mapping.flags & HAS_ROWS == 0 {
        return Some(Rule::GAP);
    }
    let vaddr = at.wrapping_sub(mapping.vaddr_bias);
    let page = PAGES.get_ptr_mut(mapping.page_bias.wrapping_add((vaddr >> 16) as u32))?;
    // SAFETY: a valid slot; the count of touches may lose some, which is only a measure of heat.
    let page = unsafe { &mut *page };
    page.touched = page.touched.wrapping_add(1);
    if page.rows == 0 {
        return None;
    }
    let block = ROWS.get_value(page.block, &0)?;
    let first = page.first_row as usize;
    // SAFETY: as in find_mapping.
    let zero = unsafe { core::ptr::read_volatile(&raw const walk.opaque_zero) };
    let row_at =
        |index: u32| -> Option<UnwindRow> { Some(block.rows[(first + index as usize) & (BLOCK_ROWS - 1)]) };
    let Some(row) = find_row(page.rows, vaddr as u16, zero, row_at) else { return Some(Rule::GAP) };
    RULES.get(row.rule as u32).copied()
}

/// The identity of the stack just walked.
#[inline(always)]
pub fn hash(walk: &Walk, sample: &SampleEvent) -> u64 {
    let shared = StackHasher::resumed(walk.hash);
    if walk.is_bound == 0 {
        return shared.finish();
    }
    shared.bound_to(sample.tgid, sample.start_time, sample.exec_id).finish()
}
