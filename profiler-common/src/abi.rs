//! Every ring event and map value that crosses between kernel and user space.
//!
//! ```text
//!   ring event   ┌ SampleEvent      56 bytes, one a tick
//!                ├ SnapshotEvent    336 bytes + top of the stack, instead of a sample that could not be walked yet
//!                └ StackEvent       40 bytes + slots × 16, once a stack (a "definition")
//!   map value    ┌ SamplerConfig    read-only global, set before load
//!                │ Target           what the filter says of one process
//!                │ RunTime          what a program has cost
//!                └ WalkedProcess, WalkedMapping, TextPage, RowBlock   what the walker reads
//! ```
//!
//! Native endianness: writer and reader are the same machine. No hidden padding: sizes are asserted.

use crate::unwind_row::UnwindRow;

/// Changes whenever a layout here does; the loader refuses an object with another.
pub const ABI_VERSION: u32 = 5;

/// First byte of a [`SampleEvent`].
pub const KIND_SAMPLE: u8 = 1;
/// First byte of a [`StackEvent`].
pub const KIND_STACK: u8 = 2;
/// First byte of a [`SnapshotEvent`].
pub const KIND_SNAPSHOT: u8 = 3;

/// Bytes of stack that a snapshot copies at most: to their base, all stacks of C++, Rust and Perl, 98 % of HotSpot's
/// and 97 % of GCC's are shorter. A power of two.
pub const SNAPSHOT_BYTES_MAX: usize = 16 << 10;

/// Frames of one stack that are walked at most, in the kernel (some 70 µs) and off line, where it is more than a snapshot has
/// words for two.
pub const WALKED_FRAMES_MAX: u32 = 2048;

/// Frames that one program walks where programs call each other: each costs the verifier as much again.
pub const FRAMES_A_PROGRAM: u32 = 4;

/// A process that has lived for so long, 200 ms, is worth a place in the walker's tables after its first sample.
pub const LIFE_NANOS_MIN: u64 = 200_000_000;

/// Slots of a definition: 16 KiB, half of what one per-CPU map value may have.
pub const MAX_STACK_SLOTS: usize = 1024;
/// Frames of a deep stack that are kept from its leaf on. Behind them come the last [`ROOT_FRAMES`], as a ring: the
/// root of a stack says whose work it is, so it is kept however deep the recursion.
pub const LEAF_FRAMES: u32 = 896;
/// See [`LEAF_FRAMES`]; a power of two.
pub const ROOT_FRAMES: u32 = 64;

/// The slot of the frame with this number, counted from the leaf.
#[inline(always)]
pub const fn stack_slot(frame: u32) -> u32 {
    if frame < LEAF_FRAMES { frame } else { LEAF_FRAMES + ((frame - LEAF_FRAMES) & (ROOT_FRAMES - 1)) }
}

/// Slots of the direct-mapped array of stack hashes that user space has been told of.
pub const KNOWN_STACK_SLOTS: u32 = 1 << 16;

/// The slot of a hash in that array: its upper bits, since bit 0 is always set.
#[inline(always)]
pub const fn known_stack_slot(hash: u64) -> u32 {
    (hash >> 48) as u32 & (KNOWN_STACK_SLOTS - 1)
}

/// One tick of the sampling clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SampleEvent {
    /// [`KIND_SAMPLE`].
    pub kind: u8,
    /// How the user part's walk ended: an [`crate::outcome::Outcome`] below 256.
    pub user_outcome: u8,
    /// Where it was taken.
    pub cpu: u16,
    /// Counts the programs that the task has executed (`task_struct.self_exec_id`); 0 without BTF.
    pub exec_id: u32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Start of the process on CLOCK_BOOTTIME, nanoseconds (`group_leader->start_boottime`); 0 without BTF.
    pub start_time: u64,
    /// Hash of the kernel part, 0 if there is none.
    pub kernel_stack: u64,
    /// Hash of the user part, 0 if there is none.
    pub user_stack: u64,
    /// What the sample stands for: nanoseconds of CPU time, or hardware events.
    pub weight: u64,
}

