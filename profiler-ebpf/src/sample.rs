//! A perf tick → one `SampleEvent`, and a `StackEvent` for each stack that user space has not been told of.
//! Runs in whatever context the tick interrupts: array slots and the ring are all it updates.

use aya_ebpf::programs::PerfEventContext;
use core::ffi::c_void;
use profiler_common::abi::{
    FILTER_TARGETS, KIND_SAMPLE, KIND_STACK, LEAF_FRAMES, MAX_STACK_SLOTS, ON_TICK, ROOT_FRAMES, SampleEvent,
    SamplerConfig, StackEvent, known_stack_slot,
};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use crate::abilities::Abilities;
use crate::helpers::{self, Task};
use crate::maps::{KNOWN_STACKS, STACK, StackScratch, TARGETS, WALK, Walk, config};
use crate::unwind;

/// `PF_KTHREAD` of include/linux/sched.h, unchanged since 2.6.27.
const PF_KTHREAD: u32 = 0x0020_0000;

#[inline(always)]
pub fn on_tick<A: Abilities>(ctx: &PerfEventContext) {
    let (tgid, tid) = helpers::current_ids();
    if tid == 0 {
        return; // idle: no CPU time is spent
    }
    let began = helpers::monotonic_nanos();
    tick::<A>(ctx, tgid, tid, began);
    helpers::count_run(ON_TICK, began);
}

#[inline(always)]
fn tick<A: Abilities>(ctx: &PerfEventContext, tgid: u32, tid: u32, now: u64) {
    let config = config();
    let task = helpers::current_task();
    let start_time = start_time(task, &config);
    if !is_wanted(tgid, start_time, &config) {
        helpers::count(Outcome::Filtered);
        return;
    }
    let (Some(walk), Some(scratch)) = (WALK.get_ptr_mut(0), STACK.get_ptr_mut(0)) else {
        helpers::count(Outcome::NoScratch);
        return;
    };
    // SAFETY: this CPU's slots. A perf event does not interrupt itself, so no one else holds them.
    let (walk, scratch) = unsafe { (&mut *walk, &mut *scratch) };
    // SAFETY: a plain field. For two zeroes side by side LLVM would call a function, see `Plain`.
    let none = unsafe { core::ptr::read_volatile(&raw const walk.opaque_zero) } as u64;
    walk.sample = SampleEvent {
        kind: KIND_SAMPLE,
        user_outcome: 0,
        cpu: helpers::current_cpu(),
        exec_id: exec_id(task, &config),
        time: now,
        tgid,
        tid,
        start_time,
        kernel_stack: none,
        user_stack: none,
        weight: helpers::sample_period(ctx),
    };
    unwind::kernel_stack::<A>(ctx, walk, scratch);
    if walk.slots != 0 {
        walk.sample.kernel_stack = define::<A>(walk, 0, scratch);
    }
    match no_user_stack(task, &config) {
        Some(reason) => {
            walk.outcome = reason as u32;
            send::<A>(walk, &config);
        }
        None => unwind::user_stack::<A>(ctx, task, &config, walk, scratch),
    }
}

/// Goes on with the walk of a stack where the program before left off, see [`crate::abilities::Plain`].
#[inline(always)]
pub fn walk_on(ctx: &PerfEventContext) {
    let (Some(walk), Some(scratch)) = (WALK.get_ptr_mut(0), STACK.get_ptr_mut(0)) else { return };
    // SAFETY: as in tick.
    let (walk, scratch) = unsafe { (&mut *walk, &mut *scratch) };
    unwind::walk_on(ctx, helpers::current_task(), &config(), walk, scratch);
    helpers::count_run(ON_TICK, walk.sample.time);
}

/// Why the task has no user stack, if it has none. Without BTF the walker finds out by failing.
#[inline(always)]
fn no_user_stack(task: Task, config: &SamplerConfig) -> Option<Outcome> {
    if config.task.mm == 0 {
        return None;
    }
    if task.u32_at(config.task.flags) & PF_KTHREAD != 0 {
        return Some(Outcome::KernelThread);
    }
    let mm = task.task_at(config.task.mm);
    // In exec the new memory is laid out while the registers are still those of the old program: load_elf_binary of
    // fs/binfmt_elf.c says where the code begins right before it sets them. The stack's place is told long before.
    (mm.is_null() || mm.u64_at(config.task.mm_start_code) == 0).then_some(Outcome::NoUserMemory)
}

