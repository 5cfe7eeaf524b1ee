//! Watches this node's pods: lists them once, then follows what happens to them, for as long as the daemon runs.
//!
//! ```text
//!   list (from the API server's cache) ─▶ version ─▶ watch ─▶ event, event, bookmark … end ─▶ watch …
//!        ▲                                             │
//!        └── 410 Gone, or three failures in a row ─────┘      each failure: a pause, longer and longer
//! ```
//!
//! Every change makes a new table, which its readers get as a whole. Never ends by itself and never blocks its thread
//! for longer than it takes to read a token file.

use std::collections::HashSet;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ListParams, VersionMatch, WatchParams};
use kube::client::Body;
use kube::core::WatchEvent;
use tokio::sync::watch::Sender;
use tracing::{info, warn};

use super::api::Api;
use super::config::Access;
use super::error::KubernetesError;
use super::lines::{Line, Lines};
use super::object::{Kept, Pod};
use super::pod::PodTable;
use super::status::WatchStatus;
use super::store::PodStore;
use crate::host::{Clock, MonotonicNanos};

/// Pods of a page, where a list is in pages.
const PAGE: u32 = 100;
/// Pages of a list: more than any node's pods, and an end for a server that always has one more.
const MAX_PAGES: usize = 100;
/// A watch that ends earlier and said nothing is no watch.
const SHORTEST_WATCH: Duration = Duration::from_secs(5);
/// Of a failure's text.
const MAX_REASON_BYTES: usize = 512;
/// After so many failures in a row the version may be the trouble.
const FAILURES_BEFORE_A_LIST: u32 = 3;

/// A table of this node's pods, and its number.
#[derive(Clone, Debug, Default)]
pub struct PublishedPods {
    /// One more with each table; 0 before the first list.
    pub generation: u64,
    /// The pods.
    pub table: Arc<PodTable>,
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchTimes {
    /// The pause after a first failure; then twice as long each time.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// An answer must have begun by then.
    pub answer_within: Duration,
    /// How long a watch is asked for.
    pub watch: Duration,
    /// A watch that has not ended so long after its time is given up.
    pub overdue: Duration,
    /// How long a deleted pod stays in the table.
    pub linger: Duration,
}

impl Default for WatchTimes {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            answer_within: Duration::from_secs(20),
            watch: Duration::from_secs(290),
            overdue: Duration::from_secs(30),
            linger: Duration::from_secs(60),
        }
    }
}

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The API server.
    pub access: Access,
    /// The name of this node.
    pub node: String,
    /// How the names of kept annotations begin.
    pub annotations: Vec<String>,
    /// Pods that are kept.
    pub max_pods: usize,
    /// How long things take.
    pub times: WatchTimes,
}

/// The watch of this node's pods.
pub struct PodWatch {
    access: Access,
    fields: String,
    kept: Kept,
    times: WatchTimes,
    clock: Clock,
    store: PodStore,
    /// Where the next watch begins; `None`: the pods have to be listed first.
    version: Option<String>,
    /// Whether the next list is to come from the API server's cache.
    from_cache: bool,
    failures_in_a_row: u32,
    /// Lines of watches that made sense.
    lines_read: u64,
    random: fastrand::Rng,
    tables: Sender<PublishedPods>,
    status: Sender<WatchStatus>,
}

impl PodWatch {
    /// A watch that will publish tables and its status there.
    pub fn new(
        options: WatchOptions,
        clock: Clock,
        tables: Sender<PublishedPods>,
        status: Sender<WatchStatus>,
    ) -> Self {
        let WatchOptions { access, node, annotations, max_pods, times } = options;
        Self {
            access,
            // Pods that have ended have no processes; some nodes have thousands of them.
            fields: format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"),
            kept: Kept { annotations },
            times,
            clock,
            store: PodStore::new(max_pods, times.linger),
            version: None,
            from_cache: true,
            failures_in_a_row: 0,
            lines_read: 0,
            random: fastrand::Rng::new(),
            tables,
            status,
        }
    }

