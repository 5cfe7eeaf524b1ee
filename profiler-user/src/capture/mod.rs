//! Sampling itself, for whoever wants profiles: loads the kernel half, reads its rings and keeps what was seen, until it is
//! cut off as a segment of time.
//!
//! ```text
//!   config.rs ─▶ setup.rs ─▶ session.rs: every 100 ms (rounds.rs), in one thread ─▶ Segment (segment.rs)
//!                targets.rs: what the kernel half lets through    admission.rs: what the rest of us does
//! ```
//!
//! `record` takes one segment and ends; `daemon` cuts one every window and goes on. Names nothing, delivers nothing.

pub mod admission;
mod config;
mod error;
pub mod rights;
mod rounds;
pub mod segment;
mod session;
mod setup;
mod targets;

pub use config::{Kept, Scope, SessionConfig, Unwind};
pub use error::CaptureError;
pub use session::{Progress, Session};
