//! The private key by which a provider knows us (`private_key_jwt`, OpenID Connect Core 9): read once, with the
//! configuration, so that one that cannot sign stops the start and not the first sign-in.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::Error;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Serialize;

use super::SessionAlgorithm;
use super::pem::{self, Block};

/// What a key signs by, the one that most providers take first.
const KINDS: [(SessionAlgorithm, &[Algorithm]); 3] = [
    (
        SessionAlgorithm::RS256,
        &[Algorithm::RS256, Algorithm::PS256],
    ),
    (SessionAlgorithm::ES256, &[Algorithm::ES256]),
    (SessionAlgorithm::EdDSA, &[Algorithm::EdDSA]),
];

const EXPECTED: &str = "one private key in PEM (PKCS#8), not encrypted: EC on P-256, Ed25519, or RSA of 2048 bits at least";
const GENERATE: &str =
    "make one with vestibule keys generate --algorithm ES256, and register its public half there";

/// `providers.private_key`. Its `Debug` shows the public half alone.
#[derive(Clone)]
pub struct ClientKey {
    key: EncodingKey,
    algorithms: &'static [Algorithm],
    public: Jwk,
    certificate: Option<Thumbprints>,
}

/// Those of a certificate (RFC 7515 4.1.7, 4.1.8).
#[derive(Debug, Clone)]
struct Thumbprints {
    sha1: String,
    sha256: String,
}

/// A file that holds no key by which a client can authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct ClientKeyFault {
    /// What is in the file, without any of it.
    pub found: String,
    /// What should be.
    pub expected: &'static str,
    /// What to do.
    pub hint: &'static str,
}

impl ClientKey {
    /// Reads a PEM file: one private key, and beside it the certificate of that key where the provider knows the key
    /// by one.
    ///
    /// # Errors
    /// [`ClientKeyFault`].
    pub fn read(file: &[u8]) -> Result<Self, ClientKeyFault> {
        let blocks: Vec<_> = pem::blocks(file).collect();
        let is_private = |block: &&Block<'_>| block.label.ends_with("PRIVATE KEY");
        let private: Vec<_> = blocks.iter().filter(is_private).collect();
        let [private] = private[..] else {
            return Err(not_one(private.len(), blocks.first()));
        };
        let (key, algorithms, mut public) = signing(private)?;
        let kid = public.thumbprint(ThumbprintHash::SHA256);
        public.common.key_id = Some(kid.map_err(|_| unfit(private.label))?);
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        if algorithms.len() > 1 {
            // One that names an algorithm may be used by no other (RFC 7517 4.4).
            public.common.key_algorithm = None;
        }
        Ok(Self {
            key,
            algorithms,
            public,
            certificate: thumbprints(file, private)?,
        })
    }

