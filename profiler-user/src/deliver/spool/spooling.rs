//! Windows in, profiles out, marks on them: the index and the folder kept in step.
//!
//! Three who meet here: the window thread puts ([`Spool::put`], the only one that waits for the device), replays take and
//! mark, and whoever shows the account. The index is locked for moments; no file is touched under its lock.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::account::{DropReason, SpoolStatus, Tally};
use super::disk::{Disk, Folder};
use super::format::{self, Encoded, FormatError, PROFILES_MAX, Places, ReadAt};
use super::id::{NEW_PREFIX, WindowId};
use super::index::{Index, Leave, Window, on_disk};
use super::state::{ENDPOINTS_MAX, Endpoint, EndpointKey, State};
use super::{SpoolClock, SpoolError, SpoolSettings};
use crate::deliver::finished::{FinishedWindow, SeriesProfile};
use crate::host::Host;

/// Windows in a spool; 11 days of 15 s.
const WINDOWS_MAX: usize = 65_536;
/// How many windows make room for one when the file system is full.
const EVICTIONS_WHEN_FULL: usize = 8;
/// A part of the file system that is left free unless the settings say otherwise, and the most of it.
const FREE_SHARE: u64 = 20;
const FREE_BYTES_MAX: u64 = 512 << 20;

/// What became of a window that was put into the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The device has it.
    Written(WindowId),
    /// It is in memory, and will be written when that is possible.
    InMemory(WindowId),
    /// It had nothing in it, or nothing that fits: dropped, counted.
    Nothing,
}

/// A spool. Clones are the same one.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn SpoolClock>,
    host: String,
    index: Mutex<Index>,
    settings: Mutex<SpoolSettings>,
    /// Held by who writes windows.
    writer: Mutex<Writer>,
    /// Held by who writes states: so the last one to write has seen all.
    marks: Mutex<()>,
    /// Counts windows that were put, so that replays look.
    news: watch::Sender<u64>,
}

struct Writer {
    next_sequence: u64,
    run: u64,
    /// Whether the index knows what is in the folder.
    is_surveyed: bool,
}

/// What a mark means for the folder.
#[derive(Debug)]
pub(super) struct Chore {
    id: WindowId,
    key: EndpointKey,
    is_done: bool,
}

/// A file of the spool, by name.
struct Named<'a>(&'a dyn Disk, &'a str);

impl ReadAt for Named<'_> {
    fn read_at(&self, start: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(self.1, start, buffer)
    }
}

/// A profile that is to be sent.
pub(super) enum Loaded {
    /// Of a window that is in memory.
    Shared(Arc<FinishedWindow>, usize),
    /// Read from its file.
    Own(SeriesProfile),
}

