//! Code that has no unwind information, and that everybody knows → rows.
//!
//! | code | who leaves its rows out | rows |
//! |---|---|---|
//! | the entry point | musl, the dynamic linker, hand-made programs | the outermost frame |
//! | `.plt` and its kin | lld, mold, gold; GNU ld on arm64 | by the form of the stubs |
//! | `__start_context` | glibc says that it is a leaf | the outermost frame of a coroutine of `makecontext` |
//! | `.init`, `.fini` | glibc's crti and crtn on x86_64 | one push of 8 bytes between first and last instruction |
//!
//! What the compiler's start files (crtbegin) leave out beside that keeps a frame pointer where it calls anything.
//! Rows that the file has of its own are not replaced, but for `__start_context`, whose are wrong.

use profiler_common::unwind_rule::{Base, ReturnAddress, Rule};

use super::builder::Builder;
use super::error::UnwindError;
use crate::elf::sections::{Section, Sections};
use crate::elf::{ElfHeaders, LoadSegment, Machine, ReadAt, read_up_to};

/// Entry code is some 30 to 60 bytes; the next function with rows cuts it short.
const ENTRY_BYTES: u64 = 64;
/// The header of `.plt` and one stub.
const STUBS_READ_BYTES: usize = 48;
/// `.init` with what other compilers add to it; usually 27 bytes.
const INIT_BYTES_MAX: u64 = 4096;

const LEAF: Rule = Rule::register(Base::StackPointer, 8);
const PUSHED: Rule = Rule::register(Base::StackPointer, 16);
const ARM64_LEAF: Rule =
    Rule::register(Base::StackPointer, 0).with_return_address(ReturnAddress::LinkRegister);

/// Adds them to the builder.
pub(super) fn read(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    sections: &Sections,
    machine: Machine,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    let entry = headers.entry().0;
    if entry != 0 {
        builder.function(entry, entry.saturating_add(ENTRY_BYTES), Rule::END)?;
    }
    for name in [&b".plt"[..], b".plt.got", b".plt.sec", b".iplt"] {
        let Some(section) = sections.named(name) else { continue };
        match machine {
            Machine::X86_64 if name == b".plt" => x86_64_plt(source, section, builder)?,
            Machine::X86_64 => builder.function(section.vaddr.0, end_of(section), LEAF)?,
            Machine::Arm64 => arm64_plt(section, name == b".plt", builder)?,
        }
    }
    mark_start_context(source, headers, machine, builder);
    if machine == Machine::Arm64 {
        arm64_restorer(source, headers, builder)?;
    }
    if machine == Machine::X86_64 {
        for name in [&b".init"[..], b".fini"] {
            let Some(section) = sections.named(name) else { continue };
            x86_64_init(source, section, builder)?;
        }
    }
    builder.seal();
    Ok(())
}

/// Functions that are read to find glibc's among them. It has some 700 of that kind, large programs ten thousand.
const CANDIDATES_MAX: usize = 16 << 10;
/// How it begins: `mov %rbx, %rsp; mov (%rsp), %rdi; test %rdi, %rdi`, or with shadow stacks
/// `testl $2, %fs:72`. No leaf that a compiler makes takes its stack from rbx.
const START_CONTEXT: [[u8; 10]; 2] = [
    [0x48, 0x89, 0xdc, 0x48, 0x8b, 0x3c, 0x24, 0x48, 0x85, 0xff],
    [0x64, 0xf7, 0x04, 0x25, 0x48, 0x00, 0x00, 0x00, 0x02, 0x00],
];
/// On arm64 `mov x0, x19; cbnz x0, setcontext; b exit`, where jumps go anywhere, behind a nop or a landing pad. No leaf that a
/// compiler makes looks at x19 before it has saved it.
const ARM64_START_CONTEXT: [(u32, u32); 3] =
    [(0xaa13_03e0, u32::MAX), (0xb500_0000, 0xff00_001f), (0x1400_0000, 0xfc00_0000)];
/// `nop` and `bti c`
const ARM64_NOTHING: [u32; 2] = [0xd503_201f, 0xd503_245f];

fn is_start_context(machine: Machine, code: &[u8]) -> bool {
    match machine {
        Machine::X86_64 => START_CONTEXT.iter().any(|begin| code.starts_with(begin)),
        Machine::Arm64 => {
            let words = code.chunks_exact(4).filter_map(|word| word.first_chunk());
            let words = words.map(|word| u32::from_le_bytes(*word));
            let words = words.skip_while(|word| ARM64_NOTHING.contains(word)).zip(ARM64_START_CONTEXT);
            words.filter(|(word, (value, mask))| word & mask == *value).count() == ARM64_START_CONTEXT.len()
        }
    }
}

