//! Stacks of arm64, recorded under qemu's user mode: walked by our rows and our step, by framehop, and as the program says.
//!
//! ```text
//!   arm64.c ─ aarch64-linux-gnu-gcc ─▶ program ─ qemu-aarch64 -cpu max ─▶ registers, mappings, stacks ─▶ walk
//! ```
//!
//! That CPU signs return addresses, and its emulation has a signal trampoline of its own, without rows.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use framehop::Unwinder as _;
use framehop::aarch64::{CacheAarch64, PtrAuthMask, UnwindRegsAarch64, UnwinderAarch64};
use profiler_common::address::{CodeAddr, FileOffset, RuntimeAddr};
use profiler_common::unwind_rule::Rule;
use profiler_common::unwind_step::{ARM64_ADDRESS_MASK, Arch, Regs, StepOutcome, step};

use super::stopped::{Mapped, hexadecimal, mapped};
use super::walk::framehop_module;
use crate::elf::ElfHeaders;
use crate::unwind::{Budget, FileRows, read_rows};

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian has the libraries of programs for another machine.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// What a program was when it stood still.
struct Recorded {
    registers: [u64; 33],
    maps: Vec<Mapped>,
    memory: Vec<(u64, Vec<u8>)>,
}

/// Not into the runner's buffer, which it keeps to itself when a test passes.
pub(super) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED: unwind::tests::{test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(log) = std::env::var_os("FLAMEKEEPER_SKIP_LOG") {
        let mut file = File::options().append(true).create(true).open(log).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Whether programs for arm64 can be made and run here; else the test says that it was skipped.
fn can_record(test: &str) -> bool {
    let runs = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    let missing = [COMPILER, EMULATOR].into_iter().find(|program| !runs(program));
    if let Some(missing) = missing {
        skip(&format!("arm64::{test}"), &format!("{missing} is not installed"));
    }
    missing.is_none()
}

/// How compilers tell the assembler which return addresses are signed.
const SIGNED: [&str; 2] = [".cfi_negate_ra_state", ".cfi_window_save"];

struct Program(tempfile::TempDir);

impl Program {
    fn compile(flags: &[&str]) -> Self {
        let program = Self::source();
        program.run_compiler(&[&["arm64.c", "-o", "program"], flags].concat());
        program
    }

    /// By way of assembly, out of which everything is left that tells which return addresses are signed.
    fn compile_silent(flags: &[&str]) -> Self {
        let program = Self::source();
        program.run_compiler(&[&["-S", "arm64.c", "-o", "all.s"], flags].concat());
        let all = fs::read_to_string(program.0.path().join("all.s")).unwrap();
        let silent: String =
            all.split_inclusive('\n').filter(|line| !SIGNED.iter().any(|mark| line.contains(mark))).collect();
        assert!(silent.len() < all.len(), "{flags:?} sign nothing");
        fs::write(program.0.path().join("silent.s"), silent).unwrap();
        program.run_compiler(&["silent.s", "-o", "program"]);
        program
    }

    fn source() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("arm64.c"), include_str!("arm64.c")).unwrap();
        Self(folder)
    }

    fn run_compiler(&self, arguments: &[&str]) {
        let mut command = Command::new(COMPILER);
        let output = command.current_dir(self.0.path()).arg("-pthread").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("program")
    }

    fn record(&self, what: &str) -> Recorded {
        let file = self.0.path().join("recorded");
        let status = Command::new(EMULATOR)
            .args(["-cpu", "max", "-L", LIBRARIES])
            .arg(self.path())
            .arg(what)
            .arg(&file)
            .status()
            .unwrap();
        assert!(status.success(), "{what}: {status}");
        Recorded::parse(&fs::read_to_string(file).unwrap())
    }

    /// Its own functions: linked addresses and names, without those of other files.
    fn functions(&self) -> Vec<(std::ops::Range<u64>, String)> {
        let output = Command::new("readelf").args(["--wide", "--symbols"]).arg(self.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let function = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, at, bytes, "FUNC", _, _, _, name] = words[..] else { return None };
            let at = hexadecimal(at);
            Some((at..at + bytes.parse::<u64>().ok()?, name.to_owned()))
        };
        text.lines().filter_map(function).collect()
    }
}

