//! Who somebody is: identities, outcomes, and that one request never names two people.

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup, payload};

const USERNAME: &str = "https://api.workflowgen.com/username";

fn claims(username: &str, more: &Value) -> Value {
    let mut claims = json!({
        "preferred_username": username, "family_name": "Family", "given_name": "Given",
        "email": "person@example.test", "email_verified": true,
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn user<'a>(users: &'a [Value], username: &str) -> &'a Value {
    let found = users
        .iter()
        .find(|user| user["username"] == json!(username));
    found.unwrap_or_else(|| panic!("{username} is a user: {users:#?}"))
}

/// Signs in; the status of what is shown at the end.
#[track_caller]
fn signs_in(proxy: &Proxy, login: &str) -> u16 {
    proxy
        .browser()
        .sign_in(&proxy.url("/page"), login)
        .answer
        .status
}

/// Two subjects with one address, or one username, never share a user.
#[test]
fn lesson_04_account_takeover_by_email_or_username() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let (alice, mallory, eve) = (
        new_person("owner"),
        new_person("mallory"),
        new_person("eve"),
    );
    provider.claim(
        &alice,
        &claims(&alice, &json!({"email": "shared@example.test"})),
    );
    proxy.signed_in(&alice);
    // The same address: a user of her own.
    provider.claim(
        &mallory,
        &claims(&mallory, &json!({"email": "shared@example.test"})),
    );
    proxy.signed_in(&mallory);
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(mallory.as_str())
    );
    // The same username, also as coarsely as a database compares it: nobody.
    application.forget();
    let before = proxy.users();
    for name in [
        alice.clone(),
        alice.to_uppercase(),
        format!(" {alice} "),
        alice.replace('o', "\u{f3}"),
        alice.replace('o', "\u{ff4f}"),
    ] {
        provider.claim(&eve, &claims(&name, &json!({})));
        let browser = proxy.browser();
        let page = browser.sign_in(&proxy.url("/page"), &eve);
        assert_eq!(page.answer.status, 403, "{name:?}");
        assert!(browser.cookies("wfgen_token").is_empty(), "{name:?}");
    }
    assert!(application.received().is_empty());
    assert_eq!(proxy.users(), before, "nothing was written");
    assert_eq!(before.len(), 2);
    assert!(proxy.metric("vestibule_provisioning_total", &["outcome=\"conflict\""]) >= 5.0);
}

/// `username_claim = "email"` takes verified addresses only.
#[test]
fn an_unverified_address_is_no_username() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::new(&application)
        .with("[[providers]]", "username_claim", "\"email\"")
        .at(provider)
        .start();
    let login = new_person("mail");
    let address = format!("{login}@example.test");
    for verified in [json!(false), Value::Null] {
        provider.claim(
            &login,
            &claims(
                &login,
                &json!({"email": address, "email_verified": verified}),
            ),
        );
        assert_eq!(signs_in(&proxy, &login), 403, "{verified}");
        assert!(proxy.users().is_empty());
    }
    provider.claim(
        &login,
        &claims(&login, &json!({"email": address, "email_verified": true})),
    );
    assert_eq!(signs_in(&proxy, &login), 200);
    assert_eq!(proxy.users()[0]["username"], json!(address));
}

/// So does a mapping of `username`, with the same words by `explain`; `trust_email` is the operator's word for the
/// provider's.
#[test]
fn an_unverified_address_is_no_mapped_username() {
    let application = Application::start();
    let provider = Provider::shared();
    let login = new_person("mapped");
    let address = format!("{login}@example.test");
    let sent = claims(&login, &json!({"email": address, "email_verified": false}));
    provider.claim(&login, &sent);
    let mapped = || Setup::new(&application).maps("username", "\"email\"");
    let proxy = mapped().at(provider).start();
    assert_eq!(signs_in(&proxy, &login), 403);
    assert!(proxy.users().is_empty());
    std::fs::write(proxy.file("claims.json"), sent.to_string()).unwrap();
    let explained = proxy.run(&["explain", "--claims", "claims.json", "--json"]);
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["outcome"], json!("refused"));
    let reason = explained["reason"].as_str().unwrap();
    assert!(reason.contains("email_verified"), "{reason}");

    let trusting = mapped()
        .with("[[providers]]", "trust_email", "true")
        .at(provider)
        .start();
    assert_eq!(signs_in(&trusting, &login), 200);
    assert_eq!(trusting.users()[0]["username"], json!(address));
}

