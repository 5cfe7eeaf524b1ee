//! The binary that is handed out: static, for any Linux of its architecture, in `target/dist`.
//!
//! ```text
//!   cargo, musl ─▶ static-pie binary ──rust-objcopy──▶ flamekeeper         as installed: names of functions, no DWARF
//!                                                  ├─▶ flamekeeper.debug   its lines, for profiles of ourselves
//!                                                  └─▶ SHA256SUMS
//! ```
//!
//! What it needs of the machine is fetched if it can be: the standard library for musl by rustup, musl-gcc by apt.
//! The result has no interpreter, and has run in a folder where there is nothing else.

use crate::ebpf::crate_folders;
use crate::packages::{self, Need};
use crate::shell;
use crate::toolchain::{Rustc, fresh_folder};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// aarch64 follows when it can be tried.
const TARGET: &str = "x86_64-unknown-linux-musl";
const BINARY: &str = "flamekeeper";
const DEBUG: &str = "flamekeeper.debug";
const SUMS: &str = "SHA256SUMS";

/// ring and zstd are C and assembly.
const NEEDS: [Need; 1] =
    [Need { package: "musl-tools", program: Some("musl-gcc"), why: "C code of a static binary" }];

/// Builds the binary, looks at it, and tells where it is.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let rustc = Rustc::of(workspace)?;
    standard_library(workspace, &rustc)?;
    packages::install(workspace, &NEEDS)?;
    ensure!(shell::find_program("musl-gcc").is_some(), "no musl-gcc: install musl-tools");
    let built = build(workspace, &rustc)?;
    let folder = fresh_folder(&workspace.target().join("dist"))?;
    split(&rustc, &built, &folder)?;
    let binary = folder.join(BINARY);
    ensure_static(&binary)?;
    let version = version_alone(workspace, &binary)?;
    let sums = [BINARY, DEBUG].map(|name| sum(&folder, name)).into_iter().collect::<Result<String>>()?;
    fs::write(folder.join(SUMS), &sums).context("write the sums")?;
    print!("{}", report(&folder, &version, &sums)?);
    Ok(())
}

/// The compiler's own library for the target.
fn standard_library(workspace: &Workspace, rustc: &Rustc) -> Result<()> {
    let folder = rustc.sysroot.join("lib/rustlib").join(TARGET);
    if folder.join("lib").is_dir() {
        return Ok(());
    }
    ensure!(
        shell::find_program("rustup").is_some(),
        "{} has no library for {TARGET}, and there is no rustup to add it",
        rustc.sysroot.display()
    );
    shell::run(workspace.command("rustup").args(["target", "add", TARGET]))
}

fn build(workspace: &Workspace, rustc: &Rustc) -> Result<PathBuf> {
    shell::run(workspace.cargo().args(["fetch", "--locked", "--quiet"]))?;
    let renamed = renamed(workspace, rustc)?;
    let each =
        |flag: &str| renamed.iter().map(|(from, to)| format!("{flag}={}={to}", from.display())).collect();
    let mut rust_flags: Vec<String> = each("--remap-path-prefix");
    rust_flags.push("-Ctarget-feature=+crt-static".to_owned());
    let c_flags: Vec<String> = each("-ffile-prefix-map");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--package", "profiler-user", "--target", TARGET]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\x1f"));
    cargo.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    cargo.env("CFLAGS_x86_64_unknown_linux_musl", c_flags.join(" "));
    shell::run(&mut cargo)?;
    Ok(workspace.target().join(TARGET).join("release").join(BINARY))
}

/// Folders of this machine, each with what messages and lines say instead.
fn renamed(workspace: &Workspace, rustc: &Rustc) -> Result<Vec<(PathBuf, String)>> {
    let mut names = vec![(workspace.root().to_owned(), BINARY.to_owned())];
    names.extend(
        crate_folders(workspace.cargo_home())?.into_iter().map(|folder| (folder, "crates".to_owned())),
    );
    names.push((rustc.sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{}", rustc.commit)));
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
    objcopy(&["--strip-debug", &format!("--add-gnu-debuglink={DEBUG}")], BINARY)?;
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
    Ok(version?.trim().to_owned())
}

/// A line as `sha256sum --check` reads it.
fn sum(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(format!("{}  {name}\n", shell::sha256(&bytes)?))
}

fn report(folder: &Path, version: &str, sums: &str) -> Result<String> {
    let mut text = format!("{version} for {TARGET} in {}\n", folder.display());
    for line in sums.lines() {
        let name = line.split_whitespace().nth(1).unwrap_or_default();
        let bytes = folder.join(name).metadata().with_context(|| format!("look at {name}"))?.len();
        text += &format!("{bytes:>10} bytes  {line}\n");
    }
    Ok(text)
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

    #[test]
    fn sums_are_as_sha256sum_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n";
        assert_eq!(sum(folder.path(), "a").unwrap(), expected);
    }
}
