//! Project tasks: what cargo alone cannot do, one subcommand a file.
//!
//! ```text
//!   cargo xtask ebpf [--check]       sources ─▶ the committed eBPF objects          ebpf.rs sources.rs toolchain.rs
//!   cargo xtask test [ARGS]          needed packages ─▶ every test this host runs   test.rs packages.rs
//!   cargo xtask tidy                 the house rules that a program can check       tidy/
//!   cargo xtask verifier [--update]  every program ─▶ the kernel's verifier         verifier.rs
//!   cargo xtask bench [--part PART]  what flamekeeper costs, also beside perf        bench/
//!   cargo xtask fuzz [TARGET]        hostile bytes ─▶ every parser and decoder       fuzz.rs
//!   cargo xtask dist [--arch ARCH]   sources ─▶ what is handed out, for both architectures   dist/
//!   cargo xtask vm [--ci]            kernels of distributions ─▶ the product in guests      vm/
//!   cargo xtask ci                   all of it, as on every change                  ci.rs
//! ```
//!
//! Nothing here is part of the product: the tasks call programs, and a user who only builds needs none of them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who started it")]

mod bench;
mod ci;
mod debian;
mod dist;
mod ebpf;
mod folders;
mod fuzz;
mod miri;
mod packages;
mod shell;
mod sources;
mod test;
mod tidy;
mod toolchain;
mod tools;
mod verifier;
mod vm;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Flamekeeper's project tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the eBPF objects of both architectures into profiler-ebpf/prebuilt
    Ebpf {
        /// Build, compare with the committed objects and leave them alone
        #[arg(long)]
        check: bool,
    },
    /// Install what the tests need, run every test that this host can run, name what was skipped
    Test {
        /// Handed to `cargo test`: a filter, `-p CRATE`, `-- --nocapture`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check the house rules: imports, boundaries, file heads, file sizes
    Tidy,
    /// Load every program of the eBPF object and compare its verified instructions with the lock file
    Verifier {
        /// Write what was measured into the lock file
        #[arg(long)]
        update: bool,
    },
    /// Measure what flamekeeper costs: a sample, a program, the host; beside perf on the same load
    Bench(bench::Args),
    /// Search for bytes that a parser or decoder does not stand
    Fuzz(fuzz::Args),
    /// Make what is handed out in target/dist: static binaries of both architectures, and their sums
    Dist(dist::Args),
    /// Boot the kernels of distributions in an emulator and test the static binary on them
    Vm(vm::Args),
    /// Every check and every test, as for a change that is to be merged
    Ci,
}

fn main() -> ExitCode {
    let Err(error) = run(Args::parse().task) else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::here()?;
    match task {
        Task::Ebpf { check: false } => ebpf::build(&workspace),
        Task::Ebpf { check: true } => ebpf::check(&workspace),
        Task::Test { args } => test::run(&workspace, &args),
        Task::Tidy => tidy::run(&workspace),
        Task::Verifier { update } => verifier::run(&workspace, update),
        Task::Bench(args) => bench::run(&workspace, &args),
        Task::Fuzz(args) => fuzz::run(&workspace, &args),
        Task::Dist(args) => dist::run(&workspace, &args),
        Task::Vm(args) => vm::run(&workspace, &args),
        Task::Ci => ci::run(&workspace),
    }
}
