//! Answers and what they mean, without a server.

use reqwest::header::HeaderName;

use super::*;

/// Verdict and message for an answer of this status and body.
fn check(status: u16, body: &str, expected: &str) {
    let status = StatusCode::from_u16(status).expect("a status");
    let error: ConnectError = serde_json::from_slice(body.as_bytes()).unwrap_or_default();
    let verdict = match verdict(status, &error) {
        Verdict::Retry(cause) => format!("retry {cause}"),
        Verdict::Refused(cause) => format!("refused {cause}"),
    };
    let message = message_of(status, &HeaderMap::new(), &error, body.as_bytes());
    assert_eq!(format!("{verdict} | {message}"), expected);
}

#[test]
fn statuses_without_a_connect_code() {
    check(204, "", "retry not_this_protocol | 204 No Content");
    check(302, "", "retry redirected | 302 Found");
    check(400, "what?", "refused bad_request | 400: what?");
    check(401, "", "refused unauthorized | 401 Unauthorized");
    check(403, "", "refused forbidden | 403 Forbidden");
    check(404, "404 page not found\n", "refused not_found | 404: 404 page not found");
    check(405, "", "refused other_4xx | 405 Method Not Allowed");
    check(407, "", "retry unreachable | 407 Proxy Authentication Required");
    check(408, "", "retry request_timeout | 408 Request Timeout");
    check(409, "", "refused other_4xx | 409 Conflict");
    check(413, "", "refused too_large | 413 Payload Too Large");
    check(429, "", "retry too_many_requests | 429 Too Many Requests");
    check(500, "", "retry server_error | 500 Internal Server Error");
    check(502, "<html>", "retry server_error | 502: <html>");
    check(503, "", "retry server_error | 503 Service Unavailable");
    check(504, "", "retry server_error | 504 Gateway Timeout");
}

#[test]
fn codes_of_connect() {
    let code = |code: &str| format!(r#"{{"code":"{code}","message":"m","details":[{{"type":"x"}}]}}"#);
    check(429, &code("resource_exhausted"), "retry too_many_requests | 429: m");
    check(409, &code("aborted"), "retry aborted | 409: m");
    check(499, &code("canceled"), "retry aborted | 499: m");
    check(500, &code("unknown"), "retry server_error | 500: m");
    check(500, &code("internal"), "retry server_error | 500: m");
    check(500, &code("data_loss"), "retry server_error | 500: m");
    check(503, &code("unavailable"), "retry server_error | 503: m");
    check(504, &code("deadline_exceeded"), "retry server_error | 504: m");
    // Connect of before 2024 says 408 for a deadline.
    check(408, &code("deadline_exceeded"), "retry server_error | 408: m");
    check(400, &code("invalid_argument"), "refused bad_request | 400: m");
    check(400, &code("failed_precondition"), "refused bad_request | 400: m");
    check(401, &code("unauthenticated"), "refused unauthorized | 401: m");
    check(403, &code("permission_denied"), "refused forbidden | 403: m");
    check(409, &code("already_exists"), "refused other_4xx | 409: m");
    check(501, &code("unimplemented"), "retry server_error | 501: m");
}

#[test]
fn a_bad_request_says_which_rule_it_broke() {
    let cause =
        |message: &str| refusal_by(&format!("push series with index 0 and id x failed: {message}")).as_str();
    assert_eq!(
        cause("profile with labels '{}' is outside of ingestion window (profile timestamp: 1, 2)"),
        "outside_window"
    );
    assert_eq!(
        cause(
            "the profile with labels '{}' exceeds the size limit (max_profile_size_byte, actual: 5, limit: 4)"
        ),
        "too_large"
    );
    assert_eq!(cause("uncompressed profile payload size exceeds limit of 4.2 MB"), "too_large");
    assert_eq!(
        cause("the profile with labels '{}' exceeds the samples count limit (actual: 16001, limit: 16000)"),
        "too_large"
    );
    assert_eq!(cause("profile series '{}' has 31 label names; limit 30"), "labels");
    assert_eq!(cause("profile with labels '{}' has label value too long: 'x'"), "labels");
    assert_eq!(cause("profile with labels '{}' has duplicate label name: 'x'"), "labels");
    assert_eq!(cause("invalid labels '{}' with error: invalid metric name"), "labels");
    assert_eq!(cause("sample value length mismatch"), "bad_request");
}

#[test]
fn a_foreign_message_is_one_short_line() {
    assert_eq!(one_line("a\r\nb\t\u{1b}[31mc\u{85}d "), "a  b  [31mc d");
    assert_eq!(one_line(&"é".repeat(MAX_MESSAGE_CHARS)), "é".repeat(MAX_MESSAGE_CHARS));
    let long = one_line(&"é".repeat(MAX_MESSAGE_CHARS + 1));
    assert_eq!(long, format!("{}…", "é".repeat(MAX_MESSAGE_CHARS)));
    let message =
        message_of(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &ConnectError::default(), &[0xff; 70_000]);
    assert!(message.chars().count() <= MAX_MESSAGE_CHARS + 1, "{}", message.len());
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    // Thu, 01 Jan 2026 00:00:00 GMT
    const NOW: WallNanos = WallNanos(1_767_225_600_000_000_000);
    let check = |wish: &str, date: Option<&str>, expected: Option<u64>| {
        let mut headers = HeaderMap::new();
        let mut set =
            |name: HeaderName, value: &str| drop(headers.insert(name, value.parse().expect("a value")));
        set(RETRY_AFTER, wish);
        if let Some(date) = date {
            set(DATE, date);
        }
        let after = retry_after(&headers, NOW).map(|after| after.as_secs());
        assert_eq!(after, expected, "{wish}");
    };
    check("0", None, Some(0));
    check(" 120 ", None, Some(120));
    check("99999999999", None, Some(3_600));
    check("-1", None, None);
    check("soon", None, None);
    check("Thu, 01 Jan 2026 00:02:00 GMT", None, Some(120));
    check("Wed, 31 Dec 2025 23:00:00 GMT", None, Some(0));
    // The server's clock is an hour ahead of ours: two minutes by its own.
    check("Thu, 01 Jan 2026 01:02:00 GMT", Some("Thu, 01 Jan 2026 01:00:00 GMT"), Some(120));
    check("Fri, 01 Jan 2027 00:00:00 GMT", None, Some(3_600));
    assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
}

#[test]
fn a_success_is_told_by_its_type() {
    let with = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().expect("a value"));
        is_proto(&headers)
    };
    assert!(with("application/proto") && with("Application/Proto; charset=x"));
    assert!(!with("text/html") && !with("application/json") && !with("application/protobuf"));
    assert!(!is_proto(&HeaderMap::new()));
}
