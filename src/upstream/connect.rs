//! A new connection to a server: its name is resolved, its addresses are tried, TLS is agreed on.
//! Workers and checks on the control runtime connect the same way.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls;
use crate::config::UpstreamServer;

/// How long an address has before the next is tried beside it (RFC 8305 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
/// Connections made together share one look-up.
const SAME_LOOKUP: Duration = Duration::from_secs(1);

/// One server's address.
pub(super) struct Target {
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    timeout: Duration,
    /// What the name was last resolved to. The lock lets one look-up be asked at a time: a resolver
    /// that hangs holds one thread, not one a request.
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

/// A connection, not yet spoken over.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Target {
    /// `timeout` is for everything until requests can be sent.
    pub(super) fn new(
        server: &UpstreamServer,
        tls: Option<&Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let tls = match tls.filter(|_| server.https) {
            Some(tls) => {
                let name = ServerName::try_from(server.host.clone()).map_err(|error| {
                    format!("{}: no certificate can name it ({error})", server.origin())
                })?;
                Some((Arc::clone(tls), name))
            }
            None => None,
        };
        Ok(Self {
            host: server.host.clone(),
            port: server.port,
            tls,
            timeout,
            resolved: Mutex::default(),
        })
    }

    /// The same server, with TLS sessions of its own.
    pub(super) fn of_its_own(&self) -> Self {
        let tls = self.tls.as_ref();
        Self {
            host: self.host.clone(),
            port: self.port,
            tls: tls.map(|(config, name)| (tls::own_sessions(config), name.clone())),
            timeout: self.timeout,
            resolved: Mutex::default(),
        }
    }

    /// Makes a connection. The error is for the operator.
    pub(super) async fn connect(&self) -> Result<Transport, String> {
        timeout(self.timeout, self.established())
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {:?}", self.timeout)))
    }

    async fn established(&self) -> Result<Transport, String> {
        let stream = match self.host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect((address, self.port)).await,
            Err(_) => first_of(self.addresses().await?).await,
        };
        let stream = stream.map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let Some((config, name)) = &self.tls else {
            return Ok(Transport::Plain(stream));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
            Err(error) => Err(tls::reason(&error)),
        }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let mut resolved = self.resolved.lock().await;
        if let Some((at, addresses)) = &*resolved
            && at.elapsed() < SAME_LOOKUP
        {
            return Ok(addresses.clone());
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found
            .map_err(|error| format!("the name {:?} is not resolved: {error}", self.host))?
            .take(MOST_ADDRESSES)
            .collect();
        *resolved = Some((Instant::now(), found.clone()));
        Ok(found)
    }
}

/// The first address that takes a connection, IPv6 and IPv4 in turns (RFC 8305 4 and 5).
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = in_turns(addresses);
    let mut trying = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        trying.extend(waiting.pop_front().map(TcpStream::connect));
        tokio::select! {
            tried = trying.next() => match tried {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(ATTEMPT_DELAY), if !waiting.is_empty() => {}
        }
    }
}

fn in_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = VecDeque::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            return turns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let read = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mixed = read(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"]);
        let expected = read(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(in_turns(mixed), expected);
        assert!(in_turns(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = refusing.local_addr().unwrap();
        drop(refusing);
        let stream = first_of(vec![refused, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = first_of(vec![refused]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(first_of(Vec::new()).await.is_err());
    }
}
