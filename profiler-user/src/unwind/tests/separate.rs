//! Unwind information that was split off into a debug file.

use std::path::Path;

use profiler_common::address::ElfVaddr;
use profiler_common::unwind_rule::Rule;

use super::readelf::{compare_rows, rows_of};
use crate::elf::ElfHeaders;
use crate::elf::fixture::Fixture;
use crate::host::ProcFs;
use crate::process::debug_files::{DebugFiles, OpenElf};
use crate::process::namespace::ProcessRoot;
use crate::unwind::{Budget, FileRows, read_rows_with};

/// Functions with frames of several shapes; no unwind information in the program itself but the C library's.
const SOURCE: &str = r#"
#include <string.h>
#define NOINLINE __attribute__((noinline))
NOINLINE int leaf(int n) { __asm__ volatile("" ::: "rbx", "r12", "r13", "memory"); return n + 1; }
NOINLINE int with_array(int n) { volatile char bytes[4096]; memset((void *)bytes, n, sizeof bytes); return leaf(bytes[n]); }
NOINLINE int with_alloca(int n) { volatile char *bytes = __builtin_alloca(n); bytes[0] = 1; return with_array(n) + bytes[0]; }
int main(int count, char **values) { return with_alloca(count) + leaf(count); }
"#;
const FLAGS: [&str; 4] = ["-O2", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-g"];

/// The program, stripped, with its debug file beside it.
fn split(flags: &[&str]) -> Fixture {
    let fixture = Fixture::compile(SOURCE, &[&FLAGS, flags].concat());
    fixture.run("objcopy", &["--only-keep-debug", "program", "program.debug"]);
    fixture.run("objcopy", &["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
    fixture
}

fn rows_with_debug_file(fixture: &Fixture) -> FileRows {
    let own_uid = rustix::process::getuid().as_raw();
    let root = ProcessRoot::at_folder(&ProcFs::host(), fixture.folder(), own_uid, 1).unwrap();
    let elf = OpenElf::read(fixture.open()).unwrap();
    let debug = DebugFiles::below(root).find(&elf, Path::new("/program"), None).unwrap();
    read_rows_with(&elf.file, &elf.headers, Some(&debug), Budget::default()).unwrap()
}

/// As the compiler's symbol table says, which is in the debug file.
fn vaddr_of(fixture: &Fixture, name: &str) -> ElfVaddr {
    let symbols = fixture.run("nm", &["program.debug"]);
    let line = symbols.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
    ElfVaddr(u64::from_str_radix(line.split_whitespace().next().unwrap(), 16).unwrap())
}

#[test]
fn every_row_of_a_debug_file_is_what_readelf_says() {
    for flags in [&[][..], &["-no-pie", "-Wl,-Ttext-segment=0x10000000"], &["-static"], &["-gz=zlib"]] {
        let fixture = split(flags);
        let rows = rows_with_debug_file(&fixture);
        for name in ["leaf", "with_array", "with_alloca", "main"] {
            let at = vaddr_of(&fixture, name);
            assert_eq!(rows_of(&fixture.path()).rule_at(at), Rule::GAP, "{name} {flags:?}");
            assert_ne!(rows.rule_at(at), Rule::GAP, "{name} {flags:?}");
        }
        let tables = fixture.folder().join("program.debug");
        let compared = compare_rows(&rows, &fixture.path(), &tables, true);
        assert!(compared.rows > 10, "{} rows, {flags:?}", compared.rows);
        assert!(compared.wrong.is_empty() && compared.unsupported == 0, "{:#?}", compared.wrong);
    }
}

#[test]
fn what_the_file_itself_says_counts_first() {
    let fixture = split(&["-static"]);
    let (alone, both) = (rows_of(&fixture.path()), rows_with_debug_file(&fixture));
    let text = ElfHeaders::read(&fixture.open()).unwrap();
    let text = *text.segments().iter().find(|segment| segment.executable).unwrap();
    let mut known = 0;
    for at in (0..text.file_bytes).map(|into| ElfVaddr(text.vaddr.0 + into)) {
        if alone.rule_at(at) != Rule::GAP {
            assert_eq!(both.rule_at(at), alone.rule_at(at), "{:#x}", at.0);
            known += 1;
        }
    }
    assert!(known > 100_000, "{known}");
    assert!(both.stats().functions > alone.stats().functions);
}
