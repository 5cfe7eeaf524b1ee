//! Each route: what it answers, with which headers, and to whom.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use expect_test::expect;

use super::fixture::{Answer, Running, TOKEN};
use crate::deliver::serve::{Access, Limits, ListenAddress, Token};

#[test]
fn metrics_and_health_are_answered() {
    let running = Running::start();
    let metrics = running.get("/metrics");
    assert_eq!((metrics.status, metrics.text()), (200, "# TYPE x gauge\nx 1\n# EOF\n"));
    assert_eq!(
        metrics.header("content-type"),
        ["application/openmetrics-text; version=1.0.0; charset=utf-8"]
    );
    let browsed = running.ask("GET", "/metrics", "Accept: text/html,*/*\r\n");
    assert_eq!(browsed.header("content-type"), ["text/plain; charset=utf-8"]);
    let health = running.get("/healthz");
    assert_eq!((health.status, health.text()), (200, "alive\n"));
    let readiness = running.get("/readyz");
    assert_eq!((readiness.status, readiness.text()), (503, "cpu 1 is not sampled\nspool: full\n"));
}

#[test]
fn every_answer_forbids_what_it_does_not_need() {
    let running = Running::start();
    for path in ["/", "/metrics", "/targets", "/nowhere", "/debug/pprof/profile?seconds=0"] {
        let answer = running.get(path);
        assert_eq!(answer.header("x-content-type-options"), ["nosniff"], "{path}");
        assert_eq!(answer.header("cache-control"), ["no-store"], "{path}");
        assert!(answer.header("content-security-policy")[0].starts_with("default-src 'none'"), "{path}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let running = Running::start();
    let statuses = |method: &str, path: &str| running.ask(method, path, "").status;
    assert_eq!(statuses("GET", "/nowhere"), 404);
    assert_eq!(statuses("GET", "/targets/x"), 404);
    assert_eq!(statuses("GET", "/debug/pprof/heap"), 404);
    assert_eq!(statuses("GET", "/debug/pprof"), 308);
    assert_eq!(statuses("HEAD", "/metrics"), 200);
    assert_eq!(statuses("POST", "/metrics"), 405);
    assert_eq!(statuses("DELETE", "/targets"), 405);
    let counts = running.counters.read();
    assert_eq!(counts.requests[&("other", 404)], 3);
    assert_eq!(counts.requests[&("/metrics", 405)], 1);
    assert_eq!(counts.requests[&("/debug/pprof", 308)], 1);
}

#[test]
fn a_token_opens_what_loopback_may_be_denied() {
    let running = Running::start();
    let strict =
        Access { token: Some(Token::new(TOKEN).unwrap()), loopback_needs_token: true, ..Access::default() };
    running.access.send(Arc::new(strict)).unwrap();
    let denied = running.get("/targets");
    assert_eq!(denied.status, 401);
    assert_eq!(
        denied.header("www-authenticate"),
        ["Bearer realm=\"flamekeeper\"", "Basic realm=\"flamekeeper\", charset=\"UTF-8\""]
    );
    assert!(!denied.text().contains(TOKEN));
    assert_eq!(running.get("/metrics").status, 200);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(running.ask("GET", "/targets", &bearer).status, 200);
    assert_eq!(running.ask("GET", "/targets", "Authorization: Bearer correct-horse-batterx\r\n").status, 401);
    running.access.send(Arc::new(Access::default())).unwrap();
    assert_eq!(running.get("/targets").status, 200, "a change of rules needs no new server");
    assert_eq!(running.counters.read().refusals["unauthorized"], 2);
}

#[test]
fn a_name_that_was_made_to_lead_here_is_refused() {
    let running = Running::start();
    let ask = |host: &str| {
        Answer::read(running.send(&format!("GET /targets.json HTTP/1.1\r\n{host}Connection: close\r\n\r\n")))
    };
    assert_eq!(ask("Host: evil.example:4041\r\n").status, 421);
    assert_eq!(ask("Host: 127.0.0.1\r\n").status, 200);
    assert_eq!(ask("").status, 400);
    assert_eq!(ask("Host: localhost\r\nHost: evil.example\r\n").status, 400);
    assert_eq!(running.counters.read().refusals["foreign_name"], 1);
}

#[test]
fn several_addresses_of_all_families_are_served_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let unix = format!("unix:{}", path.display());
    let mut running = Running::with(Limits::default(), &["127.0.0.1:0", "[::1]:0", &unix]);
    let ListenAddress::Tcp(six) = running.addresses[1] else { panic!() };
    let request = b"GET /targets.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut stream, request).unwrap();
    assert_eq!(Answer::read(stream).status, 200);
    let mut stream = std::net::TcpStream::connect(six).unwrap();
    std::io::Write::write_all(&mut stream, request).unwrap();
    assert_eq!(Answer::read(stream).status, 421, "x is no name of loopback");
    running.stop();
    assert!(!path.exists());
}

#[test]
fn targets_are_listed_as_json() {
    let running = Running::start();
    let answer = running.get("/targets.json?q=%7Bnamespace%3D%22prod%22%7D");
    assert_eq!(answer.header("content-type"), ["application/json"]);
    expect![[r#"{"host":"web-1","taken_at_unix_ms":1700000000000,"left_out":0,"targets":[{"pid":4242,"executable":"/app/shop","service":"shop/web","rule":"kubernetes","language":"go","dropped":null,"samples":900,"complete_permille":997,"labels":{"language":"go","namespace":"prod","pod":"web-1","service_name":"shop/web"}}]}"#]]
        .assert_eq(answer.text());
    let mistaken = running.get("/targets.json?q=%7Bnamespace");
    assert_eq!(
        (mistaken.status, mistaken.text()),
        (400, "match: =, !=, =~ or !~ expected at character 11\n")
    );
}

#[test]
fn a_new_picture_is_shown_at_once() {
    let running = Running::start();
    running.targets.send(Arc::default()).unwrap();
    assert_eq!(running.get("/sd/targets").text(), "[]");
    assert!(running.get("/targets").text().contains("Nothing has been sampled yet."));
}

#[test]
fn services_are_discovered() {
    let running = Running::start();
    let answer = running.ask("GET", "/sd/targets", "");
    assert_eq!(answer.header("content-type"), ["application/json"]);
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    expect![[r#"
        [
          {
            "labels": {
              "__meta_flamekeeper_host": "web-1",
              "__name__": "process_cpu",
              "__profile_path__": "/debug/pprof/profile",
              "__profile_path_prefix__": "/targets/service_name=init%2Escope",
              "service_name": "init.scope",
              "systemd_unit": "init.scope"
            },
            "targets": [
              "localhost"
            ]
          },
          {
            "labels": {
              "__meta_flamekeeper_host": "web-1",
              "__name__": "process_cpu",
              "__profile_path__": "/debug/pprof/profile",
              "__profile_path_prefix__": "/targets/service_name=shop%2Fweb",
              "language": "go",
              "namespace": "prod",
              "pod": "web-1",
              "service_name": "shop/web"
            },
            "targets": [
              "localhost"
            ]
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&document).unwrap());
}
