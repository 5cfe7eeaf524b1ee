//! Real programs, compiled in every variant → names, lines and inlined functions.

mod go;

use super::*;
use crate::elf::fixture::{Fixture, TinyElf};
use crate::host::ProcFs;
use crate::symbolize::NamedLine;
use crate::symbolize::dwarf::tests::{INLINING, reader, store_to_sink};
use crate::symbolize::symtab::{Kinds, find_symbols_of};
use expect_test::{Expect, expect};

/// The file offset of code differs from its linked address by more than any page.
const FAR: [&str; 2] = ["-no-pie", "-Wl,-Ttext-segment=0x10000000"];

fn namer() -> NativeNamer {
    NativeNamer::new(DebugFiles::of_host(&ProcFs::host()).unwrap(), reader())
}

fn ask(
    namer: &NativeNamer,
    file: NativeFile<'_>,
    wanted: &[FileOffset],
) -> Result<NativeNames, SymbolizeError> {
    namer.name(file, &mut KnownFile::default(), wanted, &mut ReaderBudget::unlimited())
}

fn names(file: &File, path: &Path, wanted: &[FileOffset]) -> Result<NativeNames, SymbolizeError> {
    ask(&namer(), NativeFile { file: Some(file), path, process: None }, wanted)
}

fn check(fixture: &Fixture, wanted: &[FileOffset], expected: Expect) {
    let folder = format!("{}/", fixture.folder().display());
    let text = match names(&fixture.open(), &fixture.path(), wanted) {
        Ok(names) => show(&names).replace(&folder, ""),
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&text);
}

fn show(names: &NativeNames) -> String {
    let mut text = String::new();
    for address in &names.addresses {
        let lines = address.iter().map(|NamedLine { function, line }| {
            let mut text = function.name.to_string();
            if function.system_name != function.name {
                text += &format!(" ({})", function.system_name);
            }
            if !function.file.is_empty() {
                text += &format!(" {}:{line} from {}", function.file, function.start_line);
            }
            text
        });
        let lines: Vec<String> = lines.collect();
        text += &if lines.is_empty() { "-\n".to_owned() } else { format!("{}\n", lines.join(" < ")) };
    }
    names.problems.iter().for_each(|problem| text += &format!("problem: {problem}\n"));
    text
}

