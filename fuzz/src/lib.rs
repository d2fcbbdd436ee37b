//! What several targets stand on: one valid configuration.

use std::path::Path;

use vestibule::config::{self, Config};

/// A valid `proxy.toml`; its secrets are files beside it.
pub const PROXY_TOML: &str = r#"
[server]
public_url = "https://workflow.example.com/wfgen"
[upstream]
servers = ["http://127.0.0.1:8081"]
[[providers]]
name = "okta"
issuer = "https://example.okta.com"
client_id = "0oa1"
[session]
keys = [{ id = "1", secret = { file = "session" } }]
[[directories]]
name = "SELF_PROVISIONING"
[directories.mapping]
username = "https://api.workflowgen.com/username"
name = "family_name"
"#;

/// Writes `toml` and the secret that [`PROXY_TOML`] names into `folder` and loads it.
///
/// # Errors
/// The faults of `toml`.
pub fn load(folder: &Path, toml: &[u8]) -> Result<Config, config::Faults> {
    let path = folder.join("proxy.toml");
    std::fs::write(folder.join("session"), [b'k'; 32]).expect("a writable folder");
    std::fs::write(&path, toml).expect("a writable folder");
    config::load(&path)
}

/// The configuration of [`PROXY_TOML`].
pub fn configuration() -> Config {
    let folder = tempfile::tempdir().expect("a temporary folder");
    load(folder.path(), PROXY_TOML.as_bytes()).expect("a valid configuration")
}
