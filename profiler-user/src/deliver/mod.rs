//! Stage 6: a finished profile → files.

pub mod file;
pub mod finished;
pub mod series;
