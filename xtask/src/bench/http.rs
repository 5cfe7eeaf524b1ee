//! A request to a server on this machine → the text of its answer.
//!
//! By HTTP/1.0: the answer is not cut into chunks, and ends with the connection.

use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// On loopback, on a machine that is otherwise busy.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The body, if the answer is a success. `body` may be empty.
pub(super) async fn ask(address: &str, method: &str, path: &str, body: &str) -> Result<String> {
    let what = || format!("{method} http://{address}{path}");
    let answer = timeout(ANSWERS_WITHIN, exchange(address, method, path, body)).await;
    let answer = answer.with_context(what)?.with_context(what)?;
    let text = String::from_utf8(answer).with_context(what)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(what)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{}: {status}: {}", what(), body.trim());
    Ok(body.to_owned())
}

async fn exchange(address: &str, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What a server gets, and what its answer is taken for.
    fn asked(answer: &'static str) -> (String, Result<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let bytes = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8(request[..bytes].to_vec()).unwrap()
            };
            tokio::join!(serve, ask(&address, "PUT", "/x", "{}"))
        })
    }

    #[test]
    fn an_answer_is_its_body() {
        let (request, answer) = asked("HTTP/1.0 200 OK\r\nA: b\r\n\r\none\r\n\r\ntwo");
        assert_eq!(answer.unwrap(), "one\r\n\r\ntwo");
        assert!(request.starts_with("PUT /x HTTP/1.0\r\n"), "{request}");
        assert!(request.ends_with("Content-Length: 2\r\n\r\n{}"), "{request}");
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let error = asked("HTTP/1.0 404 Not Found\r\n\r\nno such page\n").1.unwrap_err().to_string();
        assert!(error.ends_with("/x: 404: no such page"), "{error}");
    }
}
