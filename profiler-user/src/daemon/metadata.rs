//! What the network knows of processes: this node's pods, and containers that only a socket or a home folder tells of.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::labelling::Sources;
use super::thread::told_to_end;
use crate::attribute::containers::{Elsewhere, Found, Wanted};
use crate::attribute::kubernetes::{
    MAX_PODS, PodEnvironment, PodWatch, PublishedPods, WatchOptions, WatchStatus, WatchTimes,
};
use crate::config::DaemonConfig;
use crate::host::Host;
use crate::telemetry::account::{Kubernetes, WatchState};

/// Questions and answers that wait.
const QUEUE_MAX: usize = 64;

/// The sources, to be asked in the network's thread.
pub(super) struct Metadata {
    pods: Option<WatchOptions>,
    pod_tables: watch::Sender<PublishedPods>,
    status: watch::Sender<WatchStatus>,
    elsewhere: Option<Elsewhere>,
    wanted: mpsc::Receiver<Wanted>,
    found: mpsc::Sender<Found>,
}

impl Metadata {
    /// By the configuration; with what the thread that samples listens to.
    pub(super) fn new(
        config: &DaemonConfig,
        host: &Host,
        environment: &PodEnvironment,
    ) -> (Self, Sources, WatchOf) {
        let (pod_tables, pods) = watch::channel(PublishedPods::default());
        let (status, status_now) = watch::channel(WatchStatus::default());
        let (wanted, wanted_here) = mpsc::channel(QUEUE_MAX);
        let (found_here, found) = mpsc::channel(QUEUE_MAX);
        let options = watch_options(config, host, environment);
        let watch_of = WatchOf { status: status_now, is_wanted: options.is_some() };
        let elsewhere =
            Elsewhere::new(host.proc.clone(), config.containers.folders(), &config.containers.sockets)
                .inspect_err(|error| tracing::warn!(%error, "containers.sockets are not asked"))
                .ok()
                .filter(|elsewhere| !elsewhere.is_empty());
        let metadata =
            Self { pods: options, pod_tables, status, elsewhere, wanted: wanted_here, found: found_here };
        let sources = Sources { pods, are_pods_watched: watch_of.is_wanted, wanted, found };
        (metadata, sources, watch_of)
    }

    /// Starts asking, until `stop`.
    pub(super) fn spawn(self, host: &Host, stop: watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        let Self { pods, pod_tables, status, elsewhere, mut wanted, found } = self;
        if let Some(options) = pods {
            let watch = PodWatch::new(options, host.clock, pod_tables, status);
            tasks.spawn(until(stop.clone(), watch.run()));
        }
        let Some(elsewhere) = elsewhere else { return };
        let answers = async move {
            while let Some(wanted) = wanted.recv().await {
                match elsewhere.look_up(&wanted).await {
                    Ok(Some(known)) => drop(found.send(known).await),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a container's name could not be asked for"),
                }
            }
        };
        tasks.spawn(until(stop, answers));
    }
}

async fn until(stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = told_to_end(stop) => {}
    }
}

fn watch_options(config: &DaemonConfig, host: &Host, environment: &PodEnvironment) -> Option<WatchOptions> {
    let kubernetes = config.kubernetes.to_watch();
    let refused = |error: &dyn std::fmt::Display| tracing::error!(%error, "pods are not watched");
    let access = kubernetes.access(environment).inspect_err(|error| refused(error)).ok()??;
    let node = kubernetes.node(environment, &host.name).inspect_err(|error| refused(error)).ok()?;
    Some(WatchOptions { access, node, max_pods: MAX_PODS, times: WatchTimes::default() })
}

/// How the watch of the pods stands, for whoever tells of it.
#[derive(Debug)]
pub(super) struct WatchOf {
    status: watch::Receiver<WatchStatus>,
    is_wanted: bool,
}

impl WatchOf {
    pub(super) fn tell(&self) -> Kubernetes {
        let status = self.status.borrow();
        let state = match (self.is_wanted, status.failing.is_some(), status.last_heard.is_some()) {
            (false, ..) => WatchState::Off,
            (true, true, _) => WatchState::Failing,
            (true, false, false) => WatchState::Connecting,
            (true, false, true) => WatchState::Synced,
        };
        Kubernetes {
            state,
            pods: u64::try_from(status.pods).unwrap_or(u64::MAX),
            failures: status.failures.clone(),
        }
    }
}
