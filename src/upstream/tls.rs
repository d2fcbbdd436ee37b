//! TLS towards https servers: which authorities are believed, and what went wrong in an operator's words.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::Upstream;

/// Sessions that are kept for resumption, a worker and server.
const SESSIONS: usize = 64;

/// What https servers are spoken to with; `None` where there are none. The error says what to do.
pub(super) fn client_config(upstream: &Upstream) -> Result<Option<ClientConfig>, String> {
    if !upstream.servers.iter().any(|server| server.https) {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &upstream.ca {
        Some(pem) => builder.with_root_certificates(Arc::new(authorities(pem)?)),
        None => builder.with_platform_verifier().map_err(|error| {
            format!(
                "the system's certificate authorities cannot be used ({error}): install them \
                 (package ca-certificates), or name the servers' own in upstream.ca"
            )
        })?,
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(config))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("upstream.ca: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("upstream.ca: a certificate cannot be used ({error})"))?;
    }
    Ok(roots)
}

/// The same configuration with sessions of its own to resume, so that no thread waits for another.
pub(super) fn own_sessions(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut own = config.clone();
    own.resumption = Resumption::in_memory_sessions(SESSIONS);
    Arc::new(own)
}

/// Why a handshake failed, and what to do about it.
pub(super) fn reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|it| it.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(fault)) = tls else {
        return format!("no TLS connection: {error}");
    };
    match fault {
        CertificateError::UnknownIssuer => {
            "its certificate is of an unknown authority; name that authority in upstream.ca".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate does not name it; write its name in upstream.servers as the certificate does"
                .into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; look at both clocks".into()
        }
        other => format!("its certificate is refused: {other}"),
    }
}
