//! Signing out: here, for every copy of the cookie, and at the provider.

use std::collections::HashMap;

use sqlx::Connection as _;

use crate::support::application::Application;
use crate::support::browser::Sending;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::{PATIENCE, wait_for};

#[test]
fn signing_out_ends_the_session_here_and_at_the_provider() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("out");
    let browser = proxy.signed_in(&user);
    let token = browser.cookie("wfgen_token");
    let answer = browser.visit(&proxy.url("/auth/logout"));
    assert!(matches!(answer.status, 302 | 303), "{}", answer.text());
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
    let location = url::Url::parse(answer.header("location").unwrap()).unwrap();
    assert!(
        location.as_str().starts_with(&Provider::shared().issuer),
        "{location}"
    );
    let sent: HashMap<_, _> = location.query_pairs().into_owned().collect();
    assert!(sent["id_token_hint"].split('.').count() == 3);
    assert_eq!(
        sent["post_logout_redirect_uri"],
        proxy.url("/auth/logout/return")
    );
    assert!(sent["state"].len() >= 16);
    assert!(browser.cookies("wfgen_token").is_empty());
    let copied = format!("Cookie: wfgen_token={token}\r\n");
    assert_eq!(
        proxy.get("/page", &copied).status,
        401,
        "the copy died at once"
    );
    // The provider asks, then sends the person back to a page that does not sign in again.
    let question = browser.navigate(location.as_str());
    let page = browser.fill_in(&question, &[("logout", "yes")]);
    assert_eq!(
        page.url.as_str().split('?').next(),
        Some(proxy.url("/auth/logout/return").as_str())
    );
    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    assert!(page.answer.text().contains("/wfgen/auth/login"));
    assert!(
        browser.navigate(&proxy.url("/page")).is_login_form(),
        "the provider's session is over"
    );
}

#[test]
fn signing_out_may_stay_local() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[[providers]]", "logout", "\"local\"")
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("local"));
    let page = browser.navigate(&proxy.url("/auth/logout"));
    assert_eq!(page.url.as_str(), proxy.url("/auth/logout/return"));
    assert_eq!(page.answer.status, 200);
    assert!(browser.cookies("wfgen_token").is_empty());
    assert_eq!(browser.fetch(&proxy.url("/page")).status, 401);
}

#[test]
fn another_site_cannot_sign_a_person_out_unasked() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("csrf"));
    let evil = url::Url::parse("http://localhost:1/evil").unwrap();
    let page = browser.click(&evil, &proxy.url("/auth/logout"));
    assert_eq!(page.answer.status, 200, "it asks: {:#?}", page.addresses());
    assert!(page.answer.all("set-cookie").is_empty());
    assert_eq!(
        browser.fetch(&proxy.url("/page")).status,
        200,
        "still signed in"
    );
    for method in ["GET", "POST"] {
        for guess in ["", "?confirm=", "?confirm=yes", "?confirm=AAAA"] {
            let mut sending = Sending::by_person(&proxy.url(&format!("/auth/logout{guess}")));
            sending.method = method.to_owned();
            sending.initiator = Some(evil.clone());
            let token = browser.cookie("wfgen_token");
            // As a browser that knows no SameSite would.
            browser.send(&sending.with("Cookie", &format!("wfgen_token={token}")));
            assert_eq!(
                browser.fetch(&proxy.url("/page")).status,
                200,
                "{method} {guess}"
            );
        }
    }
    let token = browser.cookie("wfgen_token");
    let bare = proxy.get("/auth/logout", &format!("Cookie: wfgen_token={token}\r\n"));
    assert_eq!(bare.status, 200, "unknown origin: it asks");
    assert_eq!(browser.fetch(&proxy.url("/page")).status, 200);
    // The person's own yes, on the page that asked.
    let mut own = browser.clone();
    own.stop_before(&Provider::shared().issuer);
    own.fill_in(&page, &[]);
    assert!(browser.cookies("wfgen_token").is_empty());
    let copied = format!("Cookie: wfgen_token={token}\r\n");
    assert_eq!(proxy.get("/page", &copied).status, 401);
}

