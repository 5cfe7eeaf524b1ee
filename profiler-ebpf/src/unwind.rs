//! An interrupted stack → frames in the scratch definition, and the stack's hash.
//!
//! User stacks are walked by rows (`walk.rs`) where user space has published the process (`published.rs`). Others are
//! sent in part (`snapshot.rs`) for user space to unwind; only if there are too many of them at once, or rows are not
//! wanted, the kernel's frame-pointer walker takes them.

use core::ptr::read_volatile as read;

use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::{STACK_PROCESS_BOUND, SamplerConfig, WALK_BY_ROWS};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;
use profiler_common::stack_hash::StackHasher;

use crate::abilities::{Abilities, Plain, Step};
use crate::helpers::{self, Task, Walker};
use crate::maps::{ADDRESS_SLOTS, ADDRESSES, Addresses, StackScratch, Walk};
use crate::sample::{define, send};
use crate::{published, snapshot, walk as rows};

/// The kernel part of the interrupted stack; no frames when user code was interrupted.
#[inline(always)]
pub fn kernel_stack<A: Abilities>(ctx: &PerfEventContext, walk: &mut Walk, scratch: &mut StackScratch) {
    walk.slots = 0;
    let Some(addresses) = scratch_addresses() else { return };
    let found = helpers::walk_stack(ctx, Walker::Kernel, addresses);
    if found < 0 {
        helpers::count(Outcome::KernelStackFailed);
    }
    if found > 0 {
        to_frames::<A>(addresses, found as u32, KERNEL, StackHasher::shared(), walk, scratch);
    }
}

/// The user part, and the sample is sent: by rows if user space has published the process and its code, else as a
/// snapshot for user space to unwind; by frame pointers where neither can be.
#[inline(always)]
pub fn user_stack<A: Abilities>(
    ctx: &PerfEventContext,
    task: Task,
    config: &SamplerConfig,
    walk: &mut Walk,
    scratch: &mut StackScratch,
) {
    walk.slots = 0;
    if config.flags & WALK_BY_ROWS != 0 && A::load_registers(ctx, task, config, walk) {
        if walk.pc == 0 && walk.sp == 0 {
            // The kernel's own workers in a process: they borrow its memory and have no stack there.
            walk.outcome = Outcome::KernelThread as u32;
            return send::<A>(walk, config);
        }
        published::find(walk, task, config);
        rows::begin(walk);
        // VERIFIER: what happened is read back from the map, so that all ways lead on as one.
        // SAFETY: plain fields.
        if unsafe { read(&raw const walk.mappings) } != 0 {
            A::walk(ctx, walk, scratch);
        }
        if by_rows::<A>(task, config, walk, scratch) {
            return;
        }
    }
    by_frame_pointers::<A>(ctx, walk, scratch);
    send::<A>(walk, config);
}

/// Goes on with the user part, frame by frame, and either sends the sample or leaves it to the next program.
#[inline(always)]
pub fn walk_on(
    ctx: &PerfEventContext,
    task: Task,
    config: &SamplerConfig,
    walk: &mut Walk,
    scratch: &mut StackScratch,
) {
    Plain::repeat(&mut rows::Cursor::<Plain>::new(walk, scratch));
    // SAFETY: as in user_stack.
    if unsafe { read(&raw const walk.outcome) } == rows::IS_WALKING {
        Plain::go_on(ctx); // comes back if there were as many programs as the kernel runs
    }
    if !by_rows::<Plain>(task, config, walk, scratch) {
        send::<Plain>(walk, config); // cannot be: each walk has a frame
    }
}

/// Sends the sample with what was walked by rows, or as a snapshot. False if there is neither.
#[inline(always)]
fn by_rows<A: Abilities>(
    task: Task,
    config: &SamplerConfig,
    walk: &mut Walk,
    scratch: &mut StackScratch,
) -> bool {
    // SAFETY: as in user_stack.
    if A::is_for_user_space(unsafe { read(&raw const walk.outcome) })
        && snapshot::send::<A>(walk, task, config)
    {
        return true;
    }
    // SAFETY: as above.
    if unsafe { read(&raw const walk.slots) } == 0 {
        return false;
    }
    walk.hash = rows::hash(walk);
    walk.sample.user_stack = define::<A>(walk, STACK_PROCESS_BOUND, scratch);
    send::<A>(walk, config);
    true
}

#[inline(always)]
fn by_frame_pointers<A: Abilities>(ctx: &PerfEventContext, walk: &mut Walk, scratch: &mut StackScratch) {
    walk.outcome = Outcome::UserStackUnreadable as u32;
    let Some(addresses) = scratch_addresses() else { return };
    let found = helpers::walk_stack(ctx, Walker::UserFramePointers, addresses);
    if found <= 0 {
        return;
    }
    let process = StackHasher::of_process(walk.sample.tgid, walk.sample.start_time, walk.sample.exec_id);
    to_frames::<A>(addresses, found as u32, UNBACKED, process, walk, scratch);
    walk.sample.user_stack = define::<A>(walk, STACK_PROCESS_BOUND, scratch);
    let is_cut = walk.slots >= FRAME_LIMIT;
    walk.outcome = if is_cut { Outcome::FrameLimit } else { Outcome::FramePointerChainEnd } as u32;
}

/// kernel.perf_event_max_stack: a stack of this length was cut, or is exactly this long.
const FRAME_LIMIT: u32 = 127;

#[inline(always)]
fn scratch_addresses() -> Option<&'static mut Addresses> {
    let found = ADDRESSES.get_ptr_mut(0);
    if found.is_none() {
        helpers::count(Outcome::NoScratch);
    }
    // SAFETY: this CPU's slot. A perf event does not interrupt itself, so no one else holds it.
    found.map(|pointer| unsafe { &mut *pointer })
}

/// What the copying of one address needs.
struct Copying {
    walk: *mut Walk,
    addresses: *const Addresses,
    scratch: *mut StackScratch,
}

/// Which frames the addresses become.
const KERNEL: u32 = 0;
const UNBACKED: u32 = 1;

#[inline(always)]
fn to_frames<A: Abilities>(
    addresses: &Addresses,
    found: u32,
    kind: u32,
    seed: StackHasher,
    walk: &mut Walk,
    scratch: &mut StackScratch,
) {
    walk.slots = 0;
    walk.wanted = found;
    walk.is_bound = kind;
    walk.hash = seed.state();
    A::repeat(&mut Copying { walk, addresses, scratch });
    walk.hash = StackHasher::resumed(walk.hash).finish();
}

/// One address: a frame in its slot, folded into the hash.
impl Step for Copying {
    const MOST: u32 = ADDRESS_SLOTS as u32;

    #[inline(always)]
    fn run(&mut self, index: u32) -> bool {
        // SAFETY: made by to_frames; all three point to map values that nobody else uses during the tick.
        let (walk, addresses, scratch) = unsafe { (&mut *self.walk, &*self.addresses, &mut *self.scratch) };
        // SAFETY: a plain field; volatile so that the verifier does not tell one number of addresses from another.
        if index >= unsafe { read(&raw const walk.wanted) } {
            return false;
        }
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
        true
    }
}
