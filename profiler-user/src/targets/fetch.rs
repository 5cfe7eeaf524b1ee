//! An address and a path → the body of the answer, within a size and a time.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST};
use axum::http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::TargetsError;
use crate::deliver::serve::{Token, harmless};

/// A daemon answers from memory.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Ten times what 5,000 processes with all their labels take.
const BODY_BYTES_MAX: usize = 64 << 20;
/// A token file is a line.
const TOKEN_FILE_BYTES_MAX: u64 = 16 << 10;

/// The body of a GET.
pub(super) async fn get(address: &str, path: &str, token: Option<&Path>) -> Result<Bytes, TargetsError> {
    let authorization = token.map(authorization).transpose()?;
    let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let answered = async {
        let unreachable = |source| TargetsError::Unreachable { address: address.to_owned(), source };
        match address.strip_prefix("unix:") {
            Some(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
                ask(stream, address, "localhost", path, authorization).await
            }
            None => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                ask(stream, address, address, path, authorization).await
            }
        }
    };
    let late = |_| TargetsError::Late { address: address.to_owned() };
    tokio::time::timeout(PATIENCE, answered).await.map_err(late)?
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &str,
    host: &str,
    path: &str,
    authorization: Option<HeaderValue>,
) -> Result<Bytes, TargetsError> {
    let broken = |reason: &dyn std::error::Error| TargetsError::Broken {
        address: address.to_owned(),
        reason: harmless(&reason.to_string()),
    };
    let mut request = Request::get(path).header(HOST, host).header(CONNECTION, "close");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| broken(&*error))?.to_bytes()))
    };
    // The connection's own end says nothing that the exchange does not.
    let (exchanged, _ended) = tokio::join!(exchange, connection);
    match exchanged? {
        (StatusCode::OK, body) => Ok(body),
        (status, body) => Err(TargetsError::Refused {
            address: address.to_owned(),
            status: status.as_u16(),
            sentence: sentence(&body),
        }),
    }
}

/// A line of what a server says that may be any.
fn sentence(body: &[u8]) -> String {
    let head = String::from_utf8_lossy(body.get(..500).unwrap_or(body));
    harmless(head.lines().next().unwrap_or_default())
}

fn authorization(path: &Path) -> Result<HeaderValue, TargetsError> {
    let failed = |source| TargetsError::Token { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let text = io::read_to_string(io::Read::take(file, TOKEN_FILE_BYTES_MAX)).map_err(failed)?;
    let token = Token::new(&text);
    let token = token.map_err(|source| TargetsError::BadToken { path: path.to_owned(), source })?;
    Ok(token.as_bearer())
}
