//! A spool as somebody looks into it: without its lock, beside the daemon that uses it. Changes nothing.
//!
//! Windows may leave at any moment, so one that was listed may be gone.

use std::io;
use std::path::Path;

use super::disk::{Disk, Folder};
use super::format::{self, FormatError, Head};
use super::id::WindowId;
use super::spooling::Named;
use super::state::State;
use super::{SpoolError, StateOf};
use crate::deliver::finished::SeriesProfile;

/// A spool to look into.
#[derive(Debug)]
pub struct SpoolReader {
    folder: Folder,
}

/// What lies in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Windows by name, in the order of their writing, with the sizes of their files.
    pub windows: Vec<(WindowId, u64)>,
    /// Names of other files.
    pub others: Vec<String>,
}

impl SpoolReader {
    /// Opens the folder.
    ///
    /// # Errors
    ///
    /// If it is not there or cannot be read.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        Ok(Self { folder: Folder::to_read(path)? })
    }

    /// Lists it.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn list(&self) -> Result<Listing, SpoolError> {
        let mut listing = Listing::default();
        for (name, bytes) in self.folder.list()? {
            match WindowId::of_file_name(&name) {
                Some(id) => listing.windows.push((id, bytes)),
                None => listing.others.push(name),
            }
        }
        listing.windows.sort_unstable();
        listing.others.sort_unstable();
        Ok(listing)
    }

    /// What a window says of itself; `None` if it has left meanwhile.
    ///
    /// # Errors
    ///
    /// If it is damaged, of another version, or no window.
    pub fn head(&self, id: WindowId, bytes: u64) -> Result<Option<Head>, FormatError> {
        there(format::read_head(&Named(&self.folder, &id.file_name()), bytes))
    }

    /// One of its profiles; `None` if it has left meanwhile, or has none of that number.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub fn profile(
        &self,
        id: WindowId,
        head: &Head,
        index: usize,
    ) -> Result<Option<SeriesProfile>, FormatError> {
        let Some(record) = head.records.get(index) else { return Ok(None) };
        there(format::read_profile(&Named(&self.folder, &id.file_name()), head.file_bytes, record))
    }
}

/// How far a profile has come with each endpoint that its window knows.
pub fn states_of(head: &Head, profile: usize) -> Vec<StateOf<'_>> {
    let places = head.places.0.iter().enumerate();
    let known = places.filter_map(|(place, known)| Some((place, known.as_ref()?)));
    known.map(|(place, (key, name))| StateOf { key: *key, name, state: head.state(place, profile) }).collect()
}

/// Whether a profile is in one of these states with any endpoint. One that no endpoint is known for waits.
pub fn is_in(head: &Head, profile: usize, states: &[State]) -> bool {
    let known = states_of(head, profile);
    states.is_empty()
        || known.iter().any(|known| states.contains(&known.state))
        || known.is_empty() && states.contains(&State::Waiting)
}

fn there<T>(read: Result<T, FormatError>) -> Result<Option<T>, FormatError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(FormatError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
