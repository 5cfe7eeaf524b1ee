//! A kernel's package → the file that an emulator boots, below `target/vm/kernels`.

use super::lock::Locked;
use crate::folders::{fresh_folder, replace_folder};
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const IMAGE: &str = "vmlinuz";

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
}

/// Unpacks the package and keeps the kernel of it, or finds that from an earlier run.
pub(super) fn unpacked(workspace: &Workspace, package: &Path, locked: &Locked) -> Result<Kernel> {
    let place = workspace.target().join("vm/kernels").join(locked.full_name());
    let kernel = Kernel { image: place.join(IMAGE) };
    if !kernel.image.is_file() {
        let scratch = fresh_folder(&place.with_added_extension("all"))?;
        shell::run(workspace.command("dpkg-deb").arg("--extract").arg(package).arg(&scratch))?;
        let kept = fresh_folder(&place.with_added_extension("partial"))?;
        let mut files = Vec::new();
        // Up to 7.2 it is boot/vmlinuz-VERSION, from then on usr/lib/modules/VERSION/vmlinuz.
        for folder in ["boot", "usr/lib/modules", "lib/modules"] {
            find(&scratch.join(folder), 2, &mut files);
        }
        let is_image =
            |file: &&PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(IMAGE));
        let Some(image) = files.iter().find(is_image) else { bail!("{} has no kernel", package.display()) };
        fs::rename(image, kept.join(IMAGE)).with_context(|| format!("move {}", image.display()))?;
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        replace_folder(&kept, &place)?;
    }
    Ok(kernel)
}

/// Files of a folder and, so many levels down, of those in it. What cannot be listed has none.
fn find(folder: &Path, levels: u32, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if levels > 0 {
                find(&path, levels - 1, files);
            }
        } else {
            files.push(path);
        }
    }
}
