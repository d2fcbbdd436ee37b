//! The session token: what it says, what is none, how long it lasts, and that it never leaks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, SESSION_KEY, Setup, payload};
use crate::support::{PATIENCE, wait_for};

const USERNAME: &str = "https://api.workflowgen.com/username";

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn signed(claims: &Value, key: &str) -> String {
    let header: Header =
        serde_json::from_value(json!({"alg": "HS256", "typ": "JWT", "kid": "1"})).unwrap();
    assert_eq!(header.alg, Algorithm::HS256);
    encode(&header, claims, &EncodingKey::from_secret(key.as_bytes())).unwrap()
}

/// A GET of `/page` by a script, with this session cookie.
#[track_caller]
fn status_with(proxy: &Proxy, token: &str) -> u16 {
    proxy
        .get("/page", &format!("Cookie: wfgen_token={token}\r\n"))
        .status
}

#[test]
fn the_token_says_what_workflowgen_expects() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::new(&application)
        .with(
            "[upstream.identity]",
            "headers",
            "{ \"X-Forwarded-Email\" = \"email\" }",
        )
        .at(provider)
        .start();
    let user = new_person("token");
    provider.claim(
        &user,
        &json!({
            "preferred_username": user, "given_name": "Zoë", "family_name": "Example",
            "email": format!("{user}@example.test"), "email_verified": true, "groups": ["a", "b"],
        }),
    );
    let browser = proxy.signed_in(&user);
    let token = browser.cookie("wfgen_token");
    let claims = payload(&token);
    assert_eq!(claims["iss"], json!(proxy.url("/auth")));
    assert_eq!(claims["aud"], json!(proxy.public_url));
    assert_eq!(claims["sub"], json!(user));
    assert_eq!(claims[USERNAME], json!(user));
    assert_eq!(claims["given_name"], json!("Zoë"));
    assert_eq!(claims["groups"], json!(["a", "b"]));
    assert_eq!(
        claims["user"],
        json!({"email": format!("{user}@example.test")})
    );
    for name in ["sid", "jti", "nonce"] {
        assert!(claims[name].is_string(), "{name}: {claims}");
    }
    for name in ["at_hash", "azp", "auth_time_of_nobody"] {
        assert!(claims.get(name).is_none(), "{name}: {claims}");
    }
    let (from, until) = (
        claims["iat"].as_i64().unwrap(),
        claims["exp"].as_i64().unwrap(),
    );
    assert!((now() - from).abs() < 30, "iat {from}");
    assert!((until - from - 3600).abs() < 30, "until the ID token's exp");
    // It verifies with the shared secret, as the application's own module does it.
    let again = signed(&claims, SESSION_KEY);
    assert_eq!(status_with(&proxy, &again), 200);
    let cookie = &browser.cookies("wfgen_token")[0];
    assert_eq!(cookie.path, "/wfgen");
    assert!(cookie.http_only && !cookie.secure && cookie.same_site == "lax");
    let request = application.last();
    assert_eq!(request.cookies("wfgen_token").len(), 1);
}

#[test]
fn on_https_the_cookie_is_secure() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .public_origin("https://workflow.example.test")
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("secure"));
    let ours = browser.all_cookies();
    let ours: Vec<_> = ours
        .iter()
        .filter(|cookie| cookie.domain == "workflow.example.test")
        .collect();
    assert!(ours.iter().any(|cookie| cookie.name == "wfgen_token"));
    for cookie in ours {
        assert!(cookie.secure && cookie.http_only, "{cookie:?}");
    }
    let request = application.last();
    assert_eq!(request.only("host"), Some("workflow.example.test"));
    assert_eq!(request.only("x-forwarded-proto"), Some("https"));
    assert_eq!(
        request.only("x-forwarded-host"),
        Some("workflow.example.test")
    );
}

#[test]
fn a_token_that_is_not_ours_is_no_session() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("forged"));
    let token = browser.cookie("wfgen_token");
    let claims = payload(&token);
    assert_eq!(status_with(&proxy, &token), 200);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        signed(&claims, SESSION_KEY)
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        signed(&claims, SESSION_KEY)
    };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let parts: Vec<&str> = token.split('.').collect();
    let mut changed = claims.clone();
    changed[USERNAME] = json!("administrator");
    let none = |alg: &str| format!("{}.{}.", part(&json!({"alg": alg, "typ": "JWT"})), parts[1]);
    let forged = [
        (
            "another key",
            signed(&claims, "another key, which is long enough for it"),
        ),
        ("expired", with("exp", json!(now() - 120))),
        ("just expired", with("exp", json!(now() - 1))),
        ("exp is text", with("exp", json!("9999999999"))),
        ("no exp", without("exp")),
        (
            "another issuer",
            with("iss", json!("https://elsewhere.test/auth")),
        ),
        ("issuers", with("iss", json!([claims["iss"], "x"]))),
        ("no issuer", without("iss")),
        (
            "another audience",
            with("aud", json!("https://elsewhere.test")),
        ),
        ("no audience", without("aud")),
        ("no sid", without("sid")),
        ("no jti", without("jti")),
        (
            "a sid nobody gave",
            with("sid", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ),
        ("no username", without(USERNAME)),
        ("username no text", with(USERNAME, json!(["a"]))),
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("no alg", none("")),
        (
            "changed",
            format!("{}.{}.{}", parts[0], part(&changed), parts[2]),
        ),
        ("cut", token[..token.len() - 1].to_owned()),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("empty", String::new()),
        ("text", "wfgen".to_owned()),
        ("huge", "a".repeat(8 * 1024)),
    ];
    application.forget();
    for (what, token) in &forged {
        assert_eq!(status_with(&proxy, token), 401, "{what}");
    }
    assert!(application.received().is_empty());
    assert_eq!(status_with(&proxy, &token), 200, "the genuine one still is");
}

