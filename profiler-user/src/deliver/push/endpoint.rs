//! A configured endpoint → one that a client can be made of, or everything that is wrong with it at once.
//!
//! Opens no file and no connection: a configuration can be checked where its secrets are not.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::config::{BasicAuthConfig, EndpointConfig, Secret, TlsConfig};
use super::proxy::ProxyChoice;

/// How long one push may take unless configured otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest and the longest that make sense.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// Path of the call below the base URL.
const PUSH_PATH: &str = "push.v1.PusherService/Push";
/// Carries the tenant.
pub(super) const TENANT_HEADER: HeaderName = HeaderName::from_static("x-scope-orgid");
/// What the server takes as a tenant: 150 of these (`tenant.ValidTenantID` in github.com/grafana/dskit).
const MAX_TENANT_BYTES: usize = 150;
const TENANT_SIGNS: &str = "!-_.*'()";

/// Headers that are ours or the connection's to set.
const OWN_HEADERS: [&str; 11] = [
    "accept-encoding",
    "connect-protocol-version",
    "connect-timeout-ms",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A checked endpoint. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) credentials: Credentials,
    pub(super) tls: TlsConfig,
    pub(super) proxy: ProxyChoice,
    pub(super) http2_prior_knowledge: bool,
    pub(super) timeout: Duration,
}

/// What `Authorization` is made of.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    None,
    Basic { username: String, password: SecretSource },
    Bearer(SecretSource),
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub(super) enum SecretSource {
    Inline(Secret),
    File(PathBuf),
}

