//! Real and hostile debug information, read through a real reader process.

use super::*;
use crate::elf::fixture::Fixture;
use expect_test::{Expect, expect};

/// The reader as a test has it: the test program itself, told to run only [`the_reader_itself`].
pub(crate) fn reader() -> DebugReader {
    let name = "symbolize::dwarf::tests::the_reader_itself";
    let arguments = ["--exact", name, "--ignored", "--test-threads=1"].map(OsString::from).to_vec();
    DebugReader::program(std::env::current_exe().unwrap(), arguments)
}

#[test]
#[ignore = "no test: the process that other tests start"]
fn the_reader_itself() {
    // Run by hand it would only take rights away from the test program.
    let stdin = rustix::fs::fstat(io::stdin()).unwrap();
    if rustix::fs::FileType::from_raw_mode(stdin.st_mode) == rustix::fs::FileType::Socket {
        serve(&ProcFs::host()).unwrap();
    }
}

/// A program whose lines the tests know: each call is on a line of its own.
pub(crate) const INLINING: &str = r#"volatile int sink;
static inline __attribute__((always_inline)) void innermost(int n) {
    for (int i = 0; i < n; i++)
        sink += i;
}
static inline __attribute__((always_inline)) void middle(int n) {
    innermost(n * 2);
}
__attribute__((noinline)) void outer(int n) {
    middle(n + 1);
}
int main(int argc, char **argv) {
    outer(argc);
    return 0;
}
"#;

/// The address of the instruction in a function that adds to `sink`: the only one that stores to it.
pub(crate) fn store_to_sink(fixture: &Fixture) -> ElfVaddr {
    let listing = fixture.tool("objdump", &["-d", "--no-show-raw-insn", "--disassemble=outer"]);
    let store =
        listing.lines().find(|line| line.contains("<sink>") && line.contains("mov") && line.contains(",0x"));
    ElfVaddr(u64::from_str_radix(store.unwrap().trim().split(':').next().unwrap(), 16).unwrap())
}

fn check(fixture: &Fixture, at: &[ElfVaddr], expected: Expect) {
    let text = match reader().read(&fixture.open(), at, 0) {
        Ok(found) => found.ranges.iter().map(|(_, code)| show(fixture, code.as_ref())).collect(),
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&text);
}

fn show(fixture: &Fixture, code: Option<&CodeAt>) -> String {
    let Some(code) = code else { return "-\n".to_owned() };
    let folder = format!("{}/", fixture.folder().display());
    let line = |line: &SourceLine| format!("{}:{}", line.file.replace(&folder, ""), line.line);
    let name = if code.name.is_empty() { "(no name)" } else { &code.name };
    let mut text = format!("{name} at {}, begins on {}\n", line(&code.at), code.begin_line);
    for inlined in &code.inlined {
        text += &format!("  {} at {}, begins on {}\n", inlined.name, line(&inlined.at), inlined.begin_line);
    }
    text
}

#[test]
fn inlined_functions_come_with_the_lines_of_their_calls() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let fixture = Fixture::compile(INLINING, &["-O2", version, "-no-pie"]);
        let store = store_to_sink(&fixture);
        check(
            &fixture,
            &[ElfVaddr(0x10), store],
            expect![[r#"
                -
                outer at program.c:10, begins on 9
                  middle at program.c:7, begins on 6
                  innermost at program.c:4, begins on 2
            "#]],
        );
    }
}

#[test]
fn an_address_comes_with_all_of_its_function() {
    let fixture = Fixture::compile(INLINING, &["-O2", "-gdwarf-5", "-no-pie"]);
    let (outer, store) = (fixture.vaddr_of("outer"), store_to_sink(&fixture));
    let whole = reader().read(&fixture.open(), &[store], 1000).unwrap();
    assert!(whole.cpu > Duration::ZERO);
    let at = |address: u64| whole.ranges.iter().find(|(range, _)| range.contains(&address));
    let last = whole.ranges.iter().map(|(range, _)| range.end).max().unwrap();
    assert!(last > store.0 && at(outer.0.wrapping_sub(1)).is_none() && at(last).is_none());
    for address in outer.0..last {
        // As if each address of the function had been asked for itself.
        let alone = reader().read(&fixture.open(), &[ElfVaddr(address)], 0).unwrap();
        assert_eq!(at(address).map(|(_, code)| code), Some(&alone.ranges[0].1), "{address:#x}");
    }
    let ends = whole.ranges.iter().zip(whole.ranges.iter().skip(1));
    assert!(ends.clone().count() > 3 && ends.clone().all(|(one, next)| one.0.end <= next.0.start));
    let few = reader().read(&fixture.open(), &[store], 2).unwrap();
    assert_eq!(few.ranges.len(), 1, "a function that is too large is not told in part");
}

