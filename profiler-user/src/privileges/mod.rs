//! A thread's part in the daemon → what it may still do: capabilities and system calls, given up by itself before its work
//! begins. Nothing here is ever taken back.
//!
//! ```text
//!   Role ─┬─ capabilities.rs: what it keeps of the daemon's capabilities
//!         └─ system_calls.rs: what the kernel refuses it from now on
//! ```
//!
//! Linux keeps both by thread. A thread that is started later begins with what its parent had then, so each role is
//! entered first thing in a thread, by the thread that was started with everything last.

mod capabilities;
mod system_calls;

use std::io;

pub use capabilities::{Kernel, keeps_sys_admin};

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens perf events and makes maps for the others, and nothing else.
    Broker,
    /// Reads the rings, `/proc` and the headers of mapped files; writes the walker's tables.
    Sampling,
    /// Reads program files for rows.
    Rows,
    /// Reads program files and the kernel's symbols for names; starts the reader of debug information; writes the spool.
    Naming,
    /// Writes log lines.
    Log,
    /// Talks to the database, to the API server and to whoever asks over HTTP.
    Network,
}

/// A role could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The kernel refused to take capabilities away.
    #[error("give up capabilities: {0}")]
    Capabilities(io::Error),
    /// The kernel refused the filter.
    #[error("filter system calls: {0}")]
    SystemCalls(String),
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Broker, Self::Sampling, Self::Rows, Self::Naming, Self::Log, Self::Network];

    /// The calling thread may do from now on what the role needs, and no more.
    pub fn enter(self, kernel: Kernel) -> Result<(), PrivilegeError> {
        capabilities::keep(capabilities::of(self, kernel)).map_err(PrivilegeError::Capabilities)?;
        system_calls::filter(self)
    }
}

#[cfg(test)]
mod tests;
