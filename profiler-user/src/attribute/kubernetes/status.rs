//! How the watch of the pods is doing: what metrics and pages tell of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::host::MonotonicNanos;

/// How the watch is doing. Counts are over all time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchStatus {
    /// Whether a watch is running, so that what happens to a pod arrives at once.
    pub is_connected: bool,
    /// When the API server last said anything: a list, an event or a bookmark. It sends bookmarks about once a minute.
    pub last_heard: Option<MonotonicNanos>,
    /// Pods of this node that are not deleted.
    pub pods: usize,
    /// Lists of all pods: one at the start, others after the API server forgot what happened.
    pub lists: u64,
    /// Watches that were begun; each ends after some minutes.
    pub watches: u64,
    /// Pods added, modified and deleted.
    pub events: u64,
    /// Events that were skipped because they were too long or made no sense.
    pub skipped_events: u64,
    /// Pods that were left out because there were too many.
    pub left_out: u64,
    /// Failures by [`KubernetesError::cause`](super::error::KubernetesError::cause).
    pub failures: BTreeMap<&'static str, u64>,
    /// What the last failure was, while it lasts.
    pub failing: Option<Arc<str>>,
}
