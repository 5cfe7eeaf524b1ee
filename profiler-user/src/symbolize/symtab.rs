//! Symbol table of an ELF file + sorted addresses → the function at each of them.
//!
//! One pass over the table in small pieces: memory for the addresses and one piece, whatever the table's
//! size. Measured against blazesym's index over a mapped file, see [`super::native`].
//!
//! A function is named only within the size that its symbol gives; symbols without a size name nothing.
//! That leaves out hand-written assembly without `.size`, and empty cold parts: 17 of 152,870 functions of Node.js 20.

use std::ops::Range;
use std::sync::Arc;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{FileHeader, Sym};
use profiler_common::address::ElfVaddr;

use super::rank::{Binding, familiarity};
use crate::elf::sections::SymbolTable;
use crate::elf::{ElfError, ElfHeaders, ReadAt, read_exactly, read_up_to};

/// A function in the symbol table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// As the linker knows it.
    pub(super) name: Arc<str>,
    /// Its first byte.
    pub(super) start: ElfVaddr,
}

/// 22 million symbols; a browser with all its symbols has 1 million.
const TABLE_BYTES_MAX: u64 = 512 << 20;
/// Symbols read at a time: 96 KiB.
const PIECE_SYMBOLS: usize = 4096;
/// Symbols that are weighed against an address, over all of a table. A real address lies in two or three.
const COMPARISONS_MAX: usize = 16 << 20;
/// Names of one function that are compared; more are aliases that nobody would miss.
const ALIASES_MAX: usize = 16;
/// C++ has names of some KiB. What is longer names nothing.
const NAME_BYTES_MAX: usize = 64 << 10;
/// Read for a name until its end is found: nearly all of C, nearly all of C++, all.
const NAME_READS: [usize; 3] = [128, 4096, NAME_BYTES_MAX];

/// A symbol, or that there is none, and the range in which this is so: no symbol begins or ends within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundSymbol {
    pub(super) symbol: Option<Symbol>,
    pub(super) span: Range<u64>,
}

/// The innermost function found so far around an address, and where its names lie in the strings.
#[derive(Clone, Debug)]
struct Candidate {
    start: u64,
    bytes: u64,
    names: Vec<(u32, Binding)>,
    /// The nearest bounds of any symbols, as far as they lie between the address and its neighbours.
    last_bound: u64,
    next_bound: u64,
}

impl Default for Candidate {
    fn default() -> Self {
        Self { start: 0, bytes: 0, names: Vec::new(), last_bound: 0, next_bound: u64::MAX }
    }
}

/// Which symbols name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinds {
    /// All that may be code.
    Code,
    /// Indirect functions, which stand where the code is that picks one of their bodies.
    Indirect,
}

/// For each address the innermost sized function around it, in the same order. `wanted` must be sorted.
pub(super) fn find_symbols(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    table: SymbolTable,
    wanted: &[ElfVaddr],
) -> Result<Vec<Option<Symbol>>, ElfError> {
    let found = find_symbols_of(Kinds::Code, source, headers, table, wanted)?;
    Ok(found.into_iter().map(|found| found.symbol).collect())
}

/// The same by some symbols only, and how far each answer holds.
pub(super) fn find_symbols_of(
    kinds: Kinds,
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    table: SymbolTable,
    wanted: &[ElfVaddr],
) -> Result<Vec<FoundSymbol>, ElfError> {
    if table.bytes > TABLE_BYTES_MAX {
        let limit = TABLE_BYTES_MAX;
        return Err(ElfError::TooLarge { what: "bytes of symbols", found: table.bytes, limit });
    }
    let mut candidates = if headers.is_64_bit() {
        scan::<FileHeader64<Endianness>>(kinds, source, headers.endian(), table, wanted)
    } else {
        scan::<FileHeader32<Endianness>>(kinds, source, headers.endian(), table, wanted)
    }?;
    spread_bounds(&mut candidates);
    let mut found: Vec<FoundSymbol> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        // Neighbouring addresses often lie in one function.
        let repeated = found.last().and_then(|found| found.symbol.as_ref());
        let repeated =
            repeated.filter(|symbol| symbol.start.0 == candidate.start && !candidate.names.is_empty());
        let symbol = match repeated {
            Some(symbol) => Some(symbol.clone()),
            None => best_name(source, table, &candidate)?,
        };
        found.push(FoundSymbol { symbol, span: candidate.last_bound..candidate.next_bound });
    }
    Ok(found)
}

/// A bound was noted at the address nearest to it alone; it counts for those further away as well.
fn spread_bounds(candidates: &mut [Candidate]) {
    let mut last = 0;
    for candidate in candidates.iter_mut() {
        last = candidate.last_bound.max(last);
        candidate.last_bound = last;
    }
    let mut next = u64::MAX;
    for candidate in candidates.iter_mut().rev() {
        next = candidate.next_bound.min(next);
        candidate.next_bound = next;
    }
}

