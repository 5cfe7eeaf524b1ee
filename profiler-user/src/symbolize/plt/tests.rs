//! Programs of several linkers → the names of all their stubs, against objdump's and readelf's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::elf::fixture::Fixture;

const LIBRARY: &str = "void tiny_one(void) {} void tiny_two(void) {} void tiny_three(void) {}";

/// One function is only called, one is also pointed to, which some linkers keep elsewhere.
const PROGRAM: &str = "void tiny_one(void); void tiny_two(void); void tiny_three(void); void (*volatile pointer)(void); \
    int main(void) { pointer = tiny_two; tiny_two(); tiny_one(); tiny_three(); pointer(); return 0; }";

/// A program that calls into a library, and the tools to look at it.
struct Linked {
    program: Fixture,
    tools: &'static str,
}

impl Linked {
    /// `compiler`: with what is in front of the names of its tools.
    fn by(tools: &'static str, flags: &[&str]) -> Option<Self> {
        let compiler = format!("{tools}gcc");
        if Command::new(&compiler).arg("--version").output().is_err() {
            println!("skipped: no {compiler}");
            return None;
        }
        let alone = ["-O1", "-nostdlib"];
        let library = Fixture::compile_by(&compiler, LIBRARY, &[&alone[..], &["-shared", "-fPIC"]].concat());
        let library = library.path().to_string_lossy().into_owned();
        let flags = [&alone[..], &["-Wl,--entry=main", "-Wl,--no-as-needed", &library], flags].concat();
        Some(Self { program: Fixture::compile_by(&compiler, PROGRAM, &flags), tools })
    }

    fn objdump(&self) -> String {
        self.program.tool(&format!("{}objdump", self.tools), &["-d", "--no-show-raw-insn"])
    }

    /// The name that objdump gives to each instruction in a section of stubs. Where a table is made of two it names
    /// the jumps only; the others push the number of a relocation, for which readelf gives the name.
    fn oracle(&self) -> BTreeMap<u64, Option<String>> {
        let text = self.objdump();
        let by_number = self.by_number();
        let (mut is_stubs, mut label) = (false, None);
        let (mut names, mut numbered) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(section) = line.strip_prefix("Disassembly of section ") {
                is_stubs = SECTIONS.contains(&section.trim_end_matches(':').as_bytes());
            } else if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
                label = name.ends_with("@plt").then(|| name.to_owned());
            } else if is_stubs
                && let Some((at, instruction)) = line.split_once(":\t")
                && let Ok(at) = u64::from_str_radix(at.trim(), 16)
            {
                if label.is_none()
                    && let Some(number) = instruction.trim_start_matches("push").trim().strip_prefix("$0x")
                {
                    numbered.insert(at & !0xf, by_number[usize::from_str_radix(number, 16).unwrap()].clone());
                }
                names.insert(at, label.clone());
            }
        }
        for (at, name) in names.iter_mut().filter(|(_, name)| name.is_none()) {
            *name = numbered.get(&(at & !0xf)).cloned();
        }
        names
    }

    /// Names of stubs in the order of their relocations.
    fn by_number(&self) -> Vec<String> {
        let text = self.program.tool("readelf", &["-rW"]);
        let table = text.split("Relocation section ").find(|table| table.starts_with("'.rela.plt'"));
        let rows = table.unwrap_or_default().lines().filter(|row| row.contains("_JUMP_SLO"));
        let name = |row: &str| format!("{}@plt", row.split_whitespace().rev().nth(2).unwrap());
        rows.map(name).collect()
    }

    fn ours(&self, wanted: impl Iterator<Item = u64>) -> Vec<Option<String>> {
        let file = self.program.open();
        let headers = ElfHeaders::read(&file).unwrap();
        let sections = Sections::read(&file, &headers).unwrap();
        let wanted: Vec<ElfVaddr> = wanted.map(ElfVaddr).collect();
        let stubs = find_stubs(&file, &headers, &sections, &wanted).unwrap();
        let name = |stub: Option<NamedStub>| match stub?.name {
            StubName::Known(name) => Some(name.to_string()),
            StubName::Indirect(resolver) => Some(format!("*ABS*+{:#x}@plt", resolver.0)),
        };
        stubs.into_iter().map(name).collect()
    }

    /// Every instruction has objdump's name, and there are stubs of all three functions.
    fn check(&self, what: &str) {
        let oracle = self.oracle();
        let ours = self.ours(oracle.keys().copied());
        for ((at, expected), found) in oracle.iter().zip(&ours) {
            let same = expected == found || is_padding(&self.objdump(), *at);
            assert!(same, "{what}: {at:#x} is {expected:?}, not {found:?}\n{}", self.objdump());
        }
        for function in ["tiny_one@plt", "tiny_two@plt", "tiny_three@plt"] {
            let found = ours.iter().flatten().any(|name| name == function);
            assert!(found, "{what}: no {function}\n{}", self.objdump());
        }
    }
}

