//! The bytes of `/proc/PID/maps` → executable mappings. Pure; lines that make no sense are left out.
//!
//! ```text
//!   7f3c1a400000-7f3c1a555000 r-xp 00026000 fe:00 1835 /usr/lib/x86_64-linux-gnu/libc.so.6
//!   start        end          perms offset  dev   inode path (may be absent, may hold spaces)
//! ```
//!
//! Code that a program copied to memory without a file, to have it in huge pages, is still its file's: such a mapping
//! fills a gap in the file's own mappings exactly.
//!
//! Our own parser because paths are bytes: one mapping with a name that is not UTF-8 must not hide all
//! the others.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use profiler_common::address::{FileOffset, RuntimeAddr};

use crate::collect::process_event::FileHint;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapsEntry {
    /// First address.
    pub start: RuntimeAddr,
    /// First address behind it.
    pub end: RuntimeAddr,
    /// Position of `start` in the file.
    pub offset: FileOffset,
    /// Device and inode, if there is a file.
    pub hint: FileHint,
    /// Path as the process sees it, a name in brackets, or empty.
    pub path: OsString,
}

/// The executable mappings, in the order of the file (ascending).
pub fn executable_mappings(maps: &[u8]) -> impl Iterator<Item = MapsEntry> {
    let mut lines = maps.split(|&byte| byte == b'\n').filter_map(entry).peekable();
    let mut before: Option<MapsEntry> = None;
    std::iter::from_fn(move || {
        loop {
            let (mut entry, executable) = lines.next()?;
            let behind = lines.peek().map(|(behind, _)| behind);
            if let Some(offset) = filled_gap(before.as_ref(), &entry, behind)
                && let Some(file) = &before
            {
                entry = MapsEntry { offset, hint: file.hint.clone(), path: file.path.clone(), ..entry };
            }
            before = Some(entry.clone());
            if executable {
                return Some(entry);
            }
        }
    })
}

/// Where memory without a file begins in the file whose mappings lie on both of its sides, if they leave as much out.
fn filled_gap(
    before: Option<&MapsEntry>,
    entry: &MapsEntry,
    behind: Option<&MapsEntry>,
) -> Option<FileOffset> {
    let (before, behind) = (before?, behind?);
    let is_nameless = entry.hint == FileHint::None && entry.path.is_empty();
    let touches = before.end == entry.start && entry.end == behind.start;
    let same_file = before.hint != FileHint::None && before.hint == behind.hint && before.path == behind.path;
    let offset = before.offset.0.checked_add(before.end.0.checked_sub(before.start.0)?)?;
    let offset_behind = offset.checked_add(entry.end.0.checked_sub(entry.start.0)?)?;
    (is_nameless && touches && same_file && offset_behind == behind.offset.0).then_some(FileOffset(offset))
}

/// A line's mapping, and whether it is executable.
fn entry(line: &[u8]) -> Option<(MapsEntry, bool)> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let executable = text()?.as_bytes().get(2) == Some(&b'x');
    let offset = text()?;
    let (major, minor) = text()?.split_once(':')?;
    let inode = text()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    let hint = if inode == 0 {
        FileHint::None
    } else {
        let hex = |text| u32::from_str_radix(text, 16).ok();
        FileHint::Inode { major: hex(major)?, minor: hex(minor)?, inode }
    };
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let entry = MapsEntry {
        start: RuntimeAddr(hex(start)?),
        end: RuntimeAddr(hex(end)?),
        offset: FileOffset(hex(offset)?),
        hint,
        path: OsString::from_vec(path.to_vec()),
    };
    Some((entry, executable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_mappings_with_all_their_parts() {
        let text = b"\
5581d6a00000-5581d6a02000 r--p 00000000 fe:00 1234                       /usr/bin/cat
5581d6a02000-5581d6a07000 r-xp 00002000 fe:00 1234                       /usr/bin/my cat (deleted)
7ffd1b5f2000-7ffd1b5f4000 r-xp 00000000 00:00 0                          [vdso]
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000002000-7f0000003000 --xp 00001000 00:31 77                         /tmp/\xff\xfe
not a line
12-zz r-xp 0 0:0 0
";
        let found: Vec<_> = executable_mappings(text).collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0].path, "/usr/bin/my cat (deleted)");
        assert_eq!(found[0].offset, FileOffset(0x2000));
        assert_eq!(found[0].hint, FileHint::Inode { major: 0xfe, minor: 0, inode: 1234 });
        assert_eq!((found[1].path.to_str(), &found[1].hint), (Some("[vdso]"), &FileHint::None));
        assert_eq!(found[2].path, "");
        assert_eq!(found[3].path.as_encoded_bytes(), b"/tmp/\xff\xfe");
    }

    #[test]
    fn code_copied_to_memory_in_its_place_is_still_the_files() {
        let text = b"\
400000-401000 r--p 00000000 fe:00 1234 /usr/bin/big
401000-500000 r-xp 00000000 00:00 0 
500000-501000 r--p 00100000 fe:00 1234 /usr/bin/big
501000-502000 r-xp 00000000 00:00 0 
502000-503000 r--p 00105000 fe:00 1234 /usr/bin/big
600000-601000 r-xp 00000000 00:00 0 
";
        let found: Vec<_> = executable_mappings(text).collect();
        assert_eq!((found[0].path.to_str(), found[0].offset), (Some("/usr/bin/big"), FileOffset(0x1000)));
        assert!(found[1].path.is_empty(), "the file's mappings leave another length out");
        assert!(found[2].path.is_empty(), "nothing on its sides");
    }
}
