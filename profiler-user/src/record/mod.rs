//! `flamekeeper record`: one capture from load to written files. Builds the stages and drives them.
//!
//! ```text
//!   config.rs ─▶ capture: sample ▶ collect ▶ process ▶ unwind ─▶ Segment ─▶ symbolize ▶ aggregate ▶ deliver
//!                                                                           finish.rs
//!   command.rs: the profiled command   live.rs: the line on stderr   summary.rs, account.rs: the end
//! ```

mod account;
mod command;
mod config;
mod error;
mod finish;
mod live;
mod signals;
mod stranger;
mod summary;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::capture::admission::Everyone;
use crate::capture::rights::Surroundings;
use crate::capture::{CaptureError, Session, SessionConfig};
use crate::deliver::file::{OutputPlan, default_name};
use crate::host::Host;
use crate::sample::TickSource;
use command::{Ended, Profiled};
pub use config::{Config, ConfigErrors, Terminals};
pub use error::RecordError;
use finish::Recording;
use live::{Live, say};
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
    let session_config = SessionConfig { keep_timeline: plan.needs_timeline(), ..config.session.clone() };
    let mut session = Session::open(session_config, host, Everyone, Surroundings::default())?;
    for warning in session.warnings() {
        say(console, &format!("warning: {warning}"));
    }
    // From here on a signal must not end us without the command's end and the files.
    let mut signals = Signals::new()?;
    let cpus = session.start()?;
    let mut profiled = match config.command.split_first() {
        Some((program, arguments)) => Some(Profiled::start(program, arguments, open_files)?),
        None => None,
    };
    let rate = config.session.rate.get();
    let how = session.walking_words().map_or(String::new(), |how| format!("; {how}"));
    say(console, &format!("sampling {cpus} CPUs {rate} times a second{how}"));
    let mut live = Live::start(config);
    let ended = sample(&mut session, config, profiled.as_mut(), &mut signals, &mut live, console).await;
    live.stop();
    let ended = ended?;
    let segment = session.finish();
    let recording = Recording { segment, counts: session.counts(), unusable: session.unusable_files() };
    drop(session); // its tables, before names take memory
    let finished = finish::finish(recording, config, host, &plan);
    summary::print(console, &finished, config.session.unwind);
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

/// Samples until something ends it.
async fn sample(
    session: &mut Session<Everyone>,
    config: &Config,
    mut profiled: Option<&mut Profiled>,
    signals: &mut Signals,
    live: &mut Live,
    console: &mut impl Write,
) -> Result<Ended, CaptureError> {
    let deadline = tokio::time::sleep(config.duration.unwrap_or(Duration::MAX));
    tokio::pin!(deadline);
    let mut look_at_cpus = BETWEEN_LOOKS_AT_CPUS;
    loop {
        tokio::select! {
            turned = session.turn() => turned?,
            ended = signals.next() => return Ok(ended),
            () = &mut deadline, if config.duration.is_some() => return Ok(Ended::Duration),
            () = command_ended(profiled.as_deref_mut()), if profiled.is_some() => return Ok(Ended::Command),
        }
        if session.targets_have_ended() {
            return Ok(Ended::Targets);
        }
        if live.is_due(session.elapsed()) {
            live.update(session.progress(), console);
        }
        // With hardware counters it was never tried: guests have none.
        if config.session.event == TickSource::CpuClock && session.elapsed() >= look_at_cpus {
            look_at_cpus = session.elapsed() + BETWEEN_LOOKS_AT_CPUS;
            follow_cpus(session, console);
        }
    }
}

/// A CPU that comes online loses its samples until it is seen.
const BETWEEN_LOOKS_AT_CPUS: Duration = Duration::from_secs(2);

/// Samples on CPUs that came online, too. What the others give is worth keeping if one cannot be sampled.
fn follow_cpus(session: &mut Session<Everyone>, console: &mut impl Write) {
    match session.follow_cpus() {
        Ok(0) => {}
        Ok(come) => say(console, &format!("{come} more CPUs came online and are sampled")),
        Err(error) => say(console, &format!("warning: a CPU that came online is not sampled: {error}")),
    }
}

/// Ends with the command.
async fn command_ended(profiled: Option<&mut Profiled>) {
    if let Some(profiled) = profiled {
        profiled.ended().await;
    }
}
