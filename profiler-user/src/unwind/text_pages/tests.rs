//! Pages loaded, shared, refused, unloaded by heat; files let go.

use std::cell::RefMut;

use profiler_common::address::ElfVaddr;
use profiler_common::unwind_rule::{Base, Rule};

use super::*;
use crate::elf::fixture::TinyElf;
use crate::process::FileId;
use crate::unwind::builder::Builder;
use crate::unwind::tables::memory::{Held, MemoryTables};

const SECOND: u64 = 1_000_000_000;

fn at(second: u64) -> MonotonicNanos {
    MonotonicNanos(second * SECOND)
}

fn key(number: u32) -> RowKey {
    RowKey::File(FileId(number))
}

/// A file with functions of 16 bytes each on its pages 0 to 2; page 1 is a hole.
fn file() -> Arc<FileRows> {
    rows_with(&[(0, 100), (0x2_0000, 300)])
}

/// So many functions from each of these addresses on.
fn rows_with(functions: &[(u64, u64)]) -> Arc<FileRows> {
    let text = 0..1 << 32;
    let mut builder = Builder::new(Budget::default(), [text].into());
    for (start, many) in functions {
        for function in 0..*many {
            let at = start + function * 16;
            let offset = i32::try_from(function % 30).unwrap() * 8;
            builder.function(at, at + 16, Rule::register(Base::StackPointer, 8 + offset)).unwrap();
        }
    }
    Arc::new(builder.finish().unwrap())
}

/// Pages over tables in memory.
struct Fixture {
    pages: TextPages,
    tables: MemoryTables,
}

impl Fixture {
    fn with_blocks(blocks: u32) -> Self {
        Self { pages: TextPages::new(blocks), tables: MemoryTables::default() }
    }

    fn reserve(&mut self, number: u32, span: Range<u32>, now: MonotonicNanos) -> Option<u32> {
        self.pages.reserve(&mut self.tables, key(number), &span, now)
    }

    /// Gives the pages that found no room.
    fn load(&mut self, wishes: &[(u32, u32, &Arc<FileRows>, u32)], now: MonotonicNanos) -> Vec<Wish> {
        let wish = |&(file, page, rows, heat): &(u32, u32, &Arc<FileRows>, u32)| Wish {
            key: key(file),
            page,
            rows: Some(Arc::clone(rows)),
            heat,
        };
        self.pages.load(&mut self.tables, wishes.iter().map(wish).collect(), now).unwrap()
    }

    fn make_room(&mut self, left: &[Wish], now: MonotonicNanos) -> u64 {
        self.pages.make_room(&mut self.tables, left, now)
    }

    fn held(&self) -> RefMut<'_, Held> {
        self.tables.0.borrow_mut()
    }

    fn page(&self, slot: u32) -> TextPage {
        self.held().pages.get(&slot).copied().unwrap_or_default()
    }

    /// All rows that are neither loaded nor the gap.
    fn free_rows(&mut self) -> u32 {
        let mut rows = 0;
        while self.pages.rows.take(1, at(1_000_000)).is_some() {
            rows += 1;
        }
        rows
    }
}

#[test]
fn pages_of_a_round_are_one_write_for_each_block_and_holes_share_a_row() {
    let mut fixture = Fixture::with_blocks(2);
    let rows = file();
    assert_eq!(fixture.reserve(1, 0..3, at(0)), Some(0));
    assert_eq!(fixture.reserve(2, 7..9, at(0)), Some(3u32.wrapping_sub(7)));
    assert_eq!(fixture.reserve(1, 0..3, at(0)), Some(0));
    assert!(fixture.pages.is_wanted(key(1), 2) && !fixture.pages.is_wanted(key(1), 3));
    let wishes = [(1, 0, &rows, 1), (1, 1, &rows, 1), (1, 2, &rows, 1), (2, 8, &rows, 1), (3, 0, &rows, 1)];
    assert!(fixture.load(&wishes, at(0)).is_empty());
    assert_eq!(fixture.held().block_writes, 1);
    assert_eq!(fixture.held().loaded(), 4);
    assert_eq!((fixture.page(1), fixture.page(1).rows), (fixture.page(4), 1));
    assert_eq!(fixture.page(2).rows, 301, "one for each function and one behind them");
    assert!(!fixture.pages.is_wanted(key(1), 2));
    fixture.load(&wishes, at(0));
    assert_eq!(fixture.held().block_writes, 1, "what is loaded is not loaded again");
}

