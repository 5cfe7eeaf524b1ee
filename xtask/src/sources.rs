//! What the committed eBPF objects were built from, as `profiler-ebpf/prebuilt/SOURCES.lock`.
//!
//! ```text
//!   source HASH profiler-ebpf/src/main.rs     a file that is compiled into the objects
//!   setting codegen-units = 1                 the profile, the compiler, the linker, their flags
//!   crate aya-ebpf 0.2.1 HASH                 what comes from a registry
//!   object HASH flamekeeper-x86_64.o          the result
//! ```
//!
//! Comparing it takes milliseconds, so every run of the checks starts with it. It does not prove that the bytes
//! are right (`cargo xtask ebpf --check` does); it notices that somebody forgot to rebuild.

use crate::ebpf::{self, ARCHITECTURES, REBUILD};
use crate::folders::files_below;
use crate::shell::sha256;
use crate::tools::BPF_LINKER_VERSION;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LOCK: &str = "profiler-ebpf/prebuilt/SOURCES.lock";
const HEAD: &str = "# What the objects beside this file were built from. Written by `cargo xtask ebpf`.\n";

/// Writes the lock file for the sources and objects as they are now.
pub(crate) fn write_lock(workspace: &Workspace) -> Result<()> {
    let file = workspace.path(LOCK);
    fs::write(&file, current(workspace)?).with_context(|| format!("write {}", file.display()))
}

/// Fails if a source, a setting or an object has changed since the objects were built.
pub(crate) fn check_lock(workspace: &Workspace) -> Result<()> {
    let file = workspace.path(LOCK);
    let locked = fs::read_to_string(&file).unwrap_or_default();
    let changes = changes(&locked, &current(workspace)?);
    if !changes.is_empty() {
        bail!("the eBPF objects are stale: run `{REBUILD}`\n  changed: {}", changes.join("\n  changed: "));
    }
    Ok(())
}

/// The lock file's text for what is on disk.
fn current(workspace: &Workspace) -> Result<String> {
    let mut lines = Vec::new();
    for path in source_files(workspace)? {
        lines.push(format!("source {} {}", hash_of(&workspace.path(&path))?, path.display()));
    }
    let manifest = read(workspace, "Cargo.toml")?;
    lines.extend(profile_settings(&manifest, "bpf").into_iter().map(|line| format!("setting {line}")));
    let toolchain = read(workspace, "rust-toolchain.toml")?;
    let channel = toolchain.lines().find(|line| line.starts_with("channel"));
    lines.push(format!("setting {}", channel.context("rust-toolchain.toml names no channel")?));
    lines.push(format!("setting bpf-linker = {BPF_LINKER_VERSION}"));
    for architecture in ARCHITECTURES {
        lines.push(format!("setting flags = {}", ebpf::fixed_flags(architecture).join(" ")));
    }
    lines.extend(
        kernel_crates(&read(workspace, "Cargo.lock")?).into_iter().map(|line| format!("crate {line}")),
    );
    for architecture in ARCHITECTURES {
        let name = ebpf::object_name(architecture);
        let object = workspace.prebuilt().join(&name);
        let hash = if object.exists() { hash_of(&object)? } else { "missing".to_owned() };
        lines.push(format!("object {hash} {name}"));
    }
    Ok(format!("{HEAD}{}\n", lines.join("\n")))
}

/// Every file that cargo compiles into the objects, by its path from the top folder, in a fixed order.
fn source_files(workspace: &Workspace) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for crate_folder in ["profiler-common", "profiler-ebpf"] {
        files.insert(Path::new(crate_folder).join("Cargo.toml"));
        let sources = Path::new(crate_folder).join("src");
        let below = files_below(&workspace.path(&sources))?.into_iter();
        let rust = below.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
        files.extend(rust.map(|path| sources.join(path)));
    }
    Ok(files)
}

/// The settings of one profile, without comments.
fn profile_settings<'a>(manifest: &'a str, profile: &str) -> Vec<&'a str> {
    let head = format!("[profile.{profile}]");
    let section = manifest.lines().map(str::trim).skip_while(|line| *line != head).skip(1);
    section
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// `name version checksum` of each crate of the aya-ebpf family, whose code is in the objects.
///
/// Their own dependencies (build scripts, macro parsers) run on the building machine and change often
/// without changing a byte of the result; `cargo xtask ebpf --check` would notice if one did.
fn kernel_crates(lock: &str) -> Vec<String> {
    let field = |package: &str, name: &str| {
        let mut lines = package.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned)
        })
    };
    let mut crates = Vec::new();
    for package in lock.split("[[package]]") {
        let Some(name) = field(package, "name").filter(|name| name.starts_with("aya-ebpf")) else { continue };
        let version = field(package, "version").unwrap_or_default();
        let checksum = field(package, "checksum").unwrap_or_default();
        crates.push(format!("{name} {version} {checksum}"));
    }
    crates
}

/// What a person must know of two lock files' difference: the last words of the lines, each once.
fn changes(locked: &str, current: &str) -> Vec<String> {
    let old: BTreeSet<&str> = locked.lines().collect();
    let new: BTreeSet<&str> = current.lines().collect();
    let mut names = Vec::new();
    for line in old.symmetric_difference(&new).filter(|line| !line.starts_with('#')) {
        let name = match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["source" | "object", _, name] => (*name).to_owned(),
            ["crate", name, ..] => format!("crate {name}"),
            _ => (*line).to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn hash_of(file: &Path) -> Result<String> {
    sha256(&fs::read(file).with_context(|| format!("read {}", file.display()))?)
}

fn read(workspace: &Workspace, path: &str) -> Result<String> {
    fs::read_to_string(workspace.path(path)).with_context(|| format!("read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: &str = "# head\nsource aa profiler-ebpf/src/main.rs\nsource bb profiler-common/src/abi.rs\n\
                          setting debug = 2\ncrate aya-ebpf 0.2.1 cc\nobject dd flamekeeper-x86_64.o\n";

    #[test]
    fn the_same_text_is_fresh_whatever_its_comment_says() {
        assert_eq!(changes(LOCKED, &LOCKED.replace("# head", "# other head")), Vec::<String>::new());
    }

    #[test]
    fn names_each_changed_thing_once() {
        let now = LOCKED
            .replace("source aa", "source a0")
            .replace("debug = 2", "debug = 1")
            .replace("0.2.1 cc", "0.2.2 c0")
            .replace("object dd", "object missing");
        let expected = ["crate aya-ebpf", "flamekeeper-x86_64.o", "setting debug = 1", "setting debug = 2"];
        let mut found = changes(LOCKED, &now);
        assert_eq!(found.pop().as_deref(), Some("profiler-ebpf/src/main.rs"));
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_missing_lock_file_names_everything() {
        assert_eq!(changes("", LOCKED).len(), 5);
    }

    #[test]
    fn a_profile_ends_at_the_next_section_and_its_comments_do_not_count() {
        let manifest =
            "[profile.bpf]\n# why\ninherits = \"release\"\n\nlto = true\n[profile.release]\nlto = \"thin\"\n";
        assert_eq!(profile_settings(manifest, "bpf"), ["inherits = \"release\"", "lto = true"]);
        assert_eq!(profile_settings(manifest, "none"), Vec::<&str>::new());
    }

    #[test]
    fn only_the_kernel_side_of_aya_counts() {
        let lock = "[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\nchecksum = \"1\"\n\n\
                    [[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\nchecksum = \"2\"\ndependencies = [\n \"aya-build\",\n]\n";
        assert_eq!(kernel_crates(lock), ["aya-ebpf 0.2.1 2"]);
    }
}
