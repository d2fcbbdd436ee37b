//! Bad input from the provider and from browsers, through the whole product: nobody is signed in, nothing
//! is written, the answer says whose fault it is. What the relying party makes of each lie by itself is
//! in `relying_party`.

use serde_json::{Value, json};

use crate::sign_in::stop_at_callback;
use crate::support::application::Application;
use crate::support::browser::Browser;
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, Lie, LyingProvider};
use crate::support::provider::{Client, Provider, new_person};
use crate::support::proxy::{Proxy, Setup, payload};

/// A proxy that signs people in at a provider that lies.
fn lied_to(
    application: &Application,
    change: impl FnOnce(Setup) -> Setup,
) -> (LyingProvider, Proxy) {
    let provider = LyingProvider::launch();
    provider.set_claims(person(&json!({})));
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let setup = Setup::new(application).at_issuer(provider.issuer(), client);
    let proxy = change(setup).start();
    (provider, proxy)
}

fn person(more: &Value) -> Value {
    let mut claims = json!({
        "preferred_username": "honest", "family_name": "Honest", "given_name": "Person",
        "email": "honest@example.test", "email_verified": true,
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A sign-in from nothing: the status at its end, in a browser that has no session after it.
#[track_caller]
fn refused(proxy: &Proxy, what: &str) -> u16 {
    let browser = proxy.browser();
    let page = browser.navigate(&proxy.url("/page"));
    assert!(
        page.url.path().ends_with("/auth/callback"),
        "{what}: {:#?}",
        page.addresses()
    );
    assert!(browser.cookies("wfgen_token").is_empty(), "{what}");
    assert!(proxy.users().is_empty(), "{what}: {:#?}", proxy.users());
    page.answer.status
}

/// The sign-in is refused with that status under every one of these lies, and works after them.
fn every_lie_is_refused(lies: &[(Lie, u16)]) {
    let application = Application::start();
    let (provider, proxy) = lied_to(&application, |setup| setup);
    for (lie, status) in lies {
        provider.lie(*lie);
        assert_eq!(refused(&proxy, &format!("{lie:?}")), *status, "{lie:?}");
    }
    assert!(application.received().is_empty());
    provider.be_honest();
    let page = proxy.browser().navigate(&proxy.url("/page"));
    assert_eq!(
        page.answer.status,
        200,
        "the honest case: {:#?}\n{}",
        page.addresses(),
        proxy.log()
    );
    assert_eq!(proxy.users().len(), 1);
}

#[test]
fn a_false_id_token_signs_nobody_in() {
    let false_tokens = [
        Lie::Issuer,
        Lie::NoIssuer,
        Lie::Audience,
        Lie::NoAudience,
        Lie::ExtraAudience,
        Lie::Azp,
        Lie::Expired,
        Lie::NoExpiry,
        Lie::NoSubject,
        Lie::EmptySubject,
        Lie::Nonce,
        Lie::NoNonce,
        Lie::NotBeforeInFuture,
        Lie::Signature,
        Lie::ChangedPayload,
        Lie::ForeignKey,
        Lie::UnknownKid,
        Lie::AlgNone,
        Lie::Hs256ByClientSecret,
        Lie::Hs256ByPublicKey,
        Lie::LogoutTokenType,
    ];
    every_lie_is_refused(&false_tokens.map(|lie| (lie, 403)));
}

#[test]
fn a_false_authorization_response_signs_nobody_in() {
    every_lie_is_refused(&[
        (Lie::ResponseIssuer, 400),
        (Lie::NoResponseIssuer, 400),
        (Lie::TwoStates, 400),
        (Lie::TwoCodes, 400),
        (Lie::NoCode, 400),
        (Lie::AccessDenied, 403),
    ]);
}

#[test]
fn a_token_endpoint_that_fails_signs_nobody_in() {
    every_lie_is_refused(&[
        (Lie::Token500, 503),
        (Lie::TokenSlow, 503),
        (Lie::TokenInvalidGrant, 403),
    ]);
}

/// Where the fault lies is the relying party's to judge; that nobody comes in is the product's.
#[test]
fn a_token_endpoint_that_talks_nonsense_signs_nobody_in() {
    let application = Application::start();
    let (provider, proxy) = lied_to(&application, |setup| setup);
    for lie in [
        Lie::TokenGarbage,
        Lie::TokenHtml,
        Lie::TokenHuge,
        Lie::NoIdToken,
        Lie::TokenRedirect,
    ] {
        provider.lie(lie);
        let status = refused(&proxy, &format!("{lie:?}"));
        assert!(matches!(status, 403 | 503), "{lie:?}: {status}");
    }
    assert!(application.received().is_empty());
}

/// The provider sends claims that are named like ours: ours stand, and nothing of theirs becomes ours.
#[test]
fn claims_named_like_ours_are_not_taken_over() {
    const USERNAME: &str = "https://api.workflowgen.com/username";
    let application = Application::start();
    let (provider, proxy) = lied_to(&application, |setup| {
        setup.with(
            "[upstream.identity]",
            "headers",
            "{ \"X-Mail\" = \"email\" }",
        )
    });
    provider.set_claims(person(&json!({
        USERNAME: "administrator", "user": {"username": "administrator", "email": "evil@example.test"},
        "sid": "theirs", "jti": "theirs", "at_hash": "theirs", "nbf": 0, "department": "kept",
    })));
    let browser = proxy.browser();
    let page = browser.navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    let request = application.last();
    assert_eq!(request.only("x-forwarded-user"), Some("honest"));
    assert_eq!(request.only("x-mail"), Some("honest@example.test"));
    let claims = payload(&browser.cookie("wfgen_token"));
    assert_eq!(claims[USERNAME], json!("honest"));
    assert_eq!(claims["user"], json!({"email": "honest@example.test"}));
    assert_eq!(claims["department"], json!("kept"));
    for name in ["sid", "jti"] {
        assert_ne!(claims[name], json!("theirs"), "{name}");
    }
    for name in ["at_hash", "nbf"] {
        assert!(claims.get(name).is_none(), "{name}: {claims}");
    }
    assert_eq!(proxy.users()[0]["username"], json!("honest"));
}

#[test]
fn claims_of_the_wrong_kind_sign_nobody_in() {
    let application = Application::start();
    let (provider, proxy) = lied_to(&application, |setup| {
        setup.with(
            "[upstream.identity]",
            "headers",
            "{ \"X-Name\" = \"first_name\" }",
        )
    });
    for (what, claims) in [
        ("name is an object", json!({"family_name": {"x": 1}})),
        ("name is a list", json!({"family_name": ["x"]})),
        (
            "username is an object",
            json!({"preferred_username": {"x": 1}}),
        ),
        ("username is absent", json!({"preferred_username": null})),
        ("username is empty", json!({"preferred_username": ""})),
        ("username of spaces", json!({"preferred_username": "   "})),
        ("name is absent", json!({"family_name": null})),
        (
            "line break in the username",
            json!({"preferred_username": "a\r\nX-Evil: 1"}),
        ),
        (
            "NUL in the username",
            json!({"preferred_username": "a\u{0}b"}),
        ),
        (
            "line break in a header's field",
            json!({"given_name": "a\r\nX-Evil: 1"}),
        ),
        (
            "escape in a header's field",
            json!({"given_name": "a\u{1b}[2J"}),
        ),
    ] {
        provider.set_claims(person(&claims));
        assert_eq!(refused(&proxy, what), 403, "{what}");
    }
    assert!(application.received().is_empty());
}

/// A browser waiting with a genuine response of the certified provider.
fn waiting(proxy: &Proxy) -> (Browser, String) {
    let mut browser = proxy.browser();
    let form = browser.navigate(&proxy.url("/page"));
    let user = new_person("waiting");
    let callback = stop_at_callback(&mut browser, &form, &user, &proxy.url("/auth/callback"));
    (browser, callback)
}

/// The callback's address with a parameter changed.
fn changed(callback: &str, name: &str, value: Option<&str>) -> String {
    let mut url = url::Url::parse(callback).unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let kept = pairs
        .into_iter()
        .filter_map(|(key, old)| match key == name {
            true => Some((key, value?.to_owned())),
            false => Some((key, old)),
        });
    let kept: Vec<_> = kept.collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    url.into()
}

#[test]
fn a_changed_callback_signs_nobody_in() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let (browser, callback) = waiting(&proxy);
    let query = |name: &str| {
        let url = url::Url::parse(&callback).unwrap();
        let value = url.query_pairs().find(|(key, _)| key == name);
        value.unwrap().1.into_owned()
    };
    let state = query("state");
    let mut flipped = state.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (what, address) in [
        ("state flipped", changed(&callback, "state", Some(&flipped))),
        (
            "state cut",
            changed(&callback, "state", Some(&state[..state.len() - 4])),
        ),
        ("state empty", changed(&callback, "state", Some(""))),
        ("no state", changed(&callback, "state", None)),
        ("state is text", changed(&callback, "state", Some("x"))),
        ("no code", changed(&callback, "code", None)),
        (
            "wrong iss",
            changed(&callback, "iss", Some("https://evil.example")),
        ),
        ("no iss", changed(&callback, "iss", None)),
        ("nothing", proxy.url("/auth/callback")),
    ] {
        let answer = browser.visit(&address);
        assert_eq!(answer.status, 400, "{what}");
        assert!(browser.cookies("wfgen_token").is_empty(), "{what}");
    }
    assert_eq!(
        browser
            .visit(&changed(&callback, "code", Some("guessed")))
            .status,
        403
    );
    assert!(proxy.users().is_empty());
    assert!(application.received().is_empty());
}

/// The response is bound to the browser that asked for it.
/// Somebody who keeps the address as a bookmark is helped to sign in, not told about request headers.
#[test]
fn a_callback_without_an_answer_leads_to_a_new_sign_in() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    for query in ["", "?", "?code=1", "?state=1&state=2&code=1", "?x=1"] {
        let answer = proxy
            .browser()
            .visit(&proxy.url(&format!("/auth/callback{query}")));
        assert_eq!(answer.status, 400, "{query}");
        let page = answer.text();
        assert!(page.contains("/wfgen/auth/login"), "{query}: {page}");
    }
    assert!(proxy.users().is_empty());
}

#[test]
fn a_callback_without_its_cookie_signs_nobody_in() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let (browser, callback) = waiting(&proxy);
    let stranger = proxy.browser();
    let answer = stranger.visit(&callback);
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("/wfgen/auth/login"),
        "a link to start again"
    );
    assert!(stranger.cookies("wfgen_token").is_empty());
    // Another browser that is in the middle of a sign-in of its own is no better.
    let mut other = proxy.browser();
    other.stop_before(&Provider::shared().issuer);
    other.navigate(&proxy.url("/other"));
    other.visit(&callback);
    assert!(other.cookies("wfgen_token").is_empty());
    assert!(proxy.users().is_empty());
    // The browser that asked still comes in.
    let page = browser.clone().reach(proxy.origin(), proxy.address);
    assert!(matches!(page.visit(&callback).status, 302 | 303));
    assert_eq!(browser.cookies("wfgen_token").len(), 1);
}

