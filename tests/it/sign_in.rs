//! Coming in: from the first request without a session to the application's page.

use std::collections::HashMap;

use serde_json::json;

use crate::support::application::Application;
use crate::support::browser::{Browser, Mode, Sending};
use crate::support::free_port;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::Setup;

/// The parameters of the authorization request that a redirect to the provider carries.
fn query(url: &str) -> HashMap<String, String> {
    url::Url::parse(url)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

#[test]
fn a_person_signs_in_and_reaches_the_page_with_its_query() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("alice");
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/page?a=1&b=%20%2f&c"), &user);
    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    assert_eq!(page.url.as_str(), proxy.url("/page?a=1&b=%20%2f&c"));
    let request = application.only("/wfgen/page");
    assert_eq!(request.target, "/wfgen/page?a=1&b=%20%2f&c");
    assert_eq!(request.only("x-forwarded-user"), Some(user.as_str()));
    let users = proxy.users();
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["username"], json!(user));
    assert_eq!(users[0]["directory"], json!("SELF_PROVISIONING"));
    assert_eq!(users[0]["issuer"], json!(Provider::shared().issuer));
}

#[test]
fn only_a_top_level_navigation_is_redirected() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let url = proxy.url("/page");
    let with = |mode: Mode, method: &str| {
        let mut sending = Sending::by_person(&url);
        sending.mode = mode;
        sending.method = method.to_owned();
        browser.send(&sending)
    };
    for (mode, method, status) in [
        (Mode::Navigation, "GET", 302),
        (Mode::Navigation, "HEAD", 302),
        (Mode::Navigation, "POST", 401),
        (Mode::Fetch, "GET", 401),
        (Mode::Fetch, "OPTIONS", 401),
    ] {
        let answer = with(mode, method);
        let found = if answer.status == 303 {
            302
        } else {
            answer.status
        };
        assert_eq!(found, status, "{method} {mode:?}");
    }
    // Without Fetch Metadata the Accept field decides.
    assert!(matches!(
        proxy.get("/page", "Accept: text/html\r\n").status,
        302 | 303
    ));
    for lines in [
        "Accept: application/json\r\n",
        "Accept: */*\r\n",
        "",
        "Accept: text/html\r\nX-Requested-With: XMLHttpRequest\r\n",
        "Accept: text/html\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
    ] {
        assert_eq!(proxy.get("/page", lines).status, 401, "{lines}");
    }
    assert!(application.received().is_empty());
}

#[test]
fn a_navigation_inside_a_frame_breaks_out() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let mut sending = Sending::by_person(&proxy.url("/page?x=1"));
    sending.mode = Mode::Frame;
    let answer = browser.send(&sending);
    assert!(!(300..400).contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("location"), None);
    let html = answer.text();
    assert!(html.contains("_top") || html.contains("_blank"), "{html}");
    assert!(html.contains("/wfgen/auth/login"), "{html}");
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
}

/// `login` itself starts a sign-in in a window alone: a provider refuses to be framed, and a script cannot sign anybody in.
#[test]
fn login_starts_a_sign_in_in_a_window_alone() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let login = "/auth/login?return_to=/wfgen/there&prompt=select_account";
    let answer = browser.fetch(&proxy.url(login));
    assert_eq!(answer.status, 401, "{:?}", answer.header("location"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert!(answer.all("set-cookie").is_empty());
    let mut sending = Sending::by_person(&proxy.url(login));
    sending.mode = Mode::Frame;
    let answer = browser.send(&sending);
    assert_eq!(answer.header("location"), None);
    assert!(answer.all("set-cookie").is_empty());
    let html = answer.text();
    let again = "/wfgen/auth/login?return_to=/wfgen/there&amp;prompt=select_account";
    assert!(html.contains("_top") && html.contains(again), "{html}");
    assert_eq!(browser.visit(&proxy.url(login)).status, 302);
}

#[test]
fn the_authorization_request_is_the_strict_one() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let answer = browser.visit(&proxy.url("/page"));
    let location = answer.header("location").unwrap();
    assert!(location.starts_with(&Provider::shared().issuer));
    let sent = query(location);
    assert_eq!(sent["response_type"], "code");
    assert_eq!(sent["client_id"], proxy.client.id);
    assert_eq!(sent["redirect_uri"], proxy.url("/auth/callback"));
    assert!(sent["scope"].split(' ').any(|scope| scope == "openid"));
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
    let cookies = answer.all("set-cookie");
    assert_eq!(cookies.len(), 1, "one small cookie: {cookies:?}");
    assert!(cookies[0].contains("HttpOnly") && cookies[0].contains("SameSite=Lax"));
    assert!(cookies[0].len() < 200, "{}", cookies[0]);
}