/// A sample whose user stack could not be walked in the kernel yet, because its process or its code is not in the
/// walker's tables: registers and the top of the stack; [`SnapshotEvent::stack_bytes`] bytes from the stack pointer up
/// follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SnapshotEvent {
    /// The sample; [`SampleEvent::kind`] is [`KIND_SNAPSHOT`], there is no user stack yet.
    pub sample: SampleEvent,
    /// The interrupted user registers by their DWARF numbers; 16 on x86_64, on arm64 the last is sp.
    pub registers: [u64; 32],
    /// Program counter.
    pub pc: u64,
    /// Where the kernel half's walk could not go on, 0 if it did not begin: that may lie beyond what is copied.
    pub stopped_at: u64,
    /// Bytes of stack that follow, at most [`SNAPSHOT_BYTES_MAX`].
    pub stack_bytes: u32,
    /// [`SNAPSHOT_CUT`], [`SNAPSHOT_FAULT`].
    pub flags: u32,
}

/// The stack goes on above what was copied.
pub const SNAPSHOT_CUT: u32 = 1;
/// A page of the stack was not in memory.
pub const SNAPSHOT_FAULT: u32 = 2;

/// Stack holds addresses that mean something in one process only.
pub const STACK_PROCESS_BOUND: u8 = 1;

/// Defines a stack; [`StackEvent::slots`] frames follow, leaf first. If some were left out the last [`ROOT_FRAMES`]
/// slots are a ring, see [`stack_slot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct StackEvent {
    /// [`KIND_STACK`].
    pub kind: u8,
    /// [`STACK_PROCESS_BOUND`] or 0.
    pub flags: u8,
    /// Frames that follow, at most [`LEAF_FRAMES`] + [`ROOT_FRAMES`].
    pub slots: u16,
    /// As in the sample.
    pub exec_id: u32,
    /// The stack's identity.
    pub hash: u64,
    /// CLOCK_MONOTONIC of the sample that met it first, nanoseconds.
    pub time: u64,
    /// Process that met it first.
    pub tgid: u32,
    /// Frames between leaf and root that did not fit.
    pub left_out: u32,
    /// Start of that process, as in the sample.
    pub start_time: u64,
}

/// Sample only processes in the target table.
pub const FILTER_TARGETS: u32 = 1;
/// Add the children of targets to the table.
pub const FOLLOW_CHILDREN: u32 = 2;
/// Walk user stacks of published processes by rows, and send snapshots of the others.
pub const WALK_BY_ROWS: u32 = 4;

/// Set by user space before the object is loaded; a read-only global of the kernel half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SamplerConfig {
    /// [`ABI_VERSION`] of the user half.
    pub abi_version: u32,
    /// [`FILTER_TARGETS`], [`FOLLOW_CHILDREN`], [`WALK_BY_ROWS`].
    pub flags: u32,
    /// Process to leave out (the profiler itself), 0 for none.
    pub excluded_tgid: u32,
    /// Bytes that wait in the ring at which the reader is woken.
    pub wakeup_bytes: u32,
    /// Snapshots that one process may send in a span of [`SNAPSHOT_SPAN_BITS`].
    pub snapshots_a_span: u32,
    /// Offsets in `task_struct`, from the kernel's BTF; all 0 when there is none.
    pub task: TaskOffsets,
}

