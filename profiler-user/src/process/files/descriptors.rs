//! File descriptors that known files may hold: counted until who still uses a closed file lets go of it too, and one
//! for all files that were met in the same root folder.

use std::sync::{Arc, Weak};

use super::CodeFile;
use crate::collect::Tgid;
use crate::host::ProcFs;
use crate::process::namespace::{ProcessRoot, RootPlace};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Descriptors {
    max: usize,
    /// Files of the table that are open.
    open: usize,
    /// Files that the table has closed; others may still hold them.
    closing: Vec<Weak<CodeFile>>,
    roots: Vec<(Option<RootPlace>, Weak<ProcessRoot>)>,
}

/// A file may need one for the root of its process too.
const A_FILE: usize = 2;

impl Descriptors {
    pub(super) fn new(max: usize) -> Self {
        Self { max, open: 0, closing: Vec::new(), roots: Vec::new() }
    }

    /// Whether one more file may be opened.
    pub(super) fn has_room(&mut self) -> bool {
        self.in_use() + A_FILE <= self.max
    }

    /// How many are held.
    pub(super) fn in_use(&mut self) -> usize {
        self.closing.retain(|file| file.strong_count() > 0);
        self.roots.retain(|(_, root)| root.strong_count() > 0);
        self.open + self.closing.len() + self.roots.len()
    }

    pub(super) fn opened(&mut self) {
        self.open += 1;
    }

    pub(super) fn closed(&mut self, file: &Arc<CodeFile>) {
        self.open = self.open.saturating_sub(1);
        self.closing.push(Arc::downgrade(file));
    }

    /// The root of a process; the same for all that have the same one and the same user.
    pub(super) fn root_of(&mut self, proc: &ProcFs, process: Tgid) -> Option<Arc<ProcessRoot>> {
        let root = ProcessRoot::of_process(proc, process.0).ok()?;
        let place = root.place();
        let known = self.roots.iter().filter(|(known, _)| place.is_some() && *known == place);
        if let Some(known) = known.filter_map(|(_, root)| root.upgrade()).next() {
            return Some(known);
        }
        let root = Arc::new(root);
        self.roots.push((place, Arc::downgrade(&root)));
        Some(root)
    }
}