/// What `makecontext` makes its function return to. Its stack holds `uc_link` where rows look for a return address; on
/// arm64 the link register is long gone.
fn mark_start_context(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    machine: Machine,
    builder: &mut Builder,
) {
    let leaf = if machine == Machine::X86_64 { LEAF } else { ARM64_LEAF };
    for start in builder.short_functions_under(leaf, CANDIDATES_MAX) {
        let segments = headers.segments().iter().filter(|segment| segment.executable);
        let at = segments.filter_map(|segment| Some((segment, start.checked_sub(segment.vaddr.0)?)));
        let mut at = at.filter(|(segment, into)| *into < segment.file_bytes);
        let Some((segment, into)) = at.next() else { continue };
        let mut code = [0; 16];
        let read = source.read_at(&mut code, segment.file_offset.0.saturating_add(into)).unwrap_or(0);
        if is_start_context(machine, code.get(..read).unwrap_or_default()) {
            builder.make_root(start);
        }
    }
}

/// The vdso takes some KiB.
const RESTORER_TEXT_BYTES_MAX: u64 = 64 << 10;
/// `mov x8, #139; svc #0`: `rt_sigreturn`
const ARM64_RESTORER: [u8; 8] = 0xd400_0001_d280_1168_u64.to_le_bytes();

/// What handlers return to on arm64 lies in the vdso, which has no unwind information at all. A handler returns to its
/// very start, which is looked up one byte earlier.
fn arm64_restorer(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    let small = |segment: &&LoadSegment| segment.executable && segment.file_bytes <= RESTORER_TEXT_BYTES_MAX;
    for segment in headers.segments().iter().filter(small) {
        let bytes = usize::try_from(segment.file_bytes).unwrap_or(0);
        let code = read_up_to(source, segment.file_offset.0, bytes)?;
        let found =
            code.as_chunks::<4>().0.windows(2).position(|pair| *pair.as_flattened() == ARM64_RESTORER);
        let Some(into) = found.and_then(|words| u64::try_from(words * 4).ok()) else { continue };
        let start = segment.vaddr.0.saturating_add(into);
        builder.function(start.saturating_sub(1), start.saturating_add(8), Rule::SIGNAL)?;
    }
    Ok(())
}

fn end_of(section: &Section) -> u64 {
    section.vaddr.0.saturating_add(section.bytes)
}

/// The header pushes a word in its first 6 bytes and jumps. A stub is 16 bytes:
/// `jmp *got; push $n; jmp header`, with `endbr64` in front `endbr64; push $n; jmp header`, or it pushes nothing.
fn x86_64_plt(
    source: &(impl ReadAt + ?Sized),
    section: &Section,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    let bytes = read_up_to(source, section.at, STUBS_READ_BYTES)?;
    let has_header = bytes.starts_with(&[0xff, 0x35]);
    let stub = bytes.get(if has_header { 16.. } else { 0.. }).unwrap_or_default();
    let start = section.vaddr.0;
    let stubs = match stub {
        [0xff, 0x25, _, _, _, _, 0x68, ..] => Rule::plt(11),
        [0xf3, 0x0f, 0x1e, 0xfa, 0x68, ..] => Rule::plt(9),
        _ => LEAF,
    };
    if !builder.begin(start, end_of(section)) {
        return Ok(());
    }
    if has_header {
        builder.row(start, PUSHED)?;
        builder.row(start.saturating_add(6), Rule::register(Base::StackPointer, 24))?;
        builder.row(start.saturating_add(16), stubs)
    } else {
        builder.row(start, stubs)
    }
}

/// The header begins with `stp x16, x30, [sp, #-16]!`, maybe behind a landing pad; stubs save nothing.
fn arm64_plt(section: &Section, has_header: bool, builder: &mut Builder) -> Result<(), UnwindError> {
    let start = section.vaddr.0;
    if !builder.begin(start, end_of(section)) {
        return Ok(());
    }
    builder.row(start, ARM64_LEAF)?;
    if has_header {
        let saved = Rule::register(Base::StackPointer, 16).with_return_address(ReturnAddress::AtCfa(-1));
        builder.row(start.saturating_add(8), saved)?;
        builder.row(start.saturating_add(32), ARM64_LEAF)?;
    }
    Ok(())
}

