//! Every row of the system's files against what `readelf` says of it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use profiler_common::address::ElfVaddr;
use profiler_common::unwind_rule::{Base, ReturnAddress, Rule, RuleKind, Saved};

use crate::elf::{ElfHeaders, Machine};
use crate::unwind::{Budget, FileRows, read_rows};

pub(super) fn rows_of(path: &Path) -> FileRows {
    let file = File::open(path).unwrap();
    let headers = ElfHeaders::read(&file).unwrap();
    read_rows(&file, &headers, Budget::default()).unwrap()
}

/// The columns of a table that we keep.
struct Columns<'a> {
    machine: Machine,
    cfa: &'a str,
    fp: Option<&'a str>,
    bx: Option<&'a str>,
    return_address: Option<&'a str>,
}

const REGISTERS: [&str; 17] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "ra",
];

fn number_of(name: &str) -> Option<u8> {
    if let Some(number) = name.strip_prefix('x') {
        return number.parse().ok();
    }
    let number = REGISTERS.iter().position(|register| *register == name);
    let number = number.or_else(|| name.strip_prefix('r')?.parse().ok());
    number.and_then(|number| u8::try_from(number).ok())
}

fn base_of(name: &str) -> Option<Base> {
    Some(match name {
        "rsp" | "sp" => Base::StackPointer,
        "rbp" | "x29" => Base::FramePointer,
        "rbx" => Base::Bx,
        other => Base::Leaf(number_of(other)?),
    })
}

fn split_offset(text: &str) -> (&str, i32) {
    let at = text.find(['+', '-']).unwrap_or(text.len());
    (&text[..at], text[at..].parse().unwrap_or(0))
}

/// Whether a saved register is where the table says; expressions are compared by their kind alone.
fn agrees(saved: Saved, column: Option<&str>) -> bool {
    match (saved, column) {
        // "r3": rbx in rbx.
        (Saved::Same, None | Some("u" | "s" | "r3")) => true,
        (Saved::AtFramePointer(_), Some("exp")) => true,
        (Saved::AtCfa(words), Some(column)) => split_offset(column) == ("c", i32::from(words) * 8),
        (Saved::Leaf(number), Some(column)) => number_of(column) == Some(number),
        _ => false,
    }
}

fn rule_agrees(rule: Rule, columns: &Columns<'_>, says_fp: bool) -> bool {
    // On arm64 "u" says undefined, or nothing at all.
    if columns.return_address == Some("u") && (rule == Rule::END || columns.machine == Machine::X86_64) {
        return rule == Rule::END;
    }
    let (base, offset) = split_offset(columns.cfa);
    let cfa_agrees = match rule.kind() {
        RuleKind::Register => base_of(base) == Some(rule.base()) && rule.offset() == i64::from(offset) as u64,
        RuleKind::Memory | RuleKind::Indexed | RuleKind::Plt | RuleKind::Signal => columns.cfa == "exp",
        _ => false,
    };
    if matches!(rule.kind(), RuleKind::Plt | RuleKind::Signal) {
        return cfa_agrees;
    }
    let (return_agrees, takes_place_of_bx) = match rule.return_address() {
        ReturnAddress::BelowCfa => (columns.return_address == Some("c-8"), false),
        ReturnAddress::AtCfa(words) => {
            (columns.return_address.map(split_offset) == Some(("c", i32::from(words) * 8)), true)
        }
        ReturnAddress::Leaf(number) => (columns.return_address.and_then(number_of) == Some(number), true),
        ReturnAddress::LinkRegister => (
            columns.machine == Machine::Arm64 && matches!(columns.return_address, None | Some("u" | "s")),
            true,
        ),
    };
    cfa_agrees
        && return_agrees
        && (!says_fp || agrees(rule.fp(), columns.fp))
        && (takes_place_of_bx || agrees(rule.bx(), columns.bx))
}

/// Rows compared, and how often the rule was one that says why there is none.
pub(super) struct Compared {
    pub(super) rows: usize,
    pub(super) unsupported: usize,
    pub(super) wrong: Vec<String>,
}

/// glibc calls it a leaf, and its stack ends there: see `known_code`.
fn is_start_context(path: &Path, at: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let file = File::open(path).unwrap();
    let headers = ElfHeaders::read(&file).unwrap();
    let holds = |segment: &&crate::elf::LoadSegment| {
        segment.executable && at.wrapping_sub(segment.vaddr.0) < segment.file_bytes
    };
    let segment = headers.segments().iter().find(holds).unwrap();
    let mut code = [0; 3];
    file.read_exact_at(&mut code, at - segment.vaddr.0 + segment.file_offset.0).unwrap();
    code == [0x48, 0x89, 0xdc]
}

