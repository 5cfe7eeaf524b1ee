//! `flamekeeper record`: one capture from load to written files. Builds the stages and drives them.
//!
//! ```text
//!   config.rs ─▶ targets.rs ─▶ [sample ▶ collect ▶ process ▶ aggregate] ─▶ symbolize ▶ aggregate ▶ deliver
//!                               session.rs: every 100 ms, in one thread     finish.rs
//!   command.rs: the profiled command   live.rs: the line on stderr   summary.rs, account.rs: the end
//! ```

mod account;
mod command;
mod config;
mod error;
mod finish;
mod live;
mod rounds;
mod session;
mod setup;
mod signals;
mod stranger;
mod summary;
mod targets;

use std::io::Write;
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

use crate::deliver::file::{OutputPlan, default_name};
use crate::host::Host;
use command::Profiled;
pub use config::{Config, ConfigErrors, Terminals};
pub use error::RecordError;
use live::{Live, say};
use session::Session;
use signals::Signals;

/// How a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Outputs that could not be written.
    pub failed_outputs: usize,
    /// Exit status of the profiled command, if there was one (128 + n for signal n).
    pub command_status: Option<u8>,
}

/// Records, and tells about it on `console`.
pub async fn record(config: &Config, host: &Host, console: &mut impl Write) -> Result<Recorded, RecordError> {
    let plan = plan_outputs(config, host)?;
    let open_files = getrlimit(Resource::Nofile); // before the session raises it
    let mut session = Session::open(config, host, plan.needs_timeline())?;
    for warning in session.warnings() {
        say(console, &format!("warning: {warning}"));
    }
    // From here on a signal must not end us without the command's end and the files.
    let mut signals = Signals::new()?;
    let cpus = session.start(config)?;
    let mut profiled = match config.command.split_first() {
        Some((program, arguments)) => Some(Profiled::start(program, arguments, open_files)?),
        None => None,
    };
    say(console, &format!("sampling {cpus} CPUs {} times a second", config.rate.get()));
    let mut live = Live::start(config);
    let ended = session.run(config, profiled.as_mut(), &mut signals, &mut live, console).await;
    live.stop();
    let ended = ended?;
    let finished = finish::finish(session.finish(), config, host, &plan);
    summary::print(console, &finished, config.unwind);
    let command_status = match profiled {
        Some(profiled) => Some(profiled.wait(ended, &mut signals, console).await?),
        None => None,
    };
    Ok(Recorded { failed_outputs: finished.failed_outputs(), command_status })
}

fn plan_outputs(config: &Config, host: &Host) -> Result<OutputPlan, RecordError> {
    let default: [PathBuf; 1];
    let outputs = if config.outputs.is_empty() {
        default = [default_name(&host.name, host.clock.wall(host.clock.monotonic())).into()];
        default.as_slice()
    } else {
        config.outputs.as_slice()
    };
    OutputPlan::new(outputs, config.format, config.stdout_is_terminal).map_err(RecordError::Outputs)
}
