//! Profiles on demand: what the sampler is asked for, and what the client gets.

use std::net::TcpStream;
use std::time::Duration;

use super::fixture::{Answer, Running, wait_until};
use crate::attribute::labels::Labels;
use crate::deliver::serve::{PULLS_MAX, PullError, PullReply, PullRequest};
use crate::sample::Hertz;

fn begin(running: &Running, path: &str) -> TcpStream {
    running.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn answer(request: PullRequest, with: Result<PullReply, PullError>) {
    request.reply.send(with).expect("somebody waits");
}

/// As many as there can be, each taken up before the next: the channel holds fewer.
fn most_pulls(running: &mut Running) -> (Vec<TcpStream>, Vec<PullRequest>) {
    let begin_one = |_| (begin(running, "/debug/pprof/profile?seconds=7"), running.next_pull());
    (0..PULLS_MAX).map(begin_one).unzip()
}

#[test]
fn a_pull_is_answered_as_go_does() {
    let mut running = Running::start();
    let stream = begin(&running, "/debug/pprof/profile?seconds=10&hz=50&service_name=shop%2Fweb");
    let request = running.next_pull();
    assert_eq!((request.duration, request.hz), (Duration::from_secs(10), Hertz::new(50)));
    let shop: Labels = [("service_name", "shop/web")].into_iter().collect();
    assert!(request.selector.matches(&shop, 1) && !request.selector.matches(&Labels::default(), 1));
    answer(request, Ok(PullReply { pprof_gz: b"\x1f\x8b profile".to_vec() }));
    let got = Answer::read(stream);
    assert_eq!((got.status, &*got.body), (200, &b"\x1f\x8b profile"[..]));
    assert_eq!(got.header("content-type"), ["application/octet-stream"]);
    assert_eq!(got.header("content-disposition"), ["attachment; filename=\"profile\""]);
    assert!(got.header("x-go-pprof").is_empty());
}

#[test]
fn a_path_selects_too() {
    let mut running = Running::start();
    let path = "/targets/service_name=shop%2Fweb,pod=web-1/debug/pprof/profile?seconds=14";
    let stream = begin(&running, path);
    let request = running.next_pull();
    assert_eq!(request.selector.to_string(), r#"{service_name="shop/web", pod="web-1"}"#);
    assert_eq!(request.duration, Duration::from_secs(14));
    answer(request, Ok(PullReply { pprof_gz: Vec::new() }));
    assert_eq!(Answer::read(stream).status, 200);
}

#[test]
fn a_bad_request_is_told_so_that_go_tool_pprof_prints_it() {
    let running = Running::start();
    let told = |path: &str| {
        let got = running.get(path);
        assert_eq!((got.status, got.header("x-go-pprof")), (400, vec!["1"]));
        assert_eq!(got.header("content-type"), ["text/plain; charset=utf-8"]);
        got.text().to_owned()
    };
    assert_eq!(
        told("/debug/pprof/profile?seconds=301"),
        "seconds=\"301\": a whole number from 1 to 300 is needed\n"
    );
    assert_eq!(
        told("/debug/pprof/profile?sevice_name=shop"),
        "no process here has a label \"sevice_name\"; there are: language namespace pid pod service_name systemd_unit\n"
    );
    assert_eq!(told("/targets/nginx/debug/pprof/profile"), "\"nginx\" is no name=value\n");
    assert_eq!(
        told("/debug/pprof/profile?pod=a&pod=b"),
        "pod is given twice; one of several is match={pod=~\"a|b\"}\n"
    );
    assert!(running.pulls.is_empty());
}

#[test]
fn a_client_that_goes_away_ends_its_pull() {
    let mut running = Running::start();
    let stream = begin(&running, "/debug/pprof/profile");
    let mut request = running.next_pull();
    assert!(!request.reply.is_closed());
    drop(stream);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(request.reply.closed());
    // Its place is free again: the most that can be.
    let (streams, requests) = most_pulls(&mut running);
    assert_eq!(running.counters.read().pulls_open, 8);
    drop(requests);
    assert!(streams.into_iter().all(|stream| Answer::read(stream).status == 503));
}

#[test]
fn more_pulls_than_can_be_are_told_when_to_come_again() {
    let mut running = Running::start();
    let (streams, taken) = most_pulls(&mut running);
    let refused = running.get("/debug/pprof/profile?seconds=7");
    assert_eq!((refused.status, refused.header("retry-after")), (429, vec!["7"]));
    assert_eq!(running.get("/healthz").status, 200, "pulls hold up nothing else");
    for request in taken {
        answer(request, Ok(PullReply { pprof_gz: b"x".to_vec() }));
    }
    assert!(streams.into_iter().all(|stream| Answer::read(stream).status == 200));
}

#[test]
fn a_sampler_that_does_not_take_pulls_up_is_no_reason_to_wait() {
    let running = Running::start();
    // The channel of the fixture holds four.
    let streams: Vec<_> = (0..4).map(|_| begin(&running, "/debug/pprof/profile")).collect();
    wait_until(|| running.pulls.len() == 4);
    let refused = running.get("/debug/pprof/profile");
    assert_eq!((refused.status, refused.header("retry-after")), (503, vec!["1"]));
    drop(streams);
}

#[test]
fn failures_of_the_sampler_are_passed_on() {
    let mut running = Running::start();
    let mut fail = |with: Result<PullReply, PullError>| {
        let stream = begin(&running, "/debug/pprof/profile");
        answer(running.next_pull(), with);
        let got = Answer::read(stream);
        assert_eq!(got.header("x-go-pprof"), ["1"]);
        (got.status, got.text().to_owned())
    };
    let busy =
        PullError::Busy { reason: "over the CPU budget".to_owned(), retry_after: Duration::from_secs(60) };
    assert_eq!(fail(Err(busy)), (503, "over the CPU budget\n".to_owned()));
    let failed = PullError::Failed { reason: "no CPU ticks".to_owned() };
    assert_eq!(fail(Err(failed)), (500, "no CPU ticks\n".to_owned()));
    assert_eq!(fail(Err(PullError::Stopping)), (503, "the daemon is stopping\n".to_owned()));
    let stream = begin(&running, "/debug/pprof/profile");
    drop(running.next_pull());
    assert_eq!(Answer::read(stream).status, 503);
}

#[test]
fn head_samples_nothing() {
    let running = Running::start();
    let head = running.ask("HEAD", "/debug/pprof/profile?seconds=300", "");
    assert_eq!((head.status, head.header("content-type")), (200, vec!["application/octet-stream"]));
    assert!(running.pulls.is_empty());
}

#[test]
fn an_orderly_end_lets_a_finished_pull_through() {
    let mut running = Running::start();
    let stream = begin(&running, "/debug/pprof/profile");
    let request = running.next_pull();
    answer(request, Ok(PullReply { pprof_gz: vec![7; 1 << 20] }));
    running.stop();
    assert_eq!(Answer::read(stream).body.len(), 1 << 20);
}
