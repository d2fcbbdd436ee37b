//! `[[providers]]`: the OpenID providers, and what is asked of them.

use std::time::Duration;

use super::{client_key, issuer, secret};
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{ClientAuthentication, IdTokenAlgorithm, Provider, Secret, UserInfo};

/// Authorization request parameters that the code flow sets itself (OpenID Connect Core 3.1.2.1,
/// RFC 7636, RFC 9101); a second one would contradict it.
const RESERVED_PARAMETERS: &[&str] = &[
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "grant_type",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

const ALGORITHMS: &[(&str, IdTokenAlgorithm)] = &[
    ("RS256", IdTokenAlgorithm::RS256),
    ("RS384", IdTokenAlgorithm::RS384),
    ("RS512", IdTokenAlgorithm::RS512),
    ("PS256", IdTokenAlgorithm::PS256),
    ("PS384", IdTokenAlgorithm::PS384),
    ("PS512", IdTokenAlgorithm::PS512),
    ("ES256", IdTokenAlgorithm::ES256),
    ("ES384", IdTokenAlgorithm::ES384),
    ("EdDSA", IdTokenAlgorithm::EdDSA),
    ("HS256", IdTokenAlgorithm::HS256),
];

/// One of `[[providers]]`. Its name goes to `names` as soon as it is known, whatever else is wrong.
pub(super) fn provider(section: &Section<'_>, names: &mut Vec<String>) -> Option<Provider> {
    let name = section.get("name", |value| unique_name(value, names));
    names.extend(name.clone());
    let issuer = issuer::issuer(section);
    let client_id = section.get("client_id", |value| value.name_text());
    let client_secret = section.optional("client_secret", client_secret);
    let client_authentication = authentication(section);
    let private_key = section.optional("private_key", client_key::private_key);
    let subject_claim = section.get("subject_claim", |value| value.name_text());
    let scopes = section.get("scopes", scopes);
    let username_claim = section.get("username_claim", |value| value.name_text());
    let trust_email = section.get("trust_email", |value| value.boolean());
    let user_info = section.get("user_info", |value| {
        value.choice(&[
            ("never", UserInfo::Never),
            ("always", UserInfo::Always),
            ("when-missing", UserInfo::WhenMissing),
        ])
    });
    let authorization_parameters = section.get("authorization_parameters", parameters);
    let algorithms = section.get("algorithms", algorithms);
    let clock_skew = section.get("clock_skew", |value| {
        value.duration(Duration::ZERO..=Duration::from_secs(600))
    });
    let end_provider_session = section.get("logout", |value| {
        value.choice(&[("provider", true), ("local", false)])
    });
    let ca = section.get("ca", secret::authority);
    let access_token_audience =
        section.get("access_token_audience", |value| match value.text()? {
            "" => Some(None),
            _ => value.name_text().map(Some),
        });
    let access_token_username_claim =
        section.get("access_token_username_claim", |value| value.name_text());
    let provider = Provider {
        name: name?,
        issuer: issuer?,
        client_id: client_id?,
        client_secret: client_secret?,
        client_authentication: client_authentication?,
        private_key: private_key?,
        subject_claim: subject_claim?,
        scopes: scopes?,
        username_claim: username_claim?,
        trust_email: trust_email?,
        user_info: user_info?,
        authorization_parameters: authorization_parameters?,
        algorithms: algorithms?,
        clock_skew: clock_skew?,
        end_provider_session: end_provider_session?,
        ca: ca?,
        access_token_audience: access_token_audience?,
        access_token_username_claim: access_token_username_claim?,
    };
    client_key::check(section, &provider)?;
    check_secret(section, &provider)?;
    if provider.access_token_audience.as_ref() == Some(&provider.client_id) {
        section.warn(
            "access_token_audience",
            "ID tokens for this client have that audience too, and are told from access tokens by signs that not every provider sets; give the application an audience of its own",
        );
    }
    if provider.trust_email {
        section.warn(
            "trust_email",
            "whoever can set an e-mail address at this provider can be anybody; be sure that it verifies them and never reassigns one",
        );
    }
    Some(provider)
}

fn unique_name(value: &Value<'_>, names: &[String]) -> Option<String> {
    let name = value.text()?;
    let expected = r#"a unique name of lower-case letters, digits and "-""#;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 50 || !name.chars().all(plain) {
        return value.refuse(expected, "it is part of the redirect URI: callback/NAME");
    }
    match names.iter().any(|other| other == name) {
        true => value.refuse(expected, "another provider has this name"),
        false => Some(name.to_owned()),
    }
}

