//! What lies at a path of a stranger → opened, or refused at once.

use std::os::fd::AsRawFd;

use super::*;

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
    std::fs::write(&file, "text").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    assert!(open_regular(&file).is_some());
    for refused in [pipe.as_path(), folder.path(), Path::new("/dev/zero"), &folder.path().join("absent")] {
        assert!(open_regular(refused).is_none(), "{}", refused.display());
    }
}

/// include/uapi/asm-generic/fcntl.h; the libc crate lacks it.
const F_SETSIG: i32 = 10;

/// Takes a write lease on a file, and has the notice of its break sent as a signal that nobody minds.
#[expect(unsafe_code, reason = "no crate of ours has a safe call for leases")]
fn lease(file: &File) -> bool {
    // SAFETY: an open descriptor and integers.
    let signal = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    // SAFETY: as above.
    let lease = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    signal == 0 && lease == 0
}

#[test]
fn a_lease_does_not_keep_us_waiting() {
    let leased = tempfile::NamedTempFile::new().unwrap();
    if !lease(leased.as_file()) {
        eprintln!("skipped: this file system has no leases");
        return;
    }
    // Waiting would end in an open file, when the kernel breaks the lease (/proc/sys/fs/lease-break-time).
    assert!(open_regular(leased.path()).is_none());
    let unleased = tempfile::NamedTempFile::new().unwrap();
    assert!(open_regular(unleased.path()).is_some());
}
