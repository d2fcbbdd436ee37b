//! An HTTP/1.1 client that sends exactly the bytes it is given and shows exactly what came back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

/// An answer as it arrived: field names in their case, in their order, repeated ones apart.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first field of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// Every field of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("not JSON ({fault}): {} {}", self.status, self.text()))
    }
}

/// Every value of that name, compared as HTTP compares names.
pub(crate) fn named<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

/// A start line and the fields below it.
pub(crate) type Head = (String, Vec<(String, String)>);

/// One connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        Ok(Self::over(stream))
    }

    /// Speaks over a connection that was accepted.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next bytes of any kind; empty at the end of the stream.
    pub(crate) fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the peer has closed.
    pub(crate) fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.buffer.is_empty() && self.fill()? == 0)
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut more = [0; 16 * 1024];
        let count = self.stream.read(&mut more)?;
        self.buffer.extend_from_slice(&more[..count]);
        Ok(count)
    }

    /// Start line and fields of the next message; `None` at a clean end.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        // One char a byte: whatever arrived stays distinguishable.
        let text: String = head[..end].iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| line.split_once(':').unwrap_or((line, "")))
            .map(|(name, value)| (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
            .collect();
        Ok(Some((start, fields)))
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(&mut self, length: usize, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let part = left.min(self.buffer.len());
            take(&self.buffer[..part]);
            self.buffer.drain(..part);
            left -= part;
        }
        Ok(())
    }

    /// A message's body by its framing, handed on as it arrives. `to_the_end`: without any framing it
    /// lasts until the peer closes (an answer's does, a request's does not). Gives back the trailers.
    pub(crate) fn body(
        &mut self,
        headers: &[(String, String)],
        to_the_end: bool,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<Vec<(String, String)>> {
        if named(headers, "transfer-encoding").contains(&"chunked") {
            loop {
                let size = self.line()?;
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16)
                    .map_err(|_| io::Error::other(format!("no chunk size: {size:?}")))?;
                if size == 0 {
                    return self.trailers();
                }
                self.exactly(size, &mut take)?;
                self.line()?;
            }
        }
        if let Some(length) = named(headers, "content-length").first() {
            let length = length.parse().map_err(io::Error::other)?;
            self.exactly(length, &mut take)?;
        } else if to_the_end {
            while !self.at_end()? {
                take(&std::mem::take(&mut self.buffer));
            }
        }
        Ok(Vec::new())
    }

    fn trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
                None => return Ok(trailers),
            }
        }
    }

    /// The head of the next final answer (or of 101), its body not yet read.
    pub(crate) fn answer_head(&mut self) -> io::Result<Answer> {
        loop {
            let (start, headers) = self.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = start.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status = status.ok_or_else(|| io::Error::other(format!("no answer: {start}")))?;
            if status >= 200 || status == 101 {
                let body = Vec::new();
                return Ok(Answer {
                    status,
                    headers,
                    body,
                });
            }
        }
    }

    /// The next whole answer to a request with that method.
    pub(crate) fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let mut answer = self.answer_head()?;
        if method != "HEAD" && !matches!(answer.status, 101 | 204 | 304) {
            let mut body = Vec::new();
            let headers = answer.headers.clone();
            let trailers = self.body(&headers, true, |part| body.extend_from_slice(part))?;
            answer.body = body;
            answer.headers.extend(trailers);
        }
        Ok(answer)
    }
}

/// One request on a connection of its own, as these bytes; the answer is read whole.
#[track_caller]
pub(crate) fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let bytes = bytes.as_ref();
    try_exchange(address, bytes).unwrap_or_else(|fault| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        panic!("no whole answer from {address} to {start:?}: {fault}")
    })
}

/// [`exchange`] that tells a broken connection apart.
pub(crate) fn try_exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let mut wire = Wire::connect(address)?;
    // A peer that refuses early may close before it has read all: its answer counts.
    let _ = wire.send(bytes);
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    wire.answer(&String::from_utf8_lossy(method))
}

/// A GET with these further lines (each ending in CRLF), exactly.
#[track_caller]
pub(crate) fn get(address: SocketAddr, host: &str, target: &str, lines: &str) -> Answer {
    exchange(
        address,
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n"),
    )
}
