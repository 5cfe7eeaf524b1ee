//! Section headers of an ELF file → the few sections that names come from.
//!
//! Read only when an address of the file is to be named. Bounded like [`super::headers`].

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{FileHeader, SectionHeader};
use profiler_common::address::ElfVaddr;

use super::error::ElfError;
use super::headers::{ElfHeaders, ReadAt, read_exactly};

/// A section, by the numbers in its header.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: elf::SectionType,
    pub(crate) flags: elf::SectionFlags,
    /// As linked; 0 for what is not loaded.
    pub(crate) vaddr: ElfVaddr,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    /// For a symbol table: index of its strings.
    pub(crate) link: u32,
}

/// A symbol table and its strings, where they lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SymbolTable {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) strings_at: u64,
    pub(crate) strings_bytes: u64,
}

/// `.gnu_debuglink`: name and checksum of the file that holds the debug information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebugLink {
    pub(crate) file_name: String,
    pub(crate) crc32: u32,
}

/// What a file has to name addresses with.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    all: Vec<Section>,
}

/// Linked files have some 40 sections; 8,192 headers take 512 KiB.
const SECTIONS_MAX: u16 = 8192;
/// Names of the sections of a linked file take less than 1 KiB.
const SECTION_NAMES_BYTES_MAX: u64 = 512 << 10;
/// A section whose name is longer has no name that we look for.
const SECTION_NAME_BYTES_MAX: usize = 64;
/// A file name has at most 255 bytes; then padding and checksum.
const DEBUG_LINK_BYTES_MAX: u64 = 264;

impl Sections {
    /// Reads the section headers; none if the file was stripped of them or numbers them in the extended way of
    /// object files with more than 65,279 sections.
    pub(crate) fn read(source: &(impl ReadAt + ?Sized), headers: &ElfHeaders) -> Result<Self, ElfError> {
        let table = headers.section_table();
        if table.at == 0 || table.count == 0 {
            return Ok(Self { all: Vec::new() });
        }
        if table.count > SECTIONS_MAX {
            let (found, limit) = (u64::from(table.count), u64::from(SECTIONS_MAX));
            return Err(ElfError::TooLarge { what: "sections", found, limit });
        }
        let all = if headers.is_64_bit() {
            read_all::<FileHeader64<Endianness>>(source, headers)
        } else {
            read_all::<FileHeader32<Endianness>>(source, headers)
        }?;
        Ok(Self { all })
    }

    /// Whether the file was stripped of its section headers.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn named(&self, name: &[u8]) -> Option<&Section> {
        self.all.iter().find(|section| &*section.name == name && section.kind != elf::SHT_NOBITS)
    }

    /// The section with one of these names that is loaded at an address.
    pub(crate) fn loaded_at(&self, at: ElfVaddr, names: &[&[u8]]) -> Option<&Section> {
        self.all.iter().find(|section| {
            section.kind != elf::SHT_NOBITS
                && section.flags.contains(elf::SHF_ALLOC)
                && at.0.checked_sub(section.vaddr.0).is_some_and(|into| into < section.bytes)
                && names.contains(&&*section.name)
        })
    }

    /// Tables of relocations for the dynamic linker.
    pub(crate) fn relocations(&self) -> impl Iterator<Item = &Section> {
        let is_loaded =
            |section: &&Section| section.kind == elf::SHT_RELA && section.flags.contains(elf::SHF_ALLOC);
        self.all.iter().filter(is_loaded)
    }

    fn symbol_table(&self, kind: elf::SectionType) -> Option<SymbolTable> {
        let symbols = self.all.iter().find(|section| section.kind == kind && section.bytes > 0)?;
        let strings = self.all.get(usize::try_from(symbols.link).ok()?)?;
        (strings.kind == elf::SHT_STRTAB).then_some(SymbolTable {
            at: symbols.at,
            bytes: symbols.bytes,
            strings_at: strings.at,
            strings_bytes: strings.bytes,
        })
    }

    /// All symbols of the file; `strip` removes them.
    pub(crate) fn symbols(&self) -> Option<SymbolTable> {
        self.symbol_table(elf::SHT_SYMTAB)
    }

    /// Symbols for the dynamic linker, which `strip` leaves.
    pub(crate) fn dynamic_symbols(&self) -> Option<SymbolTable> {
        self.symbol_table(elf::SHT_DYNSYM)
    }

    /// Whether there are source lines or functions in DWARF.
    pub(crate) fn has_dwarf(&self) -> bool {
        self.named(b".debug_line").is_some() || self.named(b".debug_info").is_some()
    }

    /// Whether there is a symbol table inside a compressed ELF file inside this one (`.gnu_debugdata`).
    pub(crate) fn has_mini_debug_info(&self) -> bool {
        self.named(b".gnu_debugdata").is_some()
    }

    /// Whether a section names another file that a DWARF reader might open.
    pub(crate) fn points_elsewhere(&self) -> bool {
        [&b".gnu_debuglink"[..], b".gnu_debugaltlink", b".debug_sup"]
            .iter()
            .any(|name| self.named(name).is_some())
    }

    /// Bytes of all debug sections in the file, compressed as they are.
    pub(crate) fn debug_bytes(&self) -> u64 {
        let debug = |section: &&Section| {
            section.kind != elf::SHT_NOBITS
                && (section.name.starts_with(b".debug_") || &*section.name == b".gnu_debugdata")
        };
        self.all.iter().filter(debug).fold(0, |sum, section| sum.saturating_add(section.bytes))
    }

    /// The link to a debug file, if there is a well-formed one.
    pub(crate) fn debug_link(&self, source: &(impl ReadAt + ?Sized)) -> Result<Option<DebugLink>, ElfError> {
        let Some(section) = self.named(b".gnu_debuglink") else { return Ok(None) };
        if section.bytes > DEBUG_LINK_BYTES_MAX || section.flags.contains(elf::SHF_COMPRESSED) {
            return Ok(None);
        }
        let bytes = read_exactly(source, ".gnu_debuglink", section.at, section.bytes)?;
        Ok(parse_debug_link(&bytes))
    }
}

