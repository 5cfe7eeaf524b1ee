//! The arguments of `flamekeeper record`, as clap sees them. Only translates.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;

use super::duration;
use crate::deliver::file::Format;
use crate::sample::TickSource;

/// The arguments of `flamekeeper record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo flamekeeper record -d 10s -o cpu.svg             the whole host for ten seconds, as a flame graph
  sudo flamekeeper record -p 1234 -o cpu.pb.gz          one process until Ctrl-C, for `go tool pprof`
  sudo flamekeeper record -o cpu.json -- make -j8       a command and all it starts, for profiler.firefox.com

Exit status: 0; 1 if an output failed; 64 for a usage error; 77 if not permitted; 70 for a bug of ours.
With a command: its own, 128+n if signal n ended it, 125 for a failure of ours, 126 if it cannot be
executed, 127 if it is not found.")]
pub struct RecordArgs {
    /// Samples per second on each CPU, 1 to 999
    #[arg(
        short = 'F',
        long,
        env = "FLAMEKEEPER_RATE",
        value_name = "HZ",
        default_value_t = 99,
        allow_negative_numbers = true
    )]
    pub rate: u32,
    /// How long to sample, such as 10s, 500ms or 1m; without it until Ctrl-C or until the command ends
    #[arg(short, long, env = "FLAMEKEEPER_DURATION", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Sample only this process, with all its threads; may be given several times
    #[arg(short, long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// With --pid: the children of these processes too, also those that they start later
    #[arg(long)]
    pub children: bool,
    /// Do not leave flamekeeper itself out
    #[arg(long = "self")]
    pub include_self: bool,
    /// What to sample by; cycles needs a hardware counter, which most virtual machines lack
    #[arg(long, value_name = "EVENT", value_enum, default_value_t = EventArg::CpuClock)]
    pub event: EventArg,
    /// How to walk user stacks
    #[arg(long, env = "FLAMEKEEPER_UNWIND", value_name = "HOW", value_enum, default_value_t = UnwindArg::Rows)]
    pub unwind: UnwindArg,
    /// Kernel memory that unwind tables may take; the coldest rows go first
    #[arg(long, env = "FLAMEKEEPER_UNWIND_TABLES_MAX", value_name = "BYTES", default_value = "64MiB")]
    pub unwind_tables_max: ByteSize,
    /// Where unwind rows are kept for the next start, in 256 MiB at most; an empty name for nowhere
    #[arg(
        long,
        env = "FLAMEKEEPER_CACHE_DIR",
        value_name = "FOLDER",
        default_value = "/var/cache/flamekeeper"
    )]
    pub cache_dir: OsString,
    /// Write the profile there; the ending decides the format: .pb.gz .pprof (pprof), .folded, .svg (flame graph), .json (Firefox Profiler), .speedscope.json; - is standard output; may be given several times
    #[arg(short, long = "output", env = "FLAMEKEEPER_OUTPUT", value_name = "FILE", value_delimiter = None)]
    pub outputs: Vec<PathBuf>,
    /// The format of all outputs, whatever their endings: pprof, folded, svg, firefox, speedscope
    #[arg(long, env = "FLAMEKEEPER_FORMAT", value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Do as on a kernel without these: bpf_loop, bpf_task_pt_regs, tail_calls, perf_links, btf; joined by commas
    #[arg(long, env = "FLAMEKEEPER_KERNEL_WITHOUT", value_name = "WHAT", default_value = "", hide = true)]
    pub kernel_without: String,
    /// Profile this command and all its children, from its first instruction until it ends
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Names of ways to walk user stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnwindArg {
    /// By the programs' unwind information, whole with or without frame pointers
    Rows,
    /// Along frame pointers; programs without them show where they were, but not their callers
    FramePointers,
}

/// Names of tick sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventArg {
    /// The kernel's timer: CPU time, on every host
    CpuClock,
    /// The CPU's cycle counter
    Cycles,
}

impl From<EventArg> for TickSource {
    fn from(event: EventArg) -> Self {
        match event {
            EventArg::CpuClock => Self::CpuClock,
            EventArg::Cycles => Self::Cycles,
        }
    }
}
