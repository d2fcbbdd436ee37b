//! The journey in a real browser.

use serde_json::json;

use crate::support::application::Application;
use crate::support::chromium::Chromium;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::Setup;
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_person_signs_in_and_out_in_chromium() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("chrome");
    let mut browser = Chromium::start();
    let tab = browser.open(&proxy.url("/page?x=1"));
    browser.sign_in(tab, &user);
    browser.arrive(tab, &proxy.url("/page?x=1"));
    let shown = browser.look(tab);
    assert!(shown.text.contains(&user), "{shown:?}");
    let cookies = browser.cookies(&proxy.url("/page"));
    let token = cookies
        .iter()
        .find(|it| it["name"] == "wfgen_token")
        .unwrap();
    assert_eq!(token["httpOnly"], json!(true));
    assert_eq!(token["sameSite"], json!("Lax"));
    assert_eq!(token["path"], json!("/wfgen"));
    let request = application.only("/wfgen/page");
    assert!(
        request
            .all("cookie")
            .iter()
            .all(|line| !line.contains("_session"))
    );
    browser.go(tab, &proxy.url("/auth/logout"));
    browser.press(tab, "button[name=logout]");
    browser.arrive(tab, &proxy.url("/auth/logout/return"));
    let shown = browser.look(tab);
    assert!(shown.html.contains("/wfgen/auth/login"), "{shown:?}");
    assert!(!shown.title.is_empty());
    browser.go(tab, &proxy.url("/page"));
    let shown = browser.look(tab);
    assert!(
        shown.url.starts_with(&Provider::shared().issuer),
        "{shown:?}"
    );
    let left = browser.cookies(&proxy.url("/page"));
    assert!(
        left.iter().all(|it| it["name"] != "wfgen_token"),
        "{left:?}"
    );
}

#[test]
fn twenty_tabs_at_once_all_land_in_chromium() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("restored");
    let mut browser = Chromium::start();
    let urls: Vec<String> = (0..20)
        .map(|n| proxy.url(&format!("/tab/{n}?n={n}")))
        .collect();
    let tabs = browser.open_many(&urls);
    for (tab, url) in tabs.iter().zip(&urls) {
        browser.sign_in(*tab, &user);
        browser.arrive(*tab, url);
    }
    for (tab, url) in tabs.iter().zip(&urls) {
        let shown = browser.look(*tab);
        assert_eq!(&shown.url, url);
        assert!(shown.text.contains(&user), "{shown:?}");
    }
    assert_eq!(proxy.users().len(), 1);
}

/// What somebody typed while their session ended arrives after the sign-in, in the same tab.
#[test]
fn a_form_is_not_lost_in_chromium() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("typist");
    let mut browser = Chromium::start();
    let tab = browser.open(&proxy.url("/page"));
    browser.sign_in(tab, &user);
    browser.arrive(tab, &proxy.url("/page"));
    assert!(proxy.run(&["sessions", "end", "--all"]).status.success());
    let token = browser.cookies(&proxy.url("/page"));
    let token = token.iter().find(|it| it["name"] == "wfgen_token").unwrap();
    let line = format!(
        "Cookie: wfgen_token={}\r\n",
        token["value"].as_str().unwrap()
    );
    wait_for("the session's end", PATIENCE, || {
        (proxy.get("/x", &line).status == 401).then_some(())
    });
    application.forget();
    browser.evaluate(
        tab,
        "(() => { const form = document.createElement('form'); form.method = 'post'; form.action = '/wfgen/save?id=1'; \
         const text = document.createElement('textarea'); text.name = 'text'; text.value = 'Zwei Zeilen\\nüber Ämter'; \
         form.append(text); document.body.append(form); form.submit(); })()",
    );
    browser.arrive(tab, &proxy.url("/save?id=1"));
    let shown = browser.look(tab);
    assert!(shown.text.contains("POST"), "{shown:?}");
    let sent = application.only("/wfgen/save");
    let body = "text=Zwei+Zeilen%0D%0A%C3%BCber+%C3%84mter";
    assert_eq!((&*sent.method, &*sent.body), ("POST", body.as_bytes()));
    assert_eq!(sent.only("x-forwarded-user"), Some(&*user));
}

/// The session ended inside a frame: the sign-in opens in the top window, where the provider allows it.
#[test]
fn a_frame_breaks_out_in_chromium() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    application.answer_with(
        "/wfgen/open/portal",
        "200 OK",
        "Content-Type: text/html\r\n",
        "<title>portal</title><body>portal</body>",
    );
    let user = new_person("frame");
    let mut browser = Chromium::start();
    let tab = browser.open(&proxy.url("/open/portal"));
    browser.frame(tab, &proxy.url("/inside?a=1"));
    let shown = browser.look_in_frame(tab);
    assert!(shown.html.contains("_top"), "{shown:?}");
    browser.press_in_frame(tab, "a[target=_top]");
    browser.arrive(tab, &Provider::shared().issuer);
    browser.sign_in(tab, &user);
    browser.arrive(tab, &proxy.url("/inside?a=1"));
    assert!(browser.look(tab).text.contains(&user));
}
