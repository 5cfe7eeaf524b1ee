//! Windows → files, within the bounds of the spool and of the disk. Waits for the device; one at a time.

use std::io;

use super::SpoolSettings;
use super::format::Encoded;
use super::id::WindowId;
use super::index::Leave;
use super::spooling::{Spool, is_gone};
use super::state::Endpoint;
use super::window::{Window, on_disk};

/// Windows in a spool; 11 days of 15 s.
const WINDOWS_MAX: usize = 65_536;
/// How many windows make room for one when the file system is full.
const EVICTIONS_WHEN_FULL: usize = 8;
/// A part of the file system that is left free unless the settings say otherwise, and the most of it.
const FREE_SHARE: u64 = 20;
const FREE_BYTES_MAX: u64 = 512 << 20;

impl Spool {
    /// Writes what only memory has, oldest first. One that is too large for the folder does not keep the others from it.
    pub(super) fn write_unwritten(&self, settings: &SpoolSettings) -> io::Result<()> {
        let unwritten = self.index().unwritten();
        for id in unwritten {
            let index = self.index();
            let Some(window) = index.get(id).cloned() else { continue };
            let endpoints = index.endpoints();
            drop(index);
            let Some(content) = &window.content else { continue };
            let state = |slot: usize, profile: usize| window.state(slot, profile);
            let encoded = Encoded::new(id, self.host(), content, &endpoints, state);
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
            let _gone = self.disk().remove(&id.file_name());
            return;
        };
        for (slot, endpoint) in endpoints.iter().enumerate() {
            if is.state_bytes(slot) != was.state_bytes(slot) {
                let _unmarked = self.write_states(id, endpoint.key);
            }
        }
    }

    /// Makes room and writes a file; when this returns its size, the device has it under its name.
    pub(super) fn write(&self, settings: &SpoolSettings, id: WindowId, encoded: &Encoded) -> io::Result<u64> {
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
        let (disk, new, name) = (&self.disk(), id.new_name(), id.file_name());
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
    pub(super) fn make_room(&self, settings: &SpoolSettings, bytes: u64) -> io::Result<()> {
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
        let space = self.disk().space()?;
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
    pub(super) fn evict(&self) -> io::Result<Option<u64>> {
        let Some(id) = self.index().begin_eviction() else { return Ok(None) };
        let removed = self.disk().remove(&id.file_name());
        let mut index = self.index();
        if !is_gone(&removed) {
            index.set_leaving(id, false);
            return removed.map(|()| None);
        }
        let bytes = index.get(id).map_or(0, |window| on_disk(window.file_bytes));
        index.remove(id, Leave::Evicted);
        Ok(Some(bytes))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
