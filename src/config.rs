//! The validated configuration: what `proxy.toml` means once every value has been checked.
//!
//! `file` reads the raw TOML shape, `validate` turns it into these types and collects every fault;
//! nothing outside this room sees a raw value. Keys, units and defaults are those of the annotated
//! reference, the top-level `proxy.toml`; a test holds the two together.

mod document;
mod fault;
mod file;
mod headers;
mod keys;
mod literal;
mod slip;
mod unit;
mod validate;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

pub use fault::{Fault, Faults, Problem};
pub use headers::{STRIP_LIST, StripPattern, header_skeleton};
pub use keys::{Fallback, KEYS, Key, Kind, Support};
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
    /// Every claim name that a mapping reads, and so what headers of user fields need. The session
    /// token's username claim may be among them: it stands for the provider's own `username_claim`.
    pub fn claims_in_use(&self) -> BTreeSet<String> {
        self.directories
            .iter()
            .flat_map(|directory| &directory.mapping)
            .flat_map(|(_, rule)| match &rule.source {
                Source::Claims(names) => names.as_slice(),
                Source::Value(_) => &[],
            })
            .cloned()
            .collect()
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

/// `server.public_url`: origin and base path of the application as browsers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `true` for https.
    pub https: bool,
    /// `host` or `host:port`, lower case, without the scheme's default port and a trailing dot.
    pub authority: String,
    /// The base path without a trailing slash; `""` when the application is at `/`.
    pub base: String,
}

impl PublicUrl {
    /// `https://host[:port]`.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The base path as a cookie's `Path` and as a redirect's target: `/wfgen`, or `/`.
    pub fn base_path(&self) -> &str {
        if self.base.is_empty() {
            "/"
        } else {
            &self.base
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.base)
    }
}

/// `[server]`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Origin and base path.
    pub public_url: PublicUrl,
    /// Addresses of the public listener.
    pub listen: Vec<SocketAddr>,
    /// Path of our own endpoints below the base path, such as `/auth`; no trailing slash.
    pub auth_path: String,
    /// Data-plane threads, at least 1.
    pub workers: usize,
    /// Further hosts, normalised as `PublicUrl::authority` is.
    pub aliases: Vec<String>,
    /// Peers whose X-Forwarded-* are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long to go on serving, not ready, after SIGTERM.
    pub drain_delay: Duration,
    /// How long requests in flight may take to end at shutdown.
    pub shutdown_grace: Duration,
    /// `[server.limits]`.
    pub limits: Limits,
}

impl Server {
    /// The path of our own endpoints as browsers send it: base path and `auth_path`.
    pub fn auth_prefix(&self) -> String {
        format!("{}{}", self.public_url.base, self.auth_path)
    }

    /// The full URL of an own endpoint, such as `callback`.
    pub fn endpoint_url(&self, endpoint: &str) -> String {
        format!("{}{}/{endpoint}", self.public_url, self.auth_path)
    }
}

/// `[server.limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections over all workers.
    pub connections: usize,
    /// Bytes of a request's header section, request line included.
    pub header_size: usize,
    /// Bytes of a request's body; `None` is unlimited.
    pub body_size: Option<u64>,
    /// For a whole header section to arrive.
    pub header_timeout: Duration,
    /// For a keep-alive connection without a request.
    pub idle_timeout: Duration,
}

/// `[upstream]`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Host and port to connect to, such as `127.0.0.1:8081`; at least one.
    pub servers: Vec<UpstreamServer>,
    /// Which Host the application is told.
    pub host: UpstreamHost,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// From the request's end of header to the response's header.
    pub response_timeout: Duration,
    /// Whether the client's Authorization header passes on `login` routes.
    pub forward_authorization: bool,
    /// `[upstream.identity]`.
    pub identity: Identity,
}

/// One of `upstream.servers` (plain http).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl UpstreamServer {
    /// `host[:port]` as a Host header says it (the port is left out when it is 80).
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// `upstream.host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamHost {
    /// That of `public_url`.
    Public,
    /// That of the chosen server.
    Server,
}

