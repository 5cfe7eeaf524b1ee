//! Stage 1: loads the eBPF object and attaches it to every online CPU.
//!
//! ```text
//!   error.rs            what can go wrong
//!   kernel_features.rs  what this kernel lets us do, found out by trying
//!   loader.rs           object → programs and maps
//!   attach.rs           programs → ticks on every CPU
//! ```

mod attach;
mod error;
mod loader;

pub use attach::{Hertz, TickSource};
pub use error::SampleError;
pub use loader::Sampler;
