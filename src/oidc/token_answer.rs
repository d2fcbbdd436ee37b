//! A token response as it is read (RFC 6749 5.1), for the code and for the refresh token alike. Nothing in it is verified.

use std::time::Duration;

use openidconnect::core::{
    CoreGenderClaim, CoreIdToken, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    CoreTokenType,
};
use openidconnect::{
    AccessToken, EmptyAdditionalClaims, OAuth2TokenResponse, RefreshToken, Scope, TokenResponse,
};
use serde::{Deserialize, Serialize};

/// What we read of a token response (RFC 6749 5.1). The ID token stays text: the crate's own type
/// would refuse the whole answer over one standard claim of another JSON type.
#[derive(Serialize, Deserialize)]
pub(super) struct TokenAnswer {
    /// Empty where there is none: only UserInfo needs one.
    #[serde(default = "no_access_token", skip_serializing)]
    pub(super) access_token: AccessToken,
    #[serde(skip_serializing)]
    pub(super) id_token: Option<String>,
    #[serde(skip_serializing)]
    pub(super) refresh_token: Option<RefreshToken>,
    /// Seconds that the access token lives.
    #[serde(default, deserialize_with = "lenient_seconds")]
    pub(super) expires_in: Option<u64>,
}

static BEARER: CoreTokenType = CoreTokenType::Bearer;

/// A number, or as some providers write it, a text; whatever else is none.
fn lenient_seconds<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(value)?;
    let text = value.as_str().and_then(|text| text.parse().ok());
    Ok(value.as_u64().or(text))
}

fn no_access_token() -> AccessToken {
    AccessToken::new(String::new())
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenAnswer(…)")
    }
}

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &CoreTokenType {
        &BEARER
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

impl
    TokenResponse<
        EmptyAdditionalClaims,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    > for TokenAnswer
{
    fn id_token(&self) -> Option<&CoreIdToken> {
        None
    }
}
