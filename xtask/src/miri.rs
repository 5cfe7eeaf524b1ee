//! `profiler-common` under Miri: the code that also runs in the kernel, with every read and cast of it checked.
//!
//! Miri comes with nightly compilers only, so it is taken where rustup has one. The pinned stable stays what
//! builds everything; no toolchain is fetched for a check, only a missing component of one that is here.

use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Interprets the tests. Gives the reason if that cannot be done here.
pub(crate) fn run(workspace: &Workspace) -> Result<Option<String>> {
    let toolchain = match toolchain(workspace) {
        Ok(toolchain) => toolchain,
        Err(error) => {
            println!("miri: SKIPPED: {error:#}");
            return Ok(Some(format!("skipped: {error:#}")));
        }
    };
    let version = shell::output(by_rustup(workspace, &toolchain, "rustc").arg("--version"))?;
    println!("miri: {toolchain}, {}", version.trim());
    let mut test = by_rustup(workspace, &toolchain, "cargo");
    test.args(["miri", "test", "--locked", "--package", "profiler-common", "--target-dir"]);
    // What one compiler built is no use to the other.
    shell::run(test.arg(workspace.target().join("miri")))?;
    Ok(None)
}

fn toolchain(workspace: &Workspace) -> Result<String> {
    if shell::find_program("rustup").is_none() {
        bail!("there is no rustup, which has Miri");
    }
    let list = shell::output(workspace.command("rustup").args(["toolchain", "list"]))?;
    let nightlies = nightlies(&list);
    let Some(first) = nightlies.first() else {
        bail!("no nightly is installed, and only nightlies have Miri")
    };
    let has_miri = |name: &&&str| {
        let list = ["component", "list", "--installed", "--toolchain", name];
        let list = shell::output(workspace.command("rustup").args(list));
        list.is_ok_and(|list| ["miri", "rust-src"].iter().all(|part| has_component(&list, part)))
    };
    if let Some(ready) = nightlies.iter().find(has_miri) {
        return Ok((**ready).to_owned());
    }
    let add = ["component", "add", "miri", "rust-src", "--toolchain", first];
    eprintln!("$ rustup {}", add.join(" "));
    shell::output(workspace.command("rustup").args(add)).with_context(|| format!("{first} has no Miri"))?;
    Ok((*first).to_owned())
}

/// Not by `cargo +NAME`: cargo sets variables for us that would win over it.
fn by_rustup(workspace: &Workspace, toolchain: &str, program: &str) -> Command {
    let mut command = workspace.command("rustup");
    command.args(["run", toolchain, program]);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

fn nightlies(list: &str) -> Vec<&str> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).collect()
}

/// `miri-x86_64-unknown-linux-gnu`, and `rust-src`, which is for every machine.
fn has_component(list: &str, name: &str) -> bool {
    list.lines().any(|line| line == name || line.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nightlies_and_components_are_found_in_what_rustup_lists() {
        let list = "stable-x86_64-unknown-linux-gnu (default)\nnightly-x86_64-unknown-linux-gnu\n1.95.0-x86_64 (active)\n";
        assert_eq!(nightlies(list), ["nightly-x86_64-unknown-linux-gnu"]);
        let list = "miri-x86_64-unknown-linux-gnu\nrust-src\nrust-std-x86_64-unknown-linux-gnu\n";
        assert!(has_component(list, "miri") && has_component(list, "rust-src"));
        assert!(!has_component("mirix\n", "miri") && !has_component("", "miri"));
    }
}
