//! The executable mappings of one process: runtime address → file and offset in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use profiler_common::address::{FileOffset, RuntimeAddr};

use super::FileId;
use crate::collect::process_event::FileHint;

/// What lies behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A file that no sample was seen in yet.
    Unopened(Arc<NamedFile>),
    /// A file, opened.
    File(FileId),
    /// A file that is no ELF file.
    Foreign(FileId),
    /// The kernel's page of user code.
    Vdso,
    /// Memory without a file.
    Memory,
}

/// A file as a mapping tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedFile {
    /// Path as the process sees it.
    pub path: OsString,
    /// Which file that was.
    pub hint: FileHint,
}

/// A range of executable memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: RuntimeAddr,
    /// First address behind it.
    pub end: RuntimeAddr,
    /// Position of `start` in the file.
    pub start_in_file: FileOffset,
    /// What lies behind it.
    pub backing: Backing,
}

impl Mapping {
    /// The mapping of a file, or what stands in its place under this path.
    pub fn new(
        start: RuntimeAddr,
        end: RuntimeAddr,
        offset: FileOffset,
        path: OsString,
        hint: FileHint,
    ) -> Self {
        let backing = if path == "[vdso]" {
            Backing::Vdso
        } else if is_file_path(&path) {
            Backing::Unopened(Arc::new(NamedFile { path, hint }))
        } else {
            Backing::Memory
        };
        Self { start, end, start_in_file: offset, backing }
    }

    /// Where an address of the process lies in the file. `None` outside the mapping.
    pub fn file_offset(&self, at: RuntimeAddr) -> Option<FileOffset> {
        if at < self.start || at >= self.end {
            return None;
        }
        self.start_in_file.0.checked_add(at.0 - self.start.0).map(FileOffset)
    }
}

/// `//anon` is what perf calls memory without a name; names in brackets are the kernel's.
fn is_file_path(path: &OsStr) -> bool {
    let bytes = path.as_encoded_bytes();
    bytes.starts_with(b"/") && !bytes.starts_with(b"//")
}

/// The mappings of one process, by address, none overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings(BTreeMap<RuntimeAddr, Mapping>);

/// No process needs more executable mappings than `vm.max_map_count` allows by default.
const MAPPINGS_MAX: usize = 65_530;

impl Mappings {
    /// Adds a mapping; what it overlaps was unmapped by it, as far as it is overlapped. True if code of a file lay
    /// there, or comes to lie where other code was: who walked stacks by the mappings before was wrong about it.
    pub fn insert(&mut self, new: Mapping) -> bool {
        if new.start >= new.end {
            return false;
        }
        let mut overlapped = Vec::new();
        while let Some(mapping) = self.last_before(new.end).filter(|mapping| mapping.end > new.start) {
            let start = mapping.start;
            overlapped.extend(self.0.remove(&start));
        }
        if overlapped.is_empty() {
            if self.0.len() < MAPPINGS_MAX {
                self.0.insert(new.start, new);
            }
            return false;
        }
        let is_memory = |mapping: &Mapping| mapping.backing == Backing::Memory;
        let replaces_code = !(is_memory(&new) && overlapped.iter().all(is_memory));
        // By descending address.
        let head = overlapped.last().and_then(|mapping| cut(mapping, mapping.start, new.start));
        let tail = overlapped.first().and_then(|mapping| cut(mapping, new.end, mapping.end));
        let replacement = head.into_iter().chain([new]).chain(tail);
        self.0.extend(replacement.map(|mapping| (mapping.start, mapping)));
        while self.0.len() > MAPPINGS_MAX {
            self.0.pop_last();
        }
        replaces_code
    }

    /// The mapping with the highest start below an address.
    fn last_before(&self, at: RuntimeAddr) -> Option<&Mapping> {
        self.0.range(..at).next_back().map(|(_, mapping)| mapping)
    }

    /// The mapping that holds an address.
    pub fn find(&self, at: RuntimeAddr) -> Option<&Mapping> {
        let (_, mapping) = self.0.range(..=at).next_back()?;
        (at < mapping.end).then_some(mapping)
    }

    /// Notes what a mapping's file turned out to be, at the address where it was met.
    pub fn resolve(&mut self, at: RuntimeAddr, backing: Backing) {
        let found = self.0.range_mut(..=at).next_back().map(|(_, mapping)| mapping);
        if let Some(mapping) = found.filter(|mapping| at < mapping.end) {
            mapping.backing = backing;
        }
    }

