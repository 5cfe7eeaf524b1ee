//! DWARF of an ELF file + addresses → the line on which each function there begins, and how far each goes.
//!
//! blazesym tells the lines of addresses, not those of declarations, nor the bounds of what it tells. Runs in the reader only: nothing here bounds
//! what hostile bytes can ask for, except that nothing recurses.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::rc::Rc;

use gimli::{
    AttributeValue, DebugInfoOffset, Dwarf, EndianSlice, NativeEndian, SectionId, Unit, UnitHeader,
    UnitOffset,
};
use object::elf;

use super::functions;
use crate::elf::sections::Sections;
use crate::elf::{ElfError, ElfHeaders, ReadAt, read_exactly};
use crate::symbolize::error::SymbolizeError;

pub(super) type Slice<'a> = EndianSlice<'a, NativeEndian>;
type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;

/// For one address the lines on which its functions begin, outermost first; 0 where it is not said.
pub(super) type BeginLines = Vec<u32>;

/// All sections that are needed are held in memory at once. Files with more have no start lines.
const SECTIONS_BYTES_MAX: u64 = 256 << 20;
/// An inlined function points to its abstract one, that to its declaration, and seldom further.
const HOPS_MAX: usize = 8;

/// The debug information of a file, in memory.
pub(super) struct DebugInformation(gimli::DwarfSections<Vec<u8>>);

impl DebugInformation {
    pub(super) fn load(elf: &(impl ReadAt + ?Sized)) -> Result<Self, SymbolizeError> {
        let headers = ElfHeaders::read(elf)?;
        let sections = Sections::read(elf, &headers)?;
        let mut held = 0;
        gimli::DwarfSections::load(|id| load(elf, &headers, &sections, id, &mut held)).map(Self)
    }

    /// Start lines for each address, in the same order; empty where no function is known. `wanted` must be sorted.
    pub(super) fn begin_lines(&self, wanted: &[u64]) -> Vec<BeginLines> {
        let dwarf = self.0.borrow(|bytes| EndianSlice::new(bytes, NativeEndian));
        let all = unit_headers(&dwarf);
        let mut declarations = Declarations { dwarf: &dwarf, headers: &all, referenced: HashMap::new() };
        let mut lines = vec![BeginLines::new(); wanted.len()];
        for unit in units_around(&dwarf, &all, wanted) {
            // What was found before a damaged entry is kept.
            declarations.walk(&unit, wanted, &mut lines).ok();
        }
        lines
    }

    /// The functions around addresses, whole: ranges between two bounds of lines, inlined calls or functions, ascending
    /// and none overlapping. Functions that would make them more than `ranges_max` are left out. `wanted` must be sorted.
    pub(super) fn functions_around(&self, wanted: &[u64], ranges_max: usize) -> Vec<Range<u64>> {
        let dwarf = self.0.borrow(|bytes| EndianSlice::new(bytes, NativeEndian));
        let all = unit_headers(&dwarf);
        let mut ranges = Vec::new();
        for unit in units_around(&dwarf, &all, wanted) {
            functions::of_unit(&dwarf, &unit, wanted, ranges_max, &mut ranges);
        }
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut end = 0;
        // Units that overlap are damaged, or were folded into one by the linker.
        ranges.retain(|range| {
            let is_apart = range.start >= end;
            end = if is_apart { range.end } else { end };
            is_apart
        });
        ranges
    }
}

/// A unit that does not parse ends the list: the start of the next is not known.
fn unit_headers<'a>(dwarf: &Dwarf<Slice<'a>>) -> Vec<UnitHeader<Slice<'a>>> {
    let mut units = dwarf.units();
    let mut all = Vec::new();
    while let Ok(Some(header)) = units.next() {
        all.push(header);
    }
    all
}

fn units_around<'d, 'a>(
    dwarf: &'d Dwarf<Slice<'a>>,
    all: &'d [UnitHeader<Slice<'a>>],
    wanted: &'d [u64],
) -> impl Iterator<Item = Unit<Slice<'a>>> + 'd {
    all.iter().filter_map(|header| dwarf.unit(*header).ok()).filter(|unit| covers_any(dwarf, unit, wanted))
}

fn covers_any<'a>(dwarf: &Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>, wanted: &[u64]) -> bool {
    let Ok(mut ranges) = dwarf.unit_ranges(unit) else { return false };
    let mut covers = false;
    while let Ok(Some(range)) = ranges.next() {
        covers |=
            wanted.partition_point(|at| *at < range.begin) < wanted.partition_point(|at| *at < range.end);
    }
    covers
}

/// Follows entries to where they are declared.
struct Declarations<'d, 'a> {
    dwarf: &'d Dwarf<Slice<'a>>,
    headers: &'d [UnitHeader<Slice<'a>>],
    /// Units that entries of other units pointed to, by index: link-time optimisation makes many such references.
    referenced: HashMap<usize, Rc<Unit<Slice<'a>>>>,
}

