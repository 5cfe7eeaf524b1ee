//! What lies in the folder → the index: at the start, and whenever the folder is another one than before. Heads are read, no
//! profiles. Ruins are removed and counted; what is not ours, or of another version, is left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::SpoolError;
use super::format::{self, FormatError};
use super::id::{NEW_PREFIX, WINDOW_ENDING, WindowId};
use super::spooling::{Named, Spool, Writer};
use super::state::State;
use super::window::Window;

impl Spool {
    /// The folder is there and ours, and the index knows what is in it.
    pub(super) fn prepare(&self, writer: &mut Writer) -> Result<(), SpoolError> {
        if self.disk().ensure()? || !writer.is_surveyed {
            writer.is_surveyed = false;
            let files = self.disk().list()?;
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
        let there: BTreeSet<WindowId> =
            files.iter().filter_map(|(name, _)| WindowId::of_file_name(name)).collect();
        with_file.into_iter().filter(|id| !there.contains(id)).for_each(|id| self.index().vanish(id));
        for (name, bytes) in files {
            match WindowId::of_file_name(&name) {
                Some(id) => self.find(id, &name, bytes),
                None if is_half_written(&name) => {
                    let _gone = self.disk().remove(&name);
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
        let head = format::read_head(&Named(self.disk(), name), bytes);
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
                let _gone = self.disk().remove(name);
                return;
            }
        };
        let endpoints = index.endpoints();
        let now = self.clock().wall();
        let age = Duration::from_nanos(now.0.saturating_sub(head.started.0));
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
}

fn is_half_written(name: &str) -> bool {
    let id = name.strip_prefix(NEW_PREFIX).map(|id| format!("{id}{}", WINDOW_ENDING));
    id.is_some_and(|name| WindowId::of_file_name(&name).is_some())
}
