//! `token inspect` and `token compare`: what session tokens say, so that WorkflowGen's own and ours can be laid side by
//! side. Values are shown, since they are what is asked for; a signature never is, and no secret.

mod comparison;

use std::io::{self, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Failure;
use super::input::{self, Unread};
use super::users::not_written;
use crate::config::{self, Config};
use crate::environment::{Clock as _, SystemClock, UnixSeconds, rfc3339};
use crate::session::TokenKeys;

/// Bytes of a token's file; no cookie holds as many.
const LARGEST: u64 = 64 * 1024;
/// Claims that are times (RFC 7519 4.1, OpenID Connect Core 2 and 5.1).
const TIMES: [&str; 5] = ["exp", "iat", "nbf", "auth_time", "updated_at"];

/// A token, taken apart and not believed.
struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    bytes: usize,
    signature_bytes: usize,
    /// The session key that made its signature.
    signed_by: Option<String>,
}

/// One thing that has to hold for a token to be a session of this installation.
struct Check {
    name: &'static str,
    holds: bool,
    expected: String,
}

/// Shows a token and whether it holds here.
pub(super) fn inspect(config: &Config, file: &Path, json: bool) -> Result<(), Failure> {
    let token = Token::read(config, file)?;
    let checks = checks(&token, &config.session, SystemClock.now());
    let mut out = io::stdout().lock();
    match json {
        true => write_inspected_json(&mut out, &token, &checks),
        false => write_inspected(&mut out, &token, &checks),
    }
    .or_else(not_written)?;
    let failed: Vec<_> = checks.iter().filter(|check| !check.holds).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = failed.iter().map(|check| check.name).collect();
    Err(Failure::new(format!(
        "the token does not hold here: {}",
        names.join(", ")
    )))
}

/// Shows two tokens field by field, differences marked.
pub(super) fn compare(config: &Config, files: [&Path; 2], json: bool) -> Result<(), Failure> {
    if files.iter().all(|file| *file == Path::new("-")) {
        return Err(unusable("expected one token on stdin, found two".into()));
    }
    let a = Token::read(config, files[0])?;
    let b = Token::read(config, files[1])?;
    let rows = comparison::rows(&a, &b);
    let mut out = io::stdout().lock();
    match json {
        true => comparison::write_json(&mut out, &rows),
        false => comparison::write(&mut out, &rows),
    }
    .or_else(not_written)?;
    match rows.iter().filter(|row| row.differs()).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!("the tokens differ in {count} places"))),
    }
}

fn unusable(message: String) -> Failure {
    Failure {
        message,
        hint: Some("name a file with the value of the cookie, or - for stdin".into()),
        code: Failure::WRONG_USAGE,
    }
}

impl Token {
    fn read(config: &Config, file: &Path) -> Result<Self, Failure> {
        let text = read(file)?;
        // As a browser's tools copy it.
        let text = text.trim_start_matches('\u{feff}').trim();
        let named = text.strip_prefix(&config.session.cookie);
        let text = named
            .and_then(|rest| rest.strip_prefix('='))
            .unwrap_or(text);
        let text = text.trim_end_matches(';').trim_matches('"');
        let keys = TokenKeys::new(&config.session).map_err(|fault| Failure {
            message: fault.to_string(),
            hint: Some("vestibule check tells every fault".into()),
            code: Failure::BAD_CONFIGURATION,
        })?;
        let malformed = |found: &str| {
            let message = format!(
                "expected a session token in {}, found {found}",
                file.display()
            );
            Failure::new(message)
                .hint("it is a JWT: three parts with dots between, as the cookie has it")
        };
        let [header, payload, signature] = text
            .split('.')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|parts: Vec<_>| malformed(&format!("{} parts", parts.len())))?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('='));
        let object = |part: &str, what: &str| {
            let bytes =
                decoded(part).map_err(|_| malformed(&format!("a {what} that is not base64url")))?;
            serde_json::from_slice(&bytes)
                .map_err(|_| malformed(&format!("a {what} that is no JSON object")))
        };
        let signature =
            decoded(signature).map_err(|_| malformed("a signature that is not base64url"))?;
        Ok(Self {
            header: object(header, "header")?,
            claims: object(payload, "payload")?,
            bytes: text.len(),
            signature_bytes: signature.len(),
            signed_by: keys.signer(text).map(str::to_owned),
        })
    }

    fn time(&self, name: &str) -> Option<UnixSeconds> {
        self.claims.get(name).and_then(Value::as_i64)
    }
}

