//! The certificate and key of the public listener: read from their files, and held to belong together.
//!
//! Apart from the reader of the file because the server reads both again while it runs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode as _;

/// Larger files are no certificate and no key: somebody named the wrong file.
const MAX_FILE: u64 = 1 << 20;

/// `[server.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key of the leaf.
    pub private_key: PathBuf,
}

/// The two files as they were at one time, not yet looked into.
pub struct TlsFiles {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
}

/// A certificate with the key that fits it.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What handshakes use.
    pub key: Arc<CertifiedKey>,
    /// Seconds since the epoch.
    pub valid_from: u64,
    /// Seconds since the epoch.
    pub valid_until: u64,
}

/// Which of the two files is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// `server.tls.certificate`.
    Certificate,
    /// `server.tls.private_key`.
    PrivateKey,
}

/// Why the files are no certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: found {found}; expected {expected}; {hint}", file.display())]
pub struct PairFault {
    /// Which of the two.
    pub which: TlsFile,
    /// Its path.
    pub file: PathBuf,
    /// What is there.
    pub found: String,
    /// What should be.
    pub expected: &'static str,
    /// What to do.
    pub hint: &'static str,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read, or is too large for what it should be.
    pub fn read(&self) -> Result<TlsFiles, PairFault> {
        let fault = |which, file: &Path, found| PairFault {
            which,
            file: file.to_owned(),
            found,
            expected: "a readable PEM file of at most 1 MiB",
            hint: "relative paths start from the configuration file's folder",
        };
        let read = |which, file: &Path| {
            let mut bytes = Vec::new();
            let opened = File::open(file);
            let result = opened.and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes));
            match result {
                Err(error) => Err(fault(which, file, error.to_string())),
                Ok(length) if length as u64 > MAX_FILE => {
                    Err(fault(which, file, "more than 1 MiB".to_owned()))
                }
                Ok(_) => Ok(bytes),
            }
        };
        Ok(TlsFiles {
            certificate: read(TlsFile::Certificate, &self.certificate)?,
            private_key: read(TlsFile::PrivateKey, &self.private_key)?,
        })
    }

    /// Makes a pair of what the files hold.
    ///
    /// # Errors
    /// They hold no certificate, no key, or two that do not belong together.
    pub fn pair(&self, files: &TlsFiles) -> Result<Pair, PairFault> {
        let of_certificate = |found: &str, hint| PairFault {
            which: TlsFile::Certificate,
            file: self.certificate.clone(),
            found: found.to_owned(),
            expected: "certificates in PEM, the server's own first",
            hint,
        };
        let chain =
            CertificateDer::pem_slice_iter(&files.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| of_certificate("broken PEM", WHOLE_FILE))?;
        let Some(leaf) = chain.first() else {
            return Err(of_certificate("no certificate", BEGIN_CERTIFICATE));
        };
        let parsed = chain
            .iter()
            .map(|one| x509_cert::Certificate::from_der(one))
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|_| ParsedCertificate::try_from(leaf).is_ok());
        let Some(parsed) = parsed else {
            return Err(of_certificate(
                "no X.509 certificate inside the PEM",
                WHOLE_FILE,
            ));
        };
        let validity = parsed[0].tbs_certificate.validity;
        let key = self.signing_key(files)?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match().map_err(|_| PairFault {
            which: TlsFile::PrivateKey,
            file: self.private_key.clone(),
            found: "the key of another certificate".to_owned(),
            expected: "the key of the first certificate in server.tls.certificate",
            hint: "put the server's own certificate first, and replace both files together",
        })?;
        Ok(Pair {
            key: Arc::new(pair),
            valid_from: validity.not_before.to_unix_duration().as_secs(),
            valid_until: validity.not_after.to_unix_duration().as_secs(),
        })
    }

    fn signing_key(
        &self,
        files: &TlsFiles,
    ) -> Result<Arc<dyn rustls::sign::SigningKey>, PairFault> {
        let fault = |found: &str, hint| PairFault {
            which: TlsFile::PrivateKey,
            file: self.private_key.clone(),
            found: found.to_owned(),
            expected: "an RSA, ECDSA or Ed25519 private key in PEM, not encrypted",
            hint,
        };
        let encrypted = memchr::memmem::find(&files.private_key, b"ENCRYPTED").is_some();
        let key =
            PrivateKeyDer::from_pem_slice(&files.private_key).map_err(|_| match encrypted {
                true => fault(
                    "an encrypted key",
                    "decrypt it: openssl pkey -in FILE -out NEW",
                ),
                false => fault(
                    "no whole private key",
                    "the file has lines -----BEGIN PRIVATE KEY-----",
                ),
            })?;
        any_supported_type(&key).map_err(|_| {
            let hint = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
            fault("a key of another kind, or a broken one", hint)
        })
    }
}

const BEGIN_CERTIFICATE: &str =
    "the file has lines -----BEGIN CERTIFICATE-----; convert DER with openssl x509 -inform der";
const WHOLE_FILE: &str = "is it written whole; openssl x509 -in FILE -noout -text should show it";

impl TlsFiles {
    /// Tells one content from another without keeping the key.
    pub fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&(self.certificate.len() as u64).to_be_bytes());
        context.update(&self.certificate);
        context.update(&self.private_key);
        let mut sum = [0; 32];
        sum.copy_from_slice(context.finish().as_ref());
        sum
    }
}

impl Pair {
    /// What browsers will not like: a certificate out of its time, or of another host.
    pub fn warnings(&self, now: i64, authority: &str) -> Vec<String> {
        let now = u64::try_from(now).unwrap_or_default();
        let mut warnings = Vec::new();
        let stated = |at: u64| {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at);
            httpdate::fmt_http_date(at)
        };
        if now > self.valid_until {
            warnings.push(format!(
                "the certificate expired on {}; renew it",
                stated(self.valid_until)
            ));
        }
        if now < self.valid_from {
            warnings.push(format!(
                "the certificate is not valid before {}; is the clock right",
                stated(self.valid_from)
            ));
        }
        let host = authority
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            .map_or(authority, |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let named = ServerName::try_from(bare).ok().is_some_and(|name| {
            let leaf = self.key.end_entity_cert().ok();
            let leaf = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
            leaf.is_some_and(|leaf| rustls::client::verify_server_name(&leaf, &name).is_ok())
        });
        if !named {
            warnings.push(format!("the certificate does not name the host {bare}"));
        }
        warnings
    }
}
