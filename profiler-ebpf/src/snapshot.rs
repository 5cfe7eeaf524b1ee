//! A sample that cannot be walked yet → a [`SnapshotEvent`]: its registers and the top of its stack.
//!
//! User space unwinds it by the same step, once it has the process's mappings and the rows of their files. Copied is
//! up to the stack's base, so arguments and environment stay where they are.

use core::arch::asm;
use core::ffi::c_void;

use profiler_common::abi::{
    KIND_SNAPSHOT, LIFE_NANOS_MIN, SNAPSHOT_BYTES_MAX, SNAPSHOT_CUT, SNAPSHOT_FAULT, SNAPSHOT_QUOTAS,
    SNAPSHOT_SPAN_BITS, SampleEvent, SamplerConfig, SnapshotEvent,
};
use profiler_common::outcome::Outcome;

use crate::abilities::{Abilities, Step};
use crate::helpers::{self, Task};
use crate::maps::{COPIED_PIECE, QUOTAS, SNAPSHOT, SnapshotScratch, Walk};
use crate::walk::IS_WALKING;

/// DWARF number of the stack pointer.
#[cfg(bpf_target_arch = "x86_64")]
const SP: usize = 7;
#[cfg(bpf_target_arch = "aarch64")]
const SP: usize = 31;

/// Sends the sample with its stack. False if it has to do without: counted.
#[inline(always)]
pub fn send<A: Abilities>(walk: &Walk, task: Task, config: &SamplerConfig) -> bool {
    let sample = &walk.sample;
    let waiting = helpers::ring_bytes_waiting();
    // The last quarter of the ring is left to plain samples: they are small, and losing one is losing time.
    let is_filling_up = waiting >= config.wakeup_bytes as u64 + config.wakeup_bytes as u64 / 2;
    let sent = count_snapshot(sample);
    // A deep stack comes as a snapshot each time, however well its process is known: it is bounded by the ring alone.
    let is_refused = sent > config.snapshots_a_span && walk.outcome != IS_WALKING;
    if is_filling_up || is_refused {
        helpers::lose!(A, Outcome::SnapshotRefused, sample.tgid);
        return false;
    }
    let Some(scratch) = SNAPSHOT.get_ptr_mut(0) else {
        helpers::count(Outcome::NoScratch);
        return false;
    };
    // SAFETY: this CPU's slot, held by nobody else during the tick.
    let scratch = unsafe { &mut *scratch };
    let sp = walk.sampled[SP];
    let (wanted, is_cut) = wanted(task, config, sp);
    copy::<A>(sp, wanted, scratch);
    let copied = scratch.header.stack_bytes as u64;
    let cut = if is_cut { SNAPSHOT_CUT } else { 0 };
    let fault = if copied < wanted { SNAPSHOT_FAULT } else { 0 };
    // Member by member: the whole would not fit on the stack.
    let header = &mut scratch.header;
    header.sample = *sample;
    header.sample.kind = KIND_SNAPSHOT;
    copy_registers(walk, &mut header.registers);
    header.pc = walk.sampled_pc;
    header.stopped_at = if walk.slots == 0 { 0 } else { walk.pc };
    header.flags = cut | fault;
    let mut len = copied;
    // SAFETY: no instruction. VERIFIER: the bound below must not be computed away.
    unsafe { asm!("{0} = {0}", inout(reg) len) };
    if len > SNAPSHOT_BYTES_MAX as u64 {
        len = SNAPSHOT_BYTES_MAX as u64;
    }
    let len = size_of::<SnapshotEvent>() as u64 + len;
    // A process that lives on is worth being published: the sooner, the fewer are sent.
    let is_unknown = walk.slots == 0;
    let is_first_of_many = is_unknown && (sent == 2 || (sent == 1 && has_lived(sample)));
    let wake = waiting >= config.wakeup_bytes as u64 || is_first_of_many;
    // SAFETY: header and stack are one repr(C) map value, and `len` is within it.
    let sent = unsafe { helpers::output((scratch as *const SnapshotScratch).cast::<c_void>(), len, wake) };
    if !sent {
        helpers::lose!(A, Outcome::SnapshotRefused, sample.tgid);
        return false;
    }
    helpers::count(Outcome::Samples);
    helpers::count(Outcome::Snapshots);
    true
}

