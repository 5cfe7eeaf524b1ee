//! `flamekeeper spool`: what lies in the spool, for people and for tools.
//!
//! ```text
//!   deliver::spool::read ─▶ contents.rs ─┬▶ table.rs   ls
//!                                        └▶ json.rs    ls --json
//!   deliver::spool::export ─▶ export.rs                export
//! ```
//!
//! Only reads; the daemon may be at work in it.

mod contents;
mod export;
mod json;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::{LsArgs, SpoolArgs, SpoolCommand};
use crate::deliver::file::{BadOutputs, OutputError};
use crate::deliver::spool::SpoolError;
use crate::deliver::spool::export::ExportError;
use crate::deliver::spool::read::SpoolReader;
use crate::host::WallNanos;
use contents::Contents;

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SpoolCommandError {
    /// The folder.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Nothing could be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Nothing was selected.
    #[error("nothing in {} is selected; `flamekeeper spool ls` lists what there is", path.display())]
    Nothing {
        /// The folder of the spool.
        path: PathBuf,
    },
    /// The output cannot be written to.
    #[error(transparent)]
    Output(#[from] BadOutputs),
    /// A folder for profiles cannot be made.
    #[error("make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A profile could not be written.
    #[error(transparent)]
    Write(#[from] OutputError),
}

impl SpoolCommandError {
    /// 64 for a usage error, 77 if not permitted, else 1.
    pub fn exit_code(&self) -> u8 {
        let is_denied = |error: &SpoolError| matches!(error, SpoolError::Unavailable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
        match self {
            Self::Output(bad) if bad.is_usage() => 64,
            Self::Spool(error) | Self::Export(ExportError::Spool(error)) if is_denied(error) => 77,
            _ => 1,
        }
    }
}

/// Where a command writes, and what it may write there.
pub struct Console<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub messages: &'a mut dyn Write,
    /// Whether standard output is a terminal.
    pub is_terminal: bool,
}

/// Runs the command. Gives its exit status.
///
/// # Errors
///
/// If nothing came of it.
pub fn run(args: &SpoolArgs, now: WallNanos, console: &mut Console<'_>) -> Result<u8, SpoolCommandError> {
    match &args.command {
        SpoolCommand::Ls(args) => list(args, now, console).map(|()| 0),
        SpoolCommand::Export(args) => export::run(args, now, console),
    }
}

fn list(args: &LsArgs, now: WallNanos, console: &mut Console<'_>) -> Result<(), SpoolCommandError> {
    let path = &args.select.spool_dir;
    let reader = SpoolReader::open(path)?;
    let selection = args.select.selection(now);
    let contents = Contents::read(&reader, path, &selection, args.profiles)?;
    // Whoever reads has had enough, as `head` has.
    let _unheard = if args.json {
        json::write(&contents, console.out)
    } else {
        console.out.write_all(table::render(&contents).as_bytes())
    };
    Ok(())
}

#[cfg(test)]
mod tests;
