//! `cargo xtask bench`: what flamekeeper costs.
//!
//! ```text
//!   samples.rs   BPF time of one sample, by depth and walk ───────────┐
//!   slowdown.rs  fixed work, with and without                         │
//!   agent.rs     CPU time, memory, maps beside a load   (load.rs)     ├▶ figures.rs ─▶ table.rs
//!   rows.rs      unwind rows of well-known files                      │  paired.rs
//!   peers.rs     beside perf on the same load (perf.rs, firefox.rs) ──┤
//!   steady.rs    the daemon: CPU, memory, wire ┐ rounds.rs            │
//!   crowd.rs     beside 2,000 processes        ├ cost.rs              │
//!   storm.rs     in a fork storm               ┘ cost_figures.rs ─────┤
//!   soak.rs      whether it grows (churn.rs, slope.rs) ───────────────┘
//! recorder.rs flamekeeper.rs: one capture · running.rs resident.rs bpf.rs bpf_maps.rs: what a process took
//! daemon.rs database.rs http.rs metrics.rs: the daemon, and whom it pushes to · services.rs cgroups.rs: whom it samples
//! ```
//!
//! One profiler at a time: two at once would tick into each other. A missed target does not fail the task, since
//! machines are noisy; a figure that could not be measured does. However it ends, it leaves nothing behind:
//! programs, files and the kernel's counting end with the values that stand for them.

mod agent;
mod bpf;
mod bpf_maps;
mod cgroups;
mod churn;
mod clock;
mod cost;
mod cost_figures;
mod cpus;
mod crowd;
mod daemon;
mod database;
mod figures;
mod firefox;
mod flamekeeper;
mod http;
mod load;
mod machine;
mod metrics;
mod paired;
mod peers;
mod perf;
mod recorder;
mod resident;
mod rounds;
mod rows;
mod running;
mod samples;
mod services;
mod slope;
mod slowdown;
mod soak;
mod steady;
mod storm;
mod table;

use crate::packages;
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use figures::Figure;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Whom the daemon pushes to; the tests have it too.
const DATABASE: &str = "tests/peers/pyroscope";

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure only this part; may be given several times
    #[arg(long = "part", value_name = "PART", value_enum)]
    parts: Vec<Part>,
    /// How long each run takes, instead of what suits the part
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: Option<u64>,
    /// How long the soak takes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Windows of the daemon before its first round, instead of what suits the part; in the first ones debug information is
    /// read, within its budget
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    warm_up: Option<u32>,
    /// How often everything is measured, instead of what suits the part
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: Option<u64>,
    /// Measure this flamekeeper, such as the static one of `cargo xtask dist`, instead of a release build
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Write every round's figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// BPF time of one sample, by depth and way of walking
    Samples,
    /// A program of fixed work, with and without
    Slowdown,
    /// CPU time, memory and maps of flamekeeper beside two busy CPUs
    Agent,
    /// Unwind rows of well-known files
    Rows,
    /// Beside perf on the same load
    Peers,
    /// CPU time, memory and traffic of the daemon beside two busy CPUs
    Daemon,
    /// The same of a host with 2,000 processes in 200 cgroups
    Crowd,
    /// The same of a host where short programs start all the time
    Storm,
    /// Whether the daemon grows while things come and go
    Soak,
}

/// What was built, or is built when it is asked for.
struct Built {
    program: PathBuf,
    rows_table: PathBuf,
    database: PathBuf,
}

/// What a part is given.
struct Setting<'a> {
    /// flamekeeper.
    program: &'a Path,
    /// The example that makes rows.
    rows_table: &'a Path,
    /// The sources of the database that the daemon pushes to.
    database: &'a Path,
    /// To work in; it goes away.
    folder: &'a Path,
    duration: Duration,
    rounds: u64,
    /// Of the daemon, before its first round.
    warm_up_windows: u32,
}

/// What a part gives.
struct Measured {
    /// Lines for people.
    about: Vec<String>,
    figures: Vec<Figure>,
}

/// Everything that is known at the end.
#[derive(Serialize)]
struct Report {
    machine: String,
    parts: Vec<PartReport>,
}

/// See [`Measured`].
#[derive(Serialize)]
struct PartReport {
    part: String,
    seconds: u64,
    rounds: u64,
    about: Vec<String>,
    figures: Vec<Figure>,
}

