//! SIGINT, SIGTERM and SIGHUP → why the capture ends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::command::Ended;
use super::error::RecordError;

/// The signals that end a capture early. Once made, none of them ends the process itself.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Must be made before anything that a sudden end would leave behind.
    pub(super) fn new() -> Result<Self, RecordError> {
        let listen =
            |kind| signal(kind).map_err(|source| RecordError::System { what: "listen for signals", source });
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupted,
            _ = self.terminate.recv() => Ended::Terminated,
            _ = self.hang_up.recv() => Ended::Terminated,
        }
    }
}
