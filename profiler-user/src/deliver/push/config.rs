//! An endpoint as the configuration spells it: keys named as in Prometheus and Alloy, values not yet looked at.
//! `endpoint.rs` turns it into an [`Endpoint`](super::Endpoint) or into everything that is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A profile database to push to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointConfig {
    /// What metrics and logs call it; host and port of the URL if it is not given.
    pub name: Option<String>,
    /// Base URL of the server, such as `https://pyroscope.example.org:4040`.
    pub url: String,
    /// Sent as `X-Scope-OrgID`: whose data it is, on a server with several tenants.
    pub tenant: Option<String>,
    /// User and password.
    pub basic_auth: Option<BasicAuthConfig>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer_token: Option<Secret>,
    /// File with the token; read again when it changes.
    pub bearer_token_file: Option<PathBuf>,
    /// TLS, for `https`.
    pub tls: TlsConfig,
    /// Further headers of each request.
    pub headers: BTreeMap<String, Secret>,
    /// `http`, `https`, `socks5` or `socks5h` URL of a proxy, with user and password if it wants them.
    pub proxy_url: Option<Secret>,
    /// Take the proxy from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy_from_environment: bool,
    /// Speak HTTP/2 over `http://` without asking: half of what a push costs beside its profile. Pyroscope itself takes
    /// it, a proxy before it may not. Over `https://` both sides agree on it by themselves.
    pub http2_prior_knowledge: bool,
    /// How long one push may take, from connecting to the end of the answer: `10s` unless given.
    pub timeout: Option<String>,
}

/// User and password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthConfig {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// File with the password; read again when it changes.
    pub password_file: Option<PathBuf>,
}

/// Whom to believe, and who we are. All files are PEM, and are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificates that the server's is to be signed by, instead of the world's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with those between it and its authority.
    pub cert_file: Option<PathBuf>,
    /// Key of our certificate.
    pub key_file: Option<PathBuf>,
    /// Believe any server.
    pub insecure_skip_verify: bool,
}

/// A text that neither logs nor errors show. Comparable, so that a reload sees that it changed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// From a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for where it is meant to go.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
