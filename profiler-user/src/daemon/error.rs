//! Why the daemon cannot run, in words for the person who starts it.

use std::io;

use super::thread::ThreadError;
use crate::capture::CaptureError;
use crate::deliver::serve::ServeError;
use crate::deliver::spool::SpoolError;
use crate::privileges::PrivilegeError;
use crate::sample::chain;

/// It could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Nothing can be sampled.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// An address cannot be listened on.
    #[error("{}", chain(.0))]
    Serve(#[from] ServeError),
    /// The spool cannot be used.
    #[error("{}", chain(.0))]
    Spool(#[from] SpoolError),
    /// Rights could not be given up.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// A thread did not start, or has too many rights.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Signals cannot be listened for.
    #[error("listen for signals: {0}")]
    Signals(io::Error),
}

impl DaemonError {
    /// A thread, or what it works with, cannot be had.
    pub fn start(name: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Thread(ThreadError::Start { name, source })
    }

    /// The exit status that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Capture(error) if error.is_permission() => 77,
            _ => 1,
        }
    }
}
