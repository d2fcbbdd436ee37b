//! The session token: a JWT as WorkflowGen's own `auth` application mints it (RFC 7519), with our `sid`
//! and `jti`.

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use crate::config::{self, SessionAlgorithm, SessionKey};
use crate::environment::UnixSeconds;
use crate::oidc::ClaimSet;

/// A key of `session.keys` does not fit `session.algorithm`.
#[derive(Debug, thiserror::Error)]
#[error("session.keys: key {id}: expected a key for {algorithm:?}; {source}")]
pub struct KeyFault {
    id: String,
    algorithm: SessionAlgorithm,
    source: jsonwebtoken::errors::Error,
}

/// A token that we made, whether it has run out or not.
#[derive(Debug)]
pub struct Genuine {
    /// Its session.
    pub sid: String,
    /// `exp`.
    pub expires_at: UnixSeconds,
    /// Signed by a key that no longer signs.
    pub demoted: bool,
    /// All that it says.
    pub claims: ClaimSet,
}

struct Key {
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Option<Jwk>,
}

/// The keys of session tokens: the first signs, all verify.
pub struct TokenKeys {
    algorithm: Algorithm,
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    validation: Validation,
}

impl TokenKeys {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`KeyFault`] for the first that does not fit the algorithm.
    pub fn new(session: &config::Session) -> Result<Self, KeyFault> {
        let algorithm = session.algorithm.jws();
        let mut validation = Validation::new(algorithm);
        // Time is an argument, so `exp` is compared by us; `iss` too, since the crate takes an array.
        validation.validate_exp = false;
        validation.set_audience(&[&session.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            algorithm,
            keys: session
                .keys
                .iter()
                .map(|key| Key::new(key, session.algorithm))
                .collect::<Result<_, _>>()?,
            issuer: session.issuer.clone(),
            audience: session.audience.clone(),
            validation,
        })
    }

    /// `iss` and `aud` of our tokens.
    pub fn names(&self) -> (&str, &str) {
        (&self.issuer, &self.audience)
    }

    /// Signs claims with the first key.
    ///
    /// # Errors
    /// What the crate says, when the key cannot sign.
    pub fn sign(&self, claims: &ClaimSet) -> Result<String, jsonwebtoken::errors::Error> {
        let key = &self.keys[0];
        let mut header = Header::new(self.algorithm);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &key.signing)
    }

    /// What a genuine token says; `None` for everything else.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Option<Genuine> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let (index, key) = self
            .keys
            .iter()
            .enumerate()
            .find(|(_, key)| header.kid.as_deref() == Some(&*key.id))?;
        let claims = jsonwebtoken::decode::<ClaimSet>(token, &key.verifying, &self.validation)
            .ok()?
            .claims;
        let issued_by_us = claims.get("iss")?.as_str()? == self.issuer
            && claims.get("aud")?.as_str()? == self.audience;
        let begun = claims
            .get("nbf")
            .is_none_or(|nbf| nbf.as_i64().is_some_and(|nbf| nbf <= now));
        let expires_at = claims.get("exp")?.as_i64()?;
        claims.get("jti")?.as_str()?;
        (issued_by_us && begun).then_some(Genuine {
            sid: claims.get("sid")?.as_str()?.to_owned(),
            expires_at,
            demoted: index > 0,
            claims,
        })
    }

    /// The id of the key that made a token's signature, whatever the token says: WorkflowGen's own names none.
    pub fn signer(&self, token: &str) -> Option<&str> {
        let mut signature_alone = Validation::new(self.algorithm);
        signature_alone.validate_exp = false;
        signature_alone.validate_aud = false;
        signature_alone.required_spec_claims.clear();
        let made_it = |key: &&Key| {
            jsonwebtoken::decode::<ClaimSet>(token, &key.verifying, &signature_alone).is_ok()
        };
        self.keys.iter().find(made_it).map(|key| &*key.id)
    }

    /// The public halves of asymmetric keys.
    pub fn public_keys(&self) -> Vec<&Jwk> {
        self.keys
            .iter()
            .filter_map(|key| key.public.as_ref())
            .collect()
    }
}

impl Key {
    fn new(key: &SessionKey, algorithm: SessionAlgorithm) -> Result<Self, KeyFault> {
        let secret = key.secret.expose();
        let fault = |source| KeyFault {
            id: key.id.clone(),
            algorithm,
            source,
        };
        let (verifying, public) = match algorithm {
            // A shared secret has no public half.
            SessionAlgorithm::HS256 => (DecodingKey::from_secret(secret), None),
            _ => {
                let mut public = algorithm.jwk(secret).map_err(fault)?;
                public.common.key_id = Some(key.id.clone());
                public.common.public_key_use = Some(PublicKeyUse::Signature);
                (DecodingKey::from_jwk(&public).map_err(fault)?, Some(public))
            }
        };
        Ok(Self {
            id: key.id.clone(),
            signing: algorithm.encoding_key(secret).map_err(fault)?,
            verifying,
            public,
        })
    }
}