#[test]
fn the_applications_own_link_signs_out() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("link"));
    let mut own = browser.clone();
    own.stop_before(&Provider::shared().issuer);
    let from = url::Url::parse(&proxy.url("/page")).unwrap();
    own.click(&from, &proxy.url("/auth/logout"));
    assert!(browser.cookies("wfgen_token").is_empty());
}

/// Browsers fetch ahead what a person types, or a page links: that is no wish to sign out. Nor is HEAD.
#[test]
fn nobody_is_signed_out_before_they_go_there() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let mut browser = proxy.signed_in(&new_person("ahead"));
    for (name, value) in [
        ("Sec-Purpose", "prefetch"),
        ("Sec-Purpose", "prefetch;prerender"),
        ("Sec-Purpose", "prefetch;anonymous-client-ip"),
        ("Purpose", "prefetch"),
    ] {
        let ahead = Sending::by_person(&proxy.url("/auth/logout")).with(name, value);
        let answer = browser.send(&ahead);
        assert_eq!(answer.status, 204, "{name}: {value}");
        assert!(answer.all("set-cookie").is_empty(), "{name}: {value}");
        assert!(answer.header("cache-control").unwrap().contains("no-store"));
        assert_eq!(browser.fetch(&proxy.url("/page")).status, 200, "{value}");
    }
    let mut head = Sending::by_person(&proxy.url("/auth/logout"));
    head.method = "HEAD".to_owned();
    let answer = browser.send(&head);
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET, POST"));
    assert_eq!(browser.fetch(&proxy.url("/page")).status, 200);
    browser.stop_before(&Provider::shared().issuer);
    browser.navigate(&proxy.url("/auth/logout"));
    assert!(browser.cookies("wfgen_token").is_empty());
}

#[test]
fn signing_out_without_a_session_is_harmless() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let page = proxy.browser().navigate(&proxy.url("/auth/logout"));
    assert_eq!(page.url.as_str(), proxy.url("/auth/logout/return"));
    assert_eq!(page.answer.status, 200);
}

#[test]
fn signing_out_and_in_again_is_no_loop() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[[providers]]", "logout", "\"local\"")
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("round"));
    for round in 0..4 {
        browser.navigate(&proxy.url("/auth/logout"));
        let page = browser.navigate(&proxy.url("/"));
        assert_eq!(
            page.answer.status,
            200,
            "round {round}: {:#?}",
            page.addresses()
        );
    }
}

/// Another process holds the store's lock while somebody signs out: the page says that it is not
/// recorded, the copied cookie is dead all the same, and once the lock is gone a restart knows it too.
#[test]
fn a_logout_that_the_store_cannot_record_is_recorded_later() {
    let application = Application::start();
    let mut proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("unrecorded"));
    let copied = browser.cookie("wfgen_token");
    let with_copy = |proxy: &Proxy| {
        let line = format!("Cookie: wfgen_token={copied}\r\n");
        proxy.get("/page", &line).status
    };
    assert_eq!(with_copy(&proxy), 200);
    let file = format!("sqlite:{}", proxy.file("vestibule.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut lock = runtime
        .block_on(sqlx::SqliteConnection::connect(&file))
        .unwrap();
    runtime
        .block_on(sqlx::query("BEGIN IMMEDIATE").execute(&mut lock))
        .unwrap();
    let answer = browser.visit(&proxy.url("/auth/logout"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(with_copy(&proxy), 401);
    runtime
        .block_on(sqlx::query("ROLLBACK").execute(&mut lock))
        .unwrap();
    let ended = "SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL";
    wait_for("the logout to be recorded", PATIENCE, || {
        let count: i64 = runtime
            .block_on(sqlx::query_scalar(ended).fetch_one(&mut lock))
            .unwrap();
        (count == 1).then_some(())
    });
    proxy.restart();
    assert_eq!(with_copy(&proxy), 401);
}