/// A bad cookie must not send the person round for ever: the provider signs in and it is replaced.
#[test]
fn a_bad_token_is_replaced_at_the_next_navigation() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("replaced");
    let browser = proxy.browser();
    browser.set_cookie(&proxy.url("/"), "wfgen_token=nonsense; Path=/");
    browser.set_cookie(&proxy.url("/"), "wfgen_token=nonsense; Path=/wfgen/");
    let page = browser.sign_in(&proxy.url("/page"), &user);
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(user.as_str())
    );
}

#[test]
fn of_several_cookies_the_first_that_verifies_counts() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let (alice, bob) = (new_person("first"), new_person("second"));
    let first = proxy.signed_in(&alice).cookie("wfgen_token");
    let second = proxy.signed_in(&bob).cookie("wfgen_token");
    let line = format!("Cookie: wfgen_token=x.y.z; wfgen_token={first}; wfgen_token={second}\r\n");
    assert_eq!(proxy.get("/page", &line).status, 200);
    let request = application.last();
    assert_eq!(request.only("x-forwarded-user"), Some(alice.as_str()));
    assert_eq!(request.cookies("wfgen_token"), [first.as_str()]);
}

#[test]
fn a_session_outlives_a_restart() {
    let application = Application::start();
    let mut proxy = Setup::usual(&application);
    let user = new_person("restart");
    let browser = proxy.signed_in(&user);
    let token = browser.cookie("wfgen_token");
    proxy.restart();
    assert_eq!(status_with(&proxy, &token), 200);
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(user.as_str())
    );
}

#[test]
fn a_sign_in_that_began_before_a_restart_ends_after_it() {
    let application = Application::start();
    let mut proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let form = browser.navigate(&proxy.url("/page"));
    proxy.restart();
    let user = new_person("between");
    let page = browser.fill_in(&form, &[("login", &user), ("password", "any")]);
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    assert_eq!(page.url.as_str(), proxy.url("/page"));
}

#[test]
fn the_lifetime_may_be_fixed() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[session]", "lifetime", "\"10h\"")
        .at(Provider::shared())
        .start();
    let claims = payload(&proxy.signed_in(&new_person("fixed")).cookie("wfgen_token"));
    let lasting = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lasting, 36_000);
}

#[test]
fn claims_that_do_not_fit_are_left_out_and_named() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let user = new_person("weight");
    provider.claim(
        &user,
        &json!({
            "preferred_username": user, "family_name": "Heavy", "given_name": "x", "email": "a@b.test",
            "groups": (0..400).map(|n| format!("group number {n}")).collect::<Vec<_>>(),
        }),
    );
    let browser = proxy.signed_in(&user);
    let cookie = browser.cookie("wfgen_token");
    assert!(
        cookie.len() + "wfgen_token".len() <= 3891,
        "{}",
        cookie.len()
    );
    let claims = payload(&cookie);
    assert!(claims.get("groups").is_none());
    assert_eq!(claims["family_name"], json!("Heavy"), "mapped claims stay");
    proxy.wait_for_log("groups");
}

#[test]
fn claims_that_are_all_needed_and_do_not_fit_are_an_error_at_sign_in() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::new(&application)
        .maps("department", "\"department\"")
        .at(provider)
        .start();
    let user = new_person("giant");
    let giant = "d".repeat(6_000);
    provider.claim(
        &user,
        &json!({ "preferred_username": user, "family_name": "x", "department": giant }),
    );
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/page"), &user);
    assert_eq!(page.answer.status, 403, "{:#?}", page.addresses());
    assert!(browser.cookies("wfgen_token").is_empty());
    assert!(!page.answer.text().contains(&giant[..100]));
}

