//! `cargo xtask bench`: what flamekeeper costs, beside `perf record` on the same load in the same run.
//!
//! ```text
//!   load.rs: C, Node and a JVM keep two CPUs busy ───────────────────────────────────────────────┐
//!   a round:  flamekeeper.rs: record, five outputs    then    perf.rs: record, script (twice)    │ machine.rs
//!             the next round begins with perf                                                    ┘
//!   running.rs resident.rs bpf.rs firefox.rs: what a process took ─▶ figures.rs ─▶ table.rs
//! ```
//!
//! One profiler at a time: two at once would tick into each other. A missed target does not fail the task, since
//! machines are noisy; a figure that could not be measured does. However it ends, it leaves nothing behind:
//! programs, files and the kernel's counting end with the values that stand for them.

mod bpf;
mod clock;
mod figures;
mod firefox;
mod flamekeeper;
mod load;
mod machine;
mod perf;
mod resident;
mod running;
mod table;

use crate::packages;
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use figures::{Figure, Rounds};
use load::Load;
use machine::HostCpu;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each profiler samples in a round
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// How often both are measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Write every round's figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything that is known at the end.
#[derive(Serialize)]
struct Report {
    machine: String,
    load: String,
    seconds: u64,
    /// Share of the host's CPU time that other programs took, by round and profiler.
    others: Vec<f64>,
    /// Share that a hypervisor took.
    stolen: Vec<f64>,
    figures: Vec<Figure>,
}

/// Measures and prints.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !packages::is_root() {
        bail!("both profilers need root to sample the whole host");
    }
    if shell::find_program("perf").is_none() {
        bail!("there is no perf to compare with: install it (Debian: linux-perf)");
    }
    shell::run(workspace.cargo().args(["build", "--release", "--locked", "--package", "profiler-user"]))?;
    let program = workspace.target().join("release/flamekeeper");
    let folder = tempfile::Builder::new().prefix("flamekeeper-bench-").tempdir().context("make a folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            report = measure(args, &program, folder.path()) => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    folder.close().context("remove the folder of the bench")?;
    print(&report);
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

async fn measure(args: &Args, program: &Path, folder: &Path) -> Result<Report> {
    let machine = machine::describe()?;
    eprintln!("{machine}");
    let load = Load::start(folder)?;
    load.is_busy().await?;
    let duration = Duration::from_secs(args.seconds);
    let mut rounds = Rounds::default();
    let (mut others, mut stolen) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        // Whoever is first meets colder caches.
        for is_ours in [round % 2 == 0, round % 2 != 0] {
            let (host, load_cpu) = (HostCpu::now()?, load.cpu()?);
            let own_cpu = if is_ours {
                rounds.flamekeeper.push(flamekeeper::capture(program, folder, duration).await?);
                rounds.flamekeeper.last().map(|capture| capture.whole_cpu)
            } else {
                rounds.perf.push(perf::capture(folder, duration).await?);
                rounds.perf.last().map(perf::Capture::all_cpu)
            };
            load.check()?;
            let ours = load.cpu()?.saturating_sub(load_cpu) + own_cpu.unwrap_or_default();
            let (by_others, by_hypervisor) = HostCpu::now()?.others_and_stolen(host, ours);
            others.push(by_others);
            stolen.push(by_hypervisor);
        }
    }
    Ok(Report {
        machine,
        load: load.names(),
        seconds: args.seconds,
        others,
        stolen,
        figures: rounds.figures(),
    })
}

fn print(report: &Report) {
    let percent = |shares: &[f64]| {
        let shares: Vec<f64> = shares.iter().map(|share| share * 100.0).collect();
        figures::spread(&shares)
            .map_or_else(String::new, |of| format!("{:.0} % [{:.0}–{:.0}]", of.median, of.least, of.most))
    };
    println!("{}", report.machine);
    println!(
        "Load on two CPUs: {}. Each profiler in turn, {} s at 99 Hz, median [least–most] of {} rounds.",
        report.load,
        report.seconds,
        report.others.len() / 2
    );
    println!(
        "Of the host's CPU time, other programs took {} and the hypervisor {}.\n",
        percent(&report.others),
        percent(&report.stolen)
    );
    println!("{}", table::table(&report.figures).trim_end());
}