impl Linked {
    /// For stubs of sizes that objdump does not count in: all code of a stub up to its jump has the name that readelf
    /// gives to the relocation with its number.
    fn check_arm64_by_number(&self, what: &str) {
        let code: Vec<u64> = self.oracle().into_keys().collect();
        let ours = self.ours(code.iter().copied());
        let text = self.objdump();
        let is_jump = |at: &u64| text.contains(&format!("{at:x}:\tbr\tx17"));
        let jumps: Vec<usize> = (0..code.len()).filter(|index| is_jump(&code[*index])).collect();
        let expected = [vec![None], self.by_number().into_iter().map(Some).collect()].concat();
        let found: Vec<_> = jumps.iter().map(|index| ours[*index].clone()).collect();
        assert_eq!(found, expected, "{what}: {text}");
        for index in jumps.iter().skip(1) {
            let stub = (0..3).map(|before| &ours[index - before]);
            assert!(stub.into_iter().all(|name| *name == ours[*index]), "{what}: {text}");
        }
    }
}

/// Behind its jump an arm64 stub may be filled up with an instruction that never runs.
fn is_padding(objdump: &str, at: u64) -> bool {
    let line = objdump.lines().find(|line| line.trim_start().starts_with(&format!("{at:x}:")));
    line.is_some_and(|line| line.ends_with("nop"))
}

/// Where the toolchain keeps a `ld.lld`.
fn lld() -> Option<String> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let rustlib = PathBuf::from(String::from_utf8(sysroot.stdout).ok()?.trim()).join("lib/rustlib");
    let folders = std::fs::read_dir(rustlib).ok()?;
    let found = folders.flatten().map(|target| target.path().join("bin/gcc-ld"));
    found
        .into_iter()
        .find(|folder| folder.join("ld.lld").exists())
        .map(|folder| format!("-B{}", folder.display()))
}

fn can_link_by(flag: &str) -> bool {
    let output = Command::new("gcc").args([flag, "-Wl,--version"]).output();
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: {flag}");
    }
    can
}

#[test]
fn stubs_of_gnu_ld_and_gold_have_objdumps_names() {
    if cfg!(target_arch = "x86_64") {
        let flags = ["-fuse-ld=bfd", "-fcf-protection", "-Wl,-z,lazy", "-Wl,-z,ibtplt"];
        let Some(linked) = Linked::by("", &flags) else { return };
        linked.check("two tables");
        assert!(linked.objdump().contains("section .plt.sec:"));
    }
    for linker in ["-fuse-ld=bfd", "-fuse-ld=gold"] {
        if !can_link_by(linker) {
            continue;
        }
        for flags in [["-Wl,-z,lazy", "-pie"], ["-Wl,-z,now", "-pie"], ["-Wl,-z,lazy", "-no-pie"]] {
            let Some(linked) = Linked::by("", &[&[linker][..], &flags].concat()) else { return };
            linked.check(&format!("{linker} {flags:?}"));
        }
    }
}

#[test]
fn stubs_of_lld_have_objdumps_names() {
    let Some(folder) = lld() else { return println!("skipped: no lld beside rustc") };
    for flags in [&["-Wl,-z,lazy"][..], &["-Wl,-z,now", "-no-pie"], &["-Wl,-z,force-ibt", "-fcf-protection"]]
    {
        let Some(linked) = Linked::by("", &[&[&*folder, "-fuse-ld=lld"][..], flags].concat()) else { return };
        linked.check(&format!("lld {flags:?}"));
    }
    for flags in [&["-Wl,-z,lazy"][..], &["-Wl,-z,force-bti"], &["-Wl,-z,force-bti", "-Wl,-z,pac-plt"]] {
        let flags = [&[&*folder, "-fuse-ld=lld", "-Wl,--no-warnings"][..], flags].concat();
        let Some(linked) = Linked::by("aarch64-linux-gnu-", &flags) else { return };
        linked.check_arm64_by_number(&format!("lld for arm64 {flags:?}"));
    }
}

