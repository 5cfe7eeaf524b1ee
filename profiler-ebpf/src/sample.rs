//! A perf tick → one `SampleEvent`, and a `StackEvent` for each stack that user space has not been told of.
//! Runs in whatever context the tick interrupts: array slots and the ring are all it updates.

use aya_ebpf::programs::PerfEventContext;
use core::ffi::c_void;
use profiler_common::abi::{
    FILTER_TARGETS, KIND_SAMPLE, KIND_STACK, LEAF_FRAMES, MAX_STACK_SLOTS, ON_TICK, ROOT_FRAMES,
    STACK_PROCESS_BOUND, SampleEvent, SamplerConfig, StackEvent, known_stack_slot,
};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use crate::helpers::{self, Task};
use crate::maps::{KNOWN_STACKS, STACK, StackScratch, TARGETS, config};
use crate::unwind::{self, UserStack, Walked};

/// `PF_KTHREAD` of include/linux/sched.h, unchanged since 2.6.27.
const PF_KTHREAD: u32 = 0x0020_0000;

pub fn on_tick(ctx: &PerfEventContext) {
    let (tgid, tid) = helpers::current_ids();
    if tid == 0 {
        return; // idle: no CPU time is spent
    }
    let began = helpers::monotonic_nanos();
    tick(ctx, tgid, tid, began);
    helpers::count_run(ON_TICK, began);
}

#[inline(always)]
fn tick(ctx: &PerfEventContext, tgid: u32, tid: u32, now: u64) {
    let config = config();
    let task = helpers::current_task();
    let start_time = start_time(task, &config);
    if !is_wanted(tgid, start_time, &config) {
        helpers::count(Outcome::Filtered);
        return;
    }
    let mut sample = SampleEvent {
        kind: KIND_SAMPLE,
        user_outcome: 0,
        cpu: helpers::current_cpu(),
        exec_id: exec_id(task, &config),
        time: now,
        tgid,
        tid,
        start_time,
        kernel_stack: 0,
        user_stack: 0,
        weight: helpers::sample_period(ctx),
    };
    if let Some(user_outcome) = stacks(ctx, task, &config, &mut sample) {
        sample.user_outcome = user_outcome;
        send(&sample, config.wakeup_bytes);
    }
}

/// Walks both parts, defines what is new, and notes the hashes in the sample. Nothing if the sample has gone out as a
/// snapshot.
#[inline(always)]
fn stacks(
    ctx: &PerfEventContext,
    task: Task,
    config: &SamplerConfig,
    sample: &mut SampleEvent,
) -> Option<u8> {
    let Some(scratch) = STACK.get_ptr_mut(0) else {
        helpers::count(Outcome::NoScratch);
        return Some(Outcome::UserStackUnreadable.number() as u8);
    };
    // SAFETY: this CPU's slot, held by nobody else during the tick.
    let scratch = unsafe { &mut *scratch };
    if let Some(walked) = unwind::kernel_stack(ctx, scratch) {
        define(&walked, 0, sample, scratch);
        sample.kernel_stack = walked.hash;
    }
    if let Some(reason) = no_user_stack(task, config) {
        return Some(reason.number() as u8);
    }
    match unwind::user_stack(ctx, task, config, sample, scratch) {
        UserStack::Walked(walked, outcome) => {
            define(&walked, STACK_PROCESS_BOUND, sample, scratch);
            sample.user_stack = walked.hash;
            Some(outcome)
        }
        UserStack::None(outcome) => Some(outcome),
        UserStack::Snapshot => None,
    }
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
    // In exec the new memory has no stack yet, and the registers are still those of the old program.
    (mm.is_null() || mm.u64_at(config.task.mm_start_stack) == 0).then_some(Outcome::NoUserMemory)
}

/// Sends the stack in the scratch buffer unless user space has it. If the ring is full the slot stays
/// as it was, so the stack's next sample tries again.
#[inline(always)]
fn define(walked: &Walked, flags: u8, sample: &SampleEvent, scratch: &mut StackScratch) {
    let Some(known) = KNOWN_STACKS.get_ptr_mut(known_stack_slot(walked.hash)) else { return };
    // SAFETY: a valid slot. Other CPUs may write it at the same time: each 64-bit store is whole, and the
    // worst that comes of it is a definition sent twice.
    if unsafe { *known } == walked.hash {
        return;
    }
    let kept = LEAF_FRAMES + ROOT_FRAMES;
    let left_out = walked.slots.saturating_sub(kept);
    let slots = if walked.slots < kept { walked.slots } else { kept };
    scratch.header = StackEvent {
        kind: KIND_STACK,
        flags,
        slots: slots as u16,
        exec_id: sample.exec_id,
        hash: walked.hash,
        time: sample.time,
        tgid: sample.tgid,
        left_out,
        start_time: sample.start_time,
    };
    // VERIFIER: the mask bounds the length below the size of the map value.
    let slots = (slots as usize & (MAX_STACK_SLOTS - 1)) as u64;
    let len = size_of::<StackEvent>() as u64 + slots * size_of::<Frame>() as u64;
    // SAFETY: header and slots are one repr(C) map value, and `len` is within it.
    if unsafe { helpers::output((scratch as *const StackScratch).cast::<c_void>(), len, false) } {
        // SAFETY: as above.
        unsafe { *known = walked.hash };
        helpers::count(Outcome::Definitions);
    } else {
        helpers::lose!(Outcome::DefinitionRingFull, sample.tgid);
    }
}

#[inline(always)]
fn send(sample: &SampleEvent, wakeup_bytes: u32) {
    let wake = helpers::ring_bytes_waiting() >= wakeup_bytes as u64;
    // SAFETY: a local of exactly this size.
    let sent = unsafe {
        helpers::output(
            (sample as *const SampleEvent).cast::<c_void>(),
            size_of::<SampleEvent>() as u64,
            wake,
        )
    };
    if sent {
        helpers::count(Outcome::Samples);
    } else {
        helpers::lose!(Outcome::SampleRingFull, sample.tgid);
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
