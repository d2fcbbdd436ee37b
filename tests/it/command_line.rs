//! The command line as a shell sees it: exit codes, what goes to stdout and what to stderr.

use std::path::Path;
use std::process::{Command, Output};

fn vestibule(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The smallest good file, with its key beside it in `session`.
pub(crate) const SMALLEST: &str = r#"[server]
public_url = "http://127.0.0.1:8080/wfgen"
[upstream]
servers = ["http://127.0.0.1:8081"]
[[providers]]
name = "test"
issuer = "http://127.0.0.1:9000"
client_id = "vestibule"
[session]
keys = [{ id = "1", secret = { file = "session" } }]
[[directories]]
name = "SELF_PROVISIONING"
[directories.mapping]
username = "https://api.workflowgen.com/username"
name = "family_name"
"#;

#[test]
fn check_of_a_good_file_prints_ok_and_the_warnings_apart() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("proxy.toml"), SMALLEST).unwrap();
    let made = vestibule(folder.path(), &["keys", "generate", "--out", "session"]);
    assert!(made.status.success(), "{made:?}");
    assert!(made.stdout.is_empty());
    let checked = vestibule(folder.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert_eq!(text(&checked.stdout), "ok\n");
    let said = text(&checked.stderr);
    assert!(
        said.starts_with("warning: proxy.toml:9:1: session.sealing_keys: "),
        "{said}"
    );
}

#[test]
fn a_bad_file_ends_with_64_and_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    let bad = SMALLEST.replace("[upstream]", "lisen = \"x\"\nworkers = 'many'\n[upstream]");
    std::fs::write(folder.path().join("other.toml"), bad).unwrap();
    for command in [&["check"][..], &["run"], &["users", "list"]] {
        let arguments = [command, &["-c", "other.toml"]].concat();
        let ended = vestibule(folder.path(), &arguments);
        assert_eq!(ended.status.code(), Some(64), "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
        let said = text(&ended.stderr);
        for part in [
            "error: other.toml:3:1: server.lisen is no key\n  found:    \"lisen\"\n  expected: public_url, listen, ",
            "hint: did you mean listen?\n",
            "error: other.toml:4:11: server.workers is not valid\n  found:    \"many\"\n  expected: \"auto\" or a whole number from 1 to 1024\n",
            "other.toml:12:39: session.keys[0].secret.file is not valid\n",
            "error: 3 faults in other.toml\n",
        ] {
            assert!(said.contains(part), "{part} is not in:\n{said}");
        }
        assert!(!said.contains('\x1b'), "no colours in a pipe");
    }
}

#[test]
fn a_file_that_is_missing_is_bad_configuration_and_a_wrong_option_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let ended = vestibule(folder.path(), &["check"]);
    assert_eq!(ended.status.code(), Some(64), "{ended:?}");
    assert!(text(&ended.stderr).starts_with("error: proxy.toml: the file cannot be read\n"));
    let ended = vestibule(folder.path(), &["check", "--offline"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let version = vestibule(folder.path(), &["-V"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = concat!("vestibule ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text(&version.stdout), expected);
}

/// `run` would end at once, so `check --online` must not say that the store is well.
#[test]
fn check_online_fails_where_the_store_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        |url: &str| SMALLEST.replace("[session]", &format!("[store]\nurl = '{url}'\n[session]"));
    vestibule(folder.path(), &["keys", "generate", "--out", "session"]);
    std::fs::write(folder.path().join("proxy.toml"), store("sqlite:none/v.db")).unwrap();
    let checked = vestibule(folder.path(), &["check", "--online"]);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let said = text(&checked.stdout);
    assert!(
        said.contains("failed  store: the store none/v.db cannot be made: its folder does not exist; make the folder"),
        "{said}"
    );
    std::fs::write(folder.path().join("proxy.toml"), store("sqlite:v.db")).unwrap();
    let checked = vestibule(folder.path(), &["check", "--online"]);
    let said = text(&checked.stdout);
    assert!(
        said.contains("ok      store: v.db has nothing in it yet; run makes it"),
        "{said}"
    );
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "proxy.toml and the key: nothing stays behind");
}

#[test]
fn explain_tells_where_the_claims_are_not_what_the_provider_would_send() {
    let folder = tempfile::tempdir().unwrap();
    let named = SMALLEST.replace("[session]", "username_claim = \"upn\"\n[session]");
    std::fs::write(folder.path().join("proxy.toml"), named).unwrap();
    vestibule(folder.path(), &["keys", "generate", "--out", "session"]);
    let claims = r#"{"iss": "https://else.example.com", "sub": "1", "family_name": "Lovelace"}"#;
    std::fs::write(folder.path().join("claims.json"), claims).unwrap();
    let explained = vestibule(folder.path(), &["explain", "--claims", "claims.json"]);
    assert_eq!(explained.status.code(), Some(0), "{explained:?}");
    let said = text(&explained.stderr);
    for hint in [
        "hint: explained as claims of provider test, whose issuer is \"http://127.0.0.1:9000\"; these have iss \"https://else.example.com\"\n",
        "hint: the claims have no \"upn\", the username_claim of provider test, of which \"https://api.workflowgen.com/username\" is made\n",
    ] {
        assert!(said.contains(hint), "{said}");
    }
    let nothing = vestibule(folder.path(), &["explain"]);
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    let said = text(&nothing.stderr);
    for option in [
        "--claims <FILE>",
        "--access-token <FILE>",
        "--user <USERNAME>",
    ] {
        assert!(said.contains(option), "{said}");
    }
    let two = vestibule(
        folder.path(),
        &["explain", "--claims", "claims.json", "--user", "x"],
    );
    assert_eq!(two.status.code(), Some(2), "{two:?}");
}

/// Whoever names a file means to see that one at work.
#[test]
fn the_demo_takes_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["demo", "--print-config", "-c", "mine.toml"][..],
        &["-c", "mine.toml", "demo", "--once"],
    ] {
        let ended = vestibule(folder.path(), arguments);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
        let said = text(&ended.stderr);
        assert!(
            said.starts_with("error: expected no --config, found mine.toml"),
            "{said}"
        );
    }
}

#[test]
fn a_generated_key_is_for_its_owner_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let printed = vestibule(folder.path(), &["keys", "generate"]);
    assert_eq!(text(&printed.stdout).trim_end().len(), 64);
    let arguments = [
        "keys",
        "generate",
        "--algorithm",
        "ES256",
        "--out",
        "key.pem",
    ];
    assert!(vestibule(folder.path(), &arguments).status.success());
    let path = folder.path().join("key.pem");
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = vestibule(folder.path(), &arguments);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(text(&again.stderr).contains("hint: an existing key is never overwritten"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
}

/// Keys of every algorithm that can be generated are taken by the configuration.
#[test]
fn generated_keys_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in ["HS256", "ES256", "EdDSA", "RS256"] {
        let arguments = [
            "keys",
            "generate",
            "--algorithm",
            algorithm,
            "--out",
            algorithm,
        ];
        assert!(vestibule(folder.path(), &arguments).status.success());
        let text = SMALLEST
            .replace("\"session\"", &format!("{algorithm:?}"))
            .replace(
                "[session]",
                &format!("[session]\nalgorithm = {algorithm:?}"),
            );
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let checked = vestibule(folder.path(), &["check"]);
        assert!(checked.status.success(), "{algorithm}: {checked:?}");
    }
}
