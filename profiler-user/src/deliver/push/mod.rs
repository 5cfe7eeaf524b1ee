//! Pushes profiles to a profile database: one profile, one endpoint, one request, and what became of it.
//!
//! ```text
//!   config.rs ──endpoint.rs──▶ Endpoint ──client.rs──▶ Client
//!   SeriesProfile ──request.rs──▶ body ──client.rs──▶ server ──answer.rs──▶ PushOutcome ──▶ backoff.rs
//! ```
//!
//! Speaks `push.v1.PusherService/Push` of Grafana Pyroscope by Connect's unary protocol
//! (connectrpc.com/docs/protocol). What is sent when, and what is kept, is the spool's business.

mod answer;
pub mod backoff;
mod client;
mod config;
mod endpoint;
pub mod limits;
mod outcome;
mod proto;
mod proxy;
mod request;
mod tls;
mod watched_file;

pub use answer::{MAX_MESSAGE_CHARS, MAX_RETRY_AFTER};
pub use client::Client;
pub use config::{BasicAuthConfig, EndpointConfig, Secret, TlsConfig};
pub use endpoint::{DEFAULT_TIMEOUT, Endpoint, EndpointError};
pub use outcome::{PushOutcome, RefusalCause, RetryCause};
pub use proxy::ProxyEnvironment;
pub use tls::WebRoots;
