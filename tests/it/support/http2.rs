//! An HTTP/2 client at the level of streams, over TLS or in the clear, and one at the level of frames.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::PATIENCE;
use super::tls::name;

/// An open connection.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Bytes>,
    /// How the connection ended.
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Whole {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

impl Connection {
    /// Begins with the preface at once.
    pub(crate) async fn in_the_clear(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket).await
    }

    /// Agrees on h2.
    pub(crate) async fn over_tls(address: SocketAddr, client: &Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        let stream = connector.connect(name(), socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream).await
    }

    async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(1 << 20)
            // More than a few unread streams may fill: what is held up then is not our doing.
            .initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        let ended = tokio::spawn(connection);
        Self { sender, ended }
    }

    /// Begins a request; the body follows on the stream unless it is over.
    pub(crate) async fn begin(
        &self,
        request: Request<()>,
        over: bool,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let mut ready = self.sender.clone().ready().await.unwrap();
        ready.send_request(request, over).unwrap()
    }

    /// A request without a body, and its answer's header.
    pub(crate) async fn head(
        &self,
        request: Request<()>,
    ) -> Result<Response<RecvStream>, h2::Error> {
        let (response, _) = self.begin(request, true).await;
        within(response).await
    }

    /// A request without a body.
    pub(crate) async fn ask(&self, request: Request<()>) -> Whole {
        whole(self.head(request).await.unwrap()).await.unwrap()
    }

    /// A request with this body.
    pub(crate) async fn send(&self, request: Request<()>, body: impl Into<Bytes>) -> Whole {
        let (response, mut stream) = self.begin(request, false).await;
        push(&mut stream, body.into(), true).await.unwrap();
        whole(within(response).await.unwrap()).await.unwrap()
    }
}

/// Sends data as the window allows.
pub(crate) async fn push(
    stream: &mut h2::SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = within(poll_fn(|cx| stream.poll_capacity(cx))).await;
        let Some(room) = room.transpose()? else {
            return Err(h2::Reason::STREAM_CLOSED.into());
        };
        let part = data.split_to(room.min(data.len()));
        stream.send_data(part, last && data.is_empty())?;
    }
    Ok(())
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = within(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = within(stream.trailers()).await?;
    Ok(Whole {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        trailers,
    })
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it happens in time")
}

/// Frames as bytes, for what a library would not send.
pub(crate) mod raw {
    use super::io;
    use std::io::{Read, Write};

    pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const CONTINUATION: u8 = 9;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;

    /// A frame (RFC 9113 4.1).
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Fields as literals without indexing and without Huffman (RFC 7541 6.2.2).
    pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127, "short texts only");
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        block
    }

    /// The next frame: kind, flags, stream, payload.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok((head[3], head[4], stream, payload))
    }

    /// Preface and settings.
    pub(crate) fn greet(to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
    }
}
