//! The README says what the program does: its smallest configuration loads, and its tables are whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use vestibule::telemetry::metrics::Metrics;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The first fenced block of `language` below `heading`.
fn block<'a>(text: &'a str, heading: &str, language: &str) -> &'a str {
    let (_, section) = text.split_once(heading).expect("the heading is there");
    let (_, block) = section
        .split_once(&format!("\n```{language}\n"))
        .expect("the block is there");
    block.split_once("\n```").expect("the block ends").0
}

/// Writes the configuration and every secret that it names into a new folder.
fn installed(toml: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    for (_, rest) in toml
        .match_indices("file = \"")
        .map(|(at, m)| toml.split_at(at + m.len()))
    {
        let name = rest.split('"').next().expect("the name ends");
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its folder");
        std::fs::write(path, "0123456789abcdef0123456789abcdef0123456789abcdef\n")
            .expect("a secret");
    }
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, toml).expect("the file");
    (folder, path)
}

#[test]
fn the_smallest_configuration_loads() {
    let readme = read("README.md");
    let toml = block(&readme, "## The smallest real proxy.toml", "toml");
    let (_folder, path) = installed(toml);
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's proxy.toml has faults: {faults}"));
    assert_eq!(
        config.server.endpoint_url("callback"),
        "https://workflow.example.com/wfgen/auth/callback"
    );
}

#[test]
fn the_example_of_several_tenants_loads() {
    let readme = read("README.md");
    let toml = block(&readme, "## The smallest real proxy.toml", "toml");
    let tenants = block(&readme, "### Several tenants of Entra ID", "toml");
    let (head, rest) = toml.split_once("[[providers]]").expect("a provider");
    let (_, rest) = rest.split_once("\n[session]").expect("a session");
    let (_folder, path) = installed(&format!("{head}{tenants}\n[session]{rest}"));
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's tenants have faults: {faults}"));
    assert_eq!(config.providers[0].issuer.tenants().len(), 2);
}

#[test]
fn the_mapping_examples_load() {
    let readme = read("README.md");
    let toml = block(&readme, "## The smallest real proxy.toml", "toml");
    let (head, _) = toml.split_once("[directories.mapping]").expect("a mapping");
    let mapping = block(&readme, "## Mapping and provisioning", "toml");
    let name = "name = \"family_name\"";
    let (_folder, path) = installed(&format!("{head}{mapping}\n{name}\n"));
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's mapping has faults: {faults}"));
    let mapping = &config.directories[0].self_provisioning().unwrap().mapping;
    assert_eq!(mapping.len(), 7, "{mapping:?}");
}

/// The rules, routes and directories that the README shows, in the smallest configuration.
#[test]
fn the_rules_and_directories_load() {
    let readme = read("README.md");
    let smallest = block(&readme, "## The smallest real proxy.toml", "toml");
    let (head, _) = smallest.split_once("[[directories]]").expect("a directory");
    let rules = block(&readme, "### Who may come in", "toml");
    let directories = block(&readme, "### Several directories", "toml");
    let push = block(&readme, "### Push to SCIM", "toml");
    let (folder, path) = installed(&format!("{head}\n{rules}\n{directories}\n{push}"));
    std::fs::write(folder.path().join("scim_token"), "a-token-of-the-receiver").unwrap();
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's directories have faults: {faults}"));
    assert_eq!(config.access.len(), 2);
    assert_eq!(config.route_rules().count(), 1);
    assert_eq!(config.directories.len(), 3);
    assert_eq!(config.directories[2].push.len(), 1);
}

#[test]
fn the_access_token_example_loads() {
    let readme = read("README.md");
    let smallest = block(&readme, "## The smallest real proxy.toml", "toml");
    let (head, rest) = smallest.split_once("[[providers]]").expect("a provider");
    let (_, tail) = rest.split_once("[session]").expect("the next section");
    let bearer = block(&readme, "### Programs with access tokens", "toml");
    let (_folder, path) = installed(&format!("{head}{bearer}\n[session]{tail}"));
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's bearer route has faults: {faults}"));
    assert_eq!(config.bearer_rules().count(), 1);
}

#[test]
fn the_private_key_example_loads() {
    let readme = read("README.md");
    let smallest = block(&readme, "## The smallest real proxy.toml", "toml");
    let (head, rest) = smallest.split_once("[[providers]]").expect("a provider");
    let (_, tail) = rest.split_once("[session]").expect("the next section");
    let provider = block(&readme, "## A key instead of the client secret", "toml");
    let (folder, path) = installed(&format!("{head}{provider}\n[session]{tail}"));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    std::fs::write(folder.path().join("keys/client.pem"), key.serialize_pem()).unwrap();
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's private_key has faults: {faults}"));
    assert!(config.providers[0].private_key.is_some());
}

