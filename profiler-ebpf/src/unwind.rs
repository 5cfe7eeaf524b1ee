//! An interrupted stack → frames in the scratch definition, and the stack's hash.
//!
//! User stacks are walked by rows (`walk.rs`) where user space has published the process (`published.rs`). Others are
//! sent in part (`snapshot.rs`) for user space to unwind; only if there are too many of them at once, or rows are not
//! wanted, the kernel's frame-pointer walker takes them.

use core::ffi::c_void;
use core::ptr::read_volatile as read;

use aya_ebpf::helpers::generated as raw;
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::{SampleEvent, SamplerConfig, WALK_BY_ROWS};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;
use profiler_common::stack_hash::StackHasher;

use crate::helpers::{self, Task, Walker};
use crate::maps::{ADDRESS_SLOTS, ADDRESSES, Addresses, StackScratch, WALK, Walk};
use crate::{published, registers, snapshot, walk};

/// Frames found and the identity they have together.
pub struct Walked {
    pub slots: u32,
    pub hash: u64,
}

/// The kernel part of the interrupted stack; nothing when user code was interrupted.
#[inline(always)]
pub fn kernel_stack(ctx: &PerfEventContext, scratch: &mut StackScratch) -> Option<Walked> {
    let addresses = scratch_addresses()?;
    let found = helpers::walk_stack(ctx, Walker::Kernel, addresses);
    if found < 0 {
        helpers::count(Outcome::KernelStackFailed);
    }
    if found <= 0 {
        return None;
    }
    to_frames(addresses, found as u32, KERNEL, StackHasher::shared(), scratch)
}

/// What became of the user part.
pub enum UserStack {
    /// Frames are in the scratch; how their walk ended.
    Walked(Walked, u8),
    /// There are no frames, for this reason.
    None(u8),
    /// The whole sample has gone out, with a part of its stack.
    Snapshot,
}

/// The user part: by rows if user space has published the process and its code, else a snapshot for user space to
/// unwind; by frame pointers where neither can be.
#[inline(always)]
pub fn user_stack(
    ctx: &PerfEventContext,
    task: Task,
    config: &SamplerConfig,
    sample: &SampleEvent,
    scratch: &mut StackScratch,
) -> UserStack {
    if config.flags & WALK_BY_ROWS != 0
        && let Some(walk) = WALK.get_ptr_mut(0)
    {
        // SAFETY: this CPU's slot. A perf event does not interrupt itself, so no one else holds it.
        let walk = unsafe { &mut *walk };
        registers::load(ctx, walk);
        if walk.pc == 0 && walk.sp == 0 {
            // The kernel's own workers in a process: they borrow its memory and have no stack there.
            return UserStack::None(Outcome::KernelThread.number() as u8);
        }
        walk.slots = 0;
        walk.outcome = Outcome::RowsNotReady as u32;
        published::find(walk, task, config, sample);
        // VERIFIER: what happened is read back from the map, so that all ways lead on as one.
        // SAFETY: plain fields.
        if unsafe { read(&raw const walk.mappings) } != 0 {
            walk::walk_user_stack(walk, scratch);
        }
        // SAFETY: as above.
        if !is_for_user_space(unsafe { read(&raw const walk.outcome) }) {
            return walked_by_rows(walk, sample);
        }
        if snapshot::send(walk, task, config, sample) {
            return UserStack::Snapshot;
        }
        // SAFETY: as above.
        if unsafe { read(&raw const walk.slots) } != 0 {
            return walked_by_rows(walk, sample);
        }
    }
    by_frame_pointers(ctx, sample, scratch)
}

/// Whether user space may know better: it has every mapping and can read every file.
#[inline(always)]
fn is_for_user_space(outcome: u32) -> bool {
    outcome == Outcome::RowsNotReady as u32 || outcome == Outcome::NoMapping as u32
}

#[inline(always)]
fn walked_by_rows(walk: &Walk, sample: &SampleEvent) -> UserStack {
    UserStack::Walked(Walked { slots: walk.slots, hash: walk::hash(walk, sample) }, walk.outcome as u8)
}

#[inline(always)]
fn by_frame_pointers(ctx: &PerfEventContext, sample: &SampleEvent, scratch: &mut StackScratch) -> UserStack {
    let unreadable = UserStack::None(Outcome::UserStackUnreadable.number() as u8);
    let Some(addresses) = scratch_addresses() else { return unreadable };
    let found = helpers::walk_stack(ctx, Walker::UserFramePointers, addresses);
    if found <= 0 {
        return unreadable;
    }
    let outcome = if found >= FRAME_LIMIT { Outcome::FrameLimit } else { Outcome::FramePointerChainEnd };
    let process = StackHasher::of_process(sample.tgid, sample.start_time, sample.exec_id);
    match to_frames(addresses, found as u32, UNBACKED, process, scratch) {
        Some(walked) => UserStack::Walked(walked, outcome.number() as u8),
        None => unreadable,
    }
}

/// kernel.perf_event_max_stack: a stack of this length was cut, or is exactly this long.
const FRAME_LIMIT: i64 = 127;

#[inline(always)]
fn scratch_addresses() -> Option<&'static mut Addresses> {
    let found = ADDRESSES.get_ptr_mut(0);
    if found.is_none() {
        helpers::count(Outcome::NoScratch);
    }
    // SAFETY: this CPU's slot. A perf event does not interrupt itself, so no one else holds it.
    found.map(|pointer| unsafe { &mut *pointer })
}

/// What the copying of one address needs; pointers only, see [`Walk`].
#[repr(C)]
struct Copying {
    walk: *mut Walk,
    addresses: *const Addresses,
    scratch: *mut StackScratch,
}

/// Which frames the addresses become.
const KERNEL: u32 = 0;
const UNBACKED: u32 = 1;

#[inline(always)]
fn to_frames(
    addresses: &Addresses,
    found: u32,
    kind: u32,
    seed: StackHasher,
    scratch: &mut StackScratch,
) -> Option<Walked> {
    let walk = WALK.get_ptr_mut(0)?;
    // SAFETY: this CPU's slot; see user_stack.
    let walk = unsafe { &mut *walk };
    walk.slots = 0;
    walk.is_bound = kind;
    walk.hash = seed.state();
    let mut copying = Copying { walk, addresses, scratch };
    // SAFETY: the callback has the signature that the helper asks for, and what it is given lives until then.
    unsafe {
        raw::bpf_loop(found, copy_frame as *const () as *mut c_void, (&raw mut copying).cast(), 0);
    }
    Some(Walked { slots: walk.slots, hash: StackHasher::resumed(walk.hash).finish() })
}

/// One address: a frame in its slot, folded into the hash.
#[inline(never)]
extern "C" fn copy_frame(index: u32, copying: *mut Copying) -> i64 {
    // SAFETY: made by to_frames; all three point to map values that nobody else uses during the tick.
    let (walk, addresses, scratch) =
        unsafe { (&mut *(*copying).walk, &*(*copying).addresses, &mut *(*copying).scratch) };
    let slot = index as usize & (ADDRESS_SLOTS - 1);
    let address = addresses.at[slot];
    let frame = if walk.is_bound == KERNEL {
        Frame::kernel(address, index > 0)
    } else {
        Frame::unbacked(address, index > 0)
    };
    scratch.slots[slot] = frame;
    walk.hash = StackHasher::resumed(walk.hash).frame(frame).state();
    walk.slots = index + 1;
    0
}
