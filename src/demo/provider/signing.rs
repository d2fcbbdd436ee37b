//! The provider's signing key (ES256, made at the start) and what is signed and hashed with it.

use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

/// A P-256 key.
pub(super) struct SigningKey {
    private: EncodingKey,
    public: Jwk,
    id: String,
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// The cryptography library refuses.
    pub(super) fn generate() -> io::Result<Self> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(io::Error::other)?;
        let document = pair.to_pkcs8v1().map_err(io::Error::other)?;
        let private = EncodingKey::from_ec_der(document.as_ref());
        let mut public =
            Jwk::from_encoding_key(&private, Algorithm::ES256).map_err(io::Error::other)?;
        let id = public
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(io::Error::other)?;
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            private,
            public,
            id,
        })
    }

    /// The key set of `jwks_uri`.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [&self.public] })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// The cryptography library refuses.
    pub(super) fn sign(
        &self,
        claims: &Map<String, Value>,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.private)
    }

    /// The claims of an ID token of ours for that client, expired or not: RP-Initiated Logout 1.0,
    /// section 2 wants old ones to do as a hint.
    pub(super) fn open_hint(
        &self,
        token: &str,
        issuer: &str,
        client: &str,
    ) -> Option<Map<String, Value>> {
        let key = DecodingKey::from_jwk(&self.public).ok()?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[client]);
        validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        let opened = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
        opened.ok().map(|data| data.claims)
    }
}

/// base64url of SHA-256: an S256 code challenge (RFC 7636 4.2).
pub(super) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// base64url of the left half of SHA-256: `at_hash` (Core 3.1.3.6).
pub(super) fn half_hash(token: &str) -> String {
    let hash = digest(&SHA256, token.as_bytes());
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(left)
}
