//! `[session]`: the token that we mint, its keys and its cookie.

use std::time::Duration;

use jsonwebtoken::Header;

use super::{address, secret};
use crate::config::client_key::SEC1;
use crate::config::file::Section;
use crate::config::pem;
use crate::config::unit::show_duration;
use crate::config::value::Value;
use crate::config::{Lifetime, PublicUrl, Secret, Server, Session, SessionAlgorithm, SessionKey};

/// Claims of the session token that have a meaning of their own.
const OWN_CLAIMS: &[&str] = &[
    "iss", "aud", "azp", "exp", "iat", "nbf", "jti", "sub", "sid", "nonce", "at_hash", "c_hash",
    "s_hash", "user",
];

/// Shorter secrets can be guessed from one token (RFC 7518 3.2).
const MIN_SECRET: usize = 32;

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
const MEBIBYTE: u64 = 1024 * 1024;
const SECOND: Duration = Duration::from_secs(1);

/// `[session]`.
pub(super) fn session(section: &Section<'_>, server: Option<&Server>) -> Option<Session> {
    let cookie = section.get("cookie", cookie_name);
    let algorithm = section.get("algorithm", |value| {
        value.choice(&[
            ("HS256", SessionAlgorithm::HS256),
            ("ES256", SessionAlgorithm::ES256),
            ("EdDSA", SessionAlgorithm::EdDSA),
            ("RS256", SessionAlgorithm::RS256),
        ])
    });
    let keys = keys(section, "keys", algorithm, &[]);
    let sealing_keys = keys_for_sealing(section, keys.as_deref());
    let claims = section.get("claims", claims);
    let or = |value: &Value<'_>, default: Option<String>| match value.text()? {
        "" => default,
        _ => value.name_text(),
    };
    let issuer = section.get("issuer", |value| {
        or(
            value,
            server.map(|server| format!("{}{}", server.public_url, server.auth_path)),
        )
    });
    let audience = section.get("audience", |value| {
        or(value, server.map(|server| server.public_url.to_string()))
    });
    let username_claim = section.get("username_claim", username_claim);
    let lifetime = section.get("lifetime", |value| match value.as_text() {
        Some("id-token") => Some(Lifetime::IdToken),
        _ => value.duration(SECOND..=YEAR).map(Lifetime::Fixed),
    });
    let max_lifetime = section.get("max_lifetime", |value| value.duration(SECOND..=YEAR));
    let idle_timeout = section.get("idle_timeout", |value| match value.as_text() {
        Some("off") => Some(None),
        _ => value.duration(SECOND..=YEAR).map(Some),
    });
    let refresh = section.get("refresh", |value| value.boolean());
    let kept_form_size = section.get("kept_form_size", |value| match value.as_text() {
        Some("off") => Some(0),
        _ => value.size(1..=16 * MEBIBYTE, Some("off")),
    });
    let kept_form_lifetime =
        section.get("kept_form_lifetime", |value| value.duration(MINUTE..=DAY));
    let same_site_none = section.get("same_site", |value| {
        value.choice(&[("lax", false), ("none", true)])
    });
    let trusted_origins = section.get("trusted_origins", |value| value.set(address::origin));
    let session = Session {
        cookie: cookie?,
        keys: keys?,
        sealing_keys: sealing_keys?,
        claims: claims?,
        algorithm: algorithm?,
        issuer: issuer?,
        audience: audience?,
        username_claim: username_claim?,
        lifetime: lifetime?,
        max_lifetime: max_lifetime?,
        idle_timeout: idle_timeout?,
        refresh: refresh?,
        kept_form_size: kept_form_size? as usize,
        kept_form_lifetime: kept_form_lifetime?,
        same_site_none: same_site_none?,
        trusted_origins: trusted_origins?,
    };
    let checks = [
        check_lifetimes(section, &session),
        check_same_site(section, &session, server?),
        check_trusted_origins(section, &session),
        check_cookie_prefix(section, &session, &server?.public_url),
    ];
    checks.iter().all(Option::is_some).then_some(session)
}

fn check_lifetimes(section: &Section<'_>, session: &Session) -> Option<()> {
    match session.lifetime {
        Lifetime::Fixed(lifetime) if lifetime > session.max_lifetime => section.refuse(
            "max_lifetime",
            format!("{:?}", show_duration(session.max_lifetime)),
            format!("lifetime ({:?}) or more", show_duration(lifetime)),
            "raise max_lifetime or lower lifetime",
        ),
        _ => Some(()),
    }
}

fn check_same_site(section: &Section<'_>, session: &Session, server: &Server) -> Option<()> {
    match session.same_site_none && !server.public_url.https {
        true => section.refuse(
            "same_site",
            r#""none", with an http public_url"#,
            r#""lax", or an https public_url"#,
            "browsers take SameSite=None cookies over https only",
        ),
        false => Some(()),
    }
}

fn check_trusted_origins(section: &Section<'_>, session: &Session) -> Option<()> {
    match (session.same_site_none, session.trusted_origins.is_empty()) {
        (false, false) => section.refuse(
            "trusted_origins",
            r#"origins, with same_site = "lax""#,
            r#"none, or same_site = "none""#,
            "with lax no foreign site's request comes with the session",
        ),
        (true, true) => {
            section.warn(
                "trusted_origins",
                "empty, so any site may show the application in a frame and have people click there; name the portals",
            );
            Some(())
        }
        _ => Some(()),
    }
}

