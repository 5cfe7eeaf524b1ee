//! What the daemon's threads say of themselves → the account that is read over HTTP: metrics, health, readiness.
//!
//! Each thread writes its part when it has news; whoever asks gets the parts as they are, and what is cheap to look at is
//! looked at then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use profiler_common::abi::{PROGRAMS, RunTime};
use profiler_common::outcome::Outcome;
use tokio::sync::watch;

use super::cpu_budget::CpuBudget;
use super::labelling::Labelling;
use super::metadata::WatchOf;
use super::names::{self, Names, NamesStatus};
use crate::capture::Session;
use crate::config::DaemonConfig;
use crate::deliver::serve::{SelfAccount, ServeCounters, Verdict};
use crate::deliver::spool::Spool;
use crate::deliver::spool::account::Tally;
use crate::host::{Host, MonotonicNanos};
use crate::sample::online_cpus;
use crate::telemetry::account::{self, Account, BudgetState, ConfigLoads};
use crate::telemetry::exposition;
use crate::telemetry::logs::Log;
use crate::telemetry::overhead::OwnCost;
use crate::telemetry::readiness::{Facts, Loop};
use crate::unwind::{RowsWork, TablesBytes};

/// It turns every 100 ms; the slowest thing that it waits for by design is the kernel's verifier at start, some seconds
/// on a slow machine.
const SAMPLING_HANGS_AFTER: Duration = Duration::from_secs(30);
/// At a window, or at a pull's end: what the first window of a large host with cold disks takes, many times over.
const NAMING_HANGS_AFTER: Duration = Duration::from_secs(300);

/// What tells of itself when it is asked.
pub(super) struct Watched {
    /// Lines.
    pub(super) log: Arc<Log>,
    /// Windows on disk.
    pub(super) spool: Spool,
    /// As it is in force.
    pub(super) config: watch::Receiver<Arc<DaemonConfig>>,
    /// Requests.
    pub(super) serve: Arc<ServeCounters>,
    /// The watch of this node's pods.
    pub(super) pods: WatchOf,
    /// The thread that names.
    pub(super) names: Arc<Mutex<NamesStatus>>,
}

/// The account.
pub(super) struct SelfAccounts {
    host: Host,
    watched: Watched,
    /// What the others have told.
    account: Mutex<Account>,
    cpus: Mutex<Cpus>,
    sampling_turned_at: AtomicU64,
    is_stopping: AtomicBool,
}

/// How often the rate of sampling was changed, whoever wanted it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateChanges {
    /// To a lower one.
    pub(super) down: u64,
    /// To a higher one.
    pub(super) up: u64,
}

/// What the thread that samples knows beside its session.
pub(super) struct Told<'a> {
    pub(super) budget: &'a CpuBudget,
    pub(super) rate_changes: RateChanges,
    /// How many times memory was short.
    pub(super) caches_emptied: u64,
    pub(super) cost: OwnCost,
    pub(super) run_times: [RunTime; PROGRAMS.len()],
}

