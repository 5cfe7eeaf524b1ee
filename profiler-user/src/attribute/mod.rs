//! Stage 6: a process → the labels that its samples are delivered under, and the rule that named its service.
//!
//! ```text
//!   /proc/PID/cgroup ─ cgroup ─▶ container, pod, unit ─┐
//!   state folders    ─ containers ─▶ name, image, pod ─┤
//!   API server       ─ kubernetes ─▶ pod              ─┼▶ sources ─▶ rules ─▶ relabel ─▶ limits ─▶ Attribution
//!   executable       ─ language, go_build             ─┘                                             │
//!                                                           a window's series ─▶ budget ─▶ at most N label sets
//! ```
//!
//! [`attributor`] puts it together, for the thread that takes samples; docs/labels.md is what users read of it.

pub mod attributor;
pub mod budget;
pub mod cgroup;
pub mod containers;
pub mod go_build;
pub mod kubernetes;
pub mod labels;
pub mod language;
pub mod limits;
pub mod relabel;
pub mod rules;
pub mod sources;

pub use attributor::{Attribution, Attributor, Decision, DropReason, ProcessFacts};
