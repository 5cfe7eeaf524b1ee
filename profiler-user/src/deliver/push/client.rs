//! One profile → one endpoint, once: Connect's unary call of `push.v1.PusherService/Push` over HTTP/1.1 or HTTP/2.
//!
//! Never retries, queues or logs: it says what became of the profile. (The HTTP client sends again by itself only what
//! a server has not begun to handle: a connection that was closed while idle, or HTTP/2's refusal of a stream.)

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};

use super::answer::{CONTENT_TYPE_PROTO, chain, one_line, outcome_of, outcome_without_answer};
use super::endpoint::{Credentials, Endpoint, SecretSource};
use super::outcome::{PushOutcome, RetryCause};
use super::proxy::ProxyEnvironment;
use super::request::body_of;
use super::tls::{TlsError, TlsFiles, WebRoots};
use super::watched_file::{FileError, WatchedFile};
use crate::deliver::finished::SeriesProfile;
use crate::host::Clock;

/// The only version of the protocol.
const CONNECT_PROTOCOL_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("connect-protocol-version"), HeaderValue::from_static("1"));
/// How long the server may take.
const CONNECT_TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// A connection outlives the pause between two windows, and servers close theirs after two minutes or more.
const IDLE_CONNECTION: Duration = Duration::from_secs(90);
/// As many as the spool's replay has profiles under way at a time: with fewer most requests would open one anew, and over TLS
/// that is more work and more bytes than the profile.
const IDLE_CONNECTIONS: usize = 4;
/// Tells that the other side is gone without a word; twice a window would be traffic of its own.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Answers are small: what a server may send ahead of our reading, by stream and by connection.
const HTTP2_WINDOW_BYTES: u32 = 1 << 16;

/// Sends profiles to one endpoint. Keeps the connections of a few pushes at a time; with HTTP/2 they share one.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    web_roots: WebRoots,
    proxies: ProxyEnvironment,
    clock: Clock,
    /// Locked for moments, never while a request is under way.
    current: Mutex<Current>,
}

/// What follows from the endpoint's files, as they were last seen.
#[derive(Debug)]
struct Current {
    tls_files: TlsFiles,
    http: Option<reqwest::Client>,
    secret_file: Option<WatchedFile>,
    authorization: Option<HeaderValue>,
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    #[error("{}: has a character that no header can have", .0.display())]
    Secret(std::path::PathBuf),
}

