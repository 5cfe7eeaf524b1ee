//! The outside world behind constructors: `/proc`, `/sys` and the clocks.
//!
//! Made once in `main` and handed down; a test makes one over a folder of fixtures instead.
//! The only file that opens `/proc` and `/sys` or reads a clock.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The initial PID namespace's inode: fixed by the kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// `/proc`, or a folder that looks like it.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

impl ProcFs {
    /// The running host's.
    pub fn host() -> Self {
        Self::at("/proc")
    }

    /// A folder that looks like `/proc`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Path of an entry, for callers that hand it to a library.
    pub fn path(&self, entry: impl AsRef<Path>) -> PathBuf {
        self.root.join(entry)
    }

    /// Opens an entry.
    pub fn open_entry(&self, entry: impl AsRef<Path>) -> io::Result<File> {
        File::open(self.path(entry))
    }

    /// Path of an entry of one process.
    pub fn process_path(&self, pid: u32, entry: &str) -> PathBuf {
        let mut path = self.root.join(pid.to_string());
        path.push(entry);
        path
    }

    /// Opens an entry of one process.
    pub fn open(&self, pid: u32, entry: &str) -> io::Result<File> {
        File::open(self.process_path(pid, entry))
    }

    /// Reads a small text file that belongs to no other process, without its line end.
    pub fn text(&self, entry: impl AsRef<Path>) -> io::Result<String> {
        std::fs::read_to_string(self.path(entry)).map(|text| text.trim_end().to_owned())
    }

    /// The first bytes of an entry, `max_bytes` at most.
    pub fn head(&self, entry: impl AsRef<Path>, max_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(entry))?.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Where a symbolic link points, such as `self/ns/pid`.
    pub fn link(&self, entry: impl AsRef<Path>) -> io::Result<PathBuf> {
        std::fs::read_link(self.path(entry))
    }

    /// Whether process ids here are the kernel half's: false in a container that does not share the host's.
    /// `None` if `/proc` does not say.
    pub fn is_initial_pid_namespace(&self) -> Option<bool> {
        self.link("self/ns/pid").ok().map(|link| link.as_os_str() == INITIAL_PID_NAMESPACE)
    }

    /// A file under `sys/` without its line end, such as `kernel/perf_event_paranoid`.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        std::fs::read_to_string(self.root.join("sys").join(name)).map(|text| text.trim_end().to_owned())
    }
}

/// `/sys`, or a folder that looks like it.
#[derive(Clone, Debug)]
pub struct SysFs {
    root: PathBuf,
}

impl SysFs {
    /// The running host's.
    pub fn host() -> Self {
        Self::at("/sys")
    }

    /// A folder that looks like `/sys`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Path of an entry.
    pub fn path(&self, entry: impl AsRef<Path>) -> PathBuf {
        self.root.join(entry)
    }

    /// Reads a small text file, without its line end.
    pub fn text(&self, entry: impl AsRef<Path>) -> io::Result<String> {
        std::fs::read_to_string(self.path(entry)).map(|text| text.trim_end().to_owned())
    }

    /// Reads a binary file of at most `max_bytes`; a longer one is [`io::ErrorKind::FileTooLarge`].
    pub fn bytes(&self, entry: impl AsRef<Path>, max_bytes: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(entry))?;
        let expected = file.metadata().map_or(0, |metadata| metadata.len()).min(max_bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).saturating_add(1));
        file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= max_bytes) {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::FileTooLarge.into())
        }
    }
}

/// Nanoseconds of CLOCK_MONOTONIC, the clock of samples and process events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicNanos(pub u64);

/// Nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallNanos(pub u64);

/// The clocks, and what ties them together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_at_monotonic_zero: i128,
}

fn clock_nanos(id: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

impl Clock {
    /// The host's clocks; the offset between them is read once, now.
    pub fn host() -> Self {
        use rustix::time::ClockId;
        let monotonic = i128::from(clock_nanos(ClockId::Monotonic));
        let wall = i128::from(clock_nanos(ClockId::Realtime));
        Self { wall_at_monotonic_zero: wall - monotonic }
    }

    /// Now, on the clock of samples.
    pub fn monotonic(&self) -> MonotonicNanos {
        MonotonicNanos(clock_nanos(rustix::time::ClockId::Monotonic))
    }

    /// The wall-clock time of a monotonic one, by the offset at the clock's making.
    pub fn wall(&self, at: MonotonicNanos) -> WallNanos {
        WallNanos(u64::try_from(i128::from(at.0) + self.wall_at_monotonic_zero).unwrap_or(0))
    }

    /// The wall-clock time that the host shows now: unlike [`Self::wall`] it steps when the clock is set.
    pub fn wall_now(&self) -> WallNanos {
        WallNanos(clock_nanos(rustix::time::ClockId::Realtime))
    }

    /// Time since an earlier moment.
    pub fn since(&self, earlier: MonotonicNanos) -> Duration {
        Duration::from_nanos(self.monotonic().0.saturating_sub(earlier.0))
    }

    /// CPU time of the calling thread so far, user and system.
    pub fn thread_cpu(&self) -> Duration {
        Duration::from_nanos(clock_nanos(rustix::time::ClockId::ThreadCPUTime))
    }

    /// CPU time of this process so far, user and system.
    pub fn own_cpu(&self) -> Duration {
        Duration::from_nanos(clock_nanos(rustix::time::ClockId::ProcessCPUTime))
    }
}

/// Memory that was freed goes back to the kernel; glibc would keep much of it for us as long as we live.
pub fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator has no safe function for it")]
    // SAFETY: takes a number, may be called at any time, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Name of the host, as in `uname -n`.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The host as the program sees it: made once, in `main`.
#[derive(Clone, Debug)]
pub struct Host {
    /// `/proc`.
    pub proc: ProcFs,
    /// `/sys`.
    pub sys: SysFs,
    /// The clocks.
    pub clock: Clock,
    /// `uname -n`.
    pub name: String,
}

impl Host {
    /// The running host.
    pub fn new() -> Self {
        Self { proc: ProcFs::host(), sys: SysFs::host(), clock: Clock::host(), name: host_name() }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}
