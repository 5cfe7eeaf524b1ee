//! The command line's definition → a folder of man pages and shell completions, for packages: `pages FOLDER DATE`.
//!
//! ```text
//!   Cli ──clap_mangen──▶ FOLDER/man/flamekeeper.1, flamekeeper-record.1, …
//!       ──clap_complete──▶ FOLDER/completions/flamekeeper.bash, _flamekeeper, flamekeeper.fish
//! ```
//!
//! An example and no command of the product: who installed a package has the result already.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use profiler_user::cli::Cli;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, date] = words.as_slice() else { anyhow::bail!("usage: pages FOLDER DATE") };
    let (man, completions) = (PathBuf::from(folder).join("man"), PathBuf::from(folder).join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let mut command = Cli::command();
    command.build();
    write_pages(&command, date, &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "flamekeeper", &completions)
            .with_context(|| format!("write the completions of {shell}"))?;
    }
    Ok(())
}

/// A page for the command, and for each below it. Not `clap_mangen::generate_to`, which leaves out the date, and with it
/// shifts what follows in the title line.
fn write_pages(command: &Command, date: &str, folder: &Path) -> Result<()> {
    let title = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = Man::new(command.clone())
        .title(title.to_uppercase())
        .date(date)
        .source(concat!("Flamekeeper ", env!("CARGO_PKG_VERSION")))
        .manual("Flamekeeper's manual");
    let mut text = Vec::new();
    page.render(&mut text).with_context(|| format!("render {title}"))?;
    fs::write(folder.join(format!("{title}.1")), text).with_context(|| format!("write {title}.1"))?;
    command.get_subcommands().try_for_each(|below| write_pages(below, date, folder))
}
