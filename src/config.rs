//! The validated configuration: what `proxy.toml` means once every value has been checked.
//!
//! `file` reads the raw TOML shape, `validate` turns it into these types and collects every fault;
//! nothing outside this room sees a raw value. Keys, units and defaults are those of the annotated
//! reference, the top-level `proxy.toml`; a test holds the two together.

mod certificate;
mod client_key;
mod document;
mod fault;
mod file;
mod headers;
mod keys;
mod literal;
mod pem;
mod section;
mod slip;
mod unit;
mod validate;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::expression::Expression;

pub use certificate::{Pair, PairFault, Tls, TlsFile, TlsFiles};
pub use client_key::{ClientKey, ClientKeyFault};
pub use fault::{Fault, Faults, Problem};
pub use headers::{STRIP_LIST, StripPattern, header_skeleton};
pub use keys::{Fallback, KEYS, Key, Kind};
pub use section::*;
pub(crate) use unit::show_duration;
pub use validate::{load, load_text};

/// A whole, valid `proxy.toml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the file was read.
    pub path: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[[providers]]`, in the file's order; at least one.
    pub providers: Vec<Provider>,
    /// `[session]`.
    pub session: Session,
    /// `[store]`.
    pub store: Store,
    /// `access.rules`, in the file's order.
    pub access: Vec<AccessRule>,
    /// `[[directories]]`; at least one.
    pub directories: Vec<Directory>,
    /// `[[routes]]`, first match wins.
    pub routes: Vec<Route>,
    /// `[admin]`; `None` when `listen = "off"`.
    pub admin: Option<Admin>,
    /// `[log]`.
    pub log: Log,
    /// Things that are allowed but that the operator should know of; `check` prints them.
    pub warnings: Vec<String>,
}

impl Config {
    /// Every claim name that a mapping, rule or condition reads, and so what headers of user fields need. The
    /// session token's username claim may be among them: it stands for the provider's own `username_claim`.
    pub fn claims_in_use(&self) -> BTreeSet<String> {
        let mut names = self.mapped_claims();
        let directories = self.directories.iter();
        let directories = directories.filter_map(Directory::self_provisioning);
        let conditions = directories.filter_map(|directory| directory.when.as_ref());
        let rules = self.access.iter().map(|rule| &rule.require);
        for rule in conditions.chain(rules).chain(self.route_rules()) {
            names.extend(rule.claims().iter().cloned());
        }
        names
    }

    /// Every claim name that a mapping reads.
    pub fn mapped_claims(&self) -> BTreeSet<String> {
        let directories = self.directories.iter();
        let directories = directories.filter_map(Directory::self_provisioning);
        directories
            .flat_map(SelfProvisioning::mapped_claims)
            .collect()
    }

    /// Whether any directory takes usernames from e-mail addresses.
    pub fn maps_email_to_username(&self) -> bool {
        let directories = self.directories.iter();
        directories
            .filter_map(Directory::self_provisioning)
            .flat_map(|directory| &directory.mapping)
            .any(|(field, rule)| *field == UserField::Username && rule.source.reads_email())
    }

    /// The rules of routes that need a session, in the file's order: decided at sign-ins.
    pub fn route_rules(&self) -> impl Iterator<Item = &Expression> {
        self.rules_with(Access::Login)
    }

    /// The rules of routes that need an access token, in the file's order: decided when one is seen first.
    pub fn bearer_rules(&self) -> impl Iterator<Item = &Expression> {
        self.rules_with(Access::Bearer)
    }

    fn rules_with(&self, access: Access) -> impl Iterator<Item = &Expression> {
        let routes = self.routes.iter().filter(move |it| it.access == access);
        routes.filter_map(|route| route.require.as_ref())
    }

    /// Whether any route takes access tokens.
    pub fn takes_access_tokens(&self) -> bool {
        self.routes.iter().any(|it| it.access == Access::Bearer)
    }
}

/// A secret read from a file or the environment. Its `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The secret itself: the caller sees to it that it reaches no log and no page.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `[store]`.
#[derive(Debug, Clone)]
pub struct Store {
    /// `url` and `password`.
    pub place: StorePlace,
    /// How long audit rows are kept.
    pub audit_retention: Duration,
}

/// Where users, sessions and the audit trail are kept. Its `Display` never shows a password.
#[derive(Debug, Clone)]
pub enum StorePlace {
    /// A SQLite file, resolved against the configuration's folder: one node.
    Sqlite(PathBuf),
    /// A PostgreSQL database: many nodes.
    Postgres {
        /// `postgres://user@host:port/database?sslmode=…`, without a password.
        url: url::Url,
        /// The user's password there.
        password: Option<Secret>,
    },
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorePlace::Sqlite(file) => write!(f, "{}", file.display()),
            StorePlace::Postgres { url, .. } => f.write_str(url.as_str()),
        }
    }
}

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its listener.
    pub listen: SocketAddr,
    /// Bearer token of everything but the health endpoints.
    pub token: Option<Secret>,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// tracing filter directives.
    pub level: String,
    /// One line a request.
    pub access: bool,
}
