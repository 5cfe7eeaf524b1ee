//! A Go program → its table of functions, with what its addresses are counted from.
//!
//! Up to Go 1.25 the table's header says where the text starts; from 1.26 on only the runtime's `moduledata` does, which
//! then has a section of its own. In position-independent programs both are filled in by a relocation, which is
//! looked up. Where nothing says it, it is the start of `.text`, which is right unless C code is linked in front.

use super::error::UnwindError;
use super::go_pclntab::{GoTable, TEXT_START_AT};
use super::section_bytes;
use crate::elf::sections::Sections;
use crate::elf::{ReadAt, read_up_to};

/// `moduledata.text`: behind the header's address, six slices of three words, and three addresses.
const MODULE_TEXT_AT: u64 = (1 + 6 * 3 + 3) * 8;
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