#[test]
fn the_coldest_page_makes_room_and_only_for_a_hotter_one() {
    let mut fixture = Fixture::with_blocks(1);
    // Of such files eight fill the block.
    let halves = rows_with(&[(0, 4000)]);
    let many = 32_768 / halves.page(0).len();
    let files: Vec<u32> = (0..u32::try_from(many).unwrap()).collect();
    for file in &files {
        fixture.reserve(*file, 0..1, at(0)).unwrap();
        assert!(fixture.load(&[(*file, 0, &halves, 10)], at(0)).is_empty());
        fixture.held().pages.get_mut(file).unwrap().touched = 100 - file;
    }
    fixture.reserve(99, 0..1, at(1));
    let left = fixture.load(&[(99, 0, &halves, 3)], at(1));
    assert_eq!(fixture.make_room(&left, at(1)), 0, "all are hotter");
    let left = fixture.load(&[(99, 0, &halves, 1000)], at(2));
    assert_eq!(fixture.make_room(&left, at(1)), 0, "not twice a second");
    let unloaded = fixture.make_room(&left, at(2));
    assert_eq!(unloaded, 2);
    let coldest: Vec<u32> = files.iter().rev().take(2).copied().collect();
    for file in &files {
        assert_eq!(fixture.page(*file).rows == 0, coldest.contains(file), "{file}");
    }
    assert_eq!(fixture.load(&[(99, 0, &halves, 1000)], at(2)).len(), 1, "a tick may still look");
    assert!(fixture.pages.is_cooling());
    assert!(fixture.load(&[(99, 0, &halves, 1000)], at(3)).is_empty());
    assert!(fixture.pages.is_wanted(key(coldest[0]), 0));
}

#[test]
fn heat_fades() {
    let mut fixture = Fixture::with_blocks(1);
    let rows = file();
    fixture.reserve(1, 0..3, at(0));
    fixture.load(&[(1, 0, &rows, 64)], at(0));
    let heat = |fixture: &mut Fixture| {
        fixture.pages.look(&fixture.tables);
        fixture.pages.loaded[&0].heat
    };
    assert_eq!(heat(&mut fixture), 32);
    fixture.held().pages.get_mut(&0).unwrap().touched = 5;
    assert_eq!([(); 4].map(|()| heat(&mut fixture)), [21, 10, 5, 2]);
    fixture.held().pages.get_mut(&0).unwrap().touched = 4;
    assert_eq!(heat(&mut fixture), 1, "two CPUs counted at once: it went back by one");
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let mut fixture = Fixture::with_blocks(2);
    let rows = file();
    fixture.reserve(1, 0..3, at(0));
    fixture.held().blocks_max = Some(0);
    assert_eq!(fixture.load(&[(1, 0, &rows, 1), (1, 1, &rows, 1), (1, 2, &rows, 1)], at(0)).len(), 3);
    assert_eq!(fixture.held().loaded(), 0);
    fixture.held().blocks_max = None;
    assert!(fixture.load(&[(1, 1, &rows, 1)], at(0)).is_empty(), "the gap's row comes with its block");
    assert_eq!(fixture.free_rows(), 2 * 32_768 - 1);
}

#[test]
fn files_that_nobody_maps_give_their_slots_to_others() {
    let mut fixture = Fixture::with_blocks(1);
    let rows = file();
    for number in 0..4 {
        assert!(fixture.reserve(number, 0..16_384, at(0)).is_some());
        fixture.pages.add_user(key(number));
    }
    fixture.load(&[(2, 0, &rows, 1), (2, 1, &rows, 1)], at(0));
    assert_eq!(fixture.reserve(9, 0..1, at(0)), None);
    assert!(!fixture.pages.is_cooling(), "all are in use");
    for number in [2, 1, 3] {
        fixture.pages.remove_user(key(number));
    }
    assert_eq!(fixture.reserve(9, 0..1, at(1)), None);
    assert_eq!(fixture.held().loaded(), 0, "the file that is unused longest goes");
    assert_eq!(fixture.reserve(9, 0..1, at(2)), Some(2 * 16_384));
    assert!(fixture.pages.runs.contains_key(&key(1)) && !fixture.pages.runs.contains_key(&key(2)));
}

