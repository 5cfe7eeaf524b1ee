//! The pinned compiler, and the source of its `core` library, which the eBPF target is built from.
//!
//! ```text
//!   sysroot ─▶ unpacked earlier ─▶ rustup component ─▶ Debian's package ─▶ FLAMEKEEPER_RUST_SRC ─▶ an error
//! ```
//!
//! All four sources hold the same files, so the objects come out with the same bytes.

use crate::debian::{self, Package};
use crate::folders::{fresh_folder, replace_folder};
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of a `library/`, or an archive of one; the last resort of a machine without network.
const RUST_SRC_VARIABLE: &str = "FLAMEKEEPER_RUST_SRC";

/// Debian builds its compiler from the same release and packs the source that it used.
const DEBIAN_RUST_SRC: Package = Package {
    name: "rust-src",
    version: "1.95.0+dfsg1-2~bpo13+1",
    suite: "trixie-backports",
    sha256: "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b",
};

/// What the objects depend on, as the compiler says it of itself.
pub(crate) struct Rustc {
    /// `1.95.0`
    pub(crate) release: String,
    /// The commit that it was built from: the folder that its own paths start with.
    pub(crate) commit: String,
    /// `x86_64-unknown-linux-gnu`
    pub(crate) host: String,
    /// `22`
    pub(crate) llvm_major: String,
    /// Its installation.
    pub(crate) sysroot: PathBuf,
}

impl Rustc {
    /// Asks the compiler that cargo uses in the checkout.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let version = shell::output(workspace.command("rustc").arg("-vV"))?;
        let sysroot = shell::output(workspace.command("rustc").args(["--print", "sysroot"]))?;
        Self::from_version(&version, PathBuf::from(sysroot.trim_end()))
    }

    fn from_version(version: &str, sysroot: PathBuf) -> Result<Self> {
        let field = |name: &str| {
            let mut values = version.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            values.next().map(str::to_owned).with_context(|| format!("`rustc -vV` has no line `{name}:`"))
        };
        let llvm = field("LLVM version")?;
        let llvm_major = llvm.split('.').next().unwrap_or(&llvm).to_owned();
        let (release, commit, host) = (field("release")?, field("commit-hash")?, field("host")?);
        Ok(Self { release, commit, host, llvm_major, sysroot })
    }

    /// The LLVM that the compiler itself runs: bpf-linker must read the bitcode of exactly this one.
    pub(crate) fn llvm_library(&self) -> Result<PathBuf> {
        let folder = self.sysroot.join("lib");
        let prefix = format!("libLLVM.so.{}.", self.llvm_major);
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry.with_context(|| format!("list {}", folder.display()))?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(entry.path());
            }
        }
        bail!("no {prefix}* in {}: this compiler does not come with its LLVM", folder.display())
    }

    /// The compiler's own copy of llvm-objcopy, so that nobody needs an LLVM for the sake of one command.
    pub(crate) fn objcopy(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(&self.host).join("bin/rust-objcopy")
    }

    /// The folder `library/` of this compiler's source; fetches and unpacks it if the host has none.
    pub(crate) fn library_source(&self, workspace: &Workspace) -> Result<PathBuf> {
        let installed = self.sysroot.join("lib/rustlib/src/rust/library");
        let unpacked = workspace.tools().join(format!("rust-src-{}", self.release));
        if let Some(found) = [&installed, &unpacked.join("library")].into_iter().find(|dir| is_library(dir)) {
            return Ok(found.clone());
        }
        let rustup = || self.by_rustup(workspace, &installed);
        let debian = || self.by_debian(workspace, &unpacked);
        let variable = || by_variable(workspace, &unpacked);
        let ways: [(&str, &dyn Fn() -> Result<PathBuf>); 3] =
            [("rustup", &rustup), ("Debian's rust-src", &debian), (RUST_SRC_VARIABLE, &variable)];
        let mut failures = String::new();
        for (name, way) in ways {
            match way() {
                Ok(found) if is_library(&found) => return Ok(found),
                Ok(found) => failures += &format!("\n  {name}: no core/src/lib.rs in {}", found.display()),
                Err(error) => failures += &format!("\n  {name}: {error:#}"),
            }
        }
        bail!("no source of the core library of Rust {}:{failures}", self.release)
    }

    fn by_rustup(&self, workspace: &Workspace, installed: &Path) -> Result<PathBuf> {
        if shell::find_program("rustup").is_none() {
            bail!("not on this machine");
        }
        let rustc = shell::output(workspace.command("rustup").args(["which", "rustc"]))?;
        let toolchain = Path::new(rustc.trim_end()).ancestors().nth(2).context("it names no rustc")?;
        if !is_managed(toolchain, &self.sysroot) {
            bail!("the compiler in {} is not one of its own", self.sysroot.display());
        }
        eprintln!("$ rustup component add rust-src");
        let mut add = workspace.command("rustup");
        // Without a network this is expected to fail: one message is enough, and it is kept for the summary.
        shell::output(add.args(["component", "add", "rust-src"]).env_remove("RUST_BACKTRACE"))?;
        Ok(installed.to_owned())
    }

    fn by_debian(&self, workspace: &Workspace, unpacked: &Path) -> Result<PathBuf> {
        if !DEBIAN_RUST_SRC.version.starts_with(&format!("{}+", self.release)) {
            bail!("the locked package is {}", DEBIAN_RUST_SRC.version);
        }
        let package = debian::download(workspace, &DEBIAN_RUST_SRC)?;
        let library = format!("./usr/src/rustc-{}/library", self.release);
        debian::unpack(workspace, &package, &library, unpacked)?;
        fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
        Ok(unpacked.join("library"))
    }
}