/// PKCE S256, state and nonce cannot be switched off; every sign-in has its own; a parameter that
/// comes twice is no response.
#[test]
fn lesson_23_weak_defaults() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let mut known: Vec<String> = Vec::new();
    for _ in 0..2 {
        let answer = browser.visit(&proxy.url("/page"));
        let sent = query(answer.header("location").unwrap());
        assert_eq!(sent["code_challenge_method"], "S256");
        assert_eq!(sent["code_challenge"].len(), 43);
        for name in ["code_challenge", "nonce", "state"] {
            let value = sent[name].clone();
            assert!(value.len() >= 22, "{name} is too short: {value}");
            assert!(!known.contains(&value), "{name} was used before");
            known.push(value);
        }
        let names: Vec<_> = url::Url::parse(answer.header("location").unwrap())
            .unwrap()
            .query_pairs()
            .map(|(name, _)| name.into_owned())
            .collect();
        assert_eq!(names.len(), sent.len(), "a parameter twice: {names:?}");
    }
    let user = new_person("weak");
    let form = browser.navigate(&proxy.url("/page"));
    let mut stopped = browser.clone();
    let callback = stop_at_callback(&mut stopped, &form, &user, &proxy.url("/auth/callback"));
    for name in ["code", "state", "iss"] {
        let value = query(&callback).remove(name).expect(name);
        let twice = url::Url::parse_with_params(&callback, &[(name, &value)]).unwrap();
        let answer = browser.visit(twice.as_str());
        assert_eq!(answer.status, 400, "{name} twice");
        assert!(browser.cookies("wfgen_token").is_empty());
    }
    assert!(proxy.users().is_empty());
    let page = browser.navigate(&callback);
    assert_eq!(page.answer.status, 200, "the response itself was genuine");
}

/// Signs in at the provider and gives back the callback's address without going there.
pub(crate) fn stop_at_callback(
    browser: &mut Browser,
    form: &crate::support::browser::Page,
    user: &str,
    callback: &str,
) -> String {
    browser.stop_before(callback);
    let page = browser.fill_in(form, &[("login", user), ("password", "any")]);
    let location = page.answer.header("location").unwrap_or_default();
    assert!(location.starts_with(callback), "{:#?}", page.addresses());
    location.to_owned()
}

#[test]
fn a_session_is_not_asked_to_sign_in_again() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("again"));
    let answer = browser.visit(&proxy.url("/auth/login?return_to=/wfgen/there%3Fa=1"));
    assert!(matches!(answer.status, 302 | 303));
    assert_eq!(
        proxy_local(answer.header("location").unwrap(), proxy.origin()),
        "/wfgen/there?a=1"
    );
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
}

/// A Location as a path, whether it was given absolute or not.
pub(crate) fn proxy_local<'a>(location: &'a str, origin: &str) -> &'a str {
    location.strip_prefix(origin).unwrap_or(location)
}

