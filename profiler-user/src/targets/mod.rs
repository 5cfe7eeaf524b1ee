//! `flamekeeper targets`: asks the daemon for its targets, and sets them as a table.
//!
//! ```text
//!   TargetsArgs ─▶ fetch.rs ─ /targets.json ─▶ document.rs ─▶ table.rs ─▶ text
//! ```

mod document;
mod fetch;
mod table;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::cli::{ShowArg, TargetsArgs};
use crate::deliver::serve::percent_encoded;
use crate::host::WallNanos;

/// Why there is no list of targets.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// The file with the token cannot be read.
    #[error("cannot read the token in {}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in the file cannot be sent.
    #[error("{}: {source}", path.display())]
    BadToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::deliver::serve::BadToken,
    },
    /// Nobody listens there, or the name means no host.
    #[error(
        "cannot reach a daemon at {address}: {source} (does `flamekeeper daemon` run? --address names another)"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or what answers is no daemon.
    #[error("{address} does not answer as a daemon does: {reason}")]
    Broken {
        /// Where.
        address: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("{address} did not answer within {} s", fetch::PATIENCE.as_secs())]
    Late {
        /// Where.
        address: String,
    },
    /// The daemon refuses.
    #[error("{address} answers {status}: {sentence}")]
    Refused {
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
        /// The daemon's words.
        sentence: String,
    },
}

/// Asks the daemon and sets its answer. `width`: columns to cut lines at, without it they are whole.
pub async fn run(args: &TargetsArgs, now: WallNanos, width: Option<usize>) -> Result<String, TargetsError> {
    let json = fetch::get(&args.address, &path(args), args.token_file.as_deref()).await?;
    if args.json {
        return Ok(String::from_utf8_lossy(&json).into_owned());
    }
    let document = document::read(&json)
        .map_err(|error| TargetsError::Broken { address: args.address.clone(), reason: error.to_string() })?;
    Ok(table::set(&document, now, width))
}

fn path(args: &TargetsArgs) -> String {
    let show = match args.show {
        ShowArg::All => "all",
        ShowArg::Sampled => "sampled",
        ShowArg::Dropped => "dropped",
    };
    let filter = percent_encoded(args.filter.as_deref().unwrap_or_default());
    format!("/targets.json?show={show}&sort={}&q={filter}", percent_encoded(&args.sort))
}
