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

const GOOD: &str = r#"[server]
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
    std::fs::write(folder.path().join("proxy.toml"), GOOD).unwrap();
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
    let bad = GOOD.replace("[upstream]", "lisen = \"x\"\nworkers = 'many'\n[upstream]");
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
        let text = GOOD
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
