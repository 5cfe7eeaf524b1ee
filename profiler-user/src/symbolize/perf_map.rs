//! `/tmp/perf-PID.map`, written by JIT compilers + sorted addresses → names of compiled code.
//!
//! A line is `START SIZE NAME`, numbers in hexadecimal, addresses of the process that writes it. The file is
//! appended to while code is compiled, moved and thrown away, so of two lines for one address the later holds.
//!
//! Reads a stream once and keeps the names of the wanted addresses only. The stream is a stranger's: lines,
//! names and work are bounded. Never opens the file (see `process::namespace`).

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;

use profiler_common::address::RuntimeAddr;

use super::lines::{Line, next_line};

/// The largest map that is worth reading, for `open_planted`: some 3 million functions.
pub const PERF_MAP_BYTES_MAX: u64 = 256 << 20;
/// V8 and the JVM write names of some KiB for generic code. Longer lines are skipped.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Names that are put on an address, over all of a file. A real map has a few for each address.
const MATCHES_MAX: u64 = 4 << 20;
/// Bytes of names that are held at a time. Ten thousand addresses of a real program have one MiB.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Where a process writes its map: `pid` as the process itself knows it.
pub fn perf_map_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/perf-{pid}.map"))
}

/// What a perf map says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfMapNames {
    /// For each address the name of the code there, in the order of the addresses.
    pub names: Vec<Option<Arc<str>>>,
    /// Lines that say nothing: malformed, empty or too long.
    pub bad_lines: u64,
    /// The lines overlap so much that reading was given up; later ones were not looked at.
    pub gave_up: bool,
}

/// Reads a whole map. `wanted` must be sorted.
pub fn read_perf_map(mut reader: impl BufRead, wanted: &[RuntimeAddr]) -> io::Result<PerfMapNames> {
    let mut names: Vec<Option<Arc<str>>> = vec![None; wanted.len()];
    let (mut bad_lines, mut matches, mut held_bytes) = (0u64, 0u64, 0usize);
    let (mut line, mut gave_up) = (Vec::new(), false);
    loop {
        let entry = match next_line(&mut reader, &mut line, LINE_BYTES_MAX)? {
            Line::End => break,
            Line::TooLong => None,
            Line::Whole => parse(&line),
        };
        let Some(entry) = entry else {
            bad_lines += 1;
            continue;
        };
        let first = wanted.partition_point(|at| at.0 < entry.start);
        let inside = wanted.iter().zip(&mut names).skip(first);
        // One name for all addresses of a line: a hostile one is long and says that it holds for all.
        let mut of_line: Option<Arc<str>> = None;
        for (_, name) in inside.take_while(|(at, _)| at.0 - entry.start < entry.bytes) {
            let of_line = of_line.get_or_insert_with(|| String::from_utf8_lossy(entry.name).into());
            let before = name.replace(of_line.clone());
            if let Some(gone) = before.filter(|before| Arc::strong_count(before) == 1) {
                held_bytes -= gone.len();
            }
            matches += 1;
        }
        held_bytes += of_line.map_or(0, |name| name.len());
        if matches > MATCHES_MAX || held_bytes > HELD_BYTES_MAX {
            gave_up = true;
            break;
        }
    }
    Ok(PerfMapNames { names, bad_lines, gave_up })
}

struct Entry<'a> {
    start: u64,
    bytes: u64,
    name: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (start, bytes) = (hexadecimal(words.next()?)?, hexadecimal(words.next()?)?);
    let name = words.next()?.trim_ascii();
    (bytes > 0 && !name.is_empty()).then_some(Entry { start, bytes, name })
}

