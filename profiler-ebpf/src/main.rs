//! The kernel half: a perf tick becomes a sample in the ring, with each new stack defined once.
//!
//! ```text
//!   perf event ─▶ on_tick ─▶ sample.rs ─▶ unwind.rs (published.rs, walk.rs, snapshot.rs) ─▶ EVENTS ring
//!   fork       ─▶ on_fork ─▶ lifecycle.rs ─▶ TARGETS (children of sampled processes)
//! ```
//!
//! Everything that can be decided without the kernel lives in `profiler-common`, where it is tested.
//! The tick may interrupt anything, NMI context included: it updates array slots and the ring, nothing else.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod abilities;
mod helpers;
mod lifecycle;
mod maps;
mod published;
mod registers;
mod sample;
mod snapshot;
mod unwind;
mod walk;

use aya_ebpf::macros::{perf_event, raw_tracepoint};
use aya_ebpf::programs::{PerfEventContext, RawTracePointContext};

use crate::abilities::{Full, Plain};

/// One tick of the sampling clock on one CPU.
#[perf_event]
pub fn on_tick(ctx: PerfEventContext) -> u32 {
    sample::on_tick::<Full>(&ctx);
    0
}

/// The same for kernels that lack what it asks for.
#[perf_event]
pub fn on_tick_plain(ctx: PerfEventContext) -> u32 {
    sample::on_tick::<Plain>(&ctx);
    0
}

/// Some frames more of a user stack that [`on_tick_plain`] met.
#[perf_event]
pub fn walk_on(ctx: PerfEventContext) -> u32 {
    sample::walk_on(&ctx);
    0
}

/// A process or thread was created.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn on_fork(ctx: RawTracePointContext) -> i32 {
    lifecycle::on_fork(&ctx);
    0
}

// GPL-compatible, which bpf_get_stack and bpf_probe_read_kernel ask for.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Nothing here panics: indices are masked or checked, arithmetic wraps (profile.bpf).
    loop {}
}
