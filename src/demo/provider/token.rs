//! The token endpoint (OpenID Connect Core 3.1.3, RFC 6749 3.2) and UserInfo (Core 5.3).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};

use crate::environment::{UnixSeconds, random_text};

use super::Shared;
use super::grant::{ACCESS_TOKEN_LIFETIME, Grant};
use super::signing::{challenge_of, half_hash};
use crate::demo::listener::{self, Answer, Parameters, Request};

/// An ID token lives this long, in seconds: a working day, as the session that it gives.
const ID_TOKEN_LIFETIME: UnixSeconds = 36_000;

/// RFC 6749 5.2.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
}

impl Refusal {
    fn new(error: &'static str, description: &'static str) -> Self {
        let status = match error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self {
            status,
            error,
            description,
        }
    }
}

impl Shared {
    /// `/token`.
    pub(super) fn token(&self, request: &Request) -> Answer {
        match self.exchange(request) {
            Ok(tokens) => listener::json(StatusCode::OK, &tokens),
            Err(refusal) => {
                let body =
                    json!({ "error": refusal.error, "error_description": refusal.description });
                let mut answer = listener::json(refusal.status, &body);
                if refusal.status == StatusCode::UNAUTHORIZED {
                    let challenge = HeaderValue::from_static("Basic realm=\"demo provider\"");
                    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                }
                answer
            }
        }
    }

    fn exchange(&self, request: &Request) -> Result<Value, Refusal> {
        let form = request.form();
        if form.repeated().is_some() {
            let description = "a parameter comes more than once";
            return Err(Refusal::new("invalid_request", description));
        }
        self.authenticate(request, &form)?;
        if form.get("grant_type") != Some("authorization_code") {
            let description = "expected grant_type=authorization_code";
            return Err(Refusal::new("unsupported_grant_type", description));
        }
        let Some(code) = form.get("code") else {
            return Err(Refusal::new("invalid_request", "expected a code"));
        };
        let now = self.clock.now();
        let grant = self.grants().redeem(code, now).ok_or(Refusal::new(
            "invalid_grant",
            "the code is unknown, used or over a minute old",
        ))?;
        self.require_match(&grant, &form)?;
        let access_token = random_text::<32>(self.random.as_ref());
        let claims = self.id_token_claims(&grant, &access_token, now);
        let Ok(id_token) = self.key.sign(&claims) else {
            return Err(Refusal::new("server_error", "the ID token was not signed"));
        };
        self.grants()
            .issue(code, access_token.clone(), grant.person, now);
        Ok(json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": ACCESS_TOKEN_LIFETIME,
            "id_token": id_token,
            "scope": grant.scope,
        }))
    }

    /// Core 9: `client_secret_basic` or `client_secret_post`, not both.
    fn authenticate(&self, request: &Request, form: &Parameters) -> Result<(), Refusal> {
        let posted = form.get("client_id").zip(form.get("client_secret"));
        let posted = posted.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        let (id, secret) = match (request.headers.contains_key(AUTHORIZATION), posted) {
            (true, Some(_)) => {
                let description = "expected one way of client authentication, found two";
                return Err(Refusal::new("invalid_request", description));
            }
            (true, None) => basic(request).ok_or(Refusal::new(
                "invalid_client",
                "expected the Basic scheme with client_id and client_secret",
            ))?,
            (false, Some(posted)) => posted,
            (false, None) => {
                let description = "expected client_secret_basic or client_secret_post";
                return Err(Refusal::new("invalid_client", description));
            }
        };
        let same =
            verify_slices_are_equal(secret.as_bytes(), self.client.secret.as_bytes()).is_ok();
        match same && id == self.client.id {
            true => Ok(()),
            false => Err(Refusal::new(
                "invalid_client",
                "client_id or client_secret is not the registered one",
            )),
        }
    }

    /// Core 3.1.3.2 and RFC 7636 4.6: the code comes from whom it was given to.
    fn require_match(&self, grant: &Grant, form: &Parameters) -> Result<(), Refusal> {
        let invalid = |description| Err(Refusal::new("invalid_grant", description));
        if grant.client_id != self.client.id {
            return invalid("the code was given to another client");
        }
        if form.get("redirect_uri") != Some(&grant.redirect_uri) {
            return invalid("redirect_uri is not that of the authorization request");
        }
        // RFC 7636 4.1: the length also keeps an absent verifier from matching.
        let verifier = form.get("code_verifier").unwrap_or_default();
        if !(43..=128).contains(&verifier.len()) || challenge_of(verifier) != grant.code_challenge {
            return invalid("code_verifier does not fit the code_challenge");
        }
        Ok(())
    }

    fn id_token_claims(
        &self,
        grant: &Grant,
        access_token: &str,
        now: UnixSeconds,
    ) -> Map<String, Value> {
        let mut claims = grant.person.claims.clone();
        let own = [
            ("iss", json!(self.issuer)),
            ("aud", json!(self.client.id)),
            ("iat", json!(now)),
            ("exp", json!(now + ID_TOKEN_LIFETIME)),
            ("auth_time", json!(grant.person.signed_in_at)),
            ("at_hash", json!(half_hash(access_token))),
        ];
        claims.extend(own.map(|(name, value)| (name.to_owned(), value)));
        if let Some(nonce) = &grant.nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        claims
    }

    /// `/userinfo`: the person's claims, for a bearer token (RFC 6750).
    pub(super) fn user_info(&self, request: &Request) -> Answer {
        let token = request
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
            .map(|(_, token)| token.trim());
        let grants = self.grants();
        let person = token.and_then(|token| grants.bearer(token, self.clock.now()));
        if let Some(person) = person {
            return listener::json(StatusCode::OK, &Value::Object(person.claims.clone()));
        }
        let mut answer = listener::json(
            StatusCode::UNAUTHORIZED,
            &json!({ "error": "invalid_token" }),
        );
        let challenge = match token {
            Some(_) => "Bearer error=\"invalid_token\"",
            None => "Bearer",
        };
        answer
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        answer
    }
}

/// `client_secret_basic`: both halves are form-encoded first (RFC 6749 2.3.1).
fn basic(request: &Request) -> Option<(String, String)> {
    let (scheme, encoded) = request.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.ok().map(|text| text.into_owned())
}
