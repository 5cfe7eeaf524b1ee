//! Unwind information of a file → compact rows, by which both halves walk stacks without frame pointers.
//!
//! ```text
//!   .eh_frame, .debug_frame ─ cfi ─┐                   .debug_frame also of a separate debug file
//!   Go's pclntab ─ go_rows ────────┼▶ builder ─▶ compact: pages of rows, a table of rules
//!   stubs, entry, init ─ known_code ┘
//! ```
//!
//! Files are strangers': read by offset and never mapped, every size bounded, any bytes give rows or an error. Does no
//! I/O beyond the bytes that it is given to read, and never panics on them.

mod ahead;
pub mod builder;
pub mod cache;
mod cache_format;
mod cfi;
mod cfi_expression;
mod cfi_state;
pub mod compact;
pub mod error;
mod go_file;
pub mod go_names;
mod go_pclntab;
mod go_rows;
mod known_code;
pub mod offline;
pub mod publish;
pub mod publisher;
mod queue;
mod ranges;
pub mod rule_table;
mod section_bytes;
pub mod snapshots;
pub mod store;
pub mod table_bytes;
mod tables;
#[cfg(test)]
mod tests;
mod text_pages;
pub mod walker;
mod worker;

use gimli::{BaseAddresses, DebugFrame, EhFrame, EndianSlice, NativeEndian, Vendor};

pub use builder::Budget;
pub use compact::{FileRows, Page, RowStats};
pub use error::UnwindError;
pub use go_names::{GoNames, GoPlace};
pub use publisher::TablesBytes;
pub use queue::RowsWork;
pub use rule_table::{PageRows, RuleTable};
pub use store::{NoRows, RowKey, RowStore, RowsAt};

use crate::elf::sections::Sections;
use crate::elf::{ElfHeaders, Machine, ReadAt};
use crate::process::debug_files::OpenElf;
use builder::Builder;

/// Makes the rows of a file. A file without any unwind information has rows for the code that everybody knows, or none.
pub fn read_rows(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    budget: Budget,
) -> Result<FileRows, UnwindError> {
    read_rows_with(source, headers, None, budget)
}

/// The same, for a file from which debug information was split off: the `.debug_frame` there describes the code that
/// nothing in the file itself does.
pub(crate) fn read_rows_with(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    debug: Option<&OpenElf>,
    budget: Budget,
) -> Result<FileRows, UnwindError> {
    let machine = headers.machine().ok_or(UnwindError::ForeignMachine)?;
    let text = headers.segments().iter().filter(|segment| segment.executable);
    let text = text.map(|segment| builder::text_range(segment.vaddr, segment.file_bytes)).collect();
    let sections = Sections::read(source, headers)?;
    let mut builder = Builder::new(budget, text);
    read_eh_frame(source, headers, &sections, machine, &mut builder)?;
    // What the first table said stays, whatever is wrong with the others.
    match go_file::table(source, &sections, budget.section_bytes) {
        Ok(Some(table)) => go_rows::read(&table, machine, &mut builder)?,
        Ok(None) => {}
        Err(_) => builder.stats().tables_unusable += 1,
    }
    add_debug_frame(source, &sections, machine, &mut builder);
    if let Some(debug) = debug {
        add_debug_frame(&debug.file, &debug.sections, machine, &mut builder);
    }
    known_code::read(source, headers, &sections, machine, &mut builder)?;
    builder.finish()
}

fn add_debug_frame(
    source: &(impl ReadAt + ?Sized),
    sections: &Sections,
    machine: Machine,
    builder: &mut Builder,
) {
    if read_debug_frame(source, sections, machine, builder).is_err() {
        builder.stats().tables_unusable += 1;
        builder.seal();
    }
}

/// Whether a file's code runs on the machine that we run on.
pub(crate) fn is_native(elf: &ElfHeaders) -> bool {
    let own = if cfg!(target_arch = "aarch64") { Machine::Arm64 } else { Machine::X86_64 };
    elf.machine() == Some(own)
}

fn vendor(machine: Machine) -> Vendor {
    match machine {
        Machine::X86_64 => Vendor::Default,
        Machine::Arm64 => Vendor::AArch64,
    }
}

fn read_eh_frame(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    sections: &Sections,
    machine: Machine,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    let limit = builder.budget().section_bytes;
    let section = match section_bytes::section(source, sections, ".eh_frame", limit)? {
        Some(section) => Some(section),
        None => section_bytes::eh_frame_by_segment(source, headers, limit)?,
    };
    let Some(section) = section else { return Ok(()) };
    let mut bases = BaseAddresses::default().set_eh_frame(section.vaddr.0);
    if let Some(text) = sections.named(b".text") {
        bases = bases.set_text(text.vaddr.0);
    }
    if let Some(got) = sections.named(b".got") {
        bases = bases.set_got(got.vaddr.0);
    }
    let mut eh_frame = EhFrame::from(EndianSlice::new(&section.bytes, NativeEndian));
    eh_frame.set_address_size(8);
    eh_frame.set_vendor(vendor(machine));
    cfi::read(eh_frame, ".eh_frame", &bases, machine, builder)
}

fn read_debug_frame(
    source: &(impl ReadAt + ?Sized),
    sections: &Sections,
    machine: Machine,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    let limit = builder.budget().section_bytes;
    let Some(section) = section_bytes::section(source, sections, ".debug_frame", limit)? else {
        return Ok(());
    };
    let mut debug_frame = DebugFrame::from(EndianSlice::new(&section.bytes, NativeEndian));
    debug_frame.set_address_size(8);
    debug_frame.set_vendor(vendor(machine));
    cfi::read(debug_frame, ".debug_frame", &BaseAddresses::default(), machine, builder)
}
