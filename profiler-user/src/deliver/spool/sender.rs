//! What the spool asks of whoever speaks to an endpoint: one profile, one answer.

use std::future::Future;

use super::id::ProfileId;
use crate::deliver::finished::SeriesProfile;
use crate::deliver::push::PushOutcome;

/// Sends profiles to one endpoint.
pub trait Sender: Send + Sync + 'static {
    /// Sends one. Called for several at a time. The id is the same for each attempt, also after a restart.
    fn send(&self, profile: &SeriesProfile, id: ProfileId) -> impl Future<Output = PushOutcome> + Send;
}