/// `[endbr64;] sub $8, %rsp; …; add $8, %rsp; ret`, and nothing if it is anything else.
fn x86_64_init(
    source: &(impl ReadAt + ?Sized),
    section: &Section,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    if section.bytes > INIT_BYTES_MAX {
        return Ok(());
    }
    let bytes = read_up_to(source, section.at, usize::try_from(section.bytes).unwrap_or(0))?;
    let pad = if bytes.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
    let begins = bytes.get(pad..).is_some_and(|bytes| bytes.starts_with(&[0x48, 0x83, 0xec, 0x08]));
    if !begins || !bytes.ends_with(&[0x48, 0x83, 0xc4, 0x08, 0xc3]) {
        return Ok(());
    }
    let (start, end) = (section.vaddr.0, end_of(section));
    if builder.begin(start, end) {
        builder.row(start, LEAF)?;
        let pushed = start.saturating_add(4).saturating_add(if pad > 0 { 4 } else { 0 });
        builder.row(pushed, PUSHED)?;
        builder.row(end.saturating_sub(1), LEAF)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::{Fixture, TinyElf};
    use crate::unwind::{Budget, read_rows};
    use profiler_common::address::ElfVaddr;

    #[test]
    fn the_end_of_arm64_coroutines_is_told_by_its_code() {
        let code = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let is_one = |words: &[u32]| is_start_context(Machine::Arm64, &code(words));
        assert!(is_one(&[0xaa13_03e0, 0xb5ff_f9c0, 0x17ff_f579, 0xd503_201f]));
        assert!(is_one(&[0xd503_245f, 0xaa13_03e0, 0xb5ff_f9c0, 0x17ff_f579]));
        assert!(!is_one(&[0xaa13_03e0, 0xb5ff_f9c1, 0x17ff_f579, 0xd503_201f]), "cbnz of another register");
        assert!(is_one(&[0xd503_201f, 0xaa13_03e0, 0xb5ff_f9c0, 0x17ff_f579]));
        assert!(!is_one(&[0xd65f_03c0, 0xaa13_03e0, 0xb5ff_f9c0, 0x17ff_f579]), "behind a return");
        assert!(!is_one(&[0xaa13_03e0, 0xb5ff_f9c0]));
    }

    #[test]
    fn the_restorer_in_arm64_s_vdso_is_told_by_its_code() {
        let mut file = TinyElf::new().load(0, 0, 0x208, 5).bytes();
        file[18] = 183; // EM_AARCH64
        file.resize(0x200, 0);
        file.extend(ARM64_RESTORER);
        let headers = ElfHeaders::read(&file[..]).unwrap();
        let rows = read_rows(&file[..], &headers, Budget::default()).unwrap();
        let at = |at| rows.rule_at(ElfVaddr(at));
        assert_eq!([0x1fe, 0x1ff, 0x200, 0x204, 0x208].map(at), {
            let signal = Rule::SIGNAL;
            [Rule::GAP, signal, signal, signal, Rule::GAP]
        });
    }

    const SOURCE: &str = "#include <stdio.h>\nint main(void) { return puts(\"x\"); }";

    fn rules(flags: &[&str], at: impl Fn(&Fixture, &Sections) -> Vec<u64>) -> Vec<Rule> {
        let fixture = Fixture::compile(SOURCE, flags);
        let file = fixture.open();
        let headers = ElfHeaders::read(&file).unwrap();
        let sections = Sections::read(&file, &headers).unwrap();
        let rows = read_rows(&file, &headers, Budget::default()).unwrap();
        at(&fixture, &sections).into_iter().map(|at| rows.rule_at(ElfVaddr(at))).collect()
    }

    #[test]
    fn init_and_fini_push_a_word_between_their_ends() {
        let found = rules(&["-O1"], |_, sections| {
            let init = sections.named(b".init").unwrap();
            vec![init.vaddr.0, init.vaddr.0 + 4, end_of(init) - 2, end_of(init) - 1]
        });
        assert_eq!(found, [LEAF, PUSHED, PUSHED, LEAF]);
    }

    #[test]
    fn stubs_that_the_linker_describes_and_those_that_nobody_does_get_the_same_rows() {
        let at = |_: &Fixture, sections: &Sections| {
            let plt = sections.named(b".plt").unwrap().vaddr.0;
            vec![plt, plt + 6, plt + 16, plt + 26, plt + 31]
        };
        let flags = ["-O1", "-Wl,-z,lazy"];
        let described = rules(&flags, at);
        assert_eq!(described[2..], [Rule::plt(11); 3]);
        let bare = rules(&[&flags[..], &["-Wl,--no-ld-generated-unwind-info"]].concat(), at);
        assert_eq!(bare, described);
    }

    #[test]
    fn the_entry_point_is_a_root_with_and_without_its_own_rows() {
        let start = |fixture: &Fixture, _: &Sections| vec![fixture.vaddr_of("_start").0];
        assert_eq!(rules(&["-O1"], start), [Rule::END]);
        let bare = "-fno-asynchronous-unwind-tables";
        let source = "void _start(void) { for (;;); }";
        let fixture = Fixture::compile(source, &["-O1", "-nostdlib", bare]);
        let file = fixture.open();
        let rows = read_rows(&file, &ElfHeaders::read(&file).unwrap(), Budget::default()).unwrap();
        assert_eq!(rows.rule_at(fixture.vaddr_of("_start")), Rule::END);
    }
}
