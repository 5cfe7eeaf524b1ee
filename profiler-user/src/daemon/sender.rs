//! A profile of the spool → an endpoint, with a line in the log: push's [`Client`] as the spool's [`Sender`].

use crate::deliver::finished::SeriesProfile;
use crate::deliver::push::{Client, PushOutcome, RefusalCause};
use crate::deliver::spool::Sender;
use crate::deliver::spool::id::ProfileId;

impl Sender for Client {
    /// The database makes ids of its own, so ours stays here.
    async fn send(&self, profile: &SeriesProfile, _: ProfileId) -> PushOutcome {
        let outcome = self.push(profile).await;
        tell(self.endpoint().name(), profile, &outcome);
        outcome
    }
}

/// The log is limited elsewhere to a line a minute of a kind.
fn tell(endpoint: &str, profile: &SeriesProfile, outcome: &PushOutcome) {
    let service = profile.labels.get("service_name");
    match outcome {
        PushOutcome::Delivered => tracing::debug!(endpoint, service, "delivered"),
        PushOutcome::Retry { cause, message, .. } => {
            tracing::warn!(endpoint, %cause, message, "a profile waits for another attempt");
        }
        PushOutcome::Refused { cause: RefusalCause::OutsideWindow, message } => {
            tracing::warn!(endpoint, service, message, "a profile is older than is taken, and set aside");
        }
        PushOutcome::Refused { cause, message } => {
            tracing::error!(endpoint, service, %cause, message, "a profile is refused for good");
        }
    }
}
