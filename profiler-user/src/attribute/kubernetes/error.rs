//! Why this node's pods are not known.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why this node's pods are not known, or not as of now.
#[derive(Debug, Error)]
pub enum KubernetesError {
    /// Asked for, but neither configuration nor environment name one.
    #[error("no API server is known: set kubernetes.api_server or kubernetes.kubeconfig")]
    NoApiServer,
    /// Anybody on the way could take the token.
    #[error("the token would go to {url} in clear: use https")]
    TokenInClear {
        /// The API server's.
        url: String,
    },
    /// Not a DNS name in small letters.
    #[error("{node:?} is no name of a node: set kubernetes.node_name or NODE_NAME")]
    NodeName {
        /// As configured, or the host's name.
        node: String,
    },
    /// No URL, certificate or kubeconfig to work with.
    #[error("the client for the API server cannot be set up")]
    Setup {
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token cannot be read.
    #[error("read the token {}", path.display())]
    Token {
        /// The token's file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Holds what cannot be sent.
    #[error("the token {} is not one line of text", path.display())]
    TokenText {
        /// The token's file.
        path: PathBuf,
    },
    /// No answer: not reached, not trusted, or gone in the middle of it.
    #[error("the API server cannot be reached, or its answer broke off")]
    Broken {
        /// The client's answer.
        source: Box<kube::Error>,
    },
    /// Connected, but silent.
    #[error("the API server has not answered for {after:?}")]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// Any answer but the one that was asked for.
    #[error("the API server refuses: {code} {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// 410: what happened since then is forgotten, so the pods have to be listed anew.
    #[error("the API server no longer knows what happened since the last list")]
    Gone,
    /// Again and again: something between us and the API server does not let watches through.
    #[error("the watch was ended as soon as it had begun")]
    Ended,
    /// More than we are willing to hold.
    #[error("a list of pods is longer than {bound}")]
    TooLong {
        /// Our bound.
        bound: &'static str,
    },
    /// Not what the API says that it is.
    #[error("the API server's answer makes no sense")]
    Unreadable {
        /// Where and why.
        source: serde_json::Error,
    },
}

/// What [`KubernetesError::cause`] may say.
pub const CAUSES: [&str; 10] =
    ["setup", "token", "broken", "silent", "forbidden", "refused", "gone", "ended", "too_long", "unreadable"];

/// Of a failure's text.
const MAX_TEXT_BYTES: usize = 512;

impl KubernetesError {
    /// The failure and what is behind it, as one line.
    pub fn with_sources(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let behind = error.to_string();
            // kube's own errors tell what is behind them, too.
            if !text.ends_with(&behind) {
                text.push_str(": ");
                text.push_str(&behind);
            }
            source = error.source();
        }
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text
    }

    /// A short word for a metric's label, one of [`CAUSES`].
    pub fn cause(&self) -> &'static str {
        match self {
            Self::NoApiServer | Self::TokenInClear { .. } | Self::NodeName { .. } | Self::Setup { .. } => {
                "setup"
            }
            Self::Token { .. } | Self::TokenText { .. } => "token",
            Self::Broken { .. } => "broken",
            Self::Silent { .. } => "silent",
            Self::Refused { code: 401 | 403, .. } => "forbidden",
            Self::Refused { .. } => "refused",
            Self::Gone => "gone",
            Self::Ended => "ended",
            Self::TooLong { .. } => "too_long",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_those_of_the_list() {
        let refused = |code| KubernetesError::Refused { code, message: String::new() };
        let path = || PathBuf::from("token");
        let source = serde_json::from_str::<u32>("x").unwrap_err();
        let told = [
            KubernetesError::NoApiServer,
            KubernetesError::Token { path: path(), source: io::ErrorKind::NotFound.into() },
            KubernetesError::TokenText { path: path() },
            KubernetesError::Broken { source: Box::new(kube::Error::TlsRequired) },
            KubernetesError::Silent { after: Duration::ZERO },
            refused(403),
            refused(500),
            KubernetesError::Gone,
            KubernetesError::Ended,
            KubernetesError::TooLong { bound: "" },
            KubernetesError::Unreadable { source },
        ];
        let mut told: Vec<_> = told.iter().map(KubernetesError::cause).collect();
        told.dedup();
        assert_eq!(told, CAUSES);
    }
}
