//! Stage 6, Kubernetes: the pods of this node as a table that a process is looked up in.
//!
//! ```text
//!   config ─▶ Access ─▶ api ─ bytes ─▶ lines ─▶ object ─ PodInfo ─▶ store ─▶ PodTable, published by watch
//! ```
//!
//! The watch is the only one who asks the API server, for nothing but pods of this node. Whoever attributes has the
//! last table and never waits for another.

mod api;
mod config;
mod error;
mod lines;
mod object;
pub mod pod;
mod probe;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use config::{Access, KubernetesConfig, PodEnvironment};
pub use error::{CAUSES, KubernetesError};
pub use pod::{PodContainer, PodInfo, PodOwner, PodTable};
pub use probe::{Reach, probe};
pub use status::WatchStatus;
pub use watch::{MAX_PODS, PodWatch, PublishedPods, WatchOptions, WatchTimes};