impl SamplerConfig {
    /// Every branch open, to ask a verifier what the programs cost at most: it knows read-only globals and skips what they rule out.
    /// Offsets only have to be different from 0; nothing may run by them.
    pub const EVERY_BRANCH: Self = Self {
        abi_version: ABI_VERSION,
        flags: FILTER_TARGETS | FOLLOW_CHILDREN | WALK_BY_ROWS,
        excluded_tgid: 1,
        wakeup_bytes: 1 << 15,
        snapshots_a_span: 20,
        task: TaskOffsets {
            tgid: 8,
            flags: 16,
            mm: 24,
            group_leader: 32,
            start_boottime: 40,
            self_exec_id: 48,
            real_parent: 56,
            thread_pointer: 64,
            mm_start_stack: 72,
            mm_start_brk: 80,
            mm_start_code: 88,
            mm_mmap_base: 96,
            stack: 104,
            saved_registers: 112,
        },
    };
}

/// Byte offsets of members of the running kernel's `task_struct` and `mm_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TaskOffsets {
    /// `tgid`
    pub tgid: u32,
    /// `flags`
    pub flags: u32,
    /// `mm`
    pub mm: u32,
    /// `group_leader`
    pub group_leader: u32,
    /// `start_boottime` (`real_start_time` before 5.5)
    pub start_boottime: u32,
    /// `self_exec_id`
    pub self_exec_id: u32,
    /// `real_parent`
    pub real_parent: u32,
    /// Where the C libraries keep the thread's own block: `thread.fsbase` on x86_64, `thread.uw.tp_value` on arm64.
    pub thread_pointer: u32,
    /// `mm_struct.start_stack`
    pub mm_start_stack: u32,
    /// `mm_struct.start_brk`
    pub mm_start_brk: u32,
    /// `mm_struct.start_code`
    pub mm_start_code: u32,
    /// `mm_struct.mmap_base`
    pub mm_mmap_base: u32,
    /// `stack`: the lower end of the task's kernel stack.
    pub stack: u32,
    /// From there to what the task saved of the user's registers when it entered the kernel (`pt_regs`).
    pub saved_registers: u32,
}

/// How many snapshots a process has sent: one slot of a direct-mapped array. Two processes in one slot take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SnapshotQuota {
    /// Whose: start of the process with its id mixed in.
    pub process: u64,
    /// Which span of time: CLOCK_MONOTONIC >> [`SNAPSHOT_SPAN_BITS`].
    pub span: u32,
    /// Snapshots in that span.
    pub sent: u32,
}

/// Slots of the array of [`SnapshotQuota`].
pub const SNAPSHOT_QUOTAS: u32 = 1 << 12;
/// A span of the quota: 2^27 nanoseconds, some 134 ms; user space publishes what it saw every 100 ms.
pub const SNAPSHOT_SPAN_BITS: u32 = 27;

/// What the kernel half has used of a CPU's time: one slot for each of [`PROGRAMS`], on each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RunTime {
    /// From entry to exit, nanoseconds; what a tick spends to find the CPU idle is not in it.
    pub nanos: u64,
    /// How often.
    pub runs: u64,
}

/// The programs that are loaded together on kernels with everything, by their names in the object.
pub const FOR_NEW_KERNELS: [&str; 2] = ["on_tick", "on_fork"];
/// Those on kernels that lack `bpf_loop`.
pub const FOR_OLD_KERNELS: [&str; 3] = ["on_tick_plain", "walk_on", "on_fork"];

/// The programs of the kernel half, by their slot.
pub const PROGRAMS: [&str; 2] = ["on_tick", "on_fork"];
/// Slot of the program that samples.
pub const ON_TICK: u32 = 0;
/// Slot of the program that follows forks.
pub const ON_FORK: u32 = 1;

/// What the filter says of a process: key is its tgid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Target {
    /// Start of the process, so that a reused pid is not taken for it; 0 matches any.
    pub start_time: u64,
    /// 1: take its samples. 0: only its children are wanted.
    pub sampled: u32,
    /// 1: its children become targets too.
    pub follow_children: u32,
}

