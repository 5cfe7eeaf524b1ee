//! `flamekeeper daemon`: profiles the host for as long as it runs, and ships one window after the other.
//!
//! ```text
//!   sampling.rs (main thread) ─ Segment ─▶ names.rs: windows.rs ─ FinishedWindow ─▶ Spool ─▶ network.rs: sender.rs
//!     │ labelling.rs   pulls.rs   boundaries.rs   cpu_budget.rs   memory_budget.rs                                    │
//!     └── broker.rs: what needs rights                              self_account.rs ◀── HTTP ──────┘
//! ```
//!
//! This file is its life: everything that can fail is opened, each thread gives up what it does not need, then it samples
//! until it is told to end, and ends from the left: the last window is in the spool before anything else stops.

mod boundaries;
mod broker;
mod cpu_budget;
mod error;
mod labelling;
mod memory_budget;
mod metadata;
mod names;
mod network;
mod pulls;
mod sampling;
mod self_account;
mod sender;
#[cfg(test)]
mod tests;
mod thread;
mod windows;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::attribute::kubernetes::PodEnvironment;
use crate::capture::rights::Surroundings;
use crate::capture::{CaptureError, Kept, Scope, Session, SessionConfig};
use crate::config::{ConfigWatcher, DaemonConfig, Loaded, Loader};
use crate::deliver::push::ProxyEnvironment;
use crate::deliver::serve::{HERTZ_MAX, Limits, Server, TargetsSnapshot};
use crate::deliver::spool::Spool;
use crate::host::Host;
use crate::privileges::{self, Kernel, Role};
use crate::sample::abilities::{self, Ability};
use crate::sample::{Hertz, TickSource};
use crate::symbolize::names::Namer;
use crate::telemetry::logs::Log;
use broker::Broker;
pub use error::DaemonError;
use labelling::{Labelling, Sources};
use metadata::Metadata;
use names::Names;
use network::Network;
use sampling::{Sampling, label_budget};
use self_account::{SelfAccounts, Watched};
pub use thread::ThreadError;
use windows::Windows;

/// What the environment says beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Proxies.
    pub proxies: ProxyEnvironment,
    /// Of a pod.
    pub pod: PodEnvironment,
    /// What the kernel is taken to lack (`FLAMEKEEPER_KERNEL_WITHOUT`), for tests.
    pub kernel_without: BTreeSet<Ability>,
}

impl Environment {
    /// By a function that looks variables up.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let kernel_without = variable("FLAMEKEEPER_KERNEL_WITHOUT").unwrap_or_default();
        Self {
            proxies: ProxyEnvironment::from_variables(&variable),
            pod: PodEnvironment::read(&variable),
            kernel_without: abilities::named(&kernel_without),
        }
    }
}

/// Pulls that wait to be begun; what is beyond is told to come again.
const PULL_REQUESTS_MAX: usize = 8;
/// After the last window is in the spool: for what is under way in the network.
const NETWORK_ENDS_WITHIN: Duration = Duration::from_secs(8);

/// File descriptors that sampled files may hold: more than are sampled on a host at a time. What was not for a while is
/// closed anyway.
const OPEN_FILES_MAX: usize = 1024;