/// Twenty restored tabs all land where they were going; so does a callback that comes late, when its
/// browser has a session by then.
#[test]
fn lesson_12_second_tab() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let user = new_person("tabs");
    let urls: Vec<String> = (0..20)
        .map(|tab| proxy.url(&format!("/tab/{tab}?n={tab}")))
        .collect();
    let forms: Vec<_> = std::thread::scope(|scope| {
        let tabs: Vec<_> = urls
            .iter()
            .map(|url| scope.spawn(|| browser.clone().navigate(url)))
            .collect();
        tabs.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    assert!(forms.iter().all(|form| form.is_login_form()));
    let cookies = browser.all_cookies();
    let ours = cookies.iter().filter(|cookie| cookie.domain == "127.0.0.1");
    assert_eq!(ours.count(), 1, "one small cookie a browser: {cookies:?}");
    let late = stop_at_callback(
        &mut browser.clone(),
        &forms[0],
        &user,
        &proxy.url("/auth/callback"),
    );
    for (url, form) in urls.iter().zip(&forms).skip(1) {
        let page = browser.fill_in(form, &[("login", &user), ("password", "any")]);
        assert_eq!(page.url.as_str(), url, "{:#?}", page.addresses());
        assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    }
    let token = browser.cookie("wfgen_token");
    let page = browser.navigate(&late);
    assert_eq!(page.url.as_str(), urls[0]);
    assert_eq!(page.answer.status, 200);
    assert_eq!(browser.cookie("wfgen_token"), token, "one session stays");
    assert_eq!(proxy.users().len(), 1);
}

/// The same with a session at the provider: all tabs walk through at once, each under a sign-in
/// cookie that another tab's answer may overwrite.
#[test]
fn tabs_restored_at_once_all_land() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("restored"));
    for round in 0..3 {
        browser.lose_cookie("wfgen_token");
        browser.lose_cookie("wfgen_token_sign_in");
        std::thread::scope(|scope| {
            for tab in 0..20 {
                let (url, browser) = (proxy.url(&format!("/{round}/tab/{tab}")), browser.clone());
                scope.spawn(move || {
                    let page = browser.navigate(&url);
                    assert_eq!(page.url.as_str(), url, "{:#?}", page.addresses());
                    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
                });
            }
        });
    }
    assert_eq!(proxy.users().len(), 1);
}

/// The provider is down at the start: the proxy starts all the same, says so, and heals by itself.
#[test]
fn lesson_15_provider_down_at_boot() {
    let application = Application::start();
    let port = free_port();
    let setup = Setup::new(&application).route("/wfgen/open/", "open", "");
    let public = setup.public_url();
    let issuer = format!("http://localhost:{port}");
    let client = crate::support::provider::Client {
        id: "the-proxy".to_owned(),
        secret: "a secret of 32 bytes and a few more".to_owned(),
    };
    let proxy = setup.at_issuer(&issuer, client.clone()).start_unready();
    let browser = proxy.browser();
    let answer = browser.visit(&proxy.url("/page"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert_eq!(proxy.get("/open/x", "").status, 200, "open routes go on");
    assert_eq!(proxy.get_admin("/healthz").status, 200);
    assert!(
        proxy.metric("vestibule_provider_up", &[]) < 0.5,
        "the metric says that the provider is down"
    );
    let provider = Provider::start_with(
        port,
        &client,
        &[format!("{public}/auth/callback")],
        &[format!("{public}/auth/logout/return")],
    );
    proxy.wait_until_people_can_sign_in();
    let user = new_person("boot");
    let browser = proxy.signed_in(&user);
    // Down again: live sessions go on, new ones wait.
    drop(provider);
    assert_eq!(browser.visit(&proxy.url("/page")).status, 200);
    let readiness = proxy.get_admin("/readyz");
    assert_eq!(readiness.status, 200, "live sessions can be served");
}

#[test]
fn signing_in_while_the_provider_is_down_gives_503_and_no_session() {
    let application = Application::start();
    let provider = Provider::start(0);
    let proxy = Setup::new(&application).at(&provider).start();
    let mut browser = proxy.browser();
    let form = browser.navigate(&proxy.url("/page"));
    let callback = stop_at_callback(
        &mut browser,
        &form,
        &new_person("down"),
        &proxy.url("/auth/callback"),
    );
    drop(provider);
    let answer = browser.visit(&callback);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert!(browser.cookies("wfgen_token").is_empty());
    assert!(proxy.users().is_empty());
}

#[test]
fn a_browser_that_keeps_no_cookie_is_told_so() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser().refusing("wfgen_token");
    let page = browser.sign_in(&proxy.url("/page"), &new_person("loop"));
    assert_eq!(page.answer.status, 403, "{:#?}", page.addresses());
    assert!(page.answer.text().to_lowercase().contains("cookie"));
    let visits = page
        .trail
        .iter()
        .filter(|(url, _)| url.path() == "/wfgen/page");
    assert!(visits.count() <= 3);
    assert!(application.received().is_empty());
}

#[test]
fn an_application_that_sends_people_back_to_sign_in_is_seen() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    application.answer_with(
        "/wfgen/page",
        "302 Found",
        "Location: /wfgen/auth/login?return_to=/wfgen/page\r\n",
        "",
    );
    let browser = proxy.signed_in(&new_person("bounce"));
    let page = browser.navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 403, "{:#?}", page.addresses());
    assert!(page.url.as_str().contains("/auth/login"));
    // Another page of the application is no loop.
    assert_eq!(browser.visit(&proxy.url("/other")).status, 200);
}

