//! Our own endpoints and our own answers: pages, problems, languages, what is cached and what is not.

use serde_json::json;

use crate::support::application::Application;
use crate::support::browser::Mode;
use crate::support::browser::Sending;
use crate::support::provider::new_person;
use crate::support::proxy::Setup;
use crate::support::wire::{Wire, exchange};

#[test]
fn session_says_who_one_is() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("whoami");
    let browser = proxy.signed_in(&user);
    let answer = browser.fetch(&proxy.url("/auth/session"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
    let who = answer.json();
    assert_eq!(who["username"], json!(user));
    assert_eq!(who["name"], json!("Family"));
    assert!(who["expires_at"].is_string(), "{who}");
    assert!(!answer.text().contains(&browser.cookie("wfgen_token")));
    for mode in [Mode::Fetch, Mode::Navigation] {
        let mut sending = Sending::by_person(&proxy.url("/auth/session"));
        sending.mode = mode;
        let answer = proxy.browser().send(&sending);
        assert_eq!(answer.status, 401, "{mode:?}");
    }
}

#[test]
fn jwks_never_shows_a_shared_secret() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let answer = proxy.get("/auth/jwks", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({ "keys": [] }));
}

/// A thousand requests of scripts after the session ended add no cookie and start no sign-in.
#[test]
fn lesson_11_state_cookie_explosion() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    browser.set_cookie(&proxy.url("/"), "wfgen_token=ended; Path=/wfgen");
    let before = browser.all_cookies().len();
    for round in 0..1_000 {
        let answer = browser.fetch(&proxy.url(&format!("/api/{round}")));
        assert_eq!(answer.status, 401);
        assert!(answer.all("set-cookie").is_empty(), "{round}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.header("location"), None);
    }
    assert_eq!(browser.all_cookies().len(), before);
    // Navigations, a hundred of them, leave one.
    for round in 0..100 {
        let answer = browser.visit(&proxy.url(&format!("/page/{round}")));
        assert!(
            matches!(answer.status, 302 | 303),
            "{round}: {}",
            answer.status
        );
    }
    let ours = browser.all_cookies();
    let ours = ours.iter().filter(|it| it.name != "wfgen_token");
    assert_eq!(ours.count(), 1);
}

#[test]
fn a_problem_has_an_id_that_the_log_has_too() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let answer = proxy.get("/page", "Accept: application/json\r\n");
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], json!(401));
    for member in ["type", "title", "detail", "id"] {
        assert!(problem[member].is_string(), "{member}: {problem}");
    }
    proxy.wait_for_log(problem["id"].as_str().unwrap());
}

#[test]
fn pages_speak_english_and_french() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .route("/wfgen/none/", "deny", "")
        .at(crate::support::provider::Provider::shared())
        .start();
    let page = |language: &str| {
        proxy
            .browser()
            .speaking(language)
            .visit(&proxy.url("/none/x"))
    };
    let (english, french) = (page("en-GB,en;q=0.9"), page("fr-CA,fr;q=0.9,en;q=0.5"));
    for (answer, language) in [
        (&english, "en"),
        (&french, "fr"),
        (&page("de,*;q=0.1"), "en"),
    ] {
        assert_eq!(answer.status, 403);
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        assert!(
            answer
                .text()
                .contains(&format!("<html lang=\"{language}\"")),
            "{}",
            answer.text()
        );
        assert!(answer.header("content-security-policy").is_some());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!answer.text().contains("<script"));
    }
    assert_ne!(english.text(), french.text());
    let id = english.text();
    let id = id
        .split("<code>")
        .last()
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    proxy.wait_for_log(id);
}

#[test]
fn what_is_reflected_is_harmless() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let evil = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for target in [
        format!("/wfgen/auth/callback?error={evil}&error_description={evil}&state={evil}"),
        format!("/wfgen/auth/callback?code={evil}&state={evil}"),
        format!("/wfgen/auth/login?return_to=/wfgen/{evil}&provider={evil}"),
        format!("/wfgen/auth/{evil}"),
        format!("/wfgen/x%5c{evil}"),
    ] {
        let answer = proxy.get_target(&target, "Accept: text/html\r\n");
        let text = answer.text();
        assert!(!text.contains("<script>alert"), "{target}: {text}");
    }
}

#[test]
fn own_endpoints_take_their_methods_only() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    for (path, method) in [
        ("/auth/login", "DELETE"),
        ("/auth/session", "POST"),
        ("/auth/jwks", "PUT"),
        ("/auth/callback", "PATCH"),
        ("/auth/logout/return", "DELETE"),
    ] {
        let request = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            proxy.path(path),
            proxy.host()
        );
        let answer = exchange(proxy.address, request);
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.header("allow").is_some(), "{method} {path}");
    }
}

/// RFC 9110 9.3.2: what GET does not find, HEAD does not find either.
#[test]
fn a_callback_that_is_not_there_is_404_to_every_method() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    for method in ["GET", "HEAD", "POST"] {
        let request = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            proxy.path("/auth/callback/nope"),
            proxy.host()
        );
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(request).unwrap();
        assert_eq!(wire.answer(method).unwrap().status, 404, "{method}");
    }
}

/// The person said no on the provider's own form.
#[test]
fn access_denied_at_the_provider_is_a_page_with_a_way_on() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.browser();
    let form = browser.navigate(&proxy.url("/page"));
    let html = form.answer.text();
    let abort = html
        .split("href=\"")
        .skip(1)
        .find(|rest| rest.contains("/abort"));
    let abort = abort.unwrap_or_else(|| panic!("a way out: {html}"));
    let abort = form.url.join(abort.split('"').next().unwrap()).unwrap();
    let page = browser.click(&form.url, abort.as_str());
    assert_eq!(page.url.path(), "/wfgen/auth/callback");
    assert_eq!(page.answer.status, 403, "{}", page.answer.text());
    assert!(page.answer.text().contains("/wfgen/auth/login"));
    assert!(browser.cookies("wfgen_token").is_empty());
    assert!(proxy.users().is_empty());
}
