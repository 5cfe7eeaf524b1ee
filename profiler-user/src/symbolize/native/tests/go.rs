//! Go programs, stripped or not → the same names, files and lines, by Go's own table.

use super::*;
use crate::elf::ElfHeaders;
use crate::symbolize::NamedLine;

const SOURCE: &str = r#"package main

import "fmt"

type stove struct{ value uint64 }

//go:noinline
func (s *stove) burn(steps int) uint64 {
	for i := 0; i < steps; i++ {
		s.value = mix(s.value)
	}
	return s.value
}

func mix(value uint64) uint64 {
	return value ^ value<<13
}

func main() {
	fmt.Println((&stove{1}).burn(3))
}
"#;

const CGO_SOURCE: &str = r#"package main

// int twice(int n) { return 2 * n; }
import "C"

//go:noinline
func ask(n int) int { return int(C.twice(C.int(n))) }

func main() { println(ask(3)) }
"#;

/// Places all over the code of a program; none are return addresses.
fn places(fixture: &Fixture, step: usize) -> Vec<FileOffset> {
    let headers = ElfHeaders::read(&fixture.open()).unwrap();
    let code = headers.segments().iter().find(|segment| segment.executable).unwrap();
    (0..code.file_bytes).step_by(step).map(|into| FileOffset(code.file_offset.0 + into)).collect()
}

fn named(fixture: &Fixture, wanted: &[FileOffset]) -> Vec<Arc<NamedAddress>> {
    let names = names(&fixture.open(), &fixture.path(), wanted).unwrap();
    assert!(names.problems.is_empty(), "{:?}", names.problems);
    names.addresses
}

/// The function at each place that has one whose name begins so.
fn functions<'a>(named: &'a [Arc<NamedAddress>], prefix: &str) -> Vec<&'a NamedLine> {
    named
        .iter()
        .flat_map(|address| address.iter())
        .filter(|line| line.function.name.starts_with(prefix))
        .collect()
}

#[test]
fn without_symbols_and_debug_information_names_files_and_lines_are_the_same() {
    let Some(fixture) = Fixture::go(SOURCE, &[]) else { return };
    let wanted = places(&fixture, 397);
    let before = named(&fixture, &wanted);
    fixture.run("strip", &["program"]);
    let after = named(&fixture, &wanted);
    let (mut compared, mut with_line, mut wrong) = (0, 0, Vec::new());
    for (before, after) in before.iter().zip(&after) {
        let Some(oracle) = before.last() else { continue };
        let Some(found) = after.last() else {
            wrong.push(format!("{oracle:?} has no name"));
            continue;
        };
        compared += 1;
        with_line += usize::from(found.line != 0);
        // The linker tells functions of two calling conventions apart, and writes the types of generic ones.
        let oracle_name = oracle.function.name.trim_end_matches(".abi0");
        let is_name = oracle_name == &*found.function.name
            || (oracle_name.contains('[') && found.function.name.contains("[...]"));
        // Debug information counts from a folder, which was trimmed away, and has the file of what is inlined.
        let oracle_file = oracle.function.file.trim_start_matches("./");
        let is_file = found.line == 0
            || oracle_file.is_empty()
            || oracle_file == found.function.file.trim_start_matches("./");
        let is_line = found.line == 0 || oracle.line == 0 || oracle.line == found.line;
        if !is_name || !is_file || !is_line || after.len() != 1 {
            wrong.push(format!("{oracle:?} is called {found:?}"));
        }
    }
    println!("{compared} compared, {with_line} with lines, {} wrong", wrong.len());
    wrong.iter().take(20).for_each(|wrong| println!("{wrong}"));
    assert!(compared > 500 && with_line * 2 > compared, "{compared} compared, {with_line} with lines");
    assert!(wrong.len() * 200 < compared, "{} of {compared} are wrong", wrong.len());
}

#[test]
fn programs_that_were_linked_without_symbols_are_named() {
    for flags in [&["-ldflags=-s -w"][..], &["-buildmode=pie", "-ldflags=-s -w"]] {
        let Some(fixture) = Fixture::go(SOURCE, flags) else { return };
        let named = named(&fixture, &places(&fixture, 16));
        let burn = functions(&named, "main.(*stove).burn");
        assert!(!burn.is_empty(), "{flags:?}");
        for line in burn {
            assert!(line.function.file.ends_with("main.go"), "{line:?}");
            assert_eq!(line.function.start_line, 8, "{line:?}");
            // Of the inlined function no line is told rather than its line in this one.
            assert!(line.line == 0 || (8..=12).contains(&line.line), "{line:?}");
        }
        assert!(functions(&named, "main.mix").is_empty(), "inlined everywhere");
        assert!(!functions(&named, "runtime.mallocgc").is_empty(), "{flags:?}");
    }
}

#[test]
fn a_line_table_that_was_left_out_is_made_up_for() {
    let Some(fixture) = Fixture::go(SOURCE, &["-ldflags=-w"]) else { return };
    let burn = fixture.offset_of(fixture.vaddr_of("main.(*stove).burn"));
    let named = named(&fixture, &[burn]);
    let [line] = &named[0][..] else { panic!("{named:?}") };
    assert_eq!((&*line.function.name, line.function.start_line), ("main.(*stove).burn", 8));
    assert!(line.function.file.ends_with("main.go"), "{line:?}");
}

#[test]
fn c_code_in_a_stripped_go_program_gets_no_go_name() {
    for mode in ["exe", "pie"] {
        let Some(fixture) = Fixture::go(CGO_SOURCE, &[&format!("-buildmode={mode}")]) else { return };
        let wanted = ["main.ask", "twice"].map(|name| {
            fixture.tool("nm", &[]).lines().find_map(|line| {
                let (at, found) = (line.split_whitespace().next()?, line.split_whitespace().last()?);
                (found == name).then(|| u64::from_str_radix(at, 16).unwrap())
            })
        });
        let [Some(ask), Some(twice)] = wanted else { panic!("{wanted:?}") };
        let wanted = [ask, twice].map(|at| fixture.offset_of(ElfVaddr(at)));
        fixture.run("strip", &["program"]);
        let named = named(&fixture, &wanted);
        let ask: Vec<_> = named[0].iter().map(|line| &*line.function.name).collect();
        assert_eq!(ask, ["main.ask"], "{mode}");
        // Some versions of Go have the linker keep the names of C functions.
        let twice: Vec<_> = named[1].iter().map(|line| &*line.function.name).collect();
        assert!(twice.is_empty() || twice == ["twice"], "{mode}: {twice:?}");
    }
}

#[test]
fn a_damaged_table_leaves_the_symbols() {
    let Some(fixture) = Fixture::go(SOURCE, &["-ldflags=-w"]) else { return };
    let burn = fixture.offset_of(fixture.vaddr_of("main.(*stove).burn"));
    fixture.run("objcopy", &["--dump-section", ".gopclntab=table", "program"]);
    let mut table = std::fs::read(fixture.folder().join("table")).unwrap();
    table[8..16].fill(0xff); // the number of functions
    std::fs::write(fixture.folder().join("table"), table).unwrap();
    fixture.run("objcopy", &["--update-section", ".gopclntab=table", "program"]);
    let names = names(&fixture.open(), &fixture.path(), &[burn]).unwrap();
    assert_eq!(&*names.addresses[0][0].function.name, "main.(*stove).burn");
    assert_eq!(names.problems.len(), 1);
}
