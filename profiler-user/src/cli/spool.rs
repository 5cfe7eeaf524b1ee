//! The arguments of `flamekeeper spool`, as clap sees them. Only translates.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Subcommand, ValueEnum};

use crate::deliver::file::Format;
use crate::deliver::spool::export::Selection;
use crate::deliver::spool::state::State;
use crate::host::WallNanos;

/// The arguments of `flamekeeper spool`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct SpoolArgs {
    #[expect(missing_docs, reason = "its variants are documented; a doc comment would be printed")]
    #[command(subcommand)]
    pub command: SpoolCommand,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List the windows that lie in the spool, oldest first, and how far each has come
    Ls(LsArgs),
    /// Merge what lies in the spool into profiles, for `go tool pprof` and others
    Export(ExportArgs),
}

/// The arguments of `flamekeeper spool ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The spool may be in use: a window that is delivered while it is looked at is left out.

Examples:
  sudo flamekeeper spool ls --since 1h
  sudo flamekeeper spool ls --state too-old --profiles
  sudo flamekeeper spool ls --json | jq '.windows[].samples'

Exit status: 0; 1 if the spool cannot be read; 64 for a usage error; 77 if not permitted.")]
pub struct LsArgs {
    #[expect(missing_docs, reason = "a doc comment would be printed")]
    #[command(flatten)]
    pub select: SelectArgs,
    /// List the profiles of each window too, with their labels
    #[arg(long)]
    pub profiles: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `flamekeeper spool export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Labels of series become labels of samples: `go tool pprof -tagfocus service_name=shop`, or `-tagroot service_name`. \
The spool stays as it is, and may be in use.

Examples:
  sudo flamekeeper spool export -o outage.pb.gz --state too-old
  sudo flamekeeper spool export -o shop.svg --label service_name=shop --since 2h
  sudo flamekeeper spool export --by-service -o profiles/

Exit status: 0; 1 if nothing is selected, or something could not be read or written; 64 for a usage error; \
77 if not permitted.")]
pub struct ExportArgs {
    #[expect(missing_docs, reason = "a doc comment would be printed")]
    #[command(flatten)]
    pub select: SelectArgs,
    /// Write the profile there; the ending decides the format: .pb.gz .pprof (pprof), .folded, .svg (flame graph), .speedscope.json; - is standard output; without it a pprof with the host and the time in its name
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A profile for each service; --output is a folder then, and is made if it is not there
    #[arg(long)]
    pub by_service: bool,
    /// The format, whatever the ending: pprof, folded, svg, speedscope
    #[arg(long, value_name = "FORMAT", value_parser = format_without_timeline)]
    pub format: Option<Format>,
}

/// Which spool, and what of it.
#[derive(Debug, clap::Args)]
pub struct SelectArgs {
    /// The folder of the spool
    #[arg(
        long,
        env = "FLAMEKEEPER_SPOOL_DIR",
        value_name = "FOLDER",
        default_value = "/var/lib/flamekeeper/spool"
    )]
    pub spool_dir: PathBuf,
    /// Only what ended after this: 30m (ago), 2026-11-22, or 2026-11-22T10:15 (UTC)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Moment>,
    /// Only what began before this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Moment>,
    /// Only series with this label; with all of them if given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Only what is in this state with any endpoint; in one of them if given several times
    #[arg(long = "state", value_name = "STATE", value_enum)]
    pub states: Vec<StateArg>,
}

impl SelectArgs {
    /// What it says, as of now.
    pub fn selection(&self, now: WallNanos) -> Selection {
        let at = |moment: &Moment| match moment {
            Moment::At(at) => *at,
            Moment::Ago(ago) => {
                WallNanos(now.0.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)))
            }
        };
        Selection {
            since: self.since.as_ref().map(at),
            until: self.until.as_ref().map(at),
            labels: self.labels.clone(),
            states: self.states.iter().map(|state| state.state()).collect(),
        }
    }
}

/// A time as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(WallNanos),
}

/// Names of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// To be sent
    Waiting,
    /// Older than the endpoint takes; kept as long as there is room
    TooOld,
    /// Refused again and again while others passed; kept as long as there is room
    Poisoned,
    /// Refused for good
    Refused,
    /// The endpoint has it; another one does not yet
    Delivered,
}

impl StateArg {
    fn state(self) -> State {
        match self {
            Self::Waiting => State::Waiting,
            Self::TooOld => State::TooOld,
            Self::Poisoned => State::Poisoned,
            Self::Refused => State::Refused,
            Self::Delivered => State::Delivered,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = super::duration(text) {
        return Ok(Moment::Ago(ago));
    }
    let text = text.trim_end_matches('Z');
    let with_rest = [text.to_owned(), format!("{text}:00"), format!("{text}T00:00:00")];
    let time = with_rest.iter().find_map(|text| humantime::parse_rfc3339_weak(text).ok());
    let since_1970 = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanos = since_1970.and_then(|since| u64::try_from(since.as_nanos()).ok());
    let wrong = || "write 30m (ago), 2026-11-22, or 2026-11-22T10:15 (UTC)".to_owned();
    nanos.map(|nanos| Moment::At(WallNanos(nanos))).ok_or_else(wrong)
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as service_name=shop".to_owned()),
    }
}

fn format_without_timeline(text: &str) -> Result<Format, String> {
    let format: Format =
        text.parse().map_err(|error: crate::deliver::file::UnknownFormat| error.to_string())?;
    if format.needs_timeline() {
        return Err(format!("{format} needs single samples with their times, which the spool does not keep"));
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let at = |seconds: u64| Ok(Moment::At(WallNanos(seconds * 1_000_000_000)));
        assert_eq!(moment("30m"), Ok(Moment::Ago(Duration::from_secs(1800))));
        // Seconds by `date -u -d '…' +%s`.
        assert_eq!(moment("2026-11-22"), at(1_795_305_600));
        assert_eq!(moment("2026-11-22T10:15"), at(1_795_342_500));
        assert_eq!(moment("2026-11-22 10:15:30"), at(1_795_342_530));
        assert_eq!(moment("2026-11-22T10:15:30Z"), at(1_795_342_530));
        for wrong in ["", "yesterday", "2026-13-01", "1969-01-01", "10:15"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_have_a_name() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(label("a="), Ok(("a".to_owned(), String::new())));
        assert!(label("=b").is_err());
        assert!(label("a").is_err());
    }

    #[test]
    fn a_format_with_a_time_axis_is_refused() {
        assert_eq!(format_without_timeline("svg"), Ok(Format::Svg));
        assert!(format_without_timeline("firefox").unwrap_err().contains("does not keep"));
        assert!(format_without_timeline("perf").unwrap_err().contains("unknown format"));
    }
}
