//! WorkflowGen's documented example of self-provisioning (Okta with Google Apps), claim by claim: the
//! session token, the directory and its mapping, and what follows at sign-in, at a change and at a mistake.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup, payload};

const USERNAME: &str = "https://api.workflowgen.com/username";

/// What the example's ID token says beside the protocol's own; the person's login is their address.
fn claims(email: &str) -> Value {
    json!({
        "given_name": "John", "family_name": "Smith", "nickname": "john.smith", "name": "John Smith",
        "picture": "https://lh3.googleusercontent.com/photo.jpg", "gender": "male", "locale": "en",
        "updated_at": 1_512_507_183, "email": email, "email_verified": true,
    })
}

fn person() -> String {
    format!("{}@example.com", new_person("john.smith"))
}

/// The directory and mapping of the example are those of every test: Username, Name, First name, E-mail.
fn example(application: &Application, provider: &Provider) -> Proxy {
    Setup::new(application)
        .with("[[providers]]", "username_claim", "\"email\"")
        .at(provider)
        .start()
}

fn stored(proxy: &Proxy) -> Value {
    let mut users = proxy.users();
    assert_eq!(users.len(), 1, "{users:#?}");
    users.remove(0)
}

#[test]
fn the_session_token_has_every_claim_of_the_example() {
    let (application, provider) = (Application::start(), Provider::shared());
    let (proxy, email) = (example(&application, provider), person());
    provider.claim(&email, &claims(&email));
    let token = payload(&proxy.signed_in(&email).cookie("wfgen_token"));
    let copied = claims(&email);
    for (name, value) in copied.as_object().unwrap() {
        assert_eq!(&token[name], value, "{name} is copied flat");
    }
    assert_eq!(token["sub"], json!(email), "the provider's subject");
    assert_eq!(
        token[USERNAME],
        json!(email),
        "the username, as in the example the address"
    );
    assert_eq!(token["iss"], json!(proxy.url("/auth")), "the instance's");
    assert_eq!(
        token["aud"],
        json!(proxy.url("")),
        "the instance's, as text"
    );
    let nonce = token["nonce"].as_str().unwrap_or_default();
    assert!(!nonce.is_empty(), "the sign-in's: {token}");
    let (begun, ends) = (token["iat"].as_i64(), token["exp"].as_i64());
    assert_eq!(
        ends.unwrap() - begun.unwrap(),
        3600,
        "as long as the ID token"
    );

    // Beside the example's there are ours, and nothing that the example does not have otherwise.
    let ours = [
        "sub",
        USERNAME,
        "iss",
        "aud",
        "nonce",
        "iat",
        "exp",
        "sid",
        "jti",
        "auth_time",
    ];
    let known = |name: &&String| copied.get(name).is_some() || ours.contains(&name.as_str());
    let others: Vec<_> = token
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| !known(name))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn signing_in_creates_the_user_by_the_mapping_of_the_example() {
    let (application, provider) = (Application::start(), Provider::shared());
    let (proxy, email) = (example(&application, provider), person());
    provider.claim(&email, &claims(&email));
    assert_eq!(proxy.users().len(), 0);
    proxy.signed_in(&email);
    let user = stored(&proxy);
    for (field, value) in [
        ("username", json!(email)),
        ("name", json!("Smith")),
        ("first_name", json!("John")),
        ("email", json!(email)),
        ("directory", json!("SELF_PROVISIONING")),
        ("status", json!("active")),
    ] {
        assert_eq!(user[field], value, "{field}");
    }
    // What the example maps to no field stays out of the directory.
    let text = user.to_string();
    for claim in ["googleusercontent", "john.smith\"", "male", "\"en\""] {
        assert!(!text.contains(claim), "{claim} in {text}");
    }
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(email.as_str())
    );
}

#[test]
fn a_change_at_the_provider_is_synchronised() {
    let (application, provider) = (Application::start(), Provider::shared());
    let (proxy, email) = (example(&application, provider), person());
    provider.claim(&email, &claims(&email));
    proxy.signed_in(&email);
    let mut changed = claims(&email);
    changed["family_name"] = json!("Smith-Jones");
    changed["given_name"] = json!("Johnny");
    provider.claim(&email, &changed);
    proxy.signed_in(&email);
    let user = stored(&proxy);
    assert_eq!(user["name"], json!("Smith-Jones"));
    assert_eq!(user["first_name"], json!("Johnny"));
    assert_eq!(user["username"], json!(email), "still the same user");

    // A claim that is missing for once keeps what is stored, and blanks no required field.
    changed["family_name"] = Value::Null;
    provider.claim(&email, &changed);
    proxy.signed_in(&email);
    assert_eq!(stored(&proxy)["name"], json!("Smith-Jones"));
}

#[test]
fn nobody_is_created_without_a_name() {
    let (application, provider) = (Application::start(), Provider::shared());
    let (proxy, email) = (example(&application, provider), person());
    let mut nameless = claims(&email);
    nameless["family_name"] = Value::Null;
    provider.claim(&email, &nameless);
    let page = proxy.browser().sign_in(&proxy.url("/"), &email);
    assert_eq!(page.answer.status, 403, "{}", page.answer.text());
    assert_eq!(proxy.users().len(), 0);
}

#[test]
fn a_mapping_without_username_or_name_is_an_error_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("session"),
        "0123456789abcdef0123456789abcdef",
    )
    .unwrap();
    let mapping = [
        ("username", USERNAME),
        ("name", "family_name"),
        ("first_name", "given_name"),
        ("email", "email"),
    ];
    for (without, code) in [
        ("username", 64),
        ("name", 64),
        ("email", 0),
        ("first_name", 0),
    ] {
        let mut text = String::from(
            "[server]\npublic_url = \"http://127.0.0.1:8080/wfgen\"\n[upstream]\nservers = [\"http://127.0.0.1:8081\"]\n\
             [[providers]]\nname = \"okta\"\nissuer = \"https://example.okta.com\"\nclient_id = \"0oa1\"\n\
             [session]\nkeys = [{ id = \"1\", secret = { file = \"session\" } }]\n\
             [[directories]]\nname = \"SELF_PROVISIONING\"\n[directories.mapping]\n",
        );
        for (field, claim) in mapping.iter().filter(|(field, _)| *field != without) {
            text.push_str(&format!("{field} = \"{claim}\"\n"));
        }
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .current_dir(folder.path())
            .arg("check")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(
            checked.status.code(),
            Some(code),
            "without {without}: {said}"
        );
        if code == 64 {
            let key = format!("directories[0].mapping.{without}");
            assert!(
                said.contains(&key) || said.contains(&format!("mapping.{without}")),
                "{said}"
            );
        }
    }
}
