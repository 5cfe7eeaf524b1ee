//! An API server of Kubernetes, as far as an agent asks it: lists of pods, and watches of what happens to them.
//!
//! ```text
//!   put, delete, bookmark ─▶ events by version ─▶ every watch, from the version on that it was begun with
//!   hold, forget, hang_up, ask_for ─▶ how lists and watches are answered
//! ```
//!
//! Each connection has a thread, and each is joined on drop.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How often a connection on which nothing comes looks whether all is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeRequest {
    /// With the query.
    pub path: String,
    /// Value of `Authorization`; empty if there was none.
    pub authorization: String,
    /// Status of the answer.
    pub status: u16,
}

#[derive(Default)]
struct State {
    is_over: bool,
    is_held: bool,
    authorization: String,
    version: u64,
    /// Watches from before this are told that it is gone.
    oldest: u64,
    pods: BTreeMap<String, Value>,
    events: Vec<(u64, String)>,
    /// Watches of earlier rounds are hung up on.
    round: u64,
    requests: Vec<KubeRequest>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running API server.
pub struct KubeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let told = change(&mut self.lock());
        self.changed.notify_all();
        told
    }

    /// Waits until it may be answered.
    fn wait_while(&self, is_so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| !state.is_over && is_so(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, kind: &str, object: &Value) {
        self.events.push((self.version, format!("{}\n", json!({"type": kind, "object": object}))));
    }
}

impl KubeApi {
    /// On a free port of this host, without pods.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        shared.change(|state| state.version = 100);
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_acceptor));
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// `http://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A pod is there, or another than it was: `ADDED` or `MODIFIED`.
    pub fn put(&self, mut pod: Value) -> Result<()> {
        let uid = pod["metadata"]["uid"].as_str().context("a pod without a uid")?.to_owned();
        self.shared.change(|state| {
            state.version += 1;
            pod["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let kind = if state.pods.contains_key(&uid) { "MODIFIED" } else { "ADDED" };
            state.tell(kind, &pod);
            state.pods.insert(uid, pod);
        });
        Ok(())
    }

    /// Nothing happens to our pods, but elsewhere: watches get a bookmark. Gives its version.
    pub fn bookmark(&self) -> u64 {
        self.shared.change(|state| {
            state.version += 7;
            let version = state.version;
            state.tell(
                "BOOKMARK",
                &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}}),
            );
            version
        })
    }

    /// What happened so far is forgotten: watches get 410 and end. No list is answered until [`Self::release`].
    pub fn forget(&self) {
        self.shared.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.is_held = true;
        });
    }

    /// No list is answered until [`Self::release`].
    pub fn hold(&self) {
        self.shared.change(|state| state.is_held = true);
    }

    /// Lists are answered again.
    pub fn release(&self) {
        self.shared.change(|state| state.is_held = false);
    }

    /// Watches break off, in the middle of their answers, once they have told what has happened so far.
    pub fn hang_up(&self) {
        self.shared.change(|state| state.round += 1);
    }

    /// From now on this is to be in `Authorization`.
    pub fn ask_for(&self, authorization: &str) {
        self.shared.change(|state| authorization.clone_into(&mut state.authorization));
    }

    /// What was asked for so far. Those that wait for [`Self::release`] are among them.
    pub fn requests(&self) -> Vec<KubeRequest> {
        self.shared.lock().requests.clone()
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        self.shared.change(|state| state.is_over = true);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    for stream in listener.incoming() {
        if shared.lock().is_over {
            break;
        }
        let (Ok(stream), shared) = (stream, Arc::clone(shared)) else { continue };
        connections.push(std::thread::spawn(move || {
            // The agent may hang up at any time.
            answer(stream, &shared).ok();
        }));
    }
    connections.into_iter().for_each(|connection| drop(connection.join()));
}

/// Answers one request and hangs up.
fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(head) = head(&stream, shared)? else { return Ok(()) };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let authorization = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
        })
        .unwrap_or_default();
    let is_allowed = shared.change(|state| {
        let is_allowed = state.authorization.is_empty() || state.authorization == authorization;
        let status = if is_allowed { 200 } else { 401 };
        state.requests.push(KubeRequest { path: path.clone(), authorization, status });
        is_allowed
    });
    if !is_allowed {
        let status = json!({"kind": "Status", "code": 401, "message": "Unauthorized"}).to_string();
        return whole(&mut stream, "401 Unauthorized", &status);
    }
    let version = path.split(['?', '&']).find_map(|pair| pair.strip_prefix("resourceVersion="));
    if path.contains("watch=true") {
        return watch(stream, version.and_then(|version| version.parse().ok()).unwrap_or(0), shared);
    }
    let state = shared.wait_while(|state| state.is_held);
    let pods: Vec<&Value> = state.pods.values().collect();
    let list = json!({"metadata": {"resourceVersion": state.version.to_string()}, "items": pods}).to_string();
    drop(state);
    whole(&mut stream, "200 OK", &list)
}

/// A request's head; `None` if there is none.
fn head(stream: &TcpStream, shared: &Shared) -> std::io::Result<Option<String>> {
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match lines.read_until(b'\n', &mut head) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if shared.lock().is_over {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn whole(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Tells events behind a version, for as long as the watch is not ended.
fn watch(mut stream: TcpStream, mut told: u64, shared: &Shared) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let round = shared.lock().round;
    loop {
        let state = shared.wait_while(|state| {
            state.round == round && told >= state.oldest && state.events.iter().all(|(at, _)| *at <= told)
        });
        if told < state.oldest {
            drop(state);
            let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
            chunk(&mut stream, &format!("{}\n", json!({"type": "ERROR", "object": gone})))?;
            return write!(stream, "0\r\n\r\n");
        }
        let news: Vec<String> =
            state.events.iter().filter(|(at, _)| *at > told).map(|(_, event)| event.clone()).collect();
        let is_end = state.is_over || state.round != round;
        told = state.version;
        drop(state);
        news.iter().try_for_each(|event| chunk(&mut stream, event))?;
        if is_end {
            return Ok(());
        }
    }
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())
}