#[test]
fn fields_follow_their_policies_at_each_sign_in() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::new(&application)
        .maps(
            "department",
            "{ claim = \"department\", sync = \"on-create\" }",
        )
        .maps("phone", "{ claim = \"phone_number\", missing = \"clear\" }")
        .maps("city", "{ claim = \"nickname\", sync = \"if-empty\" }")
        .maps("company", "{ value = \"Example Ltd\" }")
        .maps("office", "[\"zoneinfo\", \"locale\"]")
        .at(provider)
        .start();
    let login = new_person("sync");
    let first = json!({"department": "A", "phone_number": "1", "locale": "L"});
    provider.claim(&login, &claims(&login, &first));
    proxy.signed_in(&login);
    let users = proxy.users();
    let stored = user(&users, &login);
    assert_eq!(stored["department"], json!("A"));
    assert_eq!(stored["phone"], json!("1"));
    assert_eq!(stored["company"], json!("Example Ltd"));
    assert_eq!(stored["office"], json!("L"));
    assert_eq!(stored["first_name"], json!("Given"));
    let second = json!({"department": "B", "nickname": "City", "zoneinfo": "Z", "locale": "L",
                        "given_name": "", "family_name": "New"});
    provider.claim(&login, &claims(&login, &second));
    proxy.signed_in(&login);
    let users = proxy.users();
    let stored = user(&users, &login);
    assert_eq!(stored["department"], json!("A"), "on-create");
    assert!(
        stored
            .get("phone")
            .is_none_or(|it| it.is_null() || it == ""),
        "missing = clear: {stored}"
    );
    assert_eq!(stored["city"], json!("City"), "if-empty");
    assert_eq!(stored["office"], json!("Z"), "the first present");
    assert_eq!(stored["first_name"], json!("Given"), "missing = keep");
    assert_eq!(stored["name"], json!("New"), "always");
    provider.claim(&login, &claims(&login, &json!({"nickname": "Other"})));
    proxy.signed_in(&login);
    assert_eq!(
        user(&proxy.users(), &login)["city"],
        json!("City"),
        "if-empty"
    );
    assert_eq!(proxy.users().len(), 1);
}

/// The name of the stored user is the one in token and header, whatever the provider says now.
#[test]
fn a_renamed_person_is_one_person_everywhere() {
    let application = Application::start();
    let provider = Provider::shared();
    for (rename, status, expected_new) in [
        ("follow", 200, true),
        ("keep", 200, false),
        ("deny", 403, false),
    ] {
        let proxy = Setup::new(&application)
            .with("[[directories]]", "rename", &format!("{rename:?}"))
            .at(provider)
            .start();
        let login = new_person("rename");
        provider.claim(&login, &claims(&login, &json!({})));
        proxy.signed_in(&login);
        let new = format!("{login}-new");
        provider.claim(&login, &claims(&new, &json!({})));
        application.forget();
        let browser = proxy.browser();
        let page = browser.sign_in(&proxy.url("/page"), &login);
        assert_eq!(page.answer.status, status, "{rename}");
        let name = if expected_new { &new } else { &login };
        let users = proxy.users();
        assert_eq!(users.len(), 1, "{rename}");
        assert_eq!(users[0]["username"], json!(name), "{rename}");
        if status == 200 {
            assert_eq!(
                application.last().only("x-forwarded-user"),
                Some(name.as_str())
            );
            assert_eq!(
                payload(&browser.cookie("wfgen_token"))[USERNAME],
                json!(name)
            );
            let session = browser.fetch(&proxy.url("/auth/session")).json();
            assert_eq!(session["username"], json!(name), "{session}");
        } else {
            assert!(application.received().is_empty());
        }
    }
}