impl<'a> Declarations<'_, 'a> {
    /// Entries come parents first, so the functions around an address come outermost first.
    fn walk(
        &mut self,
        unit: &Unit<Slice<'a>>,
        wanted: &[u64],
        lines: &mut [BeginLines],
    ) -> gimli::Result<()> {
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            let is_inlined = match entry.tag() {
                gimli::DW_TAG_subprogram => false,
                gimli::DW_TAG_inlined_subroutine => true,
                _ => continue,
            };
            let mut ranges = self.dwarf.die_ranges(unit, entry)?;
            let mut begins = None;
            while let Some(range) = ranges.next()? {
                let first = wanted.partition_point(|at| *at < range.begin);
                let inside =
                    wanted.iter().zip(lines.iter_mut()).skip(first).take_while(|(at, _)| **at < range.end);
                for (_, lines) in inside {
                    let begins = *begins.get_or_insert_with(|| self.begin_line(unit, entry));
                    // A second function over the same code, folded into it by the linker: the first one stays.
                    if is_inlined != lines.is_empty() {
                        lines.push(begins);
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_line(&mut self, unit: &Unit<Slice<'a>>, entry: &Entry<'a>) -> u32 {
        let declared = self.declared_line(unit, entry, HOPS_MAX);
        declared.or_else(|| first_row(self.dwarf, unit, entry)).unwrap_or(0)
    }

    /// The line in the entry itself, or in the one that it completes.
    fn declared_line(&mut self, unit: &Unit<Slice<'a>>, entry: &Entry<'a>, hops: usize) -> Option<u32> {
        if let Some(line) = entry.attr(gimli::DW_AT_decl_line).and_then(|line| line.udata_value()) {
            return u32::try_from(line).ok();
        }
        let hops = hops.checked_sub(1)?;
        let origin = entry.attr_value(gimli::DW_AT_abstract_origin);
        match origin.or_else(|| entry.attr_value(gimli::DW_AT_specification))? {
            AttributeValue::UnitRef(at) => self.declared_line(unit, &unit.entry(at).ok()?, hops),
            AttributeValue::DebugInfoRef(at) => {
                let (unit, at) = self.unit_around(at)?;
                self.declared_line(&unit, &unit.entry(at).ok()?, hops)
            }
            _ => None,
        }
    }

    fn unit_around(&mut self, at: DebugInfoOffset) -> Option<(Rc<Unit<Slice<'a>>>, UnitOffset)> {
        let starts_before =
            |header: &UnitHeader<Slice<'a>>| header.debug_info_offset().is_some_and(|start| start <= at);
        let index = self.headers.partition_point(starts_before).checked_sub(1)?;
        let header = self.headers.get(index)?;
        let within = at.to_unit_offset(header)?;
        if !self.referenced.contains_key(&index) {
            self.referenced.insert(index, Rc::new(self.dwarf.unit(*header).ok()?));
        }
        self.referenced.get(&index).map(|unit| (Rc::clone(unit), within))
    }
}

/// Where nothing is declared (line tables only): the first line that the table has for the function's start.
fn first_row<'a>(dwarf: &Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>, entry: &Entry<'a>) -> Option<u32> {
    let start = match entry.attr_value(gimli::DW_AT_low_pc)? {
        AttributeValue::Addr(at) => at,
        AttributeValue::DebugAddrIndex(index) => dwarf.address(unit, index).ok()?,
        _ => return None,
    };
    let is_inlined = entry.tag() == gimli::DW_TAG_inlined_subroutine;
    let mut rows = unit.line_program.clone().filter(|_| !is_inlined)?.rows();
    while let Some((_, row)) = rows.next_row().ok()? {
        if row.address() == start && !row.end_sequence() {
            return row.line().and_then(|line| u32::try_from(line.get()).ok());
        }
    }
    None
}

/// What says where functions are and on which lines. Left out are above all the names of everything, and where
/// variables are: half of the debug information of a program.
fn is_needed(id: SectionId) -> bool {
    matches!(
        id,
        SectionId::DebugInfo
            | SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugLine
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
    )
}

/// A section as DWARF means it, decompressed; empty if there is none or it is not needed.
fn load(
    elf: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    sections: &Sections,
    id: SectionId,
    held: &mut u64,
) -> Result<Vec<u8>, SymbolizeError> {
    let section = sections.named(id.name().as_bytes()).filter(|_| is_needed(id));
    let Some(section) = section else { return Ok(Vec::new()) };
    let limit = SECTIONS_BYTES_MAX;
    let bounded = |found: u64| {
        (found <= limit).then_some(()).ok_or(ElfError::TooLarge {
            what: "bytes of debug information",
            found,
            limit,
        })
    };
    bounded(held.saturating_add(section.bytes))?;
    let mut bytes = read_exactly(elf, "debug section", section.at, section.bytes)?;
    if section.flags.contains(elf::SHF_COMPRESSED) {
        let header_bytes = if headers.is_64_bit() { 24 } else { 12 };
        let kind = bytes.first_chunk().map(|kind| u32::from_ne_bytes(*kind)).unwrap_or(0);
        let packed = bytes.get(header_bytes..).unwrap_or_default();
        let unpacker: Box<dyn Read + '_> = match elf::CompressionType(kind) {
            elf::ELFCOMPRESS_ZLIB => Box::new(flate2::read::ZlibDecoder::new(packed)),
            elf::ELFCOMPRESS_ZSTD => Box::new(zstd::stream::read::Decoder::new(packed).map_err(broken)?),
            _ => return Ok(Vec::new()),
        };
        let mut unpacked = Vec::new();
        unpacker.take(limit.saturating_add(1)).read_to_end(&mut unpacked).map_err(broken)?;
        bytes = unpacked;
    }
    *held = held.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    bounded(*held)?;
    Ok(bytes)
}

fn broken(source: std::io::Error) -> SymbolizeError {
    SymbolizeError::Dwarf { why: "a compressed section is damaged".to_owned(), source: Some(source) }
}