fn client_secret(value: &Value<'_>) -> Option<Secret> {
    let secret = secret::secret(value)?;
    match std::str::from_utf8(secret.expose()) {
        Ok(text) if !text.chars().any(char::is_control) => Some(secret),
        _ => value.refuse_found(
            "a secret with control characters or not in UTF-8",
            "the client secret as the provider shows it, on one line",
            "the file may be in UTF-16 or have a second line",
        ),
    }
}

/// `client_authentication`, whose default depends on whether there is a secret.
fn authentication(section: &Section<'_>) -> Option<ClientAuthentication> {
    if !section.has("client_authentication") && !section.has("client_secret") {
        return Some(ClientAuthentication::None);
    }
    section.get("client_authentication", |value| {
        value.choice(&[
            ("client_secret_basic", ClientAuthentication::Basic),
            ("client_secret_post", ClientAuthentication::Post),
            ("private_key_jwt", ClientAuthentication::PrivateKeyJwt),
            ("none", ClientAuthentication::None),
        ])
    })
}

fn check_secret(section: &Section<'_>, provider: &Provider) -> Option<()> {
    let public = matches!(
        provider.client_authentication,
        ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt
    );
    let hs256 = provider.algorithms.contains(&IdTokenAlgorithm::HS256);
    match &provider.client_secret {
        None if !public => section.refuse(
            "client_authentication",
            "no client_secret",
            r#"a client_secret, or client_authentication = "none""#,
            r#"add client_secret = { file = "client_secret" }"#,
        ),
        Some(_) if public && !hs256 => section.refuse(
            "client_authentication",
            r#""none", beside a client_secret"#,
            r#""client_secret_basic" or "client_secret_post", or no client_secret"#,
            "a public client has no secret",
        ),
        None if hs256 => section.refuse(
            "algorithms",
            "\"HS256\" without client_secret",
            "a client_secret: HS256 is verified by it",
            "ask the provider for RS256 or ES256 instead",
        ),
        Some(secret) if hs256 && secret.expose().len() < 32 => section.refuse(
            "algorithms",
            format!(
                "\"HS256\" with a client_secret of {} bytes",
                secret.expose().len()
            ),
            "a client_secret of 32 bytes at least (RFC 7518 3.2)",
            "a shorter secret can be guessed from one ID token; use RS256 or ES256",
        ),
        _ => Some(()),
    }
}

/// `openid` is always asked for, once.
fn scopes(value: &Value<'_>) -> Option<Vec<String>> {
    let scopes = value.set(|item| {
        let scope = item.text()?;
        // RFC 6749 3.3: scope-token.
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        match !scope.is_empty() && scope.bytes().all(allowed) {
            true => Some(scope.to_owned()),
            false => item.refuse("one scope, without spaces", "give each scope its own entry"),
        }
    })?;
    let others = scopes.into_iter().filter(|scope| scope != "openid");
    Some(["openid".to_owned()].into_iter().chain(others).collect())
}

fn parameters(value: &Value<'_>) -> Option<Vec<(String, String)>> {
    value.section(|section| {
        let parameters: Vec<_> = section.entries().iter().map(parameter).collect();
        parameters.into_iter().collect()
    })
}

fn parameter(entry: &Value<'_>) -> Option<(String, String)> {
    let name = entry.name();
    if RESERVED_PARAMETERS.contains(&name) {
        let hint = match name {
            "scope" => "use the key scopes",
            _ => "the sign-in sets this parameter itself",
        };
        let expected = r#"further parameters, such as { prompt = "select_account" }"#;
        return entry.refuse_found(format!("{name:?}"), expected, hint);
    }
    let text = entry.text()?;
    if name == "prompt" && text.split(' ').any(|prompt| prompt == "none") {
        let expected = r#""login", "consent" or "select_account""#;
        return entry.refuse(expected, "with none nobody is ever asked to sign in");
    }
    Some((name.to_owned(), text.to_owned()))
}

fn algorithms(value: &Value<'_>) -> Option<Vec<IdTokenAlgorithm>> {
    let algorithms = value.set(|item| {
        let hint = match item.as_text()? {
            "none" => "an unsigned ID token proves nothing",
            "HS384" | "HS512" => "of the HS family only HS256 is accepted",
            _ => return item.choice(ALGORITHMS),
        };
        let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
        item.refuse(format!("one of {}", names.join(", ")), hint)
    })?;
    if algorithms.is_empty() {
        return value.refuse(
            "at least one algorithm",
            r#"most providers sign with "RS256""#,
        );
    }
    if algorithms.contains(&IdTokenAlgorithm::HS256) {
        value.warn("with HS256 whoever knows the client secret can sign in as anybody");
    }
    Some(algorithms)
}
