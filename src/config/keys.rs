//! Every key that `proxy.toml` may have: its path, what it holds and its default.
//!
//! The reader takes defaults from here and refuses by it what is unknown; a test holds it to the annotated reference. In a path `[]` stands for an entry of a list, `*` for a free name.

/// One key of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Such as `providers[].name`.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What holds when it is left out.
    pub fallback: Fallback,
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number, or a word in its place.
    Number,
    /// Such as `"90s"`, or a word in its place.
    Duration,
    /// Such as `"32 KiB"`, or a word in its place.
    Size,
    /// A list of strings, or a string in its place.
    List,
    /// `{ file = … }` or `{ env = … }`.
    Secret,
    /// A table with keys of its own.
    Table,
    /// A list of such tables.
    Tables,
    /// A table whose names are free.
    Map,
    /// Where a user field comes from.
    Source,
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the file must say it.
    Required,
    /// Nothing, and that is fine.
    Absent,
    /// This value, as the file would say it.
    Value(&'static str),
}

impl Key {
    /// The key of that path.
    pub fn find(path: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// Names of the keys directly below `parent` (empty: at the top).
    pub(super) fn names_below(parent: &str) -> impl Iterator<Item = &'static str> {
        KEYS.iter()
            .filter_map(move |key| match parent {
                "" => Some(key.path),
                _ => key.path.strip_prefix(parent)?.strip_prefix('.'),
            })
            .filter(|name| !name.contains(['.', '[', '*']))
    }
}

impl Kind {
    /// What a value of this kind looks like, for faults.
    pub fn expected(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Bool => "true or false",
            Kind::Number => "a whole number",
            Kind::Duration => r#"a duration such as "90s", "10m", "10h" or "400d""#,
            Kind::Size => r#"a size such as "32 KiB" or "64 MiB""#,
            Kind::List => "a list of strings",
            Kind::Secret => r#"{ file = "PATH" } or { env = "NAME" }"#,
            Kind::Table => "a table",
            Kind::Tables => "a list of tables",
            Kind::Map => "a table of strings",
            Kind::Source => {
                "a claim's name, a list of names, or a table with claim, value or expression"
            }
        }
    }
}

const fn value(path: &'static str, kind: Kind, default: &'static str) -> Key {
    let fallback = Fallback::Value(default);
    Key {
        path,
        kind,
        fallback,
    }
}

const fn required(path: &'static str, kind: Kind) -> Key {
    Key {
        path,
        kind,
        fallback: Fallback::Required,
    }
}

const fn absent(path: &'static str, kind: Kind) -> Key {
    Key {
        path,
        kind,
        fallback: Fallback::Absent,
    }
}

use Kind::{Bool, Duration, List, Map, Number, Secret, Size, Source, Table, Tables, Text};

