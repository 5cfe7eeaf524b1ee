//! The host → plain values to judge. Tries the real call wherever there is one, and reads settings for the reasons.
//!
//! Never fails: what could not be found out is a value too.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use profiler_common::abi::{ABI_VERSION, SamplerConfig, TaskOffsets, WALK_BY_ROWS};

use crate::attribute::containers::{ContainerFolders, SourceStatus};
use crate::attribute::kubernetes::Reach;
use crate::host::{ProcFs, SysFs};
use crate::sample::abilities::{Abilities, Ability, Choice};
use crate::sample::bpf_trial::{Trial, TrialProgram, ring_buffer};
use crate::sample::capabilities::Capabilities;
use crate::sample::kernel_features::{
    KernelFeatureError, max_sample_rate, perf_cpu_clock, perf_hardware_cycles, perf_ring,
};
use crate::sample::{Hertz, LoadOptions, Sampler, TickSource, chain, make_row_block};
use crate::unwind::publish::KernelTables;

/// Size of the ring that the trial of the sampling program asks for, bytes.
const SAMPLE_RING_BYTES: u32 = 8 << 20;
/// What one CPU's ring of perf records takes at best: the default of `kernel.perf_event_mlock_kb` less one page.
const EVENT_RING_BYTES: usize = 512 << 10;
/// Enough of kallsyms to tell addresses from zeros: some thousand symbols.
const SYMBOL_BYTES: u64 = 256 << 10;
/// Enough to tell the rule from the exception on a host with thousands of processes.
const PROCESSES_TO_TRY: usize = 256;

/// A call that the kernel did not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: io::ErrorKind,
    /// The reason, for people.
    pub(super) reason: String,
    /// Last words of the verifier, if it was asked.
    pub(super) verifier: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), reason: reason(&error), verifier: String::new() }
    }
}

impl From<KernelFeatureError> for Refusal {
    fn from(error: KernelFeatureError) -> Self {
        let verifier = match &error {
            KernelFeatureError::LoadProgram { verifier, .. } => verifier.clone(),
            _ => String::new(),
        };
        match (error.io(), std::error::Error::source(&error)) {
            (Some(source), _) => Self { kind: source.kind(), reason: reason(source), verifier },
            (None, Some(source)) => {
                Self { kind: io::ErrorKind::InvalidData, reason: source.to_string(), verifier }
            }
            (None, None) => Self { kind: io::ErrorKind::Other, reason: error.to_string(), verifier },
        }
    }
}

/// An error's text in lower case and without its number, which says nothing to a person.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// What `/proc/kallsyms` shows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Symbols {
    /// Real addresses.
    Addresses,
    /// Names, but every address is zero.
    Zeros,
    /// No such file, or no right to read it.
    Unreadable(Refusal),
}

/// Processes whose mappings were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    pub(super) readable: usize,
    pub(super) refused: usize,
    /// Of the last refusal, for people.
    pub(super) reason: String,
}

/// What the API server answers; as [`Reach`], but with text for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pods {
    NotAsked,
    Answered {
        node: String,
        pods: usize,
    },
    Failed {
        /// [`KubernetesError::cause`](crate::attribute::kubernetes::KubernetesError::cause)
        cause: &'static str,
        /// For people.
        reason: String,
    },
}

impl From<Reach> for Pods {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::NotAsked => Self::NotAsked,
            Reach::Answered { node, pods } => Self::Answered { node, pods },
            Reach::Failed(error) => Self::Failed { cause: error.cause(), reason: error.with_sources() },
        }
    }
}

