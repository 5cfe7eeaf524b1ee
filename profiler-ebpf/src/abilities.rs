//! What programs ask of a kernel that not every kernel has: one type for those that have it, one for the others.
//!
//! Each program is made twice, with either. The one that a kernel cannot take is left out at load, so none of the calls
//! of the other may be in it, not even where it never comes by.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as raw;
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::SamplerConfig;
use profiler_common::outcome::Outcome;

use crate::helpers::Task;
use crate::maps::{StackScratch, WALK_ON, Walk};
use crate::registers;
use crate::walk::{Cursor, IS_WALKING};

/// What is done again and again. It holds pointers only, so that the second run looks to the verifier like the first.
pub trait Step {
    /// Runs at most.
    const MOST: u32;
    /// Runs at most in one program whose every run the verifier follows.
    const MOST_PLAIN: u32 = Self::MOST;
    /// Does it for the last time if it gives false.
    fn run(&mut self, index: u32) -> bool;
}

/// How a kernel does what they all do.
pub trait Abilities: Sized {
    /// Whether the program may have functions of its own, which lines about losses take.
    const WRITES_LINES: bool;
    /// Runs a step until it was the last.
    fn repeat<S: Step>(step: &mut S);
    /// Fills in the registers of the user frame that the sample interrupted. False if they cannot be told.
    fn load_registers(ctx: &PerfEventContext, task: Task, config: &SamplerConfig, walk: &mut Walk) -> bool;
    /// Walks the user's stack by rows. May go over to another program, and come back only if there is none.
    fn walk(ctx: &PerfEventContext, walk: &mut Walk, scratch: &mut StackScratch);
    /// Reads back what the walk holds. Where the verifier goes every way there is, neither it nor the compiler is to know
    /// what was put there; where it need not be hidden, a walk is quicker by a tenth.
    fn noted<T: Copy>(place: &T) -> T;
    /// From [`Walk::opaque_zero`]: gives 0, of which neither compiler nor verifier knows that it is.
    fn opaque_zero(place: &u32) -> impl Fn() -> u32;
    /// Whether user space may know how a walk goes on that ended so: it has every mapping and can read every file.
    #[inline(always)]
    fn is_for_user_space(outcome: u32) -> bool {
        outcome == Outcome::RowsNotReady as u32 || outcome == Outcome::NoMapping as u32
    }
}

/// `bpf_loop` (5.17), `bpf_task_pt_regs` and `bpf_get_current_task_btf` (5.15).
pub struct Full;

impl Abilities for Full {
    const WRITES_LINES: bool = true;

    #[inline(always)]
    fn repeat<S: Step>(step: &mut S) {
        // SAFETY: the callback has the signature that the helper asks for, and the step lives until it returns.
        unsafe {
            raw::bpf_loop(S::MOST, one_run::<S> as *const () as *mut c_void, (&raw mut *step).cast(), 0);
        }
    }

    #[inline(always)]
    fn load_registers(ctx: &PerfEventContext, _: Task, _: &SamplerConfig, walk: &mut Walk) -> bool {
        registers::load(ctx, walk);
        true
    }

    #[inline(always)]
    fn walk(_: &PerfEventContext, walk: &mut Walk, scratch: &mut StackScratch) {
        walk.outcome = IS_WALKING;
        Self::repeat(&mut Cursor::<Self>::new(walk, scratch));
    }

    #[inline(always)]
    fn noted<T: Copy>(place: &T) -> T {
        *place
    }

    #[inline(always)]
    fn opaque_zero(place: &u32) -> impl Fn() -> u32 {
        let zero = opaque(place);
        move || zero
    }
}

#[inline(always)]
fn opaque<T: Copy>(place: &T) -> T {
    // SAFETY: a reference is valid; what is asked for are plain integers.
    unsafe { core::ptr::read_volatile(place) }
}

/// For `bpf_loop`, which goes on at 0.
#[inline(never)]
extern "C" fn one_run<S: Step>(index: u32, step: *mut S) -> i64 {
    // SAFETY: made by repeat, whose step nobody else uses meanwhile.
    let step = unsafe { &mut *step };
    if step.run(index) { 0 } else { 1 }
}

/// What 5.10 has: loops that the verifier follows to their end, programs that call programs, kernel memory by offsets.
///
/// On arm64 a program that calls another may have no function of its own there, so these have none.
pub struct Plain;

impl Abilities for Plain {
    const WRITES_LINES: bool = false;

    #[inline(always)]
    fn repeat<S: Step>(step: &mut S) {
        let mut index = 0;
        // VERIFIER: a constant bounds the loop. What a step goes by lies in maps, so each way out leads
        // on as one.
        while index < S::MOST_PLAIN && step.run(index) {
            index += 1;
        }
    }

    #[inline(always)]
    fn load_registers(ctx: &PerfEventContext, task: Task, config: &SamplerConfig, walk: &mut Walk) -> bool {
        registers::load_plain(ctx, task, config, walk)
    }

    #[inline(always)]
    fn walk(ctx: &PerfEventContext, walk: &mut Walk, _: &mut StackScratch) {
        walk.outcome = IS_WALKING;
        Self::go_on(ctx);
        walk.outcome = Outcome::RowsNotReady as u32; // there is no such program
    }

    #[inline(always)]
    fn noted<T: Copy>(place: &T) -> T {
        opaque(place)
    }

    /// Read each time.
    #[inline(always)]
    fn opaque_zero(place: &u32) -> impl Fn() -> u32 {
        || opaque(place)
    }

    /// Deeper stacks than the programs walk as well.
    #[inline(always)]
    fn is_for_user_space(outcome: u32) -> bool {
        Full::is_for_user_space(outcome) || outcome == IS_WALKING
    }
}

impl Plain {
    /// Goes over to the program that walks on; comes back only if there is none, or the kernel has run as many as it
    /// does, 33.
    #[inline(always)]
    pub fn go_on(ctx: &PerfEventContext) {
        // SAFETY: nothing is to be dropped.
        unsafe { WALK_ON.tail_call(ctx, 0) };
    }
}
