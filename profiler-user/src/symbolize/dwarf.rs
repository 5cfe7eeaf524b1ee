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
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use profiler_common::address::ElfVaddr;
use serde::{Deserialize, Serialize};

use super::error::SymbolizeError;
use crate::host::ProcFs;

mod declarations;
mod reader;

pub use reader::serve;

/// The only argument of this program when it is to be the reader: `main` then calls [`serve`] and nothing else.
pub const READER_ARGUMENT: &str = "__read-debug-information";

/// The reader ends itself after [`reader::CPU_SECONDS_MAX`] of work; this is for one that waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ten thousand addresses with ten inlined functions each.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What the reader is asked: linked addresses.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    at: Vec<u64>,
}

/// A place in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceLine {
    /// With its folder, empty if unknown.
    pub(super) file: String,
    /// 0 if unknown.
    pub(super) line: u32,
}

/// A function that was inlined at the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inlined {
    /// Linkage name if there is one, else the plain name.
    pub(super) name: String,
    /// Where in it the address is.
    pub(super) at: SourceLine,
    /// Line on which it begins, 0 if unknown.
    pub(super) begin_line: u32,
}

/// What debug information says about one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CodeAt {
    /// Name of the function that holds the code; may be empty.
    pub(super) name: String,
    /// First address of that function, if the address surely is inside.
    pub(super) start: Option<u64>,
    /// Where in that function the address is; for inlined code the line of the call.
    pub(super) at: SourceLine,
    /// Line on which that function begins, 0 if unknown.
    pub(super) begin_line: u32,
    /// Outermost first.
    pub(super) inlined: Vec<Inlined>,
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

    /// Asks about addresses of one file; the answers are in their order, `None` where nothing is known.
    ///
    /// Takes some milliseconds for the process and blocks for ten seconds at worst. An error means that the reader
    /// failed, by the file's fault or its own; the file then has no debug information for us.
    pub(super) fn read(&self, elf: &File, at: &[ElfVaddr]) -> Result<Vec<Option<CodeAt>>, SymbolizeError> {
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
        let request = Request { at: at.iter().map(|at| at.0).collect() };
        let bytes = self.converse(ours, &request).map_err(failed("talk to it"))?;
        let answer: Vec<Option<CodeAt>> = serde_json::from_slice(&bytes).map_err(|error| {
            let why =
                if bytes.is_empty() { "it ended without an answer".to_owned() } else { error.to_string() };
            SymbolizeError::Dwarf { why, source: None }
        })?;
        if answer.len() == at.len() {
            Ok(answer)
        } else {
            Err(SymbolizeError::Dwarf { why: "it answered another question".to_owned(), source: None })
        }
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
