//! An API server for tests: lists and watches of pods as the real one answers them, and whatever can go wrong with it.
//!
//! ```text
//!   put, delete ─▶ version + 1, log of events ─▶ each watch: the log from its version on, then what happens
//!   forget: 410 for older versions · token · break_off, end, say: the open watches · answer_next: anything at all
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;
type Piece = io::Result<Bytes>;

/// The node that the pods run on, unless one says another.
pub(super) const NODE: &str = "node-7";

/// A running API server; ended on drop.
pub(super) struct Peer {
    state: Arc<Mutex<State>>,
    /// `http://127.0.0.1:…`, or with TLS `https://localhost:…`.
    pub(super) url: String,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Value>,
    version: u64,
    /// Events by version.
    log: Vec<(u64, String)>,
    /// What happened before this version is forgotten.
    oldest: u64,
    /// Whether a watch of a forgotten version begins, and ends with a 410 in its stream.
    tells_gone_in_stream: bool,
    token: Option<String>,
    watches: Vec<mpsc::Sender<Piece>>,
    answers: VecDeque<(u16, Pieces)>,
    requests: Vec<String>,
}

/// A body, piece by piece; after the last one it ends, hangs or breaks off.
#[derive(Clone)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) last: Last,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Last {
    End,
    Hang,
    BreakOff,
}

impl<T: Into<Vec<u8>>> From<T> for Pieces {
    fn from(whole: T) -> Self {
        Self { pieces: vec![whole.into()], last: Last::End }
    }
}

impl Peer {
    pub(super) async fn start() -> Self {
        Self::serve(None).await
    }

