//! The bytes of `/proc/PID/maps` → executable mappings. Pure; lines that make no sense are left out.
//!
//! ```text
//!   7f3c1a400000-7f3c1a555000 r-xp 00026000 fe:00 1835 /usr/lib/x86_64-linux-gnu/libc.so.6
//!   start        end          perms offset  dev   inode path (may be absent, may hold spaces)
//! ```
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
    maps.split(|&byte| byte == b'\n').filter_map(entry)
}

fn entry(line: &[u8]) -> Option<MapsEntry> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let permissions = text()?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
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
    Some(MapsEntry {
        start: RuntimeAddr(hex(start)?),
        end: RuntimeAddr(hex(end)?),
        offset: FileOffset(hex(offset)?),
        hint,
        path: OsString::from_vec(path.to_vec()),
    })
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
}
