//! Whether the same sources give the same bytes elsewhere: a second checkout, a second home of crates, another length of path.
//!
//! ```text
//!   this folder ──copy──▶ target/elsewhere/…/checkout ─▶ binary ─┐
//!   cargo's home ──links──▶ target/elsewhere/home                ├─▶ the same bytes, or an error that says from where on
//!                                            dist/ARCHITECTURE ──┘
//!   packages are made a second time in place
//! ```
//!
//! Costs as many minutes again as the first build; so it is asked for.

use super::architecture::Architecture;
use super::{BINARY, DEBUG, binary, package, sbom, sources};
use crate::folders::{files_below, fresh_folder};
use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Builds everything again and compares with what lies in `dist`.
pub(super) fn check(workspace: &Workspace, dist: &Path, architectures: &[Architecture]) -> Result<()> {
    let place = fresh_folder(&workspace.target().join("elsewhere"))?;
    let elsewhere = copy(workspace, &place)?;
    let rustc = Rustc::of(&elsewhere)?;
    for &architecture in architectures {
        let first = dist.join(architecture.name());
        let second = fresh_folder(&place.join(architecture.name()))?;
        binary::make(&elsewhere, &rustc, architecture, &second)?;
        sbom::make(workspace, architecture, &second)?;
        package::make(workspace, architecture, &second)?;
        ensure!(names(&first)? == names(&second)?, "other files than in {}", first.display());
        for name in names(&first)? {
            same(&first.join(&name), &second.join(&name))?;
        }
        let names: Vec<_> = names(&first)?.iter().map(|name| name.display().to_string()).collect();
        println!("{}: built twice, the same bytes: {}", architecture.name(), names.join(" "));
    }
    // Gigabytes, and the links would keep crates that cargo throws away.
    fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))
}

/// The sources, and crates in a home of their own.
fn copy(workspace: &Workspace, place: &Path) -> Result<Workspace> {
    let root = place.join("another-folder/checkout");
    sources::copy(workspace, &root)?;
    fs::create_dir(root.join("target")).context("create target")?;
    symlink(workspace.tools(), root.join("target/tools")).context("link the tools")?;
    let home = fresh_folder(&place.join("home"))?;
    let mut link = workspace.command("cp");
    link.args(["--archive", "--link"]).arg(workspace.cargo_home().join("registry")).arg(&home);
    shell::run(&mut link)?;
    Ok(workspace.elsewhere(root, home))
}

/// What lies in a folder, the program first.
fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names = files_below(folder)?;
    names.sort_by_key(|name| (name != Path::new(BINARY), name != Path::new(DEBUG)));
    Ok(names)
}

fn same(first: &Path, second: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let (one, other) = (read(first)?, read(second)?);
    if one == other {
        return Ok(());
    }
    let at = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    bail!(
        "{} ({} bytes) and {} ({} bytes) differ from byte {at} on",
        first.display(),
        one.len(),
        second.display(),
        other.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).unwrap();
            folder.path().join(name)
        };
        let (one, other, longer) = (file("a", b"12345"), file("b", b"12x45"), file("c", b"123456"));
        assert!(same(&one, &one.clone()).is_ok());
        assert!(same(&one, &other).unwrap_err().to_string().ends_with("differ from byte 2 on"));
        assert!(same(&one, &longer).unwrap_err().to_string().ends_with("differ from byte 5 on"));
    }
}
