//! The only file of raw helper calls: each wrapped once, typed, with its bounds.
//! Kernel memory is read by bpf_probe_read_kernel, at offsets that user space took from the kernel's BTF.

use aya_ebpf::bindings::{BPF_F_USER_STACK, bpf_perf_event_data};
use aya_ebpf::helpers::generated as raw;
use aya_ebpf::programs::PerfEventContext;
use core::ffi::c_void;
use profiler_common::outcome::Outcome;

use crate::maps::{ADDRESS_SLOTS, Addresses, COUNTERS, EVENTS, RUN_TIMES};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

/// A `task_struct` or `mm_struct` of the kernel; only ever read by [`read_kernel`].
#[derive(Clone, Copy)]
pub struct Task(u64);

impl Task {
    /// From a tracepoint's argument.
    pub fn from_pointer(pointer: u64) -> Self {
        Self(pointer)
    }

    /// A 4-byte member; 0 if it cannot be read.
    #[inline(always)]
    pub fn u32_at(self, offset: u32) -> u32 {
        let mut value = 0u32;
        // SAFETY: writes four bytes into a local; the source is checked by the helper.
        unsafe { raw::bpf_probe_read_kernel((&raw mut value).cast(), 4, self.member(offset)) };
        value
    }

    /// An 8-byte member; 0 if it cannot be read.
    #[inline(always)]
    pub fn u64_at(self, offset: u32) -> u64 {
        let mut value = 0u64;
        // SAFETY: writes eight bytes into a local; the source is checked by the helper.
        unsafe { raw::bpf_probe_read_kernel((&raw mut value).cast(), 8, self.member(offset)) };
        value
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// A member that points to another task, or to its memory.
    #[inline(always)]
    pub fn task_at(self, offset: u32) -> Self {
        Self(self.u64_at(offset))
    }

    /// A member of plain integers; false if it cannot be read.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32, into: &mut T) -> bool {
        // SAFETY: writes as many bytes as there are, which callers give for types of integers only; the source is
        // checked by the helper.
        let failed = unsafe {
            raw::bpf_probe_read_kernel((&raw mut *into).cast(), size_of::<T>() as u32, self.member(offset))
        };
        failed == 0
    }

    #[inline(always)]
    fn member(self, offset: u32) -> *const c_void {
        self.0.wrapping_add(offset as u64) as *const c_void
    }
}

/// The running task.
#[inline(always)]
pub fn current_task() -> Task {
    // SAFETY: no arguments; returns a pointer as a number.
    Task(unsafe { raw::bpf_get_current_task() })
}

/// Process and thread id of the running task.
#[inline(always)]
pub fn current_ids() -> (u32, u32) {
    // SAFETY: no arguments.
    let both = unsafe { raw::bpf_get_current_pid_tgid() };
    ((both >> 32) as u32, both as u32)
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub fn monotonic_nanos() -> u64 {
    // SAFETY: no arguments.
    unsafe { raw::bpf_ktime_get_ns() }
}

/// CLOCK_BOOTTIME, nanoseconds.
#[inline(always)]
pub fn boot_nanos() -> u64 {
    // SAFETY: no arguments.
    unsafe { raw::bpf_ktime_get_boot_ns() }
}

/// The running CPU.
#[inline(always)]
pub fn current_cpu() -> u16 {
    // SAFETY: no arguments.
    unsafe { raw::bpf_get_smp_processor_id() as u16 }
}

/// What the event's sample stands for: the period that has passed since the last one.
#[inline(always)]
pub fn sample_period(ctx: &PerfEventContext) -> u64 {
    let data: *const bpf_perf_event_data = ctx.ctx;
    // SAFETY: the context of a perf_event program is a bpf_perf_event_data; an 8-byte load of a member
    // is what the verifier allows there.
    unsafe { core::ptr::read_volatile(&raw const (*data).sample_period) }
}

/// The kernel's own stack walkers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Walker {
    /// The kernel's stack, by its own unwinder.
    Kernel,
    /// The user's stack, by frame pointers.
    UserFramePointers,
}

/// Walks the interrupted stack into `into`, leaf first. Gives the number of addresses, negative on failure.
#[inline(always)]
pub fn walk_stack(ctx: &PerfEventContext, walker: Walker, into: &mut Addresses) -> i64 {
    let flags = match walker {
        Walker::Kernel => 0,
        Walker::UserFramePointers => BPF_F_USER_STACK as u64,
    };
    // SAFETY: the buffer is as long as said.
    let bytes = unsafe {
        raw::bpf_get_stack(ctx.ctx.cast(), into.at.as_mut_ptr().cast(), (ADDRESS_SLOTS * 8) as u32, flags)
    };
    if bytes < 0 { bytes } else { bytes >> 3 }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(what: Outcome) {
    if let Some(counter) = COUNTERS.get_ptr_mut(what.number() as u32) {
        // SAFETY: a valid slot of this CPU. A tick that interrupts another's addition on the same CPU
        // (possible only in NMI) may lose one count; nothing else depends on it.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}

/// Counts a loss of a process, and writes a line about it if the program can and user space has asked for lines before it
/// loaded us.
macro_rules! lose {
    ($abilities:ty, $what:expr, $tgid:expr) => {{
        // A function of its own: the line's parts would not fit on the tick's stack.
        #[inline(never)]
        fn tell(tgid: u32) {
            const WORDS: &str = $what.words();
            aya_log_ebpf::debug!((), "process {}: {}", tgid, WORDS);
        }
        crate::helpers::count($what);
        if <$abilities as crate::abilities::Abilities>::WRITES_LINES {
            tell($tgid);
        }
    }};
}
pub(crate) use lose;

/// Adds a run of a program that began at this time. Costs a reading of the clock, some 20 ns; a tick reads it at its entry
/// anyway.
#[inline(always)]
pub fn count_run(program: u32, began: u64) {
    if let Some(time) = RUN_TIMES.get_ptr_mut(program) {
        let nanos = monotonic_nanos().wrapping_sub(began);
        // SAFETY: as in `count`.
        let time = unsafe { &mut *time };
        time.nanos = time.nanos.wrapping_add(nanos);
        time.runs = time.runs.wrapping_add(1);
    }
}

/// Copies bytes into the ring without waking the reader.
/// SAFETY (callers): `start` must be followed by `len` readable bytes of one map value or stack slot.
/// VERIFIER: `len` needs a bound that it can see.
#[inline(always)]
pub unsafe fn output(start: *const c_void, len: u64, wake: bool) -> bool {
    let flags = if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // SAFETY: as demanded of the caller.
    unsafe {
        raw::bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), start.cast_mut(), len, flags) == 0
    }
}

/// Copies user memory; whether all of it was there.
/// SAFETY (callers): `to` must have room for `len` bytes.
/// VERIFIER: `len` needs a bound that it can see.
#[inline(always)]
pub unsafe fn read_user(to: *mut c_void, len: u64, from: u64) -> bool {
    // SAFETY: as demanded of the caller; the source is checked by the helper.
    unsafe { raw::bpf_probe_read_user(to, len as u32, from as *const c_void) == 0 }
}

/// Bytes that wait in the ring.
#[inline(always)]
pub fn ring_bytes_waiting() -> u64 {
    // SAFETY: a map of the right type.
    unsafe { raw::bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), BPF_RB_AVAIL_DATA) }
}
