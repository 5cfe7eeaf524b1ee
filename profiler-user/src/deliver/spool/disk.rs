//! The spool's folder: every touch of the file system goes through [`Disk`], so that a test can stop the world at any of them.
//!
//! A folder of its own, of its user, which nobody else may write to, with one daemon in it at a time. It may vanish at
//! any moment: then every call fails until [`Disk::ensure`] has made another.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::SpoolError;

/// Pieces smaller than this go to the kernel together.
const BUFFER_BYTES: usize = 64 << 10;
/// Names that are looked at; more than there can be of ours.
const NAMES_MAX: usize = 1 << 18;

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an ordinary user may still write, bytes.
    pub free_bytes: u64,
    /// All of it, bytes.
    pub total_bytes: u64,
}

/// What the spool does to its folder.
pub trait Disk: Send + Sync + Debug {
    /// Sees to it that the folder is there, and ours alone; makes it if it is gone. True if it is another than before.
    fn ensure(&self) -> Result<bool, SpoolError>;
    /// Names and sizes of the files.
    fn list(&self) -> Result<Vec<(String, u64)>, SpoolError>;
    /// Writes a new file and waits until the device has it.
    fn create(&self, name: &str, parts: &[&[u8]]) -> io::Result<()>;
    /// Gives a file its name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Waits until the device has the folder's names.
    fn sync_names(&self) -> io::Result<()>;
    /// Reads from a file; fewer bytes than asked for only at its end.
    fn read_at(&self, name: &str, start: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes into a file, and waits for nothing.
    fn write_at(&self, name: &str, start: u64, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// What room there is.
    fn space(&self) -> io::Result<Space>;
}

/// A folder of the host.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    opened: Mutex<Option<Arc<OwnedFd>>>,
}

impl Folder {
    /// Touches nothing yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), opened: Mutex::new(None) }
    }

    /// Opens a folder to look into: neither made nor locked, whoever it belongs to.
    ///
    /// # Errors
    ///
    /// If it is not there or cannot be opened.
    pub fn to_read(path: &Path) -> Result<Self, SpoolError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| SpoolError::Unavailable { path: path.to_owned(), source: error.into() })?;
        Ok(Self { path: path.to_owned(), opened: Mutex::new(Some(Arc::new(opened))) })
    }

    fn folder(&self) -> io::Result<Arc<OwnedFd>> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*self.folder()?, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// Opens the folder, or makes it with those above it, and locks it.
    fn open_folder(&self) -> Result<OwnedFd, SpoolError> {
        let path = || self.path.clone();
        let unavailable = |source: io::Error| SpoolError::Unavailable { path: path(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(&self.path, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) => {
                make_folders(&self.path).map_err(unavailable)?;
                open()
            }
            other => other,
        };
        let not_trusted = |why| SpoolError::NotTrusted { path: path(), why };
        let folder = opened.map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => not_trusted("it is not a folder"),
            error => unavailable(error.into()),
        })?;
        let stat = rustix::fs::fstat(&folder).map_err(|error| unavailable(error.into()))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(not_trusted("it belongs to somebody else"));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(not_trusted("others may write to it"));
        }
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(folder),
            Err(Errno::WOULDBLOCK) => Err(SpoolError::Busy { path: path() }),
            Err(error) => Err(unavailable(error.into())),
        }
    }

    /// Whether the folder that is open is still the one of that path.
    fn is_in_place(&self, folder: &OwnedFd) -> bool {
        let opened = rustix::fs::fstat(folder);
        let there = rustix::fs::statat(rustix::fs::CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW);
        matches!((opened, there), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }
}

/// For its user alone; those above it as `mkdir -p` makes them.
fn make_folders(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Disk for Folder {
    fn ensure(&self) -> Result<bool, SpoolError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.as_ref().is_some_and(|folder| self.is_in_place(folder)) {
            return Ok(false);
        }
        // First the old one is let go, with its lock: it may have come back under its name.
        *opened = None;
        *opened = Some(Arc::new(self.open_folder()?));
        Ok(true)
    }

    fn list(&self) -> Result<Vec<(String, u64)>, SpoolError> {
        let unavailable = |source| SpoolError::Unavailable { path: self.path.clone(), source };
        let folder = self.folder().map_err(unavailable)?;
        let size = |entry: rustix::fs::DirEntry| {
            let name = entry.file_name().to_str().ok()?;
            let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
            is_file.then(|| (name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)))
        };
        let entries = rustix::fs::Dir::read_from(&*folder).map_err(|error| unavailable(error.into()))?;
        Ok(entries.take(NAMES_MAX).filter_map(Result::ok).filter_map(size).collect())
    }

    fn create(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let file = self.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &file);
        parts.iter().try_for_each(|part| out.write_all(part))?;
        out.flush()?;
        drop(out);
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let folder = self.folder()?;
        Ok(rustix::fs::renameat(&*folder, from, &*folder, to)?)
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&*self.folder()?)?)
    }

    fn read_at(&self, name: &str, start: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.open(name, OFlags::RDONLY)?;
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, start.saturating_add(u64::try_from(done).unwrap_or(u64::MAX))) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, name: &str, start: u64, bytes: &[u8]) -> io::Result<()> {
        self.open(name, OFlags::WRONLY)?.write_all_at(bytes, start)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&*self.folder()?, name, AtFlags::empty())?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&*self.folder()?)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }
}

#[cfg(test)]
mod tests;
