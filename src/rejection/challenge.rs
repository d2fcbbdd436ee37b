//! WWW-Authenticate (RFC 9110 11.6.1) of answers that ask for credentials: for access tokens as RFC 6750 3 says.

use http::HeaderValue;

use super::{Kind, Links};

/// The challenge of a kind, if it has one.
pub(super) fn of(kind: &Kind, links: &Links) -> Option<HeaderValue> {
    let (error, description) = match kind {
        // Browsers pass over a scheme that they do not know.
        Kind::SignInNeeded | Kind::FormNotKept => return Some(HeaderValue::from_static("Cookie")),
        // RFC 6750 3.1: no error code for a client that did not know that a token is needed.
        Kind::AccessTokenNeeded => return challenge(links, ""),
        Kind::AccessTokenMalformed => (
            "invalid_request",
            "expected one access token in one Authorization field",
        ),
        Kind::AccessTokenInvalid { expired: true } => {
            ("invalid_token", "the access token has expired")
        }
        Kind::AccessTokenInvalid { expired: false } => {
            ("invalid_token", "the access token is not acceptable here")
        }
        Kind::AccessTokenInsufficient { denial } => ("insufficient_scope", denial.reason()),
        _ => return None,
    };
    challenge(
        links,
        &format!(", error=\"{error}\", error_description=\"{description}\""),
    )
}

fn challenge(links: &Links, error: &str) -> Option<HeaderValue> {
    // A configured URL has no quotation mark.
    let realm = links.home.as_deref().unwrap_or("vestibule");
    HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"{error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bearer::Denial;

    #[test]
    fn a_client_without_token_is_told_no_error() {
        let links = Links {
            home: Some("https://a.example/wfgen".into()),
            ..Links::default()
        };
        let of = |kind| of(&kind, &links).unwrap();
        assert_eq!(
            of(Kind::AccessTokenNeeded),
            "Bearer realm=\"https://a.example/wfgen\""
        );
        assert_eq!(
            of(Kind::AccessTokenInvalid { expired: true }),
            "Bearer realm=\"https://a.example/wfgen\", error=\"invalid_token\", \
             error_description=\"the access token has expired\""
        );
        let denial = Denial::InactiveUser;
        let insufficient = of(Kind::AccessTokenInsufficient { denial });
        assert!(
            insufficient
                .to_str()
                .unwrap()
                .contains("error=\"insufficient_scope\"")
        );
    }
}
