//! A named thread that gives up every right but its role's before it works, and says so.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::privileges::{Kernel, PrivilegeError, Role};

/// There is no such thread.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// It did not start.
    #[error("start the thread \"{name}\": {source}")]
    Start {
        /// Its name.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It would have too many rights.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
}

/// Starts a thread that enters its role, then prepares what it works with, then works. Comes back when it is prepared.
pub(super) fn start<T>(
    name: &'static str,
    role: Role,
    kernel: Kernel,
    prepare: impl FnOnce() -> io::Result<T> + Send + 'static,
    work: impl FnOnce(T) + Send + 'static,
) -> Result<JoinHandle<()>, ThreadError> {
    let failed = move |source| ThreadError::Start { name, source };
    let (told, hears) = sync_channel(1);
    let body = move || {
        let prepared = role.enter(kernel).map_err(ThreadError::from).and_then(|()| prepare().map_err(failed));
        match prepared {
            Ok(tools) => {
                if told.send(Ok(())).is_ok() {
                    work(tools);
                }
            }
            Err(error) => drop(told.send(Err(error))),
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(failed)?;
    hears.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))??;
    Ok(thread)
}

/// Until the daemon is to end. Nobody left to say so means the same.
pub(super) async fn told_to_end(mut stop: watch::Receiver<bool>) {
    let _gone = stop.wait_for(|is_stopping| *is_stopping).await.is_err();
}