#[test]
fn symbols_alone_name_functions() {
    let fixture = Fixture::compile("int leaf(int n) { return n; } int main(void) { return leaf(1); }", &FAR);
    let (leaf, main) =
        (fixture.offset_of(fixture.vaddr_of("leaf")), fixture.offset_of(fixture.vaddr_of("main")));
    // The program's header is mapped too, but holds no code.
    check(
        &fixture,
        &[main, FileOffset(leaf.0 + 1), FileOffset(0), FileOffset(u64::MAX), leaf],
        expect![[r#"
            main
            leaf
            -
            -
            leaf
        "#]],
    );
}

#[test]
fn an_address_behind_a_functions_size_is_not_the_nearest_symbols() {
    let source = r#"
        .text
        .globl main
        .type main, @function
    main: ret
        .size main, . - main
    hole: .fill 15, 1, 0x90
        .type unsized, @function
    unsized: .fill 16, 1, 0x90
    "#;
    let fixture = Fixture::assemble(source);
    let main = fixture.offset_of(fixture.vaddr_of("main"));
    check(
        &fixture,
        &[main, FileOffset(main.0 + 1), FileOffset(main.0 + 16), FileOffset(main.0 + 17)],
        expect![[r#"
            main
            -
            -
            -
        "#]],
    );
}

#[test]
fn inlined_functions_lines_and_beginnings() {
    let fixture = Fixture::compile(INLINING, &[&["-O2", "-g"], &FAR[..]].concat());
    let store = fixture.offset_of(store_to_sink(&fixture));
    check(
        &fixture,
        &[store],
        expect![[r#"
            innermost program.c:4 from 2 < middle program.c:7 from 6 < outer program.c:10 from 9
        "#]],
    );
}

#[test]
fn cpp_names_are_readable_and_keep_their_linkage_names() {
    let source = "namespace app { template <class T> struct Box { static __attribute__((noinline)) T get(T v) \
                  { return v + 1; } }; } int main(int n, char **) { return app::Box<int>::get(n); }";
    let fixture = Fixture::compile_cpp(source, &[&["-g"], &FAR[..]].concat());
    let get = fixture.offset_of(fixture.vaddr_of("_ZN3app3BoxIiE3getEi"));
    check(
        &fixture,
        &[get],
        expect![[r#"
            app::Box<int>::get(int) (_ZN3app3BoxIiE3getEi) program.cc:1 from 1
        "#]],
    );
}

#[test]
fn a_stripped_library_is_named_by_its_dynamic_symbols() {
    let source = "static int hidden(int n) { return n; } int seen(int n) { return hidden(n); }";
    let fixture = Fixture::compile(source, &["-shared", "-fPIC"]);
    let (hidden, seen) =
        (fixture.offset_of(fixture.vaddr_of("hidden")), fixture.offset_of(fixture.vaddr_of("seen")));
    fixture.run("strip", &["program"]);
    check(
        &fixture,
        &[hidden, seen],
        expect![[r#"
            -
            seen
        "#]],
    );
}

#[test]
fn stubs_of_calls_into_other_libraries_are_named_by_what_they_jump_to() {
    let library = Fixture::compile_cpp("namespace app { void work(int) {} }", &["-shared", "-fPIC"]);
    let source = "namespace app { void work(int); } int main() { app::work(1); }";
    let library = library.path().to_string_lossy().into_owned();
    let fixture =
        Fixture::compile_cpp(source, &[&["-fuse-ld=bfd", "-Wl,-z,lazy", &library], &FAR[..]].concat());
    let code = fixture.tool("objdump", &["-d", "-j", ".plt"]);
    let stub = code.lines().find(|line| line.ends_with("<_ZN3app4workEi@plt>:")).unwrap();
    let stub = u64::from_str_radix(stub.split_whitespace().next().unwrap(), 16).unwrap();
    fixture.run("strip", &["program"]);
    let stub = fixture.offset_of(ElfVaddr(stub));
    check(
        &fixture,
        &[stub, FileOffset(stub.0 + 11)],
        expect![[r#"
            app::work(int)@plt (_ZN3app4workEi@plt)
            app::work(int)@plt (_ZN3app4workEi@plt)
        "#]],
    );
}

#[test]
fn stubs_of_indirect_functions_are_named_where_symbols_are() {
    let source = "static int two(void) { return 2; } static int (*pick(void))(void) { return two; } \
                  int chosen(void) __attribute__((ifunc(\"pick\"))); int main(void) { return chosen(); }";
    let fixture = Fixture::compile(source, &["-static", "-O1"]);
    let main = fixture.tool("objdump", &["-d", "--no-show-raw-insn", "--disassemble=main"]);
    let call = main.lines().find_map(|line| line.split_once("call ")).unwrap().1;
    let stub = u64::from_str_radix(call.split_whitespace().next().unwrap(), 16).unwrap();
    let stub = fixture.offset_of(ElfVaddr(stub));
    check(
        &fixture,
        &[stub],
        expect![[r#"
            chosen@plt
        "#]],
    );
    fixture.run("strip", &["program"]);
    check(
        &fixture,
        &[stub],
        expect![[r#"
            -
        "#]],
    );
}

#[test]
fn a_stripped_program_begins_in_start() {
    let fixture = Fixture::compile("int main(void) { return 0; }", &[]);
    let entry = fixture.offset_of(fixture.vaddr_of("_start"));
    fixture.run("strip", &["program"]);
    check(
        &fixture,
        &[entry, FileOffset(entry.0 + 0x20), FileOffset(entry.0 + 48)],
        expect![[r#"
            _start
            _start
            -
        "#]],
    );
}

#[test]
fn a_deleted_file_is_named_while_it_is_held_open() {
    let fixture = Fixture::compile(INLINING, &[&["-O2", "-g"], &FAR[..]].concat());
    let store = fixture.offset_of(store_to_sink(&fixture));
    let file = fixture.open();
    std::fs::remove_file(fixture.path()).unwrap();
    let names = names(&file, Path::new("/gone"), &[store]).unwrap();
    let functions: Vec<_> = names.addresses[0].iter().map(|line| &*line.function.name).collect();
    assert_eq!(functions, ["innermost", "middle", "outer"]);
}

#[test]
fn a_symbol_table_inside_the_file_is_unpacked() {
    // As Fedora does it: the symbols that strip would remove, in an xz-compressed file in a section.
    let fixture = Fixture::compile(
        "static int hidden(int n) { return n; } int main(int n, char **v) { return hidden(n); }",
        &FAR,
    );
    let hidden = fixture.offset_of(fixture.vaddr_of("hidden"));
    fixture.run("objcopy", &["--only-keep-debug", "program", "mini"]);
    fixture.run("xz", &["mini"]);
    fixture.run("strip", &["program"]);
    fixture.run("objcopy", &["--add-section", ".gnu_debugdata=mini.xz", "program"]);
    check(&fixture, &[hidden], expect!["hidden\n"]);
}

#[test]
fn a_file_that_is_cut_short_or_damaged_gives_an_error_or_fewer_names() {
    let fixture = Fixture::compile(INLINING, &[&["-O2", "-g"], &FAR[..]].concat());
    let store = fixture.offset_of(store_to_sink(&fixture));
    let whole = std::fs::read(fixture.path()).unwrap();
    for length in [0, 4, 63, 64, 500, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(fixture.folder().join("cut"), &whole[..length]).unwrap();
        let file = File::open(fixture.folder().join("cut")).unwrap();
        if let Ok(names) = names(&file, &fixture.path(), &[store]) {
            assert_eq!(names.addresses.len(), 1);
        }
    }
    let empty = TinyElf::new().load(0, 0x1000, u64::MAX, 5).bytes();
    std::fs::write(fixture.folder().join("empty"), empty).unwrap();
    let file = File::open(fixture.folder().join("empty")).unwrap();
    assert_eq!(show(&names(&file, &fixture.path(), &[store]).unwrap()), "-\n");
}

/// Every address of a program's text.
fn text(fixture: &Fixture) -> Vec<FileOffset> {
    let elf = OpenElf::read(fixture.open()).unwrap();
    let text = elf.sections.named(b".text").unwrap();
    (text.at..text.at + text.bytes).map(FileOffset).collect()
}

#[test]
fn names_that_were_kept_are_those_of_a_first_look() {
    for flags in [&["-O2", "-g"][..], &["-O2"], &["-O2", "-s"]] {
        let fixture = Fixture::compile(INLINING, &[flags, &FAR].concat());
        let (all, file, path) = (text(&fixture), fixture.open(), fixture.path());
        let expected = names(&file, &path, &all).unwrap();
        let mut known = KnownFile::default();
        let native = NativeFile { file: Some(&file), path: &path, process: None };
        // In an order in which each is far from the one before.
        let mut position = 0;
        for _ in &all {
            position = (position + 89) % all.len();
            let found =
                namer().name(native, &mut known, &[all[position]], &mut ReaderBudget::unlimited()).unwrap();
            assert_eq!(found.addresses[0], expected.addresses[position], "{position:#x} {flags:?}");
        }
        let closed = NativeFile { file: None, ..native };
        let again = namer().name(closed, &mut known, &all, &mut ReaderBudget::unlimited()).unwrap();
        assert_eq!(again.addresses, expected.addresses, "{flags:?}");
    }
}

#[test]
fn one_address_makes_its_whole_function_known() {
    let fixture = Fixture::compile(INLINING, &[&["-O2", "-g"], &FAR[..]].concat());
    let store = store_to_sink(&fixture);
    let (mut known, file, path) = (KnownFile::default(), fixture.open(), fixture.path());
    let native = NativeFile { file: Some(&file), path: &path, process: None };
    let mut budget = ReaderBudget::unlimited();
    namer().name(native, &mut known, &[fixture.offset_of(store)], &mut budget).unwrap();
    // No reader answers any more, and none is asked.
    let without = NativeNamer::new(
        DebugFiles::of_host(&ProcFs::host()).unwrap(),
        DebugReader::program("/nonexistent".into(), Vec::new()),
    );
    let beside = fixture.offset_of(fixture.vaddr_of("outer"));
    let found = without.name(native, &mut known, &[beside], &mut budget).unwrap();
    expect![[r#"
        middle program.c:7 from 6 < outer program.c:10 from 9
    "#]]
    .assert_eq(&show(&found).replace(&format!("{}/", fixture.folder().display()), ""));
    let elsewhere = fixture.offset_of(fixture.vaddr_of("main"));
    let found = without.name(native, &mut known, &[elsewhere], &mut budget).unwrap();
    assert_eq!(found.problems.len(), 1);
    let found = without.name(native, &mut known, &[elsewhere], &mut budget).unwrap();
    assert!(found.problems.is_empty(), "told once");
}

#[test]
fn who_waits_for_debug_information_has_symbols_until_then() {
    let fixture = Fixture::compile(INLINING, &[&["-O2", "-g"], &FAR[..]].concat());
    let store = fixture.offset_of(store_to_sink(&fixture));
    let (mut known, file, path) = (KnownFile::default(), fixture.open(), fixture.path());
    let native = NativeFile { file: Some(&file), path: &path, process: None };
    let mut budget = ReaderBudget::limited(std::time::Duration::ZERO, 1);
    for _ in 0..2 {
        let found = namer().name(native, &mut known, &[store], &mut budget).unwrap();
        assert_eq!((show(&found).as_str(), found.waiting), ("outer\n", 1));
    }
    let found = namer().name(native, &mut known, &[store], &mut ReaderBudget::unlimited()).unwrap();
    assert_eq!((found.addresses[0].len(), found.waiting), (3, 0));
}

#[test]
fn debug_information_that_kills_its_reader_leaves_the_symbols() {
    let fixture = Fixture::compile(INLINING, &[&["-O2", "-g"], &FAR[..]].concat());
    let store = fixture.offset_of(store_to_sink(&fixture));
    let namer = NativeNamer::new(
        DebugFiles::of_host(&ProcFs::host()).unwrap(),
        DebugReader::program("/bin/sh".into(), vec!["-c".into(), "kill -SEGV $$".into()]),
    );
    let file = fixture.open();
    let named = NativeFile { file: Some(&file), path: &fixture.path(), process: None };
    let names = ask(&namer, named, &[store]).unwrap();
    expect![[r#"
        outer
        problem: read debug information in a process of its own: it ended without an answer
    "#]]
    .assert_eq(&show(&names));
}

#[test]
fn libc_is_named_through_its_debug_package() {
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let Ok(file) = File::open(libc) else {
        eprintln!("skipped: no {}", libc.display());
        return;
    };
    let elf = OpenElf::read(file.try_clone().unwrap()).unwrap();
    let Some(debug) = DebugFiles::of_host(&ProcFs::host()).unwrap().find(&elf, libc, None) else {
        eprintln!("skipped: libc6-dbg is not installed");
        return;
    };
    // A static function, which the library itself has no symbol for.
    let table = debug.sections.symbols().unwrap();
    let code = elf.headers.segments().iter().find(|segment| segment.executable).unwrap();
    let every: Vec<_> = (0..code.file_bytes).step_by(16).map(|at| ElfVaddr(code.vaddr.0 + at)).collect();
    let found = find_symbols_of(Kinds::Code, &debug.file, &debug.headers, table, &every).unwrap();
    let found: Vec<_> = found.into_iter().map(|found| found.symbol).collect();
    let symbol = found.iter().flatten().find(|symbol| &*symbol.name == "_int_malloc").unwrap();
    let at = FileOffset(symbol.start.0 - code.vaddr.0 + code.file_offset.0);
    let names = names(&file, libc, &[at]).unwrap();
    let line = names.addresses[0].last().unwrap();
    assert_eq!(&*line.function.name, "_int_malloc");
    assert!(line.function.file.ends_with("malloc.c"), "{}", line.function.file);
    assert!(line.line > 0 && line.function.start_line > 0 && line.line >= line.function.start_line);
}
