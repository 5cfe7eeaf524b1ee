//! What the daemon costs a host where short programs start and end all the time: `--part storm`.
//!
//! 500 forks with exec a second, of 20 programs that work 1 ms each. What is kept of processes has to go with them, so what
//! the daemon holds is told before the storm as well, and two windows after it.

use super::cost_figures::{Aims, figures};
use super::daemon::Size;
use super::figures::{Figure, megabytes, number};
use super::rounds::Stage;
use super::services::{Services, Storm};
use super::{Measured, Setting};
use anyhow::{Context, Result};
use procfs::{CurrentSI, KernelStats};
use std::path::PathBuf;
use std::time::Duration;

const A_SECOND: u32 = 500;
const PROGRAMS: usize = 20;
const LENGTH: Duration = Duration::from_millis(1);

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let services = Services::new(setting.folder)?;
    let programs: Vec<PathBuf> = (0..PROGRAMS).map(|number| services.build(number)).collect::<Result<_>>()?;
    let stage = Stage::start(setting).await?;
    stage.warm_up().await;
    let before = stage.daemon.size()?;
    let storm = Storm::start(setting.folder, A_SECOND, LENGTH, &programs)?;
    let load_cpu = || {
        storm.check()?;
        storm.cpu()
    };
    let (forks, began) = (forks()?, storm.started());
    let rounds = stage.rounds(load_cpu).await?;
    let forks_a_second = (number(self::forks()?) - number(forks)) / began.elapsed().as_secs_f64();
    drop(storm);
    stage.warm_up().await;
    let after = stage.daemon.size()?;
    stage.daemon.stop().await?;
    let mut about = vec![format!(
        "Of {PROGRAMS} programs {A_SECOND} a second are to be started, each for {} ms; the host made {forks_a_second:.0} \
         processes and threads a second.",
        LENGTH.as_millis()
    )];
    about.extend(rounds.about);
    let mut figures = figures(&rounds.costs, Aims::NONE);
    figures.extend(sizes("before the storm", &before));
    figures.extend(sizes("two windows after it", &after));
    Ok(Measured { about, figures })
}

fn sizes(when: &str, size: &Size) -> [Figure; 3] {
    [
        Figure::new(format!("{when}: resident, MB"), 1, vec![megabytes(size.resident_bytes)]),
        Figure::new("… BPF maps, MB", 1, vec![megabytes(size.maps.all)]),
        Figure::new("… files", 0, vec![number(size.files)]),
    ]
}

/// Since the host was started, threads too.
fn forks() -> Result<u64> {
    Ok(KernelStats::current().context("read /proc/stat")?.processes)
}
