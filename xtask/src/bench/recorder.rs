//! `flamekeeper record`, started and stopped: the one place that knows its arguments for a bench.

use super::bpf_maps::Counters;
use super::running::{Running, Taken};
use anyhow::{Context, Result, bail};
use procfs::process::Process;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The line that says that sampling has begun.
const SAMPLING: &str = "sampling ";
/// For loading; the target is far below.
const START_MAX: Duration = Duration::from_secs(30);
/// For naming and writing; the target is far below.
const FINISH_MAX: Duration = Duration::from_secs(300);

/// How user stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// By unwind rows, in the kernel.
    Rows,
    /// By the kernel's own walker.
    FramePointers,
}

impl Walk {
    fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Rows => ["--unwind", "rows"],
            Self::FramePointers => ["--unwind", "frame-pointers"],
        }
    }
}

/// One that samples.
pub(super) struct Recorder {
    pub(super) running: Running,
    log: PathBuf,
    /// Its CPU time up to the line that says that it samples.
    pub(super) cpu_before: Duration,
}

impl Recorder {
    /// Starts `program record` with these arguments and waits until it samples. What it says goes into `folder`.
    pub(super) async fn start(program: &Path, folder: &Path, walk: Walk, more: &[&str]) -> Result<Self> {
        let log = folder.join("flamekeeper.log");
        let mut command = Command::new(program);
        command.arg("record").args(walk.arguments()).args(more).current_dir(folder);
        // Unwind rows that it keeps for its next start: found again by later rounds, and gone with the folder.
        command.env("FLAMEKEEPER_CACHE_DIR", folder.join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let running = Running::start("flamekeeper", &mut command)?;
        let mut recorder = Self { running, log, cpu_before: Duration::ZERO };
        recorder.samples().await?;
        // Threads that have ended are in the second only, which counts in steps of 10 ms.
        recorder.cpu_before = recorder.running.own_cpu()?.max(recorder.running.family_cpu()?);
        Ok(recorder)
    }

    async fn samples(&self) -> Result<()> {
        while !self.said().lines().any(|line| line.starts_with(SAMPLING)) {
            if self.running.has_ended()? || self.running.started().elapsed() > START_MAX {
                bail!("flamekeeper does not sample: {}", self.said());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Its process in /proc.
    pub(super) fn process(&self) -> Result<Process> {
        self.running.process()
    }

    /// Its counters in the kernel.
    pub(super) fn counters(&self) -> Result<Counters> {
        Counters::of(&self.process()?)
    }

    /// Up to now.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end, which comes by itself.
    pub(super) async fn finish(self) -> Result<(Taken, String)> {
        let log = self.log;
        let taken = self.running.watch_to_end(FINISH_MAX).await?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let taken = taken.with_context(|| format!("flamekeeper did not end in {FINISH_MAX:?}: {said}"))?;
        if !taken.status.success() {
            bail!("flamekeeper ended with {}: {said}", taken.status);
        }
        Ok((taken, said))
    }

    /// Ends it as Ctrl-C does, and waits until it has named and written.
    pub(super) async fn stop(self) -> Result<(Taken, String)> {
        self.running.interrupt()?;
        self.finish().await
    }
}
