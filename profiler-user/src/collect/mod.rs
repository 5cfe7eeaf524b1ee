//! Stage 2: bytes from the kernel → samples, stacks and process events, in order of time; losses counted.
//!
//! ```text
//!   BPF ring  ─ ring.rs ─▶ decode.rs ─▶ RawSample (with StackSnapshot), RawStack ┐
//!   side-band ─ sideband.rs ─▶ process_event.rs ─▶ ProcessEvent                 ┴▶ merge.rs ▶ by time
//! ```
//!
//! Nothing here opens a file or knows a name. No event is ever handled twice or silently left out.

pub mod decode;
pub mod loss;
pub mod merge;
pub mod process_event;
pub mod ring;
pub mod sideband;
pub mod stacks;

use profiler_common::address::RuntimeAddr;
use profiler_common::outcome::Outcome;

use crate::host::MonotonicNanos;

/// A process id in the host's pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tgid(pub u32);

/// A thread id in the host's pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub u32);

/// The identity of a stack: the hash of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackHash(pub u64);

/// One tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// When.
    pub at: MonotonicNanos,
    /// Process.
    pub tgid: Tgid,
    /// Thread.
    pub tid: Tid,
    /// Start of the process on the boot clock, nanoseconds; 0 if the kernel could not say.
    pub start_time: u64,
    /// Programs that the process has executed; 0 if the kernel could not say.
    pub exec_id: u32,
    /// Which CPU.
    pub cpu: u16,
    /// Kernel part of the stack.
    pub kernel_stack: Option<StackHash>,
    /// User part of the stack.
    pub user_stack: Option<StackHash>,
    /// How the walk of the user part ended.
    pub user_outcome: Outcome,
    /// What the sample stands for: nanoseconds of CPU time, or hardware events.
    pub weight: u64,
    /// What the user part is to be made of, if the kernel half could not walk it.
    pub snapshot: Option<Box<StackSnapshot>>,
}

#[cfg(test)]
impl RawSample {
    /// For tests: a sample of a process's first thread without a stack. They set what they are about.
    pub(crate) fn fixture(tgid: u32) -> Self {
        Self {
            at: MonotonicNanos(0),
            tgid: Tgid(tgid),
            tid: Tid(tgid),
            start_time: 0,
            exec_id: 0,
            cpu: 0,
            kernel_stack: None,
            user_stack: None,
            user_outcome: Outcome::FramePointerChainEnd,
            weight: 1,
            snapshot: None,
        }
    }
}

/// The interrupted user registers and the top of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSnapshot {
    /// Registers by their DWARF numbers.
    pub registers: [u64; 32],
    /// Program counter.
    pub pc: RuntimeAddr,
    /// Where the kernel half's walk could not go on, if it began.
    pub stopped_at: Option<RuntimeAddr>,
    /// The stack from the stack pointer up.
    pub stack: Box<[u8]>,
    /// Why there is not more of it.
    pub end: StackEnd,
}

/// Where the copy of a stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// At the stack's base.
    Base,
    /// Where a snapshot is full.
    Cut,
    /// At a page that was not in memory.
    NotResident,
}
