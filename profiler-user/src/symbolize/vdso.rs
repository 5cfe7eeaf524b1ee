//! The vdso, the kernel's own library in every process → names of its functions.

use std::sync::Arc;

use profiler_common::address::{ElfVaddr, FileOffset};

use super::error::SymbolizeError;
use super::symtab::find_symbols;
use crate::elf::sections::Sections;
use crate::elf::{ElfHeaders, vdso};
use crate::host::ProcFs;

/// The image of the vdso.
#[derive(Clone, Debug)]
pub struct VdsoImage {
    bytes: Box<[u8]>,
}

impl VdsoImage {
    /// Copies the vdso of this process; `None` if the kernel gives none.
    pub fn of_this_process(procfs: &ProcFs) -> Result<Option<Self>, SymbolizeError> {
        Ok(vdso::image_of_this_process(procfs)?.map(|bytes| Self { bytes }))
    }

    /// The image: an ELF file, as it is mapped from its first byte on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For each position in the image the function there, in the same order. `wanted` must be sorted.
    ///
    /// Functions have the names that tell them from libc's: `__vdso_clock_gettime`.
    pub fn names(&self, wanted: &[FileOffset]) -> Result<Vec<Option<Arc<str>>>, SymbolizeError> {
        let headers = ElfHeaders::read(&*self.bytes)?;
        let sections = Sections::read(&*self.bytes, &headers)?;
        let Some(table) = sections.dynamic_symbols() else { return Ok(vec![None; wanted.len()]) };
        let vaddrs: Vec<Option<ElfVaddr>> = wanted.iter().map(|at| headers.code_vaddr(*at)).collect();
        let mut sorted: Vec<ElfVaddr> = vaddrs.iter().flatten().copied().collect();
        sorted.sort_unstable();
        let found = find_symbols(&*self.bytes, &headers, table, &sorted)?;
        let name = |at: &ElfVaddr| {
            let index = sorted.binary_search(at).ok()?;
            found.get(index)?.as_ref().map(|symbol| with_prefix(&symbol.name))
        };
        Ok(vaddrs.iter().map(|at| at.as_ref().and_then(name)).collect())
    }
}

/// The image exports each function twice, with and without prefix; the symbol table's choice is the short one.
fn with_prefix(name: &Arc<str>) -> Arc<str> {
    if name.starts_with('_') { Arc::clone(name) } else { format!("__vdso_{name}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_functions_are_named() {
        let image = VdsoImage::of_this_process(&ProcFs::host()).unwrap().unwrap();
        assert_eq!(image.bytes().get(..4), Some(&b"\x7fELF"[..]));
        let every_byte: Vec<_> = (0..image.bytes().len() as u64).map(FileOffset).collect();
        let names = image.names(&every_byte).unwrap();
        let known: Vec<_> = names.iter().flatten().collect();
        for expected in ["__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_getcpu"] {
            assert!(known.iter().any(|name| &***name == expected), "{expected}");
        }
        assert_eq!(names[0], None, "the ELF header is no function");
    }

    #[test]
    fn damaged_images_give_an_error_or_no_names() {
        let mut image = VdsoImage::of_this_process(&ProcFs::host()).unwrap().unwrap();
        image.bytes[0] = 0;
        assert_eq!(image.names(&[FileOffset(0)]).unwrap_err().to_string(), "not an ELF file");
        let empty = VdsoImage { bytes: Box::default() };
        assert!(empty.names(&[]).is_err());
    }
}
