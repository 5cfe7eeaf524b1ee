//! Functions as the builder takes them → pages as the kernel half gets them.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use expect_test::{Expect, expect};
use profiler_common::address::ElfVaddr;
use profiler_common::unwind_rule::{Base, Rule, RuleKind};

use crate::elf::ElfHeaders;
use crate::host::MonotonicNanos;
use crate::unwind::builder::Builder;
use crate::unwind::{Budget, FileRows, RuleTable, read_rows};

fn sp(offset: i32) -> Rule {
    Rule::register(Base::StackPointer, offset)
}

/// First address, bytes, and the offset of the CFA from each address on.
type Function<'a> = (u64, u64, &'a [(u64, i32)]);

fn build(functions: &[Function<'_>]) -> FileRows {
    let text = 0..1 << 32;
    let mut builder = Builder::new(Budget::default(), [text].into());
    for (start, end, rows) in functions {
        assert!(builder.begin(*start, *end));
        rows.iter().for_each(|(at, offset)| builder.row(*at, sp(*offset)).unwrap());
    }
    builder.finish().unwrap()
}

fn check(rows: &FileRows, expected: Expect) {
    let mut text = String::new();
    for page in rows.pages() {
        for row in rows.page(page.number) {
            let rule = rows.rules()[usize::from(row.rule)];
            let rule =
                if rule.kind() == RuleKind::Gap { "gap".to_owned() } else { rule.offset().to_string() };
            writeln!(text, "{:x}:{:04x} {rule}", page.number, row.pc_in_page).unwrap();
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn a_page_begins_with_the_rule_in_force() {
    let rows = build(&[(0x1_fff0, 0x4_0010, &[(0x1_fff0, 8), (0x1_fffc, 16), (0x4_0000, 24)])]);
    check(
        &rows,
        expect![[r#"
            1:0000 gap
            1:fff0 8
            1:fffc 16
            2:0000 16
            3:0000 16
            4:0000 24
            4:0010 gap
        "#]],
    );
    let at = [0x1_ffef, 0x1_fff0, 0x2_0000, 0x3_ffff, 0x4_0000, 0x4_0010, 0x5_0000]
        .map(|at| rows.rule_at(ElfVaddr(at)));
    assert_eq!(at, [Rule::GAP, sp(8), sp(16), sp(16), sp(24), Rule::GAP, Rule::GAP]);
}

#[test]
fn padding_and_repeated_rules_have_no_rows_and_larger_holes_do() {
    let one: &[(u64, i32)] = &[(0x100, 8), (0x104, 8), (0x108, 16), (0x10c, 8)];
    let rows = build(&[(0x100, 0x111, one), (0x120, 0x130, &[(0x120, 8)]), (0x140, 0x141, &[(0x140, 8)])]);
    check(
        &rows,
        expect![[r#"
            0:0000 gap
            0:0100 8
            0:0108 16
            0:010c 8
            0:0130 gap
            0:0140 8
            0:0141 gap
        "#]],
    );
}

#[test]
fn what_an_earlier_table_said_stays() {
    let text = 0..1 << 32;
    let mut builder = Builder::new(Budget::default(), [text].into());
    builder.function(0x100, 0x200, sp(8)).unwrap();
    builder.seal();
    assert!(!builder.begin(0x180, 0x300));
    builder.function(0x80, 0x300, sp(16)).unwrap();
    builder.function(0x200, 0x300, sp(24)).unwrap();
    let rows = builder.finish().unwrap();
    let at = [0x80, 0xff, 0x100, 0x1ff, 0x200].map(|at| rows.rule_at(ElfVaddr(at)));
    assert_eq!(at, [sp(16), sp(16), sp(8), sp(8), sp(24)]);
}

#[test]
fn files_share_one_table() {
    let mut table = RuleTable::new();
    let first = build(&[(0x100, 0x200, &[(0x100, 8), (0x110, 16)])]);
    let second = build(&[(0x100, 0x200, &[(0x100, 16), (0x110, 32)])]);
    let now = MonotonicNanos(0);
    let numbers = |table: &mut RuleTable, file| -> Vec<u16> {
        table.take_page(file, 0, now).unwrap().rows.iter().map(|row| row.rule).collect()
    };
    assert_eq!(numbers(&mut table, &first), [RuleTable::GAP, 1, 2, RuleTable::GAP]);
    assert_eq!(numbers(&mut table, &second), [RuleTable::GAP, 2, 3, RuleTable::GAP]);
    assert_eq!(table.rules()[1..], [sp(8), sp(16), sp(32)]);
    assert!(table.take_page(&second, 1, now).unwrap().rows.is_empty());
}

#[test]
fn the_vdso_is_read_from_memory() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
    let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, start).unwrap();
    let rows = read_rows(&bytes[..], &ElfHeaders::read(&bytes[..]).unwrap(), Budget::default()).unwrap();
    assert!(rows.stats().functions >= 3, "{:?}", rows.stats());
}
