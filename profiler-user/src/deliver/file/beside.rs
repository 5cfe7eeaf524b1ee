//! A file under a temporary name beside the one that is wanted, gone again unless it is finished.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Tries before giving up on finding a name that is free.
const ATTEMPTS: u32 = 100;

/// A file that is removed when this is dropped before [`TemporaryFile::rename_to`].
#[derive(Debug)]
pub(super) struct TemporaryFile {
    path: PathBuf,
    file: File,
    is_finished: bool,
}

impl TemporaryFile {
    /// Makes a new, empty file in `folder`. Never opens a file that is there, nor follows a link: others
    /// may write to the folder too.
    pub(super) fn create_in(folder: &Path) -> io::Result<Self> {
        let own_id = std::process::id();
        for attempt in 0..ATTEMPTS {
            // Independent of the wanted name, which may already be as long as a name can be.
            let path = folder.join(format!(".flamekeeper-{own_id}-{attempt}.tmp"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file, is_finished: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every temporary name is taken"))
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts it in the place of `target`, whatever is there, in one step.
    pub(super) fn rename_to(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // There is nobody left to tell; the name says what it is.
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let temporary = TemporaryFile::create_in(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(temporary);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_finished_file_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        fs::write(&target, "old").unwrap();
        let temporary = TemporaryFile::create_in(folder.path()).unwrap();
        temporary.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        temporary.rename_to(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let planted = folder.path().join(format!(".flamekeeper-{}-0.tmp", std::process::id()));
        let victim = folder.path().join("victim");
        std::os::unix::fs::symlink(&victim, &planted).unwrap();
        let temporary = TemporaryFile::create_in(folder.path()).unwrap();
        temporary.file().write_all(b"x").unwrap();
        assert!(!victim.exists());
    }
}
