//! A mapped file → opened once, identified, kept until it is named.
//!
//! ```text
//!   1. /proc/PID/map_files/START-END   the very file that is mapped, deleted or replaced as it may be
//!   2. /proc/PID/root/PATH             if (1) is refused; must be the file that the mapping tells of
//!   3. /PATH on the host               if the process has ended; likewise
//! ```
//!
//! A file's identity is its build id together with a hash of its program and unwind headers. A build id
//! alone can be forged by whoever builds a file, and would then lend its names to every other process.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::FileId;
use super::mappings::{Mapping, NamedFile};
use super::namespace::ProcessRoot;
use super::scan::without_deleted;
use crate::collect::Tgid;
use crate::collect::process_event::FileHint;
use crate::elf::{BuildId, ElfHeaders, FileIdentity};
use crate::host::ProcFs;

/// A file that code ran in.
#[derive(Debug)]
pub struct CodeFile {
    /// Path as the process saw it that we met it in first.
    pub path: PathBuf,
    /// The open file. `None` when it could not be opened, or when more files were sampled than may be open.
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

/// One state of one file on one file system. Two states never share it while we hold the file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    device: u64,
    inode: u64,
    size: u64,
    changed_nanos: i128,
}

impl Inode {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let changed_nanos = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), changed_nanos }
    }
}

/// All files that code ran in.
#[derive(Debug)]
pub struct FileTable {
    files: Vec<Arc<CodeFile>>,
    by_inode: HashMap<Inode, Opened>,
    by_identity: HashMap<FileIdentity, FileId>,
    unopenable: HashMap<PathBuf, FileId>,
    descriptors_left: usize,
}

/// A file that is kept open keeps the root folder of a process open too.
const DESCRIPTORS_A_FILE: usize = 2;

impl FileTable {
    /// Keeps at most `descriptors_max` file descriptors open, two for each file.
    pub fn new(descriptors_max: usize) -> Self {
        Self {
            files: Vec::new(),
            by_inode: HashMap::new(),
            by_identity: HashMap::new(),
            unopenable: HashMap::new(),
            descriptors_left: descriptors_max,
        }
    }

    /// A file by its id.
    pub fn get(&self, id: FileId) -> Option<&Arc<CodeFile>> {
        self.files.get(id.0 as usize)
    }

    /// Opens the file behind a mapping of a process.
    pub fn open(&mut self, proc: &ProcFs, owner: Tgid, mapping: &Mapping, named: &NamedFile) -> Opened {
        for find in [mapped_file, file_by_path] {
            let Some((file, metadata)) = find(proc, owner, mapping, named) else { continue };
            let inode = Inode::of(&metadata);
            let opened = match self.by_inode.get(&inode) {
                Some(&known) => known,
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
        let opened = match ElfHeaders::read(&file) {
            Ok(elf) => Opened::Elf(self.elf(proc, owner, file, elf, named)),
            Err(_not_elf) => Opened::Foreign(self.add(None, None, None, &named.path)),
        };
        self.by_inode.insert(inode, opened);
        opened
    }

    fn has_other_build_id(&self, opened: Opened, hint: &FileHint) -> bool {
        let (Opened::Elf(id), FileHint::BuildId(told)) = (opened, hint) else { return false };
        let found = self.get(id).and_then(|file| file.elf.as_ref()).and_then(ElfHeaders::build_id);
        matches!(found, Some(BuildId::Gnu(found)) if found != told)
    }

    fn elf(&mut self, proc: &ProcFs, owner: Tgid, file: File, elf: ElfHeaders, named: &NamedFile) -> FileId {
        let identity = elf.identity().clone();
        // Without a build id two files with the same headers may still differ.
        let known = identity.build_id.as_ref().and_then(|_| self.by_identity.get(&identity));
        if let Some(&id) = known {
            return id;
        }
        let (file, root) = match self.descriptors_left.checked_sub(DESCRIPTORS_A_FILE) {
            Some(left) => {
                self.descriptors_left = left;
                (Some(file), ProcessRoot::of_process(proc, owner.0).ok().map(Arc::new))
            }
            None => (None, None),
        };
        let id = self.add(file, Some(elf), root, &named.path);
        self.by_identity.insert(identity, id);
        id
    }

    fn unopenable(&mut self, named: &NamedFile) -> Opened {
        let path = PathBuf::from(without_deleted(&named.path));
        if let Some(&id) = self.unopenable.get(&path) {
            return Opened::Unopenable(id);
        }
        let id = self.add(None, None, None, &named.path);
        self.unopenable.insert(path, id);
        Opened::Unopenable(id)
    }

    fn add(
        &mut self,
        file: Option<File>,
        elf: Option<ElfHeaders>,
        root: Option<Arc<ProcessRoot>>,
        path: &OsStr,
    ) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(Arc::new(CodeFile { path: without_deleted(path).into(), file, elf, root }));
        id
    }
}

/// The first way to a file: what is mapped there now.
fn mapped_file(proc: &ProcFs, owner: Tgid, mapping: &Mapping, _: &NamedFile) -> Option<(File, Metadata)> {
    let range = format!("map_files/{:x}-{:x}", mapping.start.0, mapping.end.0);
    open_regular(&proc.process_path(owner.0, &range))
}

/// The second and the third.
fn file_by_path(proc: &ProcFs, owner: Tgid, _: &Mapping, named: &NamedFile) -> Option<(File, Metadata)> {
    let relative = Path::new(&named.path).strip_prefix("/").ok()?;
    let in_process = proc.process_path(owner.0, "root").join(relative);
    [in_process, PathBuf::from(&named.path)]
        .iter()
        .filter_map(|path| open_regular(path))
        .find(|(file, metadata)| is_the_mapped_one(file, metadata, &named.hint))
}

/// Opens a regular file for reading. A path that a process can plant may be a device or a pipe, so what
/// it is gets asked before it is opened in earnest.
pub(crate) fn open_regular(path: &Path) -> Option<(File, Metadata)> {
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&handle).ok()?.st_mode);
    if !kind.is_file() {
        return None;
    }
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    // Its owner may hold a lease on it; without NONBLOCK we would wait for him, and samples would be lost.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(again, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    Some((file, metadata))
}

fn is_the_mapped_one(file: &File, metadata: &Metadata, hint: &FileHint) -> bool {
    match hint {
        FileHint::BuildId(bytes) => {
            let is_it = |id: &BuildId| matches!(id, BuildId::Gnu(id) if id == bytes);
            ElfHeaders::read(file).is_ok_and(|elf| elf.build_id().is_some_and(is_it))
        }
        FileHint::Inode { major, minor, inode } => {
            let device = metadata.dev();
            metadata.ino() == *inode
                && rustix::fs::major(device) == *major
                && rustix::fs::minor(device) == *minor
        }
        FileHint::None => false,
    }
}

#[cfg(test)]
mod tests;
