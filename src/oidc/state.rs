//! The `state` parameter (RFC 6749 4.1.1): what a sign-in must remember, sealed into the parameter
//! itself and bound to the browser's sign-in cookie, so that nothing is stored and any number of tabs
//! and replicas can take part. Nonce and PKCE verifier are 32 random bytes each, base64url as text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::environment::{Random, UnixSeconds};
use crate::sealing::{NotOurs, Purpose, Sealer};

/// Longest return address that is remembered, in bytes; over it people come to the base path.
pub(super) const RETURN_ADDRESS_CAP: usize = 1536;

/// First byte of the text: replicas of another version must not misread it.
const VERSION: u8 = 1;

/// What a sign-in remembers from its start to its callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignInState {
    /// The provider's name in the configuration.
    pub(super) provider: String,
    pub(super) nonce: [u8; 32],
    pub(super) pkce_verifier: [u8; 32],
    /// Local path and query.
    pub(super) return_to: String,
    pub(super) started_at: UnixSeconds,
    /// The browser's sign-in cookie. Inside rather than the seal's context: tabs that are opened at
    /// once overwrite each other's cookie, and their states must still say where they were going.
    pub(super) binding: String,
    /// How often this sign-in was started again because its cookie had been overwritten.
    pub(super) restarts: u8,
}

impl SignInState {
    /// The parameter's value.
    pub(super) fn sealed(&self, sealer: &Sealer, random: &dyn Random) -> String {
        let sealed = sealer.seal(Purpose::SignInState, b"", &self.encoded(), random);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Opens a value that [`SignInState::sealed`] made, for whatever browser.
    pub(super) fn open(value: &str, sealer: &Sealer) -> Result<Self, NotOurs> {
        let sealed = URL_SAFE_NO_PAD.decode(value).map_err(|_| NotOurs)?;
        let plain = sealer.open(Purpose::SignInState, b"", &sealed)?;
        Self::decoded(&plain).ok_or(NotOurs)
    }

    fn encoded(&self) -> Vec<u8> {
        let mut text = vec![VERSION];
        text.extend(self.started_at.to_be_bytes());
        text.extend(self.nonce);
        text.extend(self.pkce_verifier);
        text.push(self.restarts);
        for part in [&self.provider, &self.binding] {
            text.extend((part.len() as u16).to_be_bytes());
            text.extend(part.as_bytes());
        }
        text.extend(self.return_to.as_bytes());
        text
    }

    fn decoded(text: &[u8]) -> Option<Self> {
        let (&[version], rest) = text.split_first_chunk()?;
        let (started_at, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (pkce_verifier, rest) = rest.split_first_chunk()?;
        let (&[restarts], rest) = rest.split_first_chunk()?;
        let (provider, rest) = part(rest)?;
        let (binding, return_to) = part(rest)?;
        (version == VERSION).then_some(Self {
            provider,
            binding,
            restarts,
            nonce: *nonce,
            pkce_verifier: *pkce_verifier,
            return_to: String::from_utf8(return_to.to_vec()).ok()?,
            started_at: UnixSeconds::from_be_bytes(*started_at),
        })
    }
}

fn part(text: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = text.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((String::from_utf8(part.to_vec()).ok()?, rest))
}

/// 32 random bytes as the text that goes over the wire.
pub(super) fn text(bytes: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            provider in "[a-z0-9-]{1,64}",
            nonce: [u8; 32],
            pkce_verifier: [u8; 32],
            return_to in "/\\PC{0,300}",
            started_at: i64,
            binding in "[a-zA-Z0-9_-]{0,43}",
            restarts: u8,
        ) {
            let state = SignInState { provider, nonce, pkce_verifier, return_to, started_at, binding, restarts };
            prop_assert_eq!(SignInState::decoded(&state.encoded()), Some(state));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(state) = SignInState::decoded(&bytes) {
                prop_assert_eq!(state.encoded(), bytes);
            }
        }
    }
}