/// A token of RFC 6265 4.1.1.
fn cookie_name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !name.is_empty() && name.len() <= 64 && name.bytes().all(token) {
        true => Some(name.to_owned()),
        false => value.refuse(
            "a cookie's name: letters, digits, - and _, at most 64",
            r#"WorkflowGen looks for "wfgen_token""#,
        ),
    }
}

/// The prefixes that browsers hold to conditions (RFC 6265bis 4.1.3).
fn check_cookie_prefix(section: &Section<'_>, session: &Session, url: &PublicUrl) -> Option<()> {
    let name = session.cookie.to_ascii_lowercase();
    let host = name.starts_with("__host-");
    let secure = host || name.starts_with("__secure-") || name.starts_with("__http-");
    let (expected, hint) = if secure && !url.https {
        (
            "a name without prefix, or an https public_url",
            "browsers take this prefix over https only",
        )
    } else if host && !url.base.is_empty() {
        (
            "a name without __Host-, or a public_url without base path",
            "browsers take __Host- cookies for the path / only; __Secure- works below a base path",
        )
    } else {
        return Some(());
    };
    section.refuse("cookie", format!("{:?}", session.cookie), expected, hint)
}

fn claims(value: &Value<'_>) -> Option<Option<Vec<String>>> {
    match value.as_text() {
        Some("all") => Some(None),
        Some(_) => value.refuse(r#""all" or a list of claim names"#, ""),
        None => value.set(Value::name_text).map(Some),
    }
}

fn username_claim(value: &Value<'_>) -> Option<String> {
    let name = value.name_text()?;
    match OWN_CLAIMS.contains(&name.as_str()) {
        true => value.refuse(
            "a claim without a meaning of its own",
            r#"WorkflowGen reads "https://api.workflowgen.com/username""#,
        ),
        false => Some(name),
    }
}

fn keys_for_sealing(
    section: &Section<'_>,
    session_keys: Option<&[SessionKey]>,
) -> Option<Vec<SessionKey>> {
    let sealing = keys(
        section,
        "sealing_keys",
        Some(SessionAlgorithm::HS256),
        session_keys.unwrap_or_default(),
    )?;
    if sealing.is_empty() {
        section.warn(
            "sealing_keys",
            "empty, so sign-in state is sealed by a key derived from `keys`, which the application may know; give it keys of its own (vestibule keys generate)",
        );
    }
    Some(sealing)
}

/// A list of keys; no secret may stand in it twice or be among `others`.
fn keys(
    section: &Section<'_>,
    name: &'static str,
    algorithm: Option<SessionAlgorithm>,
    others: &[SessionKey],
) -> Option<Vec<SessionKey>> {
    let mut seen: Vec<SessionKey> = Vec::new();
    let keys = section.tables(name, |_, entry| {
        let id = entry.get("id", |value| {
            let id = value.name_text()?;
            match seen.iter().any(|key| key.id == id) {
                true => value.refuse("a unique id", "another key of the list has this id"),
                false => Some(id),
            }
        });
        let secret = entry.get("secret", |value| {
            let secret = secret::secret(value)?;
            let same = |key: &&SessionKey| key.secret == secret;
            if seen.iter().find(same).is_some() {
                return value.refuse_found(
                    "the secret of another key of the list",
                    "a secret of its own",
                    "make one with vestibule keys generate",
                );
            }
            if others.iter().find(same).is_some() {
                return value.refuse_found(
                    "a secret that is among session.keys",
                    "a secret that the application does not know",
                    "make one with vestibule keys generate",
                );
            }
            check_key(value, secret, algorithm?)
        });
        let key = SessionKey {
            id: id?,
            secret: secret?,
        };
        seen.push(key.clone());
        Some(key)
    })?;
    match keys.is_empty() && name == "keys" {
        true => section.refuse(
            name,
            "an empty list",
            "at least one key",
            "make one with vestibule keys generate --out keys/session",
        ),
        false => Some(keys),
    }
}

pub(super) fn check_key(
    value: &Value<'_>,
    secret: Secret,
    algorithm: SessionAlgorithm,
) -> Option<Secret> {
    let bytes = secret.expose();
    let name = format!("{algorithm:?}");
    let generate = format!("make one with vestibule keys generate --algorithm {name}");
    if algorithm == SessionAlgorithm::HS256 && bytes.len() < MIN_SECRET {
        let found = format!("a secret of {} bytes", bytes.len());
        let hint = "make one with vestibule keys generate";
        return value.refuse_found(found, format!("{MIN_SECRET} bytes at least"), hint);
    }
    if algorithm == SessionAlgorithm::HS256 {
        return Some(secret);
    }
    let expected = format!("a PEM private key (PKCS#8) for {name}");
    let label = pem::blocks(bytes).next().map(|block| block.label);
    if label == Some("EC PRIVATE KEY") {
        return value.refuse_found("a PEM file of EC PRIVATE KEY", expected, SEC1);
    }
    // A key of another curve or size fails at its first signature only: make one now.
    let header = Header::new(algorithm.jws());
    let signs = |key| jsonwebtoken::encode(&header, &serde_json::json!({}), &key);
    match algorithm.encoding_key(bytes).and_then(signs) {
        Ok(_) => Some(secret),
        Err(_) => {
            let found = match label {
                Some(label) => format!("a PEM file of {label} that does not sign {name}"),
                None => "a file that is not PEM".to_owned(),
            };
            value.refuse_found(found, expected, &generate)
        }
    }
}
