//! From the file's raw shape to validated values: one reader a section, and here the order in which
//! they need each other.
//!
//! Sections that others refer to are read first; faults are sorted by place afterwards, so the order
//! does not show. Nothing is half accepted: either a whole [`Config`], or every fault of the file.

mod address;
mod assertion;
mod client_key;
mod directory;
mod issuer;
mod operator;
mod provider;
mod push;
mod rule;
mod secret;
mod server;
mod session;
mod tls;
mod upstream;

use std::collections::BTreeSet;
use std::path::Path;

use super::document::Document;
use super::fault::{Fault, Faults, Problem};
use super::file::Section;
use super::{Config, Directory, SelfProvisioning, UserField};

/// Reads and validates `path`, and the secrets that it names.
///
/// # Errors
/// Every fault of the file at once.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let unreadable = |found: String, hint: &str| {
        let fault = Fault {
            line: 0,
            column: 0,
            key: String::new(),
            problem: Problem::Unreadable,
            found,
            expected: "a readable file in UTF-8".to_owned(),
            hint: Some(hint.to_owned()),
        };
        Faults {
            file: path.to_owned(),
            list: vec![fault],
        }
    };
    let bytes = std::fs::read(path).map_err(|error| {
        unreadable(
            error.to_string(),
            "name the file with --config, or run in its folder",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(
            format!("bytes that are not UTF-8, from byte {}", at + 1),
            "save the file as UTF-8",
        )
    })?;
    load_text(&text, path)
}

/// Validates `text` as if it had been read from `path`, which relative paths start from.
///
/// # Errors
/// Every fault of the text at once.
pub fn load_text(text: &str, path: &Path) -> Result<Config, Faults> {
    let document = Document::new(path, text.strip_prefix('\u{feff}').unwrap_or(text));
    let config = document.walk(|top| read(&document, top));
    let warnings = document.warnings();
    let mut list = document.faults.take();
    list.sort_by_key(|fault| (fault.line, fault.column));
    match config {
        Some(config) if list.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Faults {
            file: path.to_owned(),
            list,
        }),
    }
}

fn read(document: &Document<'_>, top: &Section<'_>) -> Option<Config> {
    let server = top.section("server", server::server);
    let mut provider_names = Vec::new();
    let providers = at_least_one(top, "providers", |_, section| {
        provider::provider(section, &mut provider_names)
    });
    let session = top.section("session", |section| {
        session::session(section, server.as_ref())
    });
    let store = top.section("store", operator::store);
    let access = top.section("access", rule::access);
    let directories = directory::directories(top, &provider_names);
    let mapped = directories.as_deref().map(mapped_fields);
    let upstream = top.section("upstream", |section| {
        upstream::upstream(section, server.as_ref(), session.as_ref(), mapped.as_ref())
    });
    let identity = upstream.as_ref().map(|upstream| &upstream.identity);
    if let (Some(providers), Some(session), Some(upstream)) = (&providers, &session, &upstream) {
        client_key::check_own(top, providers, session, upstream);
    }
    let mut routes_so_far = Vec::new();
    let routes = top.tables("routes", |_, section| {
        let audiences = providers.as_deref();
        let route = server::route(section, server.as_ref(), identity, &mut routes_so_far)?;
        server::check_audiences(section, &route, audiences).then_some(route)
    });
    if let (Some(server), Some(routes), Some(directories)) = (&server, &routes, &directories) {
        for directory in directories {
            push::check_route(top, &directory.push, server, routes);
        }
    }
    let admin = top.section("admin", |section| operator::admin(section, server.as_ref()));
    let log = top.section("log", operator::log);
    Some(Config {
        path: document.file.to_owned(),
        server: server?,
        upstream: upstream?,
        providers: providers?,
        session: session?,
        store: store?,
        access: access?,
        directories: directories?,
        routes: routes?,
        admin: admin?,
        log: log?,
        warnings: Vec::new(),
    })
}

fn at_least_one<T>(
    top: &Section<'_>,
    name: &'static str,
    read: impl FnMut(usize, &Section<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let list = top.tables(name, read)?;
    match list.is_empty() {
        true => top.refuse(
            name,
            "an empty list",
            "at least one table",
            &format!("add [[{name}]]"),
        ),
        false => Some(list),
    }
}

/// The user fields that every directory with a mapping maps: only those have a value for each user.
fn mapped_fields(directories: &[Directory]) -> BTreeSet<UserField> {
    let of = |rules: &SelfProvisioning| -> BTreeSet<UserField> {
        rules.mapping.iter().map(|(field, _)| *field).collect()
    };
    directories
        .iter()
        .filter_map(Directory::self_provisioning)
        .map(of)
        .reduce(|a, b| a.intersection(&b).copied().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
