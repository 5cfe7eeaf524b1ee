//! Damaged and hostile unwind information: an answer within bounds for any bytes.

use gimli::{BaseAddresses, EhFrame, EndianSlice, NativeEndian};
use profiler_common::address::ElfVaddr;
use profiler_common::unwind_rule::{Base, Rule, RuleKind, Unsupported};

use crate::elf::fixture::Fixture;
use crate::elf::sections::Sections;
use crate::elf::{ElfHeaders, Machine, read_exactly};
use crate::unwind::builder::Builder;
use crate::unwind::go_pclntab::GoTable;
use crate::unwind::{Budget, FileRows, UnwindError, cfi, go_rows};

const TEXT: u64 = 0x40_0000;
const SMALL: Budget =
    Budget { section_bytes: 1 << 20, work_bytes: 1 << 16, rows: 1000, rules: 64, pages: 16 };

/// A section, entry by entry.
#[derive(Default)]
struct Frame(Vec<u8>);

impl Frame {
    fn entry(mut self, body: &[u8]) -> Self {
        self.0.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        self.0.extend(body);
        self
    }

    /// Absolute addresses, code factor 1, data factor −8, return address in 16, CFA = rsp + 8.
    fn cie(self) -> Self {
        self.entry(b"\0\0\0\0\x01\0\x01\x78\x10\x0c\x07\x08\x90\x01")
    }

    /// A function described by the entry at offset 0.
    fn fde(self, start: u64, bytes: u64, instructions: &[u8]) -> Self {
        let back = u32::try_from(self.0.len() + 4).unwrap();
        let body =
            [&back.to_le_bytes()[..], &start.to_le_bytes(), &bytes.to_le_bytes(), instructions].concat();
        self.entry(&body)
    }

    fn read(&self, budget: Budget) -> Result<FileRows, UnwindError> {
        read(&self.0, budget)
    }
}

fn read(bytes: &[u8], budget: Budget) -> Result<FileRows, UnwindError> {
    let text = TEXT..TEXT + (1 << 40);
    let mut builder = Builder::new(budget, [text].into());
    let mut section = EhFrame::from(EndianSlice::new(bytes, NativeEndian));
    section.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(0x1000);
    cfi::read(section, ".eh_frame", &bases, Machine::X86_64, &mut builder)?;
    builder.finish()
}

fn sp(offset: i32) -> Rule {
    Rule::register(Base::StackPointer, offset)
}

#[test]
fn a_later_function_ends_an_earlier_one_that_it_overlaps() {
    let frame = Frame::default().cie().fde(TEXT + 0x40, 0x10, &[0x0e, 24]).fde(TEXT, 0x100, &[0x0e, 16]);
    let rows = frame.fde(TEXT, 0x100, &[0x0e, 32]).read(SMALL).unwrap();
    let at = |into: u64| rows.rule_at(ElfVaddr(TEXT + into));
    assert_eq!([at(0), at(0x3f), at(0x40), at(0x4f)], [sp(16), sp(16), sp(24), sp(24)]);
    assert_eq!([at(0x50), rows.rule_at(ElfVaddr(TEXT - 1))], [Rule::GAP; 2]);
}

#[test]
fn what_follows_a_damaged_instruction_is_unknown_and_counted() {
    let ten_more = [0x80; 12];
    let unbalanced = [0x0b];
    let too_deep = [0x0a; 17];
    let unknown = [0x3f];
    let backwards = [0x01, 1, 0, 0, 0, 0, 0, 0, 0];
    let past_the_end = [0x0f, 100, 1];
    for bad in
        [&[&[0x0e][..], &ten_more].concat()[..], &unbalanced, &too_deep, &unknown, &backwards, &past_the_end]
    {
        let instructions = [&[0x44, 0x0e, 16, 0x44][..], bad].concat();
        let rows = Frame::default().cie().fde(TEXT, 0x100, &instructions).read(SMALL).unwrap();
        let at = |into: u64| rows.rule_at(ElfVaddr(TEXT + into));
        assert_eq!([at(0), at(4)], [sp(8), sp(16)], "{bad:x?}");
        assert_eq!(at(8), Rule::unsupported(Unsupported::Malformed), "{bad:x?}");
        assert_eq!(
            (rows.stats().functions_malformed, rows.stats().unsupported(Unsupported::Malformed)),
            (1, 1)
        );
    }
}

