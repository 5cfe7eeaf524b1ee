//! The same capture by Debian's perf, then its text by `perf script` → what they took.

use super::clock;
use super::flamekeeper::BEFORE_END;
use super::running::Running;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// perf does not say when it begins to sample; until then it has.
const AFTER_START: Duration = Duration::from_millis(700);
/// For reading back what it wrote at its end.
const RECORD_MAX: Duration = Duration::from_secs(300);
/// With inlined functions `perf script` may take hours.
pub(super) const SCRIPT_MAX: Duration = Duration::from_secs(300);

/// perf 6.1 sometimes crashes at its end, in looking for build ids: seen beside compilers and their new programs.
const TRIES: u32 = 3;

/// How it gets user stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallGraph {
    FramePointers,
    /// 8 KiB of the stack with each sample, to be unwound later.
    Dwarf,
}

/// What one capture took.
pub(super) struct Capture {
    pub(super) sampling_cpu_share: f64,
    pub(super) resident_bytes: u64,
    pub(super) whole_cpu: Duration,
    pub(super) samples: u64,
    pub(super) written_bytes: u64,
}

/// What making text of a capture took, with and without inlined functions.
pub(super) struct Scripts {
    pub(super) full: Script,
    pub(super) no_inline: Script,
}

impl Scripts {
    /// Of both, as far as they were allowed to end.
    pub(super) fn cpu(&self) -> Duration {
        [&self.full, &self.no_inline]
            .iter()
            .filter_map(|script| Duration::try_from_secs_f64(script.cpu_seconds).ok())
            .sum()
    }
}

/// What `perf script` took; more than [`SCRIPT_MAX`] is infinitely long.
pub(super) struct Script {
    pub(super) wall_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

/// Captures, and makes text of it; everything is written into `folder` and removed again.
pub(super) async fn capture_and_script(folder: &Path, duration: Duration) -> Result<(Capture, Scripts)> {
    let data = folder.join("perf.data");
    let capture = capture_into(&data, folder, duration, CallGraph::FramePointers).await?;
    let scripts = Scripts {
        full: script(folder, &data, &[]).await?,
        no_inline: script(folder, &data, &["--no-inline"]).await?,
    };
    fs::remove_file(&data)?;
    Ok((capture, scripts))
}

/// Captures only; everything is written into `folder` and removed again.
pub(super) async fn capture(folder: &Path, duration: Duration, graph: CallGraph) -> Result<Capture> {
    let data = folder.join("perf.data");
    let capture = capture_into(&data, folder, duration, graph).await?;
    fs::remove_file(&data)?;
    Ok(capture)
}

async fn capture_into(data: &Path, folder: &Path, duration: Duration, graph: CallGraph) -> Result<Capture> {
    for _ in 0..TRIES {
        if let Some(capture) = try_capture(data, folder, duration, graph).await? {
            return Ok(capture);
        }
        eprintln!("perf record crashed: once more");
    }
    bail!("perf record crashed {TRIES} times")
}

/// Nothing if perf crashes.
async fn try_capture(
    data: &Path,
    folder: &Path,
    duration: Duration,
    graph: CallGraph,
) -> Result<Option<Capture>> {
    let log = folder.join("perf.log");
    let mut command = perf(folder);
    let graph = match graph {
        CallGraph::FramePointers => "fp",
        CallGraph::Dwarf => "dwarf",
    };
    command.args(["record", "-e", "cpu-clock", "-F", "99", "-a", "--call-graph", graph, "-o"]).arg(data);
    command.args(["--", "sleep", &format!("{}", duration.as_secs_f64())]);
    let running = Running::start("perf record", command.stdout(Stdio::null()).stderr(File::create(&log)?))?;

    let after_start = AFTER_START.min(duration / 2);
    tokio::time::sleep(after_start).await;
    let (began, cpu) = (clock::now(), running.own_cpu()?);
    tokio::time::sleep(duration.saturating_sub(after_start + BEFORE_END)).await;
    let (sampled, cpu) = (began.elapsed(), running.own_cpu()?.saturating_sub(cpu));

    let taken = running.watch_to_end(RECORD_MAX).await?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let taken = taken.with_context(|| format!("perf record did not end: {said}"))?;
    if taken.status.signal().is_some() {
        return Ok(None);
    }
    if !taken.status.success() {
        bail!("perf record ended with {}: {said}", taken.status);
    }
    Ok(Some(Capture {
        sampling_cpu_share: cpu.as_secs_f64() / sampled.as_secs_f64(),
        resident_bytes: taken.resident.family_bytes(),
        whole_cpu: taken.cpu,
        samples: samples(folder, data).await?,
        written_bytes: fs::metadata(data)?.len(),
    }))
}

/// One line a sample, nothing named.
async fn samples(folder: &Path, data: &Path) -> Result<u64> {
    let lines = folder.join("perf-samples.txt");
    let mut command = perf(folder);
    command.args(["script", "-F", "tid", "-i"]).arg(data).stdout(File::create(&lines)?).stderr(Stdio::null());
    let taken = Running::start("perf script -F tid", &mut command)?.watch_to_end(SCRIPT_MAX).await?;
    if !taken.is_some_and(|taken| taken.status.success()) {
        bail!("perf script cannot list the samples of perf record");
    }
    let text = fs::read_to_string(&lines)?;
    fs::remove_file(&lines)?;
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    Ok(u64::try_from(count)?)
}

async fn script(folder: &Path, data: &Path, options: &[&str]) -> Result<Script> {
    let mut command = perf(folder);
    command.arg("script").args(options).arg("-i").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
    let Some(taken) = Running::start("perf script", &mut command)?.watch_to_end(SCRIPT_MAX).await? else {
        return Ok(Script { wall_seconds: f64::INFINITY, cpu_seconds: f64::INFINITY, resident_bytes: 0 });
    };
    if !taken.status.success() {
        bail!("perf script {} ended with {}", options.join(" "), taken.status);
    }
    Ok(Script {
        wall_seconds: taken.wall.as_secs_f64(),
        cpu_seconds: taken.cpu.as_secs_f64(),
        resident_bytes: taken.resident.family_bytes(),
    })
}

/// Its settings and its cache of files by build id are in the home folder: here the bench's own, which goes away.
fn perf(folder: &Path) -> Command {
    let mut command = Command::new("perf");
    command.env("HOME", folder).current_dir(folder).stdin(Stdio::null());
    command
}
