//! The annotated reference, the top-level `proxy.toml`, and the table of keys in the code say the same,
//! both ways; and the reference is itself a good file.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use vestibule::config::{self, Fallback, KEYS, Key, UserField};

const REFERENCE: &str = include_str!("../../proxy.toml");

/// Where a key of the reference may be looked up, and what stands there.
struct Entry {
    value: String,
    live: bool,
    comment: String,
}

/// Whether a switched-off setting belongs to another choice than the one that is live, such as a password
/// to a store that has none.
fn is_for_another_choice(comment: &str) -> bool {
    comment.contains(" only")
}

/// The reference with every switched-off setting switched on, those of other choices by `choices` too.
fn everything(choices: bool) -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => {
            match choices || !is_for_another_choice(setting) {
                true => setting.to_owned(),
                false => String::new(),
            }
        }
        _ => line.to_owned(),
    };
    REFERENCE
        .lines()
        .map(|line| switched_on(line) + "\n")
        .collect()
}

/// Every key of the reference by its pattern, such as `providers[].name`.
fn entries() -> BTreeMap<String, Entry> {
    let text = everything(true);
    let (table, faults) = DeTable::parse_recoverable(&text);
    assert!(faults.is_empty(), "{faults:?}");
    let mut entries = BTreeMap::new();
    collect(table.get_ref(), "", &text, &mut entries);
    entries
}

fn collect(table: &DeTable<'_>, parent: &str, text: &str, entries: &mut BTreeMap<String, Entry>) {
    for (name, value) in table {
        let pattern = pattern(parent, name.get_ref());
        let number = text[..name.span().start].matches('\n').count();
        let lines: Vec<&str> = REFERENCE.lines().collect();
        let line = lines[number];
        // A comment goes on over the indented lines below its key.
        let more = lines[number + 1..]
            .iter()
            .take_while(|line| line.starts_with("     "));
        let comment: Vec<&str> = [line.trim_start_matches('#')]
            .into_iter()
            .chain(more.copied())
            .filter_map(|line| line.split_once("# "))
            .map(|(_, comment)| comment)
            .collect();
        let entry = Entry {
            value: literal(value.get_ref()),
            live: !line.starts_with('#'),
            comment: comment.join(" "),
        };
        match value.get_ref() {
            DeValue::Table(below) if has_keys(&pattern) => collect(below, &pattern, text, entries),
            DeValue::Array(items) if has_keys(&format!("{pattern}[]")) => {
                for item in items.iter() {
                    if let DeValue::Table(below) = item.get_ref() {
                        collect(below, &format!("{pattern}[]"), text, entries);
                    }
                }
            }
            _ => {}
        }
        // Of several entries with one pattern (free names) the live one counts.
        let newer = |old: &Entry| !old.live;
        if entries.get(&pattern).is_none_or(newer) {
            entries.insert(pattern, entry);
        }
    }
}

/// The pattern of a key below `parent`: its own where the code knows one, else that of a free name.
fn pattern(parent: &str, name: &str) -> String {
    let own = match parent {
        "" => name.to_owned(),
        _ => format!("{parent}.{name}"),
    };
    match (Key::find(&own), has_keys(&format!("{parent}.*"))) {
        (None, true) => format!("{parent}.*"),
        (None, false) if Key::find(&format!("{parent}.*")).is_some() => format!("{parent}.*"),
        _ => own,
    }
}

fn has_keys(pattern: &str) -> bool {
    let below = format!("{pattern}.");
    KEYS.iter().any(|key| key.path.starts_with(&below))
}

fn literal(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| literal(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) if table.is_empty() => "{}".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
        other => panic!("the reference has no such value: {other:?}"),
    }
}

#[test]
fn every_key_of_the_code_is_in_the_reference_with_its_default() {
    let entries = entries();
    for key in KEYS {
        // These are read as `session.keys` are, and shown there; rules have no entry to show.
        if key.path.starts_with("session.sealing_keys[]") || key.path.starts_with("access.rules[]")
        {
            continue;
        }
        // A free name's own example is shown in the comment.
        if key.path.ends_with("headers.*") || key.path.ends_with("authorization_parameters.*") {
            continue;
        }
        let entry = entries
            .get(key.path)
            .unwrap_or_else(|| panic!("{} is not in proxy.toml", key.path));
        if let Fallback::Value(default) = key.fallback {
            // Lists of tables are shown by an example.
            let example = entry.value.starts_with("[a table") && default == "[]";
            assert!(
                entry.value == default || example,
                "{}: the reference says {}, the code {default}",
                key.path,
                entry.value
            );
        }
    }
}

