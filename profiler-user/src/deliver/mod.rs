//! Stage 6: a finished profile → files, and answers over HTTP.

pub mod file;
pub mod finished;
pub mod serve;