#[test]
fn entries_that_end_behind_the_section_or_lead_nowhere_are_left_out() {
    let mut frame = Frame::default().cie().fde(TEXT, 0x10, &[]);
    frame.0.extend(0xffff_fff0_u32.to_le_bytes());
    let rows = frame.read(SMALL).unwrap();
    assert_eq!((rows.rule_at(ElfVaddr(TEXT)), rows.stats().functions_malformed), (sp(8), 1));
    assert!(matches!(read(&[0xff; 16], SMALL), Err(UnwindError::Malformed { .. })));
    // A function that is described by itself, and one by an offset before the section, which ends it.
    for (back, last) in [(4u32, sp(8)), (118, Rule::GAP)] {
        let mut frame = Frame::default().cie();
        let body = [&back.to_le_bytes()[..], &TEXT.to_le_bytes(), &16u64.to_le_bytes()].concat();
        frame = frame.entry(&body).fde(TEXT + 0x100, 0x10, &[]);
        let rows = frame.read(SMALL).unwrap();
        assert_eq!(rows.rule_at(ElfVaddr(TEXT)).kind(), RuleKind::Gap, "{back}");
        assert_eq!(rows.rule_at(ElfVaddr(TEXT + 0x100)), last, "{back}");
        assert_eq!(rows.stats().functions_malformed, 1, "{back}");
    }
}