/// Takes the folder (or the `library` in it) as it is; an archive is unpacked once.
fn by_variable(workspace: &Workspace, unpacked: &Path) -> Result<PathBuf> {
    let given = PathBuf::from(env::var_os(RUST_SRC_VARIABLE).context("not set")?);
    let given = fs::canonicalize(&given).with_context(|| format!("find {}", given.display()))?;
    if given.is_dir() {
        return Ok(if is_library(&given) { given } else { given.join("library") });
    }
    let scratch = fresh_folder(&unpacked.with_added_extension("partial"))?;
    let tar = |command: &mut std::process::Command| shell::run(command.arg(&given).arg("-C").arg(&scratch));
    tar(workspace.command("tar").arg("-xJf")).context("an archive must be a .tar.xz of `library/`")?;
    replace_folder(&scratch, unpacked)?;
    Ok(unpacked.join("library"))
}

/// Whether rustup can add to the toolchain that compiles: it must be rustup's, and no link to a folder elsewhere.
fn is_managed(toolchain: &Path, sysroot: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    !toolchain.is_symlink() && real(toolchain).is_some_and(|folder| real(sysroot) == Some(folder))
}

fn is_library(folder: &Path) -> bool {
    folder.join("core/src/lib.rs").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\ncommit-hash: 5980\n\
                           host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";

    #[test]
    fn reads_what_the_compiler_says_of_itself() {
        let rustc = Rustc::from_version(VERSION, PathBuf::from("/sysroot")).unwrap();
        assert_eq!((rustc.release.as_str(), rustc.llvm_major.as_str()), ("1.95.0", "22"));
        assert_eq!((rustc.commit.as_str(), rustc.host.as_str()), ("5980", "x86_64-unknown-linux-gnu"));
        let objcopy = "/sysroot/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-objcopy";
        assert_eq!(rustc.objcopy(), Path::new(objcopy));
    }

    #[test]
    fn a_compiler_without_llvm_is_refused() {
        let text = VERSION.replace("LLVM version: 22.1.2\n", "");
        let error = Rustc::from_version(&text, PathBuf::new()).err().unwrap().to_string();
        assert_eq!(error, "`rustc -vV` has no line `LLVM version:`");
    }
}
