//! Every way in which a server or the way to it can fail, and what the client makes of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_tests::{MadePprof, Pyroscope, PyroscopeOptions, Signal, tool_or_skip};
use profiler_user::deliver::push::{MAX_MESSAGE_CHARS, PushOutcome, RetryCause};
use serde_json::{Value, json};

use super::{Pusher, message, series, summary};

/// Where nothing is answered, this is how long that takes.
const SHORT: &str = "timeout = '400ms'";

/// One fault, one push.
fn struck_by(peer: &Pyroscope, pusher: &Pusher, fault: Value) -> Result<PushOutcome> {
    peer.fail(fault)?;
    let outcome = pusher.push(&series(&MadePprof::recent()?)?);
    peer.heal()?;
    Ok(outcome)
}

#[test]
fn each_answer_has_its_meaning() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let connect = |code: &str| json!({ "kind": "answer", "count": 1, "code": code, "message": "because" });
    let bare = |status: u16| json!({ "kind": "answer", "count": 1, "status": status, "body": "because" });
    let table = [
        (connect("resource_exhausted"), "retry too_many_requests | 429: because"),
        (connect("unknown"), "retry server_error | 500: because"),
        (connect("internal"), "retry server_error | 500: because"),
        (connect("unavailable"), "retry server_error | 503: because"),
        (connect("data_loss"), "retry server_error | 500: because"),
        (connect("deadline_exceeded"), "retry server_error | 504: because"),
        (connect("aborted"), "retry aborted | 409: because"),
        (connect("invalid_argument"), "refused bad_request | 400: because"),
        (connect("unauthenticated"), "refused unauthorized | 401: because"),
        (connect("permission_denied"), "refused forbidden | 403: because"),
        (connect("not_found"), "refused not_found | 404: because"),
        (bare(400), "refused bad_request | 400: because"),
        (bare(408), "retry request_timeout | 408: because"),
        (bare(413), "refused too_large | 413: because"),
        (bare(422), "refused other_4xx | 422: because"),
        (bare(429), "retry too_many_requests | 429: because"),
        (bare(502), "retry server_error | 502: because"),
        // A success of something else, such as a page to log in at, is none.
        (bare(200), "retry not_this_protocol | 200: because"),
    ];
    for (fault, expected) in table {
        let outcome = struck_by(&peer, &pusher, fault)?;
        ensure!(
            format!("{} | {}", summary(&outcome), message(&outcome)) == expected,
            "{outcome:?}, not {expected}"
        );
    }
    ensure!(pusher.outcome()? == "delivered");
    let state = peer.state()?;
    ensure!(state.received.len() == 1 && state.wire.connections == 1, "{:?}", state.wire);
    Ok(())
}

#[test]
fn a_server_says_when_to_come_again() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let after = |value: &str| {
        let headers = json!({ "Retry-After": value });
        let fault = json!({ "kind": "answer", "count": 1, "status": 429, "headers": headers });
        match struck_by(&peer, &pusher, fault)? {
            PushOutcome::Retry { after, cause: RetryCause::TooManyRequests, .. } => Ok(after),
            other => anyhow::bail!("{other:?}"),
        }
    };
    ensure!(after("7")? == Some(Duration::from_secs(7)));
    ensure!(after("tomorrow")?.is_none());
    ensure!(after("Sun, 06 Nov 1994 08:49:37 GMT")? == Some(Duration::ZERO));
    // Longer than anything that it would still take.
    ensure!(after("Fri, 31 Dec 9999 23:59:59 GMT")? == Some(Duration::from_secs(3600)));
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_no_answer() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    ensure!(pusher.outcome()? == "delivered");
    peer.shut()?;
    for _ in 0..3 {
        // The first may find out by its old connection's end.
        let outcome = pusher.push(&series(&MadePprof::recent()?)?);
        let PushOutcome::Retry { cause, .. } = outcome else { anyhow::bail!("{outcome:?}") };
        ensure!(!cause.is_answer(), "{cause}");
    }
    ensure!(pusher.outcome()? == "retry unreachable");
    peer.open()?;
    ensure!(pusher.outcome()? == "delivered");
    ensure!(peer.state()?.received.len() == 2);
    Ok(())
}

