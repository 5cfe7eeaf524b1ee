//! What is handed out, in `target/dist`: a static binary for any Linux of each architecture, with its sums.
//!
//! ```text
//!   dist/ARCHITECTURE/flamekeeper            binary.rs, with compiler.rs
//!                     flamekeeper.debug      its lines
//!        SHA256SUMS                          sums.rs
//! ```
//!
//! What it needs of the machine is fetched if it can be: Rust's libraries by rustup, C compilers and headers by apt, and
//! the other architecture's binary is started by qemu.

mod architecture;
mod binary;
mod compiler;
mod sums;

use crate::toolchain::{Rustc, fresh_folder};
use crate::workspace::Workspace;
use anyhow::Result;

pub(crate) use architecture::Architecture;
pub(crate) use compiler::Compiler;

const BINARY: &str = "flamekeeper";
const DEBUG: &str = "flamekeeper.debug";

/// What to make.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// For this architecture only; repeatable [default: both]
    #[arg(long, value_enum)]
    pub(crate) arch: Vec<Architecture>,
}

/// Makes all of it, and tells where it is.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let rustc = Rustc::of(workspace)?;
    let all = Architecture::ALL.into_iter();
    let wanted: Vec<_> = all.filter(|one| args.arch.is_empty() || args.arch.contains(one)).collect();
    let dist = workspace.target().join("dist");
    for &architecture in &wanted {
        let folder = fresh_folder(&dist.join(architecture.name()))?;
        let version = binary::make(workspace, &rustc, architecture, &folder)?;
        println!("{version} for {}", architecture.target());
    }
    print!("{}:\n{}", dist.display(), sums::write(&dist)?);
    Ok(())
}