#[test]
fn a_new_name_that_is_taken_keeps_the_old_and_lets_in() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let (one, two) = (new_person("taken"), new_person("taker"));
    for login in [&one, &two] {
        provider.claim(login, &claims(login, &json!({})));
        proxy.signed_in(login);
    }
    provider.claim(&two, &claims(&one, &json!({"family_name": "Synchronised"})));
    proxy.signed_in(&two);
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(two.as_str())
    );
    let users = proxy.users();
    assert_eq!(users.len(), 2);
    assert_eq!(user(&users, &two)["name"], json!("Synchronised"));
    assert_eq!(user(&users, &one)["name"], json!("Family"));
}

#[test]
fn a_name_given_up_stays_reserved() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let (one, two) = (new_person("former"), new_person("heir"));
    provider.claim(&one, &claims(&one, &json!({})));
    proxy.signed_in(&one);
    provider.claim(&one, &claims(&format!("{one}-new"), &json!({})));
    proxy.signed_in(&one);
    provider.claim(&two, &claims(&one, &json!({})));
    assert_eq!(signs_in(&proxy, &two), 403);
    assert_eq!(proxy.users().len(), 1);
}

#[test]
fn refusals_let_nobody_in_and_write_no_user() {
    let application = Application::start();
    let provider = Provider::shared();
    type Change = fn(Setup) -> Setup;
    let cases: [(&str, Change, Value); 7] = [
        (
            "create is off",
            |it| it.with("[[directories]]", "create", "false"),
            json!({}),
        ),
        ("no required field", |it| it, json!({"family_name": ""})),
        (
            "missing = deny",
            |it| it.maps("city", "{ claim = \"nickname\", missing = \"deny\" }"),
            json!({}),
        ),
        (
            "an object for a text field",
            |it| it,
            json!({"given_name": {"a": 1}}),
        ),
        (
            "a control character",
            |it| it,
            json!({"preferred_username": "a\u{0}b\r\nX-Evil: 1"}),
        ),
        (
            "a reserved name",
            |it| {
                it.with(
                    "[[directories]]",
                    "reserved_usernames",
                    "[\"Administrator\"]",
                )
            },
            json!({"preferred_username": "administrator"}),
        ),
        ("no username", |it| it, json!({"preferred_username": null})),
    ];
    for (what, change, more) in cases {
        let proxy = change(Setup::new(&application)).at(provider).start();
        let login = new_person("refused");
        provider.claim(&login, &claims(&login, &more));
        let browser = proxy.browser();
        let page = browser.sign_in(&proxy.url("/page"), &login);
        assert_eq!(page.answer.status, 403, "{what}");
        let html = page.answer.text();
        assert!(
            html.contains("select_account") || html.contains("/auth/login"),
            "{what}: {html}"
        );
        assert!(browser.cookies("wfgen_token").is_empty(), "{what}");
        assert!(proxy.users().is_empty(), "{what}");
    }
    assert!(application.received().is_empty());
}

#[test]
fn nobody_is_created_over_max_users() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[[directories]]", "max_users", "1")
        .at(Provider::shared())
        .start();
    let first = new_person("within");
    proxy.signed_in(&first);
    assert_eq!(signs_in(&proxy, &new_person("over")), 403);
    assert_eq!(signs_in(&proxy, &first), 200, "who is known comes in");
    assert_eq!(proxy.users().len(), 1);
}

#[test]
fn a_user_who_waits_for_activation_is_told_so() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::new(&application)
        .with("[[directories]]", "new_user_status", "\"inactive\"")
        .at(provider)
        .start();
    let login = new_person("waits");
    provider.claim(&login, &claims(&login, &json!({})));
    assert_eq!(signs_in(&proxy, &login), 403);
    let users = proxy.users();
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["status"], json!("inactive"));
    assert_eq!(signs_in(&proxy, &login), 403);
    assert!(application.received().is_empty());
}

/// Twenty first sign-ins of one person at once make one user.
#[test]
fn concurrent_first_sign_ins_make_one_user() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let login = new_person("once");
    provider.claim(&login, &claims(&login, &json!({})));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| proxy.signed_in(&login));
        }
    });
    assert_eq!(proxy.users().len(), 1);
}
