//! Stage 6: a finished profile → files, the profile database, and answers over HTTP.

pub mod file;
pub mod finished;
pub mod push;
pub mod series;
pub mod serve;
pub mod spool;