impl Loaded {
    pub(super) fn profile(&self) -> Option<&SeriesProfile> {
        match self {
            Self::Shared(window, index) => window.profiles.get(*index),
            Self::Own(profile) => Some(profile),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked is whole at every point where code could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Opens the spool, and reads the heads of what earlier runs left: some 10 µs a window, from a cold disk longer.
    /// `run` is a random number, `host` the host's name.
    ///
    /// # Errors
    ///
    /// If the folder is another's, or there are too many endpoints. A folder that cannot be had at the moment is no error:
    /// windows stay in memory meanwhile.
    pub fn open(
        settings: SpoolSettings,
        endpoints: Vec<Endpoint>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn SpoolClock>,
        host: &str,
        run: u64,
    ) -> Result<Self, SpoolError> {
        if endpoints.len() > ENDPOINTS_MAX {
            return Err(SpoolError::TooManyEndpoints { count: endpoints.len() });
        }
        let spool = Self(Arc::new(Shared {
            disk,
            clock,
            host: host.to_owned(),
            index: Mutex::new(Index::new(endpoints)),
            settings: Mutex::new(settings),
            writer: Mutex::new(Writer { next_sequence: 1, run, is_surveyed: false }),
            marks: Mutex::new(()),
            news: watch::Sender::new(0),
        }));
        let mut writer = lock(&spool.0.writer);
        match spool.prepare(&mut writer) {
            Err(error @ (SpoolError::Busy { .. } | SpoolError::NotTrusted { .. })) => return Err(error),
            Err(error) => spool.index().trouble = Some(error.to_string()),
            Ok(()) => spool.note(spool.make_room(&settings, 0)),
        }
        drop(writer);
        Ok(spool)
    }

    /// A folder of this host; windows are named after this run.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_folder(
        path: &Path,
        settings: SpoolSettings,
        endpoints: Vec<Endpoint>,
        host: &Host,
    ) -> Result<Self, SpoolError> {
        let (disk, clock) = (Arc::new(Folder::new(path)), Arc::new(host.clock));
        Self::open(settings, endpoints, disk, clock, &host.name, fastrand::u64(..))
    }

    /// Puts a window into the spool and waits until the device has it: for a thread that may wait.
    pub fn put(&self, window: FinishedWindow) -> Put {
        let mut writer = lock(&self.0.writer);
        let settings = *lock(&self.0.settings);
        let Some(window) = self.what_fits(window) else { return Put::Nothing };
        let ready = self.prepare(&mut writer).map_err(io::Error::other);
        let ready = ready.and_then(|()| self.write_unwritten(&settings));
        let id = WindowId { sequence: writer.next_sequence, run: writer.run };
        writer.next_sequence = writer.next_sequence.saturating_add(1);
        let content = Arc::new(window);
        let mut entry = Window::of_content(Arc::clone(&content), &self.0.host, self.0.clock.monotonic());
        let written = ready.and_then(|()| {
            let endpoints = self.index().endpoints();
            let encoded = Encoded::new(id, &self.0.host, &content, &endpoints, |_, _| State::Waiting);
            self.write(&settings, id, &encoded)
        });
        entry.file_bytes = written.as_ref().copied().unwrap_or(0);
        let mut index = self.index();
        index.take(id, entry);
        if written.is_ok() {
            index.forget_contents(); // else it is not certain that their files are there
        }
        while index.unwritten_bytes() > settings.memory_max_bytes {
            let Some(oldest) = index.oldest_unwritten() else { break };
            index.remove(oldest, Leave::NotWritten);
        }
        drop(index);
        let put = if written.is_ok() { Put::Written(id) } else { Put::InMemory(id) };
        self.note(written.map(drop));
        self.0.news.send_modify(|news| *news = news.wrapping_add(1));
        put
    }

    /// What the spool holds, and what became of what it held.
    pub fn status(&self) -> SpoolStatus {
        self.index().status()
    }

    /// Other bounds, from the next window on.
    pub fn set_limits(&self, settings: SpoolSettings) {
        *lock(&self.0.settings) = settings;
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.0.index)
    }

    pub(super) fn clock(&self) -> &dyn SpoolClock {
        &*self.0.clock
    }

    /// Tells of each window that is put.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// The profile, if its window is in memory.
    pub(super) fn at_hand(&self, id: WindowId, profile: usize) -> Option<Loaded> {
        let content = self.index().get(id)?.content.clone()?;
        Some(Loaded::Shared(content, profile))
    }

    /// Reads the profile from its file: waits for the disk.
    pub(super) fn load(&self, id: WindowId, profile: usize) -> Result<Loaded, FormatError> {
        let gone = || FormatError::Io(io::ErrorKind::NotFound.into());
        let (file_bytes, records_at) = {
            let index = self.index();
            let window = index.get(id).ok_or_else(gone)?;
            (window.file_bytes, window.records_at)
        };
        let name = id.file_name();
        format::read_profile_at(&Named(&*self.0.disk, &name), file_bytes, records_at, profile)
            .map(Loaded::Own)
    }