/// The name up to its NUL, then, at the next multiple of four, the checksum.
fn parse_debug_link(bytes: &[u8]) -> Option<DebugLink> {
    let name_bytes = bytes.iter().position(|byte| *byte == 0)?;
    let file_name = std::str::from_utf8(bytes.get(..name_bytes)?).ok()?;
    let crc32_at = (name_bytes + 1).next_multiple_of(4);
    let crc32 = bytes.get(crc32_at..crc32_at + 4)?.try_into().ok().map(u32::from_ne_bytes)?;
    // It is joined to folders of our choice: a path of its own has no business there.
    let plain = !file_name.is_empty() && !file_name.contains('/') && file_name != "." && file_name != "..";
    plain.then(|| DebugLink { file_name: file_name.to_owned(), crc32 })
}

fn read_all<H: FileHeader<Endian = Endianness>>(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
) -> Result<Vec<Section>, ElfError> {
    let (table, endian) = (headers.section_table(), headers.endian());
    let bytes = u64::from(table.count) * u64::try_from(size_of::<H::SectionHeader>()).unwrap_or(0);
    let raw = read_exactly(source, "section headers", table.at, bytes)?;
    let (sections, _) = pod::slice_from_bytes::<H::SectionHeader>(&raw, usize::from(table.count))
        .map_err(|()| ElfError::Truncated { what: "section headers", at: table.at, bytes })?;

    let names = match sections.get(usize::from(table.names_index)) {
        Some(names) => {
            let (at, bytes) = (names.sh_offset(endian).into(), names.sh_size(endian).into());
            if bytes > SECTION_NAMES_BYTES_MAX {
                let limit = SECTION_NAMES_BYTES_MAX;
                return Err(ElfError::TooLarge { what: "bytes of section names", found: bytes, limit });
            }
            read_exactly(source, "section names", at, bytes)?
        }
        None => Vec::new(),
    };
    let section = |section: &H::SectionHeader| Section {
        name: name_at(&names, section.sh_name(endian)).into(),
        kind: section.sh_type(endian),
        flags: section.sh_flags(endian),
        vaddr: ElfVaddr(section.sh_addr(endian).into()),
        at: section.sh_offset(endian).into(),
        bytes: section.sh_size(endian).into(),
        link: section.sh_link(endian),
    };
    Ok(sections.iter().map(section).collect())
}

/// The name at an offset; empty if it is too long to be one of ours or lies outside.
fn name_at(names: &[u8], at: u32) -> &[u8] {
    let rest = usize::try_from(at).ok().and_then(|at| names.get(at..)).unwrap_or_default();
    let near = rest.get(..SECTION_NAME_BYTES_MAX).unwrap_or(rest);
    near.iter().position(|byte| *byte == 0).and_then(|end| near.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debug_link_is_a_plain_name_and_a_checksum() {
        let link = |bytes: &[u8]| parse_debug_link(bytes).map(|link| (link.file_name, link.crc32));
        assert_eq!(link(b"abc.debug\0\0\0\x01\0\0\0"), Some(("abc.debug".to_owned(), 1)));
        assert_eq!(link(b"abc\0\x02\0\0\0"), Some(("abc".to_owned(), 2)));
        for bad in
            [&b""[..], b"\0\0\0\0\x01\0\0\0", b"abc", b"abc\0\x02\0", b"a/b\0\0\0\0\0", b"..\0\0\0\0\0\0"]
        {
            assert_eq!(link(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn section_names_outside_the_table_are_empty() {
        let long = [b'x'; 100];
        assert_eq!(name_at(b"\0.text\0.data", 1), b".text");
        assert_eq!(name_at(b"\0.text\0.data", 7), b"", "has no end");
        assert_eq!(name_at(b"\0.text\0", 4_000_000_000), b"");
        assert_eq!(name_at(&long, 0), b"");
    }
}
