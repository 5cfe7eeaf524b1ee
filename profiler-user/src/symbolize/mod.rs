//! Stage 4: addresses → function names, source lines, inlined functions.
//!
//! Names only what was sampled, each address once. No name is better than a wrong one: an address
//! outside every symbol stays unnamed here and becomes `module+0xoffset` in `aggregate`.

mod demangle;
pub mod dwarf;
mod error;
pub mod kernel;
mod known_files;
mod lines;
pub mod names;
pub mod native;
pub mod perf_map;
mod perf_maps;
mod plain;
mod plt;
mod rank;
mod reader_budget;
mod spans;
mod symtab;
pub mod vdso;

pub use error::SymbolizeError;

use std::sync::Arc;

/// What is known of a file or of a process goes when nobody asked for it in so long: ten minutes.
const UNUSED_NANOS_MAX: u64 = 600_000_000_000;

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedFunction {
    /// For people: demangled, Rust's hash suffix dropped.
    pub name: Arc<str>,
    /// As the linker knows it; the same as `name` for inlined functions without a linkage name.
    pub system_name: Arc<str>,
    /// Source file with its folder, empty if unknown.
    pub file: Arc<str>,
    /// Line on which the function begins, 0 if unknown.
    pub start_line: u32,
}

/// A place in a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedLine {
    /// The function.
    pub function: NamedFunction,
    /// Source line of the address (for an outer function: of the call), 0 if unknown.
    pub line: u32,
}

/// Everything at one address: innermost inlined function first. Empty if no symbol covers it.
pub type NamedAddress = Vec<NamedLine>;
