//! Why a file has no unwind rows.

use crate::elf::ElfError;

/// Why no rows could be made of a file. Its frames are walked by frame pointers.
#[derive(Debug, thiserror::Error)]
pub enum UnwindError {
    /// The file itself.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Code for a machine whose stacks are not walked.
    #[error("code for another machine")]
    ForeignMachine,
    /// More work, rows or memory than any real file asks for.
    #[error("{what}: {found} is more than {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there are, or were when counting stopped.
        found: u64,
        /// What is accepted.
        limit: u64,
    },
    /// A section that cannot be unpacked.
    #[error("section {name} cannot be unpacked")]
    Unpack {
        /// Its name.
        name: &'static str,
        /// What the unpacker said.
        source: Option<std::io::Error>,
    },
    /// A section that is damaged from its first entry on.
    #[error("section {name} is damaged")]
    Malformed {
        /// Its name.
        name: &'static str,
        /// What the parser said.
        source: gimli::Error,
    },
    /// Go's table of functions is damaged, or of an unknown version.
    #[error("Go's function table: {why}")]
    GoTable {
        /// What is wrong.
        why: &'static str,
    },
}