    /// Says how far profiles of a window have come with an endpoint; gives what is to be done about it on disk.
    pub(super) fn mark(
        &self,
        id: WindowId,
        key: EndpointKey,
        profiles: &[usize],
        state: State,
    ) -> Option<Chore> {
        let mut index = self.index();
        for profile in profiles {
            index.set_state(id, key, *profile, state);
        }
        match (index.get(id)?.has_file(), index.is_done(id)) {
            (true, is_done) => Some(Chore { id, key, is_done }),
            (false, true) => {
                index.remove_done(id);
                None
            }
            (false, false) => None,
        }
    }

    /// Brings the folder up to date: waits for the disk. The file goes when all is done.
    pub(super) fn carry_out(&self, chore: &Chore) {
        if !(chore.is_done && self.remove_done_file(chore.id)) {
            // If that fails it is sent again after a restart; there is nothing to be done about it here.
            let _unmarked = self.write_states(chore.id, chore.key);
        }
    }

    /// Back to waiting, here only: files never learned otherwise.
    pub(super) fn give_back(&self, id: WindowId, key: EndpointKey, profile: usize) {
        let mut index = self.index();
        if index
            .get(id)
            .zip(index.slot(key))
            .is_some_and(|(w, slot)| w.state(slot, profile) == State::Sending)
        {
            index.set_state(id, key, profile, State::Waiting);
        }
    }

    /// A window that is done leaves, with its file; false if that is still there.
    fn remove_done_file(&self, id: WindowId) -> bool {
        let is_gone = is_gone(&self.0.disk.remove(&id.file_name()));
        let mut index = self.index();
        if is_gone {
            index.remove_done(id);
        } else {
            index.leftovers.push(id);
        }
        is_gone
    }

