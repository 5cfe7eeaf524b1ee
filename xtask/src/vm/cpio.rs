//! Files → an initramfs: the "newc" format of cpio, uncompressed, as the kernel's `buffer-format.rst` describes it.
//!
//! ```text
//!   "070701", 13 numbers of 8 hex digits, name NUL, padding to 4 ─ content, padding to 4 ─ … ─ TRAILER!!!
//! ```
//!
//! Written here so that device nodes need no root. Everything belongs to root; times are 0.

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that is being put together. A folder must come before what it has.
#[derive(Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    /// A file that may be executed.
    pub(super) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, (0, 0), to.as_bytes());
    }

    pub(super) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_length = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, owner, group, links, time, length, device of the archive (2), of the node (2), name, checksum
        let numbers = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell;
    use std::process::Command;

    #[test]
    fn another_reader_finds_what_was_put_in() {
        let mut archive = Cpio::default();
        archive.folder("dev");
        archive.character_device("dev/null", 1, 3);
        archive.program("init", b"#!/bin/sh\n");
        archive.link("sh", "init");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        if shell::find_program("cpio").is_none() {
            return;
        }
        let listed = shell::output_bytes(Command::new("cpio").args(["-t", "-v", "-n", "--quiet"]), &bytes);
        let listed = String::from_utf8(listed.unwrap()).unwrap();
        let has = |words: [&str; 2]| listed.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(has(["drwxr-xr-x", "dev"]) && has(["1,   3", "dev/null"]), "{listed}");
        assert!(has(["-rwxr-xr-x", "init"]) && has(["lrwxrwxrwx", "sh -> init"]), "{listed}");
    }
}
