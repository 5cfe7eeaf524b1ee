//! A child process whose output is collected and which cannot outlive its owner.
//!
//! Turns a command into [`Running`]: lines can be waited for, the end can be waited for, both with a deadline.
//! It leads its own process group; on drop that group is killed and the child reaped.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// More output than this is read and thrown away, so that a mad child cannot eat the memory.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// How long the pipes may stay open once the child itself has ended.
const PIPES_CLOSE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    closed: bool,
}

/// What came out of one pipe so far.
#[derive(Default)]
struct Collected {
    text: Mutex<Text>,
    changed: Condvar,
}

impl Collected {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, mut pipe: impl Read) {
        let mut chunk = [0; 8192];
        loop {
            let length = pipe.read(&mut chunk).unwrap_or(0);
            let mut text = self.lock();
            if length == 0 {
                text.closed = true;
            } else if text.bytes.len() < MAX_OUTPUT_BYTES {
                text.bytes.extend_from_slice(chunk.get(..length).unwrap_or_default());
            }
            self.changed.notify_all();
            if text.closed {
                return;
            }
        }
    }

    /// The first whole line from `skip` bytes on that fits, and the offset behind it.
    fn line_after(
        &self,
        skip: usize,
        fits: impl Fn(&str) -> bool,
        within: Duration,
    ) -> Option<(String, usize)> {
        let found = |text: &Text| {
            let mut at = skip;
            for line in text.bytes.get(skip..)?.split_inclusive(|&byte| byte == b'\n' || byte == b'\r') {
                at += line.len();
                let words = String::from_utf8_lossy(line);
                if words.ends_with(['\n', '\r']) && fits(words.trim_end()) {
                    return Some((words.trim_end().to_owned(), at));
                }
            }
            None
        };
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), within, |text| found(text).is_none() && !text.closed)
            .unwrap_or_else(PoisonError::into_inner);
        found(&waited.0)
    }

    fn until_closed(&self, within: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), within, |text| !text.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn so_far(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }
}

/// A running child. Killed with its process group and reaped on drop.
pub struct Running {
    child: Child,
    what: String,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
    stdout_read: Mutex<usize>,
}

impl Running {
    /// Starts `program` with stdin closed, as leader of a process group, killed when the starting thread ends.
    pub(crate) fn start<S: AsRef<OsStr>>(
        words: impl IntoIterator<Item = S>,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let words: Vec<_> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let what = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        // setpriv executes its command in place: same pid, and no workload burns on after a test run was interrupted.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(&words);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().with_context(|| format!("start {what}"))?;
        let (stdout, stderr) = (Arc::<Collected>::default(), Arc::<Collected>::default());
        if let Some(pipe) = child.stdout.take() {
            let into = stdout.clone();
            std::thread::spawn(move || into.read_all(pipe));
        }
        if let Some(pipe) = child.stderr.take() {
            let into = stderr.clone();
            std::thread::spawn(move || into.read_all(pipe));
        }
        Ok(Self { child, what, stdout, stderr, stdout_read: Mutex::new(0) })
    }

    /// Its process id, also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn handle(&self) -> Result<Pid> {
        let number = i32::try_from(self.child.id()).context("process id out of range")?;
        Pid::from_raw(number).context("process id 0")
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.handle()?, signal).with_context(|| format!("signal {}", self.what))
    }

    /// Waits for the next line on its stdout that `fits`; lines before it are gone for later calls.
    pub fn next_line(&self, fits: impl Fn(&str) -> bool, within: Duration) -> Result<String> {
        let mut read = self.stdout_read.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((line, behind)) = self.stdout.line_after(*read, fits, within) else {
            bail!("{}: the expected line did not come on stdout\n{}", self.what, self.output_so_far());
        };
        *read = behind;
        Ok(line)
    }

    /// Later calls of [`Self::next_line`] see only what it says from now on.
    pub fn forget_lines(&self) {
        let mut read = self.stdout_read.lock().unwrap_or_else(PoisonError::into_inner);
        *read = self.stdout.lock().bytes.len();
    }

    /// Waits for a line on its stderr that `fits`, from the beginning.
    pub fn stderr_line(&self, fits: impl Fn(&str) -> bool, within: Duration) -> Result<String> {
        match self.stderr.line_after(0, fits, within) {
            Some((line, _)) => Ok(line),
            None => {
                bail!("{}: the expected line did not come on stderr\n{}", self.what, self.output_so_far())
            }
        }
    }

    /// Its stdout and stderr, for people.
    pub fn output_so_far(&self) -> String {
        let (out, err) = (self.stdout.so_far(), self.stderr.so_far());
        format!("--- stdout\n{}--- stderr\n{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err))
    }

    /// Waits for its end; status, stdout and stderr.
    pub(crate) fn finish(mut self, within: Duration) -> Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let handle = pidfd_open(self.handle()?, PidfdFlags::empty()).context("open a handle on the child")?;
        let deadline = Timespec { tv_sec: i64::try_from(within.as_secs())?, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&deadline))
            .context("wait for the child")?;
        if ended == 0 {
            bail!("{} did not end within {within:?}\n{}", self.what, self.output_so_far());
        }
        let status = self.child.wait().context("reap the child")?;
        if !(self.stdout.until_closed(PIPES_CLOSE_WITHIN) && self.stderr.until_closed(PIPES_CLOSE_WITHIN)) {
            bail!(
                "{} ended, but something that it left behind holds its output\n{}",
                self.what,
                self.output_so_far()
            );
        }
        Ok((status, self.stdout.so_far(), self.stderr.so_far()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group may be gone already, and there is nobody to tell: both calls are best effort.
        if let Ok(group) = self.handle() {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}
