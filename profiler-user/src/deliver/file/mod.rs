//! A finished profile → files: which format an output has, what is checked before sampling, how it is written.
//!
//! ```text
//!   -o, --format ──plan.rs──▶ OutputPlan ─┐         ┌ pprof.rs  pprof_proto.rs    .pb.gz .pprof
//!                                         ├ write.rs┼ folded.rs ┐                 .folded
//!   aggregate::profile::Profile ──────────┘    │    ├ svg.rs    ┴ stacks.rs       .svg
//!                                              │    ├ firefox.rs                  .json
//!                                         beside.rs └ speedscope.rs               .speedscope.json
//! ```
//!
//! A format only ever sees the profile and a writer; files, temporary names and standard output are
//! `write.rs`' business. Nothing here changes a profile, reads a clock or names an address.

mod beside;
mod error;
mod firefox;
mod folded;
mod format;
mod frames;
mod name;
mod plan;
pub(super) mod pprof;
mod pprof_proto;
mod pprof_read;
mod speedscope;
mod stacks;
mod svg;
mod write;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod pprof_tests;

pub use error::{BadOutputs, OutputError};
pub use format::{EncodeError, Format, UnknownFormat};
pub use name::{default_name, utc_compact};
pub use plan::{Destination, OutputPlan, Target};
pub use pprof_read::{PprofError, read as read_pprof};
pub(super) use write::write_by;
pub use write::{OutputReport, write_all};
