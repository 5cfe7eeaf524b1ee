//! A mapped file → opened once, identified, kept open while it is sampled, known while anybody maps it.
//!
//! ```text
//!   first sight ─ opening.rs ─▶ open ─ not sampled for minutes, or in the way ─▶ closed: headers alone
//!                                ▲                                                │ sampled again: reopened through a
//!                                └────────────────────────────────────────────────┘ process that maps it, if it is still
//!                                                                                   the same file
//!   not sampled for ten minutes, and mapped nowhere: forgotten
//! ```
//!
//! A file's identity is its build id together with a hash of its program and unwind headers. A build id
//! alone can be forged by whoever builds a file, and would then lend its names to every other process.
//!
//! A [`FileId`] is given once and never again. Frames that the kernel half has sent hold it, stacks that wait, windows on
//! their way: whoever comes late with the id of a file that was forgotten finds nothing, never another file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use self::descriptors::Descriptors;
pub(crate) use self::opening::{Inode, open_regular};
use self::opening::{file_by_path, mapped_file};
use super::FileId;
use super::mappings::{Mapping, NamedFile};
use super::namespace::ProcessRoot;
use super::scan::without_deleted;
use crate::collect::Tgid;
use crate::collect::process_event::FileHint;
use crate::elf::{BuildId, ElfHeaders, FileIdentity};
use crate::host::{MonotonicNanos, ProcFs};

mod descriptors;
mod keeping;
mod opening;

/// A file that code ran in.
#[derive(Debug)]
pub struct CodeFile {
    /// Path as the process saw it that we met it in first.
    pub path: PathBuf,
    /// The open file. `None` when it could not be opened, or was closed again; see [`FileTable`].
    pub file: Option<File>,
    /// What its headers say, if it is an ELF file.
    pub elf: Option<ElfHeaders>,
    /// Root of the process that we met it in, for its debug files.
    pub root: Option<Arc<ProcessRoot>>,
}

/// What became of the attempt to open a mapping's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// An ELF file.
    Elf(FileId),
    /// No ELF file: code is made there at run time.
    Foreign(FileId),
    /// Gone, or not the file that was mapped. Known by its path alone.
    Unopenable(FileId),
}

/// Files that are known at a time; all others are one. 30 MB at worst.
const FILES_MAX: usize = 1 << 15;
/// Stands for all files beyond. No other file ever has this id.
const MANY: FileId = FileId(u32::MAX);
/// Inodes of known files: more are forgotten, and read again when they are met.
const INODES_MAX: usize = 4 * FILES_MAX;

impl Opened {
    fn id(self) -> FileId {
        let (Self::Elf(id) | Self::Foreign(id) | Self::Unopenable(id)) = self;
        id
    }
}

#[derive(Debug)]
struct Known {
    file: Arc<CodeFile>,
    /// `None` for what never was opened.
    inode: Option<Inode>,
    /// When a sample was last seen in it, or it was met.
    used: MonotonicNanos,
    /// When it was last tried to open it again.
    tried: Option<MonotonicNanos>,
}

/// All files that code ran in.
#[derive(Debug)]
pub struct FileTable {
    files: HashMap<FileId, Known>,
    next_id: u32,
    /// With the time when each was met last: one file has a new one in each container.
    by_inode: HashMap<Inode, (Opened, MonotonicNanos)>,
    by_identity: HashMap<FileIdentity, FileId>,
    unopenable: HashMap<PathBuf, FileId>,
    descriptors: Descriptors,
    now: MonotonicNanos,
    /// Nothing that was sampled since is closed or forgotten.
    kept_since: MonotonicNanos,
    swept: MonotonicNanos,
    len_swept: usize,
}

impl FileTable {
    /// Keeps at most `descriptors_max` file descriptors open, for files and the root folders that they were met in.
    pub fn new(descriptors_max: usize) -> Self {
        Self {
            files: HashMap::new(),
            next_id: 0,
            by_inode: HashMap::new(),
            by_identity: HashMap::new(),
            unopenable: HashMap::new(),
            descriptors: Descriptors::new(descriptors_max),
            now: MonotonicNanos(0),
            kept_since: MonotonicNanos(0),
            swept: MonotonicNanos(0),
            len_swept: 0,
        }
    }

