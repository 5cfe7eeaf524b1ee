//! What lies at a path of a stranger → opened, or refused at once.

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use profiler_common::address::{FileOffset, RuntimeAddr};

use rustix::fs::Mode;

use super::opening::open_regular;
use super::*;
use crate::elf::fixture::TinyElf;

const BUILD_ID: [u8; 4] = [1, 2, 3, 4];

/// A file of our own, mapped at an address where `map_files` knows nothing: it is found by its path.
fn open(files: &mut FileTable, path: &Path, hint: FileHint) -> Opened {
    let named = NamedFile { path: path.into(), hint: hint.clone() };
    let (start, end) = (RuntimeAddr(0x1000), RuntimeAddr(0x2000));
    let mapping = Mapping::new(start, end, FileOffset(0), path.into(), hint);
    files.open(&ProcFs::host(), Tgid(std::process::id()), &mapping, &named)
}

fn inode_of(path: &Path) -> FileHint {
    let metadata = std::fs::metadata(path).unwrap();
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    FileHint::Inode { major, minor, inode: metadata.ino() }
}

/// Programs with these names, of different code but with one build id.
fn programs<const N: usize>(folder: &Path, names: [&str; N]) -> [PathBuf; N] {
    let mut vaddr = 0x1000;
    names.map(|name| {
        vaddr += 0x1000;
        let path = folder.join(name);
        let elf = TinyElf::new().load(0, vaddr, 64, 5).gnu_build_id(&BUILD_ID);
        std::fs::write(&path, elf.bytes()).unwrap();
        path
    })
}

#[test]
fn a_file_is_what_it_holds_not_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let [program, forged] = programs(folder.path(), ["program", "forged"]);
    let copy = folder.path().join("copy");
    std::fs::copy(&program, &copy).unwrap();
    let mut files = FileTable::new(16);
    let first = open(&mut files, &program, FileHint::BuildId(BUILD_ID.into()));
    assert_eq!(first, Opened::Elf(FileId(0)));
    assert_eq!(open(&mut files, &program, inode_of(&program)), first);
    assert_eq!(open(&mut files, &copy, inode_of(&copy)), first);
    let forged = open(&mut files, &forged, FileHint::BuildId(BUILD_ID.into()));
    assert_eq!(forged, Opened::Elf(FileId(1)), "a copied build id does not lend names");
}

#[test]
fn a_range_that_was_mapped_anew_since_does_not_hide_the_file_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let [program] = programs(folder.path(), ["program"]);
    let newer = folder.path().join("newer");
    std::fs::write(&newer, TinyElf::new().load(0, 0x9000, 64, 5).gnu_build_id(&[9; 4]).bytes()).unwrap();
    let ranges = folder.path().join("7/map_files");
    std::fs::create_dir_all(&ranges).unwrap();
    std::os::unix::fs::symlink(&newer, ranges.join("1000-2000")).unwrap();
    let hint = FileHint::BuildId(BUILD_ID.into());
    let named = NamedFile { path: program.clone().into(), hint: hint.clone() };
    let mapping =
        Mapping::new(RuntimeAddr(0x1000), RuntimeAddr(0x2000), FileOffset(0), program.clone().into(), hint);
    let mut files = FileTable::new(16);
    let opened = files.open(&ProcFs::at(folder.path()), Tgid(7), &mapping, &named);
    let Opened::Elf(id) = opened else { panic!("{opened:?}") };
    assert_eq!(files.get(id).unwrap().path, program);
}

#[test]
fn another_file_in_the_place_of_the_mapped_one_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let [program, other] = programs(folder.path(), ["program", "other"]);
    let mut files = FileTable::new(16);
    let unopenable = Opened::Unopenable(FileId(0));
    assert_eq!(open(&mut files, &program, FileHint::BuildId([9; 4].into())), unopenable);
    assert_eq!(open(&mut files, &program, inode_of(&other)), unopenable);
    assert_eq!(open(&mut files, &program, FileHint::None), unopenable);
    assert!(files.get(FileId(0)).is_some_and(|file| file.file.is_none() && file.path == program));
}

