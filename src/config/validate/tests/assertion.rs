//! `[upstream.identity.assertion]`: defaults, and keys that do not fit or are not its own.

use super::*;

const HEAD: &str = "[upstream.identity.assertion]\n";

fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    key.serialize_pem()
}

/// A folder with keys for assertions too.
fn keys() -> tempfile::TempDir {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("p256", &pem(&rcgen::PKCS_ECDSA_P256_SHA256));
    write("another_p256", &pem(&rcgen::PKCS_ECDSA_P256_SHA256));
    write("p384", &pem(&rcgen::PKCS_ECDSA_P384_SHA384));
    write("shared", "a secret that two parties share..");
    folder
}

/// The smallest file with these lines of the table.
fn text(lines: &str) -> String {
    format!("{SMALLEST}{HEAD}{lines}\n")
}

#[test]
fn a_key_is_all_that_it_needs() {
    let folder = keys();
    let config = load_in(folder.path(), &text("key = { file = \"p256\" }")).unwrap();
    let assertion = config.upstream.identity.assertion.clone().unwrap();
    assert_eq!(assertion.header, "x-identity-assertion");
    assert_eq!(assertion.audience, "https://workflow.example.com/wfgen");
    assert_eq!(assertion.lifetime.as_secs(), 60);
    assert_eq!(format!("{:?}", assertion.algorithm), "ES256");
    assert!(assertion.published_keys.is_empty());
    let without = load_in(folder.path(), SMALLEST).unwrap();
    assert!(without.upstream.identity.assertion.is_none());
    let more = "key = { file = \"shared\" }\nalgorithm = \"HS256\"\naudience = \"urn:x\"\nlifetime = \"2s\"\nheader = \"X-Who\"";
    let config = load_in(folder.path(), &text(more)).unwrap();
    let assertion = config.upstream.identity.assertion.unwrap();
    assert_eq!(assertion.audience, "urn:x");
    assert_eq!(assertion.header, "x-who");
}

#[test]
fn keys_fit_and_are_its_own() {
    let folder = keys();
    // The same key in another spelling is the same key.
    let spelled = std::fs::read_to_string(folder.path().join("p256")).unwrap();
    let spelled = format!("a comment\n\n{}", spelled.replace('\n', "\r\n"));
    std::fs::write(folder.path().join("spelled"), spelled).unwrap();
    let key = "upstream.identity.assertion.key";
    let published = "upstream.identity.assertion.published_keys[0]";
    for (lines, at, found) in [
        ("", key, "nothing"),
        ("key = { file = \"p384\" }", key, "does not sign ES256"),
        ("key = { file = \"sec1\" }", key, "EC PRIVATE KEY"),
        ("key = { file = \"shared\" }", key, "not PEM"),
        (
            "key = { file = \"p256\" }\nalgorithm = \"RS256\"",
            key,
            "does not sign RS256",
        ),
        (
            "key = { file = \"p256\" }\nalgorithm = \"EdDSA\"",
            key,
            "does not sign EdDSA",
        ),
        (
            "key = { file = \"short\" }\nalgorithm = \"HS256\"",
            key,
            "a secret of 9 bytes",
        ),
        (
            "key = { file = \"session\" }\nalgorithm = \"HS256\"",
            key,
            "among session.keys",
        ),
        (
            "key = { file = \"p256\" }\npublished_keys = [{ file = \"spelled\" }]",
            published,
            "another key of the table",
        ),
        (
            "key = { file = \"p256\" }\npublished_keys = [{ file = \"p384\" }]",
            published,
            "does not sign ES256",
        ),
        (
            "key = { file = \"shared\" }\nalgorithm = \"HS256\"\npublished_keys = [{ file = \"sealing\" }]",
            "upstream.identity.assertion.published_keys",
            "HS256",
        ),
        (
            "key = { file = \"p256\" }\nlifetime = \"1s\"",
            "upstream.identity.assertion.lifetime",
            "1s",
        ),
        (
            "key = { file = \"p256\" }\nlifetime = \"1h\"",
            "upstream.identity.assertion.lifetime",
            "1h",
        ),
        (
            "key = { file = \"p256\" }\nheader = \"Cookie\"",
            "upstream.identity.assertion.header",
            "Cookie",
        ),
        (
            "key = { file = \"p256\" }\nheader = \"x_forwarded_user\"",
            "upstream.identity.headers",
            "twice",
        ),
    ] {
        let faults = load_in(folder.path(), &text(lines)).unwrap_err().list;
        assert_eq!(faults.len(), 1, "{lines}: {faults:#?}");
        assert_eq!(faults[0].key, at, "{faults:#?}");
        assert!(faults[0].found.contains(found), "{lines}: {faults:#?}");
    }
    let session = "algorithm = \"ES256\"\nkeys = [{ id = \"1\", secret = { file = \"spelled\" } }]";
    let both = format!(
        "{}{HEAD}key = {{ file = \"p256\" }}\n",
        with("[session]", session)
    );
    let faults = load_in(folder.path(), &both).unwrap_err().list;
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].found.contains("session.keys"), "{faults:#?}");
    let fine = both.replace("\"p256\"", "\"another_p256\"");
    assert!(load_in(folder.path(), &fine).is_ok());
}

/// No route lets a client's own through.
#[test]
fn its_header_cannot_be_kept() {
    let folder = keys();
    let route = "[[routes]]\npath = \"/wfgen/x\"\naccess = \"open\"\nkeep_headers = [\"x_identity_assertion\"]";
    let lines = format!("key = {{ file = \"p256\" }}\n{route}");
    let faults = load_in(folder.path(), &text(&lines)).unwrap_err().list;
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].key, "routes[0].keep_headers[0]");
}
