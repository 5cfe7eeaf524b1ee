//! The embedded object → programs and maps in the kernel: the maps as a [`Sampler`], the programs as [`Ticks`].
//!
//! Everything the kernel half needs to know is set before load ([`SamplerConfig`] is a read-only global,
//! so the verifier prunes what is off). Nothing is pinned: when the process ends, however it ends, the
//! kernel removes programs, maps and attachments.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{PerfEvent, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use profiler_common::abi::{
    FOLLOW_CHILDREN, PROGRAMS, RowBlock, RunTime, SamplerConfig, Target, TextPage, WALK_BY_ROWS,
    WalkedMapping, WalkedProcess, known_stack_slot,
};
use profiler_common::outcome::Outcome;
use profiler_common::unwind_rule::Rule;

use super::abilities::{Choice, Walking};
use super::attach::Ticks;
use super::kernel_log::{self, KernelLog};
use super::{SampleError, chain};
use crate::allocator::give_back_freed_memory;
use crate::host::ProcFs;

/// The kernel half for the architecture we were built for; `cargo xtask ebpf` makes it.
#[cfg(target_arch = "x86_64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../profiler-ebpf/prebuilt/flamekeeper-x86_64.o"
));
/// The kernel half for the architecture we were built for; `cargo xtask ebpf` makes it.
#[cfg(target_arch = "aarch64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../profiler-ebpf/prebuilt/flamekeeper-aarch64.o"
));

/// What the kernel half is told and asked through, while it runs.
pub struct Sampler {
    counters: PerCpuArray<MapData, u64>,
    known_stacks: Array<MapData, u64>,
    targets: HashMap<MapData, u32, Target>,
    run_times: PerCpuArray<MapData, RunTime>,
    map_bytes: BTreeMap<String, u64>,
}

/// The kernel half, loaded.
pub struct Loaded {
    /// Counters, filter, stacks that were defined.
    pub sampler: Sampler,
    /// Its programs, not ticking yet.
    pub ticks: Ticks,
    /// What they write to.
    pub ring: RingBuf<MapData>,
    /// The walker's tables, if stacks are walked by rows.
    pub walker: Option<WalkerMaps>,
    /// Its lines, if it writes any.
    pub log: Option<KernelLog>,
    /// What has become of the choice: a program that this kernel refuses is left out.
    pub choice: Choice,
}

/// How to load it.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Of the ring of samples: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Whether it writes a line about each loss.
    pub writes_lines: bool,
    /// Which of its programs, and how they are attached.
    pub choice: Choice,
}

/// A block of unwind rows.
pub type RowBlockMap = Array<MapData, RowBlock>;

/// Makes one, for which the right to make maps is needed.
pub fn make_row_block() -> Result<RowBlockMap, SampleError> {
    RowBlockMap::create(1, 0).map_err(wrong("ROWS"))
}

/// The walker's tables, empty at first; `unwind` fills them.
pub struct WalkerMaps {
    /// Processes by id.
    pub processes: HashMap<MapData, u32, WalkedProcess>,
    /// Mappings of all of them.
    pub mappings: Array<MapData, WalkedMapping>,
    /// Pages of text of all files.
    pub pages: Array<MapData, TextPage>,
    /// Rules of all files.
    pub rules: Array<MapData, Rule>,
    /// Blocks of rows.
    pub rows: ArrayOfMaps<MapData, RowBlockMap>,
}

