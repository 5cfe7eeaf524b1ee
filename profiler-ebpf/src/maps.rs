//! Every map: who writes it, who reads it, what happens when it is full.
//! Layouts of keys, values and events are `profiler-common`'s, so both halves compile the same ones.

use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use profiler_common::abi::{
    KNOWN_STACK_SLOTS, MAX_STACK_SLOTS, SamplerConfig, StackEvent, Target, TaskOffsets,
};
use profiler_common::frame::Frame;
use profiler_common::outcome::OUTCOME_SLOTS;

/// Samples and stack definitions, kernel to user space. User space sets the size at load (here: the
/// smallest). When it is full the event is dropped and counted.
#[btf_map]
pub static EVENTS: RingBuf<u64, { 1 << 16 }> = RingBuf::new();

/// Hash of the stack last defined in each slot. The tick writes after a definition went into the ring;
/// user space zeroes a slot to be told again. Two stacks in one slot are defined in turn: costs ring
/// bytes, loses nothing.
#[btf_map]
pub static KNOWN_STACKS: Array<u64, { KNOWN_STACK_SLOTS as usize }> = Array::new();

/// One counter for each `Outcome`. The kernel half adds, user space reads the sum over CPUs.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { OUTCOME_SLOTS as usize }> = PerCpuArray::new();

/// Processes that the filter knows. User space and the fork hook insert, user space removes, the tick
/// only looks up. When it is full a child goes unsampled and is counted.
#[btf_map]
pub static TARGETS: HashMap<u32, Target, 16384> = HashMap::new();

/// Addresses as the kernel's stack walker writes them; valid within one tick.
#[btf_map]
pub static ADDRESSES: PerCpuArray<Addresses, 1> = PerCpuArray::new();

/// The definition being built; valid within one tick.
#[btf_map]
pub static STACK: PerCpuArray<StackScratch, 1> = PerCpuArray::new();

/// What user space decided before load. Read through [`config`], never by name: the compiler would take
/// the zeros below for the truth.
#[unsafe(no_mangle)]
static CONFIG: SamplerConfig = SamplerConfig {
    abi_version: 0,
    flags: 0,
    excluded_tgid: 0,
    wakeup_bytes: 0,
    task: TaskOffsets { tgid: 0, flags: 0, mm: 0, group_leader: 0, start_boottime: 0, self_exec_id: 0 },
};

/// Addresses that the kernel's walker gives at most (default of kernel.perf_event_max_stack), rounded up.
pub const ADDRESS_SLOTS: usize = 128;

/// See [`ADDRESSES`].
#[repr(C)]
pub struct Addresses {
    pub at: [u64; ADDRESS_SLOTS],
}

/// See [`STACK`]: exactly what goes into the ring, so that it is one copy.
#[repr(C)]
pub struct StackScratch {
    pub header: StackEvent,
    pub slots: [Frame; MAX_STACK_SLOTS],
}

/// The configuration.
#[inline(always)]
pub fn config() -> SamplerConfig {
    // SAFETY: a valid, initialized static; volatile because user space patches it before load.
    unsafe { core::ptr::read_volatile(&raw const CONFIG) }
}
