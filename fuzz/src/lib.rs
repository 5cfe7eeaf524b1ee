//! Foreign bytes → every parser and decoder that meets them, and what must hold whatever the bytes are.
//!
//! ```text
//!   corpus/NAME/*  ─┬─ tests/replay.rs ── as they are, and damaged: plain `cargo test`, everywhere ─┐
//!                   └─ fuzzer/main.rs ─── libFuzzer, guided by coverage: `cargo xtask fuzz` ────────┴▶ Target::check
//! ```
//!
//! A target fails by a panic: one of the product's, one of the properties asserted here, or more heap than its bound.
//! Time is bounded by who runs it. An input that once failed stays in the corpus as `regression-…`.
//!
//! Uses what the product makes public and nothing else: raw sections come in a small file made around them
//! ([`image`]), as they would from disk.

pub mod heap;
pub mod image;
pub mod mutate;
mod targets;

/// Says which target the fuzzer runs.
pub const TARGET_VARIABLE: &str = "FLAMEKEEPER_FUZZ_TARGET";

/// Something that takes foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its folder in the corpus.
    pub name: &'static str,
    run: fn(&[u8]),
    heap_max_bytes: usize,
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target { name: "elf", run: targets::elf::run, heap_max_bytes: ROWS_HEAP_BYTES },
    Target { name: "frames", run: targets::frames::run, heap_max_bytes: ROWS_HEAP_BYTES },
    Target { name: "go_table", run: targets::go_table::run, heap_max_bytes: ROWS_HEAP_BYTES },
    Target { name: "go_build", run: targets::go_build::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "cgroup", run: targets::cgroup::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "walk", run: targets::walk::run, heap_max_bytes: ROWS_HEAP_BYTES },
    Target { name: "maps", run: targets::maps::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "sideband", run: targets::sideband::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "ring", run: targets::ring::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "kernel_names", run: targets::kernel_names::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "perf_map", run: targets::perf_map::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "spool", run: targets::spool::run, heap_max_bytes: TEXT_HEAP_BYTES },
    Target { name: "pprof", run: targets::pprof::run, heap_max_bytes: PPROF_HEAP_BYTES },
];

/// A 64th of what [`profiler_user::unwind::Budget`] promises for its defaults, as [`targets::rows::BUDGET`] is one of them.
const ROWS_HEAP_BYTES: usize = (250 << 20) / 64;
/// Inputs have at most 64 KiB; what is made of them is a small multiple.
const TEXT_HEAP_BYTES: usize = 2 << 20;
/// Two bytes of protobuf can be a whole message here, and tables double as they grow.
const PPROF_HEAP_BYTES: usize = 16 << 20;

impl Target {
    /// Panics if the target does not stand these bytes.
    pub fn check(&self, bytes: &[u8]) {
        let peak = heap::peak_bytes_during(|| (self.run)(bytes));
        assert!(
            peak <= self.heap_max_bytes,
            "{}: {peak} bytes of heap, at most {}",
            self.name,
            self.heap_max_bytes
        );
    }
}
