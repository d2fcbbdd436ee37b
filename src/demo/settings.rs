//! The proxy.toml that the demo runs, as text: `--print-config` prints it, the demo's folder keeps it,
//! and the ordinary loader reads it.

/// Client identifier of the proxy at the demo's provider.
pub(super) const CLIENT_ID: &str = "vestibule-demo";
/// The application's base path.
pub(super) const BASE: &str = "/wfgen";
/// The one directory.
pub(super) const DIRECTORY: &str = "SELF_PROVISIONING";

/// Ports of the parts, all on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) proxy: u16,
    pub(super) application: u16,
    pub(super) provider: u16,
    pub(super) admin: u16,
}

/// The ports where they are free.
pub(super) const PREFERRED: Addresses = Addresses {
    proxy: 8080,
    application: 8081,
    provider: 8082,
    admin: 9180,
};

/// How much the proxy logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verbosity {
    /// A line a request, beside what goes wrong.
    Requests,
    /// What goes wrong.
    Faults,
}

/// Where browsers find the application. Not the provider's host, or the two would share cookies,
/// which know no ports.
pub(super) fn public_url(addresses: Addresses) -> String {
    format!("http://127.0.0.1:{}{BASE}", addresses.proxy)
}

/// The provider's issuer.
pub(super) fn issuer(addresses: Addresses) -> String {
    format!("http://localhost:{}", addresses.provider)
}

/// The configuration.
pub(super) fn proxy_toml(addresses: Addresses, verbosity: Verbosity) -> String {
    let Addresses {
        proxy,
        application,
        admin,
        ..
    } = addresses;
    let public_url = public_url(addresses);
    let issuer = issuer(addresses);
    let (level, access) = match verbosity {
        Verbosity::Requests => ("info", true),
        Verbosity::Faults => ("error", false),
    };
    format!(
        r#"# The proxy of `vestibule demo`, between the demo's own OpenID provider and its stand-in application.
# Written anew at each start; a port that is taken is replaced by a free one. Everything is on loopback.

# Where users reach the application. The provider is at `localhost`, another host: cookies know no ports.
[server]
public_url = "{public_url}"
listen = "127.0.0.1:{proxy}"
shutdown_grace = "2s"

# One browser or two: no more open files than any shell grants.
[server.limits]
connections = 128

# The application behind the proxy, and what it is told of the user.
[upstream]
servers = ["http://127.0.0.1:{application}"]

[upstream.identity]
user_header = "X-Forwarded-User"
headers = {{ "X-Forwarded-Email" = "email", "X-Forwarded-Department" = "department" }}

# Who signs users in. Its login form shows the claims that it will send, and lets you edit them.
[[providers]]
name = "demo"
issuer = "{issuer}"
client_id = "{CLIENT_ID}"
client_secret = {{ file = "client_secret" }}
scopes = ["openid", "profile", "email"]
username_claim = "preferred_username"

# The session token. The application knows `keys` and checks the token itself; `sealing_keys` are the proxy's own.
[session]
keys = [{{ id = "1", secret = {{ file = "session_key" }} }}]
sealing_keys = [{{ id = "1", secret = {{ file = "sealing_key" }} }}]

# Users, sessions and the audit trail.
[store]
url = "sqlite:vestibule.db"

# Whoever signs in is created, and kept in step with the claims at each sign-in.
[[directories]]
name = "{DIRECTORY}"
description = "Everyone who signs in at the demo's provider"
connector = "self-provisioning"
reserved_usernames = ["administrator"]

[directories.mapping]
username = "https://api.workflowgen.com/username"   # set from `username_claim`
name = "family_name"                                # WorkflowGen's Name is the last name
first_name = "given_name"
display_name = ["name", "nickname"]                 # the first that is present
email = "email"
phone = {{ claim = "phone_number", missing = "clear" }}
department = "department"
language = {{ claim = "locale", sync = "on-create" }}
company = {{ value = "Example Ltd" }}

# Health and metrics: /healthz, /readyz, /metrics.
[admin]
listen = "127.0.0.1:{admin}"

[log]
level = "{level}"
access = {access}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_listens_on_loopback() {
        let text = proxy_toml(PREFERRED, Verbosity::Requests);
        let values = |key: &str| {
            let start = format!("{key} = \"");
            let lines = text
                .lines()
                .filter_map(move |line| line.strip_prefix(&start)?.split('"').next());
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(values("public_url"), ["http://127.0.0.1:8080/wfgen"]);
        let listens = values("listen");
        assert_eq!(listens.len(), 2, "{text}");
        for listen in listens {
            let address: std::net::SocketAddr = listen.parse().unwrap();
            assert!(address.ip().is_loopback());
        }
    }
}
