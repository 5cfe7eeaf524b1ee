//! A command → when it ended and what it took: wall clock, CPU time, memory. Ends it when dropped.
//!
//! Nothing here waits for a child by blocking: a bench that is interrupted drops everything, and so ends everything.
//!
//! ```text
//!   start ─── on its own ───▶ watch_to_end: every 5 ms its resident memory and that of its children
//!                               └▶ zombie: its CPU times are final ─▶ reaped
//! ```

use super::clock;
use super::resident::Resident;
use anyhow::{Context, Result, bail};
use procfs::process::Process;
use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How closely ends and memory are watched.
const LOOK: Duration = Duration::from_millis(5);

/// For ending when asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A child that runs.
pub(super) struct Running {
    name: String,
    child: Child,
    started: Instant,
    started_since_1970: Duration,
}

/// What a command took from its start to its end.
pub(super) struct Taken {
    pub(super) status: ExitStatus,
    pub(super) wall: Duration,
    pub(super) ended_since_1970: Duration,
    /// Its own and its children's.
    pub(super) cpu: Duration,
    pub(super) resident: Resident,
}

impl Running {
    /// Starts a command; `name` is for messages.
    pub(super) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let (started, started_since_1970) = (clock::now(), clock::since_1970());
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, started, started_since_1970 })
    }

    /// When it was started.
    pub(super) fn started_since_1970(&self) -> Duration {
        self.started_since_1970
    }

    /// When it was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Its process in /proc; there until it is reaped.
    pub(super) fn process(&self) -> Result<Process> {
        Process::new(self.pid()?.as_raw_nonzero().get()).with_context(|| format!("look at {}", self.name))
    }

    /// Whether it has ended; it stays a zombie until [`Self::watch_to_end`].
    pub(super) fn has_ended(&self) -> Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended =
            waitid(WaitId::Pid(self.pid()?), look).with_context(|| format!("wait for {}", self.name))?;
        Ok(ended.is_some())
    }

    /// CPU time of all its threads, to the nanosecond; exact while they sleep, at most a tick behind else.
    pub(super) fn own_cpu(&self) -> Result<Duration> {
        let process = self.process()?;
        let mut nanos = 0;
        for task in process.tasks().with_context(|| format!("list threads of {}", self.name))?.flatten() {
            // A thread may end between the two; then its time is lost to this sum.
            nanos += task.schedstat().map_or(0, |times| times.sum_exec_runtime);
        }
        if nanos == 0 {
            bail!("this kernel does not tell the CPU time of {} to the nanosecond", self.name);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// CPU time of itself and of its children that have ended, in steps of 10 ms.
    pub(super) fn family_cpu(&self) -> Result<Duration> {
        self.own_and_children_cpu().map(|(own, children)| own + children)
    }

    /// The same apart; its own is that of threads that have ended, too.
    pub(super) fn own_and_children_cpu(&self) -> Result<(Duration, Duration)> {
        let stat = self.process()?.stat().with_context(|| format!("read CPU times of {}", self.name))?;
        let children = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
        Ok((ticks(stat.utime + stat.stime), ticks(children)))
    }

    /// Waits for its end, or gives up after `limit` from now and ends it. `None` if it took longer.
    pub(super) async fn watch_to_end(mut self, limit: Duration) -> Result<Option<Taken>> {
        let mut resident = Resident::default();
        let (process, watched) = (self.process()?, clock::now());
        while !self.has_ended()? {
            if watched.elapsed() > limit {
                return Ok(None);
            }
            resident.look_at(&process);
            tokio::time::sleep(LOOK).await;
        }
        let (wall, ended_since_1970) = (self.started.elapsed(), clock::since_1970());
        let cpu = self.family_cpu()?;
        let status = self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(Some(Taken { status, wall, ended_since_1970, cpu, resident }))
    }

    /// Waits for its end without looking at it, which costs next to nothing; gives up after `limit`. False if it failed.
    pub(super) async fn has_succeeded(mut self, limit: Duration) -> Result<bool> {
        while !self.has_ended()? {
            if self.started.elapsed() > limit {
                bail!("{} did not end in {limit:?}", self.name);
            }
            tokio::time::sleep(LOOK * 4).await;
        }
        Ok(self.child.wait().with_context(|| format!("wait for {}", self.name))?.success())
    }

    /// Asks it to end, as Ctrl-C does.
    pub(super) fn interrupt(&self) -> Result<()> {
        kill_process(self.pid()?, Signal::INT).with_context(|| format!("interrupt {}", self.name))
    }

    fn pid(&self) -> Result<rustix::process::Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        pid.with_context(|| format!("{} has no pid", self.name))
    }
}

impl Drop for Running {
    /// Asks first, as Ctrl-C does: perf has a child and a file in /tmp to see to. What does not end is killed.
    fn drop(&mut self) {
        let patient_until = clock::now() + PATIENCE;
        let mut is_asked = false;
        // A child that was reaped has no pid any more: it may be somebody else's.
        while matches!(self.child.try_wait(), Ok(None)) && clock::now() < patient_until {
            if !is_asked {
                is_asked = self.pid().is_ok_and(|pid| kill_process(pid, Signal::INT).is_ok());
            }
            std::thread::sleep(LOOK);
        }
        // Both do nothing to a child that was reaped.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The unit of times in /proc as a duration.
pub(super) fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / procfs::ticks_per_second().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_command_is_watched_to_its_end() {
        let burn = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exit 3";
        let running = Running::start("sh", Command::new("sh").args(["-c", burn])).unwrap();
        let taken = block_on(running.watch_to_end(Duration::from_secs(600))).unwrap().unwrap();
        assert_eq!(taken.status.code(), Some(3));
        assert!(taken.wall > Duration::ZERO && taken.cpu <= taken.wall + Duration::from_millis(20));
        assert!(taken.resident.own_bytes() > 0);
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let running = Running::start("sleep", Command::new("sleep").arg("1000")).unwrap();
        let process = running.process().unwrap();
        assert!(block_on(running.watch_to_end(Duration::ZERO)).unwrap().is_none());
        assert!(!process.is_alive());
    }
}
