//! `GET /debug/pprof/profile?seconds=…` → a [`PullRequest`] for whoever samples → pprof bytes, or a status with a sentence.
//!
//! Speaks as Go's net/http/pprof does, so that its clients print our sentences: `X-Go-Pprof` marks a text that is meant for
//! people, and a profile is an `application/octet-stream` to be saved as `profile`. Does not sample: all pulls share
//! the one sampler at the other end of the channel. A client that goes away drops its receiver, which ends its pull.

use std::time::Duration;

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::router::Shared;
use super::selector::{Selector, SelectorError};
use super::targets::TargetsSnapshot;
use super::{pages, respond};
use crate::sample::Hertz;

/// A profile of the next `duration`, of the processes that the selector means.
#[derive(Debug)]
pub struct PullRequest {
    /// How long to sample: 1 to 300 seconds.
    pub duration: Duration,
    /// Sample at least so often; without it at the rate that is set.
    pub hz: Option<Hertz>,
    /// Which processes.
    pub selector: Selector,
    /// For the answer. Closed when nobody waits for it any more.
    pub reply: oneshot::Sender<Result<PullReply, PullError>>,
}

/// A finished pull.
#[derive(Debug)]
pub struct PullReply {
    /// pprof, gzip.
    pub pprof_gz: Vec<u8>,
}

/// Why there is no profile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The daemon ends.
    #[error("the daemon is stopping")]
    Stopping,
    /// Not now.
    #[error("{reason}")]
    Busy {
        /// For people.
        reason: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// Sampling or encoding failed.
    #[error("{reason}")]
    Failed {
        /// For people.
        reason: String,
    },
}

/// Of `seconds`: what clients expect that say nothing, and what is allowed.
const SECONDS_DEFAULT: u64 = 30;
/// Longest pull, seconds.
pub const SECONDS_MAX: u64 = 300;
/// Of `hz`.
pub const HERTZ_MAX: u32 = 99;
/// Pulls at the same time; each holds a profile in memory.
pub const PULLS_MAX: usize = 8;
/// What naming and encoding may take on top of the time asked for.
const FINISH_MAX: Duration = Duration::from_secs(30);

const X_GO_PPROF: HeaderName = HeaderName::from_static("x-go-pprof");

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPull {
    #[error("seconds={given:?}: a whole number from 1 to {SECONDS_MAX} is needed")]
    Seconds { given: String },
    #[error("hz={given:?}: a whole number from 1 to {HERTZ_MAX} is needed")]
    Hertz { given: String },
    #[error("{name} is given twice")]
    Twice { name: &'static str },
    #[error(transparent)]
    Selector(#[from] SelectorError),
    #[error("no process here has a label {name:?}; there are: {known}")]
    UnknownLabel { name: String, known: String },
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Pull {
    duration: Duration,
    hz: Option<Hertz>,
    selector: Selector,
}

/// Parameters of Go's own handlers that mean nothing for a CPU profile: accepted, so that nobody's collector fails.
const IGNORED: [&str; 2] = ["debug", "gc"];

impl Pull {
    /// Reads the selector in a path, if there is one, and the query. Every parameter that is none of ours is a label.
    pub(super) fn read(path_selector: Option<&str>, query: &str) -> Result<Self, BadPull> {
        let (mut seconds, mut hz, mut selector) = (None, None, Selector::default());
        if let Some(path) = path_selector {
            selector.add_path(path)?;
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "seconds" => once(&mut seconds, "seconds", read_seconds(&value)?)?,
                "hz" => once(&mut hz, "hz", read_hertz(&value)?)?,
                "match" | "match[]" => selector.add_matchers(&value)?,
                name if IGNORED.contains(&name) => {}
                name => selector.add_equal(name, &value)?,
            }
        }
        let duration = Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT));
        Ok(Self { duration, hz, selector })
    }

    fn checked_against(self, targets: &TargetsSnapshot) -> Result<Self, BadPull> {
        match targets.unknown_label(&self.selector) {
            None => Ok(self),
            Some(unknown) => {
                Err(BadPull::UnknownLabel { name: unknown.name.to_owned(), known: unknown.known })
            }
        }
    }
}

fn once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), BadPull> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadPull::Twice { name }),
    }
}

fn read_seconds(given: &str) -> Result<u64, BadPull> {
    let seconds = given.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| BadPull::Seconds { given: given.to_owned() })
}

fn read_hertz(given: &str) -> Result<Hertz, BadPull> {
    let hertz = given.parse().ok().filter(|&hertz| hertz <= HERTZ_MAX).and_then(Hertz::new);
    hertz.ok_or_else(|| BadPull::Hertz { given: given.to_owned() })
}

