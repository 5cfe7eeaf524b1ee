//! The command line, as clap sees it. Only translates: all checks are in the configuration it becomes.
//! The documentation comments here and in the files of the commands are the help texts.

mod daemon;
mod doctor;
mod record;
mod spool;
mod targets;

use std::time::Duration;

use clap::{Parser, Subcommand};

pub use daemon::DaemonArgs;
pub use doctor::DoctorArgs;
pub use record::{EventArg, RecordArgs, UnwindArg};
pub use spool::{ExportArgs, LsArgs, SpoolArgs, SpoolCommand};
pub use targets::{ShowArg, TargetsArgs};

/// Where does the CPU time of this host go? Kernel and user code of every process, by name.
#[derive(Debug, Parser)]
#[command(name = "flamekeeper", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    // No doc comment: clap would print it.
    #[expect(missing_docs, reason = "its variants are documented")]
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Profile the whole host, some processes or one command, and write the result to files
    Record(RecordArgs),
    /// Profile the whole host all the time and push the profiles to a profile database
    Daemon(DaemonArgs),
    /// Check what this host lets flamekeeper do, and say how to mend what is missing
    Doctor(DoctorArgs),
    /// List every process that a running daemon knows: its labels, what named it, and why it is not sampled
    Targets(TargetsArgs),
    /// Look at what waits in the daemon's spool, or was set aside there
    Spool(SpoolArgs),
}

/// As people write it; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(u64::from(seconds)));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s, 500ms or 1m 30s"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("soon").is_err());
        assert!(duration("-5s").is_err());
    }
}
