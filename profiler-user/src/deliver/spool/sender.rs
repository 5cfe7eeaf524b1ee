//! What the spool asks of whoever speaks to an endpoint: one profile, one answer.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::id::ProfileId;
use crate::deliver::finished::SeriesProfile;

/// Sends profiles to one endpoint.
pub trait Sender: Send + Sync + 'static {
    /// Sends one. Called for several at a time. The id is the same for each attempt, also after a restart.
    fn send(&self, profile: &SeriesProfile, id: ProfileId) -> impl Future<Output = PushOutcome> + Send;
}

/// What came of sending a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// The endpoint has it.
    Delivered,
    /// Another attempt may do.
    Retry {
        /// How long the endpoint wants to be left alone, if it said so.
        after: Option<Duration>,
        /// What went wrong.
        cause: RetryCause,
    },
    /// It will never take it.
    Refused {
        /// Why.
        cause: RefuseCause,
        /// In the endpoint's words.
        message: String,
    },
}

/// Why an attempt may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// No answer: not reached, broken off, or too slow. It may have the profile all the same.
    Connection(String),
    /// 429: the limits of the tenant.
    TooMany,
    /// Another answer that invites to try again: 408, 5xx.
    Status(u16),
}

impl RetryCause {
    /// As the label of a metric.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::TooMany => "too_many_requests",
            Self::Status(408) => "timeout",
            Self::Status(_) => "server_error",
        }
    }
}

impl fmt::Display for RetryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(what) => f.write_str(what),
            Self::TooMany => f.write_str("429 Too Many Requests"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefuseCause {
    /// Its time is outside of what the endpoint takes.
    OutsideWindow,
    /// An answer that invites nobody: 4xx.
    Status(u16),
}
