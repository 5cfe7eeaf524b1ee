//! What can be wrong with an ELF file.

use std::io;

/// Why an ELF file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
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
}
