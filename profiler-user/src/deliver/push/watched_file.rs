//! A small file with a secret or a certificate, read again when it has changed: a rotated token is used from the next
//! push on. Looked at before each push (one stat), not watched: secrets of Kubernetes come by links that are exchanged.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Tokens have a few KiB, the world's certificates some 250.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: more than {MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}: {what}", path.display())]
    Content { path: PathBuf, what: &'static str },
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(file: &Metadata) -> Self {
        Self {
            place: (file.dev(), file.ino()),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// A file and what was last read of it.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    read: Option<Version>,
}

impl WatchedFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a version that [`Self::read`] has not given yet. A file that is gone has none: what was
    /// read before stays good.
    pub(super) fn has_changed(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(found) => self.read != Some(Version::of(&found)),
            Err(_) => self.read.is_none(),
        }
    }

    /// Reads it. After an error it counts as changed.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, FileError> {
        self.read = None;
        let failed = |source| FileError::Read { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(failed)?;
        let version = Version::of(&file.metadata().map_err(failed)?);
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
            return Err(FileError::TooLarge { path: self.path.clone() });
        }
        self.read = Some(version);
        Ok(bytes)
    }

    /// Reads a line of text: a token or a password, without the line end that editors add.
    pub(super) fn read_line(&mut self) -> Result<String, FileError> {
        let line = match String::from_utf8(self.read()?) {
            Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
            Err(_) => return Err(self.bad("is not text")),
        };
        if line.is_empty() {
            return Err(self.bad("is empty"));
        }
        Ok(line)
    }

    /// An error about what was read; it is read again next time.
    pub(super) fn bad(&mut self, what: &'static str) -> FileError {
        self.read = None;
        FileError::Content { path: self.path.clone(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_is_seen_and_a_lost_file_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        let mut file = WatchedFile::new(&path);
        assert!(file.has_changed(), "never read");
        assert!(file.read_line().is_err());
        std::fs::write(&path, "one\n").expect("write");
        assert_eq!(file.read_line().expect("a line"), "one");
        assert!(!file.has_changed());
        // Written beside and renamed over, as secrets are exchanged: same length, perhaps the same second.
        std::fs::write(folder.path().join("new"), "two\n").expect("write");
        std::fs::rename(folder.path().join("new"), &path).expect("rename");
        assert!(file.has_changed());
        assert_eq!(file.read_line().expect("a line"), "two");
        std::fs::remove_file(&path).expect("remove");
        assert!(!file.has_changed(), "what was read stays good");
    }

    #[test]
    fn what_is_no_line_is_an_error_until_it_is_one() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        let mut file = WatchedFile::new(&path);
        for bad in [&b"\n"[..], b"\xff\xfe"] {
            std::fs::write(&path, bad).expect("write");
            assert!(file.read_line().is_err());
            assert!(file.has_changed(), "tried again");
        }
        File::create(&path).and_then(|file| file.set_len(MAX_BYTES + 1)).expect("write");
        assert!(matches!(file.read(), Err(FileError::TooLarge { .. })));
    }
}
