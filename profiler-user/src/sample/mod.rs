//! Stage 1: loads the eBPF object and attaches it to every online CPU.
//!
//! ```text
//!   error.rs            what can go wrong
//!   kernel_features.rs  what this kernel lets us do, found out by trying
//!   abilities.rs        what this kernel can do → which programs, attached how
//!   capabilities.rs     what this thread may do, and how to get the rest
//!   bpf_trial.rs        the smallest program and ring buffer, tried
//!   btf.rs              the kernel's own type information → member offsets
//!   loader.rs           object → programs and maps
//!   kernel_log.rs       lines that the kernel half writes
//!   attach.rs           programs → ticks on every CPU
//! ```

pub mod abilities;
mod attach;
pub mod bpf_trial;
pub mod btf;
pub mod capabilities;
mod error;
pub mod kernel_features;
mod kernel_log;
mod loader;

pub use attach::{Hertz, TickSource, Ticks, online_cpus};
pub use error::{SampleError, chain, io_error};
pub use kernel_log::KernelLog;
pub use loader::{LoadOptions, Loaded, RowBlockMap, Sampler, WalkerMaps, make_row_block};