/// One thing that is wrong with an endpoint's configuration. Begins with the key.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No URL.
    #[error("url: missing; it is the server's base URL, such as https://pyroscope.example.org:4040")]
    NoUrl,
    /// Not a URL. The text is not shown: there may be a password in it.
    #[error("url: {source}")]
    Url {
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another scheme.
    #[error("url: {scheme}:// is not known; http:// and https:// are")]
    Scheme {
        /// What it begins with.
        scheme: String,
    },
    /// User or password in the URL, where logs would show them.
    #[error("url: has a user or a password in it; use basic_auth")]
    UserInUrl,
    /// A part that a base URL does not have.
    #[error("url: has a query or a fragment; it is the server's base URL")]
    QueryInUrl,
    /// A path of another interface of the server.
    #[error("url: leave out {path}: it is the server's base URL")]
    PathOfAnApi {
        /// The path's end.
        path: &'static str,
    },
    /// Not a tenant as the server takes it.
    #[error("tenant: {tenant:?} is not 1 to 150 of letters, digits and !-_.*'()")]
    Tenant {
        /// As configured.
        tenant: String,
    },
    /// More than one way to say who we are.
    #[error("{first} and {second}: one of both")]
    Both {
        /// A key.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A key without the one that it needs.
    #[error("{key}: needs {other} beside it")]
    Needs {
        /// The key that is there.
        key: &'static str,
        /// The key that is missing.
        other: &'static str,
    },
    /// An empty value.
    #[error("{key}: is empty")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// The colon ends the user.
    #[error("basic_auth.username: cannot have a colon")]
    Colon,
    /// Not a header's name.
    #[error("headers: {name:?} cannot be a header's name")]
    HeaderName {
        /// As configured.
        name: String,
    },
    /// A header that the client sets itself.
    #[error("headers: {name} is set by {by}")]
    OwnHeader {
        /// Its name.
        name: String,
        /// What sets it.
        by: &'static str,
    },
    /// A value with a line break or the like. It is not shown: it may be a secret.
    #[error("{key}: has a character that no header can have")]
    HeaderValue {
        /// The key, or the header.
        key: String,
    },
    /// TLS for a connection without it.
    #[error("tls: needs an https:// url")]
    TlsWithoutHttps,
    /// What TLS finds out by itself.
    #[error("http2_prior_knowledge: is for http:// urls; over https:// it is agreed upon")]
    PriorKnowledge,
    /// Not a proxy's URL. The text is not shown: there may be a password in it.
    #[error("proxy_url: {source}")]
    Proxy {
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Not a duration, or an odd one.
    #[error("timeout: {timeout:?} is not a duration from 100ms to 10m")]
    Timeout {
        /// As configured.
        timeout: String,
    },
}

impl EndpointConfig {
    /// Checks all of it.
    pub fn validate(self) -> Result<Endpoint, Vec<EndpointError>> {
        let mut errors = Vec::new();
        let url = keep(url_of(&self.url), &mut errors);
        let is_https = url.as_ref().is_some_and(|url| url.scheme() == "https");
        check_tls(&self.tls, url.is_some() && !is_https, &mut errors);
        if is_https && self.http2_prior_knowledge {
            errors.push(EndpointError::PriorKnowledge);
        }
        let headers = headers_of(&self, &mut errors);
        let timeout = keep(timeout_of(self.timeout.as_deref()), &mut errors);
        let proxy = keep(ProxyChoice::of(self.proxy_url.as_ref(), self.proxy_from_environment), &mut errors);
        let credentials =
            credentials_of(self.basic_auth, self.bearer_token, self.bearer_token_file, &mut errors);
        if self.name.as_deref() == Some("") {
            errors.push(EndpointError::Empty { key: "name" });
        }
        match (url, timeout, proxy) {
            (Some(url), Some(timeout), Some(proxy)) if errors.is_empty() => {
                let name = self.name.unwrap_or_else(|| authority_of(&url));
                let http2_prior_knowledge = self.http2_prior_knowledge;
                Ok(Endpoint {
                    name,
                    url,
                    headers,
                    credentials,
                    tls: self.tls,
                    proxy,
                    http2_prior_knowledge,
                    timeout,
                })
            }
            _ => Err(errors),
        }
    }
}

impl Endpoint {
    /// What metrics and logs call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it pushes to; holds no credentials.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// How long one push may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is allowed and yet worth a warning at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let sends_credentials = !matches!(self.credentials, Credentials::None);
        if sends_credentials && self.url.scheme() == "http" {
            warnings.push(format!("{}: credentials go over http:// for everybody to read", self.name));
        }
        if self.tls.insecure_skip_verify {
            warnings.push(format!("{}: insecure_skip_verify believes any server", self.name));
        }
        warnings
    }
}

fn keep<T>(checked: Result<T, EndpointError>, errors: &mut Vec<EndpointError>) -> Option<T> {
    checked.map_err(|error| errors.push(error)).ok()
}

fn url_of(text: &str) -> Result<Url, EndpointError> {
    if text.is_empty() {
        return Err(EndpointError::NoUrl);
    }
    let mut url = Url::parse(text).map_err(|source| EndpointError::Url { source: source.into() })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EndpointError::Scheme { scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EndpointError::UserInUrl);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(EndpointError::QueryInUrl);
    }
    let base = url.path().trim_end_matches('/');
    if let Some(path) = ["/ingest", "/push.v1.PusherService/Push"].into_iter().find(|end| base.ends_with(end))
    {
        return Err(EndpointError::PathOfAnApi { path });
    }
    let path = format!("{base}/{PUSH_PATH}");
    url.set_path(&path);
    Ok(url)
}

fn authority_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn check_tls(tls: &TlsConfig, is_plain: bool, errors: &mut Vec<EndpointError>) {
    if is_plain && *tls != TlsConfig::default() {
        errors.push(EndpointError::TlsWithoutHttps);
    }
    let (cert, key) = ("tls.cert_file", "tls.key_file");
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => errors.push(EndpointError::Needs { key: cert, other: key }),
        (None, Some(_)) => errors.push(EndpointError::Needs { key, other: cert }),
        _ => {}
    }
    if tls.ca_file.is_some() && tls.insecure_skip_verify {
        errors.push(EndpointError::Both { first: "tls.ca_file", second: "tls.insecure_skip_verify" });
    }
}

