//! TLS towards browsers (RFC 8446, RFC 5246): one set of rules for all workers, whose certificate is
//! read again whenever its files change. Connections that are open keep the one they began with.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Pair, PairFault, Tls};
use crate::environment::Clock;
use crate::telemetry::metrics::Metrics;

/// How often the files are looked at. A change is taken once it has been the same twice.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes that a connection holds for a client that does not read.
const UNSENT: usize = 64 * 1024;
/// The content type of a handshake's first record (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The files do not make a pair.
    #[error("server.tls: {0}")]
    Pair(#[from] PairFault),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// Takes handshakes; clones share one certificate.
#[derive(Clone)]
pub(super) struct Acceptor(TlsAcceptor);

/// The pair that new handshakes get.
#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

/// The pair and where it came from, to be followed while the server runs.
pub(super) struct Files {
    tls: Tls,
    authority: String,
    certificate: Arc<Certificate>,
    in_use: [u8; 32],
}

/// What the first bytes of a connection turned out to be.
pub(super) enum Opening {
    /// A whole handshake. `true`: HTTP/2 was agreed on.
    Agreed(Box<TlsStream<TcpStream>>, bool),
    /// HTTP without TLS: there is somebody to tell.
    Plain(TcpStream),
    /// Anything else.
    Broken,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Reads the pair and makes the rules of every handshake: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1,
/// resumption by ticket (RFC 8446 4.6.1), no early data: it could be replayed (8).
///
/// # Errors
/// [`TlsFault`].
pub(super) fn set_up(
    tls: &Tls,
    authority: &str,
    clock: &dyn Clock,
) -> Result<(Acceptor, Files), TlsFault> {
    let files = tls.read()?;
    let pair = tls.pair(&files)?;
    warn_of(&pair, clock.now(), authority);
    let certificate = Arc::new(Certificate(ArcSwap::new(Arc::clone(&pair.key))));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut rules = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    rules.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    rules.ticketer = aws_lc_rs::Ticketer::new()?;
    rules.session_storage = Arc::new(NoServerSessionStorage {});
    let files = Files {
        tls: tls.clone(),
        authority: authority.to_owned(),
        certificate,
        in_use: files.digest(),
    };
    Ok((Acceptor(TlsAcceptor::from(Arc::new(rules))), files))
}

fn warn_of(pair: &Pair, now: i64, authority: &str) {
    for warning in pair.warnings(now, authority) {
        tracing::warn!("server.tls: {warning}");
    }
}

impl Acceptor {
    /// Shakes hands. The caller sets the deadline.
    pub(super) async fn open(&self, stream: TcpStream) -> Opening {
        let mut first = [0; 1];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE => {}
            Ok(1) if first[0].is_ascii_uppercase() => return Opening::Plain(stream),
            _ => return Opening::Broken,
        }
        let limited = |connection: &mut rustls::ServerConnection| {
            connection.set_buffer_limit(Some(UNSENT));
        };
        match self.0.accept_with(stream, limited).await {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let agreed = connection.alpn_protocol() == Some(b"h2");
                Opening::Agreed(Box::new(stream), agreed)
            }
            Err(error) => {
                told(&error);
                Opening::Broken
            }
        }
    }
}

fn told(error: &io::Error) {
    tracing::debug!(%error, "no TLS handshake");
}

impl Files {
    /// Follows the files for ever. What does not make a pair changes nothing and is told once.
    pub(super) async fn follow(mut self, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) {
        let mut last = Some(self.in_use);
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = self.tls.clone();
            // Disks may be slow; a panic there is a look that saw nothing.
            let Ok(read) = tokio::task::spawn_blocking(move || tls.read()).await else {
                continue;
            };
            let seen = match &read {
                Ok(files) => Some(files.digest()),
                Err(_) => None,
            };
            let settled = std::mem::replace(&mut last, seen) == seen;
            if seen == Some(self.in_use) {
                told = None;
                continue;
            }
            if !settled || told == Some(seen) {
                continue;
            }
            told = Some(seen);
            match read.and_then(|files| self.tls.pair(&files)) {
                Ok(pair) => {
                    warn_of(&pair, clock.now(), &self.authority);
                    self.certificate.0.store(pair.key);
                    self.in_use = seen.unwrap_or(self.in_use);
                    metrics.reload("ok");
                    tracing::info!(file = %self.tls.certificate.display(), "the certificate was read again; new connections get it");
                }
                Err(fault) => {
                    metrics.reload("failed");
                    tracing::warn!(%fault, "server.tls: the certificate could not be read again; the old one stays in use");
                }
            }
        }
    }
}
