//! The thread that talks to others: pushes what is in the spool, answers over HTTP, watches this node's pods, and looks
//! after the configuration file. One thread, as many tasks.
//!
//! ```text
//!   Spool ──────▶ Replay, one an endpoint ─▶ Client ─▶ profile database
//!   Server ◀──── SelfAccounts, targets; PullRequest ─▶ session
//!   API server ─▶ pods ─▶ session          file, SIGHUP ─▶ DaemonConfig ─▶ session
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures::StreamExt as _;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::metadata::Metadata;
use super::self_account::SelfAccounts;
use super::thread::{self, ThreadError, told_to_end};
use crate::config::{ConfigWatcher, DaemonConfig, LOOK_EVERY, Reload};
use crate::deliver::push::{Client, Endpoint, EndpointConfig, ProxyEnvironment, WebRoots};
use crate::deliver::serve::{Access, Inputs, PullRequest, Server, TargetsSnapshot};
use crate::deliver::spool::state::EndpointKey;
use crate::deliver::spool::{Replay, ReplaySettings, Spool};
use crate::host::Host;
use crate::privileges::{Kernel, Role};
use crate::telemetry::logs::Log;

/// What the thread works with.
pub(super) struct Network {
    /// The outside world.
    pub(super) host: Host,
    /// What waits to be pushed.
    pub(super) spool: Spool,
    /// Listens already.
    pub(super) server: Server,
    /// What it tells.
    pub(super) account: Arc<SelfAccounts>,
    /// Every process, anew each window.
    pub(super) targets: watch::Receiver<Arc<TargetsSnapshot>>,
    /// To the session.
    pub(super) pulls: mpsc::Sender<PullRequest>,
    /// Looks after the file.
    pub(super) watcher: ConfigWatcher,
    /// What the other threads go by.
    pub(super) config: watch::Sender<Arc<DaemonConfig>>,
    /// Where pods and containers are asked for.
    pub(super) metadata: Metadata,
    /// Somebody asks for the file to be read.
    pub(super) hangups: mpsc::Receiver<()>,
    /// The log's level may change.
    pub(super) log: Arc<Log>,
    /// Proxies as the environment has them.
    pub(super) proxies: ProxyEnvironment,
    /// True once the daemon is to end: what can be sent within a moment still is.
    pub(super) stop: watch::Receiver<bool>,
}

impl Network {
    /// Starts the thread. It ends some moments after `stop`.
    pub(super) fn start(self, kernel: Kernel) -> Result<JoinHandle<()>, ThreadError> {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        let work = |runtime: Runtime| runtime.block_on(self.run());
        thread::start("network", Role::Network, kernel, runtime, work)
    }

    async fn run(self) {
        let Self {
            host,
            spool,
            server,
            account,
            targets,
            pulls,
            watcher,
            config: to_others,
            metadata,
            hangups,
            log,
            proxies,
            stop,
        } = self;
        let config = Arc::clone(watcher.config());
        let (access, access_now) = watch::channel(Arc::new(access(&config)));
        let clock = host.clock;
        let told = Arc::clone(&account) as _;
        let inputs = Inputs { clock, account: told, targets, access: access_now, pulls, advertised: None };
        let mut tasks = JoinSet::new();
        let server_stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = server.run(inputs, told_to_end(server_stop)).await {
                tracing::error!(%error, "the HTTP server has ended");
            }
        });
        let pushing = Pushing {
            host,
            spool,
            proxies,
            stop: stop.clone(),
            web_roots: WebRoots::of_host(),
            running: BTreeMap::new(),
        };
        let mut control = Control { watcher, config: to_others, log, access, account, pushing };
        control.pushing.follow(&config, &mut tasks);
        metadata.spawn(&control.pushing.host, stop.clone(), &mut tasks);
        control.look_after(hangups, stop, &mut tasks).await;
        while tasks.join_next().await.is_some() {}
    }
}

/// Who may see what. A token that cannot be read any more lets nobody in from elsewhere.
fn access(config: &DaemonConfig) -> Access {
    config.http.access().unwrap_or_else(|error| {
        tracing::error!(%error, "http.token_file: clients from elsewhere see metrics and health only");
        Access {
            token: None,
            loopback_needs_token: config.http.loopback_needs_token,
            allowed_hosts: config.http.allowed_hosts.clone(),
        }
    })
}

/// Looks after the configuration.
struct Control {
    watcher: ConfigWatcher,
    config: watch::Sender<Arc<DaemonConfig>>,
    log: Arc<Log>,
    access: watch::Sender<Arc<Access>>,
    account: Arc<SelfAccounts>,
    pushing: Pushing,
}