/// One by one: LLVM would call a function for it, which copies bytes.
#[inline(always)]
fn copy_registers(walk: &Walk, to: &mut [u64; 32]) {
    let mut number = 0;
    while number < to.len() {
        // SAFETY: a plain field.
        to[number] = unsafe { core::ptr::read_volatile(&raw const walk.sampled[number]) };
        number += 1;
    }
}

/// Whether the process is no short one.
#[inline(always)]
fn has_lived(sample: &SampleEvent) -> bool {
    helpers::boot_nanos().wrapping_sub(sample.start_time) > LIFE_NANOS_MIN
}

/// How many the process has sent in this span of time, with this one.
#[inline(always)]
fn count_snapshot(sample: &SampleEvent) -> u32 {
    let process = sample.start_time ^ ((sample.tgid as u64) << 40);
    // Fibonacci hashing: the upper bits of the product are the best mixed.
    let slot = process.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let Some(quota) = QUOTAS.get_ptr_mut(slot as u32 & (SNAPSHOT_QUOTAS - 1)) else { return u32::MAX };
    // SAFETY: a valid slot. Other CPUs may write it at the same time; the worst is one snapshot more or less.
    let quota = unsafe { &mut *quota };
    let span = (sample.time >> SNAPSHOT_SPAN_BITS) as u32;
    if quota.process != process || quota.span != span {
        quota.process = process;
        quota.span = span;
        quota.sent = 0;
    }
    quota.sent += 1;
    quota.sent
}

/// Bytes from the stack pointer to the stack's base, as far as it is known, and whether it lies beyond what is copied.
///
/// A main thread's stack ends at `mm->start_stack`, others end where the C library keeps the thread's own block.
/// Neither is near a goroutine's or a coroutine's stack: of those as much is copied as a snapshot holds.
#[inline(always)]
fn wanted(task: Task, config: &SamplerConfig, sp: u64) -> (u64, bool) {
    let start_stack = task.task_at(config.task.mm).u64_at(config.task.mm_start_stack);
    let most = SNAPSHOT_BYTES_MAX as u64;
    let to_start_stack = start_stack.wrapping_sub(sp);
    if to_start_stack <= most {
        return (to_start_stack, false);
    }
    let to_thread_block = task.u64_at(config.task.thread_pointer).wrapping_sub(sp);
    if to_thread_block <= most { (to_thread_block, false) } else { (most, true) }
}

/// What the copying of a piece needs.
struct Copying {
    scratch: *mut SnapshotScratch,
}

/// Pieces that a stack of the greatest length can touch.
const PIECES_MAX: u32 = (SNAPSHOT_BYTES_MAX / COPIED_PIECE) as u32 + 1;

/// Copies from the stack pointer up, in pieces that end at pages' ends: an absent page loses only what lies above it.
/// What is copied is counted in the header.
#[inline(always)]
fn copy<A: Abilities>(sp: u64, wanted: u64, scratch: &mut SnapshotScratch) {
    scratch.header.stack_bytes = 0;
    scratch.sp = sp;
    scratch.wanted = wanted;
    A::repeat(&mut Copying { scratch });
}

impl Step for Copying {
    const MOST: u32 = PIECES_MAX;

    #[inline(always)]
    fn run(&mut self, _index: u32) -> bool {
        const PIECE: u64 = COPIED_PIECE as u64;
        // SAFETY: made by copy; points to a map value that nobody else uses during the tick.
        let scratch = unsafe { &mut *self.scratch };
        let copied = scratch.header.stack_bytes as u64;
        let from = scratch.sp.wrapping_add(copied);
        let left = scratch.wanted.wrapping_sub(copied);
        if copied >= scratch.wanted {
            return false;
        }
        let to_page_end = PIECE - (from & (PIECE - 1));
        let mut len = if to_page_end < left { to_page_end } else { left };
        let mut at = copied;
        // SAFETY: no instruction. VERIFIER: it has to see the masks below, which LLVM would prove away.
        unsafe { asm!("{0} = {0}\n{1} = {1}", inout(reg) len, inout(reg) at) };
        len = ((len - 1) & (PIECE - 1)) + 1;
        at &= SNAPSHOT_BYTES_MAX as u64 - 1;
        // SAFETY: the stack has a piece more than `at` can reach, and `len` is at most a piece.
        let is_there = unsafe {
            let to = scratch.stack.as_mut_ptr().add(at as usize);
            helpers::read_user(to.cast(), len, from)
        };
        if is_there {
            scratch.header.stack_bytes = (copied + len) as u32;
        }
        is_there
    }
}
