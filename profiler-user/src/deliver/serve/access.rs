//! Who may see what: a connection's ends and a request's headers → admitted, or refused with a reason.
//!
//! ```text
//!   /metrics /healthz /readyz   everybody who reaches the address
//!   the rest                    processes of this host, over loopback or a unix socket;
//!                               from elsewhere with the token
//! ```
//!
//! A page in a browser can have any name lead to 127.0.0.1 (DNS rebinding), and would so read what loopback shows. Its
//! requests carry that name in `Host`: over loopback only names that mean this host are answered.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;

/// Shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 4096;

/// What a client from elsewhere has to show. Is never printed.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

/// Why a text is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters, this one has {bytes}")]
pub struct BadToken {
    /// Its length, or how much of it is of the right kind.
    pub bytes: usize,
}

impl Token {
    /// Of a text as it stands in a file: blanks and line ends around it do not count.
    pub fn new(text: &str) -> Result<Self, BadToken> {
        let bytes = text.trim().as_bytes();
        let visible = bytes.iter().take_while(|byte| byte.is_ascii_graphic()).count();
        if visible == bytes.len() && (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&visible) {
            Ok(Self(bytes.into()))
        } else {
            Err(BadToken { bytes: visible })
        }
    }

    /// Takes as long for every wrong one of the same length.
    fn equals(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP: both ends.
    Tcp {
        /// Of the client.
        remote: SocketAddr,
        /// Ours.
        local: SocketAddr,
    },
    /// Over a unix socket: the file's permissions have decided.
    Unix,
}

impl Peer {
    fn is_loopback(self) -> bool {
        match self {
            Self::Tcp { remote, local } => is_loopback(remote.ip()) && is_loopback(local.ip()),
            Self::Unix => true,
        }
    }
}

/// 127.0.0.1 reaches a socket of both families as ::ffff:127.0.0.1.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The rules of one server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// What clients from elsewhere have to show. Without it they see metrics and health only.
    pub token: Option<Token>,
    /// Whether loopback has to show it too: for hosts with users that may not see each other's programs.
    pub loopback_needs_token: bool,
    /// Names beside `localhost` under which this host is reached over loopback.
    pub allowed_hosts: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// No token is configured.
    #[error("from another host this needs a token, and none is configured (http.token or http.token_file)")]
    NoTokenConfigured,
    /// None was given, or a wrong one.
    #[error("this needs the token: `Authorization: Bearer TOKEN`, or TOKEN as the password of any user")]
    Unauthorized,
    /// No or several `Host` headers, or one that is none.
    #[error("one `Host` header is needed")]
    BadHost,
    /// Loopback under a name that is not known to mean this host.
    #[error(
        "over loopback this server answers to localhost, loopback addresses and the names in http.allowed_hosts only"
    )]
    ForeignName,
    /// Another page's script asks.
    #[error("requests from scripts of other pages are refused")]
    CrossSite,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Access {
    /// Judges one request. `is_open`: to what everybody may see.
    pub fn admit(
        &self,
        peer: Peer,
        version: Version,
        headers: &HeaderMap,
        is_open: bool,
    ) -> Result<(), Refusal> {
        let host = host(version, headers)?;
        if matches!(peer, Peer::Tcp { .. }) && peer.is_loopback() && !host.is_none_or(|h| self.is_own_name(h))
        {
            return Err(Refusal::ForeignName);
        }
        let says = |name, value: &str| headers.get(name).is_some_and(|given: &HeaderValue| given == value);
        if says(SEC_FETCH_SITE, "cross-site") && !says(SEC_FETCH_MODE, "navigate") {
            return Err(Refusal::CrossSite);
        }
        if is_open || (peer.is_loopback() && !self.loopback_needs_token) {
            return Ok(());
        }
        match &self.token {
            None => Err(Refusal::NoTokenConfigured),
            Some(token) if shown(headers).is_some_and(|given| token.equals(&given)) => Ok(()),
            Some(_) => Err(Refusal::Unauthorized),
        }
    }

    fn is_own_name(&self, host: &str) -> bool {
        let name = without_port(host);
        if let Ok(ip) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return is_loopback(ip);
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // RFC 6761: names under `localhost` are loopback's too.
        name == "localhost"
            || name.ends_with(".localhost")
            || self.allowed_hosts.iter().any(|own| own.eq_ignore_ascii_case(&name))
    }
}

/// The value of `Host`; `None` for HTTP/1.0 clients, which need none and are no browsers.
fn host(version: Version, headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut all = headers.get_all(HOST).iter();
    match (all.next(), all.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(None),
        (Some(host), None) => match host.to_str() {
            Ok(host) if is_authority(host) => Ok(Some(host)),
            _ => Err(Refusal::BadHost),
        },
        _ => Err(Refusal::BadHost),
    }
}