impl Control {
    /// Until `stop`.
    async fn look_after(
        &mut self,
        hangups: mpsc::Receiver<()>,
        stop: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let ticks = tokio::time::interval(LOOK_EVERY);
        let ticks = futures::stream::unfold(ticks, |mut ticks| async {
            ticks.tick().await;
            Some(((), ticks))
        });
        let hangups = futures::stream::unfold(hangups, |mut hangups| async {
            hangups.recv().await.map(|()| ((), hangups))
        });
        let mut is_stopped = std::pin::pin!(told_to_end(stop));
        let (mut ticks, mut hangups) = (std::pin::pin!(ticks.fuse()), std::pin::pin!(hangups.fuse()));
        loop {
            tokio::select! {
                Some(reload) = self.watcher.next(&mut ticks, &mut hangups) => self.reload(reload, tasks),
                () = &mut is_stopped => return,
            }
        }
    }

    fn reload(&mut self, reload: Reload, tasks: &mut JoinSet<()>) {
        match reload {
            Reload::Applied { config, changed, needs_restart, warnings } => {
                let names = |keys: &[&crate::config::Key]| {
                    keys.iter().map(|key| key.path).collect::<Vec<_>>().join(" ")
                };
                tracing::info!(changed = names(&changed), "the configuration has changed");
                if !needs_restart.is_empty() {
                    tracing::warn!(keys = names(&needs_restart), "these need a restart");
                }
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.account.configured(true);
                self.apply(&config, tasks);
            }
            Reload::NeedsRestart(keys) => {
                let keys: Vec<&str> = keys.iter().map(|key| key.path).collect();
                tracing::warn!(
                    keys = keys.join(" "),
                    "what has changed in the configuration needs a restart"
                );
            }
            Reload::Unchanged => tracing::info!("the configuration is as it was"),
            Reload::Refused(errors) => {
                self.account.configured(false);
                tracing::error!("the new configuration is refused, and the one before goes on: {errors}");
            }
        }
    }

    fn apply(&mut self, config: &Arc<DaemonConfig>, tasks: &mut JoinSet<()>) {
        self.log.set_level(config.log.level.to_tracing());
        self.access.send_replace(Arc::new(access(config)));
        self.config.send_replace(Arc::clone(config));
        self.pushing.spool.set_limits(config.spool.limits());
        self.pushing.follow(config, tasks);
    }
}

/// Feeds every endpoint.
struct Pushing {
    host: Host,
    spool: Spool,
    proxies: ProxyEnvironment,
    stop: watch::Receiver<bool>,
    web_roots: WebRoots,
    /// Endpoints that are fed as they are configured, and what ends that.
    running: BTreeMap<EndpointKey, (EndpointConfig, watch::Sender<bool>)>,
}

impl Pushing {
    /// Feeds the endpoints of this configuration, and no others.
    fn follow(&mut self, config: &DaemonConfig, tasks: &mut JoinSet<()>) {
        let wanted: BTreeMap<EndpointKey, EndpointConfig> =
            config.push.endpoints.iter().map(|table| (table.spool_key(), table.to_push())).collect();
        if let Err(error) = self.spool.set_endpoints(config.spool_endpoints()) {
            tracing::error!(%error, "the spool keeps the endpoints that it had");
        }
        // Dropping its sender ends a replay that is configured no more, or otherwise.
        self.running.retain(|key, (running, _)| wanted.get(key) == Some(running));
        for (key, config) in wanted {
            match config.clone().validate() {
                Ok(endpoint) => {
                    if !self.running.contains_key(&key) {
                        let ends = self.feed(key, endpoint, tasks);
                        self.running.insert(key, (config, ends));
                    }
                }
                // A configuration that was loaded was checked.
                Err(errors) => {
                    errors.iter().for_each(|error| tracing::error!(%error, "an endpoint is not used"))
                }
            }
        }
    }

    fn feed(&self, key: EndpointKey, endpoint: Endpoint, tasks: &mut JoinSet<()>) -> watch::Sender<bool> {
        let clock = self.host.clock;
        let settings = ReplaySettings { answer_within: 2 * endpoint.timeout(), ..ReplaySettings::default() };
        let client = Client::new(endpoint, self.web_roots.clone(), self.proxies.clone(), clock);
        let replay = Replay::new(&self.spool, key, client, settings, fastrand::Rng::new());
        let (ends, ended) = watch::channel(false);
        let stop = self.stop.clone();
        let both = ends.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = replay.run(ended) => {}
                () = async {
                    told_to_end(stop).await;
                    both.send_replace(true);
                    std::future::pending::<()>().await;
                } => {}
            }
        });
        ends
    }
}
