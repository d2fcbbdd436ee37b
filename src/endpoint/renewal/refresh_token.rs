//! The refresh token of a session while it is renewed: opened for the provider, and what takes its place kept before
//! anything else can fail (RFC 6749 6).

use std::sync::Arc;

use super::attempt::{ASK_AGAIN, Unrenewed};
use crate::config::Secret;
use crate::endpoint::Endpoints;
use crate::sealing::Purpose;
use crate::session::{Renewal, Unkept};
use crate::store::Claimed;

/// Tries to keep a rotated refresh token at once.
const TRIES: usize = 3;

impl Endpoints {
    /// The refresh token and the ID token of a session.
    pub(super) fn opened(
        &self,
        renewal: &Renewal,
        sid: &str,
        claimed: &Claimed,
    ) -> Result<(Secret, Secret), Unrenewed> {
        let open = |purpose, sealed: &[u8]| {
            let opened = self.sealer.open(purpose, sid.as_bytes(), sealed);
            opened.map(Secret::new).map_err(|_| {
                Unrenewed::Impossible("none of session.sealing_keys opens what they hold; put the former key back behind the first")
            })
        };
        let held = &claimed.held.refresh_token;
        // Unless another node has put a newer one there since.
        let unkept = renewal.unkept().filter(|it| it.instead_of == *held);
        let refresh_token = match (unkept, held) {
            (Some(unkept), _) => unkept.token.clone(),
            (None, Some(sealed)) => open(Purpose::RefreshToken, sealed)?,
            (None, None) => {
                return Err(Unrenewed::Impossible(
                    "the store holds no refresh token of theirs",
                ));
            }
        };
        let id_token = open(Purpose::ProviderToken, &claimed.held.id_token)?;
        Ok((refresh_token, id_token))
    }

    /// The provider takes the former refresh token no more: the new one is kept before anything else, and in memory
    /// where the store does not answer.
    pub(super) async fn keep(
        &self,
        renewal: &Arc<Renewal>,
        sid: &str,
        rotated: Secret,
        instead_of: Option<Vec<u8>>,
    ) {
        let sealed = self.sealer.seal(
            Purpose::RefreshToken,
            sid.as_bytes(),
            rotated.expose(),
            &*self.random,
        );
        let unkept = Arc::new(Unkept {
            token: rotated,
            sealed: sealed.clone(),
            instead_of,
        });
        renewal.keep(Some(unkept));
        for _ in 0..TRIES {
            match self.store.keep_refresh_token(sid, &sealed).await {
                Ok(()) => return renewal.keep(None),
                Err(error) => self.sessions.store_answers(Err(&error)),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        // Other nodes read it there.
        self.sessions.keep_later(sid, renewal);
    }
}
