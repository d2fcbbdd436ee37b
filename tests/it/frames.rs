//! The application in a frame of a portal on another site: its session comes along, looking is free, and whatever
//! changes something has to come from a page that is trusted.

use std::io::Write as _;

use serde_json::json;

use crate::support::application::Application;
use crate::support::browser::{Mode, Sending};
use crate::support::chromium::Chromium;
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::provider::{Client, Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::tls::Authority;
use crate::support::wire::exchange;
use crate::support::{PATIENCE, wait_for};

const PORTAL: &str = "https://portal.example.test";

fn framed(application: &Application, trusted: &str) -> Setup {
    Setup::new(application)
        .public_origin("https://workflow.example.test")
        .with("[session]", "same_site", "\"none\"")
        .with("[session]", "trusted_origins", trusted)
}

#[test]
fn cookies_are_for_frames_too() {
    let application = Application::start();
    let proxy = framed(&application, "[]").at(Provider::shared()).start();
    let browser = proxy.browser();
    let start = browser.visit(&proxy.url("/"));
    let page = browser.sign_in(&proxy.url("/"), &new_person("framed"));
    let callback = &page.step("/callback").1;
    for (answer, name) in [(&start, "wfgen_token_sign_in"), (callback, "wfgen_token")] {
        let ours = |set: &&str| set.starts_with(&format!("{name}="));
        let set: Vec<_> = answer.all("set-cookie").into_iter().filter(ours).collect();
        assert_eq!(set.len(), 2, "{name}: {set:?}");
        assert!(
            set.iter()
                .all(|it| it.contains("; Secure") && it.contains("SameSite=None"))
        );
        let partitioned = set.iter().filter(|it| it.contains("; Partitioned"));
        assert_eq!(partitioned.count(), 1, "{set:?}");
    }
    // A browser that keeps both sends both; the application gets one.
    let token = browser.cookie("wfgen_token");
    application.forget();
    let lines = format!("Cookie: wfgen_token={token}; wfgen_token={token}\r\n");
    assert_eq!(proxy.get("/page", &lines).status, 200);
    assert_eq!(application.last().cookies("wfgen_token").len(), 1);
}

fn ask(proxy: &Proxy, method: &str, below: &str, lines: &str) -> u16 {
    let (target, host) = (proxy.path(below), proxy.host());
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{lines}\r\n"
    );
    exchange(proxy.address, request).status
}

#[test]
fn what_changes_something_comes_from_a_trusted_page() {
    let application = Application::start();
    let proxy = framed(&application, &format!("[{PORTAL:?}]"))
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    application.answer_early("/wfgen/ws", |_, stream| {
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        Ok(false)
    });
    let token = proxy
        .signed_in(&new_person("careful"))
        .cookie("wfgen_token");
    let own = proxy.origin();
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    let post = |method: &str, below: &str, lines: &str| {
        application.forget();
        let status = ask(&proxy, method, below, &format!("{cookie}{lines}"));
        (status, application.received().len())
    };
    let from = |origin: &str| format!("Origin: {origin}\r\n");
    let evil = from("https://evil.example");
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
        assert_eq!(post(method, "/page", &from(own)), (200, 1), "{method}");
        assert_eq!(post(method, "/page", &from(PORTAL)), (200, 1), "{method}");
        assert_eq!(post(method, "/page", &evil), (403, 0), "{method}");
        assert_eq!(post(method, "/page", &from("null")), (403, 0), "{method}");
        let site = "Sec-Fetch-Site: cross-site\r\n";
        assert_eq!(post(method, "/page", site), (403, 0), "{method}");
        assert_eq!(
            post(method, "/page", ""),
            (200, 1),
            "{method}: no browser's"
        );
    }
    assert_eq!(post("GET", "/page", &evil), (200, 1), "looking is free");
    assert_eq!(
        post("POST", "/open/hook", &evil),
        (200, 1),
        "no session is used"
    );
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let upgraded = |origin: &str| {
        let (target, host) = (proxy.path("/ws"), proxy.host());
        exchange(
            proxy.address,
            format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\n{upgrade}{cookie}{}\r\n",
                from(origin)
            ),
        )
    };
    assert_eq!(upgraded(own).status, 101);
    assert_eq!(upgraded(PORTAL).status, 101);
    let refused = upgraded("https://evil.example");
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["type"],
        "urn:vestibule:problem:foreign-origin"
    );
}

/// Who may show the application is told to browsers, beside what it says itself.
#[test]
fn only_trusted_sites_may_show_it() {
    let application = Application::start();
    application.answer_with(
        "/wfgen/own",
        "200 OK",
        "Content-Security-Policy: default-src 'self'\r\n",
        "",
    );
    let policy = |trusted: &str| -> Vec<String> {
        let proxy = framed(&application, trusted).at(Provider::shared()).start();
        let browser = proxy.signed_in(&new_person("shown"));
        let answer = browser.visit(&proxy.url("/own"));
        let policies = answer.all("content-security-policy");
        policies.into_iter().map(str::to_owned).collect()
    };
    let ancestors = format!("frame-ancestors 'self' {PORTAL}");
    assert_eq!(
        policy(&format!("[{PORTAL:?}]")),
        ["default-src 'self'", &ancestors]
    );
    assert_eq!(policy("[]"), ["default-src 'self'"]);
}