#[test]
fn a_host_without_an_address_is_unresolved() -> Result<()> {
    // A name that never has one (RFC 6761).
    let pusher = Pusher::new("http://pyroscope.invalid:4040", "")?;
    ensure!(pusher.outcome()? == "retry unresolved");
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_left_in_time() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, SHORT)?;
    let hang = json!({ "kind": "hang", "count": 1 });
    ensure!(summary(&struck_by(&peer, &pusher, hang)?) == "retry timeout");
    // The head of an answer tells its meaning, even if the rest never ends.
    let trickle = json!({ "kind": "trickle", "count": 1, "status": 503 });
    let outcome = struck_by(&peer, &pusher, trickle)?;
    ensure!(summary(&outcome) == "retry server_error", "{outcome:?}");
    let headers = json!({ "Content-Type": "application/proto" });
    let trickle = json!({ "kind": "trickle", "count": 1, "status": 200, "headers": headers, "store": true });
    ensure!(summary(&struck_by(&peer, &pusher, trickle)?) == "delivered");
    ensure!(pusher.outcome()? == "delivered");
    ensure!(peer.state()?.received.len() == 2);
    Ok(())
}

#[test]
fn half_an_answer_counts_if_its_status_came() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let headers = json!({ "Content-Type": "application/proto" });
    let stored = json!({ "kind": "half", "count": 1, "status": 200, "headers": headers, "store": true });
    ensure!(summary(&struck_by(&peer, &pusher, stored)?) == "delivered");
    let refused = json!({ "kind": "half", "count": 1, "status": 400, "body": "because" });
    let outcome = struck_by(&peer, &pusher, refused)?;
    ensure!(summary(&outcome) == "refused bad_request" && message(&outcome) == "400: because", "{outcome:?}");
    let failed = json!({ "kind": "half_head", "count": 1, "status": 200 });
    ensure!(summary(&struck_by(&peer, &pusher, failed)?) == "retry broken");
    ensure!(peer.state()?.received.len() == 1);
    Ok(())
}

#[test]
fn a_lost_answer_is_sent_again_under_the_same_id() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let profile = series(&MadePprof::recent()?)?;
    peer.fail(json!({ "kind": "reset", "count": 1, "store": true }))?;
    let lost = pusher.push(&profile);
    let PushOutcome::Retry { cause, .. } = lost else { anyhow::bail!("{lost:?}") };
    ensure!(cause == RetryCause::Broken && cause.may_be_stored(), "{cause}");
    ensure!(pusher.push(&profile) == PushOutcome::Delivered);
    let state = peer.state()?;
    let [first, second] = &state.received[..] else { anyhow::bail!("{:?}", state.received) };
    ensure!(first.id == second.id && first.id.len() == 36, "{} and {}", first.id, second.id);
    ensure!(first.answer_lost && !second.answer_lost);
    ensure!((first.duplicate_of, second.duplicate_of) == (None, Some(0)));
    // Without storing: the same to the client, once to the server.
    peer.fail(json!({ "kind": "reset", "count": 1 }))?;
    ensure!(pusher.outcome()? == "retry broken");
    ensure!(peer.state()?.received.len() == 2);
    Ok(())
}

#[test]
fn an_endless_answer_is_cut() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let huge = json!({ "kind": "huge", "count": 1, "status": 400, "bytes": 64 << 20 });
    let outcome = struck_by(&peer, &pusher, huge)?;
    ensure!(summary(&outcome) == "refused bad_request", "{outcome:?}");
    ensure!(message(&outcome).chars().count() == MAX_MESSAGE_CHARS + 1, "{}", message(&outcome).len());
    ensure!(pusher.outcome()? == "delivered");
    let written = peer.state()?.wire.written_bytes;
    ensure!(written < 16 << 20, "{written} bytes were taken");
    Ok(())
}

#[test]
fn control_characters_of_a_server_do_not_reach_a_log() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let fault = json!({
        "kind": "answer", "count": 1, "code": "invalid_argument", "message": "one\n\u{1b}[2Jlevel=error msg=two",
    });
    let outcome = struck_by(&peer, &pusher, fault)?;
    ensure!(message(&outcome) == "400: one  [2Jlevel=error msg=two", "{outcome:?}");
    Ok(())
}

#[test]
fn redirects_are_not_followed() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let stranger = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "bearer_token = 'hush'")?;
    let to = format!("{}/push.v1.PusherService/Push", stranger.url()?);
    for status in [301, 302, 303, 307, 308] {
        let fault = json!({ "kind": "answer", "count": 1, "status": status, "headers": { "Location": to } });
        let outcome = struck_by(&peer, &pusher, fault)?;
        ensure!(summary(&outcome) == "retry redirected", "{outcome:?}");
        ensure!(message(&outcome) == format!("{status}: to {to}"), "{outcome:?}");
    }
    ensure!(stranger.state()?.requests == 0);
    Ok(())
}

