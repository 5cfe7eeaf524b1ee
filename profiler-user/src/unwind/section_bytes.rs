//! A section, by name → its bytes and its address, unpacked if it is packed, within a bound.

use std::io::Read;

use object::elf;
use profiler_common::address::ElfVaddr;

use super::error::UnwindError;
use crate::elf::sections::Sections;
use crate::elf::{ElfHeaders, ReadAt, read_exactly, read_up_to};

/// Bytes of a section in memory.
#[derive(Clone, Debug)]
pub(super) struct SectionBytes {
    pub(super) vaddr: ElfVaddr,
    pub(super) bytes: Vec<u8>,
}

/// Type and size: what an `Elf64_Chdr` takes.
const COMPRESSION_HEADER_BYTES: usize = 24;
/// As large as the largest section that is read; without a bound zstd takes twice that.
const ZSTD_WINDOW_BITS_MAX: u32 = 26;
/// Room before `.eh_frame` ends in a file that does not say where: read until its segment does.
const UNWIND_HEADER_BYTES: usize = 12;

/// The section with this name; `None` if the file has none, or an empty one.
pub(super) fn section(
    source: &(impl ReadAt + ?Sized),
    sections: &Sections,
    name: &'static str,
    limit: u64,
) -> Result<Option<SectionBytes>, UnwindError> {
    let Some(section) = sections.named(name.as_bytes()).filter(|section| section.bytes > 0) else {
        return Ok(None);
    };
    within(name, section.bytes, limit)?;
    let bytes = read_exactly(source, name, section.at, section.bytes)?;
    let bytes =
        if section.flags.contains(elf::SHF_COMPRESSED) { unpack(name, &bytes, limit)? } else { bytes };
    Ok(Some(SectionBytes { vaddr: section.vaddr, bytes }))
}

/// `.eh_frame` of a file whose section headers are gone: from where `PT_GNU_EH_FRAME` points to the end of its segment.
pub(super) fn eh_frame_by_segment(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    limit: u64,
) -> Result<Option<SectionBytes>, UnwindError> {
    let Some(header) = headers.unwind_header() else { return Ok(None) };
    let bytes = read_up_to(source, header.file_offset.0, UNWIND_HEADER_BYTES)?;
    let bases = gimli::BaseAddresses::default().set_eh_frame_hdr(header.vaddr.0);
    let parsed = gimli::EhFrameHdr::new(&bytes, gimli::NativeEndian).parse(&bases, 8);
    // Without a table, or with one of a form that nobody writes, there is nothing to find it by.
    let Ok(gimli::Pointer::Direct(vaddr)) = parsed.map(|parsed| parsed.eh_frame_ptr()) else {
        return Ok(None);
    };
    let holds = |segment: &&crate::elf::LoadSegment| {
        vaddr.checked_sub(segment.vaddr.0).is_some_and(|into| into < segment.file_bytes)
    };
    let Some(segment) = headers.segments().iter().find(holds) else { return Ok(None) };
    let into = vaddr.wrapping_sub(segment.vaddr.0);
    let rest = segment.file_bytes.saturating_sub(into).min(limit);
    let at = segment.file_offset.0.saturating_add(into);
    let bytes = read_up_to(source, at, usize::try_from(rest).unwrap_or(0))?;
    Ok(Some(SectionBytes { vaddr: ElfVaddr(vaddr), bytes }))
}

fn within(what: &'static str, found: u64, limit: u64) -> Result<(), UnwindError> {
    if found > limit { Err(UnwindError::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn unpack(name: &'static str, bytes: &[u8], limit: u64) -> Result<Vec<u8>, UnwindError> {
    let broken = |source| UnwindError::Unpack { name, source: Some(source) };
    let kind = bytes.first_chunk().map(|kind| u32::from_ne_bytes(*kind)).unwrap_or(0);
    let packed = bytes.get(COMPRESSION_HEADER_BYTES..).unwrap_or_default();
    let unpacker: Box<dyn Read + '_> = match elf::CompressionType(kind) {
        elf::ELFCOMPRESS_ZLIB => Box::new(flate2::read::ZlibDecoder::new(packed)),
        elf::ELFCOMPRESS_ZSTD => {
            let mut unpacker = zstd::stream::read::Decoder::new(packed).map_err(broken)?;
            unpacker.window_log_max(ZSTD_WINDOW_BITS_MAX).map_err(broken)?;
            Box::new(unpacker)
        }
        _ => return Err(UnwindError::Unpack { name, source: None }),
    };
    let mut unpacked = Vec::new();
    unpacker.take(limit.saturating_add(1)).read_to_end(&mut unpacked).map_err(broken)?;
    within(name, u64::try_from(unpacked.len()).unwrap_or(u64::MAX), limit)?;
    Ok(unpacked)
}
