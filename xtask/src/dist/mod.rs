//! What is handed out, in `target/dist`: a static binary for any Linux of each architecture, in every wrapping.
//!
//! ```text
//!   dist/ARCHITECTURE/flamekeeper            binary.rs, with compiler.rs
//!                     flamekeeper.debug      its lines
//!                     flamekeeper.cdx.json   sbom.rs: what it is made of
//!                     *.deb *.rpm *.tar.gz   package.rs
//!        oci/, flamekeeper-VERSION.oci.tar   image.rs: of every architecture that is there
//!        SHA256SUMS                          sums.rs
//! ```
//!
//! What it needs of the machine is fetched if it can be: Rust's libraries by rustup, C compilers and headers by apt, what
//! writes packages by cargo. The same sources give the same bytes, which reproducible.rs checks.

mod architecture;
mod binary;
mod compiler;
mod image;
mod pack;
mod package;
mod reproducible;
mod sbom;
mod sources;
mod sums;

use crate::folders::fresh_folder;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::{Path, PathBuf};

pub(crate) use architecture::Architecture;
pub(crate) use compiler::Compiler;

const BINARY: &str = "flamekeeper";
const DEBUG: &str = "flamekeeper.debug";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What to make.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// For this architecture only; repeatable [default: both]
    #[arg(long, value_enum)]
    pub(crate) arch: Vec<Architecture>,
    /// Stop at the binaries: no packages, no image, no list of what they are made of
    #[arg(long, conflicts_with = "check_reproducible")]
    pub(crate) binaries: bool,
    /// Build all of it once more, in another folder, and compare every byte
    #[arg(long)]
    pub(crate) check_reproducible: bool,
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
        if !args.binaries {
            sbom::make(workspace, architecture, &folder)?;
            package::make(workspace, architecture, &folder)?;
        }
    }
    if !args.binaries {
        image(workspace, &dist)?;
    }
    print!("{}:\n{}", dist.display(), sums::write(&dist)?);
    if args.check_reproducible {
        reproducible::check(workspace, &dist, &wanted)?;
    }
    Ok(())
}

/// Makes what the tests look at, for this machine's architecture; gives the reason where Rust's library for musl cannot be had.
pub(crate) fn run_for_tests(workspace: &Workspace) -> Result<Option<String>> {
    let rustc = Rustc::of(workspace)?;
    let native = Architecture::ALL.into_iter().filter(|&one| compiler::is_native(&rustc, one));
    let args = Args { arch: native.collect(), ..Args::default() };
    if args.arch.is_empty() {
        return Ok(Some(format!("nothing is handed out for {}", rustc.host)));
    }
    for &architecture in &args.arch {
        if let Err(error) = compiler::standard_library(workspace, &rustc, architecture) {
            return Ok(Some(format!("{error:#}")));
        }
    }
    run(workspace, &args).map(|()| None)
}

/// Of every architecture whose binary is there, also from an earlier run.
fn image(workspace: &Workspace, dist: &Path) -> Result<()> {
    let folders = Architecture::ALL.map(|architecture| (architecture, dist.join(architecture.name())));
    let there: Vec<(Architecture, PathBuf)> =
        folders.into_iter().filter(|(_, folder)| folder.join(BINARY).is_file()).collect();
    let layout = image::Layout::new(&dist.join("oci"), &workspace.changed_at()?)?;
    layout.fill(VERSION, &there)?;
    layout.pack(&dist.join(format!("{BINARY}-{VERSION}.oci.tar")))
}
