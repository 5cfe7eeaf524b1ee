//! Maps as runtimes write them, as strangers do, and as they change while they are read.

use super::*;
use expect_test::{Expect, expect};

fn names(map: &mut PerfMap, file: &[u8], wanted: &[u64]) -> Vec<String> {
    let named = map.names(file, wanted.iter().copied().map(RuntimeAddr));
    named.iter().map(|name| name.first().map_or("-", |line| &*line.function.name).to_owned()).collect()
}

fn read(map: &mut PerfMap, file: &[u8]) -> u64 {
    map.catch_up(file, file.len() as u64, u64::MAX).unwrap()
}

fn check(file: &[u8], wanted: &[u64], expected: Expect) {
    let mut map = PerfMap::default();
    read(&mut map, file);
    let mut text = String::new();
    for (at, name) in wanted.iter().zip(names(&mut map, file, wanted)) {
        text += &format!("{at:x} {name}\n");
    }
    text += &format!("{} bad lines\n", map.bad_lines());
    expected.assert_eq(&text);
}

#[test]
fn an_address_is_named_only_within_a_lines_range() {
    check(
        b"7f10 20 LazyCompile:~fib /srv/app.js:3:14\n0x7f40 0x10 with spaces in it\n7f50 8 last\n7f60 8 no line e",
        &[0x7f0f, 0x7f10, 0x7f2f, 0x7f30, 0x7f40, 0x7f50, 0x7f57, 0x7f58, 0x7f60],
        expect![[r#"
            7f0f -
            7f10 LazyCompile:~fib /srv/app.js:3:14
            7f2f LazyCompile:~fib /srv/app.js:3:14
            7f30 -
            7f40 with spaces in it
            7f50 last
            7f57 last
            7f58 -
            7f60 -
            0 bad lines
        "#]],
    );
}

#[test]
fn the_later_line_holds() {
    check(
        b"1000 100 old\n1000 80 new\n1040 10 newest\n0f00 110 over the start\n10f8 10 over the end\n",
        &[0xf00, 0x1000, 0x100f, 0x1010, 0x1040, 0x1050, 0x1080, 0x10f7, 0x10f8, 0x1107, 0x1108],
        expect![[r#"
            f00 over the start
            1000 over the start
            100f over the start
            1010 new
            1040 newest
            1050 new
            1080 old
            10f7 old
            10f8 over the end
            1107 over the end
            1108 -
            0 bad lines
        "#]],
    );
}

#[test]
fn bad_lines_are_counted_and_skipped() {
    let long = format!("1000 10 {}\n", "x".repeat(LINE_BYTES_MAX));
    let endless = format!("1000 10 {}\n", "x".repeat(3 * PIECE_BYTES));
    let file = [
        &b"\n1000\n1000 10\n1000 10  \nx000 10 no_hex\n1000 0 no_size\n+1000 10 sign\n1000 -1 sign\n"[..],
        b"10000000000000000 1 too_many_digits\n\xff\xfe\x00 \x80\n",
        long.as_bytes(),
        endless.as_bytes(),
        b"1000 10 not utf-8 \xff\n2000 100000000 more than 4 GiB\nffffffffffffff00 ffffffff at_the_end\n",
    ]
    .concat();
    check(
        &file,
        &[0x1000, 0x1010, 0x2000, u64::MAX - 1],
        expect![[r#"
            1000 not utf-8 �
            1010 -
            2000 -
            fffffffffffffffe at_the_end
            13 bad lines
        "#]],
    );
}

#[test]
fn what_is_appended_is_read_and_nothing_twice() {
    let whole: String = (0..5_000u64).map(|n| format!("{:x} 10 function_{n}\n", n * 16)).collect();
    let (mut map, mut position, mut bytes) = (PerfMap::default(), 0, 0);
    // Its writer's buffer ends anywhere.
    for end in (0..whole.len()).step_by(1_777).chain([whole.len()]) {
        bytes += read(&mut map, &whole.as_bytes()[..end]);
        let known = whole[..end].lines().count().saturating_sub(1) as u64;
        if known > 0 {
            position = (position + 997) % known;
            let name = format!("function_{position}");
            assert_eq!(names(&mut map, whole.as_bytes(), &[position * 16 + 15]), [name]);
        }
    }
    assert_eq!((bytes, map.len()), (whole.len() as u64, 5_000));
}

#[test]
fn no_more_is_read_at_a_time_than_allowed() {
    let file = "1000 10 some function\n".repeat(20_000);
    let (mut map, size) = (PerfMap::default(), file.len() as u64);
    let mut reads = 0;
    while map.read_to < size {
        let read = map.catch_up(file.as_bytes(), size, 100_000).unwrap();
        assert!(read > 0 && read <= 100_000);
        reads += 1;
    }
    assert_eq!(reads, 5);
}

#[test]
fn a_map_that_was_written_anew_is_read_anew() {
    let old = b"1000 10 before\n2000 10 other\n";
    let new = b"1000 10 after, and longer\n2000 10 another\n";
    let mut map = PerfMap::default();
    read(&mut map, old);
    assert_eq!(names(&mut map, old, &[0x1000]), ["before"]);
    read(&mut map, new);
    assert_eq!(names(&mut map, new, &[0x1000, 0x2000]), ["after, and longer", "another"]);
    read(&mut map, &old[..15]);
    assert_eq!(names(&mut map, old, &[0x1000, 0x2000]), ["before", "-"]);
    // Changed between the look at its end and the look at a name.
    let changed = b"2000 10 other\n3000 10 before\n";
    read(&mut map, old);
    assert_eq!(names(&mut map, changed, &[0x2000, 0x1000]), ["-", "-"]);
    read(&mut map, changed);
    assert_eq!(names(&mut map, changed, &[0x2000, 0x3000]), ["other", "before"]);
}

#[test]
fn lines_of_a_stranger_are_bounded_in_number() {
    let file: String = (0..LINES_MAX as u64 + 50_000).map(|n| format!("{:x} 1 f\n", n * 2)).collect();
    let mut map = PerfMap::default();
    read(&mut map, file.as_bytes());
    assert!(map.read_to < file.len() as u64 && map.len() < LINES_MAX + PIECE_BYTES / 7, "{}", map.len());
    assert_eq!(names(&mut map, file.as_bytes(), &[0x2000]), ["f"]);
    assert_eq!(read(&mut map, file.as_bytes()), 0);
}

#[test]
fn long_names_are_held_once_each_and_not_without_end() {
    let name = "x".repeat(16_000);
    // One line for all addresses.
    let all = format!("0 ffffffff {name}\n");
    let wanted: Vec<_> = (0..10_000).collect();
    let mut map = PerfMap::default();
    read(&mut map, all.as_bytes());
    assert!(names(&mut map, all.as_bytes(), &wanted).iter().all(|held| *held == name));
    assert!(map.names_bytes < 40_000);
    // Another name for each.
    let each: String = (0..10_000).map(|at| format!("{at:x} 1 {name}\n")).collect();
    let mut map = PerfMap::default();
    read(&mut map, each.as_bytes());
    names(&mut map, each.as_bytes(), &wanted);
    assert!(map.names_bytes < 2 * NAMES_BYTES_MAX + 40_000, "{}", map.names_bytes);
}

#[test]
fn the_path_is_the_one_that_perf_uses() {
    assert_eq!(perf_map_path(7), std::path::Path::new("/tmp/perf-7.map"));
}
