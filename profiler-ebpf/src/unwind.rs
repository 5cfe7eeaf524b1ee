//! An interrupted stack → frames in the scratch definition, and the stack's hash. Never touches the ring.
//!
//! User stacks are walked by rows (`walk.rs`) where user space has published the process, else by the
//! kernel's frame-pointer walker.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as raw;
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::{SampleEvent, WALK_BY_ROWS};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;
use profiler_common::stack_hash::StackHasher;

use crate::helpers::{self, Walker};
use crate::maps::{ADDRESS_SLOTS, ADDRESSES, Addresses, PROCESSES, StackScratch, WALK, Walk, config};
use crate::walk;

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

/// The user part, and how its walk ended: by rows if user space has published the process, else by frame
/// pointers.
#[inline(always)]
pub fn user_stack(
    ctx: &PerfEventContext,
    sample: &SampleEvent,
    scratch: &mut StackScratch,
) -> (Option<Walked>, u8) {
    if let Some(walk) = published(sample) {
        walk::walk_user_stack(ctx, walk, scratch);
        let walked = Walked { slots: walk.slots, hash: walk::hash(walk, sample) };
        return (Some(walked), walk.outcome as u8);
    }
    let Some(addresses) = scratch_addresses() else {
        return (None, Outcome::UserStackUnreadable.number() as u8);
    };
    let found = helpers::walk_stack(ctx, Walker::UserFramePointers, addresses);
    if found <= 0 {
        return (None, Outcome::UserStackUnreadable.number() as u8);
    }
    let outcome = if found >= FRAME_LIMIT { Outcome::FrameLimit } else { Outcome::FramePointerChainEnd };
    let process = StackHasher::of_process(sample.tgid, sample.start_time, sample.exec_id);
    (to_frames(addresses, found as u32, UNBACKED, process, scratch), outcome.number() as u8)
}

/// The walk, with the sampled process's mappings, if they are those of the program that it runs now.
#[inline(always)]
fn published(sample: &SampleEvent) -> Option<&'static mut Walk> {
    if config().flags & WALK_BY_ROWS == 0 {
        return None;
    }
    // SAFETY: copied at once. A concurrent replacement may give another process's entry, whose start differs.
    let process = unsafe { *PROCESSES.get(sample.tgid)? };
    if process.start_time != sample.start_time || process.exec_id != sample.exec_id {
        return None;
    }
    let walk = WALK.get_ptr_mut(0)?;
    // SAFETY: this CPU's slot. A perf event does not interrupt itself, so no one else holds it.
    let walk = unsafe { &mut *walk };
    walk.first_mapping = process.first_mapping;
    walk.mappings = process.mappings;
    Some(walk)
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
    // SAFETY: this CPU's slot; see published.
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
