//! Bytes as `.eh_frame` or `.debug_frame`, packed or not → rows.
//!
//! ```text
//!   byte 0   bit 0: arm64 │ bit 1: .debug_frame │ bit 2: compressed │ bit 3: the other half is .debug_frame too
//!   rest     the section, or two halves
//! ```

use profiler_user::elf::ElfHeaders;

use super::rows;
use crate::image::{self, Machine, Section};

const COMPRESSED: u64 = 0x800;

pub(crate) fn run(bytes: &[u8]) {
    let Some((&flags, section)) = bytes.split_first() else { return };
    let machine = if flags & 1 == 0 { Machine::X86_64 } else { Machine::Arm64 };
    let name = if flags & 2 == 0 { ".eh_frame" } else { ".debug_frame" };
    let section_flags = if flags & 4 == 0 { 0 } else { COMPRESSED };
    let whole = |bytes| Section { name, flags: section_flags, bytes };
    let file = if flags & 8 == 0 {
        image::with_sections(machine, &[whole(section)])
    } else {
        let (first, second) = section.split_at(section.len() / 2);
        let second = Section { name: ".debug_frame", flags: 0, bytes: second };
        image::with_sections(machine, &[whole(first), second])
    };
    let headers = ElfHeaders::read(&file[..]).expect("the image is a good file");
    rows::checked(&file, &headers);
}
