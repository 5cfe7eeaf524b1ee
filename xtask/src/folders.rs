//! Folders: made anew, put into place as a whole, listed with all that lies below.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// An empty folder at this path.
pub(crate) fn fresh_folder(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
    Ok(path.to_owned())
}

/// Puts a complete folder where a half-unpacked one must never be seen.
pub(crate) fn replace_folder(complete: &Path, place: &Path) -> Result<()> {
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("remove {}", place.display()))?;
    }
    fs::rename(complete, place).with_context(|| format!("move {} to {}", complete.display(), place.display()))
}

/// Every file below a folder, by its path from there, sorted.
pub(crate) fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let absolute = root.join(&folder);
        for entry in fs::read_dir(&absolute).with_context(|| format!("list {}", absolute.display()))? {
            let entry = entry.with_context(|| format!("list {}", absolute.display()))?;
            let path = folder.join(entry.file_name());
            if root.join(&path).is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}
