//! One record of the kernel's side-band → what happened to a process. Pure; any bytes give an answer.
//!
//! Layouts: include/uapi/linux/perf_event.h, `enum perf_event_type`, with `sample_id_all` and sample_type
//! TID | TIME | CPU, so that each record ends in 24 bytes of which the time is the middle third:
//!
//! ```text
//!   MMAP2  pid tid addr len pgoff │ maj min ino gen, or size build-id[20] │ prot flags name… │ trailer
//!   COMM   pid tid name…                                                                   │ trailer
//!   FORK, EXIT  pid ppid tid ptid time                                                     │ trailer
//!   LOST   id lost                                                                         │ trailer
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use profiler_common::address::{FileOffset, RuntimeAddr};

use super::{Tgid, Tid};
use crate::host::MonotonicNanos;

/// How the kernel tells which file is mapped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileHint {
    /// The build id in the file's notes, up to 20 bytes.
    BuildId(Box<[u8]>),
    /// Device and inode.
    Inode {
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
        /// Inode number.
        inode: u64,
    },
    /// Memory without a file.
    None,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// A process was created; it has its parent's memory.
    Fork {
        /// The new process.
        child: Tgid,
        /// Whose memory it copied or shares.
        parent: Tgid,
    },
    /// A thread was created in a process.
    ThreadStart {
        /// The process.
        tgid: Tgid,
        /// The new thread.
        tid: Tid,
        /// The thread that created it, whose name it has until it gets its own.
        creator: Tid,
    },
    /// A process runs another program: all mappings are gone.
    Exec {
        /// The process.
        tgid: Tgid,
        /// Name of the program's file, at most 15 bytes.
        name: String,
    },
    /// A thread gave itself a name.
    Rename {
        /// The process.
        tgid: Tgid,
        /// The thread.
        tid: Tid,
        /// The name, at most 15 bytes.
        name: String,
    },
    /// Executable memory appeared.
    Map {
        /// The process.
        tgid: Tgid,
        /// First address.
        start: RuntimeAddr,
        /// Bytes.
        len: u64,
        /// Position of `start` in the file.
        offset: FileOffset,
        /// Path as the process sees it, or a name in brackets.
        path: OsString,
        /// Which file.
        hint: FileHint,
    },
    /// A thread ended; the process has ended with its last one.
    ThreadExit {
        /// The process.
        tgid: Tgid,
        /// The thread.
        tid: Tid,
    },
    /// The kernel dropped this many records of one CPU.
    Lost(u64),
}

/// A change and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// When.
    pub at: MonotonicNanos,
    /// What.
    pub change: ProcessChange,
}

const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
/// On COMM: the name changed because of exec.
const MISC_COMM_EXEC: u16 = 1 << 13;
/// On MMAP2: a build id stands where device and inode would.
const MISC_MMAP_BUILD_ID: u16 = 1 << 14;
/// `sample_id`: pid, tid, time, cpu, reserved.
const TRAILER_BYTES: usize = 24;

/// Decodes a record without its 8-byte header. `None` for kinds that say nothing about processes.
pub fn decode(kind: u32, misc: u16, body: &[u8]) -> Option<ProcessEvent> {
    let (body, trailer) = body.split_at_checked(body.len().checked_sub(TRAILER_BYTES)?)?;
    let at = MonotonicNanos(u64_at(trailer, 8)?);
    let change = match kind {
        RECORD_MMAP2 => map(misc, body)?,
        RECORD_COMM => comm(misc, body)?,
        RECORD_FORK => fork(body)?,
        RECORD_EXIT => ProcessChange::ThreadExit { tgid: Tgid(u32_at(body, 0)?), tid: Tid(u32_at(body, 8)?) },
        RECORD_LOST => ProcessChange::Lost(u64_at(body, 8)?),
        _ => return None,
    };
    Some(ProcessEvent { at, change })
}

fn fork(body: &[u8]) -> Option<ProcessChange> {
    let (tgid, parent) = (Tgid(u32_at(body, 0)?), Tgid(u32_at(body, 4)?));
    let (tid, creator) = (Tid(u32_at(body, 8)?), Tid(u32_at(body, 12)?));
    // A new process is its own first thread; a new thread is not, even if "parent" is another process
    // (the kernel reports the real parent's id there for CLONE_PARENT).
    Some(if tgid.0 == tid.0 {
        ProcessChange::Fork { child: tgid, parent }
    } else {
        ProcessChange::ThreadStart { tgid, tid, creator }
    })
}

