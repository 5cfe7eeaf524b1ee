//! Why a capture could not be made, in words for the person at the terminal.

use std::ffi::OsString;
use std::io;

use super::config::ConfigErrors;
use crate::capture::CaptureError;
use crate::deliver::file::BadOutputs;

/// A capture failed before there was anything to write.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The arguments contradict themselves or the host.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// An output could not be written later.
    #[error("{0}")]
    Outputs(BadOutputs),
    /// Nothing can be sampled.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The command could not be started.
    #[error("{}: {source}", command.to_string_lossy())]
    Command {
        /// Its first word.
        command: OsString,
        /// Why.
        source: io::Error,
    },
    /// A call that always works did not.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl RecordError {
    /// The exit status that says so; `with_command` for the conventions of programs that run others.
    pub fn exit_code(&self, with_command: bool) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::Outputs(bad) if bad.is_usage() => 64,
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            Self::Capture(error) if error.is_permission() => 77,
            _ if with_command => 125,
            _ => 1,
        }
    }
}
