//! A server's answer → what became of the profile.
//!
//! Connect says it twice: by the HTTP status, and by a code in a small JSON document. What a proxy answers has the
//! status alone. Foreign bytes: read up to a bound, and shown without control characters.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::outcome::{PushOutcome, RefusalCause, RetryCause};
use crate::host::WallNanos;

/// Bytes of an answer that are read. More says nothing more; the connection is closed then.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Characters of a server's message that are kept.
pub const MAX_MESSAGE_CHARS: usize = 400;

/// The longest wait that a server is granted: what waits longer is too old for it anyway.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The type of a success, and of nothing else.
pub(super) const CONTENT_TYPE_PROTO: &str = "application/proto";

/// An error of Connect's, as far as we look.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ConnectError {
    code: String,
    message: String,
}

/// What the answer means. `wall_now` is for a `Retry-After` that is a date, from a server that does not say its own.
pub(super) async fn outcome_of(mut response: Response, wall_now: WallNanos) -> PushOutcome {
    let status = response.status();
    let headers = response.headers().clone();
    // A success has come as soon as its head has: the server has stored the profile, and sending it again would
    // count it twice. So the rest is read for the connection's sake only.
    let body = bounded_body(&mut response).await;
    if status == StatusCode::OK && is_proto(&headers) {
        return PushOutcome::Delivered;
    }
    let error: ConnectError = serde_json::from_slice(&body).unwrap_or_default();
    let message = message_of(status, &headers, &error, &body);
    match verdict(status, &error) {
        Verdict::Retry(cause) => {
            PushOutcome::Retry { after: retry_after(&headers, wall_now), cause, message }
        }
        Verdict::Refused(cause) => PushOutcome::Refused { cause, message },
    }
}

/// Ends early at an error: what has come until then may still tell something.
async fn bounded_body(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    body
}

fn is_proto(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE_PROTO))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Retry(RetryCause),
    Refused(RefusalCause),
}

fn verdict(status: StatusCode, error: &ConnectError) -> Verdict {
    use RefusalCause as No;
    use RetryCause as Again;
    match error.code.as_str() {
        "resource_exhausted" => return Verdict::Retry(Again::TooManyRequests),
        // Canceled by the server, as when it is stopped: not a word against the profile.
        "aborted" | "canceled" => return Verdict::Retry(Again::Aborted),
        "unknown" | "internal" | "unavailable" | "data_loss" | "deadline_exceeded" => {
            return Verdict::Retry(Again::ServerError);
        }
        _ => {}
    }
    match status.as_u16() {
        _ if status.is_success() => Verdict::Retry(Again::NotThisProtocol),
        _ if status.is_redirection() => Verdict::Retry(Again::Redirected),
        400 => Verdict::Refused(refusal_by(&error.message)),
        401 => Verdict::Refused(No::Unauthorized),
        403 => Verdict::Refused(No::Forbidden),
        404 => Verdict::Refused(No::NotFound),
        // Of a proxy on the way: the server has not seen anything.
        407 => Verdict::Retry(Again::Unreachable),
        408 => Verdict::Retry(Again::RequestTimeout),
        413 => Verdict::Refused(No::TooLarge),
        429 => Verdict::Retry(Again::TooManyRequests),
        _ if status.is_client_error() => Verdict::Refused(No::Other4xx),
        _ => Verdict::Retry(Again::ServerError),
    }
}

/// Which rule a 400 speaks of, by the words of Pyroscope 2.2 (`pkg/validation/validate.go`). Other words are a
/// plain bad request.
fn refusal_by(message: &str) -> RefusalCause {
    const WORDS: [(&str, RefusalCause); 11] = [
        ("outside of ingestion window", RefusalCause::OutsideWindow),
        ("exceeds the size limit", RefusalCause::TooLarge),
        ("payload size exceeds limit", RefusalCause::TooLarge),
        ("exceeds the samples count limit", RefusalCause::TooLarge),
        ("exceeds the sample labels limit", RefusalCause::TooLarge),
        ("label names; limit", RefusalCause::Labels),
        ("label name too long", RefusalCause::Labels),
        ("label value too long", RefusalCause::Labels),
        ("duplicate label name", RefusalCause::Labels),
        ("invalid labels", RefusalCause::Labels),
        ("at least one label pair is required", RefusalCause::Labels),
    ];
    let found = WORDS.iter().find(|(words, _)| message.contains(words));
    found.map_or(RefusalCause::BadRequest, |(_, cause)| *cause)
}

fn message_of(status: StatusCode, headers: &HeaderMap, error: &ConnectError, body: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let words = if status.is_redirection() {
        headers.get(LOCATION).map(|to| format!("to {}", text(to.as_bytes()))).unwrap_or_default()
    } else if error.message.is_empty() {
        text(body.get(..4 * MAX_MESSAGE_CHARS).unwrap_or(body))
    } else {
        error.message.clone()
    };
    one_line(&if words.is_empty() { status.to_string() } else { format!("{}: {words}", status.as_u16()) })
}

/// A foreign text as a part of one line of a log: control characters become blanks, the rest is cut.
pub(super) fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.take(MAX_MESSAGE_CHARS).collect();
    if text.chars().nth(MAX_MESSAGE_CHARS).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}

/// `Retry-After` in both of its forms. A date is measured by the server's own clock, where it tells it.
fn retry_after(headers: &HeaderMap, wall_now: WallNanos) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wish = text(RETRY_AFTER)?;
    let after = match wish.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = httpdate::parse_http_date(wish).ok()?;
            let own_now = std::time::UNIX_EPOCH + Duration::from_nanos(wall_now.0);
            let now = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(own_now);
            until.duration_since(now).unwrap_or_default()
        }
    };
    Some(after.min(MAX_RETRY_AFTER))
}

/// No answer: why not.
pub(super) fn outcome_without_answer(error: reqwest::Error) -> PushOutcome {
    let cause = if has_tls_error(&error) {
        RetryCause::Tls
    } else if error.is_dns() {
        RetryCause::Unresolved
    } else if error.is_connect() {
        RetryCause::Unreachable
    } else if error.is_timeout() {
        RetryCause::Timeout
    } else {
        RetryCause::Broken
    };
    PushOutcome::Retry { after: None, cause, message: one_line(&chain(&error.without_url())) }
}

fn has_tls_error(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // HTTP/2 keeps an error's text alone: the words are those of `rustls::Error::AlertReceived`.
        if error.is::<rustls::Error>() || error.to_string().contains("received fatal alert") {
            return true;
        }
        // What an io::Error holds is not its source: the source is that one's source.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    false
}

/// An error with its causes. Those that repeat the one above them are left out.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let words = error.to_string();
        if !line.ends_with(&words) {
            line = format!("{line}: {words}");
        }
        next = error.source();
    }
    line
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