    fn write_states(&self, id: WindowId, key: EndpointKey) -> io::Result<()> {
        let _one_at_a_time = lock(&self.0.marks);
        let (endpoints, states) = {
            let index = self.index();
            let Some((window, slot)) = index.get(id).zip(index.slot(key)) else { return Ok(()) };
            (index.endpoints(), window.state_bytes(slot))
        };
        let (disk, name) = (&self.0.disk, id.file_name());
        let mut places = [0; format::PLACES_BYTES];
        if disk.read_at(&name, format::place_at(0), &mut places)? < places.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let places = Places::decode(&places);
        if let Some(place) = places.find(key) {
            return disk.write_at(&name, format::states_at(place, states.len()), &states);
        }
        // A place that nobody has, or one that is configured no more. Emptied first: a kill in between must not leave
        // one's states to another.
        let is_free = |place: &Option<(EndpointKey, String)>| {
            place.as_ref().is_none_or(|(key, _)| endpoints.iter().all(|endpoint| endpoint.key != *key))
        };
        let Some(place) = places.0.iter().position(is_free) else { return Ok(()) };
        let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.key == key) else { return Ok(()) };
        disk.write_at(&name, format::place_at(place), &[0; 8])?;
        disk.write_at(&name, format::states_at(place, states.len()), &states)?;
        disk.write_at(&name, format::place_at(place), &Places::encode_one(endpoint))
    }

    /// Leaves out what is beyond the bounds of a file; `None` if nothing is left.
    fn what_fits(&self, mut window: FinishedWindow) -> Option<FinishedWindow> {
        let mut left_out = Tally::default();
        let mut count = 0;
        window.profiles.retain(|profile| {
            let is_kept = count < PROFILES_MAX && format::fits(profile);
            count += usize::from(is_kept);
            if !is_kept {
                left_out +=
                    Tally::one(profile.samples, u64::try_from(profile.pprof_gz.len()).unwrap_or(u64::MAX));
            }
            is_kept
        });
        if left_out.profiles > 0 {
            self.index().take_and_drop(left_out, DropReason::TooLarge);
        }
        (!window.profiles.is_empty()).then_some(window)
    }

    /// The folder is there and ours, and the index knows what is in it.
    fn prepare(&self, writer: &mut Writer) -> Result<(), SpoolError> {
        if self.0.disk.ensure()? || !writer.is_surveyed {
            writer.is_surveyed = false;
            let files = self.0.disk.list()?;
            self.survey(writer, files);
            writer.is_surveyed = true;
        }
        let leftovers = std::mem::take(&mut self.index().leftovers);
        leftovers.into_iter().for_each(|id| {
            self.remove_done_file(id);
        });
        Ok(())
    }

    /// Makes the index agree with a folder that was opened just now.
    fn survey(&self, writer: &mut Writer, files: Vec<(String, u64)>) {
        let mut index = self.index();
        (index.strays.other_version, index.strays.foreign) = (0, 0);
        let with_file: Vec<WindowId> =
            index.ids().filter(|id| index.get(*id).is_some_and(Window::has_file)).collect();
        drop(index);
        let there: std::collections::BTreeSet<WindowId> =
            files.iter().filter_map(|(name, _)| WindowId::of_file_name(name)).collect();
        with_file.into_iter().filter(|id| !there.contains(id)).for_each(|id| self.index().vanish(id));
        for (name, bytes) in files {
            match WindowId::of_file_name(&name) {
                Some(id) => self.find(id, &name, bytes),
                None if is_half_written(&name) => {
                    let _gone = self.0.disk.remove(&name);
                    let mut index = self.index();
                    index.strays.half_written += 1;
                    index.strays.removed_bytes += bytes;
                }
                None => self.index().strays.foreign += 1,
            }
        }
        let newest = there.last().map_or(0, |id| id.sequence);
        writer.next_sequence = writer.next_sequence.max(newest.saturating_add(1));
    }

    /// A file with the name of a window.
    fn find(&self, id: WindowId, name: &str, bytes: u64) {
        if self.index().get(id).is_some() {
            return;
        }
        let head = format::read_head(&Named(&*self.0.disk, name), bytes);
        let mut index = self.index();
        let head = match head {
            Ok(head) if head.id == id => head,
            Err(FormatError::Version(_)) => {
                index.strays.other_version += 1;
                return;
            }
            // A failing disk may come back to its senses; somebody's copy under another name is somebody's.
            Ok(_) | Err(FormatError::NotAWindow | FormatError::Io(_)) => {
                index.strays.foreign += 1;
                return;
            }
            Err(_) => {
                index.strays.damaged += 1;
                index.strays.removed_bytes += bytes;
                drop(index);
                let _gone = self.0.disk.remove(name);
                return;
            }
        };
        let endpoints = index.endpoints();
        let now = self.0.clock.wall();
        let age = std::time::Duration::from_nanos(now.0.saturating_sub(head.started.0));
        let state = |slot: usize, profile: usize| {
            let Some(endpoint) = endpoints.get(slot) else { return State::Waiting };
            let is_too_old = endpoint.takes_back.is_some_and(|limit| age > limit);
            let for_new = if is_too_old { State::NotForIt } else { State::Waiting };
            head.state_with(endpoint.key, profile).unwrap_or(for_new)
        };
        index.find(id, Window::of_head(&head, endpoints.len(), state));
        let is_done = index.is_done(id);
        drop(index);
        if is_done {
            self.remove_done_file(id);
        }
    }

    /// Writes what only memory has, oldest first. One that is too large for the folder does not keep the others from it.
    fn write_unwritten(&self, settings: &SpoolSettings) -> io::Result<()> {
        let unwritten = self.index().unwritten();
        for id in unwritten {
            let index = self.index();
            let Some(window) = index.get(id).cloned() else { continue };
            let endpoints = index.endpoints();
            drop(index);
            let Some(content) = &window.content else { continue };
            let state = |slot: usize, profile: usize| window.state(slot, profile);
            let encoded = Encoded::new(id, &self.0.host, content, &endpoints, state);
            match self.write(settings, id, &encoded) {
                Ok(bytes) => self.is_written(id, bytes, &window, &endpoints),
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A window has got a file; `was` is what was written of it.
    fn is_written(&self, id: WindowId, bytes: u64, was: &Window, endpoints: &[Endpoint]) {
        let mut index = self.index();
        index.written(id, bytes);
        let is = index.get(id).cloned();
        drop(index);
        let Some(is) = is else {
            // It was sent meanwhile.
            let _gone = self.0.disk.remove(&id.file_name());
            return;
        };
        for (slot, endpoint) in endpoints.iter().enumerate() {
            if is.state_bytes(slot) != was.state_bytes(slot) {
                let _unmarked = self.write_states(id, endpoint.key);
            }
        }
    }

    /// Makes room and writes a file; when this returns its size, the device has it under its name.
    fn write(&self, settings: &SpoolSettings, id: WindowId, encoded: &Encoded) -> io::Result<u64> {
        let bytes = encoded.bytes();
        self.make_room(settings, bytes)?;
        for _ in 0..EVICTIONS_WHEN_FULL {
            match self.write_file(id, &encoded.parts()) {
                Err(error) if is_full(&error) && self.evict()?.is_some() => {}
                done => return done.map(|()| bytes),
            }
        }
        self.write_file(id, &encoded.parts()).map(|()| bytes)
    }

    fn write_file(&self, id: WindowId, parts: &[&[u8]]) -> io::Result<()> {
        let (disk, new, name) = (&self.0.disk, id.new_name(), id.file_name());
        let written = disk.create(&new, parts).and_then(|()| disk.rename(&new, &name));
        if let Err(error) = written {
            let _half = disk.remove(&new);
            return Err(error);
        }
        disk.sync_names().inspect_err(|_| {
            let _unsure = disk.remove(&name);
        })
    }

    /// Removes windows until one of this size is within the bounds.
    fn make_room(&self, settings: &SpoolSettings, bytes: u64) -> io::Result<()> {
        let needed = on_disk(bytes);
        if needed > settings.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let is_over = || {
            let index = self.index();
            index.file_bytes().saturating_add(needed) > settings.max_bytes || index.len() >= WINDOWS_MAX
        };
        while is_over() {
            self.evict()?.ok_or(io::ErrorKind::StorageFull)?;
        }
        let space = self.0.disk.space()?;
        let least = (space.total_bytes / FREE_SHARE).min(FREE_BYTES_MAX);
        let least = settings.min_free_bytes.unwrap_or(least);
        // Somebody else fills the disk: what is kept stays within what it takes already.
        let mut missing = least.saturating_add(needed).saturating_sub(space.free_bytes).min(needed);
        while missing > 0 {
            missing = missing.saturating_sub(self.evict()?.ok_or(io::ErrorKind::StorageFull)?);
        }
        Ok(())
    }

    /// Removes the window that makes room first; what its file took, or `None` if there is none that may go.
    fn evict(&self) -> io::Result<Option<u64>> {
        let Some(id) = self.index().begin_eviction() else { return Ok(None) };
        let removed = self.0.disk.remove(&id.file_name());
        let mut index = self.index();
        if !is_gone(&removed) {
            index.set_leaving(id, false);
            return removed.map(|()| None);
        }
        let bytes = index.get(id).map_or(0, |window| on_disk(window.file_bytes));
        index.remove(id, Leave::Evicted);
        Ok(Some(bytes))
    }

    /// Whether windows can be written at the moment, for who asks.
    fn note(&self, written: io::Result<()>) {
        self.index().trouble = written.err().map(|error| error.to_string());
    }
}

/// The file is not there, whoever removed it.
fn is_gone(removed: &io::Result<()>) -> bool {
    removed.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_half_written(name: &str) -> bool {
    let id = name.strip_prefix(NEW_PREFIX).map(|id| format!("{id}{}", super::id::WINDOW_ENDING));
    id.is_some_and(|name| WindowId::of_file_name(&name).is_some())
}
