//! A container's id → what a Docker-compatible API says of it over its Unix socket: Docker's own, or Podman's.
//!
//! Asked only if the operator names the socket, and only `GET /containers/ID/json`: whoever may connect to such a socket
//! is as good as root on the host, so a profiler should seldom have to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::folders::{SourceState, SourceStatus};
use super::{ContainerError, ContainerInfo, docker};
use crate::attribute::cgroup::segment::is_container_id;

/// An answer has some 20 KiB.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Docker answers in milliseconds, also under load.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A Docker-compatible API at a Unix socket.
#[derive(Clone, Debug)]
pub struct DockerSocket {
    path: PathBuf,
    client: reqwest::Client,
}

impl DockerSocket {
    /// The API at this path. Nothing is connected yet.
    pub fn new(path: &Path) -> Result<Self, ContainerError> {
        let client = reqwest::Client::builder()
            .unix_socket(path)
            .tls_backend_preconfigured(tls_that_trusts_nobody()?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|source| ContainerError::Socket { url: path.display().to_string(), source })?;
        Ok(Self { path: path.to_owned(), client })
    }

    /// What the API says of a container; `None` if it does not know it.
    pub async fn inspect(&self, id: &str) -> Result<Option<ContainerInfo>, ContainerError> {
        if !is_container_id(id) {
            return Ok(None); // it becomes part of a URL
        }
        match self.get(&format!("/containers/{id}/json")).await? {
            Some(body) => docker::parse(id, &body),
            None => Ok(None),
        }
    }

    /// Whether it can be connected to and answers.
    pub async fn status(&self) -> SourceStatus {
        let state = match tokio::net::UnixStream::connect(&self.path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SourceState::Absent,
            Err(error) => SourceState::Refused(error.kind().to_string()),
            Ok(_) => match self.get("/_ping").await {
                Ok(_) => SourceState::Ready,
                Err(error) => SourceState::Refused(error.to_string()),
            },
        };
        SourceStatus { source: "socket", path: self.path.clone(), state }
    }

    async fn get(&self, url: &str) -> Result<Option<Vec<u8>>, ContainerError> {
        let failed = |source| ContainerError::Socket { url: url.to_owned(), source };
        // The host's name is looked up nowhere: the connection is the socket.
        let mut answer = self.client.get(format!("http://localhost{url}")).send().await.map_err(failed)?;
        match answer.status() {
            reqwest::StatusCode::OK => {}
            reqwest::StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(ContainerError::Status { url: url.to_owned(), status: status.as_u16() }),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ContainerError::TooLarge { url: url.to_owned(), limit: ANSWER_BYTES_MAX });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }
}

/// The client wants to know about TLS even where none is spoken, and would else look for a provider set for the process.
fn tls_that_trusts_nobody() -> Result<rustls::ClientConfig, ContainerError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|source| ContainerError::Tls { source })?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}