fn timeout_of(text: Option<&str>) -> Result<Duration, EndpointError> {
    let Some(text) = text else { return Ok(DEFAULT_TIMEOUT) };
    let parsed = humantime::parse_duration(text).ok().filter(|timeout| TIMEOUTS.contains(timeout));
    parsed.ok_or_else(|| EndpointError::Timeout { timeout: text.to_owned() })
}

fn credentials_of(
    basic: Option<BasicAuthConfig>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    errors: &mut Vec<EndpointError>,
) -> Credentials {
    let bearer = source_of(token, token_file, ["bearer_token", "bearer_token_file"], errors);
    let Some(basic) = basic else { return bearer.map_or(Credentials::None, Credentials::Bearer) };
    if bearer.is_some() {
        errors.push(EndpointError::Both { first: "basic_auth", second: "bearer_token" });
    }
    if basic.username.is_empty() {
        errors.push(EndpointError::Empty { key: "basic_auth.username" });
    }
    if basic.username.contains(':') {
        errors.push(EndpointError::Colon);
    }
    let keys = ["basic_auth.password", "basic_auth.password_file"];
    let password = source_of(basic.password, basic.password_file, keys, errors);
    let password = password.unwrap_or_else(|| SecretSource::Inline(Secret::default()));
    Credentials::Basic { username: basic.username, password }
}

fn source_of(
    inline: Option<Secret>,
    file: Option<PathBuf>,
    [inline_key, file_key]: [&'static str; 2],
    errors: &mut Vec<EndpointError>,
) -> Option<SecretSource> {
    match (inline, file) {
        (Some(_), Some(_)) => {
            errors.push(EndpointError::Both { first: inline_key, second: file_key });
            None
        }
        (Some(inline), None) if inline.reveal().is_empty() => {
            errors.push(EndpointError::Empty { key: inline_key });
            None
        }
        (Some(inline), None) if HeaderValue::from_str(inline.reveal()).is_err() => {
            errors.push(EndpointError::HeaderValue { key: inline_key.to_owned() });
            None
        }
        (Some(inline), None) => Some(SecretSource::Inline(inline)),
        (None, file) => file.map(SecretSource::File),
    }
}

/// The tenant's header and those that are configured.
fn headers_of(config: &EndpointConfig, errors: &mut Vec<EndpointError>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(tenant) = &config.tenant {
        match HeaderValue::from_str(tenant) {
            Ok(value) if is_tenant(tenant) => drop(headers.insert(TENANT_HEADER, value)),
            _ => errors.push(EndpointError::Tenant { tenant: tenant.clone() }),
        }
    }
    let has_credentials =
        config.basic_auth.is_some() || config.bearer_token.is_some() || config.bearer_token_file.is_some();
    for (name, value) in &config.headers {
        let Ok(header) = HeaderName::try_from(name.as_str()) else {
            errors.push(EndpointError::HeaderName { name: name.clone() });
            continue;
        };
        let by = match &header {
            header if OWN_HEADERS.contains(&header.as_str()) => Some("the client itself"),
            header if *header == TENANT_HEADER && config.tenant.is_some() => Some("tenant"),
            header if *header == AUTHORIZATION && has_credentials => Some("basic_auth or bearer_token"),
            _ => None,
        };
        if let Some(by) = by {
            errors.push(EndpointError::OwnHeader { name: name.clone(), by });
            continue;
        }
        match HeaderValue::from_str(value.reveal()) {
            Ok(mut value) => {
                // Nobody says whether it is a secret, so it is one.
                value.set_sensitive(true);
                headers.insert(header, value);
            }
            Err(_) => errors.push(EndpointError::HeaderValue { key: format!("headers.{name}") }),
        }
    }
    headers
}

fn is_tenant(tenant: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || TENANT_SIGNS.contains(c);
    (1..=MAX_TENANT_BYTES).contains(&tenant.len())
        && tenant.chars().all(is_allowed)
        && !matches!(tenant, "." | "..")
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
