//! Go's table of functions → name, file and line of an address, also in a stripped program.

use std::fmt;

use profiler_common::address::ElfVaddr;

use super::builder::Budget;
use super::error::UnwindError;
use super::go_file;
use super::go_pclntab::GoTable;
use super::table_bytes::FileBytes;
use crate::elf::sections::Sections;
use crate::elf::{ElfHeaders, ReadAt};

/// What is known of an address. Functions inlined there are not told: the tree of inlined calls is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoPlace {
    /// As the linker knows it: `package/path.Type.method`.
    pub name: String,
    /// Where the function starts.
    pub start: ElfVaddr,
    /// The line on which it starts; from Go 1.20 on.
    pub start_line: Option<u32>,
    /// The function's source file, as the compiler was told.
    pub file: Option<String>,
    /// In that file, counted from 1; `None` where another function is inlined, whose line it would be.
    pub line: Option<u32>,
}

/// All functions of a Go program.
pub struct GoNames<'a, S: ?Sized>(GoTable<FileBytes<'a, S>>);

impl<S: ?Sized> fmt::Debug for GoNames<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoNames").finish_non_exhaustive()
    }
}

impl<'a, S: ReadAt + ?Sized> GoNames<'a, S> {
    /// Finds the table; `None` if the file is no Go program. Its parts are read when an address is looked up: it is some
    /// 4 MiB in a program of 15 MiB.
    pub fn read(source: &'a S, headers: &ElfHeaders, budget: Budget) -> Result<Option<Self>, UnwindError> {
        let sections = Sections::read(source, headers)?;
        Ok(go_file::table(source, &sections, budget.section_bytes)?.map(Self))
    }

    /// What is at an address; of a return address, at the one before it.
    pub fn find(&self, at: ElfVaddr) -> Option<GoPlace> {
        let function = self.0.find(at)?;
        // Nothing is inlined into a function's first instruction. Directives can change the file within a function.
        let file = self.0.file(&function, ElfVaddr(function.start));
        let is_own = !self.0.is_inlined(&function, at) && self.0.file(&function, at) == file;
        Some(GoPlace {
            name: self.0.name(&function)?,
            start: ElfVaddr(function.start),
            start_line: self.0.start_line(&function),
            file,
            line: self.0.line(&function, at).filter(|_| is_own),
        })
    }
}
