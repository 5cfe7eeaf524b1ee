//! House rules that a program can check: the tracked files → findings, each with file and line.
//!
//! ```text
//!   files.rs       heads, sizes, machine paths, the architecture document
//!   layers.rs      stages import to the left only
//!   boundaries.rs  who may touch /proc, clocks, aya, and hash maps in the kernel
//!   tokens.rs      Rust text → tokens, comments and tests left out
//! ```
//!
//! Each rule is a function from files to findings, so that its tests are small texts.

mod boundaries;
mod files;
mod layers;
mod tokens;

use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;

/// A tracked file.
pub(crate) struct Source {
    /// From the top folder, `/` between the parts.
    path: String,
    /// Bytes that are no UTF-8 are replaced: rules look for ASCII.
    text: String,
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 if it is about the whole file.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.message),
            line => write!(out, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A rule: the findings of one file. Rules over several files stand beside the list.
type FileRule = fn(&Source) -> Vec<Finding>;

const FILE_RULES: [FileRule; 8] = [
    files::opens_with_its_purpose,
    files::is_not_too_long,
    files::names_no_machine,
    layers::imports_go_left,
    boundaries::only_host_opens_the_world,
    boundaries::only_host_reads_clocks,
    boundaries::only_the_kernel_stages_know_aya,
    boundaries::the_tick_updates_no_hash_map,
];

/// Checks every tracked file and prints what breaks a rule.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let sources = tracked_files(workspace)?;
    let mut findings: Vec<Finding> =
        FILE_RULES.iter().flat_map(|rule| sources.iter().flat_map(rule)).collect();
    findings.extend(files::architecture_names_every_folder(&sources));
    findings.extend(files::exceptions_are_used(&sources));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: {} files, nothing found", sources.len());
    Ok(())
}

/// What git tracks, and what it would add: a new file is checked before its first commit.
fn tracked_files(workspace: &Workspace) -> Result<Vec<Source>> {
    // The checkout may belong to another user than the one who runs the checks, such as root.
    let safe = format!("safe.directory={}", workspace.root().display());
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let names = shell::output(workspace.command("git").args(["-c", &safe]).args(list))?;
    let mut sources = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path = workspace.path(name);
        if !path.is_file() {
            continue; // removed but not yet from the index, or a link to a folder
        }
        let bytes = fs::read(&path).with_context(|| format!("read {name}"))?;
        sources.push(Source { path: name.to_owned(), text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    Ok(sources)
}

#[cfg(test)]
impl Source {
    fn of(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

#[cfg(test)]
fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}