/// The last block, with every key that it names in its file.
#[test]
fn the_assertion_example_loads() {
    let readme = read("README.md");
    let smallest = block(&readme, "## The smallest real proxy.toml", "toml");
    let (_, section) = readme
        .split_once("### Signed assertion")
        .expect("the section");
    let (_, rotation) = section.split_once("To rotate").expect("the rotation");
    let toml = block(rotation, "", "toml");
    let (folder, path) = installed(&format!("{smallest}\n{toml}"));
    for name in ["secrets/assertion.pem", "secrets/assertion_2.pem"] {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, key.serialize_pem()).unwrap();
    }
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's assertion has faults: {faults}"));
    let assertion = config.upstream.identity.assertion.unwrap();
    assert_eq!(assertion.published_keys.len(), 1);
}

#[test]
fn the_terminator_example_loads() {
    let readme = read("README.md");
    let smallest = block(&readme, "## The smallest real proxy.toml", "toml");
    let server = block(&readme, "## Behind a TLS terminator", "toml");
    let toml = smallest.replacen("[server]", server, 1);
    let (_folder, path) = installed(&toml);
    let config = vestibule::config::load(&path)
        .unwrap_or_else(|faults| panic!("the README's [server] has faults: {faults}"));
    assert_eq!(config.server.trusted_proxies.len(), 1);
}

/// Every kind of rejection has its row in the table of status codes.
#[test]
fn every_problem_is_in_the_table() {
    let readme = read("README.md");
    let (_, table) = readme
        .split_once("### Status codes of our own")
        .expect("the heading");
    let (table, _) = table.split_once("\n### ").expect("the next heading");
    let source = read("src/rejection.rs");
    let (_, slugs) = source.split_once("fn slug(").expect("the function");
    let (slugs, _) = slugs.split_once("\n    }\n").expect("its end");
    let slugs: Vec<_> = slugs.split('"').skip(1).step_by(2).collect();
    assert!(slugs.len() >= 25, "{slugs:?}");
    for slug in slugs {
        assert!(
            table.contains(&format!("`{slug}`")),
            "{slug} is not in the README"
        );
    }
}

/// Every metric has its row, and every row its metric.
#[test]
fn every_metric_is_in_the_table() {
    let readme = read("README.md");
    let documented: BTreeSet<_> = readme
        .lines()
        .filter(|line| line.starts_with("| `vestibule_"))
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|name| name.split('{').next())
        .map(str::to_owned)
        .collect();
    let metrics = Metrics::new(1);
    metrics.login("okta", "created");
    metrics.provisioning("SELF_PROVISIONING", "created");
    metrics.renewal("okta", "renewed");
    metrics.kept_form("kept");
    metrics.provider_logout("okta", "done");
    metrics.provider_up("okta", true);
    metrics.directory_file("STAFF", "applied");
    metrics.push("STAFF", "delivered");
    metrics.upstream_up("http://10.0.0.5", true);
    let text = metrics.text();
    let exposed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exposed: BTreeSet<_> = exposed
        .filter_map(|line| match line.split_once(' ')? {
            (name, "counter") => Some(format!("{name}_total")),
            (name, _) => Some(name.to_owned()),
        })
        .collect();
    assert_eq!(documented, exposed);
}

/// A link within the repository leads somewhere.
#[test]
fn every_link_leads_somewhere() {
    let readme = read("README.md");
    let anchors: Vec<_> = readme
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect();
    for target in readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        match target.strip_prefix('#') {
            Some(anchor) => assert!(
                anchors.iter().any(|a| a == anchor),
                "#{anchor} of {anchors:?}"
            ),
            None if target.starts_with("https://") => {}
            None => assert!(in_repository(target).exists(), "{target} is not there"),
        }
    }
}

/// The table of SCIM attributes is the code's.
#[test]
fn every_attribute_is_in_the_table() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("### Push to SCIM").expect("the heading");
    let (section, _) = section.split_once("\n### ").unwrap_or((section, ""));
    let rows: BTreeSet<String> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(str::to_owned)
        .collect();
    let expected: BTreeSet<String> = vestibule::provisioning::scim::FIELDS
        .iter()
        .map(|(field, place)| format!("| `{}` | `{place}` |", field.name()))
        .collect();
    assert_eq!(rows, expected);
}
