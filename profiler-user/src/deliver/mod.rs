//! Stage 6: a finished profile → files, and the profile database.

pub mod file;
pub mod finished;
pub mod log_limit;
pub mod push;
