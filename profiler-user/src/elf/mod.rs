//! What every stage may know of an ELF file: its headers and where its sections lie. No stage itself.
//!
//! ```text
//!   first KiB ─ headers.rs ─▶ segments, build id, identity        when a file is first seen
//!   section headers ─ sections.rs ─▶ symbols, DWARF, debug link   when an address in it is to be named
//!   relocations ─ relocations.rs ─▶ what the dynamic linker fills in
//! ```
//!
//! Files are strangers': every size is bounded before memory is taken, and any bytes give an answer.

pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod fnv;
pub mod headers;
pub(crate) mod relocations;
pub mod sections;
pub mod vdso;

pub use error::ElfError;
pub use headers::{BuildId, ElfHeaders, FileIdentity, LoadSegment, Machine, ReadAt};
pub(crate) use headers::{read_exactly, read_up_to};
