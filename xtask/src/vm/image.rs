//! Programs of an architecture → the initramfs that its guests start from.
//!
//! ```text
//!   /init (init.sh)  /bin/busybox  /bin/guest, also as /bin/setpriv  /flamekeeper  /flamekeeper.o  /workloads/*  /lib*/ the C library
//! ```

use super::arch::Arch;
use super::cpio::Cpio;
use super::lock::Locked;
use super::packages::Packages;
use super::programs::GuestFile;
use super::wanted::BUSYBOX;
use crate::debian;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

const FOLDERS: [&str; 12] =
    ["bin", "dev", "lib", "lib64", "proc", "sys", "tmp", "run", "var", "var/lib", "workloads", "etc"];

/// Where busybox is in its package.
const BUSYBOX_FOLDER: &str = "./bin";

/// Writes it below `target/vm`.
pub(super) fn make(
    workspace: &Workspace,
    packages: &mut Packages<'_>,
    lock: &[Locked],
    arch: Arch,
    files: &[GuestFile],
) -> Result<PathBuf> {
    let mut archive = Cpio::default();
    FOLDERS.iter().for_each(|folder| archive.folder(folder));
    // The first process writes to the console before anything is mounted.
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    archive.program("init", include_bytes!("init.sh"));
    archive.link("bin/setpriv", "guest");
    let (package, _) = packages.fetch(&BUSYBOX, arch, lock)?;
    let unpacked = workspace.target().join("vm/busybox").join(arch.debian());
    debian::unpack(workspace, &package, BUSYBOX_FOLDER, &unpacked)?;
    let busybox = ("bin/busybox".to_owned(), unpacked.join("bin/busybox"));
    for (path, file) in files.iter().chain([&busybox]) {
        let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        archive.program(path, &content);
    }
    let place = workspace.target().join(format!("vm/initramfs-{}.cpio", arch.debian()));
    fs::write(&place, archive.finish()).with_context(|| format!("write {}", place.display()))?;
    Ok(place)
}
