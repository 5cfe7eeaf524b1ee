//! One architecture's binary: built, split from its lines, looked at, and started.
//!
//! ```text
//!   cargo, musl ─▶ static binary ──rust-objcopy──▶ flamekeeper         as installed: names of functions, no DWARF
//!                                                  └─▶ flamekeeper.debug   its lines, for profiles of ourselves
//! ```

use super::architecture::Architecture;
use super::compiler::{Compiler, is_native};
use super::{BINARY, DEBUG};
use crate::ebpf::crate_folders;
use crate::folders::fresh_folder;
use crate::packages::{self, Need};
use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo's, which is also the name of its folder.
const PROFILE: &str = "distribution";
/// What is handed out may be no larger.
const BYTES_MAX: u64 = 25_000_000;

const EMULATOR: Need =
    Need { package: "qemu-user", program: Some("qemu-aarch64"), why: "the arm64 binary is started once" };

/// Builds the binary into `folder`, and gives what it says of its version.
pub(super) fn make(
    workspace: &Workspace,
    rustc: &Rustc,
    architecture: Architecture,
    folder: &Path,
) -> Result<String> {
    let compiler = Compiler::of(workspace, rustc, architecture)?;
    let built = build(workspace, rustc, architecture, &compiler)?;
    split(rustc, &built, folder)?;
    let binary = folder.join(BINARY);
    ensure_static(&binary)?;
    let bytes = binary.metadata().with_context(|| format!("look at {}", binary.display()))?.len();
    ensure!(bytes <= BYTES_MAX, "{} has {bytes} bytes, at most {BYTES_MAX} are wanted", binary.display());
    let version = if is_native(rustc, architecture) {
        version_alone(workspace, &binary)?
    } else {
        version_emulated(workspace, architecture, &binary)?
    };
    Ok(version.trim().to_owned())
}

fn build(
    workspace: &Workspace,
    rustc: &Rustc,
    architecture: Architecture,
    compiler: &Compiler,
) -> Result<PathBuf> {
    shell::run(workspace.cargo().args(["fetch", "--locked", "--quiet"]))?;
    let renamed = renamed(workspace, rustc)?;
    let each =
        |flag: &str| renamed.iter().map(|(from, to)| format!("{flag}={}={to}", from.display())).collect();
    let mut rust_flags: Vec<String> = each("--remap-path-prefix");
    rust_flags.push("-Ctarget-feature=+crt-static".to_owned());
    let c_flags: Vec<String> = each("-ffile-prefix-map");
    let target = architecture.target();
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--profile", PROFILE, "--locked", "--package", "profiler-user"]);
    cargo.args(["--target", &target]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\x1f"));
    compiler.tell(&mut cargo, &c_flags);
    shell::run(&mut cargo)?;
    Ok(workspace.target().join(target).join(PROFILE).join(BINARY))
}

/// Folders of this machine, each with what messages and lines say instead.
fn renamed(workspace: &Workspace, rustc: &Rustc) -> Result<Vec<(PathBuf, String)>> {
    let mut names = vec![(workspace.root().to_owned(), BINARY.to_owned())];
    names.extend(
        crate_folders(workspace.cargo_home())?.into_iter().map(|folder| (folder, "crates".to_owned())),
    );
    names.push((rustc.sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{}", rustc.commit)));
    // The C library's headers. Behind the root, which may be above: the last that fits counts. Compilers follow links.
    let tools = workspace.tools();
    let linked = fs::canonicalize(&tools).ok();
    names.extend([Some(tools), linked].into_iter().flatten().map(|folder| (folder, "tools".to_owned())));
    Ok(names)
}

/// Lines go into a file beside it, which debuggers and our own naming find by build id or by the link.
fn split(rustc: &Rustc, built: &Path, folder: &Path) -> Result<()> {
    let objcopy = |args: &[&str], to: &str| {
        let mut objcopy = Command::new(rustc.objcopy());
        objcopy.env("LD_LIBRARY_PATH", rustc.sysroot.join("lib"));
        shell::output(objcopy.current_dir(folder).args(args).arg(built).arg(to))
    };
    objcopy(&["--only-keep-debug"], DEBUG)?;
    // $d and $x tell disassemblers data from code in arm64's text: 1.7 MB of them.
    let without = ["--strip-debug", "--wildcard", "--strip-symbol=$[dx]*"];
    objcopy(&[&without[..], &[&format!("--add-gnu-debuglink={DEBUG}")]].concat(), BINARY)?;
    Ok(())
}

/// Nothing that a loader would have to find.
fn ensure_static(binary: &Path) -> Result<()> {
    let headers = shell::output(
        Command::new("readelf").args(["--wide", "--program-headers", "--dynamic"]).arg(binary),
    )?;
    match foreign(&headers) {
        None => Ok(()),
        Some(line) => bail!("{} is not static: {line}", binary.display()),
    }
}

/// What readelf tells of an interpreter or a library.
fn foreign(headers: &str) -> Option<&str> {
    headers.lines().map(str::trim).find(|line| line.starts_with("INTERP") || line.contains("(NEEDED)"))
}

/// What it says of its version in a root folder where it is alone.
fn version_alone(workspace: &Workspace, binary: &Path) -> Result<String> {
    let root = fresh_folder(&workspace.target().join("dist.root"))?;
    fs::copy(binary, root.join(BINARY)).with_context(|| format!("copy {}", binary.display()))?;
    let mut alone = Command::new("unshare");
    if !packages::is_root() {
        alone.arg("--map-root-user"); // else nobody but root may change the root
    }
    alone.arg("--root").arg(&root).arg(format!("/{BINARY}")).arg("--version");
    let version = shell::output(alone.env_clear());
    fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    version
}

/// What it says of its version on the emulated processor.
fn version_emulated(workspace: &Workspace, architecture: Architecture, binary: &Path) -> Result<String> {
    packages::install(workspace, std::slice::from_ref(&EMULATOR))?;
    let emulator = format!("qemu-{}", architecture.name());
    shell::output(Command::new(emulator).arg(binary).arg("--version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_or_a_library_is_found_in_what_readelf_says() {
        let fixed = "  Type   Offset\n  PHDR   0x40\n  LOAD   0x0\n 0x000000000000001e (FLAGS)  BIND_NOW\n";
        assert_eq!(foreign(fixed), None);
        let loaded = format!("{fixed}  INTERP 0x2a8\n");
        assert_eq!(foreign(&loaded), Some("INTERP 0x2a8"));
        let linked = format!("{fixed} 0x01 (NEEDED) Shared library: [libc.so.6]\n");
        assert!(foreign(&linked).is_some_and(|line| line.contains("libc.so.6")));
    }
}
