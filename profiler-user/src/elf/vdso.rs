//! The vdso, the kernel's own library in every process → its bytes, from our own memory.
//!
//! It is no file, but every process of one architecture has the same image, so ours serves for all.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use super::{ElfError, read_exactly};
use crate::host::ProcFs;

/// Two pages on x86_64 and arm64 today.
const IMAGE_BYTES_MAX: u64 = 1 << 20;

/// Why the vdso could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VdsoError {
    /// An entry of `/proc` could not be read.
    #[error("read {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its memory could not be copied.
    #[error(transparent)]
    Memory(#[from] ElfError),
}

/// Copies the vdso of this process: an ELF file, as it is mapped from its first byte on. `None` if the kernel gives none.
pub fn image_of_this_process(procfs: &ProcFs) -> Result<Option<Box<[u8]>>, VdsoError> {
    let failed = |entry: &str| {
        let path = procfs.path(entry);
        move |source| VdsoError::Open { path, source }
    };
    let maps = procfs.open_entry("self/maps").map_err(failed("self/maps"))?;
    for line in BufReader::new(maps).lines() {
        let line = line.map_err(failed("self/maps"))?;
        let Some((start, end)) = range_of_vdso(&line) else { continue };
        let memory = procfs.open_entry("self/mem").map_err(failed("self/mem"))?;
        let found = end.saturating_sub(start);
        if found > IMAGE_BYTES_MAX {
            return Err(ElfError::TooLarge { what: "bytes of vdso", found, limit: IMAGE_BYTES_MAX }.into());
        }
        return Ok(Some(read_exactly(&memory, "vdso", start, found)?.into()));
    }
    Ok(None)
}

fn range_of_vdso(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.strip_suffix("[vdso]")?.split_whitespace().next()?.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_comes_from_the_line_of_the_vdso() {
        let line = "7ffd3a9f2000-7ffd3a9f4000 r-xp 00000000 00:00 0                          [vdso]";
        assert_eq!(range_of_vdso(line), Some((0x7ffd_3a9f_2000, 0x7ffd_3a9f_4000)));
        assert_eq!(range_of_vdso("7ffd3a9ee000-7ffd3a9f2000 r--p 00000000 00:00 0 [vvar]"), None);
        assert_eq!(range_of_vdso("x-y r-xp 0 00:00 0 [vdso]"), None);
    }
}
