//! What became of every sample that came into the spool, for each endpoint; what the spool holds now.
//!
//! ```text
//!   found + taken = delivered + waiting + too old + poisoned + dropped, by reason
//! ```
//!
//! holds at any moment, to the sample. Plain numbers: whoever shows them takes a snapshot.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use super::state::Endpoint;
use crate::deliver::push::{RefusalCause, RetryCause};
use crate::host::{MonotonicNanos, WallNanos};

/// An amount of profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub profiles: u64,
    /// Samples in them.
    pub samples: u64,
    /// Their compressed size, bytes.
    pub bytes: u64,
}

impl Tally {
    /// One profile.
    pub fn one(samples: u64, bytes: u64) -> Self {
        Self { profiles: 1, samples, bytes }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.profiles = self.profiles.saturating_add(other.profiles);
        self.samples = self.samples.saturating_add(other.samples);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Why a profile will not arrive any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The endpoint refused it for good.
    Refused,
    /// Its file cannot be read any more, or is gone.
    Unreadable,
    /// It waited, and made room for newer ones.
    Evicted,
    /// It was set aside, and made room for newer ones.
    SetAsideEvicted,
    /// It could not be written, and memory had no more room.
    NotWritten,
    /// It is larger than the spool takes.
    TooLarge,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Refused,
        Self::Unreadable,
        Self::Evicted,
        Self::SetAsideEvicted,
        Self::NotWritten,
        Self::TooLarge,
    ];

    /// As the label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Evicted => "evicted",
            Self::SetAsideEvicted => "set_aside_evicted",
            Self::NotWritten => "not_written",
            Self::TooLarge => "too_large",
        }
    }
}

/// What came in for one endpoint, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointAccount {
    /// Was waiting or set aside when this run began, or when the endpoint was added.
    pub found: Tally,
    /// Was put into the spool since.
    pub taken: Tally,
    /// The endpoint said that it has it.
    pub delivered: Tally,
    /// Is to be sent.
    pub waiting: Tally,
    /// Lies in the spool, older than the endpoint takes.
    pub too_old: Tally,
    /// Lies in the spool, refused again and again while others passed.
    pub poisoned: Tally,
    /// Became too old in this run.
    pub became_too_old: Tally,
    /// Became poisoned in this run.
    pub became_poisoned: Tally,
    /// Will not arrive.
    pub dropped: BTreeMap<DropReason, Tally>,
    /// [`DropReason::Refused`], by what the endpoint has against it.
    pub refused: BTreeMap<RefusalCause, Tally>,
    /// Attempts that will be repeated, by what went wrong.
    pub retries: BTreeMap<RetryCause, u64>,
    /// Attempts without an answer, so that the endpoint may have what is sent to it again: too slow, broken off, or not
    /// waited for at the end.
    pub unanswered: u64,
    /// Compressed bytes of all attempts.
    pub sent_bytes: u64,
    /// Time that all attempts took together.
    pub sending: Duration,
    /// When the endpoint took something last.
    pub last_success: Option<WallNanos>,
    /// Windows with something to send.
    pub windows_waiting: u64,
    /// What it waits for before the next attempt.
    pub held: Option<Held>,
    /// What went wrong last.
    pub last_trouble: Option<String>,
}

impl EndpointAccount {
    /// What came in.
    pub fn came(&self) -> Tally {
        [self.found, self.taken].into_iter().sum()
    }

    /// Where it is: equal to [`Self::came`], or there is a bug.
    pub fn went(&self) -> Tally {
        let known = [self.delivered, self.waiting, self.too_old, self.poisoned];
        known.into_iter().chain(self.dropped.values().copied()).sum()
    }

    pub(super) fn drop(&mut self, reason: DropReason, what: Tally) {
        if what.profiles > 0 {
            *self.dropped.entry(reason).or_default() += what;
        }
    }
}

/// Why and how long nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What went wrong.
    pub cause: RetryCause,
    /// On the clock of samples.
    pub until: MonotonicNanos,
}

/// Windows, by where they came from and where they went.
///
/// ```text
///   found + taken = in the spool + done + evicted + lost
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowAccount {
    /// Whole windows that earlier runs left.
    pub found: u64,
    /// Put into the spool in this run.
    pub taken: u64,
    /// Every endpoint is done with every profile.
    pub done: u64,
    /// Made room for newer ones.
    pub evicted: u64,
    /// Could not be written and found no room in memory, or vanished from the folder.
    pub lost: u64,
}

/// Files in the folder that are not whole windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StrayFiles {
    /// Half written when a run ended: removed.
    pub half_written: u64,
    /// Damaged: removed.
    pub damaged: u64,
    /// Bytes of both.
    pub removed_bytes: u64,
    /// Of another version of this program: left alone.
    pub other_version: u64,
    /// Nothing of ours: left alone.
    pub foreign: u64,
}

/// Some of the windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How many.
    pub windows: u64,
    /// Bytes that they take on disk; of those that only memory has, there.
    pub bytes: u64,
    /// Start of the one that began first.
    pub oldest: Option<WallNanos>,
}

/// What the spool holds, and what became of all that it held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Windows now.
    pub windows: u64,
    /// Bytes of their files now, in whole blocks.
    pub bytes: u64,
    /// Windows that an endpoint waits for.
    pub waiting: Stored,
    /// The other windows: set aside.
    pub aside: Stored,
    /// Windows of all of them that only memory has.
    pub unwritten: Stored,
    /// Why the last window could not be written; `None` if it was.
    pub trouble: Option<String>,
    /// Windows.
    pub account: WindowAccount,
    /// Other files.
    pub strays: StrayFiles,
    /// For each endpoint.
    pub endpoints: Vec<(Endpoint, EndpointAccount)>,
}