/// What the walker knows of a process: key is its tgid. Stale unless start and exec agree with the task's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct WalkedProcess {
    /// Start on CLOCK_BOOTTIME, nanoseconds, as in a sample.
    pub start_time: u64,
    /// Programs executed, as in a sample.
    pub exec_id: u32,
    /// Index of its first mapping in the array of mappings.
    pub first_mapping: u32,
    /// How many follow, by ascending address, none overlapping.
    pub mappings: u32,
    /// Zero.
    pub reserved: u32,
}

/// An executable mapping of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct WalkedMapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Runtime address − this = address as linked.
    pub vaddr_bias: u64,
    /// Runtime address − this = offset in the file.
    pub file_bias: u64,
    /// Page of an address as linked = this + (address >> 16), wrapping.
    pub page_bias: u32,
    /// Handle of the file, the value of native frames.
    pub file: u32,
    /// [`HAS_ROWS`], [`IS_MEMORY`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// The mapping's file has pages of rows; else it is walked by frame pointers.
pub const HAS_ROWS: u32 = 1;
/// No file that native frames could name: frames keep their runtime address.
pub const IS_MEMORY: u32 = 2;

/// 64 KiB of text of a file, and where its rows lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TextPage {
    /// Index of the block of rows.
    pub block: u32,
    /// First row in the block.
    pub first_row: u32,
    /// Rows; 0 while the page is not loaded: the walk stops there, and a snapshot is taken. Text that nobody described
    /// has one row, a gap, so that a loaded page has always some.
    pub rows: u32,
    /// Walks that came by, counted by the walker; wraps.
    pub touched: u32,
}

/// Rows of one block: 128 KiB. A change costs a copy of the block there and back: 3 µs for 64 KiB, 6 µs for 128, 12 µs
/// for 256. Each block takes a file descriptor of user space.
pub const BLOCK_ROWS: usize = 1 << 15;

/// A block of rows; what makes a page lies in one block.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RowBlock {
    /// The rows.
    pub rows: [UnwindRow; BLOCK_ROWS],
}
/// Blocks: 64 MiB of rows.
pub const ROW_BLOCKS: usize = 512;
/// Pages of all files: 4 GiB of text.
pub const TEXT_PAGES: usize = 1 << 16;
/// Mappings of all processes.
pub const WALKED_MAPPINGS: usize = 1 << 17;
/// Processes that the walker knows.
pub const WALKED_PROCESSES: usize = 1 << 14;

const _: () = {
    assert!(size_of::<WalkedProcess>() == 24, "WalkedProcess is ABI");
    assert!(size_of::<WalkedMapping>() == 48, "WalkedMapping is ABI");
    assert!(size_of::<TextPage>() == 16, "TextPage is ABI");
    assert!(size_of::<SampleEvent>() == 56, "SampleEvent is ABI");
    assert!(
        ((LEAF_FRAMES + ROOT_FRAMES) as usize) < MAX_STACK_SLOTS,
        "the kernel half masks the number of slots"
    );
    assert!(size_of::<StackEvent>() == 40, "StackEvent is ABI");
    assert!(size_of::<SnapshotEvent>() == 336, "SnapshotEvent is ABI");
    assert!(size_of::<SnapshotQuota>() == 16, "SnapshotQuota is ABI");
    assert!(size_of::<SamplerConfig>() == 76, "SamplerConfig is ABI");
    assert!(size_of::<TaskOffsets>() == 56, "TaskOffsets is ABI");
    assert!(size_of::<Target>() == 16, "Target is ABI");
    assert!(size_of::<RunTime>() == 16, "RunTime is ABI");
};

#[cfg(feature = "user")]
mod pod {
    //! All bit patterns are valid for these types and they have no padding, which is what `Pod` asks.
    #![expect(
        unsafe_code,
        reason = "aya::Pod is an unsafe trait; each impl is one line over an asserted layout"
    )]

    // SAFETY: repr(C), integers only, size asserted above to have no padding.
    unsafe impl aya::Pod for super::SamplerConfig {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Target {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RunTime {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WalkedProcess {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WalkedMapping {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::TextPage {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RowBlock {}
}
