//! Drives `peers/pyroscope`: the profile database that a test pushes to, tells to fail, and asks what it has.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Running;
use crate::peer::Peer;

/// A running peer with its certificates.
pub struct Pyroscope {
    peer: Peer,
    certificates: Option<TempDir>,
}

/// How it listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct PyroscopeOptions {
    /// By TLS; see [`Pyroscope::certificate`].
    pub tls: bool,
    /// Only to clients with a certificate of `ca.pem`.
    pub client_certificate: bool,
    /// HTTP/1.1 alone.
    pub http1: bool,
}

/// All that it knows.
#[derive(Clone, Debug, Deserialize)]
pub struct PyroscopeState {
    /// Requests that came.
    pub requests: u64,
    /// Of these, those that a fault struck.
    pub faulty: u64,
    /// What was taken, in order.
    pub received: Vec<ReceivedProfile>,
    /// What was not, but by faults.
    pub refused: Vec<RefusedPush>,
    /// What went over its connections.
    pub wire: WireTotals,
    /// Requests and tunnels that came through the proxy.
    pub proxied: u64,
}

/// The short form of [`PyroscopeState`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PyroscopeCounts {
    /// Profiles that were taken.
    pub received: usize,
    /// Connections that are open.
    pub open: usize,
}

/// A profile that was taken.
#[derive(Clone, Debug, Deserialize)]
pub struct ReceivedProfile {
    /// Order of arrival, from 0.
    pub index: usize,
    /// Of its series, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// As the client named it.
    pub id: String,
    /// Its own time, nanoseconds since 1970.
    pub time_nanos: i64,
    /// Its own length.
    pub duration_nanos: i64,
    /// Distinct stacks.
    pub samples: u64,
    /// CPU time.
    pub cpu_nanos: i64,
    /// As type/unit.
    pub sample_types: Vec<String>,
    /// As type/unit.
    pub period_type: String,
    /// Nanoseconds.
    pub period: i64,
    /// A mapping each.
    pub build_ids: Vec<String>,
    /// How many.
    pub functions: u64,
    /// Labels on samples.
    pub sample_labels: u64,
    /// Frames of the deepest stack.
    pub depth: u64,
    /// As it lay in the message.
    pub bytes: u64,
    /// Unpacked.
    pub unpacked_bytes: u64,
    /// Check sum of what was unpacked, as at the end of a gzip file.
    pub crc32: u32,
    /// Of the request on its connection, below TLS, with what the connection cost before it.
    pub wire_bytes: u64,
    /// Number of the connection, from 1.
    pub connection: u64,
    /// Such as `HTTP/2.0`.
    pub protocol: String,
    /// As the client said.
    pub tenant: String,
    /// Of the request, as Go spells them.
    pub headers: BTreeMap<String, String>,
    /// An earlier profile of the same ID: this one was sent again.
    pub duplicate_of: Option<usize>,
    /// An earlier profile of the same series and millisecond with another ID: where the database replicates, only one
    /// of both is ever shown.
    pub hidden_by: Option<usize>,
    /// Whether the client was told that it failed.
    pub answer_lost: bool,
}

/// A push that was refused.
#[derive(Clone, Debug, Deserialize)]
pub struct RefusedPush {
    /// Of Connect.
    pub code: String,
    /// For people.
    pub message: String,
    /// Of its first series.
    pub labels: BTreeMap<String, String>,
}

/// Bytes and connections.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct WireTotals {
    /// So far.
    pub connections: u64,
    /// Now.
    pub open: u64,
    /// By the peer.
    pub read_bytes: u64,
    /// By the peer.
    pub written_bytes: u64,
}

impl Pyroscope {
    /// Without TLS.
    pub fn start() -> Result<Self> {
        Self::start_with(PyroscopeOptions::default())
    }

    /// As asked for.
    pub fn start_with(options: PyroscopeOptions) -> Result<Self> {
        let certificates = if options.tls { Some(tempfile::tempdir()?) } else { None };
        let mut args: Vec<OsString> = Vec::new();
        if let Some(folder) = &certificates {
            args.extend(["-certs".into(), folder.path().into()]);
        }
        args.extend(options.client_certificate.then(|| "-client-cert".into()));
        args.extend(options.http1.then(|| "-http1".into()));
        Ok(Self { peer: Peer::start("pyroscope", args)?, certificates })
    }

    /// The process, to be stopped and continued.
    pub fn process(&self) -> &Running {
        self.peer.process()
    }

    /// Base URL.
    pub fn url(&self) -> Result<&str> {
        self.peer.address("url")
    }

    /// URL of a proxy in the same process, with user and password if they are given.
    pub fn proxy_url(&self, user: &str) -> Result<String> {
        let at = if user.is_empty() { "" } else { "@" };
        Ok(format!("http://{user}{at}{}", self.peer.address("proxy")?))
    }

    /// `ca.pem`, `client.pem`, `client.key`, and the same of a stranger with `other-` before them.
    pub fn certificate(&self, name: &str) -> Result<PathBuf> {
        let folder = self.certificates.as_ref().context("started without TLS")?;
        Ok(Path::new(folder.path()).join(name))
    }

    /// Everything.
    pub fn state(&self) -> Result<PyroscopeState> {
        let json = self.peer.control("GET", "/state", None)?;
        serde_json::from_slice(&json).context("read the peer's state")
    }

    /// How much there is.
    pub fn counts(&self) -> Result<PyroscopeCounts> {
        let json = self.peer.control("GET", "/counts", None)?;
        serde_json::from_slice(&json).context("read the peer's counts")
    }

    /// A received profile, as it lay in the message.
    pub fn profile(&self, index: usize) -> Result<Vec<u8>> {
        self.peer.control("GET", &format!("/profiles/{index}"), None)
    }

    /// Forgets what was received and refused.
    pub fn forget(&self) -> Result<()> {
        self.peer.control("DELETE", "/state", None).map(drop)
    }

    /// Sets what is named: limits, `multitenancy`, `authorizations`, `clock_offset_seconds`.
    pub fn set(&self, settings: Value) -> Result<()> {
        self.peer.control("PUT", "/settings", Some(&settings)).map(drop)
    }

    /// One more fault, behind those that are waiting: `kind` of `answer hang slow trickle half half_head huge reset`,
    /// `count` (0: until [`Self::heal`]), `probability`, `store`, `millis` of a slow one, and of the answer `status headers
    /// body code message bytes`.
    pub fn fail(&self, fault: Value) -> Result<()> {
        self.peer.control("POST", "/faults", Some(&fault)).map(drop)
    }

    /// Requests are answered again.
    pub fn heal(&self) -> Result<()> {
        self.peer.control("DELETE", "/faults", None).map(drop)
    }

    /// Connections are ended when what came over them is answered, and refused from now on.
    pub fn shut(&self) -> Result<()> {
        self.peer.control("POST", "/shut", None).map(drop)
    }

    /// Connections are taken again, at the same address.
    pub fn open(&self) -> Result<()> {
        self.peer.control("POST", "/open", None).map(drop)
    }

    /// The proxy asks for these.
    pub fn set_proxy_authorization(&self, value: &str) -> Result<()> {
        self.peer.control("PUT", "/proxy", Some(&json!({ "authorization": value }))).map(drop)
    }
}
