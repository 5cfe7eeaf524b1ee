//! Programs that cargo can install, as the host has them or else below `target/tools`: bpf-linker, cargo-deny, and what
//! makes packages.

use crate::folders::fresh_folder;
use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest that Rust 1.95 takes. Another version may write other bytes, so it is part of the lock.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";
/// The newest of the day; any that understands deny.toml would do.
const CARGO_DENY_VERSION: &str = "0.20.2";
/// The newest of the day; exactly these, because another version may write other bytes.
const CARGO_DEB_VERSION: &str = "3.8.0";
const CARGO_GENERATE_RPM_VERSION: &str = "0.21.1";
const CARGO_CYCLONEDX_VERSION: &str = "0.5.9";

/// A bpf-linker of the locked version that runs the compiler's own LLVM.
pub(crate) fn bpf_linker(workspace: &Workspace, rustc: &Rustc) -> Result<PathBuf> {
    let llvm = rustc.llvm_library()?;
    let ours = workspace.tools().join("bin/bpf-linker");
    for candidate in shell::find_program("bpf-linker").into_iter().chain([ours.clone()]) {
        if is_wanted_linker(&candidate, &llvm) {
            return Ok(candidate);
        }
    }
    install_bpf_linker(workspace, rustc, &llvm)?;
    if !is_wanted_linker(&ours, &llvm) {
        bail!("the bpf-linker just built does not run with {}", llvm.display());
    }
    Ok(ours)
}

fn is_wanted_linker(program: &Path, llvm: &Path) -> bool {
    let version = shell::output(Command::new(program).arg("--version"));
    let libraries = shell::output(Command::new("ldd").arg(program));
    version.is_ok_and(|text| text.trim() == format!("bpf-linker {BPF_LINKER_VERSION}"))
        && libraries.is_ok_and(|text| loads(&text, llvm))
}

/// Whether `ldd`'s output has the library under its exact file name, which carries version and compiler.
fn loads(ldd: &str, library: &Path) -> bool {
    library.file_name().is_some_and(|name| {
        ldd.lines().any(|line| line.split_whitespace().next().is_some_and(|word| word == name))
    })
}

/// bpf-linker wants an LLVM installation; a folder with one link to the compiler's LLVM is enough of one.
fn install_bpf_linker(workspace: &Workspace, rustc: &Rustc, llvm: &Path) -> Result<()> {
    let prefix = workspace.tools().join("llvm");
    let folder = fresh_folder(&prefix.join("lib"))?;
    symlink(llvm, folder.join("libLLVM.so")).with_context(|| format!("link {}", llvm.display()))?;
    let feature = format!("llvm-{}", rustc.llvm_major);
    let mut install = cargo_install(workspace, "bpf-linker", BPF_LINKER_VERSION);
    install.args(["--force", "--no-default-features", "--features", &feature]);
    // Debug information of the linker itself only costs time.
    install.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("LLVM_PREFIX", &prefix);
    let rpath = format!("-Clink-arg=-Wl,-rpath,{}", rustc.sysroot.join("lib").display());
    shell::run(install.env("CARGO_ENCODED_RUSTFLAGS", rpath))?;
    remove_build_folder(workspace)
}

/// A cargo-deny new enough for deny.toml.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let ours = workspace.tools().join("bin/cargo-deny");
    for candidate in shell::find_program("cargo-deny").into_iter().chain([ours.clone()]) {
        let version = shell::output(Command::new(&candidate).arg("--version"));
        if version.is_ok_and(|text| is_at_least(&text, CARGO_DENY_VERSION)) {
            return Ok(candidate);
        }
    }
    // It runs for a second on our graph: optimizing it would take longer than it ever saves.
    let mut install = cargo_install(workspace, "cargo-deny", CARGO_DENY_VERSION);
    shell::run(install.args(["--profile", "dev"]).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    remove_build_folder(workspace)?;
    Ok(ours)
}

/// Writes Debian packages.
pub(crate) fn cargo_deb(workspace: &Workspace) -> Result<PathBuf> {
    // By itself it brings an LZMA library; without it runs xz, which every Debian has.
    exactly(workspace, "cargo-deb", CARGO_DEB_VERSION, &["--no-default-features"])
}

/// Writes packages of rpm, without rpmbuild.
pub(crate) fn cargo_generate_rpm(workspace: &Workspace) -> Result<PathBuf> {
    exactly(workspace, "cargo-generate-rpm", CARGO_GENERATE_RPM_VERSION, &[])
}

/// Lists what a binary is made of, by the dependencies that cargo resolved for its target; what reads Cargo.lock alone
/// would list those of tests and other systems too.
pub(crate) fn cargo_cyclonedx(workspace: &Workspace) -> Result<PathBuf> {
    exactly(workspace, "cargo-cyclonedx", CARGO_CYCLONEDX_VERSION, &[])
}

/// A program of exactly this version, below `target/tools`.
fn exactly(workspace: &Workspace, name: &str, version: &str, options: &[&str]) -> Result<PathBuf> {
    let ours = workspace.tools().join("bin").join(name);
    let list = workspace.tools().join(".crates.toml");
    // Cargo's own list: not each of them tells its version.
    let installed = fs::read_to_string(&list).unwrap_or_default();
    if !installed.contains(&format!("\"{name} {version} ")) {
        let mut install = cargo_install(workspace, name, version);
        install.args(options).args(["--profile", "dev"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
        shell::run(&mut install)?;
        remove_build_folder(workspace)?;
    }
    Ok(ours)
}

fn cargo_install(workspace: &Workspace, name: &str, version: &str) -> Command {
    let mut command = workspace.cargo();
    command.args(["install", name, "--version", version, "--locked", "--root"]).arg(workspace.tools());
    command.arg("--target-dir").arg(build_folder(workspace));
    command
}

fn build_folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("build")
}

/// Hundreds of megabytes that nobody reads again.
fn remove_build_folder(workspace: &Workspace) -> Result<()> {
    let folder = build_folder(workspace);
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

/// Compares the last word of `name 1.2.3` with a version, number by number.
fn is_at_least(version_line: &str, wanted: &str) -> bool {
    fn numbers(version: &str) -> Vec<u64> {
        version.split('.').map_while(|number| number.parse().ok()).collect()
    }
    version_line.split_whitespace().last().is_some_and(|found| numbers(found) >= numbers(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_at_least("cargo-deny 0.20.2\n", "0.20.2"));
        assert!(is_at_least("cargo-deny 0.100.0\n", "0.20.2"));
        assert!(!is_at_least("cargo-deny 0.9.9\n", "0.20.2"));
        assert!(!is_at_least("", "0.20.2"));
    }

    #[test]
    fn a_linker_over_another_llvm_is_not_ours() {
        let llvm = Path::new("/sysroot/lib/libLLVM.so.22.1-rust-1.95.0-stable");
        assert!(loads("\tlibLLVM.so.22.1-rust-1.95.0-stable => /x/libLLVM (0x7f)\n", llvm));
        assert!(!loads("\tlibLLVM.so.22.1 => /usr/lib/libLLVM.so.22.1 (0x7f)\n", llvm));
    }
}