#[test]
fn stubs_of_arm64_have_objdumps_names() {
    for flags in [
        &["-Wl,-z,lazy"][..],
        &["-Wl,-z,now", "-no-pie"],
        &["-Wl,-z,force-bti", "-mbranch-protection=standard"],
        &["-Wl,-z,pac-plt"],
        &["-Wl,-z,force-bti", "-Wl,-z,pac-plt"],
    ] {
        let Some(linked) = Linked::by("aarch64-linux-gnu-", flags) else { return };
        linked.check(&format!("arm64 {flags:?}"));
    }
}

const INDIRECT: &str = "static int two(void) { return 2; } static int (*pick(void))(void) { return two; } \
    int chosen(void) __attribute__((ifunc(\"pick\"))); int main(void) { return chosen(); }";

#[test]
fn a_stub_of_an_indirect_function_leads_to_its_resolver() {
    for flags in [&["-static", "-O1"][..], &["-O1", "-pie", "-fPIE"]] {
        let program = Fixture::compile_by("gcc", INDIRECT, flags);
        let linked = Linked { program, tools: "" };
        let oracle = linked.oracle();
        let ours = linked.ours(oracle.keys().copied());
        let resolver = linked.program.vaddr_of("chosen").0;
        let name = format!("*ABS*+{resolver:#x}@plt");
        assert!(ours.iter().flatten().any(|found| *found == name), "{flags:?}: {name} is not in {ours:?}");
    }
}

#[test]
fn what_is_no_stub_has_no_name() {
    let Some(linked) = Linked::by("", &["-Wl,-z,lazy"]) else { return };
    let outside = ["main", "_DYNAMIC"].map(|name| linked.program.vaddr_of(name).0);
    assert_eq!(linked.ours(outside.into_iter()), [None, None]);
    assert_eq!(linked.ours([0, u64::MAX].into_iter()), [None, None]);
    let stub = *linked.oracle().iter().find(|(_, name)| name.is_some()).unwrap().0;
    assert!(linked.ours([stub].into_iter())[0].is_some());
    for (removed, left) in [(".rela.plt", false), (".dynsym", false), (".comment", true)] {
        linked.program.run("objcopy", &["--remove-section", removed, "program", "less"]);
        let less = std::fs::read(linked.program.folder().join("less")).unwrap();
        assert_eq!(name_of(&less, stub).unwrap().is_some(), left, "{removed}");
    }
}

fn name_of(elf: &[u8], at: u64) -> Result<Option<NamedStub>, ElfError> {
    let headers = ElfHeaders::read(elf)?;
    let sections = Sections::read(elf, &headers)?;
    Ok(find_stubs(elf, &headers, &sections, &[ElfVaddr(at)])?.remove(0))
}

/// Each byte of the tables, the stubs and the headers set to values that overflow; and files cut short everywhere.
#[test]
fn damaged_files_give_an_error_or_no_name_or_another_one() {
    for tools in ["", "aarch64-linux-gnu-"] {
        let Some(linked) = Linked::by(tools, &["-Wl,-z,lazy"]) else { return };
        let whole = std::fs::read(linked.program.path()).unwrap();
        let stub = *linked.oracle().iter().find(|(_, name)| name.is_some()).unwrap().0;
        let known = name_of(&whole, stub).unwrap();
        assert!(known.is_some());
        let mut changed = 0;
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                changed += usize::from(name_of(&damaged, stub).ok() != Some(known.clone()));
            }
        }
        assert!(changed > 100, "only {changed} damages changed anything");
        for length in (0..whole.len()).step_by(7) {
            let _either = name_of(&whole[..length], stub);
        }
    }
}

#[test]
fn a_table_of_relocations_without_end_is_refused() {
    let Some(linked) = Linked::by("", &["-Wl,-z,lazy"]) else { return };
    let mut elf = std::fs::read(linked.program.path()).unwrap();
    let stub = *linked.oracle().iter().find(|(_, name)| name.is_some()).unwrap().0;
    let text = linked.program.tool("readelf", &["-SW"]);
    let row = text.lines().find(|row| row.contains(".rela.plt")).unwrap();
    let number: usize = row.split(['[', ']']).nth(1).unwrap().trim().parse().unwrap();
    let headers_at = usize::from_ne_bytes(elf[0x28..0x30].try_into().unwrap());
    let size_at = headers_at + number * 64 + 0x20;
    elf[size_at..size_at + 8].fill(0x7f);
    let error = name_of(&elf, stub).unwrap_err().to_string();
    assert_eq!(error, "bytes of relocations: 9187201950435737471 is more than 134217728");
}