/// Everything that was found out.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) release: String,
    pub(super) architecture: &'static str,
    /// `None`: could not be read.
    pub(super) capabilities: Option<Capabilities>,
    /// A program that reads kernel memory; whether it was compiled to machine code, if the kernel says.
    pub(super) program: Result<Option<bool>, Refusal>,
    /// A program that does nothing.
    pub(super) empty_program: Result<(), Refusal>,
    pub(super) small_ring: Result<(), Refusal>,
    pub(super) sample_ring: Result<(), Refusal>,
    /// `None`: no program to attach.
    pub(super) attach: Option<Result<(), Refusal>>,
    /// The real sampling program. `None`: not tried, because the trial program was refused.
    pub(super) sampler: Option<Result<Tried, String>>,
    /// What the choice of programs goes by.
    pub(super) abilities: Abilities,
    pub(super) clock: Result<(), Refusal>,
    pub(super) cycles: Result<(), Refusal>,
    pub(super) event_ring: Result<(), Refusal>,
    pub(super) types: Result<(), Refusal>,
    pub(super) jit_setting: Option<u32>,
    /// Content of the lockdown file.
    pub(super) lockdown: Option<String>,
    pub(super) paranoid: Option<i32>,
    pub(super) symbols: Symbols,
    /// Where tracefs is mounted, below `/sys`.
    pub(super) tracefs: Option<&'static str>,
    /// Bytes; `None`: no limit.
    pub(super) memory_lock: Option<u64>,
    pub(super) max_stack: Option<u32>,
    pub(super) max_sample_rate: Option<u32>,
    /// `None`: could not be read.
    pub(super) in_initial_pid_namespace: Option<bool>,
    /// Value of the `hidepid` mount option of `/proc`.
    pub(super) hide_pid: Option<String>,
    /// Reading `/proc/1/stat`, which is open to everyone.
    pub(super) init_stat: Result<(), Refusal>,
    /// Reading what processes have mapped, which needs the right to look into them.
    pub(super) others: Others,
    /// Opening a file of our own through `map_files`.
    pub(super) map_files: Result<(), Refusal>,
    /// State folders of container runtimes, where distributions have them.
    pub(super) containers: Vec<SourceStatus>,
    /// Asking the API server for this node's pods.
    pub(super) pods: Pods,
}

/// What became of the real sampling program.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// CPUs that it ticked on.
    pub(super) cpus: usize,
    /// Which of its programs.
    pub(super) choice: Choice,
    /// Whether it can be given what it walks by.
    pub(super) rows: Result<(), String>,
}

