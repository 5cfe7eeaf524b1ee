//! Rows of real programs there and back; and any other bytes.

use profiler_common::address::ElfVaddr;

use super::*;
use crate::elf::fixture::{Fixture, TinyElf};
use crate::unwind::{Budget, read_rows};

const SOURCE: &str = "#include <stdio.h>\nint main(int n, char **v) { return printf(\"%d %s\", n, v[0]); }";

fn rows_of(flags: &[&str]) -> (CacheKey, FileRows) {
    let program = Fixture::compile(SOURCE, flags);
    let file = program.open();
    let headers = ElfHeaders::read(&file).unwrap();
    let key = CacheKey::new(&headers, &file.metadata().unwrap());
    (key, read_rows(&file, &headers, Budget::default()).unwrap())
}

const STATE: FileState = FileState { bytes: 1000, owner: 0, device: 1, inode: 2, changed: (3, 4) };

/// The same bytes with a checksum that fits.
fn resummed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&bytes[SUMMED_FROM..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn rows_of_a_real_program_come_back_as_they_were() {
    let (key, rows) = rows_of(&["-static"]);
    assert!(rows.stats().rows > 5_000, "{:?}", rows.stats());
    let bytes = encode(&key, &rows);
    assert_eq!(decode(&key, &bytes), Ok(rows));
}

#[test]
fn a_file_cut_or_changed_anywhere_is_refused() {
    let (key, rows) = rows_of(&[]);
    let bytes = encode(&key, &rows);
    for end in 0..bytes.len() {
        assert_eq!(decode(&key, &bytes[..end]), Err(FormatError::Length), "cut at {end}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(decode(&key, &damaged).is_err(), "changed at {at}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode(&key, &longer), Err(FormatError::Length));
}

#[test]
fn what_has_the_right_checksum_still_holds_together_or_is_refused() {
    let (key, rows) = rows_of(&[]);
    let bytes = encode(&key, &rows);
    let mut accepted = 0;
    for at in SUMMED_FROM..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let Ok(rows) = decode(&key, &resummed(damaged)) else { continue };
            accepted += 1;
            for page in rows.pages() {
                assert_eq!(rows.page(page.number)[0].pc_in_page, 0, "changed at {at}");
                rows.rule_at(ElfVaddr(u64::from(page.number) << 16 | 0x1234));
            }
        }
    }
    assert!(accepted > 500, "{accepted}: rules and counts may be anything");
    // Lengths that no file could have allocate nothing.
    for length in (16..HEAD_BYTES).step_by(4) {
        let mut damaged = bytes.clone();
        damaged[length..length + 4].fill(0xff);
        assert_eq!(decode(&key, &resummed(damaged)), Err(FormatError::Length));
    }
}

#[test]
fn another_version_or_another_file_is_told_apart() {
    let (key, rows) = rows_of(&[]);
    let bytes = encode(&key, &rows);
    let mut newer = bytes.clone();
    newer[8] += 1;
    assert_eq!(decode(&key, &newer), Err(FormatError::Version(VERSION + 1)));
    assert_eq!(decode(&key, &[0; 100]), Err(FormatError::NotRows));

    let elf = |tiny: TinyElf| ElfHeaders::read(&tiny.load(0, 0, 1, 5).bytes()[..]).unwrap();
    let (one, two) = (elf(TinyElf::new().gnu_build_id(b"one")), elf(TinyElf::new().gnu_build_id(b"two")));
    let own = CacheKey::of(&one, STATE);
    let copied = FileState { device: 9, inode: 9, changed: (9, 9), ..STATE };
    assert_eq!(CacheKey::of(&one, copied), own, "the same library in another container");
    let (longer, of_other) = (FileState { bytes: 1001, ..STATE }, FileState { owner: 1000, ..STATE });
    let without = elf(TinyElf::new());
    let others = [
        CacheKey::of(&two, STATE),
        CacheKey::of(&one, longer),
        CacheKey::of(&one, of_other),
        CacheKey::of(&without, STATE),
    ];
    let bytes = encode(&own, &rows);
    assert_eq!(decode(&own, &bytes).unwrap(), rows);
    for other in others {
        assert_eq!(decode(&other, &bytes), Err(FormatError::OtherFile));
        assert_ne!(other.file_name(), own.file_name());
    }
    let without = |state| CacheKey::of(&without, state);
    for other in [
        FileState { device: 9, ..STATE },
        FileState { inode: 9, ..STATE },
        FileState { changed: (3, 9), ..STATE },
    ] {
        assert_ne!(without(other), without(STATE), "{other:?}");
    }
}

#[test]
fn the_layout_has_a_version_of_its_own() {
    // If this changes, VERSION has to.
    let key = CacheKey { bytes: b"key".to_vec(), headers_hash: 1 };
    let rows = FileRows::new(
        vec![Rule::GAP, Rule::plt(11)],
        vec![Page { number: 7, first_row: 0 }],
        vec![UnwindRow { pc_in_page: 0, rule: 0 }, UnwindRow { pc_in_page: 0x1234, rule: 1 }],
        RowStats { functions: 3, text_bytes: 5, ..RowStats::default() },
    );
    let bytes = encode(&key, &rows);
    let hex: String = bytes[SUMMED_FROM..].iter().map(|byte| format!("{byte:02x}")).collect();
    expect_test::expect!["0300000002000000010000000200000003000000000000000000000000000000000000000000000000000000000000000500000000000000000000000000000000000000000000000000000000000000000000006b65790000000000000000000000000500000b000000000000000007000000000000000000000034120100"].assert_eq(&hex);
    assert_eq!((VERSION, bytes.len()), (2, 143));
}
