//! A kernel and an initramfs → a booted guest → the lines of its console, until it says how it ended.
//!
//! The emulator translates instructions (no KVM is asked for: it would make a guest depend on the machine). Every guest has a
//! deadline; only the emulator that was started here is ended, and it ends with us.

use super::arch::Arch;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that a guest may be ahead of us.
const AHEAD_LINES: usize = 1024;

/// What is to be booted.
pub(super) struct Boot<'b> {
    pub(super) arch: Arch,
    pub(super) image: &'b Path,
    pub(super) initramfs: &'b Path,
    /// Words for the kernel's command line: `NAME=VALUE` for the environment of the guest's tests.
    pub(super) settings: &'b [String],
    /// Names of tests; none: all.
    pub(super) tests: &'b [String],
    /// Where the console is written to.
    pub(super) log: &'b Path,
    pub(super) deadline: Duration,
}

/// What a guest said, and how it ended.
pub(super) struct Said {
    /// Without the control characters of a console.
    pub(super) lines: Vec<String>,
    /// Of the guest's tests; `None`: it did not get so far.
    pub(super) exit: Option<i32>,
    pub(super) took: Duration,
}

impl Boot<'_> {
    /// Boots, and waits for the end or the deadline.
    pub(super) fn run(&self) -> Result<Said> {
        let began = now();
        let mut log = File::create(self.log).with_context(|| format!("create {}", self.log.display()))?;
        let mut emulator = self.start()?;
        let stdout = emulator.stdout.take().context("the emulator has no output")?;
        let lines = lines_of(stdout);
        let mut said = Said { lines: Vec::new(), exit: None, took: Duration::ZERO };
        while said.exit.is_none() {
            let left = self.deadline.saturating_sub(began.elapsed());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    writeln!(log, "{:7.1} {line}", began.elapsed().as_secs_f64()).context("write the log")?;
                    if line.starts_with("VM: ") {
                        println!("{:7.1} {line}", began.elapsed().as_secs_f64());
                    }
                    said.exit = line.strip_prefix("VM: exit ").and_then(|code| code.trim().parse().ok());
                    said.lines.push(line);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        // It may have ended by itself.
        emulator.kill().ok();
        emulator.wait().context("wait for the emulator")?;
        said.took = began.elapsed();
        Ok(said)
    }

    fn start(&self) -> Result<Child> {
        let [program, machine @ ..] = self.arch.emulator() else { bail!("no emulator") };
        // setpriv executes the emulator in its own place, so that it dies with us however we end.
        let mut command = match shell::find_program("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--", program]);
                command
            }
            None => Command::new(program),
        };
        command.args(machine).args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1536", "-nodefaults"]);
        command.args(["-display", "none", "-no-reboot", "-serial", "stdio"]);
        command.arg("-kernel").arg(self.image).arg("-initrd").arg(self.initramfs);
        let words = format!(
            "{} quiet panic=-1 mitigations=off {} -- {}",
            self.arch.kernel_words(),
            self.settings.join(" "),
            self.tests.join(" ")
        );
        command.arg("-append").arg(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("start {program}"))
    }
}

/// A thread that reads, so that a silent guest can be given up.
fn lines_of(console: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(AHEAD_LINES);
    std::thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text: String =
                String::from_utf8_lossy(&line).chars().filter(|letter| !letter.is_control()).collect();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

#[expect(
    clippy::disallowed_methods,
    reason = "a guest has a deadline; nothing is judged by the time it took"
)]
fn now() -> Instant {
    Instant::now()
}
