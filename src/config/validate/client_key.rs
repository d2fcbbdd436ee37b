//! `providers.private_key`: what belongs to it, and what it must not be.

use jsonwebtoken::jwk::ThumbprintHash;

use super::secret;
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{
    ClientAuthentication, ClientKey, Provider, Secret, Session, SessionAlgorithm, Upstream,
};

/// A key that can sign.
pub(super) fn private_key(value: &Value<'_>) -> Option<ClientKey> {
    let secret = secret::secret(value)?;
    match ClientKey::read(secret.expose()) {
        Ok(key) => Some(key),
        Err(fault) => value.refuse_found(fault.found, fault.expected, fault.hint),
    }
}

/// Key, secret and `client_authentication` belong together.
pub(super) fn check(section: &Section<'_>, provider: &Provider) -> Option<()> {
    let by_key = provider.client_authentication == ClientAuthentication::PrivateKeyJwt;
    match (by_key, &provider.private_key) {
        (true, None) => section.refuse(
            "client_authentication",
            r#""private_key_jwt" without private_key"#,
            "a private_key that signs for it",
            r#"vestibule keys generate --algorithm ES256 --out client.pem makes one; add private_key = { file = "client.pem" }"#,
        ),
        (false, Some(_)) => section.refuse(
            "private_key",
            "a key that nothing is signed by",
            r#"client_authentication = "private_key_jwt", or no private_key"#,
            "the registration at the provider says how this client authenticates",
        ),
        (true, Some(_)) if provider.client_secret.is_some() => section.refuse(
            "client_secret",
            r#"a secret beside "private_key_jwt""#,
            "no client_secret: the key takes its place",
            "remove it here, and at the provider: as long as it is valid there, whoever has it passes for this client",
        ),
        _ => Some(()),
    }
}

/// Whoever signs session tokens with a key, as the application may, must not be able to pass for us at a provider.
pub(super) fn check_own(
    top: &Section<'_>,
    providers: &[Provider],
    session: &Session,
    upstream: &Upstream,
) {
    let thumbprint = |secret: &Secret, algorithm: SessionAlgorithm| {
        let jwk = algorithm.jwk(secret.expose()).ok()?;
        jwk.thumbprint(ThumbprintHash::SHA256).ok()
    };
    let sessions = session.keys.iter();
    let sessions = sessions.filter_map(|key| thumbprint(&key.secret, session.algorithm));
    let assertion = upstream.identity.assertion.iter();
    let assertion = assertion.flat_map(|assertion| {
        let keys = [&assertion.key]
            .into_iter()
            .chain(&assertion.published_keys);
        keys.filter_map(|key| thumbprint(key, assertion.algorithm))
    });
    let taken: Vec<String> = sessions.chain(assertion).collect();
    for provider in providers {
        let own = provider.private_key.as_ref();
        let kid = own.and_then(|key| key.public().common.key_id.as_ref());
        if kid.is_some_and(|kid| taken.contains(kid)) {
            let found = format!(
                "a private_key of {} that signs for the application too",
                provider.name
            );
            top.refuse::<()>(
                "providers",
                found,
                "a private_key of its own",
                "make one with vestibule keys generate --algorithm ES256, and register its public half at the provider",
            );
        }
    }
}
