//! Finished windows → a bounded folder → each endpoint of the profile database, through outages, restarts and kills.
//!
//! ```text
//!  window thread ─ put ─▶ Spool ──────────────▶ folder: one file a window, fsynced      (spooling, disk, format)
//!                          │  ▲                  states of its profiles written in place
//!                 index: what lies there, how far it has come, exact account            (index, account)
//!                          ▼  │
//!  tokio thread ─ Replay, one an endpoint: what next, when, what an answer means ─ Sender ─▶ endpoint
//!                 (replay, schedule, trouble, pace)
//! ```
//!
//! Promises, each with a test that stops the world at every touch of the file system (`tests/kills.rs`):
//!
//! - A window that [`Spool::put`] has written is received by every endpoint at least once, however the process ends,
//!   unless it is counted as dropped or set aside. A kill loses at most the window that is being written.
//! - Something arrives twice only where a kill or a lost answer came between the endpoint's storing and our mark.
//! - Every sample is at one place of the account, at any moment.
//!
//! Speaks no HTTP: that is [`Sender`]'s. Reads no clock: [`SpoolClock`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::host::{Clock, MonotonicNanos, WallNanos};

pub mod account;
mod disk;
pub mod export;
pub mod format;
pub mod id;
mod index;
mod pace;
pub mod read;
mod replay;
mod schedule;
mod sender;
mod spooling;
pub mod state;
mod survey;
#[cfg(test)]
mod tests;
mod trouble;
mod window;
mod writing;

pub use disk::{Disk, Folder, Space};
pub use replay::{Replay, ReplaySettings};
pub use sender::Sender;
pub use spooling::{Put, Spool};

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it.
    #[error("the spool {} is in use by another flamekeeper; each needs a folder of its own", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else may have a hand in it.
    #[error("{} cannot be the spool: {why}", path.display())]
    NotTrusted {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is not there and cannot be made, or cannot be opened.
    #[error("the spool {} cannot be opened: {source}", path.display())]
    Unavailable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Each has a place in every file.
    #[error("{count} endpoints; the spool feeds 8 at most")]
    TooManyEndpoints {
        /// How many there are.
        count: usize,
    },
}

/// How far a profile has come with one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOf<'a> {
    /// Which endpoint.
    pub key: state::EndpointKey,
    /// What it was called when the window was written.
    pub name: &'a str,
    /// How far.
    pub state: state::State,
}

/// Bounds of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Bytes of all files; the oldest make room.
    pub max_bytes: u64,
    /// The spool does not grow while the file system has less than this left for ordinary users; `None` for 5 % of it, or
    /// 512 MiB if that is less.
    pub min_free_bytes: Option<u64>,
    /// Bytes of profiles that are kept in memory while they cannot be written.
    pub memory_max_bytes: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        // 30 KB a window of 15 s: a day and a half on disk, half an hour in memory.
        Self { max_bytes: 256 << 20, min_free_bytes: None, memory_max_bytes: 4 << 20 }
    }
}

/// The clocks, as the spool asks for them: a test steps them.
pub trait SpoolClock: Send + Sync {
    /// What the host takes for the time of day, now: steps when that is set.
    fn wall(&self) -> WallNanos;
    /// Never steps.
    fn monotonic(&self) -> MonotonicNanos;
}

impl SpoolClock for Clock {
    fn wall(&self) -> WallNanos {
        self.wall_now()
    }

    fn monotonic(&self) -> MonotonicNanos {
        self.monotonic()
    }
}

/// A moment some time after another.
fn after(moment: MonotonicNanos, time: Duration) -> MonotonicNanos {
    MonotonicNanos(moment.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}

/// How long it is until then.
fn until(now: MonotonicNanos, then: MonotonicNanos) -> Duration {
    Duration::from_nanos(then.0.saturating_sub(now.0))
}