/// Runs the daemon until a signal ends it.
pub async fn run(
    loader: Loader,
    loaded: Loaded,
    host: &Host,
    log: Log,
    environment: Environment,
) -> Result<(), DaemonError> {
    let watcher = ConfigWatcher::new(loader, loaded);
    let config = Arc::clone(watcher.config());
    let kernel = Kernel::running(&host.proc);
    let keeps_sys_admin = privileges::keeps_sys_admin(kernel);
    let log = Arc::new(log);

    // Everything that can fail, while all rights are there.
    let server = Server::bind(&config.http.listen, Limits::default())?;
    let spool = open_spool(&config, host)?;
    let (metadata, sources, watch_of) = Metadata::new(&config, host, &environment.pod);
    let mut session = open_session(&config, host, kernel, sources, environment.kernel_without)?;
    session.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    if keeps_sys_admin {
        tracing::warn!(
            "one thread keeps CAP_SYS_ADMIN, which some kernels ask for where kernel.perf_event_paranoid is above 2 \
             (sudo sysctl kernel.perf_event_paranoid=2)"
        );
    }

    let kernel_symbols = config.sampling.kernel_symbols.clone();
    let namer = Namer::of_many_windows(&host.proc, kernel_symbols);
    let windows =
        Windows::new(host.clone(), namer, config.profile.size_limits(), label_budget(&config, host));
    let to_spool = spool.clone();
    let put = move |window| {
        let _counted = to_spool.put(window);
    };
    let names = Names::start(windows, host.clock, kernel, put)?;
    let (to_others, config_now) = watch::channel(Arc::clone(&config));
    let account = Arc::new(SelfAccounts::new(
        host,
        Watched {
            log: Arc::clone(&log),
            spool: spool.clone(),
            config: config_now.clone(),
            serve: server.counters(),
            pods: watch_of,
            names: names.status(),
        },
    ));

    let (stop, stopping) = watch::channel(false);
    let (network_stop, network_stopping) = watch::channel(false);
    let config_at_end = config_now.clone();
    let (pulls, pull_requests) = mpsc::channel(PULL_REQUESTS_MAX);
    let (hangups, hangups_seen) = mpsc::channel(1);
    let (targets, targets_now) = watch::channel(Arc::new(TargetsSnapshot::default()));
    let addresses: Vec<String> = server.addresses().map(ToString::to_string).collect();
    let network = Network {
        host: host.clone(),
        spool,
        server,
        account: Arc::clone(&account),
        targets: targets_now,
        pulls,
        watcher,
        config: to_others,
        metadata,
        hangups: hangups_seen,
        log,
        proxies: environment.proxies,
        stop: network_stopping,
    };
    let network = network.start(kernel)?;
    Role::Sampling.enter(kernel)?;

    let cpus = session.start()?;
    tracing::info!(cpus, hz = session.rate().get(), http = addresses.join(" "), "sampling");
    if let Some(how) = session.walking_words() {
        tracing::info!("{how}");
    }
    tell_manager(&[sd_notify::NotifyState::Ready]);
    let signals = tokio::spawn(watch_signals(stop, hangups)?);
    let sampling = Sampling {
        session,
        names,
        pulls: pull_requests,
        config: config_now,
        targets,
        stop: stopping,
        account: Arc::clone(&account),
        host: host.clone(),
    };
    let ended = sampling.run().await;
    let drain_timeout = config_at_end.borrow().shutdown.drain_timeout;
    signals.abort();
    tell_manager(&[sd_notify::NotifyState::Stopping]);
    account.stopping();
    let names = ended?;
    let is_drained = ends_within(drain_timeout, move || names.finish()).await;
    if !is_drained {
        tracing::error!("the last window did not reach the spool within shutdown.drain_timeout, and is lost");
    }
    network_stop.send_replace(true);
    ends_within(NETWORK_ENDS_WITHIN, move || network.join().is_ok()).await;
    account.last_words();
    Ok(())
}

fn open_spool(config: &DaemonConfig, host: &Host) -> Result<Spool, DaemonError> {
    let (limits, endpoints) = (config.spool.limits(), config.spool_endpoints());
    Ok(Spool::open_folder(&config.spool.dir, limits, endpoints, host)?)
}

fn open_session(
    config: &DaemonConfig,
    host: &Host,
    kernel: Kernel,
    sources: Sources,
    kernel_without: BTreeSet<Ability>,
) -> Result<Session<Labelling>, DaemonError> {
    let session = SessionConfig {
        rate: config.sampling.rate,
        rate_max: Hertz::new(HERTZ_MAX).map_or(config.sampling.rate, |pulls| pulls.max(config.sampling.rate)),
        event: TickSource::CpuClock,
        scope: Scope::default(),
        unwind: config.sampling.unwind.into(),
        unwind_tables_max_bytes: config.sampling.unwind_tables_max.as_u64(),
        cache_dir: config.sampling.cache_dir.clone(),
        include_self: config.sampling.include_self,
        keep_timeline: false,
        open_files_max: OPEN_FILES_MAX,
        kept: Kept::FOR_GOOD,
        kernel_log: config.log.level.to_tracing() >= tracing::Level::DEBUG,
        kernel_without,
    };
    let (entered, is_entered) = sync_channel(1);
    let surroundings = Surroundings {
        rights: Box::new(move |ticks| {
            Broker::start(ticks, kernel).map_err(|error| CaptureError::Surroundings(Box::new(error)))
        }),
        begin_rows_thread: Box::new(move || drop(entered.try_send(Role::Rows.enter(kernel)))),
    };
    let session = Session::open(session, host, Labelling::new(config, host, sources), surroundings)?;
    if session.walks_by_rows() {
        is_entered
            .recv()
            .map_err(|_| ThreadError::Start { name: "rows", source: io::ErrorKind::BrokenPipe.into() })??;
    }
    Ok(session)
}

/// SIGTERM and SIGINT end the daemon, SIGHUP has the configuration read.
fn watch_signals(
    stop: watch::Sender<bool>,
    hangups: mpsc::Sender<()>,
) -> Result<impl Future<Output = ()>, DaemonError> {
    let listen = |kind| signal(kind).map_err(DaemonError::Signals);
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                // One that waits already will do.
                _ = hang_up.recv() => drop(hangups.try_send(())),
            }
        }
        stop.send_replace(true);
    })
}

/// Whether a thread has ended in time, and well. One that has not is left to the end of the process.
async fn ends_within(within: Duration, join: impl FnOnce() -> bool + Send + 'static) -> bool {
    matches!(tokio::time::timeout(within, tokio::task::spawn_blocking(join)).await, Ok(Ok(true)))
}

/// Tells systemd; without it nobody listens.
fn tell_manager(states: &[sd_notify::NotifyState<'_>]) {
    let _nobody = sd_notify::notify(states);
}