#[test]
fn every_key_of_the_reference_is_in_the_code_and_marked_as_it_is_there() {
    for (path, entry) in entries() {
        let key = Key::find(&path).unwrap_or_else(|| panic!("{path} is not in KEYS"));
        let says = |word: &str| entry.comment.contains(word);
        let optional = path.starts_with("directories[].mapping.*")
            || path.starts_with("directories[].push")
            || path.starts_with("upstream.identity.assertion")
            || is_for_another_choice(&entry.comment);
        assert!(entry.live || optional, "{path} is switched off");
        let is_leaf = !has_keys(&path) && !has_keys(&format!("{path}[]"));
        let in_example = path.contains(".keys[]") || path.contains("mapping.*");
        if !is_leaf || in_example {
            continue;
        }
        match key.fallback {
            Fallback::Required => assert!(says("required"), "{path} is not marked required"),
            Fallback::Absent => assert!(says("example"), "{path} is not marked as an example"),
            Fallback::Value(_) => assert!(
                !says("required. ") && !says("example. "),
                "{path} has a default"
            ),
        }
    }
}

#[test]
fn the_reference_names_every_user_field() {
    for field in UserField::ALL {
        let named = |line: &str| line.split([' ', '#']).any(|word| word == field.name());
        assert!(REFERENCE.lines().any(named), "{}", field.name());
    }
}

#[test]
fn the_reference_is_a_good_file() {
    let folder = tempfile::tempdir().unwrap();
    with_secrets(folder.path());
    let config =
        config::load(&folder.path().join("proxy.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.providers[0].name, "okta");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("session.sealing_keys"));
}

/// The commented routes alone, switched on: a good file, without a warning of its own, each with what it gives up.
#[test]
fn the_presets_are_good_routes() {
    let folder = tempfile::tempdir().unwrap();
    with_secrets(folder.path());
    let (head, rest) = REFERENCE.split_once("\n# Ready:").expect("the presets");
    let (presets, tail) = rest.split_once("\n# ── ").expect("what follows");
    let told = |header: &str, rest: &str| {
        let comment = rest.split("path = ").next().unwrap_or_default();
        comment.contains("Given") || header.contains("# the same") || header.contains("# its ")
    };
    for preset in presets.split("\n#[[routes]]").skip(1) {
        let header = preset.lines().next().unwrap();
        assert!(told(header, preset), "{preset}");
    }
    let switched_on: String = presets
        .lines()
        .skip(1)
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let text = format!("{head}\n{switched_on}\n# ── {tail}");
    let config = config::load_text(&text, &folder.path().join("proxy.toml"))
        .unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert_eq!(config.routes.len(), 10);
}

#[test]
fn with_every_setting_switched_on_the_reference_is_good_too() {
    let folder = tempfile::tempdir().unwrap();
    with_secrets(folder.path());
    let path = folder.path().join("proxy.toml");
    config::load_text(&everything(false), &path).unwrap_or_else(|faults| panic!("{faults}"));
}

fn with_secrets(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    std::fs::create_dir(folder.join("secrets")).unwrap();
    write("proxy.toml", REFERENCE);
    write("secrets/client_secret", "a client secret\n");
    write("secrets/client.pem", &key_pem());
    write("secrets/session", "a session key of 32 bytes at least\n");
    write("secrets/assertion.pem", &key_pem());
    write("secrets/scim_token", "a-token-of-the-receiver\n");
    write("secrets/admin_token", "an-admin-token-of-some-length\n");
    std::fs::create_dir(folder.join("tls")).unwrap();
    let made = rcgen::generate_simple_self_signed(["workflow.example.com".to_owned()]).unwrap();
    write("tls/fullchain.pem", &made.cert.pem());
    write("tls/privkey.pem", &made.signing_key.serialize_pem());
}

fn key_pem() -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    key.serialize_pem()
}
