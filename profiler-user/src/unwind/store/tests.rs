//! Asked, made, kept, let go, unusable.

use profiler_common::unwind_row::UnwindRow;

use super::*;
use crate::elf::{ElfHeaders, vdso};
use crate::unwind::compact::Page;
use crate::unwind::{Budget, RowStats, read_rows};

fn key(number: u32) -> RowKey {
    RowKey::File(FileId(number))
}

/// Rows of this many bytes, more or less.
fn rows_of(bytes: usize) -> FileRows {
    let rows = vec![UnwindRow::default(); bytes / size_of::<UnwindRow>()];
    FileRows::new(Vec::new(), vec![Page { number: 0, first_row: 0 }], rows, RowStats::default())
}

fn is_ready(store: &RowStore, key: RowKey) -> bool {
    store.kept.contains_key(&key)
}

#[test]
fn the_least_recently_asked_goes_first_and_the_newest_never() {
    let files = FileTable::new(0);
    let mut store = RowStore::over(Arc::default(), 10_000);
    for number in 0..3 {
        store.keep(key(number), Some(Ok(rows_of(3000))));
    }
    assert!(matches!(store.rows(key(0), &files), RowsAt::Ready(_)));
    store.keep(key(3), Some(Ok(rows_of(3000))));
    assert_eq!([0, 1, 2, 3].map(|number| is_ready(&store, key(number))), [true, false, true, true]);
    store.keep(key(4), Some(Ok(rows_of(20_000))));
    assert_eq!([0, 2, 3, 4].map(|number| is_ready(&store, key(number))), [false, false, false, true]);
    store.keep(key(5), Some(Ok(rows_of(100))));
    assert!(!is_ready(&store, key(4)) && is_ready(&store, key(5)));
    let held: usize = store.kept.values().map(|kept| kept.rows.bytes()).sum();
    assert_eq!(store.kept_bytes, held);
}

#[test]
fn what_cannot_be_used_has_its_reason_for_ever() {
    let files = FileTable::new(0);
    let mut store = RowStore::over(Arc::default(), 10_000);
    assert!(matches!(store.rows(key(7), &files), RowsAt::Never(NoRows::NotOpen)));
    store.queue.ask(key(8), 1, Job::Vdso);
    assert!(matches!(store.rows(key(8), &files), RowsAt::Pending));
    let (asked, _) = store.queue.next().unwrap();
    store.queue.finish(asked, Some(Err(UnwindError::GoTable { why: "cut" })), RowsWork::default());
    assert!(!store.is_idle() && store.wait(Duration::ZERO));
    assert!(matches!(store.rows(key(8), &files), RowsAt::Pending), "not collected yet");
    store.collect();
    let RowsAt::Never(why) = store.rows(key(8), &files) else { panic!() };
    assert_eq!(why.to_string(), "Go's function table: cut");
    assert_eq!(store.unusable().map(|(key, _)| key).collect::<Vec<_>>(), [key(8)]);
    assert_eq!(store.unusable_met(), 1);
    store.forget(FileId(8));
    assert_eq!((store.unusable().count(), store.unusable_met()), (0, 1), "what was counted stays so");
    assert!(store.is_idle());
}

#[test]
fn the_worker_makes_the_rows_of_the_vdso() {
    let files = FileTable::new(0);
    let proc = ProcFs::host();
    let mut store = RowStore::start(proc.clone(), Clock::host(), None, 1 << 20, || {}).unwrap();
    assert!(matches!(store.rows(RowKey::Vdso, &files), RowsAt::Pending));
    assert!(store.wait(Duration::from_secs(60)));
    store.collect();
    let RowsAt::Ready(rows) = store.rows(RowKey::Vdso, &files) else { panic!() };
    let image = vdso::image_of_this_process(&proc).unwrap().unwrap();
    let expected = read_rows(&*image, &ElfHeaders::read(&*image).unwrap(), Budget::default()).unwrap();
    assert_eq!(*rows, expected);
    assert!(rows.stats().functions >= 3);
}