#[test]
fn a_file_that_is_forgotten_leaves_nothing_behind() {
    let mut fixture = Fixture::with_blocks(1);
    let rows = file();
    fixture.reserve(1, 0..3, at(0));
    fixture.pages.add_user(key(1));
    fixture.load(&[(1, 0, &rows, 1), (1, 1, &rows, 1), (1, 2, &rows, 1)], at(0));
    fixture.pages.forget(&mut fixture.tables, key(1), at(1));
    assert_eq!(fixture.held().loaded(), 3, "somebody maps it");
    fixture.pages.remove_user(key(1));
    fixture.pages.forget(&mut fixture.tables, key(1), at(1));
    assert_eq!((fixture.held().loaded(), fixture.pages.runs.len()), (0, 0));
    assert_eq!(fixture.pages.rules.room(), 65_535, "all but the gap's");
    assert_eq!(fixture.free_rows(), 32_768 - 1);
}

/// So many functions that each has a rule of its own, which begin with `first`.
fn crafted(first: i32) -> Arc<FileRows> {
    let text = 0..1 << 32;
    let mut builder = Builder::new(Budget::default(), [text].into());
    for (at, size) in (0..).step_by(16).zip(first..first + 4000) {
        builder.function(at, at + 16, Rule::register(Base::StackPointer, size * 8)).unwrap();
    }
    Arc::new(builder.finish().unwrap())
}

#[test]
fn files_with_rules_of_their_own_cannot_keep_others_out() {
    let mut fixture = Fixture::with_blocks(16);
    for number in 0..20 {
        fixture.reserve(number, 0..1, at(0)).unwrap();
        let left =
            fixture.load(&[(number, 0, &crafted(10_000 + i32::try_from(number).unwrap() * 4000), 2)], at(0));
        assert_eq!(left.len(), usize::from(number >= 16), "{number}: the table holds 65,536 rules");
    }
    let common = rows_with(&[(0, 4000)]);
    fixture.reserve(99, 0..1, at(1)).unwrap();
    let more = crafted(200_000);
    assert!(fixture.load(&[(99, 0, &common, 5)], at(1)).is_empty(), "30 rules still fit");
    fixture.reserve(100, 0..1, at(1)).unwrap();
    let left = fixture.load(&[(100, 0, &more, 5)], at(1));
    assert_eq!(left.len(), 1);
    assert!(fixture.make_room(&left, at(1)) >= 1);
    assert!(fixture.load(&[(100, 0, &more, 5)], at(2)).is_empty());
}

#[test]
fn the_span_of_a_text_is_that_of_its_executable_segments() {
    let span = |elf: TinyElf| text_span(&ElfHeaders::read(&elf.bytes()[..]).unwrap());
    let two = TinyElf::new().load(0, 0, 0x9_0000, 4).load(0x1000, 0x3_1000, 0x2_0000, 5);
    assert_eq!(span(two.clone()), Some(3..6));
    assert_eq!(span(two.load(0x8_0000, 0x8_0000, 1, 5)), Some(3..9));
    assert_eq!(span(TinyElf::new().load(0, 0, 0x1000, 4)), None);
    assert_eq!(span(TinyElf::new().load(0, 0, 1 << 31, 5)), None, "more than a gibibyte");
    assert_eq!(span(TinyElf::new().load(0, u64::MAX - 5, 100, 5)), None);
    let mut foreign = TinyElf::new().load(0, 0, 0x1000, 5).bytes();
    foreign[18] = 3; // EM_386
    assert_eq!(text_span(&ElfHeaders::read(&foreign[..]).unwrap()), None);
}

#[test]
fn loaded_rows_say_what_the_files_rows_say() {
    let mut fixture = Fixture::with_blocks(1);
    let rows = file();
    fixture.reserve(1, 0..3, at(0));
    fixture.load(&[(1, 0, &rows, 1), (1, 1, &rows, 1), (1, 2, &rows, 1)], at(0));
    let held = fixture.held();
    for vaddr in (0..0x3_0000u64).step_by(8) {
        let page = held.pages[&u32::try_from(vaddr >> 16).unwrap()];
        let rows_of = &held.blocks[&page.block][page.first_row as usize..][..page.rows as usize];
        let row = rows_of.iter().flatten().rfind(|row| u64::from(row.pc_in_page) <= vaddr & 0xffff);
        let rule = held.rules[usize::from(row.unwrap().rule)];
        assert_eq!(rule, rows.rule_at(ElfVaddr(vaddr)), "{vaddr:x}");
    }
}
