//! Peers: programs of `peers/` that play the other side of the daemon's connections, with the real protocol's own
//! types, and that a test controls.
//!
//! Turns `peers/NAME/*.go` into a running process and its addresses. Built once, under a name that has the hash of its
//! sources; ended when the value is dropped, or when the test process is gone.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::child::Running;
use crate::places;

/// It only opens sockets, but the machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// A control request has nothing to wait for.
const CONTROL_WITHIN: Duration = Duration::from_secs(30);

/// A running peer.
pub struct Peer {
    running: Running,
    addresses: Value,
}

impl Peer {
    /// Builds `peers/NAME`, or finds it built, and starts it. Its first line says its addresses, as JSON.
    pub fn start(name: &str, args: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let program = build(name)?;
        let words = std::iter::once(program.into_os_string()).chain(args);
        let running = Running::start(words, |command| {
            // It ends with its input; the pipe is ours until we drop it.
            command.stdin(Stdio::piped());
        })?;
        let line = running.next_line(|_| true, READY_WITHIN)?;
        let addresses = serde_json::from_str(&line).with_context(|| format!("{name} said {line:?}"))?;
        Ok(Self { running, addresses })
    }

    /// One of its addresses.
    pub fn address(&self, name: &str) -> Result<&str> {
        self.addresses.get(name).and_then(Value::as_str).with_context(|| format!("no address {name}"))
    }

    /// The process.
    pub fn process(&self) -> &Running {
        &self.running
    }

    /// A request to its `control` address: the answer's body, if it is a success.
    pub fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let what = || format!("{method} {path} {body}");
        let mut stream = TcpStream::connect(self.address("control")?).with_context(what)?;
        stream.set_read_timeout(Some(CONTROL_WITHIN))?;
        // HTTP/1.0: the answer is not cut into chunks, and ends with the connection.
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(what)?;
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").with_context(what)?;
        let body_of_answer = answer.split_off(head_end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "{}: {status}: {}", what(), String::from_utf8_lossy(&body_of_answer));
        Ok(body_of_answer)
    }
}

fn sources(name: &str) -> Result<(PathBuf, Vec<PathBuf>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ["go", "mod", "sum"].iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no sources in {}", folder.display());
    Ok((folder, files))
}

fn build(name: &str) -> Result<PathBuf> {
    let (folder, files) = sources(name)?;
    let mut hasher = DefaultHasher::new();
    for file in &files {
        (file.file_name(), std::fs::read(file)?).hash(&mut hasher);
    }
    let place = places::build_folder()?.join(format!("{:016x}", hasher.finish()));
    let program = place.join(name);
    if program.is_file() {
        return Ok(program);
    }
    std::fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    let fresh = tempfile::TempDir::new_in(&place)?;
    let made = fresh.path().join(name);
    let output = Command::new("go")
        .args(["build", "-trimpath", "-mod=readonly", "-ldflags=-s -w", "-o"])
        .arg(&made)
        .arg(".")
        .current_dir(&folder)
        .output()
        .context("run go build")?;
    if !output.status.success() {
        bail!("go cannot build {}:\n{}", folder.display(), String::from_utf8_lossy(&output.stderr));
    }
    // Two tests may have built it at once: both are the same.
    std::fs::rename(&made, &program).with_context(|| format!("write {}", program.display()))?;
    Ok(program)
}