impl Client {
    /// A client of this endpoint. Opens nothing yet: a file that is missing may come.
    pub fn new(endpoint: Endpoint, web_roots: WebRoots, proxies: ProxyEnvironment, clock: Clock) -> Self {
        let secret_file = match &endpoint.credentials {
            Credentials::Bearer(SecretSource::File(path))
            | Credentials::Basic { password: SecretSource::File(path), .. } => Some(WatchedFile::new(path)),
            _ => None,
        };
        let tls_files = TlsFiles::new(&endpoint.tls);
        let authorization = match &endpoint.credentials {
            Credentials::Bearer(SecretSource::Inline(token)) => authorization(None, token.reveal()),
            Credentials::Basic { username, password: SecretSource::Inline(password) } => {
                authorization(Some(username), password.reveal())
            }
            _ => None,
        };
        let current = Mutex::new(Current { tls_files, http: None, secret_file, authorization });
        Self { endpoint, web_roots, proxies, clock, current }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Reads the endpoint's files now, and says what is wrong with them: for a check at start. A push reads
    /// them by itself.
    pub fn check_files(&self) -> Result<(), String> {
        self.ready().map(drop).map_err(|error| one_line(&chain(&error)))
    }

    /// Sends a profile and says what became of it. Ends within the endpoint's timeout.
    pub async fn push(&self, profile: &SeriesProfile) -> PushOutcome {
        let (http, authorization) = match self.ready() {
            Ok(ready) => ready,
            Err(error) => {
                let message = one_line(&chain(&error));
                return PushOutcome::Retry { after: None, cause: RetryCause::Credentials, message };
            }
        };
        let body = body_of(profile);
        let mut request = http.post(self.endpoint.url.clone()).body(body.bytes);
        if body.is_gzip {
            request = request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        match request.send().await {
            Ok(response) => outcome_of(response, self.clock.wall_now()).await,
            Err(error) => outcome_without_answer(error),
        }
    }

    /// The HTTP client and the credentials, by the files as they are now. A handful of `stat` calls; the files are
    /// small and local, so reading them may block for once.
    fn ready(&self) -> Result<(reqwest::Client, Option<HeaderValue>), NotReady> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = &mut *current;
        if let Some(file) = &mut current.secret_file
            && file.has_changed()
        {
            let username = match &self.endpoint.credentials {
                Credentials::Basic { username, .. } => Some(username.as_str()),
                _ => None,
            };
            let value = authorization(username, &file.read_line()?);
            current.authorization = Some(value.ok_or_else(|| NotReady::Secret(file.path().to_owned()))?);
        }
        if let Some(http) = &current.http
            && !current.tls_files.have_changed()
        {
            return Ok((http.clone(), current.authorization.clone()));
        }
        let tls = current.tls_files.client_config(&self.web_roots)?;
        let http = self.http(tls)?;
        current.http = Some(http.clone());
        Ok((http, current.authorization.clone()))
    }

    fn http(&self, tls: rustls::ClientConfig) -> reqwest::Result<reqwest::Client> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(self.headers())
            .timeout(self.endpoint.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_CONNECTION)
            .tcp_keepalive(TCP_KEEPALIVE)
            .http2_initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .http2_initial_connection_window_size(HTTP2_WINDOW_BYTES)
            // A connection that has died in silence would fail every push after this one, too (HTTP/1.1 gives it up
            // with the first): asked while a push waits for its answer, it is found dead before that push is.
            .http2_keep_alive_interval(self.endpoint.timeout / 3)
            .http2_keep_alive_timeout(self.endpoint.timeout / 3)
            .no_proxy();
        let builder =
            if self.endpoint.http2_prior_knowledge { builder.http2_prior_knowledge() } else { builder };
        let rules = self.endpoint.proxy.rules(&self.proxies)?;
        rules.into_iter().fold(builder, reqwest::ClientBuilder::proxy).build()
    }

    /// Of every request. Each byte of them is sent some eighty times a minute over HTTP/1.1.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.endpoint.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROTO));
        let (version, one) = CONNECT_PROTOCOL_VERSION;
        headers.insert(version, one);
        // A tenth less than we wait ourselves: a server that gives up in time says so, and has not stored it.
        let for_server = self.endpoint.timeout.mul_f32(0.9).as_millis();
        if let Ok(value) = HeaderValue::from_str(&for_server.to_string()) {
            headers.insert(CONNECT_TIMEOUT, value);
        }
        let agent = concat!("flamekeeper/", env!("CARGO_PKG_VERSION"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        headers
    }
}

/// `Basic` with a user, else `Bearer`. `None` if it cannot be a header.
fn authorization(username: Option<&str>, secret: &str) -> Option<HeaderValue> {
    let text = match username {
        Some(username) => format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{secret}"))),
        None => format!("Bearer {secret}"),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::super::config::EndpointConfig;
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let variables = |name: &str| (name == "HTTP_PROXY").then(|| "http://hush:hush@proxy:1".to_owned());
        let texts = [
            "bearer_token = 'hush'\nproxy_url = 'http://hush:hush@proxy:1'",
            "basic_auth = { username = 'me', password = 'hush' }\nproxy_from_environment = true",
            "headers = { Authorization = 'hush' }",
        ];
        for text in texts {
            let config: EndpointConfig =
                toml::from_str(&format!("url = 'http://x'\n{text}")).expect("known keys");
            let roots = WebRoots::of_store(Vec::new());
            let environment = ProxyEnvironment::from_variables(variables);
            let client = Client::new(config.validate().expect("valid"), roots, environment, Clock::host());
            assert_eq!(client.check_files(), Ok(()));
            let shown = format!("{client:?}");
            // "me:hush" as basic authentication has it.
            assert!(!shown.contains("hush") && !shown.contains("bWU6aHVzaA"), "{shown}");
        }
    }

    #[test]
    fn a_push_can_be_a_task_of_its_own() {
        fn check<T: Send>(_: T) {}
        check(Client::push);
        let push = |client: &'static Client, profile: &'static SeriesProfile| check(client.push(profile));
        check(push);
    }
}