/// Sends the stack in the scratch buffer unless user space has it; gives its hash. If the ring is full the slot stays
/// as it was, so the stack's next sample tries again.
#[inline(always)]
pub fn define<A: Abilities>(walk: &Walk, flags: u8, scratch: &mut StackScratch) -> u64 {
    let hash = walk.hash;
    let Some(known) = KNOWN_STACKS.get_ptr_mut(known_stack_slot(hash)) else { return hash };
    // SAFETY: a valid slot. Other CPUs may write it at the same time: each 64-bit store is whole, and the
    // worst that comes of it is a definition sent twice.
    if unsafe { *known } == hash {
        return hash;
    }
    let kept = LEAF_FRAMES + ROOT_FRAMES;
    let left_out = walk.slots.saturating_sub(kept);
    let slots = if walk.slots < kept { walk.slots } else { kept };
    scratch.header = StackEvent {
        kind: KIND_STACK,
        flags,
        slots: slots as u16,
        exec_id: walk.sample.exec_id,
        hash,
        time: walk.sample.time,
        tgid: walk.sample.tgid,
        left_out,
        start_time: walk.sample.start_time,
    };
    // VERIFIER: the mask bounds the length below the size of the map value.
    let slots = (slots as usize & (MAX_STACK_SLOTS - 1)) as u64;
    let len = size_of::<StackEvent>() as u64 + slots * size_of::<Frame>() as u64;
    // SAFETY: header and slots are one repr(C) map value, and `len` is within it.
    if unsafe { helpers::output((scratch as *const StackScratch).cast::<c_void>(), len, false) } {
        // SAFETY: as above.
        unsafe { *known = hash };
        helpers::count(Outcome::Definitions);
    } else {
        helpers::lose!(A, Outcome::DefinitionRingFull, walk.sample.tgid);
    }
    hash
}

/// Sends the sample without a part of its stack.
#[inline(always)]
pub fn send<A: Abilities>(walk: &mut Walk, config: &SamplerConfig) {
    let wake = helpers::ring_bytes_waiting() >= config.wakeup_bytes as u64;
    walk.sample.user_outcome = walk.outcome as u8;
    let sample: *const SampleEvent = &raw const walk.sample;
    // SAFETY: a member of exactly this size.
    let sent = unsafe { helpers::output(sample.cast::<c_void>(), size_of::<SampleEvent>() as u64, wake) };
    if sent {
        helpers::count(Outcome::Samples);
    } else {
        helpers::lose!(A, Outcome::SampleRingFull, walk.sample.tgid);
    }
}

/// When the task's process started, 0 without BTF.
#[inline(always)]
pub fn start_time(task: Task, config: &SamplerConfig) -> u64 {
    if config.task.group_leader == 0 {
        return 0;
    }
    task.task_at(config.task.group_leader).u64_at(config.task.start_boottime)
}

/// The programs that the task has executed, 0 without BTF.
#[inline(always)]
pub fn exec_id(task: Task, config: &SamplerConfig) -> u32 {
    if config.task.self_exec_id == 0 { 0 } else { task.u32_at(config.task.self_exec_id) }
}

#[inline(always)]
fn is_wanted(tgid: u32, start_time: u64, config: &SamplerConfig) -> bool {
    if tgid == config.excluded_tgid {
        return false;
    }
    if config.flags & FILTER_TARGETS == 0 {
        return true;
    }
    // SAFETY: the entry is only read, and at once; a concurrent removal may hand it to another process,
    // which the comparison of start times notices.
    match unsafe { TARGETS.get(tgid) } {
        Some(target) => target.sampled != 0 && (target.start_time == 0 || target.start_time == start_time),
        None => false,
    }
}