    /// Watches until it is dropped. In a tokio runtime with time and network.
    pub async fn run(mut self) {
        loop {
            let Err(failure) = self.follow().await;
            self.note(&failure);
            tokio::time::sleep(self.pause()).await;
            self.expire();
        }
    }

    /// Connects, lists if need be, and watches again and again, until something fails.
    async fn follow(&mut self) -> Result<Infallible, KubernetesError> {
        // A new client each time: files of a new certificate authority or kubeconfig may be the cure.
        let api = Api::new(&self.access, self.times.answer_within).await?;
        loop {
            if self.version.is_none() {
                self.version = Some(self.list(&api).await?);
            }
            self.watch(&api).await?;
        }
    }

    /// Takes all pods in; gives the version that the list is of.
    async fn list(&mut self, api: &Api) -> Result<String, KubernetesError> {
        let mut listed = HashSet::new();
        let mut next_page = None;
        for _ in 0..MAX_PAGES {
            let page = api.list(&list_params(&self.fields, self.from_cache, next_page)).await?;
            for pod in page.items {
                listed.insert(pod.metadata.uid.clone());
                self.put(pod);
            }
            next_page = Some(page.metadata.next_page).filter(|page| !page.is_empty());
            if next_page.is_none() {
                self.store.keep_only(&listed, self.clock.monotonic());
                self.heard(|status| status.lists += 1);
                self.publish();
                return Ok(page.metadata.resource_version);
            }
        }
        Err(KubernetesError::TooLong { bound: "100 pages" })
    }

    /// Takes events in until the API server ends the watch.
    async fn watch(&mut self, api: &Api) -> Result<(), KubernetesError> {
        // Not all agents that began together come back together.
        let asked = self.times.watch.mul_f64(1.0 - self.random.f64() / 4.0);
        let params = WatchParams {
            field_selector: Some(self.fields.clone()),
            timeout: Some(u32::try_from(asked.as_secs()).unwrap_or(u32::MAX).max(1)),
            bookmarks: true,
            ..WatchParams::default()
        };
        let version = self.version.as_deref().unwrap_or_default();
        let mut lines = api.watch(&params, version).await?;
        let lines_before = self.lines_read;
        let started = self.clock.monotonic();
        self.heard(|status| {
            status.watches += 1;
            status.is_connected = true;
            status.failing = None;
        });
        let end = self.read(&mut lines, started, asked + self.times.overdue).await;
        self.status.send_modify(|status| status.is_connected = false);
        let is_quiet = self.lines_read == lines_before;
        if self.clock.since(started) >= SHORTEST_WATCH {
            self.recovered();
        } else if is_quiet && end.is_ok() {
            return Err(KubernetesError::Ended);
        }
        end
    }

    /// Takes lines in until there is no more; gives up when a watch should long be over.
    async fn read(
        &mut self,
        lines: &mut Lines<Body>,
        started: MonotonicNanos,
        longest: Duration,
    ) -> Result<(), KubernetesError> {
        loop {
            let left = longest.checked_sub(self.clock.since(started));
            let left = left.ok_or(KubernetesError::Silent { after: longest })?;
            let expiry = self.store.next_expiry(self.clock.monotonic());
            let wait = expiry.map_or(left, |expiry| expiry.min(left));
            match tokio::time::timeout(wait, lines.next()).await {
                Ok(Ok(Some(line))) => self.take(&line)?,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {}
            }
            self.expire();
        }
    }

