//! The lying provider's endpoints.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::keys::FOREIGN;
use super::lies::{Draft, Lie, compact};
use super::{CLIENT_ID, CLIENT_SECRET, Grant, Shared, State, TokenRequest, random_text};

type Answer = Response<Full<Bytes>>;

pub(super) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let query = form(head.uri.query().unwrap_or_default().as_bytes());
    let authorization = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let slow = shared.state.lock().unwrap().lie == Some(Lie::TokenSlow);
    if slow && head.uri.path() == "/token" {
        let _waiting = Waiting::begin(&shared);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let late = match shared.state.lock().unwrap().lie {
        Some(Lie::TokenLate) => 2,
        Some(Lie::TokenLater) => 6,
        _ => 0,
    };
    if late > 0 && head.uri.path() == "/token" {
        tokio::time::sleep(Duration::from_secs(late)).await;
    }
    let state = shared.state.lock().unwrap();
    Ok(match head.uri.path() {
        "/.well-known/openid-configuration" => discovery(&shared.issuer, &shared.issuer, state),
        path if path.ends_with(DOCUMENT) => tenant_discovery(&shared.issuer, path, state),
        "/jwks" => jwks(state),
        "/authorize" => authorize(&shared.issuer, state, query),
        "/token" => {
            let form = form(&body);
            token(
                &shared.issuer,
                state,
                TokenRequest {
                    authorization,
                    form,
                },
            )
        }
        "/userinfo" => user_info(&shared.issuer, state, authorization),
        "/end-session" => end_session(state, &query),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "no such endpoint"),
    })
}

/// A token request that waits, even if its client has gone.
struct Waiting<'s>(&'s Shared);

impl<'s> Waiting<'s> {
    fn begin(shared: &'s Shared) -> Self {
        let (now, most) = &mut shared.state.lock().unwrap().waiting;
        *now += 1;
        *most = (*now).max(*most);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().waiting.0 -= 1;
    }
}

const DOCUMENT: &str = "/.well-known/openid-configuration";

/// The document of a tenant that exists, or one for all, in version 2 or 1.
fn tenant_discovery(issuer: &str, path: &str, state: MutexGuard<'_, State>) -> Answer {
    let path = path.trim_end_matches(DOCUMENT).trim_start_matches('/');
    let (tenant, version) = match path.split_once('/') {
        Some((tenant, "v2.0")) => (tenant, "v2.0"),
        _ => (path, ""),
    };
    let tenant = match (tenant, version) {
        ("organizations", "v2.0") | ("common", "") => "{tenantid}",
        (known, _) if state.tenants.iter().any(|id| id == known) => known,
        _ => return text(StatusCode::BAD_REQUEST, "text/plain", "no such tenant"),
    };
    discovery(issuer, &format!("{issuer}/{tenant}/{version}"), state)
}

