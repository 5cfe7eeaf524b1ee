//! Every number that `/metrics` shows, as plain data: the daemon fills it, `exposition.rs` writes it.
//!
//! Counters hold what was counted since the start, never what was counted since the last look. What cannot be known is
//! `None`, and is left out of the metrics: a 0 would be a lie.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::abi::{PROGRAMS, RunTime};
use profiler_common::outcome::Outcome;

use super::logs::LogCounts;
use super::overhead::OwnCost;
use crate::aggregate::completeness::Share;
use crate::collect::loss::Counts;
use crate::deliver::serve::ServeCounts;
use crate::deliver::spool::account::SpoolStatus;
use crate::host::{MonotonicNanos, WallNanos};

/// The whole account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// What runs.
    pub build: Build,
    /// When it began.
    pub started_at: WallNanos,
    /// Samples and what became of them in the kernel and on the way.
    pub sampling: Sampling,
    /// What the kernel half costs.
    pub bpf: Bpf,
    /// What the daemon itself costs.
    pub own: OwnCost,
    /// What the daemon may take of memory, bytes.
    pub memory_budget_bytes: u64,
    /// Times that it came near and caches were emptied.
    pub caches_emptied: u64,
    /// What is kept so that it need not be asked for or made again, bytes.
    pub cache_bytes: BTreeMap<&'static str, u64>,
    /// Unwind tables.
    pub tables: Tables,
    /// Finished windows.
    pub windows: Windows,
    /// Who is sampled.
    pub processes: Processes,
    /// The watch on this node's pods.
    pub kubernetes: Kubernetes,
    /// Queues between threads, by name.
    pub queues: BTreeMap<&'static str, Queue>,
    /// Windows on disk, and what became of them at each profile database.
    pub spool: SpoolStatus,
    /// What the spool may take, bytes.
    pub spool_bytes_max: u64,
    /// When the account was read, for ages.
    pub read_at: WallNanos,
    /// The same, for what is to come.
    pub read_at_monotonic: MonotonicNanos,
    /// The configuration.
    pub config: ConfigLoads,
    /// The HTTP server.
    pub serve: ServeCounts,
    /// The log.
    pub logs: LogCounts,
}

/// What runs.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// Our version.
    pub version: &'static str,
    /// The machine's architecture.
    pub architecture: &'static str,
    /// The kernel's release, as in `uname -r`.
    pub kernel: Arc<str>,
}

/// Samples and what became of them before they were aggregated.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    /// Counters of the kernel half and of the stages, in one table.
    pub counts: Counts,
    /// Samples that were taken of processes that are not wanted.
    pub left_out: u64,
    /// CPU time that the samples stand for.
    pub cpu: Duration,
    /// How the stacks of samples ended.
    pub stacks: StackEnds,
    /// Samples a second on each CPU, now.
    pub rate_hz: u32,
    /// The same as configured.
    pub rate_configured_hz: u32,
    /// Times that the rate was lowered.
    pub rate_lowered: u64,
    /// Times that it was raised.
    pub rate_raised: u64,
    /// CPUs that are online.
    pub cpus_online: u32,
    /// CPUs that tick.
    pub cpus_sampled: u32,
    /// What the daemon may use of one CPU; `None` without a budget.
    pub cpu_budget_ratio: Option<f64>,
    /// What it did use of one CPU, over the last stretch that was judged.
    pub cpu_used_ratio: f64,
    /// What came of it.
    pub budget: BudgetState,
}

/// What the CPU budget does to the sampling rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetState {
    /// There is none.
    #[default]
    Off,
    /// Kept at the configured rate.
    Within,
    /// Kept at a lower rate.
    Lowered,
    /// Not kept over the last stretch that was judged. The rate goes down if it stays so and there is a lower one.
    Exceeded,
}

impl BudgetState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Off, Self::Within, Self::Lowered, Self::Exceeded];

    /// As a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Within => "within",
            Self::Lowered => "lowered",
            Self::Exceeded => "exceeded",
        }
    }
}

/// Samples by how their stack ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackEnds(BTreeMap<Outcome, u64>);

impl StackEnds {
    /// Adds those of a window.
    pub fn add(&mut self, window: &Share) {
        let mut add = |outcome, count| {
            let sum = self.0.entry(outcome).or_default();
            *sum = u64::saturating_add(*sum, count);
        };
        add(Outcome::RootReached, window.complete);
        window.broken_off.iter().for_each(|(end, &count)| add(end.reason, count));
        window.without_user_stack.iter().for_each(|(&why, &count)| add(why, count));
    }

    /// Those that ended so.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0.get(&outcome).copied().unwrap_or(0)
    }
}

/// What the kernel half costs.
#[derive(Clone, Debug, Default)]
pub struct Bpf {
    /// Time and runs of each of [`PROGRAMS`].
    pub run_times: [RunTime; PROGRAMS.len()],
    /// Kernel memory of each map, bytes.
    pub map_bytes: BTreeMap<String, u64>,
}

/// Unwind tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tables {
    /// Files whose unwind information was read.
    pub built: u64,
    /// Files whose rows were found on disk from an earlier time.
    pub reused: u64,
    /// CPU time that building took.
    pub build_cpu: Duration,
    /// Kernel memory that they take.
    pub bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
}

/// Finished windows.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Windows that were cut and finished.
    pub finished: u64,
    /// That could not be encoded, and are lost: a fault of ours.
    pub failed: u64,
    /// End of the last one; `None` before the first.
    pub last_end: Option<WallNanos>,
    /// CPU time that naming and encoding took.
    pub finish_cpu: Duration,
    /// Profiles in them: one a series, more for large ones.
    pub profiles: u64,
    /// Samples in them.
    pub samples: u64,
    /// Their size before compression.
    pub bytes_uncompressed: u64,
    /// Their size as it is sent.
    pub bytes_compressed: u64,
    /// Label sets of the last window.
    pub label_sets: u64,
    /// So many at most.
    pub label_sets_max: u64,
    /// Samples whose label set was one too many: they are in `service_name="other"`.
    pub samples_in_other: u64,
}

/// Who is sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processes {
    /// Known and sampled.
    pub sampled: u64,
    /// Known and not sampled.
    pub dropped: u64,
    /// Distinct `service_name`s of the sampled.
    pub services: u64,
    /// That had ended before they could be looked at: labelled by what their samples say.
    pub ended_first: u64,
    /// Label sets that were cut to what the database takes.
    pub label_sets_cut: u64,
}

/// The watch on this node's pods.
#[derive(Clone, Debug, Default)]
pub struct Kubernetes {
    /// How it stands.
    pub state: WatchState,
    /// Pods that are known.
    pub pods: u64,
    /// Times that it broke, by cause.
    pub failures: BTreeMap<&'static str, u64>,
}

/// How the watch on pods stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchState {
    /// Not wanted, or not in a cluster.
    #[default]
    Off,
    /// The first list has not arrived yet.
    Connecting,
    /// Up to date.
    Synced,
    /// Broken; what was known is used.
    Failing,
}

impl WatchState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Off, Self::Connecting, Self::Synced, Self::Failing];

    /// As a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Synced => "synced",
            Self::Failing => "failing",
        }
    }
}

/// A queue between threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    /// What waits in it.
    pub length: u64,
    /// What fits.
    pub capacity: u64,
    /// What found it full.
    pub refused: u64,
}

/// Loads of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigLoads {
    /// That were taken, the first among them.
    pub taken: u64,
    /// That were refused: the one before goes on.
    pub refused: u64,
    /// When the one that is in force was taken.
    pub taken_at: WallNanos,
}
