//! What is sampled and how: the part of a configuration that a one-shot capture and the daemon have in common.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::sample::abilities::Ability;
use crate::sample::{Hertz, TickSource};

/// How a session samples.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Samples per second on each CPU.
    pub rate: Hertz,
    /// The highest rate that will be asked for while it runs; more is possible, and stacks of new processes are missing then.
    pub rate_max: Hertz,
    /// What makes the clock tick.
    pub event: TickSource,
    /// Which processes.
    pub scope: Scope,
    /// How user stacks are walked.
    pub unwind: Unwind,
    /// What the walker's tables may take in the kernel.
    pub unwind_tables_max_bytes: u64,
    /// Where rows are kept for the next start; nowhere without it.
    pub cache_dir: Option<PathBuf>,
    /// This process as well.
    pub include_self: bool,
    /// Whether single samples are kept by time, besides being counted.
    pub keep_timeline: bool,
    /// File descriptors that sampled files may hold, if the process may have as many. Between two cuts all that were
    /// sampled are kept open, so that a file that is deleted meanwhile is named: a session that is cut once needs many.
    pub open_files_max: usize,
    /// What is kept of what was seen, so that it need not be asked for or made again.
    pub kept: Kept,
    /// Whether the kernel half writes a line about each loss, at debug level.
    pub kernel_log: bool,
    /// What the kernel is taken to lack, so that what is done without it can be tried on a kernel that has it.
    pub kernel_without: BTreeSet<Ability>,
}

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Frames of stacks that the kernel half has defined, of 16 bytes each.
    pub frames: usize,
    /// Bytes of unwind rows, for stacks that are walked here and for the walker's tables.
    pub row_bytes: usize,
}

impl Kept {
    /// For a capture of seconds or minutes at a high rate: 32 MB of frames; rows of node, a JVM and rustc's driver together
    /// are 11 MB.
    pub const CAPTURE: Self = Self { frames: 2 << 20, row_bytes: 24 << 20 };
    /// For months at a low rate: 8 MB of frames, some ten minutes of stacks none of which comes again.
    pub const FOR_GOOD: Self = Self { frames: 1 << 19, row_bytes: 8 << 20 };
}

/// Which processes are sampled: all of them if nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only these.
    pub pids: Vec<u32>,
    /// Their children too.
    pub children: bool,
    /// Only a child that we are about to start, and its children.
    pub own_children: bool,
}

impl Scope {
    /// Whether the whole host is sampled.
    pub fn is_host(&self) -> bool {
        self.pids.is_empty() && !self.own_children
    }

    /// Whether the kernel half has to follow forks.
    pub fn follows_forks(&self) -> bool {
        self.children || self.own_children
    }
}

/// How user stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwind {
    /// By the kernel's walker along frame pointers.
    FramePointers,
    /// By rows made of the programs' unwind information, in the kernel.
    Rows,
}
