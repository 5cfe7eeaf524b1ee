//! What can go wrong while naming addresses.
//!
//! An address that nothing covers is no error: it stays unnamed.

use std::io;
use std::path::PathBuf;

/// Why a file, the kernel or a map could not be used for names.
#[derive(Debug, thiserror::Error)]
pub enum SymbolizeError {
    /// Reading failed, by the disk or because of our rights.
    #[error("read {bytes} bytes at offset {at:#x}")]
    Read {
        /// Offset in the file.
        at: u64,
        /// Bytes asked for.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that has to be there could not be opened or read as a whole.
    #[error("read {}", path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is not an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// An ELF file that this host cannot run.
    #[error("an ELF file of another byte order or version")]
    ForeignElf,
    /// The file ends before what its headers promise.
    #[error("{what} at offset {at:#x} with {bytes} bytes lies behind the file's end")]
    Truncated {
        /// Part of the file.
        what: &'static str,
        /// Offset in the file.
        at: u64,
        /// Its size by the headers.
        bytes: u64,
    },
    /// A number in the file is larger than any real file has; refused so that work stays bounded.
    #[error("{what}: {found} is more than {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// What we accept.
        limit: u64,
    },
    /// DWARF that does not parse.
    #[error("parse DWARF")]
    Gimli(#[from] gimli::Error),
    /// The process that reads debug information did not answer with it.
    #[error("read debug information in a process of its own: {why}")]
    Dwarf {
        /// What happened to it.
        why: String,
        /// What the kernel said, if it was that.
        source: Option<io::Error>,
    },
}