    /// What it can sign by, the one that most providers take first.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        self.algorithms
    }

    /// The public half, to be registered at the provider (RFC 7517 4). Its `kid` is its thumbprint (RFC 7638).
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    /// Signs claims. The header names the key by `kid`, and by `x5t` and `x5t#S256` where it has a certificate: AD FS
    /// knows it by the first alone, Entra ID by either.
    ///
    /// # Errors
    /// What the crate says, when the key cannot sign by `algorithm`.
    pub fn sign(&self, algorithm: Algorithm, claims: &impl Serialize) -> Result<String, Error> {
        let mut header = Header::new(algorithm);
        header.kid.clone_from(&self.public.common.key_id);
        if let Some(certificate) = &self.certificate {
            header.x5t = Some(certificate.sha1.clone());
            header.x5t_s256 = Some(certificate.sha256.clone());
        }
        jsonwebtoken::encode(&header, claims, &self.key)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The key, if it makes a signature: one of another curve or size fails at its first only.
fn signing(block: &Block<'_>) -> Result<(EncodingKey, &'static [Algorithm], Jwk), ClientKeyFault> {
    let fault = |found: &str, hint| ClientKeyFault {
        found: found.to_owned(),
        expected: EXPECTED,
        hint,
    };
    if block.label == "ENCRYPTED PRIVATE KEY" || block.text.contains("ENCRYPTED") {
        let hint = "decrypt it: openssl pkey -in OLD -out NEW; nobody is there to type a passphrase at a restart";
        return Err(fault("an encrypted key", hint));
    }
    if block.label == "EC PRIVATE KEY" {
        return Err(fault("a PEM file of EC PRIVATE KEY", SEC1));
    }
    let pem = block.text.as_bytes();
    let kind = KINDS
        .iter()
        .find_map(|(kind, algorithms)| Some((kind, *algorithms, kind.encoding_key(pem).ok()?)));
    let (kind, algorithms, key) = kind.ok_or_else(|| unfit(block.label))?;
    let probe = jsonwebtoken::encode(&Header::new(kind.jws()), &serde_json::json!({}), &key);
    let public = probe.and_then(|_| kind.jwk(pem));
    match (public, kind) {
        (Ok(public), _) => Ok((key, algorithms, public)),
        (Err(_), SessionAlgorithm::RS256) => Err(fault(
            "an RSA key of less than 2048 bits, or a broken one",
            GENERATE,
        )),
        (Err(_), SessionAlgorithm::ES256) => {
            Err(fault("an EC key on another curve than P-256", GENERATE))
        }
        (Err(_), _) => Err(fault(
            "an Ed25519 key in a form that holds the public half too, or a broken one",
            "write it anew with OpenSSL 3: openssl pkey -in OLD -out NEW",
        )),
    }
}

/// What to do about an EC key in the form of SEC1.
pub(super) const SEC1: &str =
    "this is the SEC1 form; convert it with: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW";

fn unfit(label: &str) -> ClientKeyFault {
    ClientKeyFault {
        found: format!("a PEM file of {label} that cannot be used"),
        expected: EXPECTED,
        hint: GENERATE,
    }
}

fn not_one(private: usize, first: Option<&Block<'_>>) -> ClientKeyFault {
    let (found, hint) = match (private, first.map(|block| block.label)) {
        (0, None) => ("a file that is not PEM".to_owned(), GENERATE),
        (0, Some(label)) => (
            format!("a PEM file of {label} alone"),
            "that half is for the provider; name the file of the private key here",
        ),
        (many, _) => (
            format!("{many} private keys"),
            "leave the one that signs; register the next one at the provider before it takes its place",
        ),
    };
    ClientKeyFault {
        found,
        expected: EXPECTED,
        hint,
    }
}

/// Of the certificate that belongs to the key; a chain may stand beside it.
fn thumbprints(file: &[u8], private: &Block<'_>) -> Result<Option<Thumbprints>, ClientKeyFault> {
    let fault = |found: &str| ClientKeyFault {
        found: found.to_owned(),
        expected: "beside the key its own certificate, or none",
        hint: "openssl x509 -in FILE -noout -pubkey and openssl pkey -in FILE -pubout must print the same; where the provider knows no certificate, leave it out",
    };
    let certificates = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| fault("broken PEM"))?;
    if certificates.is_empty() {
        return Ok(None);
    }
    let key = PrivateKeyDer::from_pem_slice(private.text.as_bytes()).ok();
    let key = key.and_then(|key| any_supported_type(&key).ok());
    let key = key.ok_or_else(|| unfit(private.label))?;
    let is_its_own = |certificate: &&CertificateDer<'static>| {
        let chain = vec![(*certificate).clone()];
        CertifiedKey::new(chain, key.clone()).keys_match().is_ok()
    };
    let own = certificates.iter().find(is_its_own);
    let own = own.ok_or_else(|| fault("the certificate of another key"))?;
    let hashed = |by| URL_SAFE_NO_PAD.encode(digest::digest(by, own));
    Ok(Some(Thumbprints {
        sha1: hashed(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        sha256: hashed(&digest::SHA256),
    }))
}

#[cfg(test)]
mod tests;
