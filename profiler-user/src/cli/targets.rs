//! The arguments of `flamekeeper targets`, as clap sees them. Only translates.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::deliver::serve::TARGET_COLUMNS;

/// The arguments of `flamekeeper targets`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flamekeeper targets                            every process, most samples first
  flamekeeper targets nginx                      those with nginx in their name or in a label
  flamekeeper targets '{namespace=\"shop\"}'       by Prometheus' matchers
  flamekeeper targets --show dropped             those that are not sampled, and why

Exit status: 0; 1 if the daemon cannot be asked; 64 for a usage error.")]
pub struct TargetsArgs {
    /// Only processes with this text in their name or a label, of this pid, or that fit these matchers
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
    /// Where the daemon listens: HOST:PORT or unix:/path/of/socket
    #[arg(long, env = "FLAMEKEEPER_ADDRESS", value_name = "ADDRESS", default_value = "127.0.0.1:4041")]
    pub address: String,
    /// File with the token that a daemon on another host asks for
    #[arg(long, env = "FLAMEKEEPER_HTTP_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Which processes
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = ShowArg::All)]
    pub show: ShowArg,
    /// What to sort by, with a - before it for downwards: service, pid, executable, language, rule, samples, complete, dropped
    #[arg(long, value_name = "COLUMN", default_value = "-samples", allow_hyphen_values = true, value_parser = column)]
    pub sort: String,
    /// Print the daemon's JSON document as it is
    #[arg(long)]
    pub json: bool,
}

/// A column's name, with or without the `-`.
fn column(text: &str) -> Result<String, String> {
    match TARGET_COLUMNS.contains(&text.strip_prefix('-').unwrap_or(text)) {
        true => Ok(text.to_owned()),
        false => Err(format!("columns are {}", TARGET_COLUMNS.join(", "))),
    }
}

/// Which processes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowArg {
    /// Every process that is known
    All,
    /// Those that are sampled
    Sampled,
    /// Those that are not
    Dropped,
}
