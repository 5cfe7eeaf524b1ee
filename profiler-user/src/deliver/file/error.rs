//! What can be wrong with an output, before sampling and after it. Each message stands alone on a line.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::format::Format;

/// What is wrong with one output.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The ending asks for no format, and `--format` was not given.
    #[error(
        "{}: the ending says no format; known are {} (or name one with --format)",
        path.display(),
        Format::all_endings()
    )]
    UnknownEnding {
        /// The output.
        path: PathBuf,
    },
    /// The same file twice: the second would replace the first.
    #[error("{}: named twice as an output", path.display())]
    Duplicate {
        /// The output, as it was given the second time.
        path: PathBuf,
    },
    /// Binary data for a terminal.
    #[error(
        "-: {format} is binary and standard output is a terminal; redirect it, or ask for text with --format folded"
    )]
    Terminal {
        /// What would have been written.
        format: Format,
    },
    /// The name of a folder, or none at all.
    #[error("{}: is a folder, not a file", path.display())]
    IsFolder {
        /// The output.
        path: PathBuf,
    },
    /// The folder it should go to cannot be reached.
    #[error("{}: the folder {} cannot be used", path.display(), folder.display())]
    Folder {
        /// The output.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No file can be made in the folder.
    #[error("{}: cannot write into the folder {}", path.display(), folder.display())]
    NotWritable {
        /// The output.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder's file system (or a quota) has no room for even one block.
    #[error("{}: no space left in the folder {}", path.display(), folder.display())]
    Full {
        /// The output.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be looked at or opened.
    #[error("{}: cannot be opened", path.display())]
    Open {
        /// The output.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing failed; nothing was left behind under the output's name.
    #[error("{}: not written", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The profile was aggregated without a time line although [`super::OutputPlan::needs_timeline`].
    #[error("{}: {format} needs single samples with their times, and none were kept", path.display())]
    NoTimeline {
        /// The output.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
}

impl OutputError {
    /// Whether the command line is at fault, not the machine (exit code 64 instead of 1).
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::UnknownEnding { .. } | Self::Duplicate { .. } | Self::Terminal { .. })
    }
}

/// Every output that cannot be, found before sampling.
#[derive(Debug)]
pub struct BadOutputs(pub Vec<OutputError>);

impl BadOutputs {
    /// Whether the command line is at fault for any of them (exit code 64 instead of 1).
    pub fn is_usage(&self) -> bool {
        self.0.iter().any(OutputError::is_usage)
    }
}

impl fmt::Display for BadOutputs {
    /// One line an output, each with its cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{error}")?;
            if let Some(cause) = std::error::Error::source(error) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for BadOutputs {}
