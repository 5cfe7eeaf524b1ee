//! What labels are made of: a process's program, who forked it, and what it has mapped, as far as it is known now.

use super::ProcessTable;
use crate::collect::Tgid;
use crate::process::files::FileTable;
use crate::process::mappings::Mappings;

/// A process's program.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Name of the executable file, or the kernel's name of a kernel thread.
    pub executable_name: &'a str,
    /// Who forked it, if that was while we watched.
    pub parent: Option<Tgid>,
    /// Whether it has run another program than its parent since; only meaningful with a parent.
    pub has_executed: bool,
    /// Its executable mappings.
    pub mappings: &'a Mappings,
    /// The files that mappings name by number.
    pub files: &'a FileTable,
}

impl ProcessTable {
    /// The program of a process that was not forgotten.
    pub fn program(&self, tgid: Tgid) -> Option<Program<'_>> {
        let live = self.live.get(&tgid)?;
        Some(Program {
            executable_name: &live.executable_name,
            parent: live.parent,
            has_executed: live.has_executed,
            mappings: &live.mappings,
            files: &self.files,
        })
    }
}