impl Recorded {
    fn parse(text: &str) -> Self {
        let mut recorded = Self { registers: [0; 33], maps: Vec::new(), memory: Vec::new() };
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').unwrap();
            match kind {
                "map" => recorded.maps.push(mapped(rest)),
                "reg" => {
                    let (number, value) = rest.split_once(' ').unwrap();
                    recorded.registers[number.parse::<usize>().unwrap()] = hexadecimal(value);
                }
                "mem" => {
                    let (start, words) = rest.split_once(' ').unwrap();
                    let words = words.as_bytes().chunks(16).map(|word| std::str::from_utf8(word).unwrap());
                    let bytes = words.flat_map(|word| hexadecimal(word).to_le_bytes()).collect();
                    recorded.memory.push((hexadecimal(start), bytes));
                }
                other => panic!("{other}"),
            }
        }
        recorded
    }

    fn read(&self, at: u64) -> Option<u64> {
        let piece = |(start, bytes): &(u64, Vec<u8>)| {
            let into = usize::try_from(at.checked_sub(*start)?).ok()?;
            bytes.get(into..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
        };
        self.memory.iter().find_map(piece)
    }

    fn code_at(&self, at: u64) -> Option<&Mapped> {
        self.maps.iter().find(|mapped| mapped.executable && (mapped.start..mapped.end).contains(&at))
    }

    fn regs(&self) -> Regs {
        let [fp, lr, sp, pc] = [29, 30, 31, 32].map(|number: usize| self.registers[number]);
        Regs { pc: CodeAddr::Interrupted(RuntimeAddr(pc)), sp, fp, lr, bx: 0 }
    }

    /// All frames, and the outcome that is not a frame.
    fn walk(&self) -> (Vec<CodeAddr<RuntimeAddr>>, StepOutcome) {
        let mut files: HashMap<&str, Option<(ElfHeaders, FileRows)>> = HashMap::new();
        let mut rule_at = |at: u64| {
            let mapped = self.code_at(at)?;
            let known = files.entry(&mapped.path).or_insert_with(|| rows_of(&mapped.path));
            let (headers, rows) = known.as_ref()?;
            Some(rows.rule_at(headers.code_vaddr(FileOffset(at - mapped.start + mapped.offset))?))
        };
        let arch = Arch::Arm64 { address_mask: ARM64_ADDRESS_MASK };
        let (mut regs, mut frames) = (self.regs(), Vec::new());
        loop {
            frames.push(regs.pc);
            let rule = rule_at(regs.pc.lookup().0).unwrap_or(Rule::GAP);
            let leaf =
                |number| self.registers.get(usize::from(number)).copied().filter(|_| frames.len() == 1);
            let is_code = |at: RuntimeAddr| self.code_at(at.0).is_some();
            match step(arch, &regs, rule, leaf, |at| self.read(at.0), is_code) {
                StepOutcome::Frame(caller) if frames.len() < 1000 => regs = caller,
                end => return (frames, end),
            }
        }
    }

    fn by_framehop(&self) -> Vec<u64> {
        let mut unwinder: UnwinderAarch64<Vec<u8>> = UnwinderAarch64::new();
        for mapped in self.maps.iter().filter(|mapped| mapped.executable && mapped.path.starts_with('/')) {
            unwinder.add_module(framehop_module(mapped));
        }
        let Regs { pc, sp, fp, lr, .. } = self.regs();
        let mask = PtrAuthMask(ARM64_ADDRESS_MASK);
        let regs = UnwindRegsAarch64::new_with_ptr_auth_mask(mask, lr, sp, fp);
        let mut cache = CacheAarch64::<framehop::MayAllocateDuringUnwind>::new_in();
        let mut read = |at: u64| self.read(at).ok_or(());
        let mut frames = unwinder.iter_frames(pc.lookup().0, regs, &mut cache, &mut read);
        let mut found = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            found.push(frame.address());
        }
        found
    }

    /// The program's functions on the stack, innermost first.
    fn names(&self, program: &Program, frames: &[CodeAddr<RuntimeAddr>]) -> Vec<String> {
        let path = program.path();
        let headers = ElfHeaders::read(&File::open(&path).unwrap()).unwrap();
        let functions = program.functions();
        let name = |at: &CodeAddr<RuntimeAddr>| {
            let at = at.lookup().0;
            let mapped = self.code_at(at).filter(|mapped| Path::new(&mapped.path) == path)?;
            let vaddr = headers.code_vaddr(FileOffset(at - mapped.start + mapped.offset))?;
            let function = functions.iter().find(|(range, _)| range.contains(&vaddr.0));
            function.map(|(_, name)| name.clone())
        };
        frames.iter().filter_map(name).filter(|name| OWN.contains(&name.as_str())).collect()
    }

    /// Words of the stacks that are addresses of code with something in their upper bits.
    fn signed_return_addresses(&self) -> usize {
        let words = self.memory.iter().flat_map(|(_, bytes)| bytes.chunks_exact(8));
        let words = words.map(|word| u64::from_le_bytes(*word.first_chunk().unwrap()));
        let is_signed =
            |word: &u64| word & !ARM64_ADDRESS_MASK != 0 && self.code_at(word & ARM64_ADDRESS_MASK).is_some();
        words.filter(is_signed).count()
    }
}

