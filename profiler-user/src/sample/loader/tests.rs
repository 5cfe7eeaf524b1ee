//! The committed objects, looked at as files.

use std::ops::Range;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};
use profiler_common::abi::{FOR_NEW_KERNELS, FOR_OLD_KERNELS};

type Elf<'data> = ElfFile64<'data, object::LittleEndian>;

/// Instructions that call or name a function of the object's own, by their places in the section
/// (`BPF_CALL` with `BPF_PSEUDO_CALL`, include/uapi/linux/bpf.h; else a relocation to code).
fn calls(file: &Elf<'_>, name: &str) -> Vec<u64> {
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
    let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
    let own: Range<u64> = symbol.address()..symbol.address() + symbol.size();
    let is_call = |instruction: &[u8]| instruction[0] == 0x85 && instruction[1] >> 4 == 1;
    let instructions = (0..).step_by(8).zip(section.data().unwrap().chunks_exact(8));
    let called = instructions.filter(|(_, instruction)| is_call(instruction)).map(|(at, _)| at);
    let names_code = |target| match target {
        RelocationTarget::Symbol(index) => {
            let named = file.symbol_by_index(index).unwrap().section_index();
            named.is_some_and(|section| file.section_by_index(section).unwrap().kind() == SectionKind::Text)
        }
        _ => false,
    };
    let named =
        section.relocations().filter(|(_, relocation)| names_code(relocation.target())).map(|(at, _)| at);
    let mut places: Vec<u64> = called.chain(named).filter(|at| own.contains(at)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// 5.10 on arm64 refuses tail calls in a program that has a function of its own, even one that is never called
/// (check_map_func_compatibility in its kernel/bpf/verifier.c), and no kernel before 5.13 knows callbacks.
#[test]
fn programs_for_old_kernels_have_no_function_of_their_own() {
    for architecture in ["x86_64", "aarch64"] {
        let name = format!("../profiler-ebpf/prebuilt/flamekeeper-{architecture}.o");
        let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let file = Elf::parse(bytes.as_slice()).unwrap();
        for old in FOR_OLD_KERNELS.into_iter().filter(|name| !FOR_NEW_KERNELS.contains(name)) {
            assert_eq!(calls(&file, old), Vec::<u64>::new(), "{architecture} {old}");
        }
        // That they would be found.
        assert!(!calls(&file, "on_tick").is_empty(), "{architecture} on_tick");
    }
}
