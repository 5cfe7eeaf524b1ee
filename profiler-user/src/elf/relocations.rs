//! Relocation tables of a linked file → relocations, one after the other.
//!
//! Those with addends in 64-bit files (`Elf64_Rela`), which x86_64 and arm64 use. Read in small pieces, whatever the
//! table's size: browsers have some 20 MiB of them.

use std::ops::ControlFlow;

use object::Endianness;
use object::elf::{Rela64, RelocationType};
use object::pod;
use profiler_common::address::ElfVaddr;

use super::error::ElfError;
use super::headers::{ReadAt, read_exactly};
use super::sections::Section;

/// What the dynamic linker has to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    /// Where.
    pub(crate) at: ElfVaddr,
    /// `R_X86_64_*` or `R_AARCH64_*`.
    pub(crate) kind: RelocationType,
    /// Number of its dynamic symbol; 0 for none.
    pub(crate) symbol: u32,
    /// Two's complement.
    pub(crate) addend: u64,
}

/// 5 million relocations; Firefox has 0.8 million.
const TABLE_BYTES_MAX: u64 = 128 << 20;
/// Read at a time: 96 KiB.
const PIECE_RELOCATIONS: usize = 4096;

type Raw = Rela64<Endianness>;

/// Shows all relocations of a table until one breaks, and says whether one did.
pub(crate) fn each_relocation(
    source: &(impl ReadAt + ?Sized),
    table: &Section,
    mut visit: impl FnMut(Relocation) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ElfError> {
    if table.bytes > TABLE_BYTES_MAX {
        let limit = TABLE_BYTES_MAX;
        return Err(ElfError::TooLarge { what: "bytes of relocations", found: table.bytes, limit });
    }
    let (mut at, mut rest) = (table.at, table.bytes);
    let piece_bytes = bytes_of(PIECE_RELOCATIONS);
    while rest > 0 {
        let bytes = rest.min(piece_bytes);
        let piece = read_exactly(source, "relocations", at, bytes)?;
        if relocations(&piece).try_for_each(&mut visit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        (at, rest) = (at.saturating_add(bytes), rest - bytes);
    }
    Ok(ControlFlow::Continue(()))
}

/// The relocation with this number; `None` if the table has fewer.
pub(crate) fn relocation_number(
    source: &(impl ReadAt + ?Sized),
    table: &Section,
    number: u32,
) -> Result<Option<Relocation>, ElfError> {
    let into = u64::from(number).saturating_mul(bytes_of(1));
    if table.bytes.checked_sub(into).is_none_or(|rest| rest < bytes_of(1)) {
        return Ok(None);
    }
    let bytes = read_exactly(source, "relocations", table.at.saturating_add(into), bytes_of(1))?;
    Ok(relocations(&bytes).next())
}

fn bytes_of(relocations: usize) -> u64 {
    u64::try_from(relocations * size_of::<Raw>()).unwrap_or(u64::MAX)
}

/// All whole relocations in these bytes.
fn relocations(bytes: &[u8]) -> impl Iterator<Item = Relocation> {
    let (raw, _) = pod::slice_from_bytes::<Raw>(bytes, bytes.len() / size_of::<Raw>()).unwrap_or((&[], &[]));
    // Files of another byte order are refused with their headers.
    let endian = Endianness::default();
    raw.iter().map(move |raw| Relocation {
        at: ElfVaddr(raw.r_offset.get(endian)),
        kind: raw.r_type(endian, false),
        symbol: raw.r_sym(endian, false),
        addend: raw.r_addend.get(endian).cast_unsigned(),
    })
}
