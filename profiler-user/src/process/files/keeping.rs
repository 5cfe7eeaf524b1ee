//! How long files are kept open, and how long they are known: by when a sample was last seen in them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::opening::{Inode, mapped_file, open_regular};
use super::{CodeFile, FileTable, Known, MANY};
use crate::collect::Tgid;
use crate::collect::process_event::FileHint;
use crate::elf::{BuildId, ElfHeaders};
use crate::host::{MonotonicNanos, ProcFs};
use crate::process::FileId;
use crate::process::mappings::{Mapping, NamedFile};

const SECOND: u64 = 1_000_000_000;
/// A file is closed when it was not sampled for so long.
const CLOSED_AFTER_NANOS: u64 = 180 * SECOND;
/// A file that nobody maps is forgotten when it was not sampled for so long.
const FORGOTTEN_AFTER_NANOS: u64 = 600 * SECOND;
/// The same where there are many: whoever runs programs by the thousand does not run the same ones again.
const FORGOTTEN_SOON_NANOS: u64 = 60 * SECOND;
/// So many are many: some 4 MB.
const MANY_FILES: usize = 4096;
/// Between two looks for what is to be closed and forgotten, if there is not much that is new.
const SWEEP_NANOS: u64 = 30 * SECOND;
/// So many new files are much.
const NEW_FILES: usize = 1024;

impl FileTable {
    /// Nothing that is sampled from now on is closed or forgotten until this is called again: a window that was cut holds
    /// its own files.
    pub fn begin_segment(&mut self) {
        self.kept_since = self.now;
    }

    /// Notes that a sample was seen in a file. True if it is closed, and worth being opened again.
    pub fn mark_used(&mut self, id: FileId) -> bool {
        let Some(known) = self.files.get_mut(&id) else { return false };
        known.used = self.now;
        known.is_closed() && known.tried.is_none_or(|tried| tried < self.kept_since)
    }

    /// Opens a closed file again, by a mapping of it, if that still shows the same file. False if it stays closed.
    pub fn reopen(&mut self, id: FileId, proc: &ProcFs, owner: Tgid, mapping: &Mapping) -> bool {
        let now = self.now;
        let Some(known) = self.files.get_mut(&id).filter(|known| known.is_closed()) else { return false };
        known.tried = Some(now);
        let path = known.file.path.clone();
        if !self.make_room() {
            return false;
        }
        let Some(known) = self.files.get_mut(&id) else { return false };
        let named = NamedFile { path: path.clone().into(), hint: FileHint::None };
        let by_path = || {
            let relative = Path::new(&path).strip_prefix("/").ok()?;
            open_regular(&proc.process_path(owner.0, "root").join(relative))
        };
        let is_it = |file: &std::fs::File, inode: Inode| {
            known.inode == Some(inode) || known.file.elf.as_ref().is_some_and(|elf| is_same(elf, file))
        };
        let found = mapped_file(proc, owner, mapping, &named)
            .filter(|(file, metadata)| is_it(file, Inode::of(metadata)))
            .or_else(|| by_path().filter(|(file, metadata)| is_it(file, Inode::of(metadata))));
        let Some((file, _)) = found else { return false };
        let elf = known.file.elf.clone();
        let root = self.descriptors.root_of(proc, owner);
        known.file = Arc::new(CodeFile { path, file: Some(file), elf, root });
        self.descriptors.opened();
        true
    }

    /// Makes room for one more open file, by closing one that was not sampled for longest. False if all are needed.
    pub(super) fn make_room(&mut self) -> bool {
        while !self.descriptors.has_room() {
            let closable = self.files.iter().filter(|(_, known)| known.is_closable(self.kept_since));
            let Some(oldest) = closable.min_by_key(|(_, known)| known.used).map(|(id, _)| *id) else {
                return false;
            };
            self.close(oldest);
        }
        true
    }

    fn close(&mut self, id: FileId) {
        let Some(known) = self.files.get_mut(&id) else { return };
        let closed =
            CodeFile { path: known.file.path.clone(), file: None, elf: known.file.elf.clone(), root: None };
        let open = std::mem::replace(&mut known.file, Arc::new(closed));
        self.descriptors.closed(&open);
    }

    /// Closes what was not sampled for a while, and forgets what nobody maps either. Gives what was forgotten.
    ///
    /// To be called in each round; looks twice a minute. `mapped`: all files that anybody's mappings name.
    pub fn sweep(&mut self, now: MonotonicNanos, mapped: impl FnOnce() -> HashSet<FileId>) -> Vec<FileId> {
        self.now = now;
        let has_grown = self.files.len() >= self.len_swept + NEW_FILES;
        let since = now.0.saturating_sub(self.swept.0);
        if since < SECOND || (since < SWEEP_NANOS && !has_grown) {
            return Vec::new();
        }
        self.swept = now;
        let idle = |known: &Known| now.0.saturating_sub(known.used.0);
        let to_close: Vec<FileId> = (self.files.iter())
            .filter(|(_, known)| known.is_closable(self.kept_since) && idle(known) >= CLOSED_AFTER_NANOS)
            .map(|(id, _)| *id)
            .collect();
        to_close.into_iter().for_each(|id| self.close(id));
        let are_many = self.files.len() > MANY_FILES;
        let patience = if are_many { FORGOTTEN_SOON_NANOS } else { FORGOTTEN_AFTER_NANOS };
        let mut to_forget: Vec<FileId> = (self.files.iter())
            .filter(|(id, known)| **id != MANY && known.used < self.kept_since && idle(known) >= patience)
            .map(|(id, _)| *id)
            .collect();
        if !to_forget.is_empty() {
            let mapped = mapped();
            to_forget.retain(|id| !mapped.contains(id));
        }
        self.forget(&to_forget, patience);
        self.len_swept = self.files.len();
        to_forget
    }

    fn forget(&mut self, ids: &[FileId], patience: u64) {
        for id in ids {
            self.close_if_open(*id);
            self.files.remove(id);
        }
        let (files, now) = (&self.files, self.now);
        let is_known = |id: &FileId| files.contains_key(id);
        self.by_identity.retain(|_, id| is_known(id));
        self.unopenable.retain(|_, id| is_known(id));
        self.by_inode.retain(|inode, (opened, met)| {
            let file = files.get(&opened.id());
            let is_first = |known: &Known| known.inode.as_ref() == Some(inode);
            file.is_some_and(|known| is_first(known) || now.0.saturating_sub(met.0) < patience)
        });
    }

    fn close_if_open(&mut self, id: FileId) {
        if self.files.get(&id).is_some_and(|known| known.file.file.is_some()) {
            self.close(id);
        }
    }
}

impl Known {
    /// Whether it could be open and is not.
    fn is_closed(&self) -> bool {
        self.file.file.is_none() && self.file.elf.is_some()
    }

    /// Whether it is open, was not sampled since, and nobody else has it: closing it then gives its descriptors back.
    fn is_closable(&self, kept_since: MonotonicNanos) -> bool {
        self.file.file.is_some() && self.used < kept_since && Arc::strong_count(&self.file) == 1
    }
}

/// Whether a file has the build id and headers that were read before.
fn is_same(known: &ElfHeaders, file: &std::fs::File) -> bool {
    let identity = known.identity();
    matches!(identity.build_id, Some(BuildId::Gnu(_) | BuildId::Go(_)))
        && ElfHeaders::read(file).is_ok_and(|found| found.identity() == identity)
}
