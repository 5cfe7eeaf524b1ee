//! The arguments of `flamekeeper daemon`: an option for each key of the configuration, made from its declaration.
//!
//! Only translates: values stay texts here, so that what is wrong in options, variables and file is told at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use crate::config::{Change, DaemonConfig, Key, option_name};

const AFTER_HELP: &str = "\
An option wins over its variable, a variable over the file, the file over the default. Each option is a key of the file, \
[table] and name: --spool-max-bytes is max_bytes in [spool]; those under Sampling are in [sampling]. It is also a variable: \
FLAMEKEEPER_SPOOL_MAX_BYTES. A list or a table is replaced as a whole. A changed file is read again within ten seconds, or at \
once after SIGHUP; a wrong one is refused and the old configuration goes on. SIGTERM ends the daemon: the last window is \
written to the spool.

Examples:
  flamekeeper daemon --push-url http://pyroscope:4040
  flamekeeper daemon --config /etc/flamekeeper/config.toml --check-config
  flamekeeper daemon --example-config > config.toml

Exit status: 0; 64 if the configuration is wrong; 77 if not permitted; 1 for another failure; 70 for a bug of ours.";

/// The arguments of `flamekeeper daemon`.
#[derive(Clone, Debug, Default)]
pub struct DaemonArgs {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Only check the configuration and print it.
    pub check_config: bool,
    /// Only print a configuration to start from.
    pub example_config: bool,
    /// What each option says, in order, by its key's whole path.
    pub options: BTreeMap<String, Vec<String>>,
}

impl Args for DaemonArgs {
    fn augment_args(command: Command) -> Command {
        let mut command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .env("FLAMEKEEPER_CONFIG")
                    .hide_env_values(true)
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("The configuration file, in TOML"),
            )
            .arg(
                Arg::new("check_config")
                    .long("check-config")
                    .action(ArgAction::SetTrue)
                    .help("Check the configuration, print what is in force and where it comes from, and end"),
            )
            .arg(
                Arg::new("example_config")
                    .long("example-config")
                    .action(ArgAction::SetTrue)
                    .help("Print a configuration file with every key and its default, and end"),
            );
        for (heading, path, key) in keys() {
            command = command.arg(option(heading, path, key));
        }
        command.after_help(AFTER_HELP)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DaemonArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        self.check_config = matches.get_flag("check_config");
        self.example_config = matches.get_flag("example_config");
        for (_, path, _) in keys() {
            if let Some(texts) = matches.get_many::<String>(&path) {
                self.options.insert(path, texts.cloned().collect());
            }
        }
        Ok(())
    }
}

/// Every key that has an option: heading, whole path, key.
fn keys() -> Vec<(&'static str, String, &'static Key)> {
    let mut all = Vec::new();
    for section in DaemonConfig::sections() {
        for key in section.keys {
            all.push((section.title, key.path.to_owned(), key));
            for element in key.elements.iter().filter(|_| key.first_has_options) {
                all.push((section.title, format!("{}.{}", key.path, element.path), element));
            }
        }
    }
    all
}

fn option(heading: &'static str, path: String, key: &Key) -> Arg {
    let (help, long_help) = help(key);
    let option = Arg::new(path.clone())
        .long(option_name(&path))
        .value_name(key.value_name)
        .help_heading(heading)
        .help(help)
        .long_help(long_help)
        .action(if key.is_list() { ArgAction::Append } else { ArgAction::Set })
        .allow_negative_numbers(true);
    match key.without_value() {
        Some(value) => option.num_args(0..=1).require_equals(true).default_missing_value(value),
        None => option,
    }
}

/// In a line, and at length.
fn help(key: &Key) -> (StyledStr, StyledStr) {
    let range = key.range().map_or_else(String::new, |range| format!(" ({range})"));
    let short = format!("{}{range}", key.summary());
    let mut notes = Vec::new();
    if key.is_list() {
        notes.push("[may be given several times]".to_owned());
    }
    if !key.default.is_empty() {
        notes.push(format!("[default: {}]", key.default));
    }
    if key.change == Change::Restart {
        notes.push("[a change needs a restart]".to_owned());
    }
    let short_notes =
        if key.default.is_empty() { String::new() } else { format!(" [default: {}]", key.default) };
    let mut long = vec![short.clone()];
    long.extend(key.details());
    long.push(notes.join(" "));
    long.retain(|paragraph| !paragraph.is_empty());
    (format!("{short}{short_notes}").into(), long.join("\n\n").into())
}
