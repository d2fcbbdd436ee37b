//! One request of our own to a server, to see whether it is well. Only its answer's head is read.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;

use super::connect::{Target, Transport};

/// For the answer's head.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for `path` over a connection of its own.
pub(super) async fn status_of(
    target: &Target,
    host: &HeaderValue,
    path: &str,
) -> Result<StatusCode, String> {
    let asked = match target.connect().await? {
        Transport::Plain(stream) => ask(TokioIo::new(stream), host, path).await,
        Transport::Tls(stream) => ask(TokioIo::new(*stream), host, path).await,
    };
    asked.map_err(|error| super::fault::reason(&error))?
}

async fn ask<T>(
    transport: T,
    host: &HeaderValue,
    path: &str,
) -> hyper::Result<Result<StatusCode, String>>
where
    T: Read + Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(transport).await?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("vestibule/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let answered = async {
        tokio::select! {
            answer = sender.send_request(request) => answer.map(|answer| Some(answer.status())),
            // What ended the connection is told to the request.
            () = async { let _ = connection.await; std::future::pending().await } => Ok(None),
        }
    };
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(status) => status.map(|status| status.ok_or_else(|| "no answer".to_owned())),
        Err(_) => Ok(Err(format!("no answer within {PATIENCE:?}"))),
    }
}