/// Notes that a symbol begins or ends there; `behind`: the first address at or behind it.
fn note_bound(bound: u64, behind: usize, candidates: &mut [Candidate]) {
    if let Some(candidate) = candidates.get_mut(behind) {
        candidate.last_bound = candidate.last_bound.max(bound);
    }
    if let Some(candidate) = behind.checked_sub(1).and_then(|before| candidates.get_mut(before)) {
        candidate.next_bound = candidate.next_bound.min(bound);
    }
}

/// The first of the addresses at or behind `bound`. Most symbols lie between the same two of them as the one before, whose
/// answer is `near`: no search is needed then.
fn first_behind(bound: u64, wanted: &[ElfVaddr], near: usize) -> usize {
    let before = near.checked_sub(1).and_then(|before| wanted.get(before));
    let is_between = before.is_none_or(|at| at.0 < bound) && wanted.get(near).is_none_or(|at| at.0 >= bound);
    if is_between { near } else { wanted.partition_point(|at| at.0 < bound) }
}

fn scan<H: FileHeader<Endian = Endianness>>(
    kinds: Kinds,
    source: &(impl ReadAt + ?Sized),
    endian: Endianness,
    table: SymbolTable,
    wanted: &[ElfVaddr],
) -> Result<Vec<Candidate>, ElfError> {
    let mut candidates = vec![Candidate::default(); wanted.len()];
    let (mut comparisons, mut first) = (0usize, 0);
    let (mut at, mut rest) = (table.at, table.bytes);
    let piece_bytes = u64::try_from(PIECE_SYMBOLS * size_of::<H::Sym>()).unwrap_or(u64::MAX);
    while rest > 0 {
        let bytes = rest.min(piece_bytes);
        let piece = read_exactly(source, "symbol table", at, bytes)?;
        let count = piece.len() / size_of::<H::Sym>();
        let (symbols, _) = pod::slice_from_bytes::<H::Sym>(&piece, count).unwrap_or((&[], &[]));
        for symbol in symbols {
            let Some((start, bytes)) = extent(kinds, symbol, endian) else { continue };
            let end = start.saturating_add(bytes);
            first = first_behind(start, wanted, first);
            note_bound(start, first, &mut candidates);
            note_bound(end, first_behind(end, wanted, first), &mut candidates);
            let inside =
                wanted.iter().zip(&mut candidates).skip(first).take_while(|(at, _)| at.0 - start < bytes);
            for (_, candidate) in inside {
                candidate.weigh(start, bytes, symbol.st_name(endian), binding(symbol.st_bind()));
                comparisons += 1;
            }
            if comparisons > COMPARISONS_MAX {
                let limit = u64::try_from(COMPARISONS_MAX).unwrap_or(u64::MAX);
                return Err(ElfError::TooLarge { what: "overlapping symbols", found: limit + 1, limit });
            }
        }
        (at, rest) = (at.saturating_add(bytes), rest - bytes);
    }
    Ok(candidates)
}

/// Start and size of a symbol that may name code.
fn extent<S: Sym<Endian = Endianness>>(kinds: Kinds, symbol: &S, endian: Endianness) -> Option<(u64, u64)> {
    // Sized symbols without a type are functions of assembly that lacks `.type`; objects never hold code.
    let is_code = match symbol.st_type() {
        elf::STT_GNU_IFUNC => true,
        elf::STT_FUNC | elf::STT_NOTYPE => kinds == Kinds::Code,
        _ => false,
    };
    let section = symbol.st_shndx(endian);
    let is_defined = section != elf::SHN_UNDEF && section != elf::SHN_ABS;
    let bytes: u64 = symbol.st_size(endian).into();
    (is_code && is_defined && bytes > 0).then(|| (symbol.st_value(endian).into(), bytes))
}

fn binding(bind: elf::SymbolBind) -> Binding {
    match bind {
        elf::STB_GLOBAL | elf::STB_GNU_UNIQUE => Binding::Global,
        elf::STB_WEAK => Binding::Weak,
        _ => Binding::Local,
    }
}

impl Candidate {
    /// The later start is the inner function; among equal starts the shorter one.
    fn weigh(&mut self, start: u64, bytes: u64, name: u32, binding: Binding) {
        let is_inner =
            self.names.is_empty() || start > self.start || (start == self.start && bytes < self.bytes);
        if is_inner {
            (self.start, self.bytes) = (start, bytes);
            self.names.clear();
        }
        if (start, bytes) == (self.start, self.bytes) && self.names.len() < ALIASES_MAX {
            self.names.push((name, binding));
        }
    }
}