impl Evidence {
    /// Asks the host. Takes some hundred milliseconds, most of them for the verifier.
    pub(super) fn gather(proc: &ProcFs, sys: &SysFs, pods: Reach, without: &BTreeSet<Ability>) -> Self {
        let cpu = first_online_cpu(sys);
        let empty = TrialProgram::empty();
        let abilities = Abilities::probe(empty.as_ref().ok(), cpu, without);
        let types = abilities.task_offsets(sys);
        let trial = TrialProgram::load(Trial::ReadKernelMemory);
        let attach = trial.as_ref().ok().map(|program| program.attach_to_clock(cpu).map_err(Refusal::from));
        let program = trial.map(|program| program.is_compiled(proc)).map_err(Refusal::from);
        // First: it raises the limit of locked memory, which older kernels count rings by.
        let sampler = program.is_ok().then(|| run_sampler(proc, types.as_ref().ok(), abilities.choice()));
        let page_bytes = u32::try_from(rustix::param::page_size()).unwrap_or(1 << 12);
        Self {
            release: proc.sysctl("kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned()),
            architecture: std::env::consts::ARCH,
            capabilities: Capabilities::of_this_thread(proc).ok(),
            empty_program: empty.map(drop).map_err(Refusal::from),
            small_ring: ring_buffer(page_bytes).map_err(Refusal::from),
            sample_ring: ring_buffer(SAMPLE_RING_BYTES).map_err(Refusal::from),
            sampler,
            attach,
            program,
            clock: perf_cpu_clock(cpu).map_err(Refusal::from),
            cycles: perf_hardware_cycles(cpu).map_err(Refusal::from),
            event_ring: perf_ring(cpu, EVENT_RING_BYTES).map_err(Refusal::from),
            types: types.map(|_| ()).map_err(Refusal::from),
            abilities,
            jit_setting: number(proc, "net/core/bpf_jit_enable"),
            lockdown: sys.text("kernel/security/lockdown").ok(),
            paranoid: number(proc, "kernel/perf_event_paranoid"),
            symbols: symbols(proc),
            tracefs: ["kernel/tracing", "kernel/debug/tracing"]
                .into_iter()
                .find(|place| sys.path(place).join("events").is_dir()),
            memory_lock: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
            max_stack: number(proc, "kernel/perf_event_max_stack"),
            max_sample_rate: max_sample_rate(proc),
            in_initial_pid_namespace: proc.is_initial_pid_namespace(),
            hide_pid: hide_pid(proc),
            init_stat: first_byte(proc, "1/stat"),
            others: others(proc),
            map_files: map_files(proc),
            containers: ContainerFolders::below(Path::new("/")).status(),
            pods: pods.into(),
        }
    }
}

fn number<N: std::str::FromStr>(proc: &ProcFs, sysctl: &str) -> Option<N> {
    proc.sysctl(sysctl).ok()?.trim().parse().ok()
}

/// The first number of a list such as `0-3,8`; CPU 0 may be offline.
fn first_online_cpu(sys: &SysFs) -> u32 {
    let online = sys.text("devices/system/cpu/online").unwrap_or_default();
    online.split([',', '-']).next().and_then(|first| first.trim().parse().ok()).unwrap_or(0)
}

fn first_byte(proc: &ProcFs, entry: &str) -> Result<(), Refusal> {
    proc.head(entry, 1).map(drop).map_err(Refusal::from)
}

fn others(proc: &ProcFs) -> Others {
    let mut others = Others::default();
    let entries = std::fs::read_dir(proc.path("")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    for pid in names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).take(PROCESSES_TO_TRY) {
        match proc.head(format!("{pid}/maps"), 1) {
            // A kernel thread or a zombie, which has nothing to read.
            Ok(nothing) if nothing.is_empty() => {}
            Ok(_) => others.readable += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                others.refused += 1;
                others.reason = reason(&error);
            }
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    others
}

/// Loads the programs that `record` uses, writes to their tables and lets them tick for a moment.
fn run_sampler(proc: &ProcFs, task: Option<&TaskOffsets>, choice: Choice) -> Result<Tried, String> {
    let config = SamplerConfig {
        abi_version: ABI_VERSION,
        flags: if task.is_some() { WALK_BY_ROWS } else { 0 },
        wakeup_bytes: SAMPLE_RING_BYTES,
        task: task.copied().unwrap_or_default(),
        ..SamplerConfig::default()
    };
    let options = LoadOptions { ring_bytes: SAMPLE_RING_BYTES, writes_lines: false, choice };
    let rate = Hertz::new(1).ok_or_else(|| "a rate of 1 Hz was refused".to_owned())?;
    let mut loaded = Sampler::load(&config, options, proc).map_err(|error| error.to_string())?;
    let cpus = loaded.ticks.attach(TickSource::CpuClock, rate).map_err(|error| error.to_string())?;
    let rows = loaded.walker.take().map_or(Ok(()), |walker| {
        let mut tables = KernelTables::new(walker, Box::new(make_row_block));
        tables.try_a_block().map_err(|refused| chain(&refused))
    });
    Ok(Tried { cpus, choice: loaded.choice, rows })
}

fn symbols(proc: &ProcFs) -> Symbols {
    match proc.head("kallsyms", SYMBOL_BYTES) {
        Err(error) => Symbols::Unreadable(error.into()),
        Ok(bytes) => {
            let addresses =
                bytes.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').next());
            let is_real = |address: &[u8]| address.iter().any(|digit| *digit != b'0');
            if addresses.into_iter().any(is_real) { Symbols::Addresses } else { Symbols::Zeros }
        }
    }
}

/// In mountinfo(5) the options of the file system are the last field.
fn hide_pid(proc: &ProcFs) -> Option<String> {
    let mounts = proc.text("self/mountinfo").ok()?;
    let is_proc = |line: &&str| line.split(' ').nth(4) == Some("/proc") && line.contains(" - proc ");
    let options = mounts.lines().rfind(is_proc)?.rsplit(' ').next()?;
    let value = options.split(',').find_map(|option| option.strip_prefix("hidepid="))?;
    (!matches!(value, "0" | "off")).then(|| value.to_owned())
}

fn map_files(proc: &ProcFs) -> Result<(), Refusal> {
    let first = std::fs::read_dir(proc.path("self/map_files"))?.next();
    let Some(entry) = first.transpose()? else {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    };
    proc.head(entry.path(), 1)?;
    Ok(())
}
