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

use super::cpu_budget::CpuBudget;
use super::labelling::Labelling;
use super::metadata::WatchOf;
use super::names::{self, Names, NamesStatus};
use super::sender::EndpointCounts;
use crate::capture::Session;
use crate::config::DaemonConfig;
use crate::deliver::serve::{SelfAccount, ServeCounters, Verdict};
use crate::deliver::spool::{Spool, account as spool};
use crate::host::{Host, MonotonicNanos, WallNanos};
use crate::sample::online_cpus;
use crate::telemetry::account::{self, Account, BudgetState};
use crate::telemetry::exposition;
use crate::telemetry::logs::Log;
use crate::telemetry::overhead::OwnCost;
use crate::telemetry::readiness::{Facts, Loop};

/// The account.
pub(super) struct SelfAccounts {
    host: Host,
    log: Arc<Log>,
    spool: Spool,
    spool_bytes_max: AtomicU64,
    serve: Arc<ServeCounters>,
    endpoints: Arc<EndpointCounts>,
    watch_of: WatchOf,
    names: Mutex<Option<Arc<Mutex<NamesStatus>>>>,
    account: Mutex<Account>,
    cpus: Mutex<Cpus>,
    sampling_turned_at: AtomicU64,
    is_stopping: AtomicBool,
}

