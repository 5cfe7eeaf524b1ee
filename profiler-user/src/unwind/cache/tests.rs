//! A folder of rows: who may write to it, what is in it, what goes first.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use profiler_common::unwind_row::UnwindRow;
use profiler_common::unwind_rule::Rule;

use super::*;
use crate::elf::ElfHeaders;
use crate::elf::fixture::TinyElf;
use crate::unwind::RowStats;
use crate::unwind::cache_format::FileState;
use crate::unwind::compact::Page;

fn key(number: u8) -> CacheKey {
    let elf = TinyElf::new().load(0, 0, 1, 5).gnu_build_id(&[number; 20]).bytes();
    let state = FileState { bytes: 1, owner: 0, device: 1, inode: 2, changed: (3, 4) };
    CacheKey::of(&ElfHeaders::read(&elf[..]).unwrap(), state)
}

/// Some 40 KB.
fn rows() -> FileRows {
    let row = |pc_in_page| UnwindRow { pc_in_page, rule: 0 };
    let pages = vec![Page { number: 1, first_row: 0 }];
    FileRows::new(
        vec![Rule::GAP],
        pages,
        (0..10_000).map(row).collect(),
        RowStats { rules: 1, pages: 1, rows: 10_000, ..RowStats::default() },
    )
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn rows_are_there_at_the_next_start_and_for_us_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let mut cache = RowCache::open(&path, CACHE_BYTES_MAX).unwrap();
    assert_eq!(cache.load(&key(1)), None);
    cache.keep(&key(1), &rows());
    drop(cache);
    let cache = RowCache::open(&path, CACHE_BYTES_MAX).unwrap();
    assert_eq!(cache.load(&key(1)), Some(rows()));
    assert_eq!(cache.load(&key(2)), None);
    assert_eq!(names(&path), [key(1).file_name()]);
    assert_eq!((mode(&path), mode(&path.join(key(1).file_name()))), (0o700, 0o600));
    assert_eq!(cache.bytes, 40_960);
}

#[test]
fn a_damaged_file_is_no_rows_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let mut cache = RowCache::open(&path, CACHE_BYTES_MAX).unwrap();
    cache.keep(&key(1), &rows());
    let file = path.join(key(1).file_name());
    let mut bytes = fs::read(&file).unwrap();
    bytes[20_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(cache.load(&key(1)), None);
    assert!(names(&path).is_empty());
    // Neither a link nor a pipe is followed, nor waited for.
    fs::write(folder.path().join("elsewhere"), encode(&key(1), &rows())).unwrap();
    symlink("../elsewhere", &file).unwrap();
    assert_eq!(cache.load(&key(1)), None);
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(cache.load(&key(1)), None);
    symlink("../elsewhere", &file).unwrap();
    cache.keep(&key(1), &rows());
    assert_eq!(cache.load(&key(1)), Some(rows()));
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("somebody's"), "").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let mut cache = RowCache::open(folder.path(), 40_960 * 4).unwrap();
    for number in 0..4 {
        cache.keep(&key(number), &rows());
        let file = File::open(folder.path().join(key(number).file_name())).unwrap();
        let then = Timespec { tv_sec: 1000 - i64::from(number), tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: then, last_modification: then }).unwrap();
    }
    assert!(cache.load(&key(3)).is_some(), "used, so that it is the newest now");
    cache.keep(&key(4), &rows());
    let kept = [0, 1, 2, 3, 4].map(|number| folder.path().join(key(number).file_name()).exists());
    assert_eq!(kept, [true, false, false, true, true]);
    assert_eq!(cache.bytes, 3 * 40_960);
    assert!(folder.path().join("somebody's").exists());
    let smaller = RowCache::open(folder.path(), 40_960).unwrap();
    assert_eq!((smaller.bytes, names(folder.path()).len()), (0, 1));
}

#[test]
fn a_folder_that_others_have_a_hand_in_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let why = |path: &Path| RowCache::open(path, 1 << 20).unwrap_err().to_string();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    let link = folder.path().join("link");
    symlink(&own, &link).unwrap();
    assert!(why(&link).ends_with("link: it is not a folder"), "{}", why(&link));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(why(&file).ends_with("file: it is not a folder"));
    for open in [0o720, 0o702, 0o1777] {
        fs::set_permissions(&own, Permissions::from_mode(open)).unwrap();
        assert!(why(&own).ends_with("others may write to it"), "{open:o}");
    }
    fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
    assert!(RowCache::open(&own, 1 << 20).is_ok());
    let missing = RowCache::open(&folder.path().join("a/b"), 1 << 20);
    assert!(matches!(missing, Err(CacheError::Unavailable { .. })));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&own, Some(12_345), None).unwrap();
        assert!(why(&own).ends_with("it belongs to somebody else"));
    }
}

#[test]
fn rows_that_cannot_be_written_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let mut cache = RowCache::open(&path, CACHE_BYTES_MAX).unwrap();
    fs::remove_dir(&path).unwrap();
    cache.keep(&key(1), &rows());
    assert_eq!(cache.load(&key(1)), None);
    let mut tiny = RowCache::open(&path, 10_000).unwrap();
    tiny.keep(&key(1), &rows());
    assert!(names(&path).is_empty(), "larger than half of all");
}
