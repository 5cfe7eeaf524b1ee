//! All windows of the spool, in memory, and the account of each endpoint. No I/O. One lock around it, held for moments.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use super::account::{DropReason, EndpointAccount, SpoolStatus, Stored, StrayFiles, Tally, WindowAccount};
use super::id::WindowId;
use super::state::{Endpoint, EndpointKey, State};
use super::window::{Note, Window};

/// An endpoint and its account.
#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    /// Without what [`Index::status`] counts: waiting, too old, poisoned.
    account: EndpointAccount,
    /// Windows with something to send.
    waiting: BTreeSet<WindowId>,
}

/// How a window leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It made room.
    Evicted,
    /// It has no file, and memory is full.
    NotWritten,
    /// Its file is gone.
    Vanished,
}

/// All windows.
#[derive(Debug, Default)]
pub(super) struct Index {
    windows: BTreeMap<WindowId, Window>,
    slots: Vec<Slot>,
    pub(super) account: WindowAccount,
    pub(super) strays: StrayFiles,
    pub(super) trouble: Option<String>,
    /// Done, but their files could not be removed.
    pub(super) leftovers: Vec<WindowId>,
    file_bytes: u64,
    unwritten_bytes: u64,
}

impl Index {
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        let slot =
            |endpoint| Slot { endpoint, account: EndpointAccount::default(), waiting: BTreeSet::new() };
        Self { slots: endpoints.into_iter().map(slot).collect(), ..Self::default() }
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.slots.iter().map(|slot| slot.endpoint.clone()).collect()
    }

    pub(super) fn slot(&self, key: EndpointKey) -> Option<usize> {
        self.slots.iter().position(|slot| slot.endpoint.key == key)
    }

    pub(super) fn endpoint(&self, key: EndpointKey) -> Option<&Endpoint> {
        self.slots.iter().map(|slot| &slot.endpoint).find(|endpoint| endpoint.key == key)
    }

    /// The account of an endpoint, if it is (still) there.
    pub(super) fn account_of(&mut self, key: EndpointKey) -> Option<&mut EndpointAccount> {
        self.slots.iter_mut().find(|slot| slot.endpoint.key == key).map(|slot| &mut slot.account)
    }

    pub(super) fn get(&self, id: WindowId) -> Option<&Window> {
        self.windows.get(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = WindowId> {
        self.windows.keys().copied()
    }

    pub(super) fn newest(&self) -> Option<WindowId> {
        self.windows.keys().next_back().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// Bytes of all files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of what has no file.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// Windows without a file, oldest first.
    pub(super) fn unwritten(&self) -> Vec<WindowId> {
        if self.unwritten_bytes == 0 {
            return Vec::new();
        }
        self.windows.iter().filter(|(_, window)| !window.has_file()).map(|(id, _)| *id).collect()
    }

    /// A window that is put into the spool now.
    pub(super) fn take(&mut self, id: WindowId, window: Window) {
        self.account.taken += 1;
        for (number, slot) in self.slots.iter_mut().enumerate() {
            slot.account.taken += window.tally(number, |_| true);
        }
        self.insert(id, window);
    }

    /// Profiles that are dropped before they come into a window of the spool.
    pub(super) fn take_and_drop(&mut self, what: Tally, reason: DropReason) {
        for slot in &mut self.slots {
            slot.account.taken += what;
            slot.account.drop(reason, what);
        }
    }

    /// A window that lies in the folder.
    pub(super) fn find(&mut self, id: WindowId, window: Window) {
        self.account.found += 1;
        for (number, slot) in self.slots.iter_mut().enumerate() {
            slot.account.found += window.tally(number, |state| state.is_pending() || state.is_set_aside());
        }
        self.insert(id, window);
    }

    fn insert(&mut self, id: WindowId, window: Window) {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if window.any(number, State::is_pending) {
                slot.waiting.insert(id);
            }
        }
        self.count_bytes(&window, true);
        self.windows.insert(id, window);
    }

    fn count_bytes(&mut self, window: &Window, is_more: bool) {
        let bytes = window.bytes();
        let sum = if window.has_file() { &mut self.file_bytes } else { &mut self.unwritten_bytes };
        *sum = if is_more { sum.saturating_add(bytes) } else { sum.saturating_sub(bytes) };
    }

    /// The window has a file now.
    pub(super) fn written(&mut self, id: WindowId, file_bytes: u64) {
        let Some(mut window) = self.windows.remove(&id) else { return };
        self.count_bytes(&window, false);
        window.file_bytes = file_bytes;
        self.count_bytes(&window, true);
        self.windows.insert(id, window);
    }

    /// Lets go of contents that files have, but for the newest.
    pub(super) fn forget_contents(&mut self) {
        // Only what was put since can have one.
        let mut newest_first = self.windows.values_mut().rev();
        newest_first.next();
        newest_first
            .take_while(|window| window.put_at.is_some())
            .filter(|window| window.has_file())
            .for_each(|window| window.content = None);
    }

    /// The first window of a range with something to send, and which of its profiles may be. They are not taken yet.
    pub(super) fn next(
        &self,
        key: EndpointKey,
        range: impl RangeBounds<WindowId>,
        may_go: impl Fn(WindowId, &Window, usize) -> bool,
    ) -> Option<(WindowId, usize)> {
        let number = self.slot(key)?;
        let waiting = self.slots.get(number)?.waiting.range(range);
        waiting
            .filter_map(|id| Some((*id, self.windows.get(id)?)))
            .filter(|(_, window)| !window.leaving)
            .find_map(|(id, window)| {
                let may_go = |profile: &usize| {
                    window.state(number, *profile) == State::Waiting && may_go(id, window, *profile)
                };
                Some((id, (0..window.profiles()).find(may_go)?))
            })
    }

    pub(super) fn note(&self, id: WindowId, profile: usize) -> Option<Note> {
        self.windows.get(&id)?.notes.get(profile).copied()
    }

    /// How far a profile has come; counts it where it goes. False if there is no such profile or endpoint any more.
    pub(super) fn set_state(&mut self, id: WindowId, key: EndpointKey, profile: usize, state: State) -> bool {
        let Some(number) = self.slot(key) else { return false };
        let Some(window) = self.windows.get_mut(&id) else { return false };
        let Some(slot) = self.slots.get_mut(number) else { return false };
        let Some(note) = window.notes.get_mut(profile) else { return false };
        let what = note.tally();
        note.set_state(number, state);
        match state {
            State::Waiting | State::Sending | State::NotForIt => {}
            State::Delivered => slot.account.delivered += what,
            State::TooOld => slot.account.became_too_old += what,
            State::Poisoned => slot.account.became_poisoned += what,
            State::Refused => slot.account.drop(DropReason::Refused, what),
            State::Damaged => slot.account.drop(DropReason::Unreadable, what),
        }
        if window.any(number, State::is_pending) {
            slot.waiting.insert(id);
        } else {
            slot.waiting.remove(&id);
        }
        true
    }

    /// The profiles of a window that wait for an endpoint, and are not being sent.
    pub(super) fn waiting(&self, id: WindowId, key: EndpointKey) -> Vec<usize> {
        let Some((window, number)) = self.windows.get(&id).zip(self.slot(key)) else { return Vec::new() };
        (0..window.profiles()).filter(|profile| window.state(number, *profile) == State::Waiting).collect()
    }

    /// Whether no endpoint needs it any more, and nobody set any of it aside.
    pub(super) fn is_done(&self, id: WindowId) -> bool {
        let is_open = |state: State| state.is_pending() || state.is_set_aside();
        let Some(window) = self.windows.get(&id) else { return false };
        !self.slots.is_empty() && (0..self.slots.len()).all(|slot| !window.any(slot, is_open))
    }

    /// A window that is done leaves.
    pub(super) fn remove_done(&mut self, id: WindowId) {
        if let Some(window) = self.windows.remove(&id) {
            self.count_bytes(&window, false);
            self.account.done += 1;
        }
    }

    /// The window with a file that makes room first: the oldest that nobody waits for, else the oldest. It is not sent
    /// from now on. What is being sent stays.
    pub(super) fn begin_eviction(&mut self) -> Option<WindowId> {
        let is_free = |(id, window): &(&WindowId, &Window)| {
            let is_sending = |(number, slot): (usize, &Slot)| {
                slot.waiting.contains(id) && window.any(number, |state| state == State::Sending)
            };
            window.has_file() && !window.leaving && !self.slots.iter().enumerate().any(is_sending)
        };
        let is_wanted = |(id, _): &(&WindowId, &Window)| {
            self.slots.is_empty() || self.slots.iter().any(|slot| slot.waiting.contains(id))
        };
        let mut unwanted = self.windows.iter().filter(|window| !is_wanted(window) && is_free(window));
        let first = unwanted.next().or_else(|| self.windows.iter().find(is_free));
        let id = *first?.0;
        self.set_leaving(id, true);
        Some(id)
    }

    /// The window without a file that leaves memory first, if it may.
    pub(super) fn oldest_unwritten(&self) -> Option<WindowId> {
        let is_free = |window: &Window| {
            (0..self.slots.len()).all(|slot| !window.any(slot, |state| state == State::Sending))
        };
        self.unwritten().into_iter().find(|id| self.windows.get(id).is_some_and(is_free))
    }

    pub(super) fn set_leaving(&mut self, id: WindowId, leaving: bool) {
        if let Some(window) = self.windows.get_mut(&id) {
            window.leaving = leaving;
        }
    }

    /// A window leaves before its time; counts what is lost by that.
    pub(super) fn remove(&mut self, id: WindowId, how: Leave) {
        let Some(window) = self.windows.remove(&id) else { return };
        self.count_bytes(&window, false);
        let (pending, set_aside, counter) = match how {
            Leave::Evicted => (DropReason::Evicted, DropReason::SetAsideEvicted, &mut self.account.evicted),
            Leave::NotWritten => (DropReason::NotWritten, DropReason::NotWritten, &mut self.account.lost),
            Leave::Vanished => (DropReason::Unreadable, DropReason::Unreadable, &mut self.account.lost),
        };
        *counter += 1;
        for (number, slot) in self.slots.iter_mut().enumerate() {
            slot.waiting.remove(&id);
            slot.account.drop(pending, window.tally(number, State::is_pending));
            slot.account.drop(set_aside, window.tally(number, State::is_set_aside));
        }
    }

    /// The file of a window is gone. It goes on in memory if it is there; else it leaves.
    pub(super) fn vanish(&mut self, id: WindowId) {
        let Some(window) = self.windows.get_mut(&id) else { return };
        if window.content.is_none() {
            return self.remove(id, Leave::Vanished);
        }
        self.written(id, 0);
    }

    pub(super) fn status(&self) -> SpoolStatus {
        let endpoint = |(number, slot): (usize, &Slot)| {
            let all = |is_counted: fn(State) -> bool| {
                self.windows.values().map(|window| window.tally(number, is_counted)).sum()
            };
            let account = EndpointAccount {
                waiting: all(State::is_pending),
                too_old: all(|state| state == State::TooOld),
                poisoned: all(|state| state == State::Poisoned),
                windows_waiting: count(slot.waiting.len()),
                ..slot.account.clone()
            };
            (slot.endpoint.clone(), account)
        };
        let is_waiting = |id: &WindowId| self.slots.iter().any(|slot| slot.waiting.contains(id));
        SpoolStatus {
            windows: count(self.windows.len()),
            bytes: self.file_bytes,
            waiting: self.stored(|id, _| is_waiting(id)),
            aside: self.stored(|id, _| !is_waiting(id)),
            unwritten: self.stored(|_, window| !window.has_file()),
            trouble: self.trouble.clone(),
            account: self.account,
            strays: self.strays,
            endpoints: self.slots.iter().enumerate().map(endpoint).collect(),
        }
    }

    fn stored(&self, is_one: impl Fn(&WindowId, &Window) -> bool) -> Stored {
        let mut stored = Stored::default();
        for (_, window) in self.windows.iter().filter(|(id, window)| is_one(id, window)) {
            stored.windows += 1;
            stored.bytes = stored.bytes.saturating_add(window.bytes());
            let started = window.started;
            stored.oldest = Some(stored.oldest.map_or(started, |oldest| oldest.min(started)));
        }
        stored
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