/// CPUs by what they do.
#[derive(Clone, Debug, Default)]
struct Cpus {
    online: BTreeSet<u32>,
    sampled: BTreeSet<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SelfAccounts {
    /// With nothing counted yet.
    pub(super) fn new(
        host: &Host,
        log: Arc<Log>,
        spool: Spool,
        spool_bytes_max: u64,
        serve: Arc<ServeCounters>,
        endpoints: Arc<EndpointCounts>,
        watch_of: WatchOf,
    ) -> Self {
        let build = account::Build {
            version: env!("CARGO_PKG_VERSION"),
            architecture: std::env::consts::ARCH,
            kernel: rustix::system::uname().release().to_string_lossy().into(),
        };
        let account = Account { build, started_at: host.clock.wall_now(), ..Account::default() };
        Self {
            host: host.clone(),
            log,
            spool,
            spool_bytes_max: AtomicU64::new(spool_bytes_max),
            serve,
            endpoints,
            watch_of,
            names: Mutex::new(None),
            account: Mutex::new(account),
            cpus: Mutex::new(Cpus::default()),
            sampling_turned_at: AtomicU64::new(host.clock.monotonic().0),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Where the thread that names tells of itself.
    pub(super) fn watch_names(&self, names: Arc<Mutex<NamesStatus>>) {
        *lock(&self.names) = Some(names);
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
    pub(super) fn sampling(
        &self,
        session: &mut Session<Labelling>,
        names: &Names,
        budget: (&CpuBudget, &DaemonConfig),
        cost: OwnCost,
        run_times: [RunTime; PROGRAMS.len()],
    ) {
        let online: BTreeSet<u32> = online_cpus().unwrap_or_default().into_iter().collect();
        let sampled = session.cpus();
        let mut counts = session.counts();
        counts.add(Outcome::NamingBehind, names.lost_samples());
        let labels = session.admission().counts();
        counts.add(Outcome::Filtered, session.admission().left_out());
        let mut account = lock(&self.account);
        account.processes.sampled = u64::try_from(labels.processes - labels.dropped).unwrap_or(0);
        account.processes.dropped = u64::try_from(labels.dropped).unwrap_or(0);
        account.own = cost;
        account.bpf.run_times = run_times;
        account.queues.insert("names", names.queue());
        let sampling = &mut account.sampling;
        sampling.counts = counts;
        sampling.rate_hz = session.rate().get();
        sampling.cpus_online = u32::try_from(online.len()).unwrap_or(u32::MAX);
        sampling.cpus_sampled = u32::try_from(sampled.len()).unwrap_or(u32::MAX);
        tell_budget(budget, sampling);
        drop(account);
        *lock(&self.cpus) = Cpus { online, sampled };
    }

    /// What became of all samples, as the last line of the log.
    pub(super) fn last_words(&self) {
        let account = self.whole();
        let sampled = account.sampling.counts.get(Outcome::Samples);
        for (name, endpoint) in &account.endpoints {
            tracing::info!(
                endpoint = &**name,
                delivered = endpoint.samples,
                refused = endpoint.refused.values().map(|lost| lost.samples).sum::<u64>(),
                "samples"
            );
        }
        let waiting = account.spool.waiting.windows;
        let (windows, in_windows) = (account.windows.finished, account.windows.samples);
        // To the nanosecond, so that it can be compared with what the database has, also when the rate has changed.
        let cpu_nanos = u64::try_from(account.sampling.cpu.as_nanos()).unwrap_or(u64::MAX);
        tracing::info!(sampled, in_windows, cpu_nanos, windows, waiting, "ended");
    }

    fn facts(&self) -> Facts {
        let Cpus { online, sampled } = lock(&self.cpus).clone();
        let turned_at = MonotonicNanos(self.sampling_turned_at.load(Ordering::Relaxed));
        Facts {
            loops: vec![Loop { name: "sampling", turned_at }],
            cpus_online: online,
            cpus_sampled: sampled,
            spool_failure: self.spool.status().trouble,
            is_stopping: self.is_stopping.load(Ordering::Relaxed),
        }
    }

    /// Everything, as it is now.
    fn whole(&self) -> Account {
        let mut account = lock(&self.account).clone();
        account.serve = self.serve.read();
        account.logs = self.log.counts();
        account.kubernetes = self.watch_of.tell();
        if let Some(names) = &*lock(&self.names) {
            tell_windows(&names::read(names), &mut account);
        }
        self.tell_spool(&mut account);
        account
    }

    fn tell_spool(&self, account: &mut Account) {
        let status = self.spool.status();
        let now = self.host.clock.wall_now();
        let age = |started: WallNanos| Duration::from_nanos(now.0.saturating_sub(started.0));
        let stored = |stored: spool::Stored| account::Stored {
            windows: stored.windows,
            bytes: stored.bytes,
            oldest_age: stored.oldest.map(age),
        };
        account.spool.waiting = stored(status.waiting);
        account.spool.aside = stored(status.aside);
        account.spool.bytes_max = self.spool_bytes_max.load(Ordering::Relaxed);
        account.spool.is_writable = status.trouble.is_none();
        let sent = self.endpoints.read();
        for (endpoint, stored) in status.endpoints {
            let name: Arc<str> = endpoint.name.as_str().into();
            let sent = sent.get(&name).cloned().unwrap_or_default();
            for (reason, tally) in &stored.dropped {
                let lost = account.spool.dropped.entry(reason.name()).or_default();
                lost.profiles += tally.profiles;
                lost.samples += tally.samples;
            }
            let lost = |(profiles, samples)| account::Lost { profiles, samples };
            let told = account::Endpoint {
                profiles: stored.delivered.profiles,
                samples: stored.delivered.samples,
                bytes: sent.bytes,
                time: sent.time,
                retries: sent.retries,
                refused: sent.refused.into_iter().map(|(cause, counts)| (cause, lost(counts))).collect(),
                set_aside: lost((stored.became_poisoned.profiles, stored.became_poisoned.samples)),
                windows_waiting: stored.waiting.profiles,
                backoff: stored.held.map_or(Duration::ZERO, |held| {
                    Duration::from_nanos(held.until.0.saturating_sub(self.host.clock.monotonic().0))
                }),
                last_success: sent.last_success,
            };
            account.endpoints.insert(name, told);
        }
    }
}

fn tell_budget((budget, config): (&CpuBudget, &DaemonConfig), sampling: &mut account::Sampling) {
    sampling.rate_configured_hz = config.sampling.rate.get();
    let percent = config.budget.cpu_percent;
    sampling.cpu_budget_ratio = (percent > 0.0).then_some(percent / 100.0);
    let used = budget.cost_percent();
    sampling.cpu_used_ratio = used.unwrap_or(0.0) / 100.0;
    sampling.rate_lowered = budget.times_lowered();
    let is_over = used.is_some_and(|used| used > percent);
    sampling.budget = match (percent > 0.0, budget.is_lowered(), is_over) {
        (false, ..) => BudgetState::Off,
        (true, true, true) => BudgetState::Exceeded,
        (true, true, false) => BudgetState::Lowered,
        (true, false, _) => BudgetState::Within,
    };
}

fn tell_windows(names: &NamesStatus, account: &mut Account) {
    let counts = &names.counts;
    let windows = &mut account.windows;
    windows.finished = counts.windows;
    windows.finish_cpu = names.cpu;
    windows.samples = counts.samples;
    windows.label_sets = u64::try_from(counts.label_sets).unwrap_or(u64::MAX);
    windows.samples_in_other = counts.samples_folded;
    account.sampling.stacks.add(&counts.completeness.overall);
    account.sampling.cpu = Duration::from_nanos(counts.cpu_nanos);
    account.sampling.counts.merge(&counts.names);
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