#[test]
fn many_tabs_are_no_loop() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let url = proxy.url("/same");
    let forms: Vec<_> = (0..5).map(|_| browser.navigate(&url)).collect();
    let user = new_person("many");
    for form in &forms {
        let page = browser.fill_in(form, &[("login", &user), ("password", "any")]);
        assert_eq!(page.url.as_str(), url);
        assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    }
}

/// Every known way to say "somewhere else" in a return address; each must end under the base path.
#[test]
fn lesson_28_open_redirect() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("redirect"));
    let payloads = return_addresses(proxy.origin());
    assert!(payloads.len() >= 100, "{} payloads", payloads.len());
    for payload in &payloads {
        for value in [payload.clone(), encoded(payload)] {
            let target = proxy.path(&format!("/auth/login?return_to={value}"));
            let cookie = format!("Cookie: wfgen_token={}\r\n", browser.cookie("wfgen_token"));
            let lines = format!("{cookie}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n");
            let answer = proxy.get_target(&target, &lines);
            if answer.status == 400 && answer.header("location").is_none() {
                continue;
            }
            assert!(
                matches!(answer.status, 302 | 303),
                "{value:?}: {}",
                answer.status
            );
            assert_lands_inside(answer.header("location").unwrap(), &proxy, payload);
        }
    }
}

/// The same, through the whole sign-in: the address is sealed and judged, never taken raw.
#[test]
fn an_evil_return_address_does_not_survive_a_sign_in() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    for payload in [
        "https://evil.example/",
        "//evil.example/x",
        "/\\evil.example",
        "/wfgen/../../evil",
        "/wfgen/auth/logout",
        "/wfgen/auth/login?return_to=//evil.example",
        "/WFGEN/Auth/logout",
        "/other",
        "javascript:alert(1)",
    ] {
        let url = proxy.url(&format!("/auth/login?return_to={}", encoded(payload)));
        let browser = proxy.browser();
        let page = browser.sign_in(&url, &new_person("evil"));
        assert_eq!(page.answer.status, 200, "{payload}: {}", page.url);
        assert_lands_inside(page.url.as_str(), &proxy, payload);
        assert!(!browser.cookies("wfgen_token").is_empty(), "{payload}");
    }
}

