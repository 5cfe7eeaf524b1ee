//! A mapping → the file behind it, open for reading, or nothing.
//!
//! ```text
//!   1. /proc/PID/map_files/START-END   the very file that is mapped, deleted or replaced as it may be
//!   2. /proc/PID/root/PATH             if (1) is refused; must be the file that the mapping tells of
//!   3. /PATH on the host               if the process has ended; likewise
//! ```

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::collect::Tgid;
use crate::collect::process_event::FileHint;
use crate::elf::{BuildId, ElfHeaders};
use crate::host::ProcFs;
use crate::process::mappings::{Mapping, NamedFile};

/// One state of one file on one file system. Two states never share it: who writes to a file or takes its
/// place moves the time.
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

/// The first way to a file: what is mapped there now.
pub(super) fn mapped_file(
    proc: &ProcFs,
    owner: Tgid,
    mapping: &Mapping,
    _: &NamedFile,
) -> Option<(File, Metadata)> {
    let range = format!("map_files/{:x}-{:x}", mapping.start.0, mapping.end.0);
    open_regular(&proc.process_path(owner.0, &range))
}

/// The second and the third.
pub(super) fn file_by_path(
    proc: &ProcFs,
    owner: Tgid,
    _: &Mapping,
    named: &NamedFile,
) -> Option<(File, Metadata)> {
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
