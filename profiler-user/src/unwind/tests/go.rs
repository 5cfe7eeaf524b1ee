//! Go programs by their own table: names, lines and whole stacks, stripped or not.

use std::fs::File;
use std::path::Path;

use profiler_common::address::{ElfVaddr, FileOffset};
use profiler_common::unwind_rule::{Base, Rule, RuleKind};
use profiler_common::unwind_step::StepOutcome;

use super::stopped::Stopped;
use super::walk::walk;
use crate::elf::ElfHeaders;
use crate::elf::fixture::Fixture;
use crate::unwind::go_pclntab::GoTable;
use crate::unwind::{Budget, GoNames, read_rows};

const SOURCE: &str = r#"package main

import "syscall"

//go:noinline
func leaf(n int) int {
	syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
	return n
}

//go:noinline
func deep(n int) int {
	if n == 0 {
		return leaf(1) + 1
	}
	return deep(n-1) + 1
}

func main() { println(deep(50)) }
"#;

const CGO_SOURCE: &str = r#"package main

// #include <signal.h>
// static void halt(void) { raise(SIGSTOP); }
// void into_c(int n) { if (n) into_c(n - 1); else halt(); __asm__ volatile(""); }
import "C"

//go:noinline
func deep(n int) int {
	if n == 0 {
		C.into_c(3)
		return 1
	}
	return deep(n-1) + 1
}

func main() { println(deep(50)) }
"#;

/// The program's own functions on the stack, each once in a row, innermost first.
fn names_on_stack(path: &Path) -> Option<(Vec<String>, StepOutcome)> {
    let file = File::open(path).unwrap();
    let headers = ElfHeaders::read(&file).unwrap();
    let names = GoNames::read(&file, &headers, Budget::default()).unwrap().unwrap();
    let stopped = Stopped::start_program(path, "")?;
    let (frames, end) = walk(&stopped);
    let mut found: Vec<String> = Vec::new();
    for (position, at) in frames.iter().enumerate() {
        let at = if position == 0 { *at } else { at - 1 };
        let Some(mapped) = stopped.code_at(at).filter(|mapped| Path::new(&mapped.path) == path) else {
            continue;
        };
        let vaddr = headers.code_vaddr(FileOffset(at - mapped.start + mapped.offset)).unwrap();
        let Some(place) = names.find(vaddr) else { continue };
        assert!(place.line.is_none_or(|line| line >= place.start_line.unwrap_or(1)), "{place:?}");
        if place.name.starts_with("main.") {
            assert!(
                place
                    .file
                    .as_ref()
                    .is_some_and(|file| file.ends_with("main.go") || file == "_cgo_gotypes.go"),
                "{place:?}"
            );
        }
        if place.name == "main.leaf" {
            assert_eq!((place.start_line, place.line), (Some(6), Some(7)));
        }
        found.push(place.name);
    }
    Some((found, end))
}

/// Which 1.x of Go built a program, by what its linker wrote into it.
fn minor_version(program: &Fixture) -> u32 {
    let bytes = std::fs::read(program.path()).unwrap();
    let mark = b"\xff Go buildinf:";
    let at = bytes.windows(mark.len()).position(|here| here == mark).unwrap();
    let said = String::from_utf8_lossy(&bytes[at..at + 64]);
    let version = said.split_once("go1.").unwrap().1;
    version.chars().map_while(|digit| digit.to_digit(10)).fold(0, |version, digit| version * 10 + digit)
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|other| *other == name).count()
}

#[test]
fn stacks_of_go_programs_are_whole_and_named_also_when_stripped() {
    for flags in [&[][..], &["-ldflags=-s -w"], &["-buildmode=pie", "-ldflags=-s -w"]] {
        let Some(program) = Fixture::go(SOURCE, flags) else { return };
        let Some((names, end)) = names_on_stack(&program.path()) else { return };
        assert_eq!(end, StepOutcome::Root, "{flags:?}: {names:?}");
        assert_eq!((count(&names, "main.deep"), count(&names, "main.leaf")), (51, 1), "{flags:?}: {names:?}");
        let last = names.len() - 3;
        assert_eq!(names[last..], ["main.main", "runtime.main", "runtime.goexit"], "{flags:?}");
    }
}

#[test]
fn a_call_into_c_leads_back_to_its_goroutine() {
    for flags in [&[][..], &["-ldflags=-s -w"], &["-buildmode=pie", "-ldflags=-s -w"]] {
        let Some(program) = Fixture::go(CGO_SOURCE, flags) else { return };
        let Some((names, end)) = names_on_stack(&program.path()) else { return };
        assert_eq!(end, StepOutcome::Root, "{flags:?}: {names:?}");
        assert_eq!(count(&names, "main.deep"), 51, "{flags:?}: {names:?}");
        // Where `asmcgocall` has no frame, its caller's caller follows it.
        let has_frame = minor_version(&program) > 20 || cfg!(not(target_arch = "x86_64"));
        assert_eq!(count(&names, "runtime.cgocall"), usize::from(has_frame), "{flags:?}: {names:?}");
        assert_eq!(names.last().unwrap(), "runtime.goexit", "{flags:?}");
    }
}