/// Answers a pull. Dropped when its client goes away, and with it the place for the answer.
pub(super) async fn answer(shared: &Shared, path_selector: Option<&str>, query: &str) -> Response {
    let pull = Pull::read(path_selector, query);
    let pull = match pull.and_then(|pull| pull.checked_against(&shared.targets())) {
        Ok(pull) => pull,
        Err(bad) => return failed(StatusCode::BAD_REQUEST, &bad.to_string(), None),
    };
    let Ok(_permit) = shared.pulls_permitted.try_acquire() else {
        let sentence = format!("{PULLS_MAX} profiles are being taken, which is the most; try again");
        return failed(StatusCode::TOO_MANY_REQUESTS, &sentence, Some(pull.duration));
    };
    let _open = shared.counters.pull();
    let patience = pull.duration + FINISH_MAX;
    let (reply, answer) = oneshot::channel();
    let Pull { duration, hz, selector } = pull;
    match shared.pulls.try_send(PullRequest { duration, hz, selector, reply }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            let sentence = "the sampler has not yet taken up the pulls before this one; try again";
            return failed(StatusCode::SERVICE_UNAVAILABLE, sentence, Some(Duration::from_secs(1)));
        }
        Err(TrySendError::Closed(_)) => return refused(&PullError::Stopping),
    }
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(Ok(reply))) => profile(reply.pprof_gz),
        Ok(Ok(Err(error))) => refused(&error),
        Ok(Err(_sampler_gone)) => refused(&PullError::Stopping),
        Err(_late) => failed(StatusCode::GATEWAY_TIMEOUT, "the profile was not finished in time", None),
    }
}

/// The head of an answer without sampling for it.
pub(super) fn head() -> Response {
    profile(Vec::new())
}

fn profile(pprof_gz: Vec<u8>) -> Response {
    let mut response = respond::bytes(StatusCode::OK, "application/octet-stream", pprof_gz);
    let disposition = HeaderValue::from_static("attachment; filename=\"profile\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    response
}

fn refused(error: &PullError) -> Response {
    let sentence = error.to_string();
    match error {
        PullError::Stopping => {
            failed(StatusCode::SERVICE_UNAVAILABLE, &sentence, Some(Duration::from_secs(5)))
        }
        PullError::Busy { retry_after, .. } => {
            failed(StatusCode::SERVICE_UNAVAILABLE, &sentence, Some(*retry_after))
        }
        PullError::Failed { .. } => failed(StatusCode::INTERNAL_SERVER_ERROR, &sentence, None),
    }
}

fn failed(status: StatusCode, sentence: &str, retry_after: Option<Duration>) -> Response {
    let mut response = respond::text(status, &pages::harmless(sentence));
    let headers = response.headers_mut();
    headers.insert(X_GO_PPROF, HeaderValue::from_static("1"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(respond::PLAIN));
    if let Some(after) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: Option<&str>, query: &str) -> String {
        match Pull::read(path, query) {
            Ok(Pull { duration, hz, selector }) => {
                format!("{} s, {:?} Hz, {selector}", duration.as_secs(), hz.map(Hertz::get))
            }
            Err(bad) => bad.to_string(),
        }
    }

    #[test]
    fn a_query_is_read() {
        assert_eq!(read(None, ""), "30 s, None Hz, {}");
        assert_eq!(read(None, "seconds=300&hz=99&pid=12"), r#"300 s, Some(99) Hz, {pid="12"}"#);
        assert_eq!(read(None, "service_name=a%2Fb&debug=0&gc=1"), r#"30 s, None Hz, {service_name="a/b"}"#);
        assert_eq!(
            read(Some("pod=x"), "match=%7Bapp%3D~%22a.*%22%7D&seconds=14"),
            r#"14 s, None Hz, {pod="x", app=~"a.*"}"#
        );
    }

    #[test]
    fn what_is_out_of_range_is_told() {
        for seconds in ["0", "301", "-1", "1.5", "", "x", "99999999999999999999"] {
            assert_eq!(
                read(None, &format!("seconds={seconds}")),
                format!("seconds={seconds:?}: a whole number from 1 to 300 is needed")
            );
        }
        assert_eq!(read(None, "hz=100"), "hz=\"100\": a whole number from 1 to 99 is needed");
        assert_eq!(read(None, "hz=0"), "hz=\"0\": a whole number from 1 to 99 is needed");
        assert_eq!(read(None, "seconds=1&seconds=2"), "seconds is given twice");
        assert_eq!(
            read(Some("pod=x"), "pod=y"),
            r#"pod is given twice; one of several is match={pod=~"a|b"}"#
        );
        assert_eq!(read(None, "pid=x"), r#"pid="x": not a process id"#);
        assert!(read(None, "match={a").starts_with("match: "));
    }
}
