//! An interrupted stack → frames in the scratch definition, and the stack's hash.
//!
//! User stacks come from the kernel's frame-pointer walker here; whatever replaces it keeps the
//! signature of [`user_stack`]. Never touches the ring.

use aya_ebpf::programs::PerfEventContext;
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;
use profiler_common::stack_hash::StackHasher;

use crate::helpers::{self, Walker};
use crate::maps::{ADDRESS_SLOTS, ADDRESSES, Addresses, StackScratch};

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
    Some(to_frames(addresses, found as u32, Frame::kernel, StackHasher::shared(), scratch))
}

/// The user part, and how its walk ended.
#[inline(always)]
pub fn user_stack(
    ctx: &PerfEventContext,
    process: StackHasher,
    scratch: &mut StackScratch,
) -> (Option<Walked>, Outcome) {
    if let Some(walk) = crate::maps::WALK.get_ptr_mut(0) {
        // SAFETY: this CPU's slot.
        let walk = unsafe { &mut *walk };
        if walk.mappings != 0 {
            crate::walk::walk_user_stack(ctx, walk, scratch);
            return (Some(Walked { slots: walk.slots, hash: crate::walk::hash(scratch, walk.slots, process) }), Outcome::RootReached);
        }
    }
    let Some(addresses) = scratch_addresses() else { return (None, Outcome::UserStackUnreadable) };
    let found = helpers::walk_stack(ctx, Walker::UserFramePointers, addresses);
    if found <= 0 {
        return (None, Outcome::UserStackUnreadable);
    }
    let outcome = if found >= FRAME_LIMIT { Outcome::FrameLimit } else { Outcome::FramePointerChainEnd };
    (Some(to_frames(addresses, found as u32, Frame::unbacked, process, scratch)), outcome)
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

/// VERIFIER: ADDRESS_SLOTS bounds the loop; `found` comes from map memory by way of a helper.
#[inline(always)]
fn to_frames(
    addresses: &Addresses,
    found: u32,
    frame: fn(u64, bool) -> Frame,
    seed: StackHasher,
    scratch: &mut StackScratch,
) -> Walked {
    let mut hasher = seed;
    let mut i = 0;
    while i < ADDRESS_SLOTS {
        if i as u32 >= found {
            break;
        }
        let next = frame(addresses.at[i & (ADDRESS_SLOTS - 1)], i > 0);
        scratch.slots[i & (ADDRESS_SLOTS - 1)] = next;
        hasher = hasher.frame(next);
        i += 1;
    }
    Walked { slots: i as u32, hash: hasher.finish() }
}
