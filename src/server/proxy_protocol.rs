//! The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of the HAProxy project): a header before
//! anything else on a connection, TLS included, by which a balancer tells who the client is. Here and
//! not in `connection`, since it is over before HTTP begins; exactly its bytes are taken.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

/// The longest line of version 1, CRLF included (2.1).
const LONGEST_LINE: usize = 107;
/// The fixed part of version 2's header (2.2).
const FIXED: usize = 16;
/// The longest header of version 2: addresses, and room for any TLVs that balancers send.
const LONGEST: usize = 4096;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE_START: &[u8] = b"PROXY ";

/// `server.proxy_protocol = true`: who may send the header, and how long it may take.
#[derive(Debug)]
pub(super) struct ProxyProtocol {
    trusted: Vec<IpNet>,
    patience: Duration,
}

/// Why a connection is closed before it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The peer is not one of `server.trusted_proxies`.
    Untrusted,
    /// No header, or none that can be read.
    Malformed(Malformed),
    /// It did not come whole within `server.limits.header_timeout`.
    Late,
    /// The peer closed before it had sent one: balancers look that way whether we are alive.
    Gone,
}

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A header that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its bytes.
    pub length: usize,
    /// The client, where it names one: not for LOCAL, UNKNOWN and UNSPEC, which keep the socket's own.
    pub client: Option<SocketAddr>,
}

