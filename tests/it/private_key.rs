//! `client_authentication = "private_key_jwt"` at a provider that checks it: who signs is let in, nobody else.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::Setup;
use crate::support::{PATIENCE, wait_for};

fn vestibule(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// A key, and what its provider is given of it.
fn pair(algorithm: &str) -> (String, Value) {
    let key = vestibule(&["keys", "generate", "--algorithm", algorithm], "");
    let public = vestibule(&["keys", "public", "-"], &key);
    (key, serde_json::from_str(&public).unwrap())
}

#[test]
fn a_client_with_a_key_of_any_kind_signs_people_in() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let (application, (key, public)) = (Application::start(), pair(algorithm));
        let setup = Setup::new(&application).signing_with(&key, &public);
        let proxy = setup.at(Provider::shared()).start();
        // A signature is good once: the second person needs another.
        for _ in 0..2 {
            let user = new_person("signed");
            proxy.signed_in(&user);
            assert_eq!(application.last().only("x-forwarded-user"), Some(&*user));
        }
        let checked = proxy.run(&["check", "--online"]);
        let said = String::from_utf8(checked.stdout).unwrap();
        let kid = public["keys"][0]["kid"].as_str().unwrap();
        let line = format!(
            "ok      provider test, client authentication: private_key_jwt, {algorithm}, kid {kid}; the token endpoint refuses a made-up code (invalid_grant), and not this client\n"
        );
        assert!(said.contains(&line), "{said}");
        assert_eq!(checked.status.code(), Some(0), "{said}");
    }
}

#[test]
fn a_session_is_renewed_by_a_client_that_signs() {
    let (application, (key, public)) = (Application::start(), pair("ES256"));
    let proxy = Setup::new(&application)
        .with("[session]", "lifetime", "\"6s\"")
        .renewing()
        .signing_with(&key, &public)
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("renewed"));
    let first = browser.cookie("wfgen_token");
    wait_for("a newer token", PATIENCE, || {
        assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
        (browser.cookie("wfgen_token") != first).then_some(())
    });
    assert_eq!(proxy.metric("vestibule_renewals_total", &["renewed"]), 1.0);
}

/// The second half of a rotation: the provider knows both keys, then the file is another.
#[test]
fn a_key_is_replaced_without_anybody_noticing() {
    let (former, next) = (pair("ES256"), pair("RS256"));
    let mut both = former.1.clone();
    let keys = both["keys"].as_array_mut().unwrap();
    keys.extend(next.1["keys"].as_array().unwrap().clone());
    let application = Application::start();
    let setup = Setup::new(&application).signing_with(&former.0, &both);
    let mut proxy = setup.at(Provider::shared()).start();
    let browser = proxy.signed_in(&new_person("before"));
    std::fs::write(proxy.file("client.pem"), &next.0).unwrap();
    proxy.restart();
    assert_eq!(browser.visit(&proxy.url("/x")).status, 200);
    proxy.signed_in(&new_person("after"));
}

#[test]
fn a_key_that_is_not_registered_is_the_operators_to_mend() {
    let (application, (key, _), (_, other)) = (Application::start(), pair("ES256"), pair("ES256"));
    let setup = Setup::new(&application).signing_with(&key, &other);
    let proxy = setup.at(Provider::shared()).start();
    let page = proxy
        .browser()
        .sign_in(&proxy.url("/"), &new_person("unknown"));
    let (status, text) = (page.answer.status, page.answer.text());
    assert_eq!(status, 403, "{text}");
    for part in [
        "The provider does not know this installation",
        "<dd>invalid_client</dd>",
        "vestibule keys public",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    proxy.wait_for_log("client-refused");
    let log = proxy.log();
    for part in [
        "operator",
        "refused this client: invalid_client",
        "private_key_jwt, ES256, kid ",
        "vestibule keys public FILE prints",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let checked = proxy.run(&["check", "--online"]);
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    let line = "failed  provider test, client authentication: the token endpoint of provider test refused this client: invalid_client; it does not take our signature (";
    assert!(said.contains(line), "{said}");
    // Nothing that was signed.
    assert!(!log.contains("eyJ") && !text.contains("eyJ"), "{log}");
    let logins = proxy.metric("vestibule_logins_total", &["test", "client-refused"]);
    assert_eq!(logins, 1.0);
}
