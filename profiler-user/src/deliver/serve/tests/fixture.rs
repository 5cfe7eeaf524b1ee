//! A server in a thread of its own, a client that sends any bytes, and a host of four processes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::attribute::labels::Labels;
use crate::deliver::serve::{
    Access, Inputs, Limits, ListenAddress, PullRequest, SelfAccount, ServeCounters, Server, Target,
    TargetsSnapshot, Token, Verdict,
};
use crate::host::{Clock, WallNanos};

pub(crate) const TOKEN: &str = "correct-horse-battery";
/// No test waits longer for bytes, so that a broken server fails it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until it is so; fails if that takes too long.
pub(super) fn wait_until(is_so: impl Fn() -> bool) {
    let clock = Clock::host();
    let began = clock.monotonic();
    while !is_so() {
        assert!(clock.since(began) < PATIENCE, "waited in vain");
        std::thread::yield_now();
    }
}

struct Well;

impl SelfAccount for Well {
    fn metrics(&self) -> String {
        "# TYPE x gauge\nx 1\n# EOF\n".to_owned()
    }

    fn health(&self) -> Verdict {
        Verdict { is_well: true, lines: vec!["alive".to_owned()] }
    }

    fn readiness(&self) -> Verdict {
        Verdict { is_well: false, lines: vec!["cpu 1 is not sampled".to_owned(), "spool: full".to_owned()] }
    }
}

/// Four processes: a pod, a unit, a dropped one, and a kernel thread.
pub(crate) fn snapshot() -> TargetsSnapshot {
    let labels = |pairs: &[(&'static str, &'static str)]| pairs.iter().copied().collect::<Labels>();
    let shop = Target {
        pid: 4242,
        executable: "/app/shop".into(),
        labels: Arc::new(labels(&[
            ("service_name", "shop/web"),
            ("namespace", "prod"),
            ("pod", "web-1"),
            ("language", "go"),
        ])),
        rule: "kubernetes".into(),
        language: "go".into(),
        dropped: None,
        samples: 900,
        complete_permille: Some(997),
    };
    let init = Target {
        pid: 1,
        executable: "/usr/lib/systemd/systemd".into(),
        labels: Arc::new(labels(&[("service_name", "init.scope"), ("systemd_unit", "init.scope")])),
        rule: "systemd".into(),
        language: "native".into(),
        samples: 12,
        complete_permille: Some(1_000),
        ..Target::default()
    };
    let hostile = Target {
        pid: 77,
        executable: "/tmp/<script>alert(1)</script>\u{1b}[2J".into(),
        labels: Arc::new(labels(&[("service_name", "\"><img src=x>"), ("a'b", "&amp;")])),
        rule: "executable".into(),
        dropped: Some("relabel_configs[2] (drop) <b>".into()),
        samples: 5,
        ..Target::default()
    };
    let thread = Target { pid: 9, executable: "kworker/0:1".into(), samples: 1, ..Target::default() };
    TargetsSnapshot::new(
        "web-1".into(),
        WallNanos(1_700_000_000_000_000_000),
        vec![shop, init, hostile, thread],
    )
}

pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) addresses: Vec<ListenAddress>,
    pub(super) pulls: mpsc::Receiver<PullRequest>,
    pub(super) targets: watch::Sender<Arc<TargetsSnapshot>>,
    pub(super) access: watch::Sender<Arc<Access>>,
    pub(super) counters: Arc<ServeCounters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start() -> Self {
        Self::with(Limits::default(), &["127.0.0.1:0"])
    }

    pub(super) fn with(limits: Limits, addresses: &[&str]) -> Self {
        let addresses: Vec<ListenAddress> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let server = Server::bind(&addresses, limits).unwrap();
        let addresses: Vec<_> = server.addresses().cloned().collect();
        let counters = server.counters();
        let (targets, targets_seen) = watch::channel(Arc::new(snapshot()));
        let token = Some(Token::new(TOKEN).unwrap());
        let (access, access_seen) = watch::channel(Arc::new(Access { token, ..Access::default() }));
        let (asking, pulls) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel();
        let inputs = Inputs {
            clock: Clock::host(),
            account: Arc::new(Well),
            targets: targets_seen,
            access: access_seen,
            pulls: asking,
            advertised: None,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server.run(inputs, async { drop(stopped.await) })).unwrap();
        });
        let ListenAddress::Tcp(address) = addresses[0] else { panic!("the first address is TCP") };
        let (stop, thread) = (Some(stop), Some(thread));
        Self { address, addresses, pulls, targets, access, counters, stop, thread }
    }

    /// Sends bytes over a new connection.
    pub(super) fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    }

    /// The whole answer to a GET.
    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The whole answer to a request; `headers` end with CRLF each.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        Answer::read(self.send(&head))
    }

    /// The next pull that the sampler is asked for.
    pub(super) fn next_pull(&mut self) -> PullRequest {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let next = async { tokio::time::timeout(PATIENCE, self.pulls.recv()).await };
        runtime.block_on(next).expect("a pull in time").expect("a server")
    }

    /// Ends the server and waits for its end.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// What came back until the connection was closed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer with a head");
        let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[split + 4..].to_vec() }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}