/// Messages hold no content: it is a token.
fn read(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    input::text(file, LARGEST).map_err(|unread| {
        unusable(match unread {
            Unread::Fault(fault) => format!("the token in {shown} cannot be read: {fault}"),
            Unread::TooLarge => format!("expected at most {LARGEST} bytes in {shown}, found more"),
        })
    })
}

fn checks(token: &Token, session: &config::Session, now: UnixSeconds) -> Vec<Check> {
    let algorithm = format!("{:?}", session.algorithm);
    let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
    let check = |name, holds, expected| Check {
        name,
        holds,
        expected,
    };
    vec![
        check(
            "alg",
            token.header.get("alg").and_then(Value::as_str) == Some(&algorithm),
            algorithm.clone(),
        ),
        check(
            "signature",
            token.signed_by.is_some(),
            match &token.signed_by {
                Some(id) => format!("made by session key {id}"),
                None => "made by one of session.keys".into(),
            },
        ),
        check(
            "iss",
            text("iss") == Some(&session.issuer),
            session.issuer.clone(),
        ),
        check(
            "aud",
            text("aud") == Some(&session.audience),
            session.audience.clone(),
        ),
        check(
            "exp",
            token.time("exp").is_some_and(|exp| exp > now),
            format!("after {}", rfc3339(now)),
        ),
        check(
            "nbf",
            !token.claims.contains_key("nbf") || token.time("nbf").is_some_and(|nbf| nbf <= now),
            "absent, or not to come".into(),
        ),
        check(
            "username",
            text(&session.username_claim).is_some_and(|name| !name.is_empty()),
            format!("text in {}", session.username_claim),
        ),
    ]
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// JSON without characters that a terminal would obey.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let plain = |c: char| match c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    text.chars().map(plain).collect()
}

fn shown_name(name: &str) -> String {
    let quoted = shown(&json!(name));
    match quoted.len() == name.len() + 2 {
        true => name.to_owned(),
        false => quoted,
    }
}

/// A value, and a time as people read it.
fn shown_claim(name: &str, value: &Value) -> String {
    match value.as_i64().filter(|_| TIMES.contains(&name)) {
        Some(time) => format!("{time}  {}", rfc3339(time)),
        None => shown(value),
    }
}

fn write_inspected(out: &mut impl Write, token: &Token, checks: &[Check]) -> io::Result<()> {
    for (part, fields) in [("header", &token.header), ("claims", &token.claims)] {
        writeln!(out, "{part}")?;
        for (name, value) in fields {
            writeln!(
                out,
                "   {:<38}  {:<7}  {}",
                shown_name(name),
                kind(value),
                shown_claim(name, value)
            )?;
        }
    }
    writeln!(out, "checks by proxy.toml")?;
    for check in checks {
        let verdict = if check.holds { "ok" } else { "NO" };
        writeln!(
            out,
            "   {verdict:<2}  {:<9}  expected {}",
            check.name, check.expected
        )?;
    }
    writeln!(
        out,
        "{} bytes, {} of them signature, which is not shown",
        token.bytes, token.signature_bytes
    )
}

fn write_inspected_json(out: &mut impl Write, token: &Token, checks: &[Check]) -> io::Result<()> {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| json!({"check": check.name, "ok": check.holds, "expected": check.expected}))
        .collect();
    let shown = json!({
        "header": token.header, "claims": token.claims, "bytes": token.bytes,
        "signature": {"bytes": token.signature_bytes, "session_key": token.signed_by}, "checks": checks,
    });
    writeln!(out, "{shown:#}")
}
