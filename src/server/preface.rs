//! Which HTTP a client speaks on a plain connection: HTTP/2 begins with a preface (RFC 9113 3.3, 3.4),
//! which no HTTP/1 request can be. What was read is handed on with the answer, to be read again.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::deadline::Arrivals;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As hyper's own first buffer.
const FIRST: usize = 8 * 1024;

/// The first bytes of a connection.
#[derive(Debug)]
pub(super) struct First {
    /// What was read.
    pub(super) bytes: Bytes,
    /// They begin with HTTP/2's preface.
    pub(super) http2: bool,
}

/// Reads until it is clear which HTTP it is; at the end of the stream it is HTTP/1, which knows what an
/// end means. The caller sets the deadline.
pub(super) async fn first(
    stream: &mut (impl AsyncRead + Unpin),
    arrivals: &Arrivals,
) -> io::Result<First> {
    let mut bytes = BytesMut::new();
    loop {
        let count = match bytes.is_empty() {
            // An idle connection holds no buffer: it gets one when something has come.
            true => first_read(stream, &mut bytes).await?,
            false => stream.read_buf(&mut bytes).await?,
        };
        if count > 0 {
            arrivals.arrived();
        }
        let compared = bytes.len().min(PREFACE.len());
        let alike = bytes[..compared] == PREFACE[..compared];
        if count == 0 || !alike || compared == PREFACE.len() {
            let http2 = alike && compared == PREFACE.len();
            let bytes = bytes.freeze();
            return Ok(First { bytes, http2 });
        }
    }
}

/// Waits for more of a connection that rests, as [`first`] waits for its beginning.
pub(super) async fn awoken(
    stream: &mut (impl AsyncRead + Unpin),
    arrivals: &Arrivals,
) -> io::Result<Bytes> {
    let mut bytes = BytesMut::new();
    if first_read(stream, &mut bytes).await? > 0 {
        arrivals.arrived();
    }
    Ok(bytes.freeze())
}

async fn first_read(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
) -> io::Result<usize> {
    std::future::poll_fn(|cx| {
        bytes.reserve(FIRST);
        let mut buffer = std::mem::take(bytes);
        let reading = std::pin::pin!(stream.read_buf(&mut buffer));
        let polled = reading.poll(cx);
        if polled.is_ready() {
            *bytes = buffer;
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::connection::Rules;
    use super::*;

    async fn judged(parts: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut script = tokio_test(parts);
        let rules = Rules {
            header_size: 8192,
            header_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
        };
        let arrivals = Arrivals::new(rules, None);
        let first = first(&mut script, &arrivals).await.unwrap();
        (first.bytes.to_vec(), first.http2)
    }

    /// Each part is one read.
    fn tokio_test(parts: &[&[u8]]) -> impl AsyncRead + Unpin {
        let parts = parts.iter().map(|part| part.to_vec()).rev().collect();
        Script(parts)
    }

    struct Script(Vec<Vec<u8>>);

    impl AsyncRead for Script {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if let Some(part) = self.0.pop() {
                into.put_slice(&part);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn only_the_whole_preface_is_http2() {
        let whole = judged(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n\0\0\0"]).await;
        assert_eq!(whole, ([PREFACE, b"\0\0\0"].concat(), true));
        assert!(!judged(&[b"P", b"OST / HTTP/1.1\r\n"]).await.1);
        let cut = judged(&[b"PRI * HT"]).await;
        assert_eq!(cut, (b"PRI * HT".to_vec(), false));
        assert_eq!(judged(&[]).await, (Vec::new(), false));
    }
}