/// The linker writes the same sizes into `.debug_frame`. Other than there are roots, and functions that change stacks.
#[test]
fn frame_sizes_are_those_of_the_debug_information() {
    for machine in ["amd64", "arm64"] {
        let flags = ["-ldflags=-compressdwarf=false"];
        let Some(program) = Fixture::go_for(machine, SOURCE, &flags) else { return };
        let compared = super::readelf::compare(&program.path(), false);
        println!("{machine}: {} rows compared, {} unsupported", compared.rows, compared.unsupported);
        for wrong in &compared.wrong {
            println!("  {wrong}");
        }
        assert!(compared.rows > 5000 && compared.wrong.len() < 80, "{machine}");
    }
}

/// Addresses of functions, by the linker's symbols.
fn symbols(program: &Fixture) -> impl Fn(&str) -> u64 + '_ {
    |name| program.vaddr_of(name).0
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_goroutine_that_was_left_by_mcall_is_not_looked_for() {
    let Some(program) = Fixture::go(SOURCE, &[]) else { return };
    let rows = super::readelf::rows_of(&program.path());
    let start = symbols(&program)("runtime.mcall");
    let bytes = std::fs::read(program.path()).unwrap();
    let headers = ElfHeaders::read(&File::open(program.path()).unwrap()).unwrap();
    let text = headers.segments().iter().find(|segment| segment.executable).unwrap();
    let at = usize::try_from(start - text.vaddr.0 + text.file_offset.0).unwrap();
    let calls_r12 = bytes[at..].windows(3).position(|code| code == [0x41, 0xff, 0xd4]).unwrap();
    // Its callee's return address is looked up inside the call; before it has changed stacks there is a caller.
    let call = rows.rule_at(ElfVaddr(start + u64::try_from(calls_r12).unwrap()));
    assert_eq!((call, rows.rule_at(ElfVaddr(start)).kind()), (Rule::END, RuleKind::Register));
}

#[test]
fn a_handler_leads_to_what_it_interrupted() {
    let Some(program) = Fixture::go(SOURCE, &[]) else { return };
    let rows = super::readelf::rows_of(&program.path());
    let at = symbols(&program);
    let is_new = minor_version(&program) > 20;
    let restorer = at(if is_new { "runtime.sigreturn__sigaction.abi0" } else { "runtime.sigreturn.abi0" });
    let before = rows.rule_at(ElfVaddr(restorer - 1));
    assert_eq!(
        [before, rows.rule_at(ElfVaddr(restorer))],
        [Rule::SIGNAL; 2],
        "returned to, and looked up one byte earlier"
    );
    let handler = rows.rule_at(ElfVaddr(at("runtime.sigtramp.abi0") + 16));
    assert_eq!((handler.kind(), handler.base()), (RuleKind::Register, Base::StackPointer));
    assert_eq!(rows.rule_at(ElfVaddr(at("runtime.goexit.abi0"))), Rule::END);
}

#[test]
fn a_table_cut_or_damaged_anywhere_gives_an_answer() {
    let Some(program) = Fixture::go(SOURCE, &[]) else { return };
    let mut bytes = std::fs::read(program.path()).unwrap();
    let file = File::open(program.path()).unwrap();
    let headers = ElfHeaders::read(&file).unwrap();
    let sections = crate::elf::sections::Sections::read(&file, &headers).unwrap();
    let section = sections.named(b".gopclntab").unwrap();
    let start = usize::try_from(section.at).unwrap();
    // Header, then places all over the table.
    let places = (0..72).chain((72..usize::try_from(section.bytes).unwrap()).step_by(49_999));
    for at in places {
        for value in [0, 0x80, 0xff] {
            let before = std::mem::replace(&mut bytes[start + at], value);
            read_rows(&bytes[..], &headers, Budget::default()).ok();
            let names = GoNames::read(&bytes[..], &headers, Budget::default());
            if let Ok(Some(names)) = names {
                let found = (0..200).filter_map(|i| names.find(ElfVaddr(0x40_1000 + i * 997)));
                assert!(found.count() <= 200);
            }
            bytes[start + at] = before;
        }
    }
    let table = bytes[start..start + 4096].to_vec();
    for end in 0..table.len() {
        if let Ok(table) = GoTable::parse(&table[..end], Some) {
            for function in (0..table.len()).filter_map(|number| table.function(number)) {
                assert!(table.name(&function).map_or(0, |name| name.len()) < 4096);
                assert!(table.frame_sizes(&function).count() < 4096);
            }
        }
    }
}
