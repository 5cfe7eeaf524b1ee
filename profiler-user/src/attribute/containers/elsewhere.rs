//! Containers that the system's folders do not know → asked of sockets and looked for in users' homes.
//!
//! ```text
//!   session thread: ContainerStore::take_wanted ─▶ [bounded channel] ─▶ this, in the network thread
//!   session thread: ContainerStore::learn       ◀─ [bounded channel] ◀─┘
//! ```
//!
//! A home may lie on a network that hangs: one thread at a time waits for it, and nobody for that thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::folders::{ContainerFolders, SourceStatus};
use super::socket::DockerSocket;
use super::{ContainerError, Containers};
use crate::attribute::cgroup::segment::Runtime;
use crate::host::ProcFs;

/// A container of which the system's folders know nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub id: Arc<str>,
    /// What runs it.
    pub runtime: Runtime,
    /// The user whose slice it runs in.
    pub user: Option<u32>,
}

/// What was found: the container that was asked for first, and others that came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Ids and what is known of them.
    pub containers: Containers,
}

/// Longer no home is waited for.
const HOME_WITHIN: Duration = Duration::from_secs(5);

/// The slow sources.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    proc: ProcFs,
    folders: Arc<ContainerFolders>,
    sockets: Vec<DockerSocket>,
    home_turn: Arc<Semaphore>,
}

impl Elsewhere {
    /// The homes of these folders, and these sockets. `proc` must be the running host's.
    pub fn new(proc: ProcFs, folders: ContainerFolders, sockets: &[PathBuf]) -> Result<Self, ContainerError> {
        let sockets = sockets.iter().map(|path| DockerSocket::new(path)).collect::<Result<_, _>>()?;
        Ok(Self { proc, folders: Arc::new(folders), sockets, home_turn: Arc::new(Semaphore::new(1)) })
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.folders.homes.is_empty()
    }

    /// Asks every source that may know it, until one does. An error is that of the last socket, if none knew it.
    pub async fn look_up(&self, wanted: &Wanted) -> Result<Option<Found>, ContainerError> {
        let mut failure = None;
        if matches!(wanted.runtime, Runtime::Docker | Runtime::Podman | Runtime::Unknown) {
            for socket in &self.sockets {
                match socket.inspect(&wanted.id).await {
                    Ok(Some(info)) => {
                        return Ok(Some(Found { containers: vec![(Arc::clone(&wanted.id), info)] }));
                    }
                    Ok(None) => {}
                    Err(error) => failure = Some(error),
                }
            }
        }
        if let Some(user) = wanted.user
            && let Some(found) = self.in_homes(user, Arc::clone(&wanted.id)).await
        {
            return Ok(Some(found));
        }
        failure.map_or(Ok(None), Err)
    }

    async fn in_homes(&self, user: u32, id: Arc<str>) -> Option<Found> {
        if self.folders.homes.is_empty() {
            return None;
        }
        let turn = Arc::clone(&self.home_turn).try_acquire_owned().ok()?;
        let (proc, folders) = (self.proc.clone(), Arc::clone(&self.folders));
        let search = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            folders.find_in_homes(&proc, user, &id)
        });
        let containers = tokio::time::timeout(HOME_WITHIN, search).await.ok()?.ok()?;
        (!containers.is_empty()).then_some(Found { containers })
    }

    /// What of it can be asked.
    pub async fn status(&self) -> Vec<SourceStatus> {
        let mut all = Vec::new();
        for socket in &self.sockets {
            all.push(socket.status().await);
        }
        all
    }
}
