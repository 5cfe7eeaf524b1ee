//! One capture of the whole host by flamekeeper → what it took.

use super::bpf::{BpfTime, Counting, Programs};
use super::bpf_maps::MapBytes;
use super::clock;
use super::figures::number;
use super::firefox;
use super::recorder::{Recorder, Walk};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every format, by its ending. The JSON tells when samples were taken.
pub(super) const ALL_FORMATS: &[&str] = &["json", "pb.gz", "folded", "svg", "speedscope.json"];
/// The CPU time while sampling is read this much before the end.
pub(super) const BEFORE_END: Duration = Duration::from_millis(300);

/// What one capture took.
pub(super) struct Capture {
    pub(super) cpu_before: Duration,
    pub(super) sampling_cpu_share: f64,
    pub(super) bpf_share: f64,
    pub(super) bpf_per_run: Duration,
    /// At the end of sampling.
    pub(super) maps: MapBytes,
    pub(super) own_bytes: u64,
    pub(super) family_bytes: u64,
    pub(super) finish_cpu: Duration,
    pub(super) whole_cpu: Duration,
    pub(super) written_bytes: u64,
    /// Percent of the user stacks, as its summary says.
    pub(super) complete_percent: Option<f64>,
    /// With a profile in JSON.
    pub(super) timed: Option<Timed>,
}

/// What only the samples' own times tell.
pub(super) struct Timed {
    pub(super) to_first_sample: Duration,
    pub(super) finish: Duration,
    pub(super) samples: u64,
}

/// Captures; everything is written into `folder` and removed again.
pub(super) async fn capture(
    program: &Path,
    folder: &Path,
    duration: Duration,
    formats: &[&str],
) -> Result<Capture> {
    let outputs: Vec<PathBuf> = formats.iter().map(|ending| folder.join(format!("host.{ending}"))).collect();
    let _counting = Counting::start()?;
    let duration_argument = format!("{}ms", duration.as_millis());
    let mut arguments = vec!["-F", "99", "-d", &duration_argument];
    for output in &outputs {
        arguments.extend(["-o", output.to_str().context("a folder's name is not UTF-8")?]);
    }
    let recorder = Recorder::start(program, folder, Walk::Rows, &arguments).await?;
    let (process, cpu_before) = (recorder.process()?, recorder.cpu_before);
    let running = &recorder.running;
    let bpf_time = || BpfTime::of(&process, Programs::All);
    let (began, cpu, bpf) = (clock::now(), running.own_cpu()?, bpf_time()?);
    tokio::time::sleep(duration.saturating_sub(BEFORE_END)).await;
    let (sampled, cpu, bpf) =
        (began.elapsed(), running.own_cpu()?.saturating_sub(cpu), bpf_time()?.since(bpf));
    let (maps, cpu_before_end) = (MapBytes::of(&process)?, running.family_cpu()?);

    let started = running.started_since_1970();
    let (taken, said) = recorder.finish().await?;
    if bpf.runs == 0 {
        bail!("nothing ran in the kernel: {said}");
    }
    let times =
        if formats.contains(&"json") { Some(firefox::times(&folder.join("host.json"))?) } else { None };
    Ok(Capture {
        cpu_before,
        sampling_cpu_share: cpu.as_secs_f64() / sampled.as_secs_f64(),
        bpf_share: Duration::from_nanos(bpf.nanos).as_secs_f64() / sampled.as_secs_f64(),
        bpf_per_run: Duration::from_secs_f64(number(bpf.nanos) / number(bpf.runs) / 1e9),
        maps,
        own_bytes: taken.resident.own_bytes(),
        family_bytes: taken.resident.family_bytes(),
        finish_cpu: taken.cpu.saturating_sub(cpu_before_end),
        whole_cpu: taken.cpu,
        written_bytes: remove(&outputs)?,
        complete_percent: complete_percent(&said),
        timed: times.map(|times| Timed {
            to_first_sample: times.first_sample.saturating_sub(started),
            finish: taken.ended_since_1970.saturating_sub(times.end),
            samples: times.samples,
        }),
    })
}

/// From the line "99.9 % of the user stacks reach their root (999 of 1000).".
fn complete_percent(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("of the user stacks reach their root"))?;
    line.split_whitespace().next()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_whole_stacks_is_in_the_summary() {
        let said =
            "sampling 2 CPUs 99 times a second\n60.0 % of the user stacks reach their root (3 of 5).\n";
        assert_eq!(complete_percent(said), Some(60.0));
        assert_eq!(complete_percent("no samples"), None);
    }
}