/// Reads the header at the start of `bytes`; `None` while more of it must come.
///
/// # Errors
/// [`Malformed`] as soon as no further byte could mend it, and over 107 or 4096 bytes.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let starts = |with: &[u8]| {
        let common = with.len().min(bytes.len());
        with[..common] == bytes[..common]
    };
    match (starts(SIGNATURE), starts(LINE_START)) {
        (true, _) => binary(bytes),
        (_, true) => line(bytes),
        _ => Err(Malformed("it does not start with a header".to_owned())),
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443` and CRLF.
fn line(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(LONGEST_LINE)]) else {
        return match bytes.len() < LONGEST_LINE {
            true => Ok(None),
            false => Err(Malformed("its line has no end".to_owned())),
        };
    };
    let read = v1::Header::try_from(&bytes[..=end])
        .map_err(|fault| Malformed(format!("version 1: {fault}")))?;
    let client = match read.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    };
    Ok(Some(Header {
        length: end + 1,
        client,
    }))
}

/// Version 2: signature, command, family, length, addresses, TLVs.
fn binary(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST {
        return Err(Malformed(format!(
            "version 2: {length} bytes, expected at most {LONGEST}"
        )));
    }
    let Some(bytes) = bytes.get(..length) else {
        return Ok(None);
    };
    let read =
        v2::Header::try_from(bytes).map_err(|fault| Malformed(format!("version 2: {fault}")))?;
    let client = match (read.command, read.protocol, read.addresses) {
        (v2::Command::Local, ..) => None,
        (_, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Some((ip.source_address, ip.source_port).into())
        }
        (_, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Some((ip.source_address, ip.source_port).into())
        }
        (_, v2::Protocol::Datagram, _) => {
            return Err(Malformed("version 2: a datagram's".to_owned()));
        }
        _ => None,
    };
    Ok(Some(Header { length, client }))
}

impl ProxyProtocol {
    pub(super) fn new(trusted: Vec<IpNet>, patience: Duration) -> Self {
        Self { trusted, patience }
    }

    /// Takes the header off `stream`, and not a byte more; gives back who the client is.
    pub(super) async fn client(
        &self,
        stream: &mut TcpStream,
        peer: IpAddr,
    ) -> Result<IpAddr, Refusal> {
        if !self.trusted.iter().any(|network| network.contains(&peer)) {
            return Err(Refusal::Untrusted);
        }
        let taken = tokio::time::timeout(self.patience, take(stream)).await;
        let client = taken.map_err(|_| Refusal::Late)??;
        Ok(client.map_or(peer, |client| client.ip().to_canonical()))
    }
}

/// What is there is looked at before it is taken: what follows the header belongs to whoever is next.
async fn take(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Refusal> {
    let mut bytes = Vec::with_capacity(128);
    loop {
        let before = bytes.len();
        bytes.resize((before + 128).min(LONGEST), 0);
        let Ok(1..) = peeked(stream, &mut bytes, before).await else {
            return Err(Refusal::Gone);
        };
        let found = header(&bytes).map_err(Refusal::Malformed)?;
        let ours = found.map_or(bytes.len(), |header| header.length);
        exactly(&mut *stream, ours - before)
            .await
            .map_err(|_| Refusal::Gone)?;
        if let Some(header) = found {
            return Ok(header.client);
        }
    }
}

async fn peeked(stream: &TcpStream, bytes: &mut Vec<u8>, from: usize) -> std::io::Result<usize> {
    let count = stream.peek(&mut bytes[from..]).await?;
    bytes.truncate(from + count);
    Ok(count)
}

async fn exactly(mut from: impl AsyncRead + Unpin, count: usize) -> std::io::Result<()> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let four = any::<(Ipv4Addr, u16, Ipv4Addr, u16)>()
            .prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        let six = any::<(Ipv6Addr, u16, Ipv6Addr, u16)>()
            .prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
        prop_oneof![four, six]
    }

    fn as_line(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        let (a, b, p, q) = (from.ip(), to.ip(), from.port(), to.port());
        format!("PROXY {family} {a} {b} {p} {q}\r\n").into_bytes()
    }

    fn as_binary(from: SocketAddr, to: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
        let (family, mut rest) = match (from.ip(), to.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
            (IpAddr::V6(a), IpAddr::V6(b)) => (0x21, [a.octets(), b.octets()].concat()),
            _ => unreachable!("both of one family"),
        };
        rest.extend(from.port().to_be_bytes());
        rest.extend(to.port().to_be_bytes());
        rest.extend(tlvs);
        let length = (rest.len() as u16).to_be_bytes();
        [SIGNATURE, &[0x21, family], &length, &rest].concat()
    }

    /// Whole in any cut, and never before its end.
    fn read_in_any_cut(sent: &[u8], more: &[u8], client: Option<SocketAddr>) {
        let length = sent.len();
        for cut in 0..length {
            assert_eq!(header(&sent[..cut]), Ok(None), "{cut} of {length}");
        }
        let found = header(&[sent, more].concat());
        assert_eq!(found, Ok(Some(Header { length, client })));
    }

    proptest! {
        #[test]
        fn what_was_sent_is_read((from, to) in addresses(), more: Vec<u8>, size in 0_usize..600) {
            read_in_any_cut(&as_line(from, to), &more, Some(from));
            let tlv = [&[0xE0][..], &(size as u16).to_be_bytes(), &vec![7; size]].concat();
            read_in_any_cut(&as_binary(from, to, &tlv), &more, Some(from));
        }

        #[test]
        fn nothing_panics_and_everything_is_bounded(bytes: Vec<u8>, start in 0..3) {
            let start: &[u8] = [&[][..], LINE_START, SIGNATURE][start as usize];
            let bytes = [start, &bytes].concat();
            if let Ok(Some(header)) = header(&bytes) {
                prop_assert!(header.length <= bytes.len());
                prop_assert!(header.length <= LONGEST);
            }
        }
    }

    #[test]
    fn headers_without_a_client_keep_the_sockets_address() {
        read_in_any_cut(b"PROXY UNKNOWN\r\n", b"GET /", None);
        read_in_any_cut(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", b"", None);
        let local = [SIGNATURE, &[0x20, 0x00, 0, 0]].concat();
        read_in_any_cut(&local, b"GET /", None);
        let unspecified = [SIGNATURE, &[0x21, 0x00, 0, 3, 1, 2, 3]].concat();
        read_in_any_cut(&unspecified, b"GET /", None);
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"PROXX",
            b"\r\n\r\nGET",
            b"PROXY TCP4 1.2.3.4\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c            ",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04    ",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c            ",
            &endless,
            &long,
        ] {
            assert!(header(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