#[test]
fn with_lax_nothing_of_it_changes() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let token = proxy.signed_in(&new_person("lax")).cookie("wfgen_token");
    let lines = format!("Cookie: wfgen_token={token}\r\nOrigin: https://evil.example\r\n");
    assert_eq!(ask(&proxy, "POST", "/page", &lines), 200);
    let mut sending = Sending::by_person(&proxy.url("/page"));
    sending.mode = Mode::Frame;
    let page = proxy.browser().send(&sending).text();
    assert!(
        page.contains("_top") && !page.contains("in_frame"),
        "{page}"
    );
    sending = Sending::by_person(&proxy.url("/auth/login?in_frame=1"));
    sending.mode = Mode::Frame;
    assert_eq!(proxy.browser().send(&sending).status, 401);
}

/// A portal at `localhost`, which is another site than 127.0.0.1.
fn portal(application: &Application) -> String {
    application.answer_with(
        "/portal",
        "200 OK",
        "Content-Type: text/html\r\n",
        "<title>portal</title><body>portal</body>",
    );
    format!("http://localhost:{}", application.address.port())
}

#[test]
fn a_portal_shows_the_application_in_chromium() {
    let application = Application::start();
    let portal = portal(&application);
    let pair = Authority::new().pair();
    let proxy = Setup::new(&application)
        .over_tls(&pair)
        .with("[session]", "same_site", "\"none\"")
        .with("[session]", "trusted_origins", &format!("[{portal:?}]"))
        .at(Provider::shared())
        .start_unready();
    proxy.wait_for_log("provider discovered");
    let user = new_person("portal");
    let mut browser = Chromium::start_with_third_party_cookies();
    let tab = browser.open(&proxy.url("/"));
    browser.sign_in(tab, &user);
    browser.arrive(tab, &proxy.url("/"));
    let tab = browser.open(&format!("{portal}/portal"));
    browser.frame(tab, &proxy.url("/inside"));
    let shown = browser.look_in_frame(tab);
    assert!(shown.text.contains(&user), "{shown:?}");
    let post = |browser: &mut Chromium, tab: u64| {
        application.forget();
        let ask = format!(
            "fetch({:?}, {{ method: 'POST', mode: 'no-cors', credentials: 'include' }}).then(() => 'sent')",
            proxy.url("/change")
        );
        assert_eq!(browser.evaluate(tab, &ask), json!("sent"));
        application.received().len()
    };
    assert_eq!(post(&mut browser, tab), 1, "the portal is trusted");
    // Another site with the same cookie jar.
    let other = Application::start();
    let evil = self::portal(&other);
    let tab = browser.open(&format!("{evil}/portal"));
    assert_eq!(post(&mut browser, tab), 0, "it is not");
    browser.frame(tab, &proxy.url("/inside"));
    let shown = browser.look_in_frame(tab);
    assert!(!shown.text.contains(&user), "{shown:?}");
}

/// Where the browser keeps third parties out, the session lives in the frame's own jar; a provider that lets itself be
/// framed signs people in there.
#[test]
fn a_sign_in_in_the_frame_lasts_there_in_chromium() {
    let (application, liar) = (Application::start(), LyingProvider::launch());
    let portal = portal(&application);
    let pair = Authority::new().pair();
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = Setup::new(&application)
        .over_tls(&pair)
        .with("[session]", "same_site", "\"none\"")
        .with("[session]", "trusted_origins", &format!("[{portal:?}]"))
        .at_issuer(liar.issuer(), client)
        .start_unready();
    proxy.wait_for_log("provider discovered");
    liar.set_claims(json!({"preferred_username": "inside", "family_name": "I"}));
    for start in [
        Chromium::start as fn() -> Chromium,
        Chromium::start_with_third_party_cookies,
    ] {
        let mut browser = start();
        let tab = browser.open(&format!("{portal}/portal"));
        browser.frame(tab, &proxy.url("/inside"));
        let shown = browser.look_in_frame(tab);
        assert!(shown.html.contains("_top"), "{shown:?}");
        browser.press_in_frame(tab, "a[href*=in_frame]");
        wait_for("the application in the frame", PATIENCE, || {
            let shown = browser.look_in_frame(tab);
            (shown.url == proxy.url("/inside") && shown.text.contains("inside")).then_some(())
        });
        let tab = browser.open(&format!("{portal}/portal"));
        browser.frame(tab, &proxy.url("/again"));
        assert!(browser.look_in_frame(tab).text.contains("inside"));
    }
}

/// A cache in between would hand one person's cookie to the next.
#[test]
fn lesson_29_no_answer_that_sets_a_cookie_or_belongs_to_a_sign_in_is_stored() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let began = browser.navigate(&proxy.url("/page"));
    let landed = browser.fill_in(
        &began,
        &[("login", &new_person("cached")), ("password", "x")],
    );
    assert_eq!(landed.answer.status, 200);
    let out = browser.navigate(&proxy.url("/auth/logout"));
    let broken = browser.navigate(&proxy.url("/auth/callback?code=x&state=y"));
    let steps = [&began, &landed, &out, &broken].map(|page| &page.trail);
    let ours = steps.into_iter().flatten().filter(|(url, answer)| {
        let of_us = url.as_str().starts_with(proxy.origin());
        of_us && (answer.status != 200 || url.path().contains("/auth/"))
    });
    let mut seen = 0;
    for (url, answer) in ours {
        let stored = answer.header("cache-control").unwrap_or_default();
        assert!(stored.contains("no-store"), "{url}: {stored:?}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
    for (url, answer) in steps.into_iter().flatten() {
        let sets = url.as_str().starts_with(proxy.origin()) && !answer.all("set-cookie").is_empty();
        assert!(
            !sets || answer.header("cache-control").unwrap().contains("no-store"),
            "{url}"
        );
    }
}
