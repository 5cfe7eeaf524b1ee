//! Stage 6: a finished profile → files, and the profile database.

pub mod file;
pub mod finished;
pub mod push;
pub mod series;