/// Measures and prints.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let parts = if args.parts.is_empty() { <Part as clap::ValueEnum>::value_variants() } else { &args.parts };
    if !packages::is_root() {
        bail!("profilers need root to sample the whole host");
    }
    if parts.contains(&Part::Peers) && shell::find_program("perf").is_none() {
        bail!("there is no perf to compare with: install it (Debian: linux-perf), or leave out that part");
    }
    if parts.iter().any(|part| part.has_daemon()) && shell::find_program("go").is_none() {
        bail!("there is no go to build the database that the daemon pushes to: install it (Debian: golang)");
    }
    let release = workspace.target().join("release");
    let binary: &[&str] = if args.program.is_some() { &[] } else { &["--bin", "flamekeeper"] };
    let build = ["build", "--release", "--locked", "--package", "profiler-user", "--example", "unwind_rows"];
    shell::run(workspace.cargo().args(build).args(binary))?;
    // Everything runs in folders of its own.
    let program = args.program.clone().unwrap_or_else(|| release.join("flamekeeper"));
    let built = Built {
        program: fs::canonicalize(&program).with_context(|| format!("find {}", program.display()))?,
        rows_table: release.join("examples/unwind_rows"),
        database: workspace.path(DATABASE),
    };
    let folder = tempfile::Builder::new().prefix("flamekeeper-bench-").tempdir().context("make a folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            measured = measure(args, parts, &built, folder.path()) => measured,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    folder.close().context("remove the folder of the bench")
}

/// Each part is printed and written when it is done: all of them take an hour and a half.
async fn measure(args: &Args, parts: &[Part], built: &Built, folder: &Path) -> Result<()> {
    let machine = machine::describe()?;
    println!("{machine}");
    let mut report = Report { machine, parts: Vec::new() };
    for &part in parts {
        let (seconds, rounds) = args.seconds_and_rounds(part);
        eprintln!("{}", part.name());
        let own = folder.join(part.name());
        fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
        let setting = Setting {
            program: &built.program,
            rows_table: &built.rows_table,
            database: &built.database,
            folder: &own,
            duration: Duration::from_secs(seconds),
            rounds,
            warm_up_windows: args.warm_up.unwrap_or(part.usual_warm_up()),
        };
        let Measured { about, figures } = part.measure(&setting).await.with_context(|| part.name())?;
        let part = PartReport { part: part.name(), seconds, rounds, about, figures };
        println!("\n{}\n\n{}", part.about.join("\n"), table::table(&part.figures).trim_end());
        report.parts.push(part);
        if let Some(file) = &args.json {
            let text = serde_json::to_string_pretty(&report)?;
            fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(())
}

impl Args {
    /// As asked for, or as usual.
    fn seconds_and_rounds(&self, part: Part) -> (u64, u64) {
        let (seconds, rounds) = part.usual();
        match part {
            Part::Soak => (self.minutes * 60, 1),
            _ => (self.seconds.unwrap_or(seconds), self.rounds.unwrap_or(rounds)),
        }
    }
}

impl Part {
    /// Seconds of a run, and rounds, that tell enough on a quiet machine.
    fn usual(self) -> (u64, u64) {
        match self {
            Self::Samples => (3, 5),
            Self::Slowdown => (4, 20),
            Self::Agent => (60, 3),
            Self::Rows => (0, 5),
            Self::Soak => (1200, 1),
            Self::Peers | Self::Daemon | Self::Crowd | Self::Storm => (60, 3),
        }
    }

    /// In windows.
    fn usual_warm_up(self) -> u32 {
        match self {
            Self::Soak => soak::WARM_UP_WINDOWS,
            _ => 2,
        }
    }

    async fn measure(self, setting: &Setting<'_>) -> Result<Measured> {
        match self {
            Self::Samples => samples::measure(setting).await,
            Self::Slowdown => slowdown::measure(setting).await,
            Self::Agent => agent::measure(setting).await,
            Self::Rows => rows::measure(setting).await,
            Self::Peers => peers::measure(setting).await,
            Self::Daemon => steady::measure(setting).await,
            Self::Crowd => crowd::measure(setting).await,
            Self::Storm => storm::measure(setting).await,
            Self::Soak => soak::measure(setting).await,
        }
    }

    /// Whether it needs the database.
    fn has_daemon(self) -> bool {
        matches!(self, Self::Daemon | Self::Crowd | Self::Storm | Self::Soak)
    }

    /// As it is written on the command line.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Setting<'_> {
    /// Which round begins.
    fn tell(&self, round: u64) {
        eprintln!("round {} of {}", round + 1, self.rounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn parts_are_told_by_the_names_that_choose_them() {
        for part in Part::value_variants() {
            assert_eq!(Part::from_str(&part.name(), false), Ok(*part));
        }
    }
}
