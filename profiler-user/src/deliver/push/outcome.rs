//! What became of one push: delivered, to be tried again, or refused for good. Each cause is one of a few, so that it
//! can be a metric's label.

use std::fmt;
use std::time::Duration;

/// What became of one profile at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// The server has it.
    Delivered,
    /// It may pass later.
    Retry {
        /// How long the server asked to be left alone, at most [`MAX_RETRY_AFTER`](super::MAX_RETRY_AFTER).
        after: Option<Duration>,
        /// What happened.
        cause: RetryCause,
        /// The server's words or the error's, one line of at most
        /// [`MAX_MESSAGE_CHARS`](super::MAX_MESSAGE_CHARS).
        message: String,
    },
    /// It never will pass.
    Refused {
        /// What the server has against it.
        cause: RefusalCause,
        /// The server's words, bounded as above.
        message: String,
    },
}

/// Why a profile is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryCause {
    /// The file with the token, the password, or a certificate cannot be read. Nothing was sent.
    Credentials,
    /// The host's name has no address.
    Unresolved,
    /// No connection: refused, no route, or the proxy would not.
    Unreachable,
    /// One of both sides does not accept the other's certificate, or they speak no common version.
    Tls,
    /// No answer in time. The server may have stored it.
    Timeout,
    /// The connection ended before the answer. The server may have stored it.
    Broken,
    /// 429: a limit of the server or the tenant.
    TooManyRequests,
    /// 408.
    RequestTimeout,
    /// 409 with Connect's code `aborted`.
    Aborted,
    /// 5xx, or a Connect code that says the same.
    ServerError,
    /// 3xx. Not followed: credentials go to the configured server alone.
    Redirected,
    /// A success that is no answer of this protocol, such as a log-in page.
    NotThisProtocol,
}

impl RetryCause {
    /// All of them, to create their metrics at start.
    pub const ALL: [Self; 12] = [
        Self::Credentials,
        Self::Unresolved,
        Self::Unreachable,
        Self::Tls,
        Self::Timeout,
        Self::Broken,
        Self::TooManyRequests,
        Self::RequestTimeout,
        Self::Aborted,
        Self::ServerError,
        Self::Redirected,
        Self::NotThisProtocol,
    ];

    /// Whether a server answered, so that it may be this profile's fault. Without an answer every profile fares alike.
    pub const fn is_answer(self) -> bool {
        match self {
            Self::Credentials
            | Self::Unresolved
            | Self::Unreachable
            | Self::Tls
            | Self::Timeout
            | Self::Broken => false,
            Self::TooManyRequests
            | Self::RequestTimeout
            | Self::Aborted
            | Self::ServerError
            | Self::Redirected
            | Self::NotThisProtocol => true,
        }
    }

    /// Whether the server may have stored the profile all the same: sent again, it counts twice.
    pub const fn may_be_stored(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::Broken | Self::ServerError | Self::Aborted | Self::RequestTimeout
        )
    }

    /// As a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooManyRequests => "too_many_requests",
            Self::RequestTimeout => "request_timeout",
            Self::Aborted => "aborted",
            Self::ServerError => "server_error",
            Self::Redirected => "redirected",
            Self::NotThisProtocol => "not_this_protocol",
        }
    }
}

impl fmt::Display for RetryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the server will never take a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCause {
    /// Its time is outside the server's ingestion window: too old, or a clock is wrong.
    OutsideWindow,
    /// Too many bytes, samples, or labels on samples (413, or a 400 that says so).
    TooLarge,
    /// Too many labels, too long ones, or such as the server does not allow.
    Labels,
    /// Any other 400.
    BadRequest,
    /// 401: no tenant, or wrong credentials.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404: the URL leads to no such service.
    NotFound,
    /// Any other 4xx.
    Other4xx,
}

impl RefusalCause {
    /// All of them, to create their metrics at start.
    pub const ALL: [Self; 8] = [
        Self::OutsideWindow,
        Self::TooLarge,
        Self::Labels,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Other4xx,
    ];

    /// As a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutsideWindow => "outside_window",
            Self::TooLarge => "too_large",
            Self::Labels => "labels",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Other4xx => "other_4xx",
        }
    }
}

impl fmt::Display for RefusalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
