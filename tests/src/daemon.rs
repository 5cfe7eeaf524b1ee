//! The daemon: started, asked over HTTP, ended, its account taken.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::account::LastWords;
use crate::capture::{Capture, RunningCapture};
use crate::machine::Machine;
use crate::pyroscope::Pyroscope;

/// Everything that is waited for comes sooner, also on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(60);

/// A daemon that runs.
pub struct Daemon {
    /// The process.
    pub running: RunningCapture,
    http: String,
}

impl Daemon {
    /// With windows of a second, pushing to the peer; `more` are further options.
    pub fn start(_machine: &Machine, peer: &Pyroscope, more: &[&str]) -> Result<Self> {
        let capture = Capture::plain(["daemon", "--window", "1s", "--rate", "49"])?;
        Self::run(capture.with_spool(), peer.url()?, more)
    }

    /// What was put together, pushing to this place; `more` are further options.
    pub fn run(capture: Capture, push_url: &str, more: &[&str]) -> Result<Self> {
        let capture = capture.args(["--push-url", push_url, "--http-listen", "127.0.0.1:0"]);
        let running = capture.args(more.iter().copied()).start()?;
        let line = running.stderr_line(|line| line.contains("message=sampling"), WITHIN)?;
        let http = line.split(' ').find_map(|word| word.strip_prefix("http=")).context("no address")?;
        Ok(Self { http: http.to_owned(), running })
    }

    /// Status and body of an answer. By HTTP/1.0: it is not cut into chunks, and ends with the connection.
    pub fn get(&self, path: &str) -> Result<(String, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.http)?;
        stream.set_read_timeout(Some(WITHIN))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
        let body = answer.split_off(head_end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok((status, body))
    }

    /// A metric's value, summed over its labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        self.metric_of(name, "")
    }

    /// The same, of the rows with this label.
    pub fn metric_of(&self, name: &str, label: &str) -> Result<f64> {
        let (_, body) = self.get("/metrics")?;
        let text = String::from_utf8(body)?;
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        };
        let rows = text.lines().filter(is_it).filter(|line| line.contains(label));
        let values = rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Waits until something holds.
    pub fn wait_for(&self, what: &str, holds: impl FnMut() -> Result<bool>) -> Result<()> {
        wait_for(what, holds)
    }

    /// Ends it by SIGTERM; what it says at its end, which adds up.
    pub fn end(self) -> Result<LastWords> {
        self.running.signal(Signal::TERM)?;
        let words = LastWords::of(&self.running.finish()?.expect_code(0)?)?;
        words.ensure_balance()?;
        Ok(words)
    }
}

/// Waits until something holds, looking every 20 ms.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..3000 {
        if holds()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{what}: not within {WITHIN:?}")
}