/// Maps a page of a file for as long as the test runs; its first address.
#[expect(unsafe_code, reason = "std has no call to map a file")]
fn mapped(file: &File) -> u64 {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    // SAFETY: a new mapping at an address of the kernel's choice, which nobody reads or writes.
    let start = unsafe { mmap(std::ptr::null_mut(), 4096, ProtFlags::READ, MapFlags::PRIVATE, file, 0) };
    u64::try_from(start.unwrap().addr()).unwrap()
}

#[test]
fn a_range_that_was_mapped_anew_does_not_give_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let [program] = programs(folder.path(), ["program"]);
    let start = mapped(&File::open(&program).unwrap());
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to open files by their mapping");
        return;
    }
    let mut files = FileTable::new(16);
    let mut open = |build_id: [u8; 4]| {
        let named = NamedFile { path: "/gone".into(), hint: FileHint::BuildId(build_id.into()) };
        let (start, end, offset) = (RuntimeAddr(start), RuntimeAddr(start + 4096), FileOffset(0));
        let mapping = Mapping::new(start, end, offset, named.path.clone(), named.hint.clone());
        files.open(&ProcFs::host(), Tgid(std::process::id()), &mapping, &named)
    };
    assert_eq!(open([9; 4]), Opened::Unopenable(FileId(1)));
    assert_eq!(open(BUILD_ID), Opened::Elf(FileId(0)));
}

#[test]
fn no_more_descriptors_are_kept_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let paths = programs(folder.path(), ["a", "b", "c"]);
    // One for the root that they share, and one for each; a fourth file might come with another root.
    let mut files = FileTable::new(4);
    for path in &paths {
        open(&mut files, path, inode_of(path));
    }
    let descriptors = |file: &CodeFile| usize::from(file.file.is_some()) + usize::from(file.root.is_some());
    let kept = [0, 1, 2].map(|id| files.get(FileId(id)).map(|file| descriptors(file)));
    assert_eq!(kept, [Some(2), Some(2), Some(0)]);
    assert!(files.get(FileId(2)).is_some_and(|file| file.elf.is_some()), "known all the same");
}

const SECOND: u64 = 1_000_000_000;

fn at(second: u64) -> MonotonicNanos {
    MonotonicNanos(second * SECOND)
}

/// Passes time; gives what was forgotten.
fn sweep(files: &mut FileTable, second: u64, mapped: &[u32]) -> Vec<u32> {
    let mut forgotten: Vec<u32> =
        (files.sweep(at(second), || mapped.iter().copied().map(FileId).collect()).into_iter().map(|id| id.0))
            .collect();
    forgotten.sort_unstable();
    forgotten
}

fn is_open(files: &FileTable, id: u32) -> Option<bool> {
    files.get(FileId(id)).map(|file| file.file.is_some())
}

/// A mapping that was found to be of this file.
fn mapping_of(id: u32) -> Mapping {
    let (start, end) = (RuntimeAddr(0x1000), RuntimeAddr(0x2000));
    let mapping = Mapping::new(start, end, FileOffset(0), "/".into(), FileHint::None);
    Mapping { backing: crate::process::mappings::Backing::File(FileId(id)), ..mapping }
}

fn reopen(files: &mut FileTable, id: u32) -> bool {
    files.reopen(FileId(id), &ProcFs::host(), Tgid(std::process::id()), &mapping_of(id))
}

#[test]
fn a_file_that_is_not_sampled_is_closed_then_forgotten_unless_somebody_maps_it() {
    let folder = tempfile::tempdir().unwrap();
    let paths = programs(folder.path(), ["sampled", "mapped", "neither"]);
    let mut files = FileTable::new(16);
    sweep(&mut files, 1000, &[]);
    for path in &paths {
        open(&mut files, path, inode_of(path));
    }
    for second in (1001..2000).step_by(15) {
        assert!(sweep(&mut files, second, &[1]).is_empty());
        assert_eq!([0, 1, 2].map(|id| is_open(&files, id)), [Some(true); 3], "no cut: {second}");
    }
    let mut forgotten = Vec::new();
    for second in (2000..2700).step_by(15) {
        files.begin_segment();
        files.mark_used(FileId(0));
        forgotten.extend(sweep(&mut files, second, &[1]));
        let expected = [Some(true), Some(false), None];
        if second > 2060 {
            assert_eq!([0, 1, 2].map(|id| is_open(&files, id)), expected, "{second}");
        }
    }
    assert_eq!(forgotten, [2]);
    assert_eq!(files.descriptors(), 2, "a file and its root");
    assert_eq!(open(&mut files, &paths[2], inode_of(&paths[2])), Opened::Elf(FileId(3)), "a new id");
    assert_eq!(open(&mut files, &paths[1], inode_of(&paths[1])), Opened::Elf(FileId(1)));
}

