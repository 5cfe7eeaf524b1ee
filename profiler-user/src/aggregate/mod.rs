//! Stage 5: samples → one profile. Merges samples of equal thread and stack, keeps the time line if an
//! output wants it, and joins addresses with the names that `symbolize` found. Does no I/O.
//!
//! ```text
//!   sample ─ window.rs ─▶ (thread, kernel part, user part) → count, weight
//!                │
//!   names ───────┴─ build.rs ─▶ locations.rs ─▶ Profile (profile.rs) + Completeness (completeness.rs)
//!                                   merge.rs: several of them as one     mend.rs: what would make stacks whole
//! ```

pub mod build;
pub mod completeness;
mod interned;
mod locations;
pub mod mend;
pub mod merge;
pub mod profile;
pub mod window;