/// Goes through `readelf`'s tables row by row.
/// `says_fp`: the file's unwind information speaks of frame pointers. Go's does not.
pub(super) fn compare(path: &Path, says_fp: bool) -> Compared {
    compare_rows(&rows_of(path), path, path, says_fp)
}

/// The rows of the code in one file with the tables in another.
pub(super) fn compare_rows(rows: &FileRows, path: &Path, tables: &Path, says_fp: bool) -> Compared {
    let machine = ElfHeaders::read(&File::open(path).unwrap()).unwrap().machine().unwrap();
    let mut child = Command::new("readelf")
        .args(["--wide", "--debug-dump=frames-interp"])
        .arg(tables)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let mut result = Compared { rows: 0, unsupported: 0, wrong: Vec::new() };
    let mut names: Vec<String> = Vec::new();
    let mut function_end = 0;
    for line in lines {
        let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
        if let Some((_, range)) = line.split_once(" pc=") {
            function_end =
                range.split_once("..").map_or(0, |(_, end)| u64::from_str_radix(end.trim(), 16).unwrap());
            continue;
        }
        if line.contains(" CIE ") {
            function_end = 0;
        }
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if first == "LOC" {
            names = words.map(str::to_owned).collect();
            continue;
        }
        // Rows of a CIE have no function.
        let Some(at) = u64::from_str_radix(first, 16).ok().filter(|_| first.len() == 16) else { continue };
        if at >= function_end {
            continue;
        }
        // A register in a register is written by number and name.
        let cells: Vec<&str> = words.filter(|word| !word.starts_with('(')).collect();
        let column =
            |name: &str| names.iter().position(|other| other == name).and_then(|at| cells.get(at)).copied();
        let columns = Columns {
            machine,
            cfa: column("CFA").unwrap(),
            fp: column(if machine == Machine::X86_64 { "rbp" } else { "x29" }),
            bx: column("rbx"),
            return_address: column("ra"),
        };
        let rule = rows.rule_at(ElfVaddr(at));
        result.rows += 1;
        if rule == Rule::END && columns.cfa == "rsp+8" && is_start_context(path, at) {
            continue;
        }
        if rule.kind() == RuleKind::Unsupported {
            result.unsupported += 1;
        } else if !rule_agrees(rule, &columns, says_fp) {
            result.wrong.push(format!("{line} but {rule:?}"));
        }
    }
    // Its status is 1 for files whose debug link leads nowhere.
    child.wait().unwrap();
    result
}

/// Prints what there is of each file, and asserts that no row is wrong.
fn check(paths: &[&str]) {
    for path in paths.iter().map(Path::new) {
        if !path.exists() {
            println!("skipped: no {}", path.display());
            continue;
        }
        let compared = compare(path, true);
        println!("{}: {} rows compared, {} unsupported", path.display(), compared.rows, compared.unsupported);
        for wrong in compared.wrong.iter().take(20) {
            println!("  {wrong}");
        }
        assert!(compared.rows > 0 && compared.wrong.is_empty(), "{} wrong rows", compared.wrong.len());
    }
}

#[test]
fn every_row_of_small_libraries_is_what_readelf_says() {
    check(&["/usr/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
}

#[test]
fn every_row_of_large_files_is_what_readelf_says() {
    check(&[
        "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/bin/python3.11",
        "/usr/bin/perl",
        "/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so",
        "/usr/bin/node",
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
    ]);
}

/// Debian's libc6-arm64-cross and libstdc++6-arm64-cross, or a folder with an arm64 system's libraries.
#[test]
fn every_row_of_arm64_libraries_is_what_readelf_says() {
    let folder = std::env::var("FLAMEKEEPER_TEST_ARM64_LIBRARIES");
    let folder = folder.unwrap_or_else(|_| "/usr/aarch64-linux-gnu/lib".to_owned());
    if !Path::new(&folder).join("libc.so.6").exists() {
        let test = "readelf::every_row_of_arm64_libraries_is_what_readelf_says";
        return super::arm64::skip(test, "no libraries of arm64 are installed");
    }
    let paths = ["libc.so.6", "libstdc++.so.6.0.30", "libcrypto.so.3"].map(|name| format!("{folder}/{name}"));
    check(&paths.each_ref().map(String::as_str));
}
