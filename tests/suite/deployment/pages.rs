//! Man pages and shell completions, as packages have them: read by the programs that are to take them.

use anyhow::{Context, Result, ensure};
use profiler_tests::{repository, tool_or_skip};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// One for the program and one for each command.
pub(super) const PAGES: [&str; 8] = [
    "flamekeeper-daemon.1",
    "flamekeeper-doctor.1",
    "flamekeeper-record.1",
    "flamekeeper-spool-export.1",
    "flamekeeper-spool-ls.1",
    "flamekeeper-spool.1",
    "flamekeeper-targets.1",
    "flamekeeper.1",
];

/// Writes them as `cargo xtask dist` does.
fn made() -> Result<TempDir> {
    let folder = TempDir::new()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut pages = Command::new(cargo);
    pages.args(["run", "--quiet", "--package", "profiler-user", "--example", "pages", "--"]);
    succeed(pages.arg(folder.path()).arg("2026-01-02").current_dir(repository()))?;
    Ok(folder)
}

/// Runs it, and gives what it wrote to both outputs.
pub(super) fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.join("\n"));
    Ok(said.concat())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn every_command_has_a_page_that_mandoc_takes() -> Result<()> {
    tool_or_skip!("mandoc");
    let made = made()?;
    let folder = made.path().join("man");
    ensure!(names(&folder)? == PAGES, "{:?}", names(&folder)?);
    for page in PAGES {
        // Lint's own status tells of what it found.
        let lint =
            Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(folder.join(page)).output()?;
        let said = String::from_utf8_lossy(&lint.stdout).into_owned();
        // A line break beside a blank line, by which clap_mangen sets options apart, changes nothing.
        let other: Vec<&str> =
            said.lines().filter(|line| !line.contains("skipping paragraph macro: br")).collect();
        ensure!(other.is_empty(), "{page}: {other:?}");
        let text = succeed(Command::new("mandoc").args(["-T", "ascii"]).arg(folder.join(page)))?;
        for heading in ["NAME", "SYNOPSIS", "OPTIONS"] {
            // Letters are printed over themselves where they are bold.
            let bold: String = heading.chars().flat_map(|letter| [letter, '\u{8}', letter]).collect();
            ensure!(text.contains(&bold), "{page} has no {heading}:\n{text}");
        }
    }
    Ok(())
}

#[test]
fn bash_completes_a_command() -> Result<()> {
    let made = made()?;
    let script = made.path().join("completions/flamekeeper.bash");
    let ask = "source \"$1\"; COMP_WORDS=(flamekeeper rec); COMP_CWORD=1; \
               _flamekeeper flamekeeper rec flamekeeper; echo \"${COMPREPLY[*]}\"";
    let said = succeed(Command::new("bash").args(["-euc", ask, "bash"]).arg(script))?;
    ensure!(said == "record\n", "{said:?}");
    Ok(())
}

#[test]
fn zsh_and_fish_take_their_completions() -> Result<()> {
    tool_or_skip!("zsh");
    tool_or_skip!("fish");
    let made = made()?;
    let at = |name: &str| made.path().join("completions").join(name);
    succeed(Command::new("zsh").arg("-n").arg(at("_flamekeeper")))?;
    let ask =
        format!("source {}; complete --do-complete 'flamekeeper rec'", at("flamekeeper.fish").display());
    let said = succeed(Command::new("fish").args(["--no-config", "-c", &ask]).env("HOME", made.path()))?;
    ensure!(said.starts_with("record\t"), "{said:?}");
    Ok(())
}