impl Sampler {
    /// Loads the programs; nothing ticks yet.
    pub fn load(config: &SamplerConfig, options: LoadOptions, proc: &ProcFs) -> Result<Loaded, SampleError> {
        let mut loader = EbpfLoader::new();
        if config.flags & WALK_BY_ROWS == 0 {
            // 9 MB that nobody would look at.
            for map in ["PROCESSES", "MAPPINGS", "PAGES", "RULES"] {
                loader.map_max_entries(map, 1);
            }
        }
        let (log_level, log_bytes) = kernel_log::settings(options.writes_lines);
        if let Some(bytes) = log_bytes {
            loader.map_max_entries(kernel_log::RING, bytes);
        }
        let mut ebpf = loader
            .btf(None) // no relocations against the kernel's types
            .override_global("CONFIG", config, true)
            .override_global(aya_log::LEVEL, log_level, true)
            .map_max_entries("EVENTS", options.ring_bytes)
            .load(OBJECT)
            .map_err(|source| SampleError::Load { source: Box::new(source) })?;
        // `EbpfLoader::new` parses the kernel's types whether they are wanted or not: 15 MB in small pieces.
        give_back_freed_memory();
        let map_bytes =
            ebpf.maps().filter_map(|(name, map)| Some((name.to_owned(), bytes(map, proc)?))).collect();
        let ring = RingBuf::try_from(take(&mut ebpf, "EVENTS")?).map_err(wrong("EVENTS"))?;
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?).map_err(wrong("COUNTERS"))?;
        let known_stacks =
            Array::try_from(take(&mut ebpf, "KNOWN_STACKS")?).map_err(wrong("KNOWN_STACKS"))?;
        let targets = HashMap::try_from(take(&mut ebpf, "TARGETS")?).map_err(wrong("TARGETS"))?;
        let run_times = PerCpuArray::try_from(take(&mut ebpf, "RUN_TIMES")?).map_err(wrong("RUN_TIMES"))?;
        let sampler = Self { counters, known_stacks, targets, run_times, map_bytes };
        let by_rows = config.flags & WALK_BY_ROWS != 0;
        let walker = by_rows.then(|| WalkerMaps::take(&mut ebpf)).transpose()?;
        if config.flags & FOLLOW_CHILDREN != 0 {
            follow_forks(&mut ebpf)?;
        }
        let log = options.writes_lines.then(|| KernelLog::of(&mut ebpf)).transpose()?;
        let mut choice = options.choice;
        let calls = choice.walking == Walking::ByTailCalls && by_rows;
        let walk_on = calls.then(|| walk_by_tail_calls(&mut ebpf)).transpose()?;
        if let Some((_, false)) = walk_on {
            choice.walking = Walking::InUserSpace;
        }
        let walk_on = walk_on.map(|(array, _)| array);
        Ok(Loaded { sampler, ticks: Ticks::load(ebpf, walk_on, choice)?, ring, walker, log, choice })
    }

    /// Lets the filter take a process, or only its children.
    pub fn add_target(&mut self, tgid: u32, target: Target) -> Result<(), SampleError> {
        self.targets.insert(tgid, target, 0).map_err(wrong("TARGETS"))
    }

    /// Forgets a process that has ended. That it was not there is not an error.
    pub fn remove_target(&mut self, tgid: u32) {
        let _absent = self.targets.remove(&tgid);
    }

    /// Asks the kernel half to define a stack again.
    pub fn ask_again(&mut self, stack_hash: u64) -> Result<(), SampleError> {
        self.known_stacks.set(known_stack_slot(stack_hash), 0, 0).map_err(wrong("KNOWN_STACKS"))
    }

    /// What each of [`profiler_common::abi::PROGRAMS`] has cost so far, summed over CPUs.
    pub fn run_times(&self) -> Result<[RunTime; PROGRAMS.len()], SampleError> {
        let mut sums = [RunTime::default(); PROGRAMS.len()];
        for (slot, sum) in (0..).zip(&mut sums) {
            for time in self.run_times.get(&slot, 0).map_err(wrong("RUN_TIMES"))?.iter() {
                sum.nanos = sum.nanos.wrapping_add(time.nanos);
                sum.runs = sum.runs.wrapping_add(time.runs);
            }
        }
        Ok(sums)
    }

    /// Kernel memory of each map when it was made, bytes. All are allocated as a whole, but for blocks of rows.
    pub fn map_bytes(&self) -> &BTreeMap<String, u64> {
        &self.map_bytes
    }

    /// The kernel half's count of one outcome, summed over CPUs.
    pub fn counter(&self, outcome: Outcome) -> Result<u64, SampleError> {
        let per_cpu = self.counters.get(&u32::from(outcome.number()), 0).map_err(wrong("COUNTERS"))?;
        Ok(per_cpu.iter().sum())
    }
}

impl WalkerMaps {
    fn take(ebpf: &mut Ebpf) -> Result<Self, SampleError> {
        Ok(Self {
            processes: HashMap::try_from(take(ebpf, "PROCESSES")?).map_err(wrong("PROCESSES"))?,
            mappings: Array::try_from(take(ebpf, "MAPPINGS")?).map_err(wrong("MAPPINGS"))?,
            pages: Array::try_from(take(ebpf, "PAGES")?).map_err(wrong("PAGES"))?,
            rules: Array::try_from(take(ebpf, "RULES")?).map_err(wrong("RULES"))?,
            rows: ArrayOfMaps::try_from(take(ebpf, "ROWS")?).map_err(wrong("ROWS"))?,
        })
    }
}

/// Lets the program that takes the ticks call the one that walks on. Gives what it calls through, which the kernel
/// empties when nobody in user space holds it any more, and whether there is anything in it: a kernel may refuse that one.
fn walk_by_tail_calls(ebpf: &mut Ebpf) -> Result<(ProgramArray<MapData>, bool), SampleError> {
    let mut array = ProgramArray::try_from(take(ebpf, "WALK_ON")?).map_err(wrong("WALK_ON"))?;
    let program: &mut PerfEvent = match ebpf.program_mut("walk_on").map(TryInto::try_into) {
        Some(Ok(program)) => program,
        _ => return Err(SampleError::Missing { name: "walk_on" }),
    };
    if let Err(error) = program.load() {
        tracing::debug!(error = chain(&error), "the kernel refused program walk_on");
        return Ok((array, false));
    }
    let refused = |source| SampleError::Refused { program: "walk_on", source: Box::new(source) };
    array.set(0, program.fd().map_err(refused)?, 0).map_err(wrong("WALK_ON"))?;
    Ok((array, true))
}

fn follow_forks(ebpf: &mut Ebpf) -> Result<(), SampleError> {
    let refused = |source| SampleError::Refused { program: "on_fork", source: Box::new(source) };
    let program: &mut RawTracePoint = match ebpf.program_mut("on_fork").map(TryInto::try_into) {
        Some(Ok(program)) => program,
        _ => return Err(SampleError::Missing { name: "on_fork" }),
    };
    program.load().map_err(refused)?;
    program.attach("sched_process_fork").map_err(refused)?;
    Ok(())
}

/// As the kernel accounts for it: `memlock` of the descriptor's fdinfo (bpf_map_show_fdinfo in kernel/bpf/syscall.c).
fn bytes(map: &Map, proc: &ProcFs) -> Option<u64> {
    let (Map::Array(data)
    | Map::PerCpuArray(data)
    | Map::HashMap(data)
    | Map::RingBuf(data)
    | Map::ArrayOfMaps(data)) = map
    else {
        return None;
    };
    let fdinfo = proc.text(format!("self/fdinfo/{}", data.fd().as_fd().as_raw_fd())).ok()?;
    fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, SampleError> {
    ebpf.take_map(name).ok_or(SampleError::Missing { name })
}

fn wrong(map: &'static str) -> impl Fn(aya::maps::MapError) -> SampleError {
    move |source| SampleError::Map { map, source }
}

#[cfg(test)]
mod tests;
