//! What every file owes its reader: a head that says what it is for, a size that can be read, no trace of the machine
//! that it was written on; and that the map of the project shows every folder.

use super::boundaries::WORLD_EXCEPTIONS;
use super::layers::stage_of;
use super::{Finding, Source};
use std::collections::BTreeSet;

const MAX_LINES: usize = 600;

/// Files that may be longer, each with the reason.
const LENGTH_EXCEPTIONS: [(&str, &str); 0] = [];

/// Files that may name machines and registries, each with the reason.
const MACHINE_EXCEPTIONS: [(&str, &str); 2] = [
    ("Cargo.lock", "cargo writes the registry of each crate into it"),
    ("xtask/src/tidy/files.rs", "names what it looks for"),
];

/// Top folders of machines that files are written on; `/proc/PID/root/` and the like are no such thing.
const MACHINE_FOLDERS: [&str; 3] = ["work", "root", "home"];

/// Where package managers fetch from: a mirror is a matter of the machine, never of the project.
const REGISTRY_HOSTS: [&str; 11] = [
    "index.crates.io",
    "static.crates.io",
    "static.rust-lang.org",
    "deb.debian.org",
    "security.debian.org",
    "snapshot.debian.org",
    "archive.ubuntu.com",
    "files.pythonhosted.org",
    "registry.npmjs.org",
    "proxy.golang.org",
    "sum.golang.org",
];

const MAP: &str = "ARCHITECTURE.md";

/// A Rust file begins with `//!`: what it turns into what, and what it never does. The tests' workloads say
/// in the line before it how they are built.
pub(super) fn opens_with_its_purpose(source: &Source) -> Vec<Finding> {
    let built = source.text.starts_with("// build:");
    let text = if built { source.text.split_once('\n').map_or("", |(_, rest)| rest) } else { &source.text };
    if !source.path.ends_with(".rs") || text.starts_with("//!") {
        return Vec::new();
    }
    vec![finding(source, 1, "does not open with `//!`".to_owned())]
}

/// A file that nobody can read in one go is split by ideas.
pub(super) fn is_not_too_long(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let is_source = source.path.ends_with(".rs") && source.path.contains("src/");
    if !is_source || lines <= MAX_LINES || is_excepted(&LENGTH_EXCEPTIONS, source) {
        return Vec::new();
    }
    vec![finding(source, 0, format!("{lines} lines, at most {MAX_LINES}: split it by ideas"))]
}

/// No path of a machine, no host of a registry.
pub(super) fn names_no_machine(source: &Source) -> Vec<Finding> {
    if is_excepted(&MACHINE_EXCEPTIONS, source) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| has_top_folder(line, folder)) {
            findings.push(finding(source, index + 1, format!("a path of a machine: /{folder}/…")));
        }
        if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(*host)) {
            findings.push(finding(source, index + 1, format!("a registry's host: {host}")));
        }
    }
    findings
}

/// Whether the line has an absolute path that begins with this folder.
fn has_top_folder(line: &str, folder: &str) -> bool {
    let part = format!("/{folder}/");
    line.match_indices(&part).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        // The end of another path part, or of a placeholder for one, as in /proc/<pid>/… and {root}/….
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.*$~)}]>".contains(c))
    })
}

/// The architecture document, once there is one, names each top folder and each stage's folder.
pub(super) fn architecture_names_every_folder(sources: &[Source]) -> Vec<Finding> {
    let Some(map) = sources.iter().find(|source| source.path == MAP) else { return Vec::new() };
    let mut folders = BTreeSet::new();
    for source in sources {
        let top = source.path.split_once('/').map(|(top, _)| top).filter(|top| !top.starts_with('.'));
        folders.extend(top);
        folders.extend(stage_of(&source.path));
    }
    let missing = folders.into_iter().filter(|folder| !names_folder(&map.text, folder));
    missing.map(|folder| finding(map, 0, format!("does not name `{folder}/`"))).collect()
}

/// Whether the text has `folder/` as a path of its own or as the last part of one.
fn names_folder(text: &str, folder: &str) -> bool {
    let part = format!("{folder}/");
    text.match_indices(&part)
        .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-'))
}

