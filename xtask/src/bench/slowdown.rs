//! How much slower a program of fixed work is while the whole host is sampled: pairs of runs, with and without.

use super::cpus;
use super::figures::{Figure, Target, by_round};
use super::load::{BUSY_CPUS, compile};
use super::recorder::{Recorder, Walk};
use super::running::Running;
use super::{Measured, Setting};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const WORK: &str = include_str!("load/work.c");
/// For reading what is mapped everywhere: what is measured is steady sampling, its start is a figure of another part.
const SETTLING: Duration = Duration::from_secs(1);
/// A run on a machine that is otherwise busy.
const PATIENCE: Duration = Duration::from_secs(600);
/// Work to find out how much of it fills the wanted time.
const TRIAL_UNITS: u64 = 2000;

/// What the work took.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Took {
    wall_seconds: f64,
    cpu_seconds: f64,
}

/// The same work twice.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    without: Took,
    with: Took,
}

impl Pair {
    /// Percent that sampling adds.
    fn slower(&self, of: fn(&Took) -> f64) -> f64 {
        (of(&self.with) / of(&self.without) - 1.0) * 100.0
    }
}

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let program = compile(setting.folder, "work", WORK, &["-O2", "-pthread"])?;
    let units = units(setting, &program).await?;
    let mut pairs = Vec::new();
    for round in 0..setting.rounds {
        setting.tell(round);
        // Whoever is second meets a machine that is warmer.
        let (without, with);
        if round % 2 == 0 {
            without = work(setting, &program, units).await?;
            with = sampled(setting, &program, units).await?;
        } else {
            with = sampled(setting, &program, units).await?;
            without = work(setting, &program, units).await?;
        }
        pairs.push(Pair { without, with });
    }
    let about = format!(
        "Fixed work on {BUSY_CPUS} CPUs, {} pairs of runs with and without flamekeeper, whole host at 99 Hz.",
        setting.rounds
    );
    Ok(Measured { about: vec![about], figures: figures(&pairs) })
}

fn figures(pairs: &[Pair]) -> Vec<Figure> {
    let wall: fn(&Took) -> f64 = |took| took.wall_seconds;
    let cpu: fn(&Took) -> f64 = |took| took.cpu_seconds;
    vec![
        Figure::new("wall clock without, s", 3, by_round(pairs, |pair| wall(&pair.without))),
        Figure::new("wall clock with, s", 3, by_round(pairs, |pair| wall(&pair.with))),
        Figure::new("slower by, mean ± standard error, %", 3, by_round(pairs, |pair| pair.slower(wall)))
            .judged(Target::NotShown),
        Figure::new("CPU time without, s", 3, by_round(pairs, |pair| cpu(&pair.without))),
        Figure::new("CPU time with, s", 3, by_round(pairs, |pair| cpu(&pair.with))),
        Figure::new(
            "more CPU time by, mean ± standard error, %",
            3,
            by_round(pairs, |pair| pair.slower(cpu)),
        )
        .judged(Target::NotShown),
    ]
}

/// As much work as takes the wanted time.
async fn units(setting: &Setting<'_>, program: &Path) -> Result<u64> {
    let trial = work(setting, program, TRIAL_UNITS).await?;
    let nanos = Duration::try_from_secs_f64(trial.wall_seconds)?.as_nanos().max(1);
    Ok(u64::try_from(u128::from(TRIAL_UNITS) * setting.duration.as_nanos() / nanos)?.max(1))
}

async fn sampled(setting: &Setting<'_>, program: &Path, units: u64) -> Result<Took> {
    let arguments = ["-F", "99", "-o", "host.pb.gz"];
    let recorder = Recorder::start(setting.program, setting.folder, Walk::Rows, &arguments).await?;
    tokio::time::sleep(SETTLING).await;
    let took = work(setting, program, units).await?;
    recorder.stop().await?;
    Ok(took)
}

async fn work(setting: &Setting<'_>, program: &Path, units: u64) -> Result<Took> {
    let said: PathBuf = setting.folder.join("work.out");
    let mut command = Command::new(program);
    command.arg(units.to_string()).stdin(Stdio::null()).stdout(File::create(&said)?);
    let running = cpus::on_first_cpus(BUSY_CPUS, || Running::start("work", &mut command))?;
    ensure!(running.has_succeeded(PATIENCE).await?, "the fixed work failed");
    took(&fs::read_to_string(&said)?).context("the fixed work did not say what it took")
}

/// From the line that the program prints: nanoseconds of wall clock and CPU.
fn took(said: &str) -> Option<Took> {
    let mut seconds = said.split_whitespace().map(|nanos| nanos.parse::<f64>().map(|nanos| nanos / 1e9));
    Some(Took { wall_seconds: seconds.next()?.ok()?, cpu_seconds: seconds.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_took_is_read() {
        assert_eq!(took("2500000000 5000000000\n"), Some(Took { wall_seconds: 2.5, cpu_seconds: 5.0 }));
        assert_eq!(took("2500000000\n"), None);
    }

    #[test]
    fn slower_is_relative_to_the_run_without() {
        let took = |wall_seconds, cpu_seconds| Took { wall_seconds, cpu_seconds };
        let pair = Pair { without: took(2.0, 4.0), with: took(2.5, 3.0) };
        assert_eq!(pair.slower(|took| took.wall_seconds), 25.0);
        assert_eq!(pair.slower(|took| took.cpu_seconds), -25.0);
    }
}
