//! A container's id → what its runtime knows of it: name, image, labels, pod.
//!
//! ```text
//!   id ─ store.rs ─ known? ──────────────────────────────▶ ContainerInfo
//!             └──── folders.rs: the runtimes' state folders ─▶ docker.rs, oci.rs, storage.rs
//!             └──── wanted ─▶ elsewhere.rs: users' homes, sockets ─▶ learned later
//! ```
//!
//! Each source is optional. What lies in the system's own state folders is read at once, once per container: small
//! files on local disks. Homes may hang on a network and sockets may not answer, so those are asked on another thread.

pub mod docker;
pub mod elsewhere;
pub mod folders;
pub mod oci;
pub mod socket;
pub mod storage;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use elsewhere::{Elsewhere, Found, Wanted};
pub use folders::{ContainerFolders, SourceState, SourceStatus};
pub use store::ContainerStore;

/// What a runtime knows of a container. Texts are bounded by [`Self::bounded`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    /// What people call it; empty if it has no name of its own.
    pub name: String,
    /// The image that it was made from; empty if not told.
    pub image: String,
    /// Its labels; none of them if the runtime keeps them where we do not look (Podman without its socket).
    pub labels: BTreeMap<String, String>,
    /// The pod that it was made for.
    pub pod: Option<RuntimePod>,
    /// Whether it only holds a pod's namespaces.
    pub is_sandbox: bool,
}

/// A pod, as a container runtime knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimePod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid, with dashes.
    pub uid: String,
}

/// Containers by their ids, the one that was asked for first.
pub type Containers = Vec<(Arc<str>, ContainerInfo)>;

/// Labels of one container that are kept.
const LABELS_MAX: usize = 64;
/// Longer names and values are cut: nobody tells services apart by the end of such a text.
const TEXT_BYTES_MAX: usize = 1024;

impl ContainerInfo {
    /// With every text and their number within bounds: a container's owner decides what they are.
    fn bounded(self) -> Self {
        Self {
            name: cut(self.name),
            image: cut(self.image),
            labels: self
                .labels
                .into_iter()
                .filter(|(name, _)| name.len() <= TEXT_BYTES_MAX)
                .take(LABELS_MAX)
                .map(|(name, value)| (name, cut(value)))
                .collect(),
            pod: self.pod.map(|pod| RuntimePod {
                namespace: cut(pod.namespace),
                name: cut(pod.name),
                uid: cut(pod.uid),
            }),
            is_sandbox: self.is_sandbox,
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Why a source's answer about a container was no use.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Not the JSON that the runtime writes.
    #[error("{what} of container {id}")]
    Json {
        /// The kind of file or answer.
        what: &'static str,
        /// The container.
        id: String,
        /// What did not fit.
        source: serde_json::Error,
    },
    /// A socket that cannot be used.
    #[error("ask {url} over its socket")]
    Socket {
        /// The path on the socket.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The client of a socket cannot be made.
    #[error("set up the client of a socket")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
    /// An answer that is neither 200 nor 404.
    #[error("{url} answered with status {status}")]
    Status {
        /// The path on the socket.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// An answer beyond [`socket::ANSWER_BYTES_MAX`].
    #[error("the answer of {url} has more than {limit} bytes")]
    TooLarge {
        /// The path on the socket.
        url: String,
        /// The bound.
        limit: usize,
    },
}

#[cfg(test)]
mod tests;
