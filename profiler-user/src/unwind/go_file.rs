//! A Go program → its table of functions, with what its addresses are counted from.
//!
//! Up to Go 1.25 the table's header says where the text starts; from 1.26 on only the runtime's `moduledata` does, which
//! then has a section of its own. In position-independent programs both are filled in by a relocation, which is
//! looked up. Where nothing says it, it is the start of `.text`, which is right unless C code is linked in front.
//!
//! The table has a section of its own, except in position-independent programs with C code of Go up to 1.25: the C
//! compiler's linker puts it among other constants, and it is known there by how it begins.

use super::error::UnwindError;
use super::go_pclntab::{GoTable, TEXT_START_AT, begins_table};
use super::section_bytes::{self, SectionBytes};
use crate::elf::sections::Sections;
use crate::elf::{ReadAt, read_up_to};

/// `moduledata.text`: behind the header's address, six slices of three words, and three addresses.
const MODULE_TEXT_AT: u64 = (1 + 6 * 3 + 3) * 8;
/// The linker aligns the table to 32 bytes; to be safe, less.
const TABLE_ALIGNMENT: usize = 8;
/// A relocation: where, what kind, what value.
const RELOCATION_BYTES: usize = 24;
/// `R_X86_64_RELATIVE` and `R_AARCH64_RELATIVE`.
const RELATIVE: [u64; 2] = [8, 1027];

/// The table; `None` in what is no Go program.
pub(super) fn table(
    source: &(impl ReadAt + ?Sized),
    sections: &Sections,
    limit: u64,
) -> Result<Option<GoTable<Vec<u8>>>, UnwindError> {
    let mut section = None;
    for name in [".gopclntab", ".data.rel.ro.gopclntab"] {
        section = section.or(section_bytes::section(source, sections, name, limit)?);
    }
    let section = match section {
        None => among_constants(source, sections, limit)?,
        found => found,
    };
    let Some(section) = section else { return Ok(None) };
    let header_at = section.vaddr.0.saturating_add(TEXT_START_AT);
    GoTable::parse(section.bytes, |said| {
        let said = Some(said).filter(|said| *said != 0);
        said.or_else(|| relocated(source, sections, header_at, limit))
            .or_else(|| module_text(source, sections, limit))
            .or_else(|| sections.named(b".text").map(|text| text.vaddr.0))
    })
    .map(Some)
}

/// The constants of a Go program from its table on, if that has no section of its own.
fn among_constants(
    source: &(impl ReadAt + ?Sized),
    sections: &Sections,
    limit: u64,
) -> Result<Option<SectionBytes>, UnwindError> {
    if sections.named(b".note.go.buildid").is_none() && sections.named(b".go.buildinfo").is_none() {
        return Ok(None);
    }
    let Some(mut constants) = section_bytes::section(source, sections, ".data.rel.ro", limit)? else {
        return Ok(None);
    };
    let Some(position) = constants.bytes.chunks_exact(TABLE_ALIGNMENT).position(begins_table) else {
        return Ok(None);
    };
    let before = position * TABLE_ALIGNMENT;
    constants.bytes.drain(..before);
    constants.vaddr.0 = constants.vaddr.0.saturating_add(u64::try_from(before).unwrap_or(u64::MAX));
    Ok(Some(constants))
}

fn module_text(source: &(impl ReadAt + ?Sized), sections: &Sections, limit: u64) -> Option<u64> {
    let module = sections.named(b".go.module")?;
    let at = module.at.checked_add(MODULE_TEXT_AT)?;
    let word = read_up_to(source, at, 8).ok()?.first_chunk().map(|word| u64::from_ne_bytes(*word))?;
    if word != 0 {
        return Some(word);
    }
    relocated(source, sections, module.vaddr.0.checked_add(MODULE_TEXT_AT)?, limit)
}

/// What the dynamic linker will write to an address.
fn relocated(source: &(impl ReadAt + ?Sized), sections: &Sections, at: u64, limit: u64) -> Option<u64> {
    let relocations = section_bytes::section(source, sections, ".rela.dyn", limit).ok()??;
    relocations.bytes.chunks_exact(RELOCATION_BYTES).find_map(|relocation| {
        let word =
            |index: usize| relocation.get(index * 8..)?.first_chunk().map(|word| u64::from_ne_bytes(*word));
        (word(0)? == at && RELATIVE.contains(&word(1)?)).then(|| word(2)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::ElfHeaders;
    use crate::elf::fixture::Fixture;

    #[test]
    fn a_table_among_other_constants_is_found_by_its_beginning() {
        let source = "package main\nfunc main() {}\n";
        let Some(fixture) = Fixture::go(source, &["-ldflags=-linkmode=internal"]) else { return };
        let expected = fixture.vaddr_of("main.main");
        // In front of the table lies what another linker would put there.
        fixture.run("objcopy", &["--dump-section", ".gopclntab=table", "program"]);
        let path = fixture.folder().join("table");
        let table = std::fs::read(&path).unwrap();
        let constants = [&[0xf1, 0xff, 0xff, 0xff, 0, 0, 9, 8].repeat(5)[..], &table].concat();
        std::fs::write(&path, constants).unwrap();
        let add = ["--remove-section", ".gopclntab", "--add-section", ".data.rel.ro=table", "program"];
        fixture.run("objcopy", &add);
        let file = fixture.open();
        let headers = ElfHeaders::read(&file).unwrap();
        let sections = Sections::read(&file, &headers).unwrap();
        let found = super::table(&file, &sections, 64 << 20).unwrap().unwrap();
        let function = found.find(expected).unwrap();
        assert_eq!(found.name(&function), Some("main.main"));
        assert!(super::table(&file, &sections, 1 << 10).is_err(), "too large for its limit");
    }
}
