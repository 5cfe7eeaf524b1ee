//! A profile of the spool → an endpoint, and what is counted of it: joins the spool's [`Sender`] and push's [`Client`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::deliver::finished::SeriesProfile;
use crate::deliver::push::{Client, PushOutcome, RefusalCause, RetryCause};
use crate::deliver::spool::Sender;
use crate::deliver::spool::id::ProfileId;
use crate::host::{Clock, WallNanos};

/// What sending to one endpoint has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct EndpointCount {
    /// Bytes of profiles in requests, those that failed too.
    pub(super) bytes: u64,
    /// Time that requests took, those that failed too.
    pub(super) time: Duration,
    /// Attempts that may pass later, by cause.
    pub(super) retries: BTreeMap<RetryCause, u64>,
    /// Profiles and samples that it never will take, by cause.
    pub(super) refused: BTreeMap<RefusalCause, (u64, u64)>,
    /// Its last success.
    pub(super) last_success: Option<WallNanos>,
}

/// By the endpoint's name.
#[derive(Debug, Default)]
pub(super) struct EndpointCounts(Mutex<BTreeMap<Arc<str>, EndpointCount>>);

impl EndpointCounts {
    /// As they are.
    pub(super) fn read(&self) -> BTreeMap<Arc<str>, EndpointCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, name: &Arc<str>, change: impl FnOnce(&mut EndpointCount)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(Arc::clone(name)).or_default());
    }

    /// Those of endpoints that are no longer there go.
    pub(super) fn keep(&self, names: &[Arc<str>]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name));
    }
}

/// Sends to one endpoint.
pub(super) struct Pusher {
    client: Client,
    name: Arc<str>,
    counts: Arc<EndpointCounts>,
    clock: Clock,
}

impl Pusher {
    /// By this client.
    pub(super) fn new(client: Client, counts: Arc<EndpointCounts>, clock: Clock) -> Self {
        let name = client.endpoint().name().into();
        Self { client, name, counts, clock }
    }
}

impl Sender for Pusher {
    async fn send(&self, profile: &SeriesProfile, _id: ProfileId) -> PushOutcome {
        let began = self.clock.monotonic();
        let outcome = self.client.push(profile).await;
        let (time, now) = (self.clock.since(began), self.clock.wall_now());
        self.counts.change(&self.name, |count| {
            count.bytes = count.bytes.saturating_add(u64::try_from(profile.pprof_gz.len()).unwrap_or(0));
            count.time = count.time.saturating_add(time);
            match &outcome {
                PushOutcome::Delivered => count.last_success = Some(now),
                PushOutcome::Retry { cause, .. } => *count.retries.entry(*cause).or_default() += 1,
                PushOutcome::Refused { cause, .. } => {
                    let refused = count.refused.entry(*cause).or_default();
                    refused.0 += 1;
                    refused.1 += profile.samples;
                }
            }
        });
        tell(&self.name, profile, &outcome);
        outcome
    }
}

/// The log is limited elsewhere to a line a minute of a kind.
fn tell(name: &Arc<str>, profile: &SeriesProfile, outcome: &PushOutcome) {
    let service = profile.labels.get("service_name");
    match outcome {
        PushOutcome::Delivered => tracing::debug!(endpoint = &**name, service, "delivered"),
        PushOutcome::Retry { cause, message, .. } => {
            tracing::warn!(endpoint = &**name, %cause, error = message, "a profile waits for another attempt");
        }
        PushOutcome::Refused { cause, message } => {
            tracing::error!(endpoint = &**name, service, %cause, error = message, "a profile is refused for good");
        }
    }
}
