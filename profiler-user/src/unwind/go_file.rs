//! A Go program → its table of functions, with what its addresses are counted from.
//!
//! Up to Go 1.25 the table's header says where the text starts; from 1.26 on only the runtime's `moduledata` does, which
//! then has a section of its own. In position-independent programs both are filled in by a relocation, which is
//! looked up. Where nothing says it, it is the start of `.text`, which is right unless C code is linked in front.
//!
//! The table has a section of its own, except in position-independent programs with C code of Go up to 1.25: the C
//! compiler's linker puts it among other constants, and it is known there by how it begins.

use std::ops::ControlFlow;

use object::elf;

use super::error::UnwindError;
use super::go_pclntab::{GoTable, TEXT_START_AT, begins_table};
use super::table_bytes::{FileBytes, TableBytes};
use crate::elf::relocations::each_relocation;
use crate::elf::sections::{Section, Sections};
use crate::elf::{ReadAt, read_up_to};

/// `moduledata.text`: behind the header's address, six slices of three words, and three addresses.
const MODULE_TEXT_AT: u64 = (1 + 6 * 3 + 3) * 8;
/// The linker aligns the table to 32 bytes; to be safe, less.
const TABLE_ALIGNMENT: usize = 8;
/// Constants are searched in pieces of that.
const SEARCH_BYTES: usize = 16 << 10;

/// A table in its file.
type FileTable<'a, S> = GoTable<FileBytes<'a, S>>;

/// The table; `None` in what is no Go program.
pub(super) fn table<'a, S: ReadAt + ?Sized>(
    source: &'a S,
    sections: &Sections,
    limit: u64,
) -> Result<Option<FileTable<'a, S>>, UnwindError> {
    let own = [".gopclntab", ".data.rel.ro.gopclntab"].into_iter();
    let mut own = own.filter_map(|name| Some((name, sections.named(name.as_bytes())?)));
    let found = match own.find(|(_, section)| section.bytes > 0) {
        Some((name, section)) => Some((section.vaddr.0, bytes_of(source, name, section, limit)?)),
        None => among_constants(source, sections, limit)?,
    };
    let Some((vaddr, bytes)) = found else { return Ok(None) };
    let header_at = vaddr.saturating_add(TEXT_START_AT);
    GoTable::parse(bytes, |said| {
        let said = Some(said).filter(|said| *said != 0);
        said.or_else(|| relocated(source, sections, header_at))
            .or_else(|| module_text(source, sections))
            .or_else(|| sections.named(b".text").map(|text| text.vaddr.0))
    })
    .map(Some)
}

fn bytes_of<'a, S: ReadAt + ?Sized>(
    source: &'a S,
    name: &'static str,
    section: &Section,
    limit: u64,
) -> Result<FileBytes<'a, S>, UnwindError> {
    if section.bytes > limit {
        return Err(UnwindError::TooLarge { what: name, found: section.bytes, limit });
    }
    if section.flags.contains(elf::SHF_COMPRESSED) {
        return Err(UnwindError::GoTable { why: "is packed, which no running program's is" });
    }
    Ok(FileBytes::of_section(source, name, section)?)
}

/// The constants of a Go program from its table on, if that has no section of its own, and their address.
fn among_constants<'a, S: ReadAt + ?Sized>(
    source: &'a S,
    sections: &Sections,
    limit: u64,
) -> Result<Option<(u64, FileBytes<'a, S>)>, UnwindError> {
    if sections.named(b".note.go.buildid").is_none() && sections.named(b".go.buildinfo").is_none() {
        return Ok(None);
    }
    let name = ".data.rel.ro";
    let Some(section) = sections.named(name.as_bytes()) else { return Ok(None) };
    let constants = bytes_of(source, name, section, limit)?;
    let mut piece = [0; SEARCH_BYTES];
    for start in (0..constants.length()).step_by(SEARCH_BYTES) {
        let filled = constants.copy(start, &mut piece);
        let mut places = piece.get(..filled).unwrap_or_default().chunks_exact(TABLE_ALIGNMENT);
        if let Some(place) = places.position(begins_table) {
            let position = start + place * TABLE_ALIGNMENT;
            let vaddr = section.vaddr.0.saturating_add(u64::try_from(position).unwrap_or(u64::MAX));
            return Ok(Some((vaddr, constants.starting_at(position))));
        }
    }
    Ok(None)
}

fn module_text(source: &(impl ReadAt + ?Sized), sections: &Sections) -> Option<u64> {
    let module = sections.named(b".go.module")?;
    let at = module.at.checked_add(MODULE_TEXT_AT)?;
    let word = read_up_to(source, at, 8).ok()?.first_chunk().map(|word| u64::from_ne_bytes(*word))?;
    if word != 0 {
        return Some(word);
    }
    relocated(source, sections, module.vaddr.0.checked_add(MODULE_TEXT_AT)?)
}

/// What the dynamic linker will write to an address.
fn relocated(source: &(impl ReadAt + ?Sized), sections: &Sections, at: u64) -> Option<u64> {
    let mut found = None;
    let relative = [elf::R_X86_64_RELATIVE, elf::R_AARCH64_RELATIVE];
    let table = sections.named(b".rela.dyn")?;
    let search = each_relocation(source, table, |relocation| {
        if relocation.at.0 == at && relative.contains(&relocation.kind) {
            found = Some(relocation.addend);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    search.ok()?.is_break().then_some(found).flatten()
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
        assert_eq!(found.name(&function).as_deref(), Some("main.main"));
        assert!(super::table(&file, &sections, 1 << 10).is_err(), "too large for its limit");
    }
}
