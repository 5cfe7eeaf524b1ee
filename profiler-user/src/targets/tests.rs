//! The command against a real server, and its table.

use std::io::Write as _;
use std::sync::Arc;

use clap::Parser as _;
use expect_test::expect;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::cli::{Cli, Command};
use crate::deliver::serve::{Access, Inputs, Limits, SelfAccount, Server, Token, Verdict, made_up_targets};
use crate::host::Clock;

struct Silent;

impl SelfAccount for Silent {
    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Verdict {
        Verdict { is_well: true, lines: Vec::new() }
    }

    fn readiness(&self) -> Verdict {
        self.health()
    }
}

const TOKEN: &str = "correct-horse-battery";
const NOW: WallNanos = WallNanos(1_700_000_003_000_000_000);

fn args(arguments: &[&str]) -> TargetsArgs {
    match Cli::try_parse_from(["flamekeeper", "targets"].iter().chain(arguments)).unwrap().command {
        Command::Targets(args) => args,
        _ => panic!(),
    }
}

/// What the command says against a server that listens at `listen` by these rules.
fn said(listen: &str, access: Access, arguments: &[&str], width: Option<usize>) -> Result<String, String> {
    let (_targets, targets) = watch::channel(Arc::new(made_up_targets()));
    let (_access, access) = watch::channel(Arc::new(access));
    let (pulls, _pulled) = mpsc::channel(1);
    let server = Server::bind(&[listen.parse().unwrap()], Limits::default()).unwrap();
    let address = server.addresses().next().unwrap().to_string();
    let arguments: Vec<&str> = ["--address", &address].into_iter().chain(arguments.iter().copied()).collect();
    let args = args(&arguments);
    let inputs =
        Inputs { clock: Clock::host(), account: Arc::new(Silent), targets, access, pulls, advertised: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            _ = server.run(inputs, std::future::pending()) => panic!("the server ended"),
            said = run(&args, NOW, width) => said.map_err(|error| error.to_string().replace(&address, "ADDRESS")),
        }
    })
}

fn listed(arguments: &[&str], width: Option<usize>) -> String {
    said("127.0.0.1:0", Access::default(), arguments, width).unwrap()
}

#[test]
fn every_process_has_a_line() {
    expect![[r#"
        SERVICE         PID  SAMPLES    WHOLE  LANGUAGE  NAMED BY    EXECUTABLE                          LABELS, OR WHY NOT SAMPLED
        shop/web       4242      900   99.7 %  go        kubernetes  /app/shop                           namespace=prod pod=web-1
        init.scope        1       12  100.0 %  native    systemd     /usr/lib/systemd/systemd            systemd_unit=init.scope
        "><img src=x>    77        5        -  -         executable  /tmp/<script>alert(1)</script>�[2J  not sampled: relabel_configs[2] (drop) <b>
        -                 9        1        -  -         -           kworker/0:1                         -

        3 sampled, 1 not; as of 3 s ago
    "#]].assert_eq(&listed(&[], None));
}

#[test]
fn a_terminal_cuts_lines() {
    let text = listed(&["--show", "sampled", "--sort", "pid"], Some(60));
    expect![[r#"
        SERVICE      PID  SAMPLES    WHOLE  LANGUAGE  NAMED BY    E…
        init.scope     1       12  100.0 %  native    systemd     /…
        -              9        1        -  -         -           k…
        shop/web    4242      900   99.7 %  go        kubernetes  /…

        3 sampled, 0 not; as of 3 s ago
    "#]]
    .assert_eq(&text);
}

#[test]
fn the_daemon_filters() {
    assert_eq!(listed(&["{namespace=\"prod\"}"], None).lines().count(), 4);
    assert_eq!(listed(&["--show", "dropped", "--json"], None).matches("\"pid\":").count(), 1);
    assert_eq!(listed(&["no such thing"], None).lines().last().unwrap(), "0 sampled, 0 not; as of 3 s ago");
}

#[test]
fn an_unknown_column_is_a_usage_error() {
    let told = Cli::try_parse_from(["flamekeeper", "targets", "--sort", "-sample"]).unwrap_err().to_string();
    assert!(told.contains("columns are service, pid, executable, language"), "{told}");
}

#[test]
fn a_mistake_is_told_in_the_daemons_words() {
    let told = said("127.0.0.1:0", Access::default(), &["{a"], None).unwrap_err();
    assert_eq!(told, "ADDRESS answers 400: match: =, !=, =~ or !~ expected at character 3");
}

#[test]
fn a_token_is_shown_and_a_unix_socket_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::File::create(&file).unwrap().write_all(format!("{TOKEN}\n").as_bytes()).unwrap();
    let strict = || Access {
        token: Some(Token::new(TOKEN).unwrap()),
        loopback_needs_token: true,
        ..Access::default()
    };
    let unix = format!("unix:{}", folder.path().join("s").display());
    for listen in ["127.0.0.1:0", &unix] {
        let shown = said(listen, strict(), &["--token-file", file.to_str().unwrap()], None);
        assert!(shown.unwrap().contains("4242"), "{listen}");
        let refused = said(listen, strict(), &[], None).unwrap_err();
        assert!(refused.starts_with("ADDRESS answers 401: this needs the token"), "{refused}");
    }
    std::fs::write(&file, "short").unwrap();
    let bad = said("127.0.0.1:0", strict(), &["--token-file", file.to_str().unwrap()], None).unwrap_err();
    assert!(bad.ends_with("a token has 16 to 4096 visible ASCII characters, this one has 5"), "{bad}");
}

#[test]
fn nobody_there_is_told_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("unix:{}", folder.path().join("s").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(run(&args(&["--address", &nobody]), NOW, None)).unwrap_err();
    assert!(told.to_string().contains("does `flamekeeper daemon` run?"), "{told}");
}

#[test]
fn what_is_no_daemon_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\x1b[2J\r\n").unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(run(&args(&["--address", &address]), NOW, None)).unwrap_err();
    assert!(matches!(told, TargetsError::Broken { .. }), "{told}");
    other.join().unwrap();
}

#[test]
fn an_empty_daemon_says_so() {
    let json = serde_json::json!({"taken_at_unix_ms": 0, "left_out": 0, "targets": [], "of the future": 1});
    let document = document::read(&serde_json::to_vec(&json).unwrap()).unwrap();
    let text = table::set(&document, NOW, None);
    assert!(text.ends_with("\n0 sampled, 0 not; nothing has been sampled yet\n"), "{text}");
}
