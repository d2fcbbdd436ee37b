//! Authenticated encryption of what leaves this process and comes back: the sign-in state in the
//! browser, the provider's tokens in the store.
//!
//! AES-256-GCM under keys derived with HKDF-SHA256 from `session.sealing_keys` (or `session.keys`),
//! one derived key a purpose. The first key seals, all open, so keys rotate without losing anything.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use crate::config;
use crate::environment::Random;

/// What a sealed value is for; values of one purpose never open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The `state` parameter of an authorization request.
    SignInState,
    /// A provider's token kept in the store.
    ProviderToken,
    /// A provider's refresh token kept in the store.
    RefreshToken,
    /// The newest session token, kept in the store.
    SessionToken,
    /// The session claims of a sign-in, kept in the store.
    SessionClaims,
    /// A form that met an ended session, kept in the store.
    KeptForm,
    /// The form of a page of ours.
    Form,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::SignInState => b"vestibule sign-in state v1",
            Purpose::ProviderToken => b"vestibule provider token v1",
            Purpose::RefreshToken => b"vestibule refresh token v1",
            Purpose::SessionToken => b"vestibule session token v1",
            Purpose::KeptForm => b"vestibule kept form v1",
            Purpose::SessionClaims => b"vestibule session claims v1",
            Purpose::Form => b"vestibule form v1",
        }
    }
}

/// The value is not one that we sealed for this purpose and context, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value was not made here, or was changed")]
pub struct NotOurs;

/// Seals and opens.
pub struct Sealer {
    secrets: Vec<config::Secret>,
}

impl Sealer {
    /// Takes `session.sealing_keys`, or `session.keys` where there are none.
    pub fn new(session: &config::Session) -> Self {
        let keys = match session.sealing_keys.is_empty() {
            true => &session.keys,
            false => &session.sealing_keys,
        };
        Self {
            secrets: keys.iter().map(|key| key.secret.clone()).collect(),
        }
    }

    /// Seals `plain` for `purpose`; `context` must be given again to open it.
    pub fn seal(
        &self,
        purpose: Purpose,
        context: &[u8],
        plain: &[u8],
        random: &dyn Random,
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = plain.to_vec();
        let key = derived(&self.secrets[0], purpose);
        #[expect(clippy::expect_used, reason = "sealing fails only for texts of 64 GiB")]
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut sealed,
        )
        .expect("the text is short");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Sealer::seal`] made for the same purpose and context.
    ///
    /// # Errors
    /// [`NotOurs`] for everything else.
    pub fn open(
        &self,
        purpose: Purpose,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, NotOurs> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(NotOurs)?;
        self.secrets
            .iter()
            .find_map(|secret| opened(&derived(secret, purpose), nonce, context, sealed))
            .ok_or(NotOurs)
    }
}

fn opened(key: &LessSafeKey, nonce: &[u8], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = sealed.to_vec();
    let plain = key
        .open_in_place(nonce, Aad::from(context), &mut text)
        .ok()?
        .len();
    text.truncate(plain);
    Some(text)
}

fn derived(secret: &config::Secret, purpose: Purpose) -> LessSafeKey {
    let labels = [purpose.label()];
    let extracted = Salt::new(HKDF_SHA256, b"vestibule").extract(secret.expose());
    #[expect(
        clippy::expect_used,
        reason = "HKDF-SHA256 always has 32 bytes to give"
    )]
    let key = extracted.expand(&labels, &AES_256_GCM).expect("32 bytes");
    LessSafeKey::new(UnboundKey::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::SystemRandom;

    fn sealer(secrets: &[&str]) -> Sealer {
        Sealer {
            secrets: secrets
                .iter()
                .map(|secret| config::Secret::new(*secret))
                .collect(),
        }
    }

    #[test]
    fn opens_only_for_its_purpose_context_and_keys() {
        let old = sealer(&["old"]);
        let sealed = old.seal(Purpose::SignInState, b"browser", b"text", &SystemRandom);
        assert_eq!(
            old.open(Purpose::SignInState, b"browser", &sealed),
            Ok(b"text".to_vec())
        );
        assert_eq!(
            old.open(Purpose::SignInState, b"other", &sealed),
            Err(NotOurs)
        );
        assert_eq!(old.open(Purpose::Form, b"browser", &sealed), Err(NotOurs));
        assert_eq!(
            sealer(&["new", "old"]).open(Purpose::SignInState, b"browser", &sealed),
            Ok(b"text".to_vec())
        );
        assert_eq!(
            sealer(&["new"]).open(Purpose::SignInState, b"browser", &sealed),
            Err(NotOurs)
        );
        for cut in 0..sealed.len() {
            assert_eq!(
                old.open(Purpose::SignInState, b"browser", &sealed[..cut]),
                Err(NotOurs)
            );
        }
    }
}