    /// A file by its id, as long as it is known.
    pub fn get(&self, id: FileId) -> Option<&Arc<CodeFile>> {
        self.files.get(&id).map(|known| &known.file)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// File descriptors that they hold, and those who were given them.
    pub fn descriptors(&mut self) -> usize {
        self.descriptors.in_use()
    }

    /// Opens the file behind a mapping of a process.
    pub fn open(&mut self, proc: &ProcFs, owner: Tgid, mapping: &Mapping, named: &NamedFile) -> Opened {
        for find in [mapped_file, file_by_path] {
            let Some((file, metadata)) = find(proc, owner, mapping, named) else { continue };
            let inode = Inode::of(&metadata);
            let opened = match self.by_inode.get_mut(&inode) {
                Some((known, met)) => {
                    *met = self.now;
                    *known
                }
                None => self.meet(proc, owner, inode, file, named),
            };
            // The range may have been mapped anew since the sample: then this is the new file, not its file.
            if !self.has_other_build_id(opened, &named.hint) {
                return opened;
            }
        }
        self.unopenable(named)
    }

    /// A file's first sight.
    fn meet(&mut self, proc: &ProcFs, owner: Tgid, inode: Inode, file: File, named: &NamedFile) -> Opened {
        if self.is_full() {
            return self.one_of_many();
        }
        let opened = match ElfHeaders::read(&file) {
            Ok(elf) => Opened::Elf(self.elf(proc, owner, (inode, file), elf, named)),
            Err(_not_elf) => Opened::Foreign(self.add(plain(&named.path), Some(inode))),
        };
        if self.by_inode.len() >= INODES_MAX {
            self.by_inode.clear();
        }
        self.by_inode.insert(inode, (opened, self.now));
        opened
    }

    fn has_other_build_id(&self, opened: Opened, hint: &FileHint) -> bool {
        let (Opened::Elf(id), FileHint::BuildId(told)) = (opened, hint) else { return false };
        let found = self.get(id).and_then(|file| file.elf.as_ref()).and_then(ElfHeaders::build_id);
        matches!(found, Some(BuildId::Gnu(found)) if found != told)
    }

    fn elf(
        &mut self,
        proc: &ProcFs,
        owner: Tgid,
        (inode, file): (Inode, File),
        elf: ElfHeaders,
        named: &NamedFile,
    ) -> FileId {
        let identity = elf.identity().clone();
        // Without a build id two files with the same headers may still differ.
        let known = identity.build_id.as_ref().and_then(|_| self.by_identity.get(&identity));
        if let Some(&id) = known {
            return id;
        }
        let has_room = self.make_room();
        let root = has_room.then(|| self.descriptors.root_of(proc, owner)).flatten();
        if has_room {
            self.descriptors.opened();
        }
        let file = has_room.then_some(file);
        let id = self.add(CodeFile { file, elf: Some(elf), root, ..plain(&named.path) }, Some(inode));
        self.by_identity.insert(identity, id);
        id
    }

    fn unopenable(&mut self, named: &NamedFile) -> Opened {
        let path = PathBuf::from(without_deleted(&named.path));
        if let Some(&id) = self.unopenable.get(&path) {
            return Opened::Unopenable(id);
        }
        if self.is_full() {
            return self.one_of_many();
        }
        let id = self.add(plain(&named.path), None);
        self.unopenable.insert(path, id);
        Opened::Unopenable(id)
    }

    fn add(&mut self, file: CodeFile, inode: Option<Inode>) -> FileId {
        let id = FileId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        self.insert(id, file, inode);
        id
    }

    fn insert(&mut self, id: FileId, file: CodeFile, inode: Option<Inode>) {
        self.files.insert(id, Known { file: Arc::new(file), inode, used: self.now, tried: None });
    }

    /// Four billion ids are not used up in years.
    fn is_full(&self) -> bool {
        self.files.len() >= FILES_MAX || self.next_id == MANY.0
    }

    fn one_of_many(&mut self) -> Opened {
        if !self.files.contains_key(&MANY) {
            self.insert(MANY, plain(OsStr::new("[more files]")), None);
        }
        Opened::Unopenable(MANY)
    }
}

fn plain(path: &OsStr) -> CodeFile {
    CodeFile { path: without_deleted(path).into(), file: None, elf: None, root: None }
}

#[cfg(test)]
mod tests;
