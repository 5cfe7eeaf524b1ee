//! An executable file → what it shows of the language that it was compiled from.
//!
//! ```text
//!   .go.buildinfo                                     Go
//!   .comment "rustc version …", paths of Rust's own library among the constants    Rust
//!   needs libstdc++ or libc++, or has their exceptions' names among the constants  C++
//! ```
//!
//! Section headers, some entries, and at most 2 MiB of constants are read, once a file. Stripped files show all of that.

use std::sync::Arc;

use object::elf;
use regex::bytes::Regex;

use crate::attribute::go_build::GoBuild;
use crate::elf::sections::{Section, Sections};
use crate::elf::{ElfHeaders, ReadAt, read_up_to};

/// What a file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Go's linker made it.
    Go(Arc<GoBuild>),
    /// Rust's standard library is in it.
    Rust,
    /// C++'s runtime is in it, or it asks for it.
    Cpp,
    /// Nothing, and it is so small that its libraries do the work.
    Stub,
    /// Nothing.
    None,
}

/// Programs of less code than this do little themselves.
const STUB_BYTES_MAX: u64 = 64 << 10;
/// Compilers' names take some 100 bytes each.
const COMMENT_BYTES_MAX: u64 = 4 << 10;
/// 4,096 entries.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;
/// At the start and at the end of the constants each.
const CONSTANTS_BYTES_MAX: u64 = 1 << 20;
/// Of a library's name.
const NAME_BYTES_MAX: usize = 32;

/// What is searched for among constants: paths in messages of Rust's library, names of C++'s exception classes.
const CONSTANTS: &str =
    r"(?-u)(library/(?:std|core|alloc)/src/|src/libstd/)|(St9bad_alloc|St9exception|St13runtime_error)";

/// The compiled search.
#[derive(Debug)]
pub(super) struct Search(Option<Regex>);

impl Search {
    pub(super) fn new() -> Self {
        // A constant, which a test compiles: without it only constants are not searched.
        Self(Regex::new(CONSTANTS).ok())
    }

    #[cfg(test)]
    pub(super) fn searches_constants(&self) -> bool {
        self.0.is_some()
    }

    /// What a file of so many bytes shows; nothing if it cannot be read.
    pub(super) fn evidence(&self, source: &(impl ReadAt + ?Sized), file_bytes: u64) -> Evidence {
        let Ok(headers) = ElfHeaders::read(source) else { return Evidence::None };
        let Ok(sections) = Sections::read(source, &headers) else { return Evidence::None };
        if let Ok(Some(build)) = GoBuild::read_with(source, &headers, &sections) {
            return Evidence::Go(Arc::new(build));
        }
        if comment_names_rustc(source, &sections) {
            return Evidence::Rust;
        }
        let needs_cpp = headers.is_64_bit() && needs_cpp(source, &sections);
        match self.constants(source, &sections) {
            Evidence::None if needs_cpp => Evidence::Cpp,
            Evidence::None if file_bytes < STUB_BYTES_MAX => Evidence::Stub,
            shown => shown,
        }
    }

    fn constants(&self, source: &(impl ReadAt + ?Sized), sections: &Sections) -> Evidence {
        let (Some(search), Some(section)) = (&self.0, sections.named(b".rodata")) else {
            return Evidence::None;
        };
        let at_end = section.bytes.saturating_sub(CONSTANTS_BYTES_MAX).max(CONSTANTS_BYTES_MAX);
        let mut shown = Evidence::None;
        for from in [0, at_end] {
            for found in search.captures_iter(&part(source, section, from, CONSTANTS_BYTES_MAX)) {
                if found.get(1).is_some() {
                    return Evidence::Rust; // also where C++ is linked in
                }
                shown = Evidence::Cpp;
            }
        }
        shown
    }
}

/// A part of a section; empty beyond its end, or if it cannot be read.
fn part(source: &(impl ReadAt + ?Sized), section: &Section, from: u64, bytes_max: u64) -> Vec<u8> {
    let bytes = section.bytes.saturating_sub(from).min(bytes_max);
    let (Some(at), Ok(bytes)) = (section.at.checked_add(from), usize::try_from(bytes)) else {
        return Vec::new();
    };
    if section.flags.contains(elf::SHF_COMPRESSED) {
        return Vec::new();
    }
    read_up_to(source, at, bytes).unwrap_or_default()
}

/// Every compiler signs there: `GCC: (Debian 12.2.0-14) 12.2.0`, `rustc version 1.95.0 (…)`.
fn comment_names_rustc(source: &(impl ReadAt + ?Sized), sections: &Sections) -> bool {
    let Some(section) = sections.named(b".comment") else { return false };
    let comment = part(source, section, 0, COMMENT_BYTES_MAX);
    comment.split(|&byte| byte == 0).any(|signature| signature.starts_with(b"rustc version "))
}

/// Whether the file itself asks for C++'s library. A C program may have one mapped because a library needs it.
fn needs_cpp(source: &(impl ReadAt + ?Sized), sections: &Sections) -> bool {
    let (Some(dynamic), Some(names)) = (sections.named(b".dynamic"), sections.named(b".dynstr")) else {
        return false;
    };
    let entries = part(source, dynamic, 0, DYNAMIC_BYTES_MAX);
    let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u64::from_ne_bytes(*word)).unwrap_or_default();
    let needed = entries.chunks_exact(16).filter(|entry| word(entry) == elf::DT_NEEDED.0.cast_unsigned());
    let mut needed = needed.map(|entry| word(entry.get(8..).unwrap_or_default()));
    needed.any(|at| {
        let name = part(source, names, at, u64::try_from(NAME_BYTES_MAX).unwrap_or(0));
        name.starts_with(b"libstdc++.so") || name.starts_with(b"libc++.so")
    })
}
