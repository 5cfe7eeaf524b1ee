//! What the daemon says of itself: numbers → metrics, facts → health, events → log lines.
//!
//! ```text
//!   account.rs: Account ── exposition.rs (sheet.rs) ──▶ /metrics
//!   overhead.rs: own CPU time and memory ─┘
//!   readiness.rs: facts ──▶ /healthz /readyz
//!   logs.rs: events ─ throttle.rs ─ lines.rs ─ sink.rs ──▶ stderr
//! ```
//!
//! Watches the stages and is known to none of them. Decides nothing, and keeps no numbers of its own but those of the log.

pub mod account;
mod exposition;
mod lines;
pub mod logs;
pub mod overhead;
pub mod readiness;
mod sheet;
mod sink;
mod throttle;

pub use account::Account;
pub use exposition::exposition;
