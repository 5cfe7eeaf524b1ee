//! One window of the spool, as memory has it: what it takes to account for it and to find its profiles, and how far each has
//! come. 24 bytes a profile, 200 a window; the contents stay on disk.

use std::sync::Arc;
use std::time::Duration;

use super::account::Tally;
use super::format::{Head, RecordsAt};
use super::state::State;
use crate::deliver::finished::FinishedWindow;
use crate::host::{MonotonicNanos, WallNanos};

/// What a file takes at least, bytes.
const BLOCK_BYTES: u64 = 4096;

/// What a file of this size takes on disk, as most file systems have it.
pub(super) fn on_disk(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}

const STATE_BITS: usize = 4;

/// One profile. Its states are packed: 4 bits for each endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    samples: u64,
    bytes: u32,
    pub(super) uncompressed_bytes: u32,
    states: u32,
}

impl Note {
    fn new(samples: u64, bytes: u32, uncompressed_bytes: u32) -> Self {
        Self { samples, bytes, uncompressed_bytes, states: 0 }
    }

    pub(super) fn state(self, slot: usize) -> State {
        match u8::try_from((self.states >> (slot * STATE_BITS)) & 15) {
            Ok(15) => State::Sending,
            byte => State::of_byte(byte.unwrap_or(0)),
        }
    }

    pub(super) fn set_state(&mut self, slot: usize, state: State) {
        let at = slot * STATE_BITS;
        self.states = (self.states & !(15 << at)) | (u32::from(state as u8) << at);
    }

    pub(super) fn tally(self) -> Tally {
        Tally::one(self.samples, u64::from(self.bytes))
    }
}

/// One window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) started: WallNanos,
    pub(super) duration: Duration,
    /// When it was put here, if that was in this run.
    pub(super) put_at: Option<MonotonicNanos>,
    /// Size of its file; 0 if it has none.
    pub(super) file_bytes: u64,
    pub(super) records_at: RecordsAt,
    pub(super) notes: Box<[Note]>,
    /// The window itself, while that is cheap or it is nowhere else.
    pub(super) content: Option<Arc<FinishedWindow>>,
    /// Its file is about to be removed: it is not sent.
    pub(super) leaving: bool,
}

impl Window {
    pub(super) fn of_content(window: Arc<FinishedWindow>, host: &str, put_at: MonotonicNanos) -> Self {
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let notes = window.profiles.iter().map(|profile| {
            Note::new(profile.samples, size(profile.pprof_gz.len()), profile.uncompressed_bytes)
        });
        Self {
            started: window.started,
            duration: window.duration,
            put_at: Some(put_at),
            file_bytes: 0,
            records_at: RecordsAt::new(window.profiles.len(), host),
            notes: notes.collect(),
            content: Some(window),
            leaving: false,
        }
    }

    /// Of a file; `state` says how far its profiles have come with each endpoint: slot, profile.
    pub(super) fn of_head(head: &Head, slots: usize, state: impl Fn(usize, usize) -> State) -> Self {
        let records = head.records.iter().enumerate();
        let notes = records.map(|(profile, record)| {
            let mut note = Note::new(record.samples, record.pprof_bytes, record.uncompressed_bytes);
            (0..slots).for_each(|slot| note.set_state(slot, state(slot, profile)));
            note
        });
        Self {
            started: head.started,
            duration: head.duration,
            put_at: None,
            file_bytes: head.file_bytes,
            records_at: RecordsAt::new(head.records.len(), &head.host),
            notes: notes.collect(),
            content: None,
            leaving: false,
        }
    }

    pub(super) fn profiles(&self) -> usize {
        self.notes.len()
    }

    pub(super) fn has_file(&self) -> bool {
        self.file_bytes > 0
    }

    /// What it takes, on disk or else in memory; at least one, so that a window without a byte counts too.
    pub(super) fn bytes(&self) -> u64 {
        let in_memory = || self.notes.iter().map(|note| u64::from(note.bytes)).sum::<u64>().max(1);
        if self.has_file() { on_disk(self.file_bytes) } else { in_memory() }
    }

    /// How far a profile has come with the endpoint of that slot.
    pub(super) fn state(&self, slot: usize, profile: usize) -> State {
        self.notes.get(profile).map_or(State::Delivered, |note| note.state(slot))
    }

    /// The bytes of a file for the endpoint of that slot.
    pub(super) fn state_bytes(&self, slot: usize) -> Vec<u8> {
        self.notes.iter().map(|note| note.state(slot).byte()).collect()
    }

    pub(super) fn tally(&self, slot: usize, is_counted: impl Fn(State) -> bool) -> Tally {
        self.notes.iter().filter(|note| is_counted(note.state(slot))).map(|note| note.tally()).sum()
    }

    pub(super) fn any(&self, slot: usize, is_it: impl Fn(State) -> bool) -> bool {
        self.notes.iter().any(|note| is_it(note.state(slot)))
    }
}
