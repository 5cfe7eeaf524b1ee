//! Which proxy an endpoint is reached through: the configured one, the environment's, or none.
//!
//! The environment is read once, in `main`, and handed down; the client never looks for itself.

use std::fmt;

use reqwest::{NoProxy, Proxy, Url};

use super::config::Secret;
use super::endpoint::EndpointError;

/// `HTTP_PROXY` and the like, as they were at start.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    http: Option<Secret>,
    https: Option<Secret>,
    no_proxy: Option<String>,
}

impl ProxyEnvironment {
    /// From a look-up of variables: upper case counts before lower case, `ALL_PROXY` if there is no other.
    pub fn from_variables(look_up: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&str; 4]| {
            let values = names.into_iter().filter_map(&look_up);
            values.map(Secret::new).find(|value| !value.reveal().is_empty())
        };
        Self {
            http: first(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
            https: first(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            no_proxy: look_up("NO_PROXY").or_else(|| look_up("no_proxy")),
        }
    }
}

impl fmt::Debug for ProxyEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ProxyEnvironment");
        out.field("http", &self.http).field("https", &self.https).field("no_proxy", &self.no_proxy).finish()
    }
}

/// What the configuration says.
#[derive(Clone)]
pub(super) enum ProxyChoice {
    None,
    Given(Url),
    Environment,
}

impl ProxyChoice {
    pub(super) fn of(url: Option<&Secret>, from_environment: bool) -> Result<Self, EndpointError> {
        match url {
            Some(_) if from_environment => {
                Err(EndpointError::Both { first: "proxy_url", second: "proxy_from_environment" })
            }
            Some(url) => {
                let bad = |source| EndpointError::Proxy { source };
                let url = Url::parse(url.reveal()).map_err(|source| bad(source.into()))?;
                if !["http", "https", "socks5", "socks5h"].contains(&url.scheme()) || !url.has_host() {
                    return Err(bad("http, https, socks5 and socks5h proxies with a host are known".into()));
                }
                Ok(Self::Given(url))
            }
            None if from_environment => Ok(Self::Environment),
            None => Ok(Self::None),
        }
    }

    /// The rules for the client.
    pub(super) fn rules(&self, environment: &ProxyEnvironment) -> reqwest::Result<Vec<Proxy>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Given(url) => Ok(vec![Proxy::all(url.clone())?]),
            Self::Environment => {
                let exceptions = environment.no_proxy.as_deref().and_then(NoProxy::from_string);
                let mut rules = Vec::new();
                if let Some(http) = &environment.http {
                    rules.push(Proxy::http(http.reveal())?.no_proxy(exceptions.clone()));
                }
                if let Some(https) = &environment.https {
                    rules.push(Proxy::https(https.reveal())?.no_proxy(exceptions));
                }
                Ok(rules)
            }
        }
    }
}

impl fmt::Debug for ProxyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            // Without user and password.
            Self::Given(url) => write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default()),
            Self::Environment => f.write_str("environment"),
        }
    }
}