fn best_name(
    source: &(impl ReadAt + ?Sized),
    table: SymbolTable,
    candidate: &Candidate,
) -> Result<Option<Symbol>, ElfError> {
    let mut best: Option<(Arc<str>, Binding)> = None;
    for (at, binding) in &candidate.names {
        let Some(name) = name_at(source, table, *at)? else { continue };
        if best.as_ref().is_none_or(|(other, of)| familiarity(&name, *binding) > familiarity(other, *of)) {
            best = Some((name, *binding));
        }
    }
    Ok(best.map(|(name, _)| Symbol { name, start: ElfVaddr(candidate.start) }))
}

/// The name of a symbol by its number, in a 64-bit file.
pub(super) fn dynamic_name(
    source: &(impl ReadAt + ?Sized),
    table: SymbolTable,
    number: u32,
) -> Result<Option<Arc<str>>, ElfError> {
    let symbol_bytes = u64::try_from(size_of::<elf::Sym64<Endianness>>()).unwrap_or(u64::MAX);
    let into = u64::from(number).saturating_mul(symbol_bytes);
    if table.bytes.checked_sub(into).is_none_or(|rest| rest < symbol_bytes) {
        return Ok(None);
    }
    // A symbol begins with the place of its name.
    let bytes = read_exactly(source, "symbol table", table.at.saturating_add(into), 4)?;
    let Some(name) = bytes.first_chunk().map(|name| u32::from_ne_bytes(*name)) else { return Ok(None) };
    name_at(source, table, name)
}

/// The name at an offset of the strings; `None` if it is empty, too long, or not closed within them.
fn name_at(
    source: &(impl ReadAt + ?Sized),
    table: SymbolTable,
    at: u32,
) -> Result<Option<Arc<str>>, ElfError> {
    let Some(rest) = table.strings_bytes.checked_sub(u64::from(at)) else { return Ok(None) };
    let from = table.strings_at.saturating_add(u64::from(at));
    for bytes in NAME_READS {
        let bytes = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes);
        let near = read_up_to(source, from, bytes)?;
        if let Some(name) = near.iter().position(|byte| *byte == 0).and_then(|end| near.get(..end)) {
            let name = String::from_utf8_lossy(name);
            return Ok((!name.is_empty()).then(|| without_version(&name).into()));
        }
    }
    Ok(None)
}

