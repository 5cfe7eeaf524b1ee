//! What the server did → numbers for `/metrics`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::access::Refusal;

/// Counted while serving; shared by all connections.
#[derive(Debug, Default)]
pub struct ServeCounters {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    refusals: Mutex<BTreeMap<Refusal, u64>>,
    connections: AtomicU64,
    connections_open: AtomicU64,
    accept_failures: AtomicU64,
    pulls_open: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeCounts {
    /// Requests by route and status.
    pub requests: BTreeMap<(&'static str, u16), u64>,
    /// Refused requests by reason; they are in `requests` too.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Connections accepted.
    pub connections: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that could not be accepted.
    pub accept_failures: u64,
    /// Pulls under way.
    pub pulls_open: u64,
}

impl Refusal {
    /// The label of its metric.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoTokenConfigured => "no_token_configured",
            Self::Unauthorized => "unauthorized",
            Self::BadHost => "bad_host",
            Self::ForeignName => "foreign_name",
            Self::CrossSite => "cross_site",
        }
    }
}

impl ServeCounters {
    /// All of them, now.
    pub fn read(&self) -> ServeCounts {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        ServeCounts {
            requests: lock(&self.requests).clone(),
            refusals: lock(&self.refusals).iter().map(|(why, &count)| (why.label(), count)).collect(),
            connections: read(&self.connections),
            connections_open: read(&self.connections_open),
            accept_failures: read(&self.accept_failures),
            pulls_open: read(&self.pulls_open),
        }
    }

    pub(super) fn request(&self, route: &'static str, status: u16) {
        *lock(&self.requests).entry((route, status)).or_default() += 1;
    }

    pub(super) fn refusal(&self, why: Refusal) {
        *lock(&self.refusals).entry(why).or_default() += 1;
    }

    pub(super) fn accept_failure(&self) {
        self.accept_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection(&self) -> Open<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open::count(&self.connections_open)
    }

    pub(super) fn pull(&self) -> Open<'_> {
        Open::count(&self.pulls_open)
    }
}

/// Counts one as open until it is dropped, however that comes.
pub(super) struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn count(number: &'a AtomicU64) -> Self {
        number.fetch_add(1, Ordering::Relaxed);
        Self(number)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts stay usable when a thread panicked while it counted.
fn lock<T>(counts: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
