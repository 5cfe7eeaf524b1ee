//! What can go wrong while naming addresses.
//!
//! An address that nothing covers is no error: it stays unnamed.

use std::io;
use std::path::PathBuf;

use crate::elf::ElfError;
use crate::elf::vdso::VdsoError;
use crate::unwind::UnwindError;

/// Why a file, the kernel or a map could not be used for names.
#[derive(Debug, thiserror::Error)]
pub enum SymbolizeError {
    /// An ELF file is damaged, foreign or beyond what real files are.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A file that has to be there could not be opened or read as a whole.
    #[error("read {}", path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's page of user code could not be read.
    #[error(transparent)]
    Vdso(#[from] VdsoError),
    /// DWARF that does not parse.
    #[error("parse DWARF")]
    Gimli(#[from] gimli::Error),
    /// Go's table of functions is damaged or too large.
    #[error(transparent)]
    Go(#[from] UnwindError),
    /// The process that reads debug information did not answer with it.
    #[error("read debug information in a process of its own: {why}")]
    Dwarf {
        /// What happened to it.
        why: String,
        /// What the kernel said, if it was that.
        source: Option<io::Error>,
    },
}