/// The linker appends versions of glibc's kind to names in `.symtab`: `memcpy@@GLIBC_2.14`, `memcpy@GLIBC_2.2.5`.
fn without_version(name: &str) -> &str {
    match name.split_once('@') {
        Some((bare, version))
            if !bare.is_empty()
                && version.trim_start_matches('@').starts_with(|c: char| c.is_ascii_uppercase()) =>
        {
            bare
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// type, binding, section, value, size, name
    type Row = (u8, u8, u16, u64, u64, &'static str);

    fn check(rows: &[Row], wanted: &[u64], expected: Expect) {
        let (mut symbols, mut strings) = (Vec::new(), vec![0u8]);
        for (kind, bind, section, value, size, name) in rows {
            symbols.extend(u32::try_from(strings.len()).unwrap().to_le_bytes());
            symbols.extend([bind << 4 | kind, 0]);
            symbols.extend(section.to_le_bytes());
            symbols.extend(value.to_le_bytes());
            symbols.extend(size.to_le_bytes());
            strings.extend(name.bytes().chain([0]));
        }
        let bytes = [&*symbols, &*strings].concat();
        let strings_at = symbols.len() as u64;
        let table = SymbolTable { at: 0, bytes: strings_at, strings_at, strings_bytes: strings.len() as u64 };
        let elf = crate::elf::fixture::TinyElf::new().bytes();
        let headers = ElfHeaders::read(&*elf).unwrap();
        let wanted: Vec<_> = wanted.iter().copied().map(ElfVaddr).collect();
        let text = match find_symbols(&*bytes, &headers, table, &wanted) {
            Ok(found) => found
                .iter()
                .zip(&wanted)
                .map(|(symbol, at)| match symbol {
                    Some(symbol) => format!("{:#x} {}+{:#x}\n", at.0, symbol.name, at.0 - symbol.start.0),
                    None => format!("{:#x}\n", at.0),
                })
                .collect(),
            Err(error) => format!("{error}\n"),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn an_address_is_named_only_within_a_symbols_size() {
        check(
            &[(2, 1, 1, 0x100, 0x10, "first"), (2, 1, 1, 0x200, 0x10, "second")],
            &[0xff, 0x100, 0x10f, 0x110, 0x1ff, 0x200, 0x210],
            expect![[r#"
                0xff
                0x100 first+0x0
                0x10f first+0xf
                0x110
                0x1ff
                0x200 second+0x0
                0x210
            "#]],
        );
    }

    #[test]
    fn symbols_without_size_objects_and_undefined_ones_name_nothing() {
        check(
            &[
                (2, 1, 1, 0x100, 0, "no_size"),
                (1, 1, 1, 0x100, 0x10, "object"),
                (2, 1, 0, 0x100, 0x10, "undefined"),
                (2, 1, 0xfff1, 0x100, 0x10, "absolute"),
                (2, 1, 1, 0x100, 0x10, ""),
            ],
            &[0x100],
            expect!["0x100\n"],
        );
    }

    #[test]
    fn the_innermost_function_wins_and_of_its_names_the_familiar_one() {
        check(
            &[
                (2, 1, 1, 0x100, 0x100, "outer"),
                (2, 0, 1, 0x140, 0x10, "__inner"),
                (10, 2, 1, 0x140, 0x10, "inner"),
                (0, 1, 1, 0x180, 0x8, "assembly"),
                (2, 1, 1, 0x100, 0x20, "start_of_outer"),
            ],
            &[0x100, 0x11f, 0x120, 0x140, 0x14f, 0x150, 0x180, 0x188],
            expect![[r#"
                0x100 start_of_outer+0x0
                0x11f start_of_outer+0x1f
                0x120 start_of_outer+0x20
                0x140 inner+0x0
                0x14f inner+0xf
                0x150 outer+0x50
                0x180 assembly+0x0
                0x188 outer+0x88
            "#]],
        );
    }

    #[test]
    fn an_answer_holds_to_the_next_bound_of_any_symbol() {
        let (symbols, wanted) = (
            [(0x100, 0x100), (0x140, 0x10), (0x300, 0x10)],
            [0x50, 0x108, 0x110, 0x145, 0x1a0, 0x250, 0x305, 0x400].map(ElfVaddr),
        );
        let (elf, table) =
            (symbol_table(&symbols), SymbolTable { at: 0, bytes: 72, strings_at: 72, strings_bytes: 3 });
        let headers = ElfHeaders::read(&*crate::elf::fixture::TinyElf::new().bytes()).unwrap();
        let found = find_symbols_of(Kinds::Code, &*elf, &headers, table, &wanted).unwrap();
        let spans: Vec<Range<u64>> = found.into_iter().map(|found| found.span).collect();
        assert_eq!(
            spans,
            [
                0..0x100,
                0x100..0x140,
                0x100..0x140,
                0x140..0x150,
                0x150..0x200,
                0x200..0x300,
                0x300..0x310,
                0x310..u64::MAX
            ]
        );
    }

    /// Functions that all are called `f`.
    fn symbol_table(symbols: &[(u64, u64)]) -> Vec<u8> {
        let symbol = |&(value, size): &(u64, u64)| {
            [&1u32.to_le_bytes()[..], &[0x12, 0, 1, 0], &u64::to_le_bytes(value), &u64::to_le_bytes(size)]
                .concat()
        };
        let mut bytes: Vec<u8> = symbols.iter().flat_map(symbol).collect();
        bytes.extend(b"\0f\0");
        bytes
    }

    #[test]
    fn versions_of_glibcs_kind_are_no_part_of_a_name() {
        for (raw, name) in [
            ("memcpy@@GLIBC_2.14", "memcpy"),
            ("memcpy@GLIBC_2.2.5", "memcpy"),
            ("@GLIBC_2.2.5", "@GLIBC_2.2.5"),
            ("example.com/mod@v1.2.Func", "example.com/mod@v1.2.Func"),
        ] {
            assert_eq!(without_version(raw), name);
        }
    }

    #[test]
    fn an_address_at_the_end_of_the_address_space_does_not_wrap() {
        check(
            &[(2, 1, 1, u64::MAX - 1, u64::MAX, "last")],
            &[0, u64::MAX],
            expect![[r#"
                0x0
                0xffffffffffffffff last+0x1
            "#]],
        );
    }

    #[test]
    fn hostile_tables_are_refused_within_bounded_work() {
        let elf = crate::elf::fixture::TinyElf::new().bytes();
        let headers = ElfHeaders::read(&*elf).unwrap();
        let run = |source: &[u8], bytes: u64| {
            let table = SymbolTable { at: 0, bytes, strings_at: u64::MAX, strings_bytes: u64::MAX };
            let wanted: Vec<_> = (0..10_000).map(ElfVaddr).collect();
            find_symbols(source, &headers, table, &wanted).unwrap_err().to_string()
        };
        assert_eq!(run(&[], u64::MAX), "bytes of symbols: 18446744073709551615 is more than 536870912");
        assert_eq!(run(&[], 240), "symbol table at offset 0x0 with 240 bytes lies behind the file's end");

        let mut everything = [0; 24];
        everything[4] = 0x12;
        everything[6] = 1;
        everything[16..24].fill(0xff);
        let overlapping = everything.repeat(10_000);
        assert_eq!(run(&overlapping, 240_000), "overlapping symbols: 16777217 is more than 16777216");
    }
}
