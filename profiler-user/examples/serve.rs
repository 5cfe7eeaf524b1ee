//! The HTTP server by itself, with a made-up host of 2,000 processes: to look at its pages, and to measure what a scrape costs.
//!
//! `cargo run --release --example serve -- 127.0.0.1:4041` serves until it is killed;
//! with `scrapes=1000` behind it, it scrapes `/metrics` so often instead, and prints the CPU time of the thread that serves.

use std::io::{Read, Write, stdout};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use profiler_user::aggregate::profile::{
    Function, Line, Location, Process, Profile, Sample, SampledEvent, Space, Thread,
};
use profiler_user::attribute::labels::Labels;
use profiler_user::deliver::file::Format;
use profiler_user::deliver::serve::{
    Access, Inputs, Limits, ListenAddress, PullError, PullReply, Selector, SelfAccount, Server, Target,
    TargetsSnapshot, Verdict,
};
use profiler_user::deliver::spool::account::EndpointAccount;
use profiler_user::deliver::spool::state::{Endpoint, EndpointKey};
use profiler_user::host::{Host, ProcFs};
use profiler_user::telemetry::account::Queue;
use profiler_user::telemetry::overhead::OwnCost;
use profiler_user::telemetry::{Account, exposition};
use tokio::sync::{mpsc, oneshot, watch};

struct MadeUp {
    account: Arc<Account>,
    host: Host,
}

impl SelfAccount for MadeUp {
    fn metrics(&self) -> String {
        let own = OwnCost::measure(&self.host.proc, &self.host.clock);
        exposition(Arc::new(Account { own, ..Account::clone(&self.account) }))
    }

    fn health(&self) -> Verdict {
        Verdict { is_well: true, lines: vec!["alive".to_owned()] }
    }

    fn readiness(&self) -> Verdict {
        Verdict { is_well: false, lines: vec!["sampling has not begun".to_owned()] }
    }
}

fn account() -> Account {
    let mut account = Account::default();
    for queue in ["windows", "spool", "pulls"] {
        account.queues.insert(queue, Queue::default());
    }
    for name in ["pyroscope-a:4040", "pyroscope-b:4040"] {
        let endpoint = Endpoint { key: EndpointKey::new(name, ""), name: name.to_owned(), takes_back: None };
        account.spool.endpoints.push((endpoint, EndpointAccount::default()));
    }
    for map in 0..15 {
        account.bpf.map_bytes.insert(format!("MAP_{map}"), 1 << 20);
    }
    account
}