#[test]
fn a_return_address_that_is_too_long_becomes_the_base_path() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let long = "x".repeat(2_000);
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url(&format!("/page?{long}")), &new_person("long"));
    assert_eq!(page.answer.status, 200);
    assert!(
        matches!(page.url.path(), "/wfgen" | "/wfgen/") && page.url.query().is_none(),
        "{}",
        page.url
    );
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Where a browser goes by this Location is under the base path and none of our own endpoints.
#[track_caller]
fn assert_lands_inside(location: &str, proxy: &crate::support::proxy::Proxy, payload: &str) {
    let from = url::Url::parse(&proxy.url("/auth/login")).unwrap();
    let target = from.join(location).unwrap();
    let path = target.path();
    assert_eq!(
        target.origin().ascii_serialization(),
        proxy.origin(),
        "{payload:?} led to {location:?}"
    );
    assert!(
        path == "/wfgen" || path.starts_with("/wfgen/"),
        "{payload:?} led to {location:?}"
    );
    let own = path.to_ascii_lowercase();
    assert!(
        own != "/wfgen/auth" && !own.starts_with("/wfgen/auth/"),
        "{payload:?} led to {location:?}"
    );
}

fn return_addresses(origin: &str) -> Vec<String> {
    let host = origin.split_once("://").unwrap().1;
    let mut all: Vec<String> = Vec::new();
    // Ways to begin an address that some parser takes for local and some browser for foreign.
    for start in [
        "//",
        "///",
        "////",
        "/\\",
        "\\\\",
        "\\/",
        "/\\/",
        "//\\",
        "/%2f",
        "%2f%2f",
        "/%5c",
        "%5c%5c",
        "/%09/",
        "%09//",
        "/%0a/",
        "/%0d/",
        "%20//",
        "//%00",
        "http://",
        "https://",
        "https:",
        "https:/",
        "https:\\\\",
        "HTTPS://",
        "http:///",
        "ftp://",
        "ws://",
        "//%2f",
        "/.//",
        "/..//",
        "/;//",
        "/?//",
        "http:\\\\",
        "%68ttps://",
    ] {
        for rest in [
            "evil.example",
            "evil.example/wfgen/x",
            "evil.example%2fwfgen",
        ] {
            all.push(format!("{start}{rest}"));
        }
    }
    // The right host as user, as prefix, as port.
    for form in [
        "http://HOST@evil.example/wfgen",
        "//HOST@evil.example/wfgen/",
        "http://HOST.evil.example/wfgen/",
        "http://evil.example#HOST/wfgen",
        "http://evil.example?HOST/wfgen",
        "http://evil.example\\@HOST/wfgen",
        "http://HOST:@evil.example/",
        "http://HOST%40evil.example/",
        "http://HOST/other",
        "HOST/wfgen/x",
    ] {
        all.push(form.replace("HOST", host));
    }
    // Out of the base path, into our own endpoints, or no path at all.
    for path in [
        "/",
        "",
        "/other",
        "/wfgenx",
        "/wfgen/../other",
        "/wfgen/..",
        "/wfgen/%2e%2e/other",
        "/wfgen/%2E%2E/%2E%2E/other",
        "/wfgen/.%2e/other",
        "/wfgen/..%2fother",
        "/wfgen/..\\other",
        "/wfgen//evil.example",
        "/wfgen/\\evil.example",
        "/wfgen\\..\\other",
        "/wfgen/%5c..%5cother",
        "/wfgen/./../other",
        "/wfgen/auth",
        "/wfgen/auth/",
        "/wfgen/auth/logout",
        "/wfgen/auth/logout?x=1",
        "/wfgen/auth/login?return_to=//evil.example",
        "/wfgen/auth/callback?code=1&state=2",
        "/wfgen/AUTH/logout",
        "/WFGEN/auth/logout",
        "/wfgen/x/../auth/logout",
        "/wfgen/auth;x/logout",
        "/wfgen/auth./logout",
        "/wfgen/%61uth/logout",
        "/wfgen/auth%2flogout",
        "javascript:alert(1)",
        "JavaScript:alert(1)//wfgen/",
        "data:text/html,x",
        "vbscript:x",
        "mailto:a@evil.example",
        "wfgen/x",
        "./x",
        "../x",
        "?x",
        "#x",
        "@evil.example",
        "/@evil.example",
        "\u{ff0f}\u{ff0f}evil.example",
        "/wfgen/x%0d%0aSet-Cookie:a=b",
        "/wfgen/x%00",
    ] {
        all.push(path.to_owned());
    }
    all
}
