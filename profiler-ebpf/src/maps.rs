//! Every map: who writes it, who reads it, what happens when it is full.
//! Layouts of keys, values and events are `profiler-common`'s, so both halves compile the same ones.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use profiler_common::abi::{
    BLOCK_ROWS, KNOWN_STACK_SLOTS, MAX_STACK_SLOTS, PROGRAMS, ROW_BLOCKS, RunTime, SNAPSHOT_BYTES_MAX,
    SNAPSHOT_QUOTAS, SampleEvent, SamplerConfig, SnapshotEvent, SnapshotQuota, StackEvent, TEXT_PAGES,
    Target, TaskOffsets, TextPage, WALKED_MAPPINGS, WALKED_PROCESSES, WalkedMapping, WalkedProcess,
};
use profiler_common::frame::Frame;
use profiler_common::outcome::OUTCOME_SLOTS;
use profiler_common::unwind_row::{RULES_MAX, UnwindRow};
use profiler_common::unwind_rule::Rule;

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

/// What each program has cost: the kernel's own statistics need CAP_SYS_ADMIN to be switched on. The programs add, user
/// space reads the sum over CPUs.
#[btf_map]
pub static RUN_TIMES: PerCpuArray<RunTime, { PROGRAMS.len() }> = PerCpuArray::new();

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

/// The snapshot being built; valid within one tick.
#[btf_map]
pub static SNAPSHOT: PerCpuArray<SnapshotScratch, 1> = PerCpuArray::new();

/// What each process may still send of snapshots. The tick reads and writes; see [`SnapshotQuota`].
#[btf_map]
pub static QUOTAS: Array<SnapshotQuota, { SNAPSHOT_QUOTAS as usize }> = Array::new();

/// Processes that the walker knows. User space writes, the tick looks up; one that is not there sends
/// snapshots.
#[btf_map]
pub static PROCESSES: HashMap<u32, WalkedProcess, { WALKED_PROCESSES }> = HashMap::new();

/// Mappings of all those processes, each process's side by side. User space writes.
#[btf_map]
pub static MAPPINGS: Array<WalkedMapping, { WALKED_MAPPINGS }> = Array::new();

/// Pages of text of all files. User space writes, the tick counts touches.
#[btf_map]
pub static PAGES: Array<TextPage, { TEXT_PAGES }> = Array::new();

/// Rules of all files. User space writes.
#[btf_map]
pub static RULES: Array<Rule, { RULES_MAX as usize }> = Array::new();

/// Blocks of rows ([`profiler_common::abi::RowBlock`]), made as they are needed. User space writes.
///
/// Not of a struct: from 5.15 to 6.1 a kernel takes a map with a struct that its BTF describes for another kind than one without BTF,
/// as aya makes the blocks, and refuses each block (`timer_off` in bpf_map_meta_equal, kernel/bpf/map_in_map.c).
#[btf_map]
pub static ROWS: ArrayOfMaps<Array<[UnwindRow; BLOCK_ROWS], 1>, { ROW_BLOCKS }> = ArrayOfMaps::new();

/// The sample in the making, and its walk; valid within one tick.
#[btf_map]
pub static WALK: PerCpuArray<Walk, 1> = PerCpuArray::new();

/// The program `walk_on`, if user space has loaded it.
#[btf_map]
pub static WALK_ON: ProgramArray<1> = ProgramArray::new();

/// See [`WALK`]. Every scalar of the tick lives here and not on the stack: what the verifier reads back from
/// map memory it knows nothing of, so the second pass over a frame is like the first, and it stops there.
#[repr(C)]
pub struct Walk {
    pub sample: SampleEvent,
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
    pub lr: u64,
    pub bx: u64,
    pub is_return: u32,
    pub slots: u32,
    pub outcome: u32,
    /// Always 0.
    pub opaque_zero: u32,
    pub first_mapping: u32,
    pub mappings: u32,
    /// The mapping of the frame before, which most often is this one's too.
    pub last_mapping: u32,
    /// Whether the registers are still those of the interrupted frame.
    pub is_sampled_frame: u32,
    /// The interrupted frame's registers by their DWARF numbers, and its program counter.
    pub sampled: [u64; 32],
    pub sampled_pc: u64,
    /// Where the frame's code is looked up.
    pub at: u64,
    /// State of the stack's hash.
    pub hash: u64,
    /// Whether a frame has an address of this process only.
    pub is_bound: u32,
    /// Addresses that are to become frames.
    pub wanted: u32,
    /// Number of the rule in force where the frame's code is.
    pub rule: u32,
    pub reserved: u32,
    /// As the task saved them when it entered the kernel.
    pub saved: SavedRegisters,
}

/// What of the user's registers a task saves first.
#[cfg(bpf_target_arch = "x86_64")]
pub type SavedRegisters = aya_ebpf::bindings::pt_regs;
/// What of the user's registers a task saves first.
#[cfg(bpf_target_arch = "aarch64")]
pub type SavedRegisters = aya_ebpf::bindings::user_pt_regs;

/// What user space decided before load. Read through [`config`], never by name: the compiler would take
/// the zeros below for the truth.
#[unsafe(no_mangle)]
static CONFIG: SamplerConfig = SamplerConfig {
    abi_version: 0,
    flags: 0,
    excluded_tgid: 0,
    wakeup_bytes: 0,
    snapshots_a_span: 0,
    task: TaskOffsets {
        tgid: 0,
        flags: 0,
        mm: 0,
        group_leader: 0,
        start_boottime: 0,
        self_exec_id: 0,
        real_parent: 0,
        thread_pointer: 0,
        mm_start_stack: 0,
        mm_start_brk: 0,
        mm_start_code: 0,
        mm_mmap_base: 0,
        stack: 0,
        saved_registers: 0,
    },
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

/// A piece of stack that is copied at once: it ends where the smallest page does.
pub const COPIED_PIECE: usize = 4096;

/// See [`SNAPSHOT`]: what goes into the ring, and one piece more, so that an offset within the stack and a length
/// within a piece always fit, which is all that the verifier has to see.
#[repr(C)]
pub struct SnapshotScratch {
    pub header: SnapshotEvent,
    pub stack: [u8; SNAPSHOT_BYTES_MAX + COPIED_PIECE],
    /// Where the copy begins.
    pub sp: u64,
    /// Bytes that it is to have.
    pub wanted: u64,
}

/// The configuration.
#[inline(always)]
pub fn config() -> SamplerConfig {
    // SAFETY: a valid, initialized static; volatile because user space patches it before load.
    unsafe { core::ptr::read_volatile(&raw const CONFIG) }
}