fn discovery(issuer: &str, named: &str, mut state: MutexGuard<'_, State>) -> Answer {
    state.requests.discovery += 1;
    let mut document = json!({
        "issuer": named,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "end_session_endpoint": format!("{issuer}/end-session"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    for (name, value) in &state.metadata {
        match value.is_null() {
            true => drop(document.as_object_mut().unwrap().remove(name)),
            false => document[name] = value.clone(),
        }
    }
    match state.lie {
        Some(Lie::Discovery500) => return broken(),
        Some(Lie::DiscoveryGarbage) => {
            return text(StatusCode::OK, "application/json", "{\"issuer\":");
        }
        Some(Lie::DiscoveryIssuer) => document["issuer"] = format!("{issuer}/").into(),
        Some(Lie::DiscoveryNoTokenEndpoint) => {
            document.as_object_mut().unwrap().remove("token_endpoint");
        }
        _ => {}
    }
    json_text(StatusCode::OK, &document)
}

fn jwks(mut state: MutexGuard<'_, State>) -> Answer {
    state.requests.jwks += 1;
    match state.lie {
        Some(Lie::Jwks500) => broken(),
        Some(Lie::JwksGarbage) => text(StatusCode::OK, "application/json", "<html>"),
        Some(Lie::JwksEmpty) => json_text(StatusCode::OK, &json!({"keys": []})),
        // A key of a kind that nobody knows must not spoil the others.
        _ => {
            let mut key = state.key.jwk(&state.kid);
            if !state.key_issuer.is_null() {
                key["issuer"] = state.key_issuer.clone();
            }
            json_text(
                StatusCode::OK,
                &json!({"keys": [{"kty": "new", "kid": "new"}, key]}),
            )
        }
    }
}

fn authorize(
    issuer: &str,
    mut state: MutexGuard<'_, State>,
    query: HashMap<String, String>,
) -> Answer {
    state.requests.authorize += 1;
    let parameter = |name: &str| query.get(name).cloned().unwrap_or_default();
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("code_challenge_method", "S256"),
    ] {
        if parameter(name) != expected {
            state.complain(format!("{name} is {:?}", parameter(name)));
        }
    }
    for name in ["state", "nonce", "code_challenge", "redirect_uri"] {
        if parameter(name).is_empty() {
            state.complain(format!("no {name}"));
        }
    }
    if !parameter("scope").split(' ').any(|scope| scope == "openid") {
        state.complain("no scope openid");
    }
    let code = random_text();
    let grant = Grant {
        nonce: parameter("nonce"),
        challenge: parameter("code_challenge"),
        redirect_uri: parameter("redirect_uri"),
        used: false,
    };
    state.grants.insert(code.clone(), grant);
    let mut back = url::Url::parse(&parameter("redirect_uri")).unwrap();
    let echoed = parameter("state");
    let of_tenant = state.claims.get("iss").and_then(Value::as_str);
    let named = of_tenant.unwrap_or(issuer).to_owned();
    let pairs = response_parameters(&named, state.lie, &code, &echoed);
    back.query_pairs_mut().extend_pairs(pairs);
    state.authorization = query;
    redirect(back.as_str())
}

fn response_parameters<'a>(
    issuer: &'a str,
    lie: Option<Lie>,
    code: &'a str,
    state: &'a str,
) -> Vec<(&'static str, &'a str)> {
    let mut pairs = vec![("state", state)];
    match lie {
        Some(Lie::AccessDenied) => pairs.extend([
            ("error", "access_denied"),
            ("error_description", "<script>no</script>"),
        ]),
        Some(Lie::NoCode) => {}
        Some(Lie::TwoCodes) => pairs.extend([("code", code), ("code", code)]),
        Some(Lie::TwoStates) => pairs.extend([("code", code), ("state", state)]),
        _ => pairs.push(("code", code)),
    }
    match lie {
        Some(Lie::ResponseIssuer) => pairs.push(("iss", "https://other.example")),
        Some(Lie::NoResponseIssuer) => {}
        _ => pairs.push(("iss", issuer)),
    }
    pairs
}

fn token(issuer: &str, mut state: MutexGuard<'_, State>, request: TokenRequest) -> Answer {
    state.requests.token += 1;
    let refusal = redeem(&mut state, &request);
    state.token_request = request;
    let grant = match refusal {
        Ok(grant) => grant,
        Err(error) => {
            state.complain(format!("token request: {error}"));
            return json_text(StatusCode::BAD_REQUEST, &json!({"error": error}));
        }
    };
    let refuse = |status, error: &str| json_text(status, &json!({"error": error}));
    match state.lie {
        Some(Lie::Token500) => return broken(),
        Some(Lie::Token429) => return refuse(StatusCode::TOO_MANY_REQUESTS, "slow_down"),
        Some(Lie::TokenGarbage) => {
            return text(StatusCode::OK, "application/json", "{\"access_token\":");
        }
        Some(Lie::TokenHtml) => return text(StatusCode::NOT_FOUND, "text/html", "<html>"),
        Some(Lie::TokenInvalidGrant) => return refuse(StatusCode::BAD_REQUEST, "invalid_grant"),
        Some(Lie::TokenForgedError) => {
            return refuse(StatusCode::BAD_REQUEST, "forged\r\nerror: line");
        }
        Some(Lie::TokenHuge) => {
            return text(
                StatusCode::OK,
                "application/json",
                &" ".repeat((1 << 20) + 1),
            );
        }
        Some(Lie::TokenRedirect) => return redirect(&format!("{issuer}/elsewhere")),
        _ => {}
    }
    let draft = Draft {
        issuer,
        nonce: &grant.nonce,
        lifetime: state.lifetime,
        claims: &state.claims,
        key: state.key,
        kid: &state.kid,
        lie: state.lie,
        typ: "JWT",
    };
    let id_token = draft.token();
    let access_token = match state.lie {
        Some(Lie::AccessTokenWithLineBreak) => format!("{}\r\nX-Evil: 1", random_text()),
        Some(Lie::AccessTokenNotAscii) => format!("{} é", random_text()),
        _ => random_text(),
    };
    let subject = state.claims.get("sub").cloned();
    let subject = subject.unwrap_or_else(|| "person-1".into());
    state.access_tokens.insert(access_token.clone(), subject);
    // `expires_in` as text, and members that nobody knows: real providers do both.
    let mut answer = json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": "3600",
        "id_token": id_token, "scope": "openid", "session": {"x": 1},
    });
    if state.refreshes {
        let refresh_token = random_text();
        answer["refresh_token"] = refresh_token.clone().into();
        state.refresh_tokens.insert(refresh_token, grant);
    }
    if state.lie == Some(Lie::NoIdToken) {
        answer.as_object_mut().unwrap().remove("id_token");
    }
    json_text(StatusCode::OK, &answer)
}