#[test]
fn faults_of_http2_are_the_same() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start_with(PyroscopeOptions { tls: true, ..PyroscopeOptions::default() })?;
    let ca = peer.certificate("ca.pem")?;
    check_http2(&peer, &format!("{SHORT}\ntls.ca_file = '{}'", ca.display()))?;
    check_http2(&Pyroscope::start()?, &format!("{SHORT}\nhttp2_prior_knowledge = true"))
}

fn check_http2(peer: &Pyroscope, more: &str) -> Result<()> {
    let pusher = Pusher::new(peer.url()?, more)?;
    ensure!(pusher.outcome()? == "delivered");
    ensure!(peer.state()?.received[0].protocol == "HTTP/2.0");
    let busy = json!({ "kind": "answer", "count": 1, "code": "unavailable", "message": "because" });
    ensure!(summary(&struck_by(peer, &pusher, busy)?) == "retry server_error");
    ensure!(summary(&struck_by(peer, &pusher, json!({ "kind": "hang", "count": 1 }))?) == "retry timeout");
    let lost = json!({ "kind": "reset", "count": 1, "store": true });
    ensure!(summary(&struck_by(peer, &pusher, lost)?) == "retry broken");
    let huge = json!({ "kind": "huge", "count": 1, "status": 500, "bytes": 64 << 20 });
    ensure!(summary(&struck_by(peer, &pusher, huge)?) == "retry server_error");
    ensure!(pusher.outcome()? == "delivered");
    let state = peer.state()?;
    ensure!(state.received.len() == 3, "{:?}", state.received.len());
    ensure!(state.wire.written_bytes < 1 << 20, "{:?}", state.wire);
    Ok(())
}

/// A stop is told to one thread and passed on: until all have it one of them may answer.
fn wait_until_stopped(pid: u32) -> Result<()> {
    for _ in 0..1000 {
        let mut running = 0;
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = std::fs::read_to_string(entry?.path().join("status"))?;
            running += usize::from(!status.lines().any(|line| line.starts_with("State:\tT")));
        }
        if running == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("process {pid} does not stop")
}

#[test]
fn a_connection_that_died_in_silence_is_replaced() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    for more in ["", "http2_prior_knowledge = true"] {
        let pusher = Pusher::new(peer.url()?, &format!("timeout = '1500ms'\n{more}"))?;
        ensure!(pusher.outcome()? == "delivered");
        let before = peer.state()?.wire.connections;
        peer.process().signal(Signal::STOP)?;
        wait_until_stopped(peer.process().pid())?;
        let outcome = pusher.push(&series(&MadePprof::recent()?)?);
        peer.process().signal(Signal::CONT)?;
        let PushOutcome::Retry { cause, .. } = outcome else { anyhow::bail!("{outcome:?}") };
        ensure!(!cause.is_answer(), "{cause}");
        ensure!(pusher.outcome()? == "delivered");
        let wire = peer.state()?.wire;
        ensure!(wire.connections == before + 1, "{more}: {wire:?}");
    }
    Ok(())
}

#[test]
fn what_was_sent_is_what_was_delivered_and_what_was_lost() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    // A third fails before storing, and of what is left a third after: the account must tell them apart.
    let mut delivered = 0;
    let mut attempts = 0;
    peer.fail(
        json!({ "kind": "answer", "probability": 0.3, "seed": 7, "code": "unavailable", "message": "x" }),
    )?;
    let recent = MadePprof::recent()?;
    for number in 0..60_i64 {
        let profile = series(&MadePprof { time_nanos: recent.time_nanos - number, ..recent })?;
        loop {
            attempts += 1;
            match pusher.push(&profile) {
                PushOutcome::Delivered => break,
                PushOutcome::Retry { cause: RetryCause::ServerError, .. } => {}
                other => anyhow::bail!("{other:?}"),
            }
        }
        delivered += i64::try_from(profile.cpu_nanos)?;
    }
    let state = peer.state()?;
    ensure!(state.received.len() == 60 && state.requests == attempts && state.faulty == attempts - 60);
    ensure!(state.faulty > 0, "the dice never struck");
    let received: i64 = state.received.iter().map(|profile| profile.cpu_nanos).sum();
    ensure!(received == delivered, "{received} of {delivered} ns");
    let last = state.received.last().context("received")?;
    ensure!(last.time_nanos == recent.time_nanos - 59);
    Ok(())
}