/// A new session at each sign-in, and a copy of its cookie dies with it.
#[test]
fn lesson_24_fixation_and_undead_sessions() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("undead");
    let browser = proxy.signed_in(&user);
    let first = browser.cookie("wfgen_token");
    let other = proxy.signed_in(&user).cookie("wfgen_token");
    assert_ne!(payload(&first)["sid"], payload(&other)["sid"]);
    assert_ne!(payload(&first)["jti"], payload(&other)["jti"]);
    // A cookie planted before the sign-in is not what the session becomes.
    let victim = proxy.browser();
    let planted = first.clone();
    assert_eq!(status_with(&proxy, &planted), 200);
    browser.navigate(&proxy.url("/auth/logout"));
    for _ in 0..3 {
        assert_eq!(status_with(&proxy, &planted), 401, "the copy died");
    }
    victim.set_cookie(
        &proxy.url("/"),
        &format!("wfgen_token={planted}; Path=/wfgen"),
    );
    let page = victim.sign_in(&proxy.url("/page"), &user);
    assert_eq!(page.answer.status, 200);
    assert_ne!(
        payload(&victim.cookie("wfgen_token"))["sid"],
        payload(&planted)["sid"]
    );
    assert_eq!(status_with(&proxy, &planted), 401, "and stays dead");
    assert_eq!(status_with(&proxy, &other), 200, "other sessions go on");
}

#[test]
fn a_logout_survives_a_crash() {
    let application = Application::start();
    let mut proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("crash"));
    let token = browser.cookie("wfgen_token");
    browser.visit(&proxy.url("/auth/logout"));
    proxy.restart();
    assert_eq!(status_with(&proxy, &token), 401);
}

/// A whole journey at the most talkative log level, with refusals; then every secret that was seen
/// anywhere is looked for in every log of the run.
#[test]
fn lesson_25_token_leaks() {
    let application = Application::start();
    let provider = Provider::start(0);
    let proxy = Setup::new(&application)
        .with("[log]", "level", "\"trace\"")
        .at(&provider)
        .start();
    let user = new_person("leak");
    provider.claim(
        &user,
        &json!({ "preferred_username": user, "family_name": "a-claim-nobody-may-log",
                 "given_name": "x", "email": "leak@secret-claims.test", "email_verified": true }),
    );
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/page?password=in-the-query"), &user);
    assert_eq!(page.answer.status, 200);
    let mut secrets: Vec<(&str, String)> = vec![
        ("client secret", proxy.client.secret.clone()),
        ("session key", SESSION_KEY.to_owned()),
        ("session token", browser.cookie("wfgen_token")),
        ("claim", "a-claim-nobody-may-log".to_owned()),
        ("claim", "leak@secret-claims.test".to_owned()),
        ("query", "in-the-query".to_owned()),
    ];
    let (callback, _) = page.step("/auth/callback");
    for (name, value) in callback.query_pairs().filter(|(name, _)| name != "iss") {
        secrets.push(("callback", value.clone().into_owned()));
        assert!(matches!(&*name, "code" | "state"), "{name}");
    }
    let sign_in = browser
        .all_cookies()
        .into_iter()
        .find(|it| it.name.contains("sign_in"));
    secrets.extend(sign_in.map(|cookie| ("sign-in cookie", cookie.value)));
    // Refusals and faults talk most.
    let replay = browser.clone();
    replay.lose_cookie("wfgen_token");
    replay.visit(callback.as_str());
    let fresh = proxy.browser();
    fresh.visit(callback.as_str());
    fresh.visit(&format!("{callback}&code=twice"));
    proxy.get(
        "/page",
        &format!("Cookie: wfgen_token={}x\r\n", secrets[2].1),
    );
    proxy.get("/page", "Authorization: Bearer bearer-nobody-may-log\r\n");
    secrets.push(("bearer", "bearer-nobody-may-log".to_owned()));
    let again = proxy.signed_in(&user);
    secrets.push(("session token", again.cookie("wfgen_token")));
    again.navigate(&proxy.url("/auth/logout"));
    secrets.extend(provider.tokens().into_iter().map(|token| ("token", token)));
    assert!(secrets.len() >= 12, "the run saw tokens: {}", secrets.len());
    wait_for("the last log line", PATIENCE, || {
        proxy.log().contains("logout").then_some(())
    });
    std::thread::sleep(Duration::from_millis(200));
    let mut logs = proxy.log();
    for arguments in [&["users", "list", "--json"][..], &["check"]] {
        let output = proxy.run(arguments);
        logs.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert!(
        logs.contains("/wfgen/page"),
        "there is an access log: {logs}"
    );
    for (what, secret) in &secrets {
        assert!(
            !logs.contains(secret.as_str()),
            "a {what} is in the log: {secret}"
        );
        // Nor the signature alone, nor an escaped form.
        if let Some(signature) = secret.rsplit('.').next().filter(|it| it.len() > 40) {
            assert!(
                !logs.contains(signature),
                "a {what}'s signature is in the log"
            );
        }
    }
    // Neither does the store hold a provider's token as it is.
    let store = ["vestibule.db", "vestibule.db-wal"]
        .iter()
        .flat_map(|name| std::fs::read(proxy.file(name)).unwrap_or_default())
        .collect::<Vec<u8>>();
    for (what, secret) in secrets
        .iter()
        .filter(|(what, _)| !matches!(*what, "claim" | "query"))
    {
        let found = memchr::memmem::find(&store, secret.as_bytes());
        assert!(found.is_none(), "a {what} is in the store");
    }
}
