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
use super::id::WindowId;
use super::index::{Index, Leave};
use super::state::{Endpoint, EndpointKey, State};
use super::survey::distinct;
use super::window::Window;
use super::{SpoolClock, SpoolError, SpoolSettings};
use crate::deliver::finished::{FinishedWindow, SeriesProfile};
use crate::host::Host;

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

pub(super) struct Writer {
    pub(super) next_sequence: u64,
    run: u64,
    /// Whether the index knows what is in the folder.
    pub(super) is_surveyed: bool,
    /// Whether it is worth removing windows when the file system is full.
    pub(super) eviction_helps: bool,
}

/// What a mark means for the folder.
#[derive(Debug)]
pub(crate) struct Chore {
    id: WindowId,
    key: EndpointKey,
    is_done: bool,
}

/// A file of the spool, by name.
pub(super) struct Named<'a>(pub(super) &'a dyn Disk, pub(super) &'a str);

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
        let endpoints = distinct(endpoints)?;
        let spool = Self(Arc::new(Shared {
            disk,
            clock,
            host: host.to_owned(),
            index: Mutex::new(Index::new(endpoints)),
            settings: Mutex::new(settings),
            writer: Mutex::new(Writer { next_sequence: 1, run, is_surveyed: false, eviction_helps: true }),
            marks: Mutex::new(()),
            news: watch::Sender::new(0),
        }));
        let mut writer = spool.writer();
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
        let mut writer = self.writer();
        let settings = *lock(&self.0.settings);
        let Some(window) = self.what_fits(window) else { return Put::Nothing };
        let ready = self.prepare(&mut writer).map_err(io::Error::other);
        let ready = ready.and_then(|()| self.write_unwritten(&mut writer, &settings));
        let id = WindowId { sequence: writer.next_sequence, run: writer.run };
        writer.next_sequence = writer.next_sequence.saturating_add(1);
        let content = Arc::new(window);
        let mut entry = Window::of_content(Arc::clone(&content), &self.0.host, self.0.clock.monotonic());
        let written = ready.and_then(|()| {
            let endpoints = self.index().endpoints();
            let encoded = Encoded::new(id, &self.0.host, &content, &endpoints, |_, _| State::Waiting);
            self.write(&mut writer, &settings, id, &encoded)
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
        self.tell_news();
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

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    pub(super) fn host(&self) -> &str {
        &self.0.host
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.0.writer)
    }

    /// Has replays look.
    pub(super) fn tell_news(&self) {
        self.0.news.send_modify(|news| *news = news.wrapping_add(1));
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
    pub(crate) fn mark(
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
    pub(crate) fn carry_out(&self, chore: &Chore) {
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
    pub(super) fn remove_done_file(&self, id: WindowId) -> bool {
        let is_gone = is_gone(&self.0.disk.remove(&id.file_name()));
        let mut index = self.index();
        if is_gone {
            index.remove_done(id);
        } else {
            index.leftovers.push(id);
        }
        is_gone
    }

    pub(super) fn write_states(&self, id: WindowId, key: EndpointKey) -> io::Result<()> {
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

    /// Whether windows can be written at the moment, for who asks.
    fn note(&self, written: io::Result<()>) {
        self.index().trouble = written.err().map(|error| error.to_string());
    }
}

/// The file is not there, whoever removed it.
pub(super) fn is_gone(removed: &io::Result<()>) -> bool {
    removed.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::NotFound)
}
