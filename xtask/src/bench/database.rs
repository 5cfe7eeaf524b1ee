//! The profile database that the daemon pushes to while it is measured: `tests/peers/pyroscope`, built and started.
//!
//! It takes the real protocol apart with the database's own types, and counts bytes on its connections, below HTTP.
//! It ends with its standard input, which is ours.

use super::clock;
use super::http;
use super::running::Running;
use crate::shell;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// It only opens sockets, but the machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running one.
pub(super) struct Database {
    _running: Running,
    addresses: Addresses,
}

#[derive(Deserialize)]
struct Addresses {
    url: String,
    control: String,
}

/// What it has got since it was started.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Got {
    pub(super) requests: u64,
    /// Of them, those that were made to fail.
    pub(super) faulty: u64,
    /// Since [`Database::forget`].
    pub(super) received: Vec<Received>,
    /// The same.
    pub(super) refused: Vec<Refused>,
    pub(super) wire: Wire,
}

/// A profile.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Received {
    pub(super) time_nanos: i64,
    pub(super) unpacked_bytes: u64,
    /// Such as `HTTP/2.0`.
    pub(super) protocol: String,
}

/// A profile that it did not take.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) message: String,
}

/// On its connections.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Wire {
    pub(super) connections: u64,
    /// By it: requests.
    pub(super) read_bytes: u64,
    /// By it: answers.
    pub(super) written_bytes: u64,
}

impl Database {
    /// Builds and starts it; `sources` are its folder.
    pub(super) async fn start(sources: &Path, folder: &Path) -> Result<Self> {
        let (program, said) = (folder.join("pyroscope"), folder.join("pyroscope.out"));
        let build = ["build", "-trimpath", "-mod=readonly", "-o"];
        shell::output(Command::new("go").args(build).arg(&program).arg(".").current_dir(sources))?;
        let mut command = Command::new(&program);
        command.stdin(Stdio::piped()).stdout(File::create(&said)?);
        let running = Running::start("the stand-in for Pyroscope", &mut command)?;
        let deadline = clock::now() + READY_WITHIN;
        loop {
            let text = fs::read_to_string(&said)?;
            if let Some(line) = text.lines().next().filter(|_| text.ends_with('\n')) {
                let addresses = serde_json::from_str(line).with_context(|| line.to_owned())?;
                return Ok(Self { _running: running, addresses });
            }
            if running.has_ended()? || clock::now() > deadline {
                bail!("the stand-in for Pyroscope does not listen");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Base URL for pushes.
    pub(super) fn url(&self) -> &str {
        &self.addresses.url
    }

    /// Everything.
    pub(super) async fn got(&self) -> Result<Got> {
        let json = self.control("GET", "/state", "").await?;
        serde_json::from_str(&json).context("read what the database got")
    }

    /// Throws away what it received, which it keeps otherwise; what it counted stays.
    pub(super) async fn forget(&self) -> Result<()> {
        self.control("DELETE", "/state", "").await.map(drop)
    }

    /// From now on requests are answered by 503.
    pub(super) async fn fail(&self) -> Result<()> {
        self.control("POST", "/faults", r#"{"kind":"answer","status":503}"#).await.map(drop)
    }

    /// From now on they are taken again.
    pub(super) async fn heal(&self) -> Result<()> {
        self.control("DELETE", "/faults", "").await.map(drop)
    }

    /// Connections are ended, and refused from now on.
    pub(super) async fn shut(&self) -> Result<()> {
        self.control("POST", "/shut", "").await.map(drop)
    }

    /// They are taken again.
    pub(super) async fn open(&self) -> Result<()> {
        self.control("POST", "/open", "").await.map(drop)
    }

    async fn control(&self, method: &str, path: &str, body: &str) -> Result<String> {
        http::ask(&self.addresses.control, method, path, body).await
    }
}
