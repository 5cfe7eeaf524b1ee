//! Many small services in cgroups, each with an executable of its own: built, started and ended.

use super::cgroups::Slice;
use super::load::compile;
use super::running::Running;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SERVICE: &str = include_str!("load/service.c");
const STARTER: &str = include_str!("load/crowd.c");
/// For some thousand forks on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds services and starts them.
pub(super) struct Services {
    folder: PathBuf,
    starter: PathBuf,
}

/// How much a process of a service works.
#[derive(Clone, Copy)]
pub(super) struct Bursts {
    pub(super) length: Duration,
    /// From one to the next, on average.
    pub(super) every: Duration,
}

/// Lines for the program that starts them.
#[derive(Default)]
pub(super) struct List(String);

/// Processes that run; they end with this value.
pub(super) struct Started {
    running: Running,
    said: PathBuf,
}

impl Services {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let starter = compile(folder, "crowd", STARTER, &["-O2"])?;
        Ok(Self { folder: folder.to_owned(), starter })
    }

    /// Builds the executable of a service: other bytes, another build id, another function than those of the others.
    pub(super) fn build(&self, number: usize) -> Result<PathBuf> {
        let options = ["-O2", "-fno-omit-frame-pointer", "-Wl,--build-id", &format!("-DSERVICE={number}")];
        compile(&self.folder, &format!("bench-{number:02}"), SERVICE, &options)
    }

    /// Starts all of a list.
    pub(super) fn start(&self, name: &str, list: &List) -> Result<Started> {
        let (input, said) =
            (self.folder.join(format!("{name}.list")), self.folder.join(format!("{name}.out")));
        fs::write(&input, &list.0).with_context(|| format!("write {}", input.display()))?;
        let mut command = Command::new(&self.starter);
        command.stdin(File::open(&input)?).stdout(File::create(&said)?).stderr(Stdio::null());
        Ok(Started { running: Running::start(name, &mut command)?, said })
    }
}

impl List {
    /// So many processes of a service, in a group.
    pub(super) fn add(&mut self, slice: &Slice, number: usize, program: &Path, many: Many) -> Result<()> {
        let Many { group, processes, bursts } = many;
        let procs = slice.group(&service_name(number), group)?;
        let (micros, millis) = (bursts.length.as_micros(), bursts.every.as_millis());
        let (procs, program) = (procs.display(), program.display());
        writeln!(self.0, "{processes} {procs} {program} {micros} {millis}").context("write a list")
    }
}

/// Processes of one group.
#[derive(Clone, Copy)]
pub(super) struct Many {
    pub(super) group: usize,
    pub(super) processes: usize,
    pub(super) bursts: Bursts,
}

/// As systemd would call its unit.
pub(super) fn service_name(number: usize) -> String {
    format!("bench-{number:02}")
}

impl Started {
    /// Waits until all of them were started.
    pub(super) async fn all(&self) -> Result<()> {
        while !fs::read_to_string(&self.said).is_ok_and(|said| said.contains("ready")) {
            self.check()?;
            if self.running.started().elapsed() > PATIENCE {
                bail!("the services were not started in {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails if they have ended.
    pub(super) fn check(&self) -> Result<()> {
        if self.running.has_ended()? {
            bail!("the services ended by themselves");
        }
        Ok(())
    }
}

/// A storm of short programs.
pub(super) struct Storm {
    running: Running,
}

const FORKS: &str = include_str!("load/forks.c");

impl Storm {
    /// So many a second; each of them works for `length`.
    pub(super) fn start(
        folder: &Path,
        a_second: u32,
        length: Duration,
        programs: &[PathBuf],
    ) -> Result<Self> {
        let program = compile(folder, "forks", FORKS, &["-O2"])?;
        let mut command = Command::new(program);
        command.args([a_second.to_string(), length.as_micros().to_string()]).args(programs);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let running = Running::start("forks", &mut command)?;
        Ok(Self { running })
    }

    /// When it began.
    pub(super) fn started(&self) -> Instant {
        self.running.started()
    }

    /// What it and all that have ended have taken.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.running.family_cpu()
    }

    /// Fails if it has ended.
    pub(super) fn check(&self) -> Result<()> {
        if self.running.has_ended()? {
            bail!("the storm ended by itself");
        }
        Ok(())
    }
}