/// CPUs by what they do.
#[derive(Clone, Debug, Default)]
struct Cpus {
    online: BTreeSet<u32>,
    sampled: BTreeSet<u32>,
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SelfAccounts {
    /// With nothing counted yet but the configuration that is in force.
    pub(super) fn new(host: &Host, watched: Watched) -> Self {
        let build = account::Build {
            version: env!("CARGO_PKG_VERSION"),
            architecture: std::env::consts::ARCH,
            kernel: rustix::system::uname().release().to_string_lossy().into(),
        };
        let now = host.clock.wall_now();
        let config = ConfigLoads { taken: 1, refused: 0, taken_at: now };
        Self {
            host: host.clone(),
            watched,
            account: Mutex::new(Account { build, started_at: now, config, ..Account::default() }),
            cpus: Mutex::new(Cpus::default()),
            sampling_turned_at: AtomicU64::new(host.clock.monotonic().0),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The thread that samples is alive.
    pub(super) fn turned(&self, now: MonotonicNanos) {
        self.sampling_turned_at.store(now.0, Ordering::Relaxed);
    }

    /// The daemon is about to end.
    pub(super) fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// A configuration was taken, or refused.
    pub(super) fn configured(&self, is_taken: bool) {
        let now = self.host.clock.wall_now();
        let loads = &mut lock(&self.account).config;
        if is_taken {
            loads.taken += 1;
            loads.taken_at = now;
        } else {
            loads.refused += 1;
        }
    }

    /// What the thread that samples knows.
    pub(super) fn sampling(&self, session: &mut Session<Labelling>, names: &Names, told: Told<'_>) {
        let online: BTreeSet<u32> = online_cpus().unwrap_or_default().into_iter().collect();
        let sampled = session.cpus();
        let mut counts = session.counts();
        counts.add(Outcome::NamingBehind, names.lost_samples());
        let labels = session.admission().counts();
        let left_out = session.left_out().saturating_add(session.admission().left_out());
        let mut account = lock(&self.account);
        account.processes = account::Processes {
            sampled: count(labels.processes.saturating_sub(labels.dropped)),
            dropped: count(labels.dropped),
            services: count(labels.services),
            ended_first: labels.ended_first,
            label_sets_cut: labels.cut,
        };
        account.own = told.cost;
        account.caches_emptied = told.caches_emptied;
        account.cache_bytes.extend(session.cache_bytes().map(|(cache, bytes)| (cache, count(bytes))));
        account.bpf = account::Bpf { run_times: told.run_times, map_bytes: session.map_bytes() };
        account.tables = session.tables().map(tables).unwrap_or_default();
        account.queues.insert("names", names.queue());
        let sampling = &mut account.sampling;
        sampling.counts = counts;
        sampling.left_out = left_out;
        sampling.rate_hz = session.rate().get();
        sampling.cpus_online = u32::try_from(online.len()).unwrap_or(u32::MAX);
        sampling.cpus_sampled = u32::try_from(sampled.len()).unwrap_or(u32::MAX);
        (sampling.rate_lowered, sampling.rate_raised) = (told.rate_changes.down, told.rate_changes.up);
        tell_budget(told.budget, &self.watched.config.borrow(), sampling);
        drop(account);
        *lock(&self.cpus) = Cpus { online, sampled };
    }

    /// What became of all samples, as the last lines of the log.
    pub(super) fn last_words(&self) {
        let account = self.whole();
        for (endpoint, became) in &account.spool.endpoints {
            let dropped: Tally = became.dropped.values().copied().sum();
            tracing::info!(
                endpoint = endpoint.name,
                found = became.found.samples,
                delivered = became.delivered.samples,
                waiting = became.waiting.samples,
                too_old = became.too_old.samples,
                set_aside = became.poisoned.samples,
                dropped = dropped.samples,
                "samples"
            );
        }
        let sampling = &account.sampling;
        let sampled = sampling.counts.get(Outcome::Samples);
        let (left_out, lost) = (sampling.left_out, sampling.counts.get(Outcome::NamingBehind));
        let waiting = account.spool.waiting.windows;
        let (windows, in_windows) = (account.windows.finished, account.windows.samples);
        // To the nanosecond, so that it can be compared with what the database has, also when the rate has changed.
        let cpu_nanos = u64::try_from(sampling.cpu.as_nanos()).unwrap_or(u64::MAX);
        tracing::info!(sampled, left_out, lost, in_windows, cpu_nanos, windows, waiting, "ended");
    }

    fn facts(&self) -> Facts {
        let Cpus { online, sampled } = lock(&self.cpus).clone();
        let names = names::read(&self.watched.names);
        let naming = names.busy_since.unwrap_or_else(|| self.host.clock.monotonic());
        let turned_at = MonotonicNanos(self.sampling_turned_at.load(Ordering::Relaxed));
        Facts {
            loops: vec![
                Loop { name: "sampling", turned_at, hangs_after: SAMPLING_HANGS_AFTER },
                Loop { name: "naming", turned_at: naming, hangs_after: NAMING_HANGS_AFTER },
            ],
            cpus_online: online,
            cpus_sampled: sampled,
            spool_failure: self.watched.spool.status().trouble,
            is_stopping: self.is_stopping.load(Ordering::Relaxed),
        }
    }

    /// Everything, as it is now.
    fn whole(&self) -> Account {
        let Watched { log, spool, config, serve, pods, names } = &self.watched;
        let mut account = lock(&self.account).clone();
        account.read_at = self.host.clock.wall_now();
        account.read_at_monotonic = self.host.clock.monotonic();
        account.serve = serve.read();
        account.logs = log.counts();
        account.kubernetes = pods.tell();
        tell_windows(&names::read(names), &mut account);
        let config = config.borrow();
        account.windows.label_sets_max = u64::from(config.labels.label_sets_max);
        account.memory_budget_bytes = config.budget.memory_max.as_u64();
        account.tables.bytes_max = config.sampling.unwind_tables_max.as_u64();
        account.spool = spool.status();
        account.spool_bytes_max = config.spool.max_bytes.as_u64();
        account
    }
}

fn tables((work, bytes): (RowsWork, TablesBytes)) -> account::Tables {
    account::Tables {
        built: work.made,
        reused: work.reused,
        build_cpu: work.cpu,
        bytes: bytes.fixed.saturating_add(bytes.rows),
        bytes_max: 0, // as it is configured
    }
}

fn tell_budget(budget: &CpuBudget, config: &DaemonConfig, sampling: &mut account::Sampling) {
    sampling.rate_configured_hz = config.sampling.rate.get();
    let percent = config.budget.cpu_percent;
    sampling.cpu_budget_ratio = (percent > 0.0).then_some(percent / 100.0);
    let used = budget.cost_percent();
    sampling.cpu_used_ratio = used.unwrap_or(0.0) / 100.0;
    let is_over = used.is_some_and(|used| used > percent);
    sampling.budget = match (percent > 0.0, budget.is_lowered(), is_over) {
        (false, ..) => BudgetState::Off,
        (true, _, true) => BudgetState::Exceeded,
        (true, true, false) => BudgetState::Lowered,
        (true, false, false) => BudgetState::Within,
    };
}

fn tell_windows(names: &NamesStatus, account: &mut Account) {
    let counts = &names.counts;
    let windows = &mut account.windows;
    windows.finished = counts.windows;
    windows.failed = names.failed;
    windows.last_end = counts.last_end;
    windows.finish_cpu = names.cpu;
    windows.profiles = counts.profiles;
    windows.samples = counts.samples;
    (windows.bytes_uncompressed, windows.bytes_compressed) = counts.bytes;
    windows.label_sets = count(counts.label_sets);
    windows.samples_in_other = counts.samples_folded;
    account.sampling.stacks = counts.stacks.clone();
    account.sampling.cpu = Duration::from_nanos(counts.cpu_nanos);
    account.sampling.counts.merge(&counts.names);
    account.cache_bytes.insert("names", count(names.cache_bytes));
}

impl SelfAccount for SelfAccounts {
    fn metrics(&self) -> String {
        exposition(Arc::new(self.whole()))
    }

    fn health(&self) -> Verdict {
        self.facts().health(self.host.clock.monotonic())
    }

    fn readiness(&self) -> Verdict {
        self.facts().readiness(self.host.clock.monotonic())
    }
}
