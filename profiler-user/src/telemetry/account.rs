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
use crate::deliver::push::{RefusalCause, RetryCause};
use crate::deliver::serve::ServeCounts;
use crate::host::WallNanos;

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
    /// Windows on disk.
    pub spool: Spool,
    /// Profile databases, by the endpoint's name.
    pub endpoints: BTreeMap<Arc<str>, Endpoint>,
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
    /// Not kept, though the rate is the lowest that there is.
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
    pub map_bytes: BTreeMap<Arc<str>, u64>,
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

/// Windows on disk.
#[derive(Clone, Debug, Default)]
pub struct Spool {
    /// What waits to be sent.
    pub waiting: Stored,
    /// What the server did not take, kept for export.
    pub aside: Stored,
    /// What both may take together, bytes.
    pub bytes_max: u64,
    /// Whether the last write went well.
    pub is_writable: bool,
    /// What was thrown away, by reason.
    pub dropped: BTreeMap<&'static str, Lost>,
}

/// A part of the spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored {
    /// Windows.
    pub windows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Age of the oldest window; `None` if there is none.
    pub oldest_age: Option<Duration>,
}

/// What was lost, in both of its measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Profiles.
    pub profiles: u64,
    /// Samples in them.
    pub samples: u64,
}

/// A profile database.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// Profiles that it took.
    pub profiles: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of requests, those that failed too.
    pub bytes: u64,
    /// Time that requests took, those that failed too.
    pub time: Duration,
    /// Attempts that may pass later.
    pub retries: BTreeMap<RetryCause, u64>,
    /// What it never will take.
    pub refused: BTreeMap<RefusalCause, Lost>,
    /// Profiles that are set aside after too many failures that looked passing.
    pub set_aside: Lost,
    /// Windows that wait for it.
    pub windows_waiting: u64,
    /// Until the next attempt.
    pub backoff: Duration,
    /// Its last success; `None` before the first.
    pub last_success: Option<WallNanos>,
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
