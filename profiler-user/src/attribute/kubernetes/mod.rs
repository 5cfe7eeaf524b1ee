//! Stage 6, Kubernetes: the pods of this node as a table that a process is looked up in.

pub mod pod;

pub use pod::{PodContainer, PodInfo, PodOwner, PodTable};
