//! Flamekeeper's user half: from ring bytes to a written profile, one folder a stage, in pipeline order.
//!
//! ```text
//!   sample ▶ collect ▶ process ▶ unwind ▶ symbolize ▶ attribute ▶ aggregate ▶ deliver ▶ telemetry
//! ```
//!
//! A stage knows `profiler-common`, [`host`] and the stages to its left. ARCHITECTURE.md has the map.

pub mod aggregate;
pub mod allocator;
pub mod attribute;
pub mod capture;
pub mod cli;
pub mod collect;
pub mod config;
pub mod daemon;
pub mod deliver;
pub mod doctor;
pub mod elf;
pub mod host;
pub mod privileges;
pub mod process;
pub mod record;
pub mod sample;
pub mod spool;
pub mod symbolize;
pub mod targets;
pub mod telemetry;
pub mod unwind;
