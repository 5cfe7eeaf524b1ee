//! The command to profile: started, waited for, its exit status handed on.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use tokio::process::{Child, Command};

use super::error::RecordError;
use super::live::say;
use super::signals::Signals;

/// What ended the sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The time that was asked for has passed.
    Duration,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM, or SIGHUP.
    Terminated,
    /// The profiled command has ended.
    Command,
    /// The processes that were asked for have ended.
    Targets,
}

/// The running command.
pub(super) struct Profiled {
    child: Child,
    name: OsString,
    status: Option<ExitStatus>,
}

impl Profiled {
    /// Starts it with our own input and output, and the limit of open files that we were started with: ours
    /// is raised. Sampling must have begun: the kernel half takes it up at its fork, so nothing of it is missed.
    #[expect(
        unsafe_code,
        reason = "only the child itself can have another limit from its first instruction on"
    )]
    pub(super) fn start(program: &OsStr, args: &[OsString], open_files: Rlimit) -> Result<Self, RecordError> {
        let mut command = Command::new(program);
        command.args(args);
        // SAFETY: between fork and exec; one system call on integers, which takes no lock and no memory.
        unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, open_files)?)) };
        let child =
            command.spawn().map_err(|source| RecordError::Command { command: program.to_owned(), source })?;
        Ok(Self { child, name: program.to_owned(), status: None })
    }

    /// Completes when it has ended.
    pub(super) async fn ended(&mut self) {
        // The error would be that it cannot be waited for, which only a caller that did so could cause.
        self.status = self.child.wait().await.ok();
    }

    /// Waits for its end if need be; its exit status as a shell would give it. A signal that ends us,
    /// before or now, ends the command too; Ctrl-C the terminal has sent to it already.
    pub(super) async fn wait(
        mut self,
        ended: Ended,
        signals: &mut Signals,
        console: &mut impl Write,
    ) -> Result<u8, RecordError> {
        if ended == Ended::Terminated {
            self.terminate();
        }
        if self.status.is_none() && ended == Ended::Duration {
            say(console, &format!("waiting for {} to end", self.name.to_string_lossy()));
        }
        let status = loop {
            if let Some(status) = self.status {
                break status;
            }
            tokio::select! {
                status = self.child.wait() => {
                    let what = "wait for the command";
                    break status.map_err(|source| RecordError::System { what, source })?;
                }
                ended = signals.next() => if ended == Ended::Terminated { self.terminate() },
            }
        };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(125);
        Ok(u8::try_from(code & 255).unwrap_or(125))
    }

    /// Whoever ends us means the command as well. It may have ended by itself.
    fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _gone = kill_process(pid, Signal::TERM);
        }
    }
}
