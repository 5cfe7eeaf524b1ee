//! The finished profile: what `aggregate` hands to `deliver`, independent of any file format.
//!
//! ```text
//!   Sample ─▶ thread ─▶ process
//!      └────▶ stack ─▶ [location, leaf first] ─▶ [line, innermost inlined first] ─▶ function
//!                                    └─▶ mapping
//! ```
//!
//! Everything is a flat table addressed by index, so formats can walk it without lookups by name.
//! Indices always are in range: [`Profile`] is only built by `aggregate`.

use std::sync::Arc;
use std::time::Duration;

/// What one unit of weight means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampledEvent {
    /// CPU time by the kernel's cpu-clock; weights are nanoseconds, each sample stands for `period_nanos`.
    CpuClock {
        /// Nanoseconds of CPU time between two samples.
        period_nanos: u64,
    },
    /// Hardware cycles; weights are cycles, the period varies around what gives `rate_hz` samples a second.
    Cycles {
        /// Samples a second that were asked for.
        rate_hz: u32,
    },
}

/// A process that was sampled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Process id in the host's pid namespace.
    pub pid: u32,
    /// Name of the executable file without its folder; the kernel's name for kernel threads.
    pub executable_name: Arc<str>,
    /// Wall clock, nanoseconds since 1970; the capture's start for processes that are older.
    pub started_nanos: u64,
    /// Wall clock at its end, if it ended during the capture.
    pub ended_nanos: Option<u64>,
}

/// A thread that was sampled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    /// Index into [`Profile::processes`].
    pub process: u32,
    /// Thread id in the host's pid namespace.
    pub tid: u32,
    /// The thread's own name (`comm`).
    pub name: Arc<str>,
}

/// A file (or the kernel, or memory without a file) that code ran in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// Path as the process sees it; `[kernel.kallsyms]`, `[vdso]`, `[anon]` for what has none.
    pub path: Arc<str>,
    /// Lower-case hexadecimal build id, empty when the file has none.
    pub build_id: Arc<str>,
    /// Start of the mapped range. For files: ELF virtual address of the executable segment.
    pub start: u64,
    /// End of that range.
    pub limit: u64,
    /// File offset of `start`.
    pub file_offset: u64,
}

/// Where the code of a location lies; decides how formats mark the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// A program or library.
    User,
    /// The kernel or one of its modules.
    Kernel,
    /// No code: a note in the stack, such as why a walk ended.
    Marker,
}

/// One code address, with everything that is inlined there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Index into [`Profile::mappings`]; markers have none.
    pub mapping: Option<u32>,
    /// Kernel address, ELF virtual address, or address in the process for memory without a file.
    pub address: u64,
    /// Which space it is in.
    pub space: Space,
    /// Never empty; innermost inlined function first, the function that physically holds the code last.
    pub lines: Vec<Line>,
}

/// A place in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Index into [`Profile::functions`].
    pub function: u32,
    /// Source line, 0 if unknown.
    pub line: u32,
}

/// A function, or `module+0xoffset` where no symbol covers the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// For people: demangled, without hash suffixes.
    pub name: Arc<str>,
    /// As the linker knows it.
    pub system_name: Arc<str>,
    /// Source file, empty if unknown.
    pub file: Arc<str>,
    /// Line of the function's beginning, 0 if unknown.
    pub start_line: u32,
}

/// Samples of one thread with one stack, merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Index into [`Profile::threads`].
    pub thread: u32,
    /// Index into [`Profile::stacks`].
    pub stack: u32,
    /// Samples merged into this one.
    pub count: u64,
    /// Sum of their weights, in the unit of [`SampledEvent`].
    pub weight: u64,
}

/// One sample by itself, for formats with a time axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedSample {
    /// Wall clock, nanoseconds since 1970.
    pub at_nanos: u64,
    /// Index into [`Profile::threads`].
    pub thread: u32,
    /// Index into [`Profile::stacks`].
    pub stack: u32,
    /// Weight in the unit of [`SampledEvent`].
    pub weight: u64,
}

/// A finished profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name of the host.
    pub host: Arc<str>,
    /// Wall clock at the start of sampling, nanoseconds since 1970.
    pub started_nanos: u64,
    /// How long was sampled.
    pub duration: Duration,
    /// What was sampled.
    pub event: SampledEvent,
    /// Sampled processes.
    pub processes: Vec<Process>,
    /// Sampled threads.
    pub threads: Vec<Thread>,
    /// Where code ran.
    pub mappings: Vec<Mapping>,
    /// All functions, each once.
    pub functions: Vec<Function>,
    /// All locations, each once.
    pub locations: Vec<Location>,
    /// All stacks, each once: indices into `locations`, leaf first. Never empty.
    pub stacks: Vec<Vec<u32>>,
    /// Merged samples, heaviest first.
    pub samples: Vec<Sample>,
    /// Single samples by time, if an output asked for them.
    pub timeline: Option<Vec<TimedSample>>,
    /// Lines of text for people about the capture: losses, completeness. Goes into pprof's comments.
    pub comments: Vec<String>,
}
