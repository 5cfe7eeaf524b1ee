//! Stage 3: which file is mapped where in which process, and what its threads are called.
//!
//! ```text
//!   ProcessEvent ─▶ table.rs ─▶ mappings.rs (per process, by address)
//!   /proc/PID    ─▶ scan.rs + maps.rs ─┘          │ first sight of an address
//!                                                  ▼
//!   frame ─▶ table.rs: locate ─▶ Place ◀── files.rs (opened once, kept until named)
//! ```
//!
//! From here on an address names a file and an offset in it, not a place in one process: stacks of two
//! processes merge, and a process that has ended can still be named.

pub mod debug_files;
pub mod files;
pub mod mappings;
pub mod maps;
pub mod namespace;
pub mod scan;
pub mod table;

use profiler_common::address::{FileOffset, KernelAddr, RuntimeAddr};
use profiler_common::outcome::Outcome;

use crate::collect::Tgid;

/// One program in one process, for as long as it ran: an exec begins a new one. Index of
/// [`table::ProcessTable::sampled_processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// The same from one cut of [`table::ProcessTable::take_sampled`] to the next, where a [`ProcessId`] means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Process id.
    pub tgid: Tgid,
    /// Its start on the boot clock, nanoseconds; 0 if the kernel could not say.
    pub start_time: u64,
    /// Programs that it has executed; 0 if the kernel could not say.
    pub exec_id: u32,
}

/// A sampled thread. Index of [`table::ProcessTable::sampled_threads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u32);

/// A file that code ran in. Index of [`files::FileTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// Where a frame's code lies. Addresses are look-up addresses: for a return address one byte earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In a file.
    File(FileId, FileOffset),
    /// In a file that is no ELF file: code that was made at run time. Only the process can tell its name,
    /// and by the address it has there.
    Foreign(FileId, FileOffset, ProcessId, RuntimeAddr),
    /// In the kernel.
    Kernel(KernelAddr),
    /// In the kernel's page of user code, the same in every process.
    Vdso(FileOffset),
    /// In memory of one process that no file backs: code made at run time, or a mapping that is gone.
    Process(ProcessId, RuntimeAddr),
    /// Nowhere: the walk ended here, and why.
    Marker(Outcome),
}

impl Place {
    /// The file that it lies in.
    pub fn file(&self) -> Option<FileId> {
        match *self {
            Self::File(id, _) | Self::Foreign(id, ..) => Some(id),
            Self::Kernel(_) | Self::Vdso(_) | Self::Process(..) | Self::Marker(_) => None,
        }
    }
}