#[test]
fn compressed_debug_information_is_read() {
    for format in ["zlib", "zstd"] {
        let fixture = Fixture::compile(INLINING, &["-O2", "-g", "-no-pie"]);
        let store = store_to_sink(&fixture);
        fixture.run("objcopy", &[&format!("--compress-debug-sections={format}"), "program"]);
        let found = reader().read(&fixture.open(), &[store], 0).unwrap();
        assert_eq!(found.ranges[0].1.as_ref().unwrap().inlined.len(), 2, "{format}");
    }
}

#[test]
fn a_file_that_is_none_gives_an_error() {
    let fixture = Fixture::compile(INLINING, &["-g"]);
    for bytes in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", &[0xff; 4096]] {
        std::fs::write(fixture.folder().join("program2"), bytes).unwrap();
        let file = File::open(fixture.folder().join("program2")).unwrap();
        let found = reader().read(&file, &[ElfVaddr(1)], 100);
        assert!(!matches!(found, Ok(found) if found.ranges[0].1.is_some()));
    }
}

#[test]
fn a_reader_that_fails_or_hangs_up_or_never_answers_is_an_error() {
    let fixture = Fixture::compile(INLINING, &["-g"]);
    let ask = |program: &str, arguments: &[&str], patience: Duration| {
        let arguments = arguments.iter().map(OsString::from).collect();
        let mut reader = DebugReader::program(program.into(), arguments);
        reader.patience = patience;
        reader.read(&fixture.open(), &[ElfVaddr(1)], 0).unwrap_err().to_string()
    };
    let long = Duration::from_secs(60);
    assert!(ask("/nonexistent", &[], long).ends_with("start it"));
    assert!(ask("/bin/true", &[], long).ends_with("it ended without an answer"));
    assert!(ask("/bin/sh", &["-c", "cat >/dev/null; echo '[null,null]' >&0"], long).contains("invalid type"));
    assert!(ask("/bin/sh", &["-c", "sleep 600"], Duration::from_millis(10)).ends_with("talk to it"));
}

/// A function with inlined ones, each inside the one before: a byte for each, and a stack frame of blazesym's.
fn nested(depth: usize) -> Fixture {
    let source = r#"
        .text
        .globl main
        .type main, @function
        .file 1 "program.c"
    main: .loc 1 1
        ret
    end: .size main, . - main
        .section .debug_abbrev,"",@progbits
        .uleb128 1; .uleb128 0x11; .byte 1; .uleb128 0x11; .uleb128 1; .uleb128 0x12; .uleb128 1
        .uleb128 0x10; .uleb128 0x17; .byte 0, 0
        .uleb128 2; .uleb128 0x2e; .byte 1; .uleb128 0x11; .uleb128 1; .uleb128 0x12; .uleb128 1; .byte 0, 0
        .uleb128 3; .uleb128 0x1d; .byte 1; .byte 0, 0
        .byte 0
        .section .debug_info,"",@progbits
        .long info_end - info_start
    info_start:
        .value 4
        .long 0
        .byte 8
        .uleb128 1; .quad main; .quad end; .long lines
        .uleb128 2; .quad main; .quad end
        .fill DEPTH, 1, 3
        .fill DEPTH + 2, 1, 0
    info_end:
        .section .debug_line,"",@progbits
    lines:
    "#;
    Fixture::assemble(&source.replace("DEPTH", &depth.to_string()))
}

#[test]
fn endless_nesting_ends_the_reader_and_not_us() {
    let shallow = nested(10);
    check(
        &shallow,
        &[shallow.vaddr_of("main")],
        expect![[r#"
            (no name) at program.c:1, begins on 1
        "#]],
    );
    let deep = nested(1_000_000);
    check(
        &deep,
        &[deep.vaddr_of("main")],
        expect!["read debug information in a process of its own: it ended without an answer\n"],
    );
}

#[test]
fn the_reader_opens_nothing_but_its_file() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: needs root, to shut the reader in");
        return;
    }
    // A pipe that would block whoever opens it, where a debug link beside the file leads.
    let fixture = Fixture::compile(INLINING, &["-O2", "-g", "-no-pie"]);
    let store = store_to_sink(&fixture);
    std::fs::write(fixture.folder().join("link"), b"pipe").unwrap();
    fixture.run("objcopy", &["--add-gnu-debuglink=link", "program"]);
    std::fs::remove_file(fixture.folder().join("link")).unwrap();
    fixture.run("mkfifo", &["link"]);
    let found = reader().read(&fixture.open(), &[store], 0).unwrap();
    assert_eq!(found.ranges[0].1.as_ref().unwrap().inlined.len(), 2);
}
