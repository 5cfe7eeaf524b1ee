//! Rows that were made once → a folder, so that the next start finds them there. Bounded: what was not used for longest
//! goes first.
//!
//! The folder is ours and nobody else writes to it, or it is not used: rows that somebody slips us would show other
//! people's programs doing what they do not do. What is in it is judged all the same when it is read. Nothing here is
//! needed: on a read-only file system rows are made anew. Used by the worker only, never on the path of a sample.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};

use super::FileRows;
pub use super::cache_format::CacheKey;
use super::cache_format::{ENDING, decode, encode};

/// Bytes of all files in the folder.
pub const CACHE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of one of them: rows of a gibibyte of text.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// What a file takes at least.
const BLOCK_BYTES: u64 = 4096;
/// Names that are looked at when room is made; more than there can be within the bound.
const NAMES_MAX: usize = 1 << 17;
/// How names of files begin that are being written.
const NEW: &str = ".new-";

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Somebody else may have a hand in it.
    #[error("rows are not kept in {}: {why}", path.display())]
    NotTrusted {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is not there and cannot be made, or cannot be opened: then rows are made anew with each start.
    #[error("rows are not kept in {}", path.display())]
    Unavailable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A folder of rows.
#[derive(Debug)]
pub struct RowCache {
    folder: OwnedFd,
    bytes_max: u64,
    /// What the files take, as far as we know.
    bytes: u64,
}

impl RowCache {
    /// Opens the folder, or makes it (0700) if it alone is missing. It holds this many bytes of files at most.
    pub fn open(path: &Path, bytes_max: u64) -> Result<Self, CacheError> {
        let unavailable = |error: rustix::io::Errno| CacheError::Unavailable {
            path: path.to_owned(),
            source: error.into(),
        };
        let not_trusted = |why| Err(CacheError::NotTrusted { path: path.to_owned(), why });
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let opened = open().or_else(|error| match error {
            rustix::io::Errno::NOENT => rustix::fs::mkdir(path, Mode::RWXU).and_then(|()| open()),
            other => Err(other),
        });
        let folder = match opened {
            Ok(folder) => folder,
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return not_trusted("it is not a folder");
            }
            Err(error) => return Err(unavailable(error)),
        };
        let stat = rustix::fs::fstat(&folder).map_err(unavailable)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return not_trusted("it belongs to somebody else");
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return not_trusted("others may write to it");
        }
        let mut cache = Self { folder, bytes_max, bytes: 0 };
        cache.make_room();
        Ok(cache)
    }

    /// The rows of a file, if they are there and whole.
    pub fn load(&self, key: &CacheKey) -> Option<FileRows> {
        let name = key.file_name();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, &name, flags, Mode::empty()).ok()?);
        let rows = read(&file).and_then(|bytes| decode(key, &bytes).ok());
        if rows.is_some() {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            // Else it may go earlier than it should.
            let _used = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        } else {
            self.remove(&name);
        }
        rows
    }

    /// Keeps the rows of a file, if that is possible.
    pub fn keep(&mut self, key: &CacheKey, rows: &FileRows) {
        let bytes = encode(key, rows);
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > FILE_BYTES_MAX.min(self.bytes_max / 2) {
            return;
        }
        let new = format!("{NEW}{}", std::process::id());
        if self.write(&new, &bytes, &key.file_name()).is_err() {
            self.remove(&new);
            return;
        }
        self.bytes = self.bytes.saturating_add(taken(size));
        if self.bytes > self.bytes_max {
            self.make_room();
        }
    }

    fn write(&self, new: &str, bytes: &[u8], name: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.remove(new); // of one who had our id and was killed
        let mut file = File::from(rustix::fs::openat(&self.folder, new, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(bytes)?;
        rustix::fs::renameat(&self.folder, new, &self.folder, name)?;
        Ok(())
    }

    fn remove(&self, name: &str) {
        let _absent = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
    }

    /// Finds out what the files take; if it is too much, removes those that were not used for longest.
    fn make_room(&mut self) {
        let mut files = self.files();
        files.sort_unstable();
        self.bytes = files.iter().fold(0, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
        let is_too_much = self.bytes > self.bytes_max;
        // A quarter more, so that the next one does not list the folder again.
        let wanted = self.bytes_max / 4 * 3;
        for (_, bytes, name) in files {
            if !is_too_much || self.bytes <= wanted {
                return;
            }
            self.remove(&name);
            self.bytes -= bytes;
        }
    }

    /// Our files: when they were used last, what they take, and their names.
    fn files(&self) -> Vec<((i64, i64), u64, String)> {
        let Ok(folder) = rustix::fs::Dir::read_from(&self.folder) else { return Vec::new() };
        let ours = |name: &str| name.ends_with(ENDING) || name.starts_with(NEW);
        let file = |entry: rustix::fs::DirEntry| {
            let name = entry.file_name().to_str().ok().filter(|name| ours(name))?;
            let stat = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let used = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
            Some((used, taken(u64::try_from(stat.st_size).unwrap_or(0)), name.to_owned()))
        };
        folder.take(NAMES_MAX).filter_map(Result::ok).filter_map(file).collect()
    }
}

/// The bytes of a regular file of ours of a size that we write.
fn read(file: &File) -> Option<Vec<u8>> {
    let stat = rustix::fs::fstat(file).ok()?;
    let size = u64::try_from(stat.st_size).ok()?;
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if !FileType::from_raw_mode(stat.st_mode).is_file() || !is_ours || size > FILE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn taken(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests;
