//! HTTP: what others ask of the daemon → its account of itself, its targets, and profiles on demand.
//!
//! ```text
//!   listen.rs ─▶ server.rs ─▶ router.rs ┬ /metrics /healthz /readyz          by SelfAccount (telemetry)
//!   sockets      connections,   access.rs ├ /targets /targets.json /sd/targets  by TargetsSnapshot (targets.rs)
//!                limits         who may   └ /debug/pprof/profile                by PullRequest (pull.rs, selector.rs)
//! ```
//!
//! Serves what it is handed and never samples, writes a file or waits for a disk. HTTP/1.1 only, GET and HEAD only.

mod access;
mod counts;
mod discovery;
mod html;
mod listen;
mod matcher_text;
mod pages;
mod pull;
mod respond;
mod router;
mod selector;
mod server;
mod stall;
mod targets;
mod targets_page;
mod targets_query;

#[cfg(test)]
mod tests;

pub use access::{Access, BadToken, Peer, Refusal, Token};
pub use counts::{ServeCounters, ServeCounts};
pub(crate) use html::is_misleading;
pub use listen::{BadAddress, DEFAULT_ADDRESS, ListenAddress};
pub use pull::{HERTZ_MAX, PULLS_MAX, PullError, PullReply, PullRequest, SECONDS_MAX};
pub use router::{Inputs, SelfAccount, Verdict};
pub use selector::{Matcher, PID, Selector, SelectorError, Test};
pub use server::{Limits, ServeError, Server};
pub use targets::{TARGETS_MAX, Target, TargetsSnapshot, UnknownLabel};
