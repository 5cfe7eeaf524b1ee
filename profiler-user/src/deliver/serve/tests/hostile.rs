//! Clients that send too much, too slowly, or nonsense, and clients that do not read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::fixture::{Answer, Running, wait_until};
use crate::deliver::serve::{Limits, PullReply};

/// What is read until the server closes; a reset is a way of closing.
fn until_closed(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

#[test]
fn heads_have_a_size_and_a_number() {
    let running = Running::start();
    let with = |header: String| {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may close before it has read all of it.
        let _closed_early = stream.write_all(head.as_bytes());
        until_closed(stream).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(with(format!("X: {}\r\n", "y".repeat(8_000))), "HTTP/1.1 200 OK");
    assert_eq!(
        with(format!("X: {}\r\n", "y".repeat(40_000))),
        "HTTP/1.1 431 Request Header Fields Too Large"
    );
    assert_eq!(with("X: y\r\n".repeat(61)), "HTTP/1.1 200 OK");
    assert_eq!(with("X: y\r\n".repeat(65)), "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(running.get("/healthz").status, 200);
}

#[test]
fn bodies_are_refused() {
    let running = Running::start();
    assert_eq!(running.ask("GET", "/healthz", "Content-Length: 9999999999\r\n").status, 413);
    assert_eq!(running.ask("GET", "/healthz", "Transfer-Encoding: chunked\r\n").status, 413);
    assert_eq!(running.ask("GET", "/healthz", "Content-Length: 0\r\n").status, 200);
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let limits = Limits { head_time: Duration::from_millis(100), connections: 3, ..Limits::default() };
    let running = Running::with(limits, &["127.0.0.1:0"]);
    // More of them than there are seats: all are closed, and others are served.
    let slow: Vec<_> = (0..9).map(|_| running.send("GET /healthz HTTP/1.1\r\nHost: local")).collect();
    let idle = running.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(running.get("/healthz").status, 200);
    for stream in slow {
        let answer = until_closed(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert!(until_closed(idle).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_trickle_does_not_prolong_a_head() {
    let limits = Limits { head_time: Duration::from_millis(100), ..Limits::default() };
    let running = Running::with(limits, &["127.0.0.1:0"]);
    let mut stream = running.send("GET /healthz HTTP/1.1\r\n");
    // A byte at a time, as long as it is taken: it ends only because the server closes.
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut buffer = [0; 256];
    let is_closed = (0..4_000).any(|_| match stream.read(&mut buffer) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            stream.write_all(b"x").is_err()
        }
        Err(_) => true,
    });
    assert!(is_closed);
    assert_eq!(running.get("/healthz").status, 200);
}

#[test]
fn who_does_not_read_is_dropped() {
    let limits = Limits { stall_time: Duration::from_millis(100), connections: 1, ..Limits::default() };
    let mut running = Running::with(limits, &["127.0.0.1:0"]);
    let stream = running.send("GET /debug/pprof/profile HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let request = running.next_pull();
    // More than the buffers of both ends hold.
    request.reply.send(Ok(PullReply { pprof_gz: vec![7; 64 << 20] })).unwrap();
    wait_until(|| running.counters.read().connections_open == 0);
    assert_eq!(running.get("/healthz").status, 200);
    drop(stream);
}

#[test]
fn nonsense_is_answered_or_closed() {
    let running = Running::start();
    let mut random = fastrand::Rng::with_seed(41);
    for nonsense in [
        "\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        let stream = running.send(nonsense);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = until_closed(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{nonsense:?}: {answer}");
    }
    for _ in 0..200 {
        let path: String = (0..random.usize(1..40)).map(|_| random.char('!'..='~')).collect();
        let answer = running.get(&format!("/targets/{path}/debug/pprof/profile?seconds=0&{path}"));
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        // Some of these signs may not stand in a query: hyper answers those.
        let status = running.get(&format!("/targets?q={path}&sort={path}&page={path}")).status;
        assert!(matches!(status, 200 | 400), "{path}: {status}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_turn() {
    let running = Running::start();
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = until_closed(running.send(&format!("{one}{one}{last}")));
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(Answer::read(running.send(last)).status, 200);
}
