//! What reached the application: the request, the user header, and the session token as the
//! application's own module would check it. Never the token itself.

use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::environment::{UnixSeconds, rfc3339};
use crate::store::User;

use super::Installation;
use crate::demo::listener::Request;

/// As much of a body as is shown, in characters.
const BODY_SHOWN: usize = 2000;

/// One request, ready to be shown.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// In the order of arrival, secrets cut.
    pub(super) headers: Vec<(String, String)>,
    /// The user header as it came.
    pub(super) user: Option<String>,
    pub(super) token: Option<SessionToken>,
    pub(super) body: String,
}

/// The session token that came with the request.
#[derive(Debug)]
pub(super) enum SessionToken {
    /// Signature, `iss`, `aud` and `exp` are as they should be.
    Accepted {
        claims: Map<String, Value>,
        /// The username claim.
        username: Option<String>,
    },
    /// Why the application's module would not take it.
    Refused(String),
}

impl Arrival {
    /// Reads a request.
    pub(super) fn of(request: &Request, installation: &Installation, now: UnixSeconds) -> Self {
        let users: Vec<&http::HeaderValue> = request
            .headers
            .get_all(&installation.user_header)
            .iter()
            .collect();
        let user = match users.as_slice() {
            // Two user headers would be an application's worst day: take neither.
            [one] => Some(lossy(one.as_bytes())),
            _ => None,
        };
        let tokens = request.cookies(&installation.cookie);
        let token = match tokens.as_slice() {
            [] => None,
            [one] => Some(SessionToken::read(one, installation, now)),
            several => Some(SessionToken::Refused(format!(
                "expected one cookie named {}, found {}",
                installation.cookie,
                several.len()
            ))),
        };
        Self {
            method: request.method.clone(),
            path: request.uri.path().to_owned(),
            query: request.uri.query().map(str::to_owned),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), shown(name.as_str(), value.as_bytes())))
                .collect(),
            user,
            token,
            body: lossy(&request.body).chars().take(BODY_SHOWN).collect(),
        }
    }

    /// The user header's value, decoded: it is percent-encoded where it is not plain ASCII.
    pub(super) fn username(&self) -> Option<String> {
        let user = self.user.as_deref()?;
        Some(percent_decode_str(user).decode_utf8_lossy().into_owned())
    }

    /// Everything at once, for programs. `known` is `None` while the directory does not answer.
    pub(super) fn as_json(&self, known: Option<&Option<User>>) -> Value {
        let token = self.token.as_ref().map(|token| match token {
            SessionToken::Accepted { claims, username } => {
                json!({ "accepted": true, "username": username, "claims": claims })
            }
            SessionToken::Refused(reason) => json!({ "accepted": false, "reason": reason }),
        });
        json!({
            "method": self.method.as_str(),
            "path": self.path,
            "query": self.query,
            "user": self.username(),
            "headers": self.headers,
            "session_token": token,
            "directory": known.and_then(Option::as_ref).map(user_as_json),
            "body": self.body,
        })
    }
}

impl SessionToken {
    fn read(token: &str, installation: &Installation, now: UnixSeconds) -> Self {
        let key = DecodingKey::from_secret(installation.secret.expose());
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&installation.issuer]);
        validation.set_audience(&[&installation.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Compared below: the library knows no clock but its own.
        validation.validate_exp = false;
        let claims = match jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation) {
            Ok(data) => data.claims,
            Err(error) => return Self::Refused(error.to_string()),
        };
        if claims
            .get("exp")
            .and_then(Value::as_i64)
            .is_none_or(|exp| exp <= now)
        {
            return Self::Refused("it has expired".into());
        }
        let username = claims.get(&installation.username_claim);
        let username = username.and_then(Value::as_str).map(str::to_owned);
        Self::Accepted { claims, username }
    }
}

/// A user's fields by name, in the order in which they are shown.
pub(super) fn user_rows(user: &User) -> Vec<(&'static str, String)> {
    let fields = crate::config::UserField::ALL.iter();
    let mut rows: Vec<(&'static str, String)> = fields
        .filter_map(|field| Some((field.name(), user.field(*field)?.to_owned())))
        .collect();
    rows.push(("directory", user.directory.clone()));
    rows.push(("status", user.status.as_str().to_owned()));
    rows.push(("created_at", rfc3339(user.created_at)));
    rows.push(("updated_at", rfc3339(user.updated_at)));
    rows
}

fn user_as_json(user: &User) -> Value {
    let rows = user_rows(user).into_iter();
    Value::Object(
        rows.map(|(name, value)| (name.into(), value.into()))
            .collect(),
    )
}

/// A header's value with what must not be copied from a page cut out.
fn shown(name: &str, value: &[u8]) -> String {
    let text = lossy(value);
    match name {
        "cookie" => {
            let pairs: Vec<String> = text
                .split(';')
                .map(|pair| cut_cookie(pair.trim()))
                .collect();
            pairs.join("; ")
        }
        "authorization" | "proxy-authorization" => match text.split_once(' ') {
            Some((scheme, credentials)) => format!("{scheme} {}", cut(credentials)),
            None => cut(&text),
        },
        _ => text,
    }
}

/// Cookies of any name may be somebody's session: browsers send those of every server on this host.
fn cut_cookie(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, value)) => format!("{name}={}", cut(value)),
        None => cut(pair),
    }
}

fn cut(value: &str) -> String {
    // A third, so that nothing short is told whole either; a JWT's start is its header anyway.
    let shown: String = value
        .chars()
        .take((value.chars().count() / 3).min(10))
        .collect();
    format!("{shown}… ({} bytes)", value.len())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut() {
        assert_eq!(
            shown(
                "cookie",
                b"wfgen_token=eyJhbGciOiJIUzI1NiJ9.e30.abcdefghijkl; a=secret"
            ),
            "wfgen_token=eyJhbGciOi… (37 bytes); a=se… (6 bytes)"
        );
        assert_eq!(
            shown("authorization", b"Basic dXNlcjpwYXNz"),
            "Basic dXNl… (12 bytes)"
        );
        assert_eq!(shown("authorization", b"abc"), "a… (3 bytes)");
        assert_eq!(shown("accept", b"text/html"), "text/html");
    }
}