fn target(number: u32) -> Target {
    let service = number % 50;
    let (rule, name) = match service {
        0..20 => ("kubernetes", format!("shop/backend-{service}")),
        20..40 => ("systemd", format!("worker-{service}.service")),
        _ => ("executable", format!("tool{service}")),
    };
    let language = ["go", "rust", "java", "python", "native"][service as usize % 5];
    let mut labels: Labels = [("service_name", &*name), ("node", "web-1"), ("language", language)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    if rule == "kubernetes" {
        labels.set("namespace", "prod");
        labels.set("pod", format!("backend-{service}-7c9f6d5b8-{:05x}", number * 7_919 % 0x10_0000));
        labels.set("container", "app");
    }
    let dropped = number.is_multiple_of(17).then(|| Arc::from("relabel_configs[2]: drop"));
    let samples = if dropped.is_some() { 0 } else { u64::from(number * 7_919 % 10_007) };
    Target {
        pid: 1_000 + number,
        executable: format!("/usr/bin/{}", name.replace('/', "-")).into(),
        labels: Arc::new(labels),
        rule: rule.into(),
        language: language.into(),
        complete_permille: (samples > 0).then_some(if service == 42 { 421 } else { 997 }),
        dropped,
        samples,
    }
}

/// One stack with the selector as its only function.
fn profile(duration: Duration, selector: &Selector) -> Result<PullReply, PullError> {
    let cpu_nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let name: Arc<str> = selector.to_string().into();
    let profile = Profile {
        host: "made-up".into(),
        started_nanos: 1_700_000_000_000_000_000,
        duration,
        event: SampledEvent::CpuClock { period_nanos: 1_000_000_000 / 19 },
        processes: vec![Process {
            pid: 1_000,
            executable_name: "made-up".into(),
            started_nanos: 1,
            ended_nanos: None,
        }],
        threads: vec![Thread { process: 0, tid: 1_000, name: "made-up".into() }],
        mappings: Vec::new(),
        functions: vec![Function { name: name.clone(), system_name: name, file: "".into(), start_line: 0 }],
        locations: vec![Location {
            mapping: None,
            address: 1,
            space: Space::User,
            lines: vec![Line { function: 0, line: 0 }],
        }],
        stacks: vec![vec![0]],
        samples: vec![Sample { thread: 0, stack: 0, count: 1, weight: cpu_nanos }],
        timeline: None,
        comments: Vec::new(),
    };
    let mut pprof_gz = Vec::new();
    let encoded = Format::Pprof.encode(&profile, &mut pprof_gz);
    encoded.map_err(|error| PullError::Failed { reason: error.to_string() })?;
    Ok(PullReply { pprof_gz })
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address: ListenAddress = arguments.next().as_deref().unwrap_or("127.0.0.1:4041").parse()?;
    let scrapes = arguments.next().and_then(|text| text.strip_prefix("scrapes=")?.parse::<u32>().ok());
    let host = Host::new();
    let proc = host.proc.clone();
    let now = host.clock.wall(host.clock.monotonic());
    let targets = (0..2_000).map(target).collect();
    let (_targets, seen) =
        watch::channel(Arc::new(TargetsSnapshot::new(host.name.as_str().into(), now, targets)));
    let (_access, rules) = watch::channel(Arc::new(Access::default()));
    let (pulls, mut pulled) = mpsc::channel(4);
    let server = Server::bind(&[address], Limits::default())?;
    let bound = server.addresses().next().cloned().context("an address")?;
    writeln!(stdout(), "serves {bound}")?;
    let inputs = Inputs {
        clock: host.clock,
        account: Arc::new(MadeUp { account: Arc::new(account()), host }),
        targets: seen,
        access: rules,
        pulls,
        advertised: None,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let sample = async {
                while let Some(pull) = pulled.recv().await {
                    drop(pull.reply.send(profile(pull.duration, &pull.selector)));
                }
            };
            tokio::select! {
                served = server.run(inputs, async { drop(stopped.await) }) => served.map_err(anyhow::Error::from),
                () = sample => Ok(()),
            }
        })
    })?;
    match (scrapes, bound) {
        (Some(scrapes), ListenAddress::Tcp(address)) => measure(&proc, address, scrapes)?,
        _ => loop {
            std::thread::sleep(Duration::from_secs(3_600));
        },
    }
    drop(stop);
    serving.join().map_err(|_| anyhow::anyhow!("the server failed"))?
}

fn measure(proc: &ProcFs, address: SocketAddr, scrapes: u32) -> anyhow::Result<()> {
    let bytes = scrape(address)?;
    let before = serving_cpu(proc)?;
    for _ in 0..scrapes {
        scrape(address)?;
    }
    let each = serving_cpu(proc)?.saturating_sub(before) / scrapes;
    let resident = proc.text("self/status")?;
    let resident = resident.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    writeln!(stdout(), "{scrapes} scrapes of {bytes} bytes: {each:?} of CPU each; {resident}")?;
    Ok(())
}

fn scrape(address: SocketAddr) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.len())
}

/// CPU time of the thread that serves, as the scheduler counts it.
fn serving_cpu(proc: &ProcFs) -> anyhow::Result<Duration> {
    for task in std::fs::read_dir(proc.path("self/task"))? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == "http" {
            let statistics = std::fs::read_to_string(path.join("schedstat"))?;
            let nanos = statistics.split(' ').next().context("schedstat")?.parse()?;
            return Ok(Duration::from_nanos(nanos));
        }
    }
    anyhow::bail!("no thread serves")
}
