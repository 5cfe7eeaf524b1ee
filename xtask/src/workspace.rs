//! Where things are: the checkout, its target folder, the tools unpacked there, cargo and its home.
//! Made once in `main` and handed down; reads the environment here and nowhere else but in `toolchain.rs`.

use crate::shell;
use anyhow::{Context, Result};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout that the tasks work on.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
    cargo_home: PathBuf,
}

impl Workspace {
    /// The checkout that `cargo xtask` was started in.
    pub(crate) fn here() -> Result<Self> {
        // At run time, not `env!`: a checkout that was moved may still have the old binary in target/.
        let xtask = env::var_os("CARGO_MANIFEST_DIR").context("start this by `cargo xtask`")?;
        let root = Path::new(&xtask).parent().context("xtask/ has no parent folder")?.to_owned();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => env::home_dir().context("neither CARGO_HOME nor HOME is set")?.join(".cargo"),
        };
        Ok(Self { root, target, cargo, cargo_home })
    }

    /// Another checkout, with crates in another home.
    pub(crate) fn elsewhere(&self, root: PathBuf, cargo_home: PathBuf) -> Self {
        Self { target: root.join("target"), root, cargo: self.cargo.clone(), cargo_home }
    }

    /// The checkout's top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the top folder.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where tools are unpacked and installed that the host does not have: one folder, safe to delete.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where cargo keeps the sources of crates.
    pub(crate) fn cargo_home(&self) -> &Path {
        &self.cargo_home
    }

    /// When the sources last changed, in seconds since 1970: the time that files of packages bear, so that the same sources
    /// make the same bytes. Outside a repository `SOURCE_DATE_EPOCH` says it.
    pub(crate) fn changed_at(&self) -> Result<String> {
        if let Some(given) = env::var_os("SOURCE_DATE_EPOCH") {
            return Ok(given.to_string_lossy().into_owned());
        }
        let mut log = self.command("git");
        let time = shell::output(log.args(["log", "--max-count=1", "--format=%ct"]));
        Ok(time.context("set SOURCE_DATE_EPOCH, or build in a repository")?.trim().to_owned())
    }

    /// The committed eBPF objects and their lock files.
    pub(crate) fn prebuilt(&self) -> PathBuf {
        self.root.join("profiler-ebpf/prebuilt")
    }

    /// The cargo that runs this task, in the top folder so that its settings apply. It does not see what the cargo that
    /// started us says of our own package: build scripts look at that (ring's does), and would run again, with all that
    /// depends on them, each time that cargo is started by the other.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.command(&self.cargo);
        command.env("CARGO_HOME", &self.cargo_home).env("CARGO_TARGET_DIR", &self.target);
        env::vars_os().map(|(name, _)| name).filter(|name| is_of_a_package(name)).for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    /// Any program, in the top folder.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }
}

/// Variables that cargo sets for the package that it builds or runs.
fn is_of_a_package(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_our_own_package_is_told_from_settings() {
        let of_a_package = |name: &str| is_of_a_package(OsStr::new(name));
        assert!(of_a_package("CARGO_MANIFEST_DIR") && of_a_package("CARGO_PKG_VERSION"));
        assert!(!of_a_package("CARGO_TARGET_DIR") && !of_a_package("CARGO_HOME") && !of_a_package("CARGO"));
    }
}
