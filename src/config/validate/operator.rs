//! `[store]`, `[admin]` and `[log]`: what operators keep, watch and read.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{address, secret};
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{Admin, Log, Secret, Server, Store, StorePlace};

/// Characters of `admin.token`.
const SHORTEST_ADMIN_TOKEN: usize = 16;

const DAY: Duration = Duration::from_secs(86_400);

/// `[store]`.
pub(super) fn store(section: &Section<'_>) -> Option<Store> {
    let place = section.get("url", place);
    let password = section.optional("password", secret::secret);
    let audit_retention = section.get("audit_retention", |value| {
        value.duration(DAY..=36_500 * DAY)
    });
    let place = match (place?, password?) {
        (StorePlace::Sqlite(_), Some(_)) => {
            let expected = "no password with a SQLite file";
            return section.refuse("password", "a password", expected, "leave the key out");
        }
        (StorePlace::Postgres { url, .. }, password) => StorePlace::Postgres { url, password },
        (sqlite, None) => sqlite,
    };
    Some(Store {
        place,
        audit_retention: audit_retention?,
    })
}

const PLACE: &str = r#"a file such as "sqlite:vestibule.db", or "postgres://user@host/database""#;

fn place(value: &Value<'_>) -> Option<StorePlace> {
    let url = value.text()?;
    match url.split_once(':') {
        Some(("sqlite", path)) => sqlite(value, path).map(StorePlace::Sqlite),
        Some(("postgres" | "postgresql", _)) => postgres(value, url),
        _ => value.refuse(PLACE, "begin with sqlite: or postgres:"),
    }
}

fn sqlite(value: &Value<'_>, path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match path {
        "" => value.refuse(PLACE, "name a file after sqlite:"),
        ":memory:" => value.refuse(PLACE, "users must outlive the process: name a file"),
        _ if path.ends_with('/') => value.refuse(PLACE, "name a file, not a folder"),
        _ if path.contains(['?', '#', '\0']) => {
            value.refuse(PLACE, "write no options behind the file's name")
        }
        _ => Some(value.document().resolve(path)),
    }
}

fn postgres(value: &Value<'_>, text: &str) -> Option<StorePlace> {
    let Ok(url) = Url::parse(text) else {
        return value.refuse(PLACE, "write it as postgres://user@host:5432/database");
    };
    let secret = |name: &str| name.eq_ignore_ascii_case("password");
    if url.password().is_some() || url.query_pairs().any(|(name, _)| secret(&name)) {
        let found = "a url with a password in it";
        let hint = r#"secrets are never written in this file: set store.password, such as { file = "store_password" }"#;
        return value.refuse_found(found, "a url without a password", hint);
    }
    match (url.username(), url.path().trim_start_matches('/')) {
        ("", _) => value.refuse(PLACE, "name the database user before the @"),
        (_, "") => value.refuse(PLACE, "name the database behind the host"),
        _ => Some(StorePlace::Postgres {
            url,
            password: None,
        }),
    }
}

/// `[admin]`; `None` inside when it is off.
pub(super) fn admin(section: &Section<'_>, server: Option<&Server>) -> Option<Option<Admin>> {
    let listen = section.get("listen", |value| match value.as_text() {
        Some("off") => Some(None),
        _ => address::listen(value).map(Some),
    });
    let token = section.optional("token", admin_token);
    let (Some(listen), token) = (listen?, token?) else {
        return Some(None);
    };
    if token.is_none() && !listen.ip().is_loopback() {
        return section.refuse(
            "listen",
            format!("\"{listen}\" without token"),
            "a loopback address, or a token",
            r#"add token = { file = "admin_token" }"#,
        );
    }
    let taken = |server: &Server| listen.port() != 0 && server.listen.contains(&listen);
    if server.is_some_and(taken) {
        return section.refuse(
            "listen",
            format!("\"{listen}\", which is server.listen too"),
            "an address of its own",
            "the admin listener never shares the public one's port",
        );
    }
    Some(Some(Admin { listen, token }))
}

/// It stands in an Authorization header.
pub(super) fn token(value: &Value<'_>) -> Option<Secret> {
    let token = secret::secret(value)?;
    if !token.expose().iter().all(u8::is_ascii_graphic) {
        let expected = "visible ASCII characters on one line";
        let hint = "make one with vestibule keys generate";
        return value.refuse_found("a token with other characters", expected, hint);
    }
    Some(token)
}

/// Ours to choose, unlike a receiver's: so it is one that nobody guesses.
fn admin_token(value: &Value<'_>) -> Option<Secret> {
    let token = token(value)?;
    let length = token.expose().len();
    if length < SHORTEST_ADMIN_TOKEN {
        return value.refuse_found(
            format!("a token of {length} characters"),
            format!("{SHORTEST_ADMIN_TOKEN} characters or more"),
            "make one with vestibule keys generate",
        );
    }
    Some(token)
}

/// `[log]`.
pub(super) fn log(section: &Section<'_>) -> Option<Log> {
    let json = section.get("format", |value| {
        value.choice(&[("text", false), ("json", true)])
    });
    let level = section.get("level", |value| {
        let level = value.name_text()?;
        match is_filter(&level) {
            true => Some(level),
            false => value.refuse(
                r#""error", "warn", "info", "debug" or "trace", or a tracing filter"#,
                r#"a filter is such as "info,vestibule::oidc=debug""#,
            ),
        }
    });
    let access = section.get("access", |value| value.boolean());
    Some(Log {
        json: json?,
        level: level?,
        access: access?,
    })
}

/// Whether `level` is a level or a filter. A word that is no level is a target to tracing, which then
/// shows that target's lines and no others: `warning` would silence the log.
fn is_filter(level: &str) -> bool {
    let word = |part: &&str| !part.contains(['=', '[']);
    let words = level.split(',').map(str::trim).filter(word);
    let mut levels = words.map(str::parse::<tracing_subscriber::filter::LevelFilter>);
    levels.all(|level| level.is_ok()) && tracing_subscriber::EnvFilter::try_new(level).is_ok()
}