/// `[upstream.identity]`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Carries the username.
    pub user_header: HeaderName,
    /// Whether the application gets the session token cookie too.
    pub forward_session_cookie: bool,
    /// More headers from user fields.
    pub headers: Vec<(HeaderName, UserField)>,
    /// The operator's additions to the strip list, as written; `*` ends a prefix.
    pub strip: Vec<String>,
}

/// One of `[[providers]]`.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Unique; lower-case letters, digits and `-`.
    pub name: String,
    /// As the discovery document says it, to the letter.
    pub issuer: String,
    /// Our client identifier there.
    pub client_id: String,
    /// `None`: a public client.
    pub client_secret: Option<Secret>,
    /// How the token endpoint is told who we are.
    pub client_authentication: ClientAuthentication,
    /// The claim that identifies a person.
    pub subject_claim: String,
    /// Asked for at authorization; `openid` is always among them.
    pub scopes: Vec<String>,
    /// The claim that becomes the session token's username claim.
    pub username_claim: String,
    /// This provider's e-mail addresses count as verified.
    pub trust_email: bool,
    /// When UserInfo is asked.
    pub user_info: UserInfo,
    /// Added to the authorization request; never a parameter of the protocol's own.
    pub authorization_parameters: Vec<(String, String)>,
    /// Accepted ID token signatures.
    pub algorithms: Vec<IdTokenAlgorithm>,
    /// Tolerated difference of clocks.
    pub clock_skew: Duration,
    /// Whether logging out ends the provider's session too.
    pub end_provider_session: bool,
    /// PEM of an own authority.
    pub ca: Option<Vec<u8>>,
}

/// `providers.client_authentication` (OpenID Connect Core 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// `none`.
    None,
}

/// `providers.user_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserInfo {
    /// Never asked.
    Never,
    /// At every sign-in.
    Always,
    /// When a claim that a mapping, rule or header names is not in the ID token.
    WhenMissing,
}

/// `providers.algorithms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum IdTokenAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
}

/// `[session]`.
#[derive(Debug, Clone)]
pub struct Session {
    /// Name of the session token's cookie.
    pub cookie: String,
    /// The first signs, all verify.
    pub keys: Vec<SessionKey>,
    /// The first seals, all open. Empty: derived from `keys`.
    pub sealing_keys: Vec<SessionKey>,
    /// Which of the provider's claims the token carries; `None` is all.
    pub claims: Option<Vec<String>>,
    /// Signature of the session token.
    pub algorithm: SessionAlgorithm,
    /// `iss`, resolved.
    pub issuer: String,
    /// `aud`, resolved.
    pub audience: String,
    /// The claim that carries the username.
    pub username_claim: String,
    /// How long a session lives.
    pub lifetime: Lifetime,
    /// The longest a session lives.
    pub max_lifetime: Duration,
    /// `SameSite=None` instead of `Lax`.
    pub same_site_none: bool,
}

/// One of `session.keys` or `session.sealing_keys`.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// `kid`.
    pub id: String,
    /// Raw bytes for HS256 and sealing (32 at least), PEM for the others.
    pub secret: Secret,
}

/// `session.algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum SessionAlgorithm {
    HS256,
    ES256,
    EdDSA,
    RS256,
}

/// `session.lifetime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the ID token's `exp`.
    IdToken,
    /// A fixed time.
    Fixed(Duration),
}

/// `[store]`.
#[derive(Debug, Clone)]
pub struct Store {
    /// The SQLite file, resolved against the configuration's folder.
    pub sqlite: PathBuf,
    /// How long audit rows are kept.
    pub audit_retention: Duration,
}

/// One of `[[directories]]`, connector `self-provisioning`.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Unique, 1 to 50 characters.
    pub name: String,
    /// For people.
    pub description: String,
    /// Providers whose people may be of this directory; empty = any.
    pub providers: Vec<String>,
    /// Never created, adopted or let in by name alone.
    pub reserved_usernames: Vec<String>,
    /// A known identity that comes with a new username.
    pub rename: Rename,
    /// Provision users nobody knows yet.
    pub create: bool,
    /// Synchronise known users.
    pub update: bool,
    /// Take over users of this directory by name.
    pub adopt: Adopt,
    /// Status of a user that is created.
    pub new_user_status: UserStatus,
    /// Nobody is created over it; `None` is unlimited.
    pub max_users: Option<u64>,
    /// User field and where its value comes from, in the file's order; `username` and `name` are among them.
    pub mapping: Vec<(UserField, FieldRule)>,
}

