//! Arguments → a checked configuration. All that is wrong is reported at once.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use crate::capture::{Kept, Scope, SessionConfig, Unwind};
use crate::cli::{RecordArgs, UnwindArg};
use crate::deliver::file::Format;
use crate::host::ProcFs;
use crate::sample::Hertz;
use crate::sample::abilities;
use crate::sample::kernel_features::max_sample_rate;
use crate::unwind::publisher::TABLES_BYTES_MIN;

/// What to record and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it is sampled.
    pub session: SessionConfig,
    /// For how long; without it until something ends the capture.
    pub duration: Option<Duration>,
    /// As given; empty for the default name.
    pub outputs: Vec<PathBuf>,
    /// Of all outputs, if given.
    pub format: Option<Format>,
    /// Whether binary data on stdout would garble a terminal.
    pub stdout_is_terminal: bool,
    /// Whether stderr is a terminal that a line can be drawn on.
    pub stderr_is_terminal: bool,
    /// The command to profile, empty for none.
    pub command: Vec<OsString>,
}

impl From<UnwindArg> for Unwind {
    fn from(unwind: UnwindArg) -> Self {
        match unwind {
            UnwindArg::FramePointers => Self::FramePointers,
            UnwindArg::Rows => Self::Rows,
        }
    }
}

/// Everything that is wrong with the arguments, one line each.
#[derive(Debug)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Terminals, as `main` finds them.
#[derive(Clone, Copy, Debug)]
pub struct Terminals {
    /// stdout is one.
    pub stdout: bool,
    /// stderr is one.
    pub stderr: bool,
}

impl Config {
    /// Checks arguments against themselves and the host.
    pub fn new(args: RecordArgs, terminals: Terminals, proc: &ProcFs) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let rate = rate(args.rate, proc).map_err(|error| errors.push(error)).ok();
        if args.duration.is_some_and(|duration| duration.is_zero()) {
            errors.push("--duration: nothing can be sampled in no time".to_owned());
        }
        if args.children && args.pids.is_empty() {
            errors
                .push("--children: needs --pid; a command's children are profiled with it anyway".to_owned());
        }
        if args.unwind_tables_max.as_u64() < TABLES_BYTES_MIN {
            let (given, least) = (args.unwind_tables_max, ByteSize::b(TABLES_BYTES_MIN));
            errors.push(format!(
                "--unwind-tables-max {given}: the empty tables alone take most of {least}; give more"
            ));
        }
        for pid in &args.pids {
            errors.extend(no_such_process(*pid, proc));
        }
        match rate {
            Some(rate) if errors.is_empty() => Ok(Self {
                session: SessionConfig {
                    rate,
                    rate_max: rate,
                    event: args.event.into(),
                    scope: Scope {
                        pids: args.pids,
                        children: args.children,
                        own_children: !args.command.is_empty(),
                    },
                    unwind: args.unwind.into(),
                    unwind_tables_max_bytes: args.unwind_tables_max.as_u64(),
                    cache_dir: (!args.cache_dir.is_empty()).then(|| args.cache_dir.into()),
                    include_self: args.include_self,
                    keep_timeline: false, // what the outputs need is not known yet
                    open_files_max: usize::MAX,
                    kept: Kept::CAPTURE,
                    kernel_log: false,
                    kernel_without: abilities::named(&args.kernel_without),
                },
                duration: args.duration,
                outputs: args.outputs,
                format: args.format,
                stdout_is_terminal: terminals.stdout,
                stderr_is_terminal: terminals.stderr,
                command: args.command,
            }),
            _ => Err(ConfigErrors(errors)),
        }
    }
}

fn rate(hertz: u32, proc: &ProcFs) -> Result<Hertz, String> {
    let rate = Hertz::new(hertz)
        .ok_or_else(|| format!("--rate {hertz}: must be from 1 to {} samples a second", Hertz::MAX))?;
    match max_sample_rate(proc) {
        Some(max) if hertz > max => Err(format!(
            "--rate {hertz}: this host allows {max} samples a second; `sysctl kernel.perf_event_max_sample_rate={hertz}` allows more"
        )),
        _ => Ok(rate),
    }
}

fn no_such_process(pid: u32, proc: &ProcFs) -> Option<String> {
    if !proc.process_path(pid, "stat").exists() {
        return Some(format!("--pid {pid}: there is no such process"));
    }
    // A thread has a folder in /proc that listings do not show; its process is meant, but not named.
    let status = std::fs::read_to_string(proc.process_path(pid, "status")).ok()?;
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse::<u32>().ok()?;
    (tgid != pid).then(|| format!("--pid {pid}: is a thread of process {tgid}; give that one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn config(arguments: &[&str], proc: &ProcFs) -> Result<Config, String> {
        let cli = Cli::try_parse_from(["flamekeeper", "record"].iter().chain(arguments)).unwrap();
        let Command::Record(args) = cli.command else { panic!() };
        Config::new(args, Terminals { stdout: false, stderr: false }, proc)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let errors = config(&["-F", "0", "-d", "0s", "-p", "4294967295"], &ProcFs::host()).unwrap_err();
        assert_eq!(errors.lines().count(), 3, "{errors}");
        assert!(errors.contains("from 1 to 999") && errors.contains("--pid 4294967295"), "{errors}");
    }

    #[test]
    fn the_hosts_own_limit_holds() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sys/kernel")).unwrap();
        std::fs::write(folder.path().join("sys/kernel/perf_event_max_sample_rate"), "50\n").unwrap();
        let proc = ProcFs::at(folder.path());
        let errors = config(&["-F", "99"], &proc).unwrap_err();
        assert!(errors.contains("allows 50") && errors.contains("perf_event_max_sample_rate=99"), "{errors}");
        assert_eq!(config(&["-F", "50"], &proc).unwrap().session.rate.get(), 50);
    }

    #[test]
    fn tables_have_a_least_size_and_an_empty_folder_is_none() {
        let given = |arguments: &[&str]| config(arguments, &ProcFs::host());
        let errors = given(&["--unwind-tables-max", "1MiB"]).unwrap_err();
        assert_eq!(
            errors,
            "--unwind-tables-max 1.0 MiB: the empty tables alone take most of 11.3 MiB; give more"
        );
        let bytes = |text| given(&["--unwind-tables-max", text]).unwrap().session.unwind_tables_max_bytes;
        assert_eq!(["16MiB", "64M", "1 GiB"].map(bytes), [16 << 20, 64_000_000, 1 << 30]);
        assert_eq!(given(&[]).unwrap().session.unwind_tables_max_bytes, 64 << 20);
        assert_eq!(given(&["--cache-dir", ""]).unwrap().session.cache_dir, None);
        assert_eq!(given(&[]).unwrap().session.cache_dir.unwrap(), PathBuf::from("/var/cache/flamekeeper"));
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let config = config(&["-d", "1s", "--", "ls", "-p", "x"], &ProcFs::host()).unwrap();
        assert_eq!(config.command, ["ls", "-p", "x"]);
        assert!(config.session.scope.pids.is_empty());
    }
}