#[test]
fn a_closed_file_is_opened_again_if_it_is_still_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [same, other] = programs(folder.path(), ["same", "other"]);
    let mut files = FileTable::new(16);
    for path in [&same, &other] {
        open(&mut files, path, inode_of(path));
    }
    files.begin_segment();
    sweep(&mut files, 1, &[0, 1]);
    files.begin_segment();
    sweep(&mut files, 500, &[0, 1]);
    assert_eq!([0, 1].map(|id| is_open(&files, id)), [Some(false); 2]);
    std::fs::remove_file(&other).unwrap();
    std::fs::copy(&same, &other).unwrap();
    assert!([0, 1].iter().all(|id| files.mark_used(FileId(*id))));
    assert_eq!([0, 1].map(|id| reopen(&mut files, id)), [true, false]);
    assert_eq!([0, 1].map(|id| is_open(&files, id)), [Some(true), Some(false)]);
    assert!(!files.mark_used(FileId(1)), "not tried again in this segment");
    files.begin_segment();
    sweep(&mut files, 600, &[0, 1]);
    files.begin_segment();
    assert!(files.mark_used(FileId(1)));
}

#[test]
fn a_new_file_takes_the_descriptor_of_the_one_that_was_not_sampled_for_longest() {
    let folder = tempfile::tempdir().unwrap();
    let paths = programs(folder.path(), ["a", "b", "c", "d"]);
    let mut files = FileTable::new(4);
    for (second, path) in (1..).zip(&paths[..2]) {
        sweep(&mut files, second, &[]);
        open(&mut files, path, inode_of(path));
    }
    sweep(&mut files, 10, &[]);
    files.begin_segment();
    sweep(&mut files, 11, &[]);
    files.mark_used(FileId(0));
    open(&mut files, &paths[2], inode_of(&paths[2]));
    assert_eq!([0, 1, 2].map(|id| is_open(&files, id)), [Some(true), Some(false), Some(true)]);
    open(&mut files, &paths[3], inode_of(&paths[3]));
    assert_eq!(is_open(&files, 3), Some(false), "the others are needed");
    // Whoever was given a file before it was closed still holds its descriptor.
    files.begin_segment();
    sweep(&mut files, 12, &[]);
    files.begin_segment();
    let held: Vec<_> = [0, 2].iter().map(|id| Arc::clone(files.get(FileId(*id)).unwrap())).collect();
    assert!(!reopen(&mut files, 3) && files.descriptors() == 3);
    drop(held);
    assert!(reopen(&mut files, 3) && files.descriptors() == 3);
}

#[test]
fn thousands_of_files_come_and_go_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let proc = tempfile::tempdir().unwrap();
    let mut files = FileTable::new(64);
    let (mut last, mut ids) = (0, std::collections::HashSet::new());
    for number in 0..12_000u32 {
        let path = folder.path().join(number.to_string());
        let elf = TinyElf::new().load(0, 0x1000, 64, 5).gnu_build_id(&number.to_ne_bytes());
        std::fs::write(&path, elf.bytes()).unwrap();
        let hint = FileHint::BuildId(number.to_ne_bytes().into());
        let named = NamedFile { path: path.as_os_str().into(), hint };
        let opened = files.open(&ProcFs::at(proc.path()), Tgid(number), &mapping_of(0), &named);
        let Opened::Elf(id) = opened else { panic!("{opened:?}") };
        assert!(ids.insert(id), "{id:?} came again");
        std::fs::remove_file(&path).unwrap();
        // Another that is gone before it can be looked at.
        files.open(
            &ProcFs::at(proc.path()),
            Tgid(number),
            &mapping_of(0),
            &NamedFile { path: "/gone".into(), hint: FileHint::None },
        );
        if number % 100 == 99 {
            files.begin_segment();
            sweep(&mut files, 1 + u64::from(number) / 10, &[]);
        }
        assert!(files.descriptors() <= 64);
        last = last.max(files.len());
    }
    // 10 a second, forgotten after a minute where there are many, else after ten.
    assert!(last < 6_200, "{last}");
}

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