/// Every check that a strict provider makes of a token request.
fn redeem(state: &mut State, request: &TokenRequest) -> Result<Grant, &'static str> {
    let parameter = |name: &str| {
        request
            .form
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    };
    authenticate(request)?;
    match parameter("grant_type") {
        "authorization_code" => {}
        "refresh_token" => {
            let grant = state.refresh_tokens.remove(parameter("refresh_token"));
            return grant.ok_or("invalid_grant");
        }
        _ => return Err("unsupported_grant_type"),
    }
    let grant = state
        .grants
        .get_mut(parameter("code"))
        .ok_or("invalid_grant")?;
    if std::mem::replace(&mut grant.used, true) || grant.redirect_uri != parameter("redirect_uri") {
        return Err("invalid_grant");
    }
    let verifier = parameter("code_verifier");
    let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
    if grant.challenge != URL_SAFE_NO_PAD.encode(challenge) || verifier.len() < 43 {
        return Err("invalid_grant");
    }
    Ok(grant.clone())
}

/// `client_secret_basic`, `client_secret_post`, or a public client.
fn authenticate(request: &TokenRequest) -> Result<(), &'static str> {
    let (id, secret) = match &request.authorization {
        Some(basic) => {
            let pair = basic.strip_prefix("Basic ").ok_or("invalid_client")?;
            let pair = STANDARD.decode(pair).map_err(|_| "invalid_client")?;
            let pair = String::from_utf8(pair).map_err(|_| "invalid_client")?;
            let (id, secret) = pair.split_once(':').ok_or("invalid_client")?;
            (decoded(id), Some(decoded(secret)))
        }
        None => (
            request.form.get("client_id").cloned().unwrap_or_default(),
            request.form.get("client_secret").cloned(),
        ),
    };
    let secret_fits = secret.is_none_or(|secret| secret == CLIENT_SECRET);
    match id == CLIENT_ID && secret_fits {
        true => Ok(()),
        false => Err("invalid_client"),
    }
}

fn user_info(
    issuer: &str,
    mut state: MutexGuard<'_, State>,
    authorization: Option<String>,
) -> Answer {
    state.requests.user_info += 1;
    let token = authorization
        .as_deref()
        .and_then(|value| value.strip_prefix("Bearer "));
    let subject = token
        .and_then(|token| state.access_tokens.get(token))
        .cloned();
    let Some(subject) = subject else {
        state.complain("UserInfo: unknown access token");
        return text(StatusCode::UNAUTHORIZED, "text/plain", "who?");
    };
    let mut claims = state.user_info.clone();
    claims.entry("sub").or_insert(subject);
    match state.lie {
        Some(Lie::UserInfo500) => return broken(),
        Some(Lie::UserInfo403) => return text(StatusCode::FORBIDDEN, "text/plain", "no"),
        Some(Lie::UserInfoArray) => return json_text(StatusCode::OK, &json!([claims])),
        Some(Lie::UserInfoOtherSubject) => drop(claims.insert("sub".into(), "person-2".into())),
        Some(Lie::UserInfoNoSubject) => drop(claims.remove("sub")),
        _ => {}
    }
    if !state.signed_user_info {
        return json_text(StatusCode::OK, &Value::Object(claims));
    }
    let of_tenant = state.claims.get("iss").and_then(Value::as_str);
    let issuer = of_tenant.unwrap_or(issuer);
    let (for_whom, by_whom) = match state.lie {
        Some(Lie::UserInfoAudience) => ("other", issuer),
        Some(Lie::UserInfoIssuer) => (CLIENT_ID, "https://other.example"),
        _ => (CLIENT_ID, issuer),
    };
    claims.insert("aud".to_owned(), for_whom.into());
    claims.insert("iss".to_owned(), by_whom.into());
    let key = match state.lie {
        Some(Lie::UserInfoForeignKey) => &FOREIGN,
        _ => state.key,
    };
    let header = json!({"alg": key.algorithm(), "kid": state.kid});
    let jwt = compact(&header, &Value::Object(claims).to_string(), |input| {
        key.sign(input)
    });
    text(StatusCode::OK, "application/jwt", &jwt)
}

fn end_session(mut state: MutexGuard<'_, State>, query: &HashMap<String, String>) -> Answer {
    state.requests.end_session += 1;
    match query.get("post_logout_redirect_uri") {
        Some(back) => redirect(back),
        None => text(StatusCode::OK, "text/plain", "signed out"),
    }
}

fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

/// RFC 6749 2.3.1: each half of the Basic credentials is form-encoded.
fn decoded(half: &str) -> String {
    let pair = format!("v={half}");
    let mut pairs = form_urlencoded::parse(pair.as_bytes());
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn broken() -> Answer {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "application/json",
        r#"{"error":"server_error"}"#,
    )
}

fn redirect(to: &str) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "text/plain", "");
    answer
        .headers_mut()
        .insert(header::LOCATION, to.parse().unwrap());
    answer
}

fn json_text(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", &value.to_string())
}

fn text(status: StatusCode, kind: &str, body: &str) -> Answer {
    let mut answer = Response::new(Full::from(body.to_owned()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, kind.parse().unwrap());
    answer
}