    pub(super) async fn with_tls(acceptor: TlsAcceptor) -> Self {
        Self::serve(Some(acceptor)).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let state = Arc::new(Mutex::new(State { version: 100, ..State::default() }));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, tls, Arc::clone(&state)));
        Self { state, url, _server: server }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a pod or changes it.
    pub(super) fn put(&self, pod: Value) {
        let mut state = self.state();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let kind = if state.pods.contains_key(&uid) { "MODIFIED" } else { "ADDED" };
        let pod = state.happens(kind, pod);
        state.pods.insert(uid, pod);
    }

    /// Deletes a pod; its last state goes with the event.
    pub(super) fn delete(&self, uid: &str) {
        let mut state = self.state();
        let pod = state.pods.remove(uid).unwrap();
        state.happens("DELETED", pod);
    }

    /// Makes time pass without an event for anybody who watches, and says so.
    pub(super) fn bookmark(&self, later: u64) {
        let mut state = self.state();
        state.version += later;
        let metadata = json!({"resourceVersion": state.version.to_string(), "creationTimestamp": null});
        let object =
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {}, "status": {}});
        state.say(&format!("{}\n", json!({"type": "BOOKMARK", "object": object})));
    }

    /// Changes pods without telling those who watch: they are behind, and what they miss is forgotten.
    pub(super) fn forget(&self, tell_in_stream: bool, change: impl FnOnce(&mut BTreeMap<String, Value>)) {
        let mut state = self.state();
        change(&mut state.pods);
        state.version += 10;
        state.oldest = state.version;
        state.log.clear();
        state.tells_gone_in_stream = tell_in_stream;
    }

    /// From now on only this token is good.
    pub(super) fn take_only(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Sends this to all open watches as it is.
    pub(super) fn say(&self, text: &str) {
        self.state().say(text);
    }

    /// Sends a text to all open watches, each byte a piece of its own.
    pub(super) async fn dribble(&self, text: &str) {
        for byte in text.bytes() {
            self.state().say_bytes(Bytes::from(vec![byte]));
            // Else the connection would put them together.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// The next event for a pod as a line, which nobody has got yet.
    pub(super) fn next_event(&self, kind: &str, mut pod: Value) -> String {
        let mut state = self.state();
        state.version += 1;
        pod["metadata"]["resourceVersion"] = state.version.to_string().into();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let line = format!("{}\n", json!({"type": kind, "object": pod}));
        let version = state.version;
        state.log.push((version, line.clone()));
        state.pods.insert(uid, pod);
        line
    }

    /// Ends all open watches as a server does after their time.
    pub(super) fn end(&self) {
        self.state().watches.clear();
    }

    /// Cuts the connections of all open watches.
    pub(super) fn break_off(&self) {
        for watch in self.state().watches.drain(..) {
            // One that nobody reads any more is cut already.
            watch.try_send(Err(io::ErrorKind::ConnectionReset.into())).unwrap_or_default();
        }
    }

    /// The answer to the next request that has no other one yet.
    pub(super) fn answer_next(&self, code: u16, body: impl Into<Pieces>) {
        self.state().answers.push_back((code, body.into()));
    }

    /// What was asked for so far, as `list …` or `watch …` with the parameters in the order of their names.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }
}

impl State {
    /// Gives a pod the next version, and tells those who watch.
    fn happens(&mut self, kind: &str, mut pod: Value) -> Value {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = self.version.to_string().into();
        let line = format!("{}\n", json!({"type": kind, "object": pod}));
        self.log.push((self.version, line.clone()));
        self.say(&line);
        pod
    }

    fn say(&mut self, text: &str) {
        self.say_bytes(Bytes::from(text.to_owned()));
    }

    fn say_bytes(&mut self, bytes: Bytes) {
        self.watches.retain(|watch| watch.try_send(Ok(bytes.clone())).is_ok());
    }

    fn answer(&mut self, request: &Request<Incoming>) -> Answer {
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()).into_owned().collect();
        let is_watch = query.get("watch").is_some_and(|value| value == "true");
        let told: Vec<String> = query
            .iter()
            .filter(|(name, _)| !["watch", "timeoutSeconds", "fieldSelector"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let verb = if is_watch { "watch" } else { "list" };
        self.requests.push(format!("{verb} {}", told.join("&")).trim_end().to_owned());

        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        if let Some(token) = &self.token
            && authorization != Some(&format!("Bearer {token}"))
        {
            return status(401, "Unauthorized");
        }
        if let Some((code, pieces)) = self.answers.pop_front() {
            return answer(code, pieces);
        }
        let fields = format!("spec.nodeName={NODE},status.phase!=Succeeded,status.phase!=Failed");
        if request.uri().path() != "/api/v1/pods" || query.get("fieldSelector") != Some(&fields) {
            return status(403, "pods is forbidden: only this node's");
        }
        if is_watch { self.watch(&query) } else { self.list(&query) }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        let pods: Vec<&Value> = self.pods.values().filter(|pod| pod["spec"]["nodeName"] == NODE).collect();
        let first: usize = query.get("continue").map_or(0, |first| first.parse().unwrap());
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let page: Vec<&Value> = pods.iter().skip(first).take(limit).copied().collect();
        let end = first + page.len();
        let next = if end < pods.len() { end.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": self.version.to_string(), "continue": next});
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": page});
        answer(200, list.to_string().into())
    }

    fn watch(&mut self, query: &BTreeMap<String, String>) -> Answer {
        let version: u64 = query["resourceVersion"].parse().unwrap();
        let gone = "too old resource version";
        if version < self.oldest && !self.tells_gone_in_stream {
            return status(410, gone);
        }
        let (sender, receiver) = mpsc::channel(100_000);
        if version < self.oldest {
            let object = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": gone});
            let line = format!("{}\n", json!({"type": "ERROR", "object": object}));
            sender.try_send(Ok(line.into())).unwrap();
        } else {
            for (_, line) in self.log.iter().filter(|(at, _)| *at > version) {
                sender.try_send(Ok(line.clone().into())).unwrap();
            }
            self.watches.push(sender);
        }
        Response::new(streamed(receiver))
    }
}

fn streamed(receiver: mpsc::Receiver<Piece>) -> UnsyncBoxBody<Bytes, io::Error> {
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn answer(code: u16, body: Pieces) -> Answer {
    let body = match (&body.pieces[..], body.last) {
        ([whole], Last::End) => {
            Full::new(Bytes::from(whole.clone())).map_err(|never: Infallible| match never {}).boxed_unsync()
        }
        (pieces, last) => {
            let (sender, receiver) = mpsc::channel(pieces.len() + 1);
            for piece in pieces {
                sender.try_send(Ok(piece.clone().into())).unwrap();
            }
            match last {
                Last::End => {}
                Last::BreakOff => sender.try_send(Err(io::ErrorKind::ConnectionReset.into())).unwrap(),
                // As long as the peer's runtime lives.
                Last::Hang => std::mem::forget(sender),
            }
            streamed(receiver)
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap();
    answer
}

fn status(code: u16, message: &str) -> Answer {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code});
    answer(code, body.to_string().into())
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => speak(stream, state).await,
                // A client that does not trust us hangs up.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| {
        let answer = state.lock().unwrap().answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new();
    // A body that breaks off ends the connection with an error.
    connection.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
}