/// `directories.rename`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// The user takes the new name; the old one stays reserved.
    Follow,
    /// The user keeps the old name.
    Keep,
    /// The sign-in is refused.
    Deny,
}

/// `directories.adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// Refused, naming the conflict.
    Never,
    /// A user that has no identity may be taken over.
    Unbound,
    /// Any user of the directory may.
    Any,
}

/// Whether a user may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserStatus {
    /// May.
    Active,
    /// May not, until an administrator activates them.
    Inactive,
}

impl UserStatus {
    /// `active` or `inactive`, as it is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            UserStatus::Active => "active",
            UserStatus::Inactive => "inactive",
        }
    }
}

/// Where a user field's value comes from and when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// The value's source.
    pub source: Source,
    /// When a value that differs is written.
    pub sync: Sync,
    /// What a missing value does.
    pub missing: Missing,
}

/// Source of a user field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Claim names, to the letter; the first present wins.
    Claims(Vec<String>),
    /// A constant.
    Value(String),
}

/// `sync` of a mapped field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// At each sign-in.
    Always,
    /// Only when the user is created.
    OnCreate,
    /// Only while the field is empty.
    IfEmpty,
}

impl Sync {
    /// As the file says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Sync::Always => "always",
            Sync::OnCreate => "on-create",
            Sync::IfEmpty => "if-empty",
        }
    }
}

/// `missing` of a mapped field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The stored value stays.
    Keep,
    /// The stored value is cleared.
    Clear,
    /// The sign-in is refused.
    Deny,
}

impl Missing {
    /// As the file says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Missing::Keep => "keep",
            Missing::Clear => "clear",
            Missing::Deny => "deny",
        }
    }
}

/// One of `[[routes]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Absolute path as browsers send it; ending in `/` it is a prefix, else exact.
    pub path: String,
    /// What is asked of the caller.
    pub access: Access,
    /// Empty = all.
    pub methods: Vec<Method>,
    /// Names of the strip list that may pass on this route.
    pub keep_headers: Vec<String>,
    /// `false`: the access log shows the route's path instead of the request's.
    pub log_path: bool,
}

/// `routes.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Forwarded without identity.
    Open,
    /// Needs a signed-in user.
    Login,
    /// Refused.
    Deny,
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

macro_rules! user_fields {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A field of a user, as WorkflowGen has it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are WorkflowGen's own")]
        pub enum UserField { $($variant),+ }

        impl UserField {
            /// Every field, in the order in which they are shown.
            pub const ALL: &'static [UserField] = &[$(UserField::$variant),+];

            /// The field's name in the file, in JSON and in tables.
            pub fn name(self) -> &'static str {
                match self { $(UserField::$variant => $name),+ }
            }

            /// The field of that name.
            pub fn from_name(name: &str) -> Option<UserField> {
                match name { $($name => Some(UserField::$variant),)+ _ => None }
            }
        }
    };
}

user_fields! {
    Username = "username", Name = "name", FirstName = "first_name", Email = "email", Phone = "phone",
    Mobile = "mobile", Fax = "fax", Pager = "pager", Office = "office", Department = "department",
    Company = "company", JobTitle = "job_title", Title = "title", EmployeeNumber = "employee_number",
    EmployeeType = "employee_type", Initials = "initials", PostalAddress = "postal_address",
    ZipCode = "zip_code", City = "city", State = "state", Country = "country", Manager = "manager",
    TimeZone = "time_zone", Language = "language", ExtendedAttribute1 = "extended_attribute_1",
    ExtendedAttribute2 = "extended_attribute_2", ExtendedAttribute3 = "extended_attribute_3",
    ExtendedAttribute4 = "extended_attribute_4", ExtendedAttribute5 = "extended_attribute_5",
    SystemIdentifier = "system_identifier", DisplayName = "display_name",
}