/// An exception whose file or text is gone would hide the next one.
pub(super) fn exceptions_are_used(sources: &[Source]) -> Vec<Finding> {
    let of_files = LENGTH_EXCEPTIONS.iter().chain(&MACHINE_EXCEPTIONS).map(|(path, _)| (*path, ""));
    let of_texts = WORLD_EXCEPTIONS.iter().map(|(path, text, _)| (*path, *text));
    let is_there = |path: &str, text: &str| {
        sources.iter().any(|source| source.path == path && source.text.contains(text))
    };
    let unused = of_files.chain(of_texts).filter(|(path, text)| !is_there(path, text));
    let message = "has an exception in tidy that it no longer needs";
    unused.map(|(path, _)| Finding { path: path.to_owned(), line: 0, message: message.to_owned() }).collect()
}

fn is_excepted(exceptions: &[(&str, &str)], source: &Source) -> bool {
    exceptions.iter().any(|(path, _)| *path == source.path)
}

fn finding(source: &Source, line: usize, message: String) -> Finding {
    Finding { path: source.path.clone(), line, message }
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    #[test]
    fn a_rust_file_must_say_what_it_is_for() {
        let check = |path: &str, text: &str| opens_with_its_purpose(&Source::of(path, text)).len();
        assert_eq!(check("a/src/b.rs", "//! Turns bytes into events.\n"), 0);
        assert_eq!(check("a/src/b.rs", "use std::fs;\n//! Too late.\n"), 1);
        assert_eq!(check("a/src/b.rs", ""), 1);
        assert_eq!(check("tests/workloads/burn.c", "int main;"), 0);
    }

    #[test]
    fn the_line_limit_is_inclusive_and_for_sources() {
        let check =
            |path: &str, lines: usize| is_not_too_long(&Source::of(path, &"//!\n".repeat(lines))).len();
        assert_eq!(check("a/src/b.rs", 600), 0);
        assert_eq!(check("a/src/b.rs", 601), 1);
        assert_eq!(check("tests/suite/record.rs", 601), 0);
        assert_eq!(check("README.md", 601), 0);
    }

    #[test]
    fn paths_of_a_machine_are_found_and_roots_of_processes_are_not() {
        let check = |text: &str| lines(&names_no_machine(&Source::of("README.md", text)));
        // Not spelled out, so that a search for such paths in the whole tree finds none.
        let [work, root, home] = MACHINE_FOLDERS;
        let paths = format!("see /{work}/main\n`/{root}/.cargo`\nCOPY /{home}/me/x\n\"/{work}/\"");
        assert_eq!(check(&paths), [1, 2, 3, 4]);
        assert_eq!(
            check("/proc/PID/root/etc /proc/<pid>/root/x {proc}/root/x $p/root/ /proc/*/root/y"),
            [0; 0]
        );
        assert_eq!(check("https://example.org/home/page workspace/ /homework/"), [0; 0]);
    }

    #[test]
    fn hosts_of_registries_are_found() {
        let check = |path: &str, text: &str| lines(&names_no_machine(&Source::of(path, text)));
        assert_eq!(check("deploy/Dockerfile", "RUN x\nRUN curl deb.debian.org/debian"), [2]);
        assert_eq!(check("deny.toml", "https://github.com/rust-lang/crates.io-index"), [0; 0]);
        assert_eq!(check("Cargo.lock", "static.crates.io/x"), [0; 0]);
    }

    #[test]
    fn the_map_names_top_folders_and_stages_once_it_exists() {
        let sources = |map: Option<&str>| {
            let mut all = vec![
                Source::of("README.md", ""),
                Source::of(".ci/run", ""),
                Source::of("profiler-common/src/lib.rs", ""),
                Source::of("profiler-user/src/collect/ring.rs", ""),
            ];
            all.extend(map.map(|text| Source::of("ARCHITECTURE.md", text)));
            all
        };
        let check = |map| {
            let found = architecture_names_every_folder(&sources(map));
            found.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
        };
        assert_eq!(check(None), Vec::<String>::new());
        let whole = "profiler-common/ profiler-user/ and in it src/collect/";
        assert_eq!(check(Some(whole)), Vec::<String>::new());
        let expected = ["does not name `collect/`", "does not name `profiler-common/`"];
        assert_eq!(check(Some("profiler-user/src/recollect/")), expected);
    }

    #[test]
    fn an_exception_for_a_file_that_is_gone_is_found() {
        let mut present = vec![Source::of("Cargo.lock", ""), Source::of("xtask/src/tidy/files.rs", "")];
        present.extend(WORLD_EXCEPTIONS.iter().map(|(path, text, _)| Source::of(path, text)));
        assert_eq!(exceptions_are_used(&present), []);
        present[2].text.clear();
        present.remove(0);
        let found: Vec<String> =
            exceptions_are_used(&present).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["Cargo.lock", WORLD_EXCEPTIONS[0].0]);
    }
}