    /// All of them, by ascending address.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.values()
    }

    /// Whether the same ranges show the same positions, whatever is known of what lies behind them.
    pub fn are_laid_out_like(&self, other: &Self) -> bool {
        let place = |mapping: &Mapping| (mapping.start, mapping.end, mapping.start_in_file);
        self.iter().map(place).eq(other.iter().map(place))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing executable is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The part of a mapping between two addresses, if there is any.
fn cut(mapping: &Mapping, start: RuntimeAddr, end: RuntimeAddr) -> Option<Mapping> {
    if start >= end || start < mapping.start || end > mapping.end {
        return None;
    }
    let start_in_file = mapping.file_offset(start)?;
    Some(Mapping { start, end, start_in_file, backing: mapping.backing.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, path: &str) -> Mapping {
        Mapping::new(RuntimeAddr(start), RuntimeAddr(end), FileOffset(offset), path.into(), FileHint::None)
    }

    fn shown(mappings: &Mappings) -> String {
        let name = |mapping: &Mapping| match &mapping.backing {
            Backing::Unopened(file) => file.path.to_string_lossy().into_owned(),
            other => format!("{other:?}"),
        };
        let line = |m: &Mapping| format!("{:x}-{:x}@{:x} {}", m.start.0, m.end.0, m.start_in_file.0, name(m));
        mappings.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn an_address_becomes_an_offset_that_is_neither_address_nor_bias() {
        let libc = mapping(0x7f00_0002_6000, 0x7f00_0017_b000, 0x2_6000, "/libc.so.6");
        assert_eq!(libc.file_offset(RuntimeAddr(0x7f00_0002_6123)), Some(FileOffset(0x2_6123)));
        assert_eq!(libc.file_offset(RuntimeAddr(0x7f00_0002_5fff)), None);
        assert_eq!(libc.file_offset(RuntimeAddr(0x7f00_0017_b000)), None);
    }

    #[test]
    fn a_new_mapping_cuts_what_it_overlaps() {
        let mut mappings = Mappings::default();
        mappings.insert(mapping(0x1000, 0x9000, 0x100, "/a"));
        mappings.insert(mapping(0x3000, 0x4000, 0, "/b"));
        assert_eq!(shown(&mappings), "1000-3000@100 /a, 3000-4000@0 /b, 4000-9000@3100 /a");
        mappings.insert(mapping(0x2000, 0x5000, 7, "[vdso]"));
        assert_eq!(shown(&mappings), "1000-2000@100 /a, 2000-5000@7 Vdso, 5000-9000@4100 /a");
        mappings.insert(mapping(0, 0x10000, 0, "//anon"));
        assert_eq!(shown(&mappings), "0-10000@0 Memory");
    }

    #[test]
    fn code_is_replaced_unless_it_was_made_at_run_time_before_and_after() {
        let mut mappings = Mappings::default();
        assert!(!mappings.insert(mapping(0x1000, 0x2000, 0, "//anon")));
        assert!(!mappings.insert(mapping(0x1000, 0x2000, 0, "//anon")), "a JIT compiler's mprotect");
        assert!(mappings.insert(mapping(0x1000, 0x2000, 0, "/a")));
        assert!(mappings.insert(mapping(0x1000, 0x1800, 0, "//anon")));
        assert!(!mappings.insert(mapping(0x2000, 0x3000, 0, "/b")), "beside, not over");
    }

    #[test]
    fn a_list_is_bounded_however_it_is_cut() {
        let mut mappings = Mappings::default();
        // Downwards, as the kernel places them.
        for number in (0..70_000u64).rev() {
            mappings.insert(mapping(number * 0x2000, number * 0x2000 + 0x1000, 0, "//anon"));
        }
        assert_eq!(mappings.len(), MAPPINGS_MAX);
        let first = 4_470 * 0x2000;
        assert!(
            mappings.find(RuntimeAddr(first)).is_some() && mappings.find(RuntimeAddr(first - 1)).is_none()
        );
        mappings.insert(mapping(first + 0x100, first + 0x200, 0, "/in/the/middle"));
        assert_eq!(mappings.len(), MAPPINGS_MAX);
        assert!(mappings.iter().zip(mappings.iter().skip(1)).all(|(one, next)| one.end <= next.start));
    }

    #[test]
    fn finding_and_resolving_agree() {
        let mut mappings = Mappings::default();
        mappings.insert(mapping(0x1000, 0x2000, 0, "/a"));
        mappings.insert(mapping(0x3000, 0x4000, 0, "/b"));
        mappings.resolve(RuntimeAddr(0x3fff), Backing::File(FileId(7)));
        assert_eq!(mappings.find(RuntimeAddr(0x3000)).unwrap().backing, Backing::File(FileId(7)));
        assert!(mappings.find(RuntimeAddr(0x2000)).is_none());
        assert!(mappings.find(RuntimeAddr(0x4000)).is_none());
    }
}
