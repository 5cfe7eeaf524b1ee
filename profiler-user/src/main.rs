//! flamekeeper: the life of the program. Parses, runs, prints, exits; decides nothing else.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use profiler_user::allocator;
use profiler_user::attribute::kubernetes::{self, PodEnvironment, Reach};
use profiler_user::cli::{Cli, Command, DaemonArgs, DoctorArgs, RecordArgs, SpoolArgs, TargetsArgs};
use profiler_user::config::{self, Loaded, Loader};
use profiler_user::daemon::{self, DaemonError, Environment};
use profiler_user::doctor;
use profiler_user::host::{Clock, Host, ProcFs};
use profiler_user::privileges::{Kernel, Role};
use profiler_user::record::{self, Config, Recorded, Terminals};
use profiler_user::sample::abilities;
use profiler_user::spool;
use profiler_user::symbolize::dwarf;
use profiler_user::targets;
use profiler_user::telemetry::logs::{self, LogOptions};

/// EX_USAGE of sysexits.h.
const USAGE: u8 = 64;
/// What programs that run others end with when they themselves failed (env, timeout).
const OWN_FAILURE: u8 = 125;
/// How long `doctor` waits for the API server.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// EX_SOFTWARE of sysexits.h: a bug of ours.
const BUG: u8 = 70;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        complain(&format!(
            "this is a bug in flamekeeper {}{place}; please report it with this line: {}",
            env!("CARGO_PKG_VERSION"),
            panic.payload_as_str().unwrap_or("no message").replace('\n', " "),
        ));
    }));
    std::panic::catch_unwind(run).unwrap_or(ExitCode::from(BUG))
}

fn run() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == dwarf::READER_ARGUMENT) {
        return read_debug_information();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _unheard = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Record(args) => run_record(args),
        Command::Daemon(args) => run_daemon(args),
        Command::Spool(args) => run_spool(&args),
        Command::Doctor(args) => run_doctor(&args),
        Command::Targets(args) => run_targets(&args),
    }
}

/// The other half of `symbolize::dwarf`: this process answers one request about one file, shut in.
fn read_debug_information() -> ExitCode {
    match dwarf::serve(&ProcFs::host()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // the asker draws its conclusion from the missing answer
    }
}

fn run_record(args: RecordArgs) -> ExitCode {
    let host = Host::new();
    let with_command = !args.command.is_empty();
    let terminals = Terminals { stdout: stdout().is_terminal(), stderr: stderr().is_terminal() };
    let recorded = Config::new(args, terminals, &host.proc).map_err(Into::into).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| record::RecordError::System { what: "start", source })?;
        runtime.block_on(record::record(&config, &host, &mut stderr()))
    });
    match recorded {
        // The command's own failure says more than ours; its success must not hide ours.
        Ok(Recorded { command_status: Some(0), failed_outputs: 1.. }) => ExitCode::from(OWN_FAILURE),
        Ok(Recorded { command_status: Some(status), .. }) => ExitCode::from(status),
        Ok(Recorded { failed_outputs, .. }) => ExitCode::from(u8::from(failed_outputs > 0)),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code(with_command))
        }
    }
}

fn run_daemon(args: DaemonArgs) -> ExitCode {
    if args.example_config {
        let _unheard = write!(stdout(), "{}", config::example());
        return ExitCode::SUCCESS;
    }
    let loader = Loader::new(args.config, args.options, std::env::vars_os(), Host::new());
    let loaded = match loader.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(USAGE);
        }
    };
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    if args.check_config {
        let _unheard = write!(stdout(), "{}", config::show(&loaded, loader.file()));
        return ExitCode::SUCCESS;
    }
    match start_daemon(loader, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn start_daemon(loader: Loader, loaded: Loaded) -> Result<(), DaemonError> {
    allocator::keep_little();
    let host = Host::new();
    let journal = std::env::var_os("JOURNAL_STREAM");
    let options = LogOptions {
        level: loaded.config.log.level.to_tracing(),
        format: loaded.config.log.format.to_telemetry(),
        is_journal: logs::is_journal(journal.as_deref(), stderr()),
    };
    let kernel = Kernel::running(&host.proc);
    let begin = move || {
        // A thread that writes lines and keeps rights is no reason not to run.
        let _as_it_is = Role::Log.enter(kernel);
    };
    let (dispatch, log) =
        logs::start(options, host.clock, stderr(), begin).map_err(DaemonError::start("log"))?;
    // The only one of this process: nothing was set before.
    let _first = tracing::dispatcher::set_global_default(dispatch);
    let environment = Environment::read(|name| std::env::var(name).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(DaemonError::start("main"))?.block_on(daemon::run(
        loader,
        loaded,
        &host,
        log,
        environment,
    ))
}

fn run_spool(args: &SpoolArgs) -> ExitCode {
    let mut out = std::io::BufWriter::new(stdout().lock());
    let mut messages = stderr();
    let is_terminal = stdout().is_terminal();
    let mut console = spool::Console { out: &mut out, messages: &mut messages, is_terminal };
    let status = spool::run(args, Clock::host().wall_now(), &mut console);
    let _unheard = out.flush();
    status.map(ExitCode::from).unwrap_or_else(|error| {
        complain(&error.to_string());
        ExitCode::from(error.exit_code())
    })
}

fn run_doctor(args: &DoctorArgs) -> ExitCode {
    let host = Host::new();
    let without = abilities::named(&args.kernel_without);
    let report = doctor::run(&host.proc, &host.sys, look_for_pods(&host), &without);
    let text = if args.json { report.to_json() } else { report.to_text(width(), colour()) };
    let _unheard = writeln!(stdout(), "{}", text.trim_end());
    ExitCode::from(report.exit_code())
}

/// Whether the API server tells of this node's pods, as the daemon would ask it that has these variables.
fn look_for_pods(host: &Host) -> Reach {
    let file = std::env::var_os("FLAMEKEEPER_CONFIG").map(PathBuf::from);
    let loader = Loader::new(file, BTreeMap::new(), std::env::vars_os(), host.clone());
    let config = loader.load().map(|loaded| loaded.config.kubernetes.to_watch()).unwrap_or_default();
    let environment = PodEnvironment::read(|name| std::env::var(name).ok());
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build();
    asked.map_or(Reach::NotAsked, |runtime| {
        runtime.block_on(kubernetes::probe(&config, &environment, &host.name, ANSWER_WITHIN))
    })
}

fn run_targets(args: &TargetsArgs) -> ExitCode {
    let clock = Clock::host();
    let width = stdout().is_terminal().then(width);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let said = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let said = runtime.block_on(targets::run(args, clock.wall(clock.monotonic()), width));
        said.map_err(|error| error.to_string())
    });
    match said {
        Ok(text) => {
            let _unheard = writeln!(stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Columns of the terminal, 80 where there is none.
fn width() -> usize {
    rustix::termios::tcgetwinsize(stdout()).map_or(80, |size| usize::from(size.ws_col)).max(40)
}

/// Whether to colour: on a terminal, unless NO_COLOR says otherwise (no-color.org).
fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line on stderr; whether it is read is not ours to know.
fn complain(text: &str) {
    let _unheard = writeln!(stderr(), "flamekeeper: {text}");
}
