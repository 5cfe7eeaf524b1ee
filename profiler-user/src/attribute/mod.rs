//! Stage: a process → the labels that its samples are delivered under, and the rule that named its service.

pub mod cgroup;
pub mod containers;
pub mod go_build;
pub mod kubernetes;
pub mod labels;
pub mod language;
pub mod relabel;