fn comm(misc: u16, body: &[u8]) -> Option<ProcessChange> {
    let tgid = Tgid(u32_at(body, 0)?);
    let tid = Tid(u32_at(body, 4)?);
    let name = String::from_utf8_lossy(until_nul(body.get(8..)?)).into_owned();
    Some(if misc & MISC_COMM_EXEC != 0 {
        ProcessChange::Exec { tgid, name }
    } else {
        ProcessChange::Rename { tgid, tid, name }
    })
}

fn map(misc: u16, body: &[u8]) -> Option<ProcessChange> {
    let file = body.get(32..56)?;
    let hint = if misc & MISC_MMAP_BUILD_ID != 0 {
        let len = usize::from(*file.first()?).min(20);
        FileHint::BuildId(file.get(4..4 + len)?.into())
    } else {
        match u64_at(file, 8)? {
            0 => FileHint::None,
            inode => FileHint::Inode { major: u32_at(file, 0)?, minor: u32_at(file, 4)?, inode },
        }
    };
    Some(ProcessChange::Map {
        tgid: Tgid(u32_at(body, 0)?),
        start: RuntimeAddr(u64_at(body, 8)?),
        len: u64_at(body, 16)?,
        offset: FileOffset(u64_at(body, 24)?),
        path: OsString::from_vec(until_nul(body.get(64..)?).to_vec()),
        hint,
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(words: &[u32], tail: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(tail);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend([1, 2].iter().flat_map(|word: &u32| word.to_ne_bytes()));
        bytes.extend(777u64.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    fn change(kind: u32, misc: u16, bytes: &[u8]) -> ProcessChange {
        let event = decode(kind, misc, bytes).unwrap();
        assert_eq!(event.at, MonotonicNanos(777));
        event.change
    }

    #[test]
    fn fork_of_a_process_and_of_a_thread_differ() {
        let process = record(&[10, 5, 10, 5, 0, 0], &[]);
        let expected = ProcessChange::Fork { child: Tgid(10), parent: Tgid(5) };
        assert_eq!(change(RECORD_FORK, 0, &process), expected);
        let thread = record(&[10, 10, 11, 10, 0, 0], &[]);
        let expected = ProcessChange::ThreadStart { tgid: Tgid(10), tid: Tid(11), creator: Tid(10) };
        assert_eq!(change(RECORD_FORK, 0, &thread), expected);
    }

    #[test]
    fn a_name_by_exec_is_not_a_name_by_choice() {
        let bytes = record(&[10, 11], b"worker-1\0\0\0\0\0\0\0\0");
        let expected = ProcessChange::Rename { tgid: Tgid(10), tid: Tid(11), name: "worker-1".into() };
        assert_eq!(change(RECORD_COMM, 0, &bytes), expected);
        let expected = ProcessChange::Exec { tgid: Tgid(10), name: "worker-1".into() };
        assert_eq!(change(RECORD_COMM, MISC_COMM_EXEC, &bytes), expected);
    }

    #[test]
    fn a_mapping_carries_a_build_id_or_an_inode() {
        // pid tid │ addr │ len │ pgoff │ maj min ino gen │ prot flags
        let words = [10, 10, 0x5000, 0, 0x2000, 0, 0x1000, 0, 8, 1, 99, 0, 0, 0, 5, 2];
        let bytes = record(&words, b"/usr/bin/true\0");
        let ProcessChange::Map { start, len, offset, path, hint, .. } = change(RECORD_MMAP2, 0, &bytes)
        else {
            panic!()
        };
        assert_eq!((start, len, offset), (RuntimeAddr(0x5000), 0x2000, FileOffset(0x1000)));
        assert_eq!(path, "/usr/bin/true");
        assert_eq!(hint, FileHint::Inode { major: 8, minor: 1, inode: 99 });

        let words = [10, 10, 0x5000, 0, 0x2000, 0, 0x1000, 0, 4, 0xdead_beef, 0, 0, 0, 0, 5, 2];
        let bytes = record(&words, b"/usr/bin/true\0");
        let ProcessChange::Map { hint, .. } = change(RECORD_MMAP2, MISC_MMAP_BUILD_ID, &bytes) else {
            panic!()
        };
        assert_eq!(hint, FileHint::BuildId(0xdead_beef_u32.to_ne_bytes().into()));
    }

    #[test]
    fn no_cut_of_any_record_is_misread_as_a_panic() {
        let whole = record(&[10, 10, 0x5000, 0, 0x2000, 0, 0x1000, 0, 255, 1, 99, 0, 0, 0, 5, 2], b"/x\0");
        for kind in 0..24 {
            for len in 0..whole.len() {
                let _any = decode(kind, u16::MAX, &whole[..len]);
            }
        }
        assert_eq!(decode(RECORD_MMAP2, 0, &whole[..60]), None);
    }
}
