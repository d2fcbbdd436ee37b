//! `client_authentication = "private_key_jwt"`: what belongs together, and keys that are not the client's own.

use super::*;

fn keys() -> tempfile::TempDir {
    let folder = folder();
    for name in ["client", "another"] {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        std::fs::write(folder.path().join(name), key.serialize_pem()).unwrap();
    }
    folder
}

fn text(lines: &str) -> String {
    SMALLEST.replace(
        "client_id = \"0oa1\"",
        &format!("client_id = \"0oa1\"\n{lines}"),
    )
}

const BY_KEY: &str = "client_authentication = \"private_key_jwt\"";
const KEY: &str = "private_key = { file = \"client\" }";

#[test]
fn a_client_authenticates_by_its_key() {
    let folder = keys();
    let config = load_in(folder.path(), &text(&format!("{BY_KEY}\n{KEY}"))).unwrap();
    let provider = &config.providers[0];
    assert_eq!(
        provider.client_authentication,
        ClientAuthentication::PrivateKeyJwt
    );
    assert!(provider.private_key.is_some() && provider.client_secret.is_none());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = keys();
    let at = |name: &str| format!("providers[0].{name}");
    for (lines, key, found) in [
        (BY_KEY, at("client_authentication"), "without private_key"),
        (KEY, at("private_key"), "nothing is signed by"),
        (
            &format!("{KEY}\nclient_secret = {{ file = \"client_secret\" }}"),
            at("private_key"),
            "nothing is signed by",
        ),
        (
            &format!("{KEY}\n{BY_KEY}\nclient_secret = {{ file = \"client_secret\" }}"),
            at("client_secret"),
            "beside \"private_key_jwt\"",
        ),
        (
            &format!("{KEY}\n{BY_KEY}\nalgorithms = [\"HS256\"]"),
            at("algorithms"),
            "\"HS256\" without client_secret",
        ),
        (
            &format!("{BY_KEY}\nprivate_key = {{ file = \"none\" }}"),
            at("private_key.file"),
            "No such file",
        ),
        (
            &format!("{BY_KEY}\nprivate_key = {{ file = \"sec1\" }}"),
            at("private_key"),
            "EC PRIVATE KEY",
        ),
        (
            &format!("{BY_KEY}\nprivate_key = {{ file = \"session\" }}"),
            at("private_key"),
            "a file that is not PEM",
        ),
        (
            &format!("{BY_KEY}\nprivate_key = \"client\""),
            at("private_key"),
            "a string (not shown)",
        ),
    ] {
        let faults = load_in(folder.path(), &text(lines)).unwrap_err().list;
        assert_eq!(faults.len(), 1, "{lines}: {faults:#?}");
        assert_eq!(faults[0].key, key, "{lines}: {faults:#?}");
        assert!(faults[0].found.contains(found), "{lines}: {faults:#?}");
        assert!(faults[0].hint.is_some(), "{lines}: {faults:#?}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = keys();
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path().join("client"), permissions).unwrap();
        let config = load_in(folder.path(), &text(&format!("{BY_KEY}\n{KEY}"))).unwrap();
        let told = |warning: &String| warning.contains("private_key") && warning.contains("chmod");
        config.warnings.iter().any(told)
    };
    assert!(mode(0o644));
    assert!(!mode(0o640));
}

#[test]
fn a_key_that_signs_for_the_application_is_no_clients_key() {
    let folder = keys();
    let mine = text(&format!("{BY_KEY}\n{KEY}"));
    let session = |name: &str| {
        let secret = format!("file = \"{name}\" }} }}]\nalgorithm = \"ES256\"");
        mine.replace("file = \"session\" } }]", &secret)
    };
    let assertion = |name: &str| {
        format!("{mine}[upstream.identity.assertion]\nkey = {{ file = \"{name}\" }}\n")
    };
    for text in [session("client"), assertion("client")] {
        let faults = load_in(folder.path(), &text).unwrap_err().list;
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].found.contains("okta"), "{faults:#?}");
    }
    for text in [session("another"), assertion("another")] {
        load_in(folder.path(), &text).unwrap();
    }
}
