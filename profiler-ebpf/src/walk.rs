//! The user part of a stack by unwind rows, frame by frame, in the kernel.
//!
//! Row search and step are `profiler_common`'s; here is only what brings them memory. One run of [`Cursor`] is
//! one frame, which is repeated.

use core::ffi::c_void;
use core::marker::PhantomData;

use aya_ebpf::helpers::generated as raw;
use profiler_common::abi::{
    BLOCK_ROWS, FRAMES_A_PROGRAM, HAS_ROWS, IS_MEMORY, LEAF_FRAMES, MAX_STACK_SLOTS, ROOT_FRAMES,
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

use crate::abilities::{Abilities, Step};
use crate::maps::{MAPPINGS, PAGES, ROWS, RULES, StackScratch, Walk};

/// Where a frame's tag says that it is bound to its process.
const PROCESS_BOUND_SHIFT: u32 = 57;

#[cfg(bpf_target_arch = "x86_64")]
const ARCH: Arch = Arch::X86_64;
#[cfg(bpf_target_arch = "aarch64")]
const ARCH: Arch = Arch::Arm64 { address_mask: ARM64_ADDRESS_MASK };

/// A walk, and where its frames go. Their number and the outcome are in `walk`.
pub struct Cursor<A> {
    walk: *mut Walk,
    scratch: *mut StackScratch,
    abilities: PhantomData<A>,
}

impl<A> Cursor<A> {
    #[inline(always)]
    pub fn new(walk: *mut Walk, scratch: *mut StackScratch) -> Self {
        Self { walk, scratch, abilities: PhantomData }
    }
}

/// What [`Walk::outcome`] says until the walk is over, and afterwards if it was too long.
pub const IS_WALKING: u32 = Outcome::FrameLimit as u32;

/// Sets a walk to the interrupted frame, whose registers and mappings it has. Where there are no mappings it is over
/// before it begins.
#[inline(always)]
pub fn begin(walk: &mut Walk) {
    walk.is_return = 0;
    walk.slots = 0;
    walk.is_sampled_frame = 1;
    walk.is_bound = 0;
    walk.hash = StackHasher::shared().state();
    walk.last_mapping = walk.first_mapping;
    walk.outcome = Outcome::RowsNotReady as u32;
}

/// One frame: emits it and goes to its caller.
impl<A: Abilities> Step for Cursor<A> {
    const MOST: u32 = WALKED_FRAMES_MAX;
    const MOST_PLAIN: u32 = FRAMES_A_PROGRAM;

    #[inline(always)]
    fn run(&mut self, _index: u32) -> bool {
        // SAFETY: made of two map values; both point to map values that nobody else uses during the tick.
        let (walk, scratch) = unsafe { (&mut *self.walk, &mut *self.scratch) };
        match frame::<A>(walk, scratch) {
            None => true,
            Some(outcome) => {
                walk.outcome = outcome as u32;
                false
            }
        }
    }
}

/// VERIFIER: each part leaves what it found in the walk, where the next reads it back ([`Abilities::noted`]): so what a
/// part knows of the way it took does not multiply with the ways of the next.
#[inline(always)]
fn frame<A: Abilities>(walk: &mut Walk, scratch: &mut StackScratch) -> Option<Outcome> {
    let is_return = A::noted(&walk.is_return) != 0;
    walk.at = CodeAddr::new(RuntimeAddr(walk.pc), is_return).lookup().0;
    if !find_mapping::<A>(walk) {
        // Where the CPU was is a frame whatever lies there; what a walk came to may be no code at all.
        if A::noted(&walk.is_return) == 0 {
            emit(walk, Frame::unbacked(walk.pc, false), scratch);
        }
        return Some(Outcome::NoMapping);
    }
    let Some(mapping) = MAPPINGS.get(A::noted(&walk.last_mapping)) else { return Some(Outcome::NoMapping) };
    let is_return = A::noted(&walk.is_return) != 0;
    let frame = if mapping.flags & IS_MEMORY != 0 {
        Frame::unbacked(walk.pc, is_return)
    } else {
        Frame::native(mapping.file, walk.pc.wrapping_sub(mapping.file_bias), is_return)
    };
    emit(walk, frame, scratch);
    if find_rule::<A>(walk, mapping) { advance::<A>(walk) } else { Some(Outcome::RowsNotReady) }
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
fn advance<A: Abilities>(walk: &mut Walk) -> Option<Outcome> {
    let rule = RULES.get(A::noted(&walk.rule)).copied().unwrap_or(Rule::GAP);
    let pc = CodeAddr::new(RuntimeAddr(walk.pc), A::noted(&walk.is_return) != 0);
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

/// Notes the mapping of the address; false if there is none.
///
/// VERIFIER: the strides bound the loop; the number of mappings comes from a map, the zero makes both arms equal.
#[inline(always)]
fn find_mapping<A: Abilities>(walk: &mut Walk) -> bool {
    if let Some(last) = MAPPINGS.get(walk.last_mapping)
        && walk.at >= last.start
        && walk.at < last.end
    {
        return true;
    }
    let zero = A::opaque_zero(&walk.opaque_zero);
    let mut base = 0u32;
    let mut stride = FIRST_STRIDE;
    while stride != 0 {
        let candidate = base + stride;
        if candidate < A::noted(&walk.mappings)
            && let Some(mapping) = MAPPINGS.get(walk.first_mapping.wrapping_add(candidate))
            && mapping.start <= A::noted(&walk.at)
        {
            base = candidate;
        }
        base = (base ^ zero()) & (FIRST_STRIDE * 2 - 1);
        stride >>= 1;
    }
    walk.last_mapping = walk.first_mapping.wrapping_add(base);
    if base >= A::noted(&walk.mappings) {
        return false;
    }
    match MAPPINGS.get(A::noted(&walk.last_mapping)) {
        Some(mapping) => A::noted(&walk.at) >= mapping.start && A::noted(&walk.at) < mapping.end,
        None => false,
    }
}

/// The number of no rule: there is a gap.
const NO_RULE: u32 = u32::MAX;

/// Notes the rule in force at the address; false if its page is not loaded.
#[inline(always)]
fn find_rule<A: Abilities>(walk: &mut Walk, mapping: &WalkedMapping) -> bool {
    walk.rule = NO_RULE;
    if mapping.flags & HAS_ROWS == 0 {
        return true;
    }
    let vaddr = A::noted(&walk.at).wrapping_sub(mapping.vaddr_bias);
    let Some(page) = PAGES.get_ptr_mut(mapping.page_bias.wrapping_add((vaddr >> 16) as u32)) else {
        return false;
    };
    // SAFETY: a valid slot; the count of touches may lose some, which is only a measure of heat.
    let page = unsafe { &mut *page };
    page.touched = page.touched.wrapping_add(1);
    if page.rows == 0 {
        return false;
    }
    let Some(block) = ROWS.get_value(page.block, &0) else { return false };
    let first = page.first_row as usize;
    let row_at =
        |index: u32| -> Option<UnwindRow> { Some(block[(first + index as usize) & (BLOCK_ROWS - 1)]) };
    if let Some(row) = find_row(page.rows, vaddr as u16, A::opaque_zero(&walk.opaque_zero), row_at) {
        walk.rule = row.rule as u32;
    }
    true
}

/// The identity of the stack just walked.
#[inline(always)]
pub fn hash(walk: &Walk) -> u64 {
    let shared = StackHasher::resumed(walk.hash);
    if walk.is_bound == 0 {
        return shared.finish();
    }
    shared.bound_to(walk.sample.tgid, walk.sample.start_time, walk.sample.exec_id).finish()
}