/// What may stand in `Host`: a name or an address with or without a port. Pages and documents repeat it.
pub(super) fn is_authority(host: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !host.is_empty() && host.len() <= 255 && host.chars().all(is_fit)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // `[::1]` has colons of its own.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// The token that a client shows: as a bearer, or as the password of any user. The latter is what tools that take only
/// an address can say: `go tool pprof http://x:TOKEN@host:4041/debug/pprof/profile`, and a browser's own dialog.
fn shown(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.as_bytes().to_vec());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = BASE64_STANDARD.decode(credentials).ok()?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        return Some(pair.get(colon + 1..)?.to_vec());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn tcp(remote: &str, local: &str) -> Peer {
        Peer::Tcp { remote: remote.parse().unwrap(), local: local.parse().unwrap() }
    }

    fn near() -> Peer {
        tcp("127.0.0.1:50000", "127.0.0.1:4041")
    }

    fn far() -> Peer {
        tcp("10.0.0.9:50000", "10.0.0.5:4041")
    }

    fn guarded() -> Access {
        Access { token: Some(Token::new(TOKEN).unwrap()), ..Access::default() }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn admit(access: &Access, peer: Peer, pairs: &[(&'static str, &str)]) -> Result<(), Refusal> {
        access.admit(peer, Version::HTTP_11, &headers(pairs), false)
    }

    fn with_host(host: &str) -> Result<(), Refusal> {
        let access = Access { allowed_hosts: vec!["Web-1.example".into()], ..guarded() };
        admit(&access, near(), &[("host", host)])
    }

    #[test]
    fn from_elsewhere_only_the_token_helps() {
        let give = |value: &str| admit(&guarded(), far(), &[("host", "h:1"), ("authorization", value)]);
        assert_eq!(give(&format!("Bearer {TOKEN}")), Ok(()));
        assert_eq!(give(&format!("bearer  {TOKEN}")), Ok(()));
        assert_eq!(give(&format!("Basic {}", BASE64_STANDARD.encode(format!("any:{TOKEN}")))), Ok(()));
        assert_eq!(give(&format!("Basic {}", BASE64_STANDARD.encode(TOKEN))), Err(Refusal::Unauthorized));
        for wrong in
            ["Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "Basic !", TOKEN]
        {
            assert_eq!(give(wrong), Err(Refusal::Unauthorized), "{wrong}");
        }
        assert_eq!(admit(&guarded(), far(), &[("host", "h")]), Err(Refusal::Unauthorized));
        assert_eq!(admit(&Access::default(), far(), &[("host", "h")]), Err(Refusal::NoTokenConfigured));
        let open = Access::default().admit(far(), Version::HTTP_11, &headers(&[("host", "h")]), true);
        assert_eq!(open, Ok(()), "metrics and health");
    }

    #[test]
    fn both_ends_must_be_loopback() {
        let host = [("host", "localhost")];
        assert_eq!(admit(&guarded(), near(), &host), Ok(()));
        assert_eq!(admit(&guarded(), tcp("[::1]:5", "[::1]:4041"), &host), Ok(()));
        assert_eq!(admit(&guarded(), tcp("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:4041"), &host), Ok(()));
        let own_address = tcp("10.0.0.5:5", "10.0.0.5:4041");
        assert_eq!(admit(&guarded(), own_address, &host), Err(Refusal::Unauthorized));
        let strict = Access { loopback_needs_token: true, ..guarded() };
        assert_eq!(admit(&strict, near(), &host), Err(Refusal::Unauthorized));
        assert_eq!(admit(&strict, Peer::Unix, &host), Err(Refusal::Unauthorized));
        assert_eq!(admit(&guarded(), Peer::Unix, &[("host", "anything")]), Ok(()));
    }

    #[test]
    fn names_that_were_made_to_lead_here_are_refused() {
        for own in [
            "localhost",
            "LOCALHOST:4041",
            "localhost.:4041",
            "app.localhost",
            "127.0.0.1:4041",
            "127.8.8.8",
            "[::1]",
            "[::1]:4041",
            "[::ffff:127.0.0.1]:1",
            "web-1.example:4041",
        ] {
            assert_eq!(with_host(own), Ok(()), "{own}");
        }
        for foreign in
            ["evil.example", "evil.example:4041", "localhost.evil.example", "10.0.0.5", "127.0.0.1.nip.io"]
        {
            assert_eq!(with_host(foreign), Err(Refusal::ForeignName), "{foreign}");
        }
        for bad in ["", "a b", "a/b", "\"", "user@localhost"] {
            assert_eq!(with_host(bad), Err(Refusal::BadHost), "{bad}");
        }
        let open =
            Access::default().admit(near(), Version::HTTP_11, &headers(&[("host", "evil.example")]), true);
        assert_eq!(open, Err(Refusal::ForeignName), "metrics too");
        let none = |version| Access::default().admit(near(), version, &HeaderMap::new(), false);
        assert_eq!((none(Version::HTTP_10), none(Version::HTTP_11)), (Ok(()), Err(Refusal::BadHost)));
        let two = admit(&guarded(), near(), &[("host", "localhost"), ("host", "localhost")]);
        assert_eq!(two, Err(Refusal::BadHost));
    }

    #[test]
    fn scripts_of_other_pages_are_refused_and_links_are_not() {
        let from = |site: &str, mode: &str| {
            admit(
                &guarded(),
                near(),
                &[("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)],
            )
        };
        assert_eq!(from("cross-site", "no-cors"), Err(Refusal::CrossSite));
        assert_eq!(from("cross-site", "navigate"), Ok(()));
        assert_eq!(from("same-origin", "cors"), Ok(()));
    }

    #[test]
    fn tokens_are_long_visible_and_never_printed() {
        assert!(Token::new(" 0123456789abcdef\n").unwrap().equals(TOKEN.as_bytes()));
        assert_eq!(Token::new("short").unwrap_err().bytes, 5);
        assert!(Token::new("0123456789 abcdef").is_err() && Token::new("").is_err());
        assert_eq!(format!("{:?}", guarded().token), "Some(Token(…))");
    }
}
