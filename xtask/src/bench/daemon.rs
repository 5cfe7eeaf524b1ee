//! `flamekeeper daemon`, started, asked and stopped: the one place that knows its arguments for a bench.
//!
//! Everything is as it is by default (19 Hz, windows of 15 s, its CPU budget), but what it writes goes into the bench's
//! folder, and its server gets a free port.

use super::bpf::Counting;
use super::bpf_maps::MapBytes;
use super::clock;
use super::http;
use super::metrics::Metrics;
use super::running::{Running, Taken};
use anyhow::{Context, Result, bail};
use procfs::process::Process;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The default of `sampling.window`; windows begin at whole multiples of it.
pub(super) const WINDOW: Duration = Duration::from_secs(15);
/// The line that says that sampling has begun.
const SAMPLING: &str = "message=sampling";
/// For loading, and for its end, which waits for the database a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that samples.
pub(super) struct Daemon {
    pub(super) running: Running,
    /// CPU time until it began to sample.
    pub(super) cpu_before: Duration,
    log: PathBuf,
    http: String,
    spool: PathBuf,
    _counting: Counting,
}

/// What it holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) resident_bytes: u64,
    /// Since it was started.
    pub(super) resident_peak_bytes: u64,
    pub(super) maps: MapBytes,
    pub(super) files: u64,
    pub(super) threads: u64,
    pub(super) spool_bytes: u64,
}

impl Daemon {
    /// Starts one that pushes to `url`, and waits until it samples. The kernel counts the time of its programs.
    pub(super) async fn start(program: &Path, folder: &Path, url: &str) -> Result<Self> {
        let (log, spool) = (folder.join("daemon.log"), folder.join("spool"));
        let mut command = Command::new(program);
        command.args(["daemon", "--push-url", url, "--http-listen", "127.0.0.1:0"]).current_dir(folder);
        command.arg("--spool-dir").arg(&spool).arg("--cache-dir").arg(folder.join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let running = Running::start("flamekeeper daemon", &mut command)?;
        let (cpu_before, http) = (Duration::ZERO, String::new());
        let mut daemon = Self { running, cpu_before, log, http, spool, _counting: Counting::start()? };
        daemon.http = daemon.samples().await?;
        daemon.cpu_before = daemon.running.own_cpu()?.max(daemon.running.family_cpu()?);
        Ok(daemon)
    }

    /// The address of its server, once it is told.
    async fn samples(&self) -> Result<String> {
        loop {
            let said = self.said();
            let line = said.lines().find(|line| line.contains(SAMPLING));
            let address = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("http=")));
            if let Some(address) = address {
                return Ok(address.to_owned());
            }
            if self.running.has_ended()? || self.running.started().elapsed() > PATIENCE {
                bail!("the daemon does not sample: {said}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Its log up to now.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub(super) fn check(&self) -> Result<()> {
        if self.running.has_ended()? {
            bail!("the daemon ended by itself: {}", self.said());
        }
        Ok(())
    }

    /// Its process in /proc.
    pub(super) fn process(&self) -> Result<Process> {
        self.running.process()
    }

    /// What it counts itself; parts of it are up to 5 s old.
    pub(super) async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&http::ask(&self.http, "GET", "/metrics", "").await?))
    }

    /// CPU time of each thread that lives, by its name.
    pub(super) fn cpu_by_thread(&self) -> Result<BTreeMap<String, Duration>> {
        let process = self.process()?;
        let mut by_thread = BTreeMap::new();
        for task in process.tasks().context("list the daemon's threads")?.flatten() {
            // A thread may end between the two.
            let (Ok(times), Ok(stat)) = (task.schedstat(), task.stat()) else { continue };
            let name = if task.tid == process.pid { "session".to_owned() } else { stat.comm };
            *by_thread.entry(name).or_default() += Duration::from_nanos(times.sum_exec_runtime);
        }
        Ok(by_thread)
    }

    /// Without asking itself: looking costs it nothing.
    pub(super) fn size(&self) -> Result<Size> {
        let process = self.process()?;
        let status = process.status().context("read the daemon's memory")?;
        let bytes = |kibibytes: Option<u64>| kibibytes.unwrap_or(0) * 1024;
        Ok(Size {
            resident_bytes: bytes(status.vmrss),
            resident_peak_bytes: bytes(status.vmhwm),
            maps: MapBytes::of(&process)?,
            files: u64::try_from(process.fd_count().context("count the daemon's files")?)?,
            threads: status.threads,
            spool_bytes: bytes_below(&self.spool),
        })
    }

    /// Ends it as a service manager does; what it took, and its log.
    pub(super) async fn stop(self) -> Result<(Taken, String)> {
        self.running.interrupt()?;
        let taken = self.running.watch_to_end(PATIENCE).await?;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let taken = taken.with_context(|| format!("the daemon did not end in {PATIENCE:?}: {said}"))?;
        if !taken.status.success() {
            bail!("the daemon ended with {}: {said}", taken.status);
        }
        Ok((taken, said))
    }
}

/// Sleeps until the middle of a window: then the one before is named and pushed, and a round of whole windows has
/// everything that belongs to them.
pub(super) async fn middle_of_window() {
    tokio::time::sleep(until_middle(clock::since_1970())).await;
}

fn until_middle(since_1970: Duration) -> Duration {
    let window = WINDOW.as_nanos();
    let wait = (window + window / 2 - since_1970.as_nanos() % window) % window;
    Duration::from_nanos(u64::try_from(wait).unwrap_or(0))
}

/// At least so long, in whole windows.
pub(super) fn whole_windows(duration: Duration) -> Duration {
    WINDOW * u32::try_from(duration.as_nanos().div_ceil(WINDOW.as_nanos())).unwrap_or(u32::MAX)
}

/// Of all files; those that go meanwhile count nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(of) if of.is_dir() => bytes_below(&entry.path()),
        of => of.map_or(0, |of| of.len()),
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_begin_in_the_middle_of_a_window() {
        let seconds = Duration::from_secs;
        let wait = |millis| until_middle(seconds(1_700_000_010) + Duration::from_millis(millis));
        // 1,700,000,010 is 15 × 113,333,334.
        assert_eq!(wait(0), Duration::from_millis(7_500));
        assert_eq!(wait(7_500), Duration::ZERO);
        assert_eq!(wait(8_500), Duration::from_millis(14_000));
    }

    #[test]
    fn rounds_are_whole_windows() {
        assert_eq!(whole_windows(Duration::from_secs(60)), Duration::from_secs(60));
        assert_eq!(whole_windows(Duration::from_secs(2)), WINDOW);
        assert_eq!(whole_windows(Duration::from_secs(16)), WINDOW * 2);
    }

    #[test]
    fn bytes_are_those_of_all_files_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [0; 10]).unwrap();
        fs::write(folder.path().join("c"), [0; 3]).unwrap();
        assert_eq!(bytes_below(folder.path()), 13);
        assert_eq!(bytes_below(&folder.path().join("nothing")), 0);
    }
}