#[test]
fn rows_rules_pages_and_work_are_bounded() {
    let too_large = |frame: Frame| match frame.read(SMALL) {
        Err(UnwindError::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let two_rows = [0x41, 0x0e, 16, 0x41, 0x0e, 8].repeat(600);
    assert_eq!(too_large(Frame::default().cie().fde(TEXT, 1 << 20, &two_rows)), "unwind rows");
    assert_eq!(too_large(Frame::default().cie().fde(TEXT, 1 << 39, &[])), "pages of text");
    let functions = |frame: Frame, i: u64| frame.fde(TEXT + i * 16, 16, &[0; 100]);
    assert_eq!(too_large((0..1000).fold(Frame::default().cie(), functions)), "bytes of unwind instructions");

    let many_rules: Vec<u8> = (0..100).flat_map(|i| [0x41, 0x0e, 8 + i]).collect();
    let rows = Frame::default().cie().fde(TEXT, 0x100, &many_rules).read(SMALL).unwrap();
    assert_eq!(rows.rule_at(ElfVaddr(TEXT + 0x40)).why_unsupported(), Unsupported::TooManyRules);
    assert_eq!(rows.rules().len(), 64);
}

/// Each would be gone through to the end of the section, once for every function that names it.
#[test]
fn entries_without_end_that_lie_over_each_other_are_not_gone_through_one_by_one() {
    // In `.debug_frame` a CIE needs no zero byte: length, mark, version, and a name that ends nowhere. These lie in
    // what a good one has for its instructions.
    let good = b"\xff\xff\xff\xff\x03\0\x01\x78\x10";
    let broken = [&[0x10, 0x10, 0x01, 0x01][..], &[0xff; 4], &[1]].concat();
    let count: u32 = 1000;
    let broken = [good, &broken.repeat(usize::try_from(count).unwrap())[..], &[b'z'; 0x0101_1010]].concat();
    let mut frame = Frame::default().entry(&broken).0;
    for number in 0..count {
        let at = 4 + 9 + number * 9;
        let body = [&at.to_le_bytes()[..], &TEXT.to_le_bytes(), &16u64.to_le_bytes()].concat();
        frame.extend(Frame::default().entry(&body).0);
    }
    let text = TEXT..TEXT + 0x1000;
    let mut builder = Builder::new(Budget::default(), [text].into());
    let mut section = gimli::DebugFrame::from(EndianSlice::new(&frame, NativeEndian));
    section.set_address_size(8);
    let read = cfi::read(section, ".debug_frame", &BaseAddresses::default(), Machine::X86_64, &mut builder);
    let Err(UnwindError::TooLarge { found, limit, .. }) = read else { panic!("{read:?}") };
    assert!(found - limit <= limit / 32, "{found}");
}

#[test]
fn a_thousand_segments_over_each_other_are_one_text() {
    let text = (0..1001).map(|i| if i < 1000 { TEXT - i..TEXT + 0x1000 + i % 7 } else { 0..8 }).collect();
    let mut builder = Builder::new(SMALL, text);
    for (start, is_text) in
        [(0, true), (8, false), (TEXT - 1000, false), (TEXT - 999, true), (TEXT + 0x1005, true)]
    {
        assert_eq!(builder.begin(start, start + 1), is_text, "{start:x}");
    }
    assert!(!builder.begin(TEXT + 0x1006, TEXT + 0x1007));
}

/// A table of Go 1.20 whose functions have one name together.
#[test]
fn a_long_name_of_many_go_functions_is_not_read_for_each() {
    let (functions, name_bytes) = (20_000u32, 4000usize);
    let mut names = [&b"\0"[..], &vec![b'x'; name_bytes], b"\0"].concat();
    names.resize(names.len().next_multiple_of(8), 0);
    let mut table = [0xfffffff1u32.to_le_bytes(), [0, 0, 1, 8]].concat();
    let parts = 8 + 8 * 8;
    let functions_at = parts + u64::try_from(names.len()).unwrap();
    for word in [u64::from(functions), 0, TEXT, parts, functions_at, functions_at, functions_at, functions_at]
    {
        table.extend(word.to_le_bytes());
    }
    table.extend(names);
    let record_at = (functions + 1) * 8;
    for number in 0..=functions {
        table.extend([(number * 16).to_le_bytes(), record_at.to_le_bytes()].concat());
    }
    // The record: start, name, and nothing.
    table.extend([0u32.to_le_bytes(), 1u32.to_le_bytes(), [0; 4], [0; 4]].concat());
    let table = GoTable::parse(&table[..], Some).unwrap();
    let text = TEXT..TEXT + (1 << 30);
    let mut builder = Builder::new(SMALL, [text].into());
    let read = go_rows::read(&table, Machine::X86_64, &mut builder);
    let Err(UnwindError::TooLarge { found, .. }) = read else { panic!("{read:?}") };
    assert!(found < SMALL.work_bytes + 4100, "{found}");
}

#[test]
fn functions_outside_the_text_are_counted_and_left_out() {
    let rows = Frame::default().cie().fde(0, 0x10, &[]).fde(TEXT - 8, 0x10, &[]).read(SMALL).unwrap();
    assert_eq!((rows.stats().functions, rows.stats().functions_outside_text), (0, 2));
    assert!(rows.pages().is_empty());
}

#[test]
fn a_real_section_cut_or_damaged_anywhere_gives_an_answer() {
    let fixture =
        Fixture::compile("#include <stdio.h>\nint main(void) { return puts(\"\"); }", &["-static", "-O1"]);
    let file = fixture.open();
    let sections = Sections::read(&file, &ElfHeaders::read(&file).unwrap()).unwrap();
    let section = sections.named(b".eh_frame").unwrap();
    let bytes = read_exactly(&file, "section", section.at, section.bytes.min(8192)).unwrap();
    for end in 0..bytes.len() {
        read(&bytes[..end], SMALL).ok();
    }
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for value in [0, 0x7f, 0x80, 0xff, bytes[at] ^ 1] {
            damaged[at] = value;
            if value == 0xff || at % 8 == 0 {
                read(&damaged, Budget { work_bytes: 1 << 16, ..SMALL }).ok();
            }
        }
        damaged[at] = bytes[at];
    }
}
