//! Bytes as an ELF file → headers, sections, rows, Go's names.

use profiler_common::address::{ElfVaddr, FileOffset};
use profiler_user::elf::ElfHeaders;
use profiler_user::unwind::GoNames;

use super::rows;

pub(crate) fn run(bytes: &[u8]) {
    let headers = match ElfHeaders::read(bytes) {
        Ok(headers) => headers,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    if let Some(id) = headers.build_id() {
        assert!((1..=256).contains(&id.to_string().len()), "{id}");
    }
    for segment in headers.segments() {
        for at in [segment.file_offset.0, segment.file_offset.0.saturating_add(segment.file_bytes / 2)] {
            let Some(code) = headers.code_segment(FileOffset(at)) else { continue };
            assert!(code.executable);
            assert_eq!(headers.code_vaddr(FileOffset(at)), code.elf_vaddr(FileOffset(at)));
        }
    }
    rows::checked(bytes, &headers);
    if let Ok(Some(names)) = GoNames::read(bytes, &headers, rows::BUDGET) {
        names.find(ElfVaddr(headers.entry().0));
    }
}