/// A number with or without `0x`.
fn hexadecimal(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"0x").unwrap_or(word);
    // `from_str_radix` would take a sign.
    let digits = digits.first().filter(|digit| digit.is_ascii_hexdigit()).and(Some(digits))?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(map: &[u8], wanted: &[u64], expected: Expect) {
        let wanted: Vec<_> = wanted.iter().copied().map(RuntimeAddr).collect();
        let read = read_perf_map(map, &wanted).unwrap();
        let mut text = String::new();
        for (at, name) in wanted.iter().zip(&read.names) {
            text += &format!("{:x} {}\n", at.0, name.as_deref().unwrap_or("-"));
        }
        text += &format!("{} bad lines\n", read.bad_lines);
        expected.assert_eq(&text);
    }

    #[test]
    fn an_address_is_named_only_within_a_lines_range() {
        check(
            b"7f10 20 LazyCompile:~fib /srv/app.js:3:14\n0x7f40 0x10 with spaces in it\n7f50 8 last, no line end",
            &[0x7f0f, 0x7f10, 0x7f2f, 0x7f30, 0x7f40, 0x7f50, 0x7f57, 0x7f58],
            expect![[r#"
                7f0f -
                7f10 LazyCompile:~fib /srv/app.js:3:14
                7f2f LazyCompile:~fib /srv/app.js:3:14
                7f30 -
                7f40 with spaces in it
                7f50 last, no line end
                7f57 last, no line end
                7f58 -
                0 bad lines
            "#]],
        );
    }

    #[test]
    fn the_later_line_holds() {
        check(
            b"1000 100 old\n1000 80 new\n1040 10 newest\n",
            &[0x1000, 0x1040, 0x1050, 0x1080],
            expect![[r#"
                1000 new
                1040 newest
                1050 new
                1080 old
                0 bad lines
            "#]],
        );
    }

    #[test]
    fn bad_lines_are_counted_and_skipped() {
        let long = format!("1000 10 {}\n", "x".repeat(LINE_BYTES_MAX));
        let map = [
            &b"\n1000\n1000 10\n1000 10  \nx000 10 no_hex\n1000 0 no_size\n+1000 10 sign\n1000 -1 sign\n"[..],
            b"10000000000000000 1 too_many_digits\n\xff\xfe\x00 \x80\n",
            long.as_bytes(),
            b"1000 10 not utf-8 \xff\nffffffffffffff00 ffffffffffffffff at_the_end\n",
        ]
        .concat();
        check(
            &map,
            &[0x1000, 0x1010, u64::MAX],
            expect![[r#"
                1000 not utf-8 �
                1010 -
                ffffffffffffffff at_the_end
                11 bad lines
            "#]],
        );
    }

    #[test]
    fn a_map_that_says_everything_about_everything_is_given_up() {
        let map = "0 ffffffffffffffff x\n".repeat(500);
        let wanted: Vec<_> = (0..10_000).map(RuntimeAddr).collect();
        let read = read_perf_map(map.as_bytes(), &wanted).unwrap();
        assert!(read.gave_up);
        assert_eq!(read.names[0].as_deref(), Some("x"));
    }

    #[test]
    fn long_names_are_held_once_each_and_not_without_end() {
        let wanted: Vec<_> = (0..10_000).map(RuntimeAddr).collect();
        let name = "x".repeat(16_000);
        // The same name for all, often: 160 GB of names if each address had its own.
        let all = format!("0 ffffffffffffffff {name}\n").repeat(100);
        let read = read_perf_map(all.as_bytes(), &wanted).unwrap();
        assert!(!read.gave_up);
        assert!(read.names.iter().flatten().all(|other| Arc::ptr_eq(other, read.names[0].as_ref().unwrap())));
        // Another name for each.
        let each: String = (0..10_000).map(|at| format!("{at:x} 1 {name}\n")).collect();
        let read = read_perf_map(each.as_bytes(), &wanted).unwrap();
        assert!(read.gave_up);
        assert_eq!(read.names.iter().flatten().count(), (32 << 20) / name.len() + 1);
    }

    #[test]
    fn the_path_is_the_one_that_perf_uses() {
        assert_eq!(perf_map_path(7), std::path::Path::new("/tmp/perf-7.map"));
    }
}