/// Every key, in the reference's order.
pub const KEYS: &[Key] = &[
    absent("server", Table),
    required("server.public_url", Text),
    value("server.listen", List, r#""0.0.0.0:8080""#),
    value("server.redirect_listen", List, "[]"),
    value("server.auth_path", Text, r#""/auth""#),
    value("server.workers", Number, r#""auto""#),
    value("server.aliases", List, "[]"),
    value("server.trusted_proxies", List, "[]"),
    value("server.proxy_protocol", Bool, "false"),
    value("server.hsts", Duration, r#""off""#),
    value("server.drain_delay", Duration, r#""0s""#),
    value("server.shutdown_grace", Duration, r#""20s""#),
    absent("server.tls", Table),
    absent("server.tls.certificate", Text),
    absent("server.tls.private_key", Text),
    absent("server.limits", Table),
    value("server.limits.connections", Number, "20000"),
    value("server.limits.header_size", Size, r#""32 KiB""#),
    value("server.limits.body_size", Size, r#""64 MiB""#),
    value("server.limits.header_timeout", Duration, r#""10s""#),
    value("server.limits.idle_timeout", Duration, r#""75s""#),
    absent("upstream", Table),
    required("upstream.servers", List),
    value("upstream.host", Text, r#""public""#),
    value("upstream.connect_timeout", Duration, r#""3s""#),
    value("upstream.response_timeout", Duration, r#""120s""#),
    value("upstream.health_path", Text, r#""""#),
    value("upstream.ca", Text, r#""""#),
    value("upstream.authorization", Text, r#""forward""#),
    absent("upstream.identity", Table),
    value(
        "upstream.identity.user_header",
        Text,
        r#""X-Forwarded-User""#,
    ),
    value("upstream.identity.session_cookie", Text, r#""forward""#),
    value("upstream.identity.headers", Map, "{}"),
    absent("upstream.identity.headers.*", Text),
    value("upstream.identity.strip", List, "[]"),
    absent("upstream.identity.assertion", Table),
    value(
        "upstream.identity.assertion.header",
        Text,
        r#""X-Identity-Assertion""#,
    ),
    value("upstream.identity.assertion.audience", Text, r#""""#),
    value("upstream.identity.assertion.lifetime", Duration, r#""60s""#),
    value("upstream.identity.assertion.algorithm", Text, r#""ES256""#),
    required("upstream.identity.assertion.key", Secret),
    value("upstream.identity.assertion.published_keys", Tables, "[]"),
    required("providers", Tables),
    required("providers[].name", Text),
    required("providers[].issuer", Text),
    required("providers[].client_id", Text),
    absent("providers[].client_secret", Secret),
    value(
        "providers[].client_authentication",
        Text,
        r#""client_secret_basic""#,
    ),
    absent("providers[].private_key", Secret),
    value("providers[].subject_claim", Text, r#""sub""#),
    value(
        "providers[].scopes",
        List,
        r#"["openid", "profile", "email"]"#,
    ),
    value(
        "providers[].username_claim",
        Text,
        r#""preferred_username""#,
    ),
    value("providers[].trust_email", Bool, "false"),
    value("providers[].user_info", Text, r#""when-missing""#),
    value("providers[].authorization_parameters", Map, "{}"),
    absent("providers[].authorization_parameters.*", Text),
    value(
        "providers[].algorithms",
        List,
        r#"["RS256", "ES256", "EdDSA"]"#,
    ),
    value("providers[].clock_skew", Duration, r#""30s""#),
    value("providers[].logout", Text, r#""provider""#),
    value("providers[].issuer_tenants", List, "[]"),
    value("providers[].ca", Text, r#""""#),
    value("providers[].access_token_audience", Text, r#""""#),
    value(
        "providers[].access_token_username_claim",
        Text,
        r#""com.workflowgen.api.username""#,
    ),
    absent("session", Table),
    value("session.cookie", Text, r#""wfgen_token""#),
    required("session.keys", Tables),
    required("session.keys[].id", Text),
    required("session.keys[].secret", Secret),
    value("session.sealing_keys", Tables, "[]"),
    required("session.sealing_keys[].id", Text),
    required("session.sealing_keys[].secret", Secret),
    value("session.claims", List, r#""all""#),
    value("session.algorithm", Text, r#""HS256""#),
    value("session.issuer", Text, r#""""#),
    value("session.audience", Text, r#""""#),
    value(
        "session.username_claim",
        Text,
        r#""https://api.workflowgen.com/username""#,
    ),
    value("session.lifetime", Duration, r#""id-token""#),
    value("session.max_lifetime", Duration, r#""24h""#),
    value("session.idle_timeout", Duration, r#""off""#),
    value("session.refresh", Bool, "true"),
    value("session.kept_form_size", Size, r#""1 MiB""#),
    value("session.kept_form_lifetime", Duration, r#""15m""#),
    value("session.same_site", Text, r#""lax""#),
    value("session.trusted_origins", List, "[]"),
    absent("store", Table),
    value("store.url", Text, r#""sqlite:vestibule.db""#),
    absent("store.password", Secret),
    value("store.audit_retention", Duration, r#""400d""#),
    absent("access", Table),
    value("access.rules", Tables, "[]"),
    required("access.rules[].require", Text),
    absent("access.rules[].message", Text),
    required("directories", Tables),
    required("directories[].name", Text),
    value(
        "directories[].description",
        Text,
        r#""Everyone who is not provisioned elsewhere""#,
    ),
    value("directories[].connector", Text, r#""self-provisioning""#),
    absent("directories[].file", Text),
    value("directories[].max_deactivations", Text, r#""10%""#),
    value("directories[].providers", List, "[]"),
    value("directories[].reserved_usernames", List, "[]"),
    value("directories[].rename", Text, r#""follow""#),
    value("directories[].when", Text, r#""""#),
    value("directories[].create", Bool, "true"),
    value("directories[].update", Bool, "true"),
    value("directories[].adopt", Text, r#""never""#),
    value("directories[].new_user_status", Text, r#""active""#),
    value("directories[].max_users", Number, r#""unlimited""#),
    absent("directories[].mapping", Map),
    required("directories[].mapping.username", Source),
    required("directories[].mapping.name", Source),
    absent("directories[].mapping.*", Source),
    absent("directories[].mapping.*.claim", List),
    absent("directories[].mapping.*.value", Text),
    absent("directories[].mapping.*.expression", Text),
    value("directories[].mapping.*.sync", Text, r#""always""#),
    value("directories[].mapping.*.missing", Text, r#""keep""#),
    value("directories[].push", Tables, "[]"),
    value("directories[].push[].kind", Text, r#""scim""#),
    absent("directories[].push[].url", Text),
    absent("directories[].push[].token", Secret),
    value("directories[].push[].foreign", Text, r#""accept""#),
    value("directories[].push[].timing", Text, r#""inline""#),
    value("directories[].push[].on_failure", Text, r#""deny""#),
    value("directories[].push[].timeout", Duration, r#""5s""#),
    value("routes", Tables, "[]"),
    required("routes[].path", Text),
    required("routes[].access", Text),
    value("routes[].methods", List, "[]"),
    value("routes[].require", Text, r#""""#),
    value("routes[].machine", Bool, "false"),
    value("routes[].keep_headers", List, "[]"),
    value("routes[].log_path", Bool, "true"),
    absent("admin", Table),
    value("admin.listen", Text, r#""127.0.0.1:9180""#),
    absent("admin.token", Secret),
    absent("log", Table),
    value("log.format", Text, r#""text""#),
    value("log.level", Text, r#""info""#),
    value("log.access", Bool, "true"),
];
