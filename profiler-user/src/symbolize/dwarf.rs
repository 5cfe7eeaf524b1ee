//! An ELF file with debug information + addresses → source lines and inlined functions, by blazesym in a process of its own.
//!
//! ```text
//!   this process                              reader: the same program, started with READER_ARGUMENT
//!   addresses ──────socket, its stdin──────▶  confine itself ─▶ blazesym ─▶ lines
//!   ELF file  ──────its stdout, read-only──▶      (dwarf/reader.rs)           │
//!   CodeAt    ◀─────socket─────────────────────────────────────────────────────┘
//! ```
//!
//! Debug information is the one thing here that cannot be read in bounded work: short bytes can ask for endless
//! nesting, ranges or decompression, blazesym maps the file that its owner can cut short, and follows the links
//! in it to files of the owner's choice. So it runs where it can only hurt itself: in a process with limits on
//! memory and time, no rights and no files but the one, which is given up if it fails. Its memory is returned
//! when it ends, one file at a time.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use self::answer::{Answer, Request};
use super::error::SymbolizeError;
use crate::host::ProcFs;
use profiler_common::address::ElfVaddr;

mod answer;
mod declarations;
mod functions;
mod reader;

pub use reader::serve;

/// The only argument of this program when it is to be the reader: `main` then calls [`serve`] and nothing else.
pub const READER_ARGUMENT: &str = "__read-debug-information";

/// What a reader takes that gave no answer, at worst: it ends itself then.
pub(super) const READER_CPU_MAX: Duration = Duration::from_secs(reader::CPU_SECONDS_MAX);
/// The reader ends itself after [`READER_CPU_MAX`] of work; this is for one that waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ten thousand addresses with ten inlined functions each.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A place in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceLine {
    /// With its folder, empty if unknown.
    pub(super) file: Arc<str>,
    /// 0 if unknown.
    pub(super) line: u32,
}

/// A function that was inlined at the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inlined {
    /// Linkage name if there is one, else the plain name.
    pub(super) name: Arc<str>,
    /// Where in it the address is.
    pub(super) at: SourceLine,
    /// Line on which it begins, 0 if unknown.
    pub(super) begin_line: u32,
}

/// What debug information says about one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeAt {
    /// Name of the function that holds the code; may be empty.
    pub(super) name: Arc<str>,
    /// Where in that function the address is; for inlined code the line of the call.
    pub(super) at: SourceLine,
    /// Line on which that function begins, 0 if unknown.
    pub(super) begin_line: u32,
    /// Outermost first.
    pub(super) inlined: Vec<Inlined>,
}

/// What debug information says about ranges of addresses.
#[derive(Debug, Default)]
pub(super) struct DebugRanges {
    /// In each of them one answer holds. `None` where nothing is known of an address that was asked for.
    pub(super) ranges: Vec<(Range<u64>, Option<CodeAt>)>,
    /// CPU time that the reader says it took.
    pub(super) cpu: Duration,
}

/// How to start the reader.
#[derive(Clone, Debug)]
pub struct DebugReader {
    program: PathBuf,
    arguments: Vec<OsString>,
    patience: Duration,
}

impl DebugReader {
    /// This very program, even if its file was replaced since it started.
    pub fn this_program(procfs: &ProcFs) -> Self {
        Self::program(procfs.path("self/exe"), vec![READER_ARGUMENT.into()])
    }

    /// Any program that calls [`serve`] when started with these arguments.
    pub fn program(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments, patience: PATIENCE }
    }

    /// Asks about addresses of one file, in ascending order. The answer may have `ranges_max` ranges of the rest of
    /// their functions.
    ///
    /// Takes some milliseconds for the process and blocks for ten seconds at worst. An error means that the reader
    /// failed, by the file's fault or its own; the file then has no debug information for us.
    pub(super) fn read(
        &self,
        elf: &File,
        at: &[ElfVaddr],
        ranges_max: usize,
    ) -> Result<DebugRanges, SymbolizeError> {
        let failed = |why: &str| {
            let why = why.to_owned();
            move |source| SymbolizeError::Dwarf { why, source: Some(source) }
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
        let elf = elf.try_clone().map_err(failed("duplicate the file's handle"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(elf))
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("start it"))?;
        let _reader = EndOnDrop(child);
        let request = Request { at: at.iter().map(|at| at.0).collect(), ranges_max };
        let bytes = self.converse(ours, &request).map_err(failed("talk to it"))?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| {
            let why =
                if bytes.is_empty() { "it ended without an answer".to_owned() } else { error.to_string() };
            SymbolizeError::Dwarf { why, source: None }
        })?;
        Ok(DebugRanges { cpu: Duration::from_nanos(answer.cpu_nanos), ranges: answer.ranges().collect() })
    }

    fn converse(&self, mut socket: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
        socket.set_write_timeout(Some(self.patience))?;
        socket.set_read_timeout(Some(self.patience))?;
        let request = serde_json::to_vec(request)?;
        // A reader that is gone already says so by an empty answer.
        match socket.write_all(&request).and_then(|()| socket.shutdown(Shutdown::Write)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected) => {
            }
            other => other?,
        }
        let mut answer = Vec::new();
        match socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Vec::new()),
            other => other.map(|_| answer),
        }
    }
}

/// Leaves no process behind, whatever went wrong.
struct EndOnDrop(Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
pub(super) mod tests;
