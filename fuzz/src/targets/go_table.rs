//! Bytes as Go's table of functions → rows, and names and lines of addresses.
//!
//! ```text
//!   byte 0   bit 0: arm64
//!   rest     .gopclntab
//! ```

use profiler_common::address::ElfVaddr;
use profiler_user::elf::ElfHeaders;
use profiler_user::unwind::GoNames;

use super::rows;
use crate::image::{self, Machine, Section, TEXT_START};

pub(crate) fn run(bytes: &[u8]) {
    let Some((&flags, table)) = bytes.split_first() else { return };
    let machine = if flags & 1 == 0 { Machine::X86_64 } else { Machine::Arm64 };
    let text = Section { name: ".text", flags: 0, bytes: &[] };
    let section = Section { name: ".gopclntab", flags: 0, bytes: table };
    let file = image::with_sections(machine, &[text, section]);
    let headers = ElfHeaders::read(&file[..]).expect("the image is a good file");
    rows::checked(&file, &headers);
    let Ok(Some(names)) = GoNames::read(&file[..], &headers, rows::BUDGET) else { return };
    // Around the starts that the rows begin at there are functions; beyond them there may be any.
    for at in (0..64).map(|i| TEXT_START + i * 61).chain([0, image::SECTIONS_START, u64::MAX]) {
        let Some(place) = names.find(ElfVaddr(at)) else { continue };
        assert!(place.start.0 <= at, "{place:x?} is not around {at:x}");
        assert!(place.name.len() < 4096 && place.file.is_none_or(|file| file.len() < 4096));
    }
}