    fn take(&mut self, line: &Line) -> Result<(), KubernetesError> {
        let event = match line {
            Line::Whole(text) => serde_json::from_slice::<WatchEvent<Pod>>(text).ok(),
            Line::TooLong => None,
        };
        let Some(event) = event else {
            self.heard(|status| status.skipped_events += 1);
            return Ok(());
        };
        self.lines_read += 1;
        self.recovered();
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.changed(pod, false),
            WatchEvent::Deleted(pod) => self.changed(pod, true),
            WatchEvent::Bookmark(bookmark) => {
                self.is_at(&bookmark.metadata.resource_version);
                self.heard(|_| {});
            }
            WatchEvent::Error(status) if status.code == 410 => return Err(KubernetesError::Gone),
            WatchEvent::Error(status) => {
                return Err(KubernetesError::Refused { code: status.code, message: status.message });
            }
        }
        Ok(())
    }

    /// The next watch begins behind this version.
    fn is_at(&mut self, version: &str) {
        if !version.is_empty() {
            self.version = Some(version.to_owned());
        }
    }

    fn changed(&mut self, pod: Pod, is_deleted: bool) {
        self.is_at(&pod.metadata.resource_version);
        let uid = pod.metadata.uid.clone();
        // Also a deleted one: it may have had a container that nobody has told us of.
        let is_new = self.put(pod);
        if is_deleted {
            self.store.delete(&uid, self.clock.monotonic());
        }
        self.heard(|status| status.events += 1);
        if is_new {
            self.publish();
        }
    }

    fn put(&mut self, pod: Pod) -> bool {
        !pod.metadata.uid.is_empty() && self.store.put(pod.info(&self.kept))
    }

    /// Lets deleted pods go whose time is over.
    fn expire(&mut self) {
        if self.store.expire(self.clock.monotonic()) {
            self.publish();
        }
    }

    fn publish(&self) {
        let table = Arc::new(self.store.table());
        self.tables.send_modify(|pods| *pods = PublishedPods { generation: pods.generation + 1, table });
    }

    /// Writes down that the API server said something, and what.
    fn heard(&self, note: impl FnOnce(&mut WatchStatus)) {
        self.status.send_modify(|status| {
            status.last_heard = Some(self.clock.monotonic());
            status.pods = self.store.living();
            status.left_out = self.store.left_out();
            note(status);
        });
    }

    fn recovered(&mut self) {
        self.from_cache = true;
        if std::mem::take(&mut self.failures_in_a_row) > 0 {
            info!("the pods of this node are watched again");
        }
    }

    fn note(&mut self, failure: &KubernetesError) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let is_gone = matches!(failure, KubernetesError::Gone);
        if is_gone || self.failures_in_a_row >= FAILURES_BEFORE_A_LIST {
            self.version = None;
        }
        // What the cache has may be too old to watch from.
        self.from_cache &= !is_gone;
        let reason = reason(failure);
        if self.failures_in_a_row == 1 && !is_gone {
            warn!(reason, "the pods of this node are not watched");
        }
        self.status.send_modify(|status| {
            *status.failures.entry(failure.cause()).or_default() += 1;
            status.failing = Some(reason.into());
        });
    }

    /// Twice as long after each failure; half of it is up to chance.
    fn pause(&mut self) -> Duration {
        let doublings = self.failures_in_a_row.saturating_sub(1).min(16);
        let longest = self.times.first_pause.saturating_mul(1 << doublings).min(self.times.longest_pause);
        longest.mul_f64(1.0 - self.random.f64() / 2.0)
    }
}

/// A list of all pods. The API server keeps a cache by node; a list of the latest goes to its database, page by page.
fn list_params(fields: &str, from_cache: bool, next_page: Option<String>) -> ListParams {
    let fields = ListParams::default().fields(fields);
    if from_cache && next_page.is_none() {
        ListParams {
            resource_version: Some("0".to_owned()),
            version_match: Some(VersionMatch::NotOlderThan),
            ..fields
        }
    } else {
        ListParams { limit: Some(PAGE), continue_token: next_page, ..fields }
    }
}

/// The failure and what is behind it, as one line.
fn reason(failure: &KubernetesError) -> String {
    let mut reason = failure.to_string();
    let mut source = failure.source();
    while let Some(error) = source {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        source = error.source();
    }
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    reason
}
