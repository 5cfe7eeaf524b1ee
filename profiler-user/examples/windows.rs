//! Samples the host window after window, and tells what naming each costs, as a table:
//! `cargo run --release --example windows -- [--rate HZ] [--windows N] [--millis N] [--pid PID]…`
//!
//! A window of the daemon's has 19 samples a second on each CPU for 15 s. To be done sooner this one takes as many in a
//! shorter time, and tells the namer that 15 s have passed.
#![expect(clippy::print_stdout, reason = "a table on the terminal is all it is for")]

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use profiler_user::capture::admission::Everyone;
use profiler_user::capture::{Kept, Scope, Session, SessionConfig, Unwind};
use profiler_user::host::{Clock, Host, MonotonicNanos, ProcFs};
use profiler_user::sample::{Hertz, TickSource};
use profiler_user::symbolize::dwarf;
use profiler_user::symbolize::names::Namer;

#[derive(Parser)]
struct Args {
    #[arg(long, value_name = "HZ", default_value_t = 285)]
    rate: u32,
    #[arg(long, value_name = "N", default_value_t = 20)]
    windows: u64,
    #[arg(long, value_name = "N", default_value_t = 1000)]
    millis: u64,
    /// Only these processes; else all
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
}

const WINDOW_NANOS: u64 = 15_000_000_000;

fn main() -> Result<()> {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == dwarf::READER_ARGUMENT) {
        return Ok(dwarf::serve(&ProcFs::host())?);
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&args))
}

async fn run(args: &Args) -> Result<()> {
    let host = Host::new();
    let rate = Hertz::new(args.rate).context("a rate that is none")?;
    let config = SessionConfig {
        rate,
        rate_max: rate,
        event: TickSource::CpuClock,
        scope: Scope { pids: args.pid.clone(), ..Scope::default() },
        unwind: Unwind::Rows,
        unwind_tables_max_bytes: 32 << 20,
        cache_dir: None,
        include_self: false,
        keep_timeline: false,
        open_files_max: 1024,
        kept: Kept::FOR_GOOD,
        kernel_log: false,
        kernel_without: std::collections::BTreeSet::new(),
    };
    let mut session = Session::open(config, &host, Everyone, Default::default())?;
    session.start()?;
    let mut namer = Namer::of_many_windows(&host.proc, None);
    println!(
        "| window | samples | places | named | waiting | ms of CPU | of it readers | MiB resident | descriptors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let started = host.clock.monotonic();
    for window in 1..=args.windows {
        let end = tokio::time::sleep(Duration::from_millis(args.millis));
        tokio::pin!(end);
        loop {
            tokio::select! {
                turned = session.turn() => turned?,
                () = &mut end => break,
            }
        }
        let segment = session.cut();
        let now = MonotonicNanos(started.0 + window * WINDOW_NANOS);
        let before = cpu(&host.clock)?;
        let names = namer.name(segment.window.places(), &segment.sampled, now);
        let after = cpu(&host.clock)?;
        let millis = |of: Duration| of.as_secs_f64() * 1000.0;
        println!(
            "| {window} | {} | {} | {} | {} | {:.2} | {:.2} | {:.1} | {} |",
            segment.window.samples(),
            segment.window.places().len(),
            names.by_place.len(),
            names.waiting,
            millis(after.0 + after.1 - before.0 - before.1),
            millis(after.1 - before.1),
            resident_mebibytes(&host.proc)?,
            std::fs::read_dir(host.proc.path("self/fd"))?.count(),
        );
    }
    Ok(())
}

/// Of this process, and of readers that have ended.
fn cpu(clock: &Clock) -> Result<(Duration, Duration)> {
    let stat = ProcFs::host().text("self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat")?;
    let ticks: u64 = fields.split(' ').skip(13).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let children = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1));
    Ok((clock.own_cpu(), children))
}

fn resident_mebibytes(proc: &ProcFs) -> Result<f64> {
    let statm = proc.text("self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("/proc/self/statm")?.parse()?;
    Ok(pages as f64 * rustix::param::page_size() as f64 / 1024.0 / 1024.0)
}
