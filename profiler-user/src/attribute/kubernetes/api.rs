//! Requests for pods → what the API server answers. Only lists and watches; bounded in size and in the time until an
//! answer begins.
//!
//! `kube` makes the connection (certificates, kubeconfig and its credentials) and the requests. Its watcher is not
//! used: it asks a server that answers each watch with 410, or ends it at once, again without a pause, holds lines of
//! any length, and reads a rotated token a minute late.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use kube::api::{ListParams, WatchParams};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;

use super::config::Access;
use super::error::KubernetesError;
use super::lines::{self, Lines};
use super::object::PodList;

const PODS: &str = "/api/v1/pods";
/// A page of a list: 500 pods are some 10 MB.
const MAX_LIST_BYTES: usize = 32 << 20;
/// One event: a pod may have 1.5 MB.
const MAX_LINE_BYTES: usize = 4 << 20;
/// Of the words with which a request is refused.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// What of them is shown.
const MAX_MESSAGE_BYTES: usize = 256;
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// An API server to ask.
pub(super) struct Api {
    client: Client,
    token_file: Option<PathBuf>,
    answer_within: Duration,
}

impl Api {
    /// Sets a client up; connects only when it is asked. Needs a tokio runtime.
    pub(super) async fn new(access: &Access, answer_within: Duration) -> Result<Self, KubernetesError> {
        let (mut config, token_file) = match access {
            Access::Direct { url, token_file, ca_file } => {
                let mut config = Config::new(url.parse().map_err(setup)?);
                config.root_cert_file.clone_from(ca_file);
                (config, token_file.clone())
            }
            Access::Kubeconfig { path, context } => {
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let kubeconfig = Kubeconfig::read_from(path).map_err(setup)?;
                (Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(setup)?, None)
            }
        };
        config.connect_timeout = Some(answer_within);
        // Each failure is to be seen and counted.
        config.default_retry = false;
        let client = ClientBuilder::try_from(config).map_err(setup)?.build();
        Ok(Self { client, token_file, answer_within })
    }

    /// A page of a list.
    pub(super) async fn list(&self, list: &ListParams) -> Result<PodList, KubernetesError> {
        let answer = self.send(kube::core::Request::new(PODS).list(list).map_err(setup)?).await?;
        let whole = lines::whole(answer.into_body(), MAX_LIST_BYTES);
        let bytes = tokio::time::timeout(self.answer_within, whole).await.map_err(|_| self.silent())??;
        let bytes = bytes.ok_or(KubernetesError::TooLong { bound: "32 MiB" })?;
        serde_json::from_slice(&bytes).map_err(|source| KubernetesError::Unreadable { source })
    }

    /// The events from a version on.
    pub(super) async fn watch(
        &self,
        watch: &WatchParams,
        version: &str,
    ) -> Result<Lines<Body>, KubernetesError> {
        let answer = self.send(kube::core::Request::new(PODS).watch(watch, version).map_err(setup)?).await?;
        Ok(Lines::new(answer.into_body(), MAX_LINE_BYTES))
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, KubernetesError> {
        let mut request = request.map(Body::from);
        if let Some(path) = &self.token_file {
            // Read each time: kubelet puts a new one there before the old one ends.
            request.headers_mut().insert(http::header::AUTHORIZATION, bearer(path)?);
        }
        let sent = tokio::time::timeout(self.answer_within, self.client.send(request)).await;
        let answer = sent
            .map_err(|_| self.silent())?
            .map_err(|source| KubernetesError::Broken { source: Box::new(source) })?;
        match answer.status().as_u16() {
            200 => Ok(answer),
            410 => Err(KubernetesError::Gone),
            code => Err(KubernetesError::Refused { code, message: self.refusal(answer).await }),
        }
    }

    /// The words of a refusal: of a `Status`, or of whatever stands between us and the API server.
    async fn refusal(&self, answer: Response<Body>) -> String {
        #[derive(Deserialize)]
        struct Status {
            message: String,
        }
        let whole = lines::whole(answer.into_body(), MAX_REFUSAL_BYTES);
        let bytes = match tokio::time::timeout(self.answer_within, whole).await {
            Ok(Ok(Some(bytes))) => bytes,
            _ => return String::new(),
        };
        let message = match serde_json::from_slice(&bytes) {
            Ok(Status { message }) => message,
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        let shown: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        shown[..shown.floor_char_boundary(MAX_MESSAGE_BYTES)].trim().to_owned()
    }

    fn silent(&self) -> KubernetesError {
        KubernetesError::Silent { after: self.answer_within }
    }
}

fn setup(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> KubernetesError {
    KubernetesError::Setup { source: source.into() }
}

fn bearer(path: &Path) -> Result<HeaderValue, KubernetesError> {
    let token = read(path).map_err(|source| KubernetesError::Token { path: path.to_owned(), source })?;
    let line = || KubernetesError::TokenText { path: path.to_owned() };
    let token = token.trim();
    if token.is_empty() {
        return Err(line());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| line())?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut token = String::new();
    let limit = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(limit).read_to_string(&mut token)?;
    Ok(token)
}
