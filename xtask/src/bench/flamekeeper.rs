//! One capture by flamekeeper with all five outputs → what it took.

use super::bpf::{BpfTime, Counting};
use super::clock;
use super::firefox;
use super::running::Running;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Every format, by its ending.
const ENDINGS: [&str; 5] = ["pb.gz", "folded", "svg", "json", "speedscope.json"];
/// The line that says that sampling has begun.
const SAMPLING: &str = "sampling ";
/// For loading; the target is far below.
const START_MAX: Duration = Duration::from_secs(30);
/// For naming and writing; the target is far below.
const FINISH_MAX: Duration = Duration::from_secs(300);
/// The CPU time while sampling is read this much before the end.
pub(super) const BEFORE_END: Duration = Duration::from_millis(300);

/// What one capture took.
pub(super) struct Capture {
    pub(super) sampling_cpu_share: f64,
    pub(super) bpf_share: f64,
    pub(super) bpf_per_run: Duration,
    pub(super) own_bytes: u64,
    pub(super) family_bytes: u64,
    pub(super) to_first_sample: Duration,
    pub(super) finish: Duration,
    pub(super) finish_cpu: Duration,
    pub(super) whole_cpu: Duration,
    pub(super) samples: u64,
    pub(super) written_bytes: u64,
}

/// Captures; everything is written into `folder` and removed again.
pub(super) async fn capture(program: &Path, folder: &Path, duration: Duration) -> Result<Capture> {
    let outputs: Vec<PathBuf> = ENDINGS.iter().map(|ending| folder.join(format!("host.{ending}"))).collect();
    let log = folder.join("flamekeeper.log");
    let _counting = Counting::start()?;
    let mut command = Command::new(program);
    command.args(["record", "-F", "99", "-d", &format!("{}ms", duration.as_millis())]);
    for output in &outputs {
        command.arg("-o").arg(output);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    let running = Running::start("flamekeeper", &mut command)?;

    sampling(&running, &log).await?;
    let (began, cpu, bpf) = (clock::now(), running.own_cpu()?, BpfTime::of(&running.process()?)?);
    tokio::time::sleep(duration.saturating_sub(BEFORE_END)).await;
    let (sampled, cpu, bpf) =
        (began.elapsed(), running.own_cpu()? - cpu, BpfTime::of(&running.process()?)?.since(bpf));
    let cpu_before_end = running.family_cpu()?;

    let started = running.started_since_1970();
    let taken = running.watch_to_end(FINISH_MAX).await?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let taken = taken.with_context(|| format!("flamekeeper did not end in {FINISH_MAX:?}: {said}"))?;
    if !taken.status.success() || bpf.runs == 0 {
        bail!("flamekeeper ended with {} after {} runs in the kernel: {said}", taken.status, bpf.runs);
    }
    let times = firefox::times(&folder.join("host.json"))?;
    let written_bytes = remove(&outputs)?;
    Ok(Capture {
        sampling_cpu_share: cpu.as_secs_f64() / sampled.as_secs_f64(),
        bpf_share: Duration::from_nanos(bpf.nanos).as_secs_f64() / sampled.as_secs_f64(),
        bpf_per_run: Duration::from_nanos(bpf.nanos / bpf.runs),
        own_bytes: taken.resident.own_bytes(),
        family_bytes: taken.resident.family_bytes(),
        to_first_sample: times.first_sample.saturating_sub(started),
        finish: taken.ended_since_1970.saturating_sub(times.end),
        finish_cpu: taken.cpu.saturating_sub(cpu_before_end),
        whole_cpu: taken.cpu,
        samples: times.samples,
        written_bytes,
    })
}

/// Waits for the line that says so.
async fn sampling(running: &Running, log: &Path) -> Result<()> {
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.lines().any(|line| line.starts_with(SAMPLING)) {
            return Ok(());
        }
        if running.has_ended()? || running.started().elapsed() > START_MAX {
            bail!("flamekeeper does not sample: {said}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Removes files; how many bytes they were.
fn remove(files: &[PathBuf]) -> Result<u64> {
    let mut bytes = 0;
    for file in files {
        bytes += fs::metadata(file).with_context(|| format!("look at {}", file.display()))?.len();
        fs::remove_file(file)?;
    }
    Ok(bytes)
}