#[test]
fn a_code_is_good_once() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let (browser, callback) = waiting(&proxy);
    assert!(matches!(browser.visit(&callback).status, 302 | 303));
    let token = browser.cookie("wfgen_token");
    // Replayed by the same browser, which has lost its session since.
    browser.lose_cookie("wfgen_token");
    let answer = browser.visit(&callback);
    assert!(matches!(answer.status, 400 | 403), "{}", answer.status);
    assert!(browser.cookies("wfgen_token").is_empty());
    // The session it opened before goes on.
    let line = format!("Cookie: wfgen_token={token}\r\n");
    assert_eq!(proxy.get("/page", &line).status, 200);
}

/// Two requests with one response at once: one session.
#[test]
fn a_response_that_races_itself_opens_one_session() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let (browser, callback) = waiting(&proxy);
    let sign_in = browser
        .all_cookies()
        .into_iter()
        .find(|cookie| cookie.name.contains("sign_in"))
        .unwrap();
    let lines = format!(
        "Cookie: {}={}\r\nSec-Fetch-Mode: navigate\r\n",
        sign_in.name, sign_in.value
    );
    let target = callback.strip_prefix(proxy.origin()).unwrap();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| proxy.get_target(target, &lines)))
            .collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let sessions = answers.iter().filter(|answer| {
        answer
            .all("set-cookie")
            .iter()
            .any(|it| it.starts_with("wfgen_token=ey"))
    });
    assert!(sessions.count() <= 1, "{answers:#?}");
}

/// A provider without a discovery document, with a false one, then with an honest one.
#[test]
fn a_false_discovery_document_is_not_used() {
    let application = Application::start();
    let provider = LyingProvider::launch();
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    for lie in [
        Lie::DiscoveryIssuer,
        Lie::Discovery500,
        Lie::DiscoveryGarbage,
        Lie::DiscoveryNoTokenEndpoint,
    ] {
        provider.lie(lie);
        let setup = Setup::new(&application).at_issuer(provider.issuer(), client.clone());
        let proxy = setup.start_unready();
        let answer = proxy.browser().visit(&proxy.url("/page"));
        assert_eq!(answer.status, 503, "{lie:?}");
        assert!(answer.header("retry-after").is_some(), "{lie:?}");
        assert!(answer.all("set-cookie").is_empty(), "{lie:?}");
    }
    let setup = Setup::new(&application).at_issuer(provider.issuer(), client);
    let proxy = setup.start_unready();
    provider.be_honest();
    proxy.wait_until_people_can_sign_in();
}