const OWN: [&str; 14] = [
    "_start",
    "main",
    "leaf",
    "with_frame",
    "compare",
    "deep",
    "aligned",
    "large_frame",
    "never",
    "ends_in_noreturn",
    "on_signal",
    "poke",
    "poke_with_frame",
    "in_coroutine",
];

fn rows_of(path: &str) -> Option<(ElfHeaders, FileRows)> {
    let file = File::open(path).ok()?;
    let headers = ElfHeaders::read(&file).unwrap();
    let rows = read_rows(&file, &headers, Budget::default()).unwrap();
    Some((headers, rows))
}

/// What a program is told to do, what is on its stack then, and whether framehop finds its way.
fn stacks() -> Vec<(&'static str, Vec<&'static str>, ByFramehop)> {
    let through_qsort = |deep: usize| [vec!["leaf", "compare"], vec!["deep"; deep]].concat();
    vec![
        ("deep", [through_qsort(61), vec!["main", "_start"]].concat(), ByFramehop::Same),
        ("aligned", vec!["with_frame", "aligned", "main", "_start"], ByFramehop::Same),
        ("large", vec!["with_frame", "large_frame", "main", "_start"], ByFramehop::Same),
        ("noreturn", vec!["with_frame", "never", "ends_in_noreturn", "main", "_start"], ByFramehop::Same),
        ("thread", through_qsort(21), ByFramehop::AllButTheRoot),
        // It knows no trampoline without rows, and takes what lies behind a coroutine for a frame.
        ("signal", vec!["leaf", "on_signal", "poke", "main", "_start"], ByFramehop::Astray),
        (
            "signal with frame",
            vec!["leaf", "on_signal", "poke_with_frame", "main", "_start"],
            ByFramehop::Astray,
        ),
        ("coroutine", vec!["with_frame", "in_coroutine"], ByFramehop::Astray),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum ByFramehop {
    Same,
    /// It takes the code that `clone` starts a thread with for no frame.
    AllButTheRoot,
    Astray,
}

/// Walks all of them.
fn check(program: &Program, framehop_reads_rows: bool, is_signed: bool) {
    for (what, names, by_framehop) in stacks() {
        let recorded = program.record(what);
        let (frames, end) = recorded.walk();
        assert_eq!(end, StepOutcome::Root, "{what}: {frames:x?}");
        assert_eq!(recorded.names(program, &frames), names, "{what}: {frames:x?}");
        assert_eq!(recorded.signed_return_addresses() > 0, is_signed, "{what}");
        let exact = |at: &CodeAddr<RuntimeAddr>| match at {
            CodeAddr::Interrupted(at) | CodeAddr::Return(at) => at.0,
        };
        let frames: Vec<u64> = frames.iter().map(exact).collect();
        let framehop = recorded.by_framehop();
        match by_framehop {
            ByFramehop::Same if framehop_reads_rows => assert_eq!(frames, framehop, "{what}"),
            ByFramehop::AllButTheRoot if framehop_reads_rows => {
                assert_eq!(frames[..frames.len() - 1], framehop, "{what}");
            }
            _ => {}
        }
    }
}

#[test]
fn stacks_without_frame_pointers_are_those_of_framehop_and_of_the_program() {
    if !can_record("stacks_without_frame_pointers_are_those_of_framehop_and_of_the_program") {
        return;
    }
    check(&Program::compile(&["-O2", "-fomit-frame-pointer"]), true, false);
    check(&Program::compile(&["-O2", "-fomit-frame-pointer", "-static"]), true, false);
}

#[test]
fn signed_return_addresses_lose_their_code() {
    if !can_record("signed_return_addresses_lose_their_code") {
        return;
    }
    let signed = ["-O2", "-fomit-frame-pointer", "-mbranch-protection=standard"];
    // framehop does not know the instruction that says what is signed, and needs none to leave the code out.
    check(&Program::compile_silent(&signed), true, true);
    check(&Program::compile(&signed), false, true);
}
