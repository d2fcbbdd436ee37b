//! A form that is sent when the session has ended: kept while its person signs in, then delivered once, as it was.

use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::support::application::{Application, Received};
use crate::support::browser::{Browser, Mode, Page, Sending};
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, wait_for};

const URLENCODED: &str = "application/x-www-form-urlencoded";

fn form(proxy: &Proxy, below: &str, kind: &str, body: &[u8]) -> Sending {
    let mut sending = Sending::by_person(&proxy.url(below));
    sending.method = "POST".to_owned();
    sending.initiator = Some(Url::parse(&proxy.url("/page")).unwrap());
    sending.body = Some((kind.to_owned(), body.to_vec()));
    sending
}

/// Ends every session on the command line: the provider's goes on, so that nobody has to fill in its form again.
fn end_all(proxy: &Proxy, browser: &Browser) {
    let ended = proxy.run(&["sessions", "end", "--all"]);
    assert!(ended.status.success());
    wait_for("the end", PATIENCE, || {
        (browser.fetch(&proxy.url("/x")).status == 401).then_some(())
    });
}

fn posts(application: &Application) -> Vec<Received> {
    let mut all = application.received();
    all.retain(|request| request.method == "POST");
    all
}

#[track_caller]
fn not_sent(page: &Page, application: &Application, status: u16, words: &str) {
    assert_eq!(page.answer.status, status, "{:#?}", page.addresses());
    assert!(page.answer.text().contains(words), "{}", page.answer.text());
    assert!(posts(application).is_empty());
    let gets = application.received();
    let gets: Vec<_> = gets
        .iter()
        .filter(|it| it.target.starts_with("/wfgen/form"))
        .collect();
    assert!(gets.is_empty(), "never a silent GET: {gets:#?}");
}

#[test]
fn lesson_21_a_form_that_meets_an_ended_session_is_delivered_once() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("writer");
    let browser = proxy.signed_in(&user);
    end_all(&proxy, &browser);
    application.forget();
    let body = b"title=A+long+text&note=%C3%A9t%C3%A9&empty=";
    let page = browser.follow(form(&proxy, "/form/save?draft=7", URLENCODED, body));
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    assert_eq!(
        page.url.as_str(),
        proxy.url("/form/save?draft=7"),
        "its answer at its address"
    );
    assert_eq!(page.answer.json()["method"], "POST");
    let sent = posts(&application);
    assert_eq!(sent.len(), 1);
    let sent = &sent[0];
    assert_eq!(
        (&*sent.target, &*sent.body),
        ("/wfgen/form/save?draft=7", &body[..])
    );
    assert_eq!(sent.only("content-type"), Some(URLENCODED));
    assert_eq!(sent.only("x-forwarded-user"), Some(&*user));
    assert_eq!(sent.only("origin"), Some(proxy.origin()));
    assert_eq!(sent.only("sec-fetch-site"), Some("same-origin"));
    assert!(sent.cookies("wfgen_token_form").is_empty());
    assert!(
        browser.cookies("wfgen_token_form").is_empty(),
        "it is used up"
    );
    assert_eq!(
        proxy.metric("vestibule_kept_forms_total", &["delivered"]),
        1.0
    );
    // Reloading the page asks for it; nothing is sent again.
    let again = browser.visit(&proxy.url("/form/save?draft=7"));
    assert_eq!(again.json()["method"], "GET");
    assert_eq!(posts(&application).len(), 1);
}

/// Requests of the page's scripts bring the same cookies before the navigation does: the form is looked for all the same.
#[test]
fn a_form_is_found_after_other_requests_with_its_cookies() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[server]", "workers", "1")
        .at(Provider::shared())
        .start();
    let user = new_person("scripted");
    let mut browser = proxy.signed_in(&user);
    end_all(&proxy, &browser);
    browser.stop_before(&Provider::shared().issuer);
    browser.follow(form(&proxy, "/form/save", URLENCODED, b"a=1"));
    let form = browser.cookie("wfgen_token_form");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    application.forget();
    let cookies = format!("Cookie: wfgen_token={token}; wfgen_token_form={form}\r\n");
    for _ in 0..2 {
        assert_eq!(proxy.get("/x", &cookies).status, 200);
    }
    let navigation = format!(
        "{cookies}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n"
    );
    assert_eq!(proxy.get("/form/save", &navigation).status, 200);
    assert_eq!(posts(&application).len(), 1, "{}", proxy.log());
}

#[test]
fn files_are_kept_to_the_byte() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("uploader"));
    end_all(&proxy, &browser);
    application.forget();
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n".to_vec();
    body.extend((0..=255).cycle().take(600_000).map(|byte: u32| byte as u8));
    body.extend_from_slice(b"\r\n--b--\r\n");
    let kind = "multipart/form-data; boundary=b";
    let page = browser.follow(form(&proxy, "/form/upload", kind, &body));
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    let sent = posts(&application);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].body == body, "byte for byte");
    assert_eq!(sent[0].only("content-type"), Some(kind));
    let stored = std::fs::read(proxy.file("vestibule.db-wal")).unwrap_or_default();
    let marker = b"form-data; name=";
    assert!(
        !stored.windows(marker.len()).any(|it| it == marker),
        "sealed in the store"
    );
}

#[test]
fn only_the_person_who_filled_it_in_sends_it() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("first"));
    end_all(&proxy, &browser);
    application.forget();
    // The provider's session is gone too, so that somebody else signs in.
    let mut stopping = browser.clone();
    stopping.stop_before(&provider.issuer);
    let stopped = stopping.follow(form(&proxy, "/form/secret", URLENCODED, b"salary=1"));
    assert_eq!(stopped.answer.status, 303, "a POST becomes a GET");
    for cookie in browser.all_cookies() {
        if cookie.name.starts_with("_session") || cookie.name.starts_with("_interaction") {
            browser.lose_cookie(&cookie.name);
        }
    }
    let login = browser.navigate(stopped.answer.header("location").unwrap());
    assert!(login.is_login_form());
    let page = browser.fill_in(
        &login,
        &[("login", &new_person("second")), ("password", "x")],
    );
    not_sent(
        &page,
        &application,
        403,
        "Somebody else filled in that form",
    );
    let page = browser.navigate(&proxy.url("/form/secret"));
    assert_eq!(page.answer.json()["method"], "GET", "it is deleted");
}

#[test]
fn what_is_not_kept_is_told() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[session]", "kept_form_size", "\"64 KiB\"")
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("unkept"));
    end_all(&proxy, &browser);
    application.forget();
    let words = "What you sent has not been saved";
    let large = vec![b'x'; 70_000];
    let page = browser.follow(form(&proxy, "/form/large", URLENCODED, &large));
    not_sent(&page, &application, 401, words);
    let page = browser.follow(form(
        &proxy,
        &format!("/form/{}", "y".repeat(1700)),
        URLENCODED,
        b"a=b",
    ));
    not_sent(&page, &application, 401, words);
    // A page of somebody else; as a browser that knows no SameSite would send it.
    let token = browser.cookie("wfgen_token");
    let mut foreign = form(&proxy, "/form/csrf", URLENCODED, b"a=b");
    foreign.initiator = Some(Url::parse("http://localhost:1/evil").unwrap());
    let page = browser.follow(foreign.with("Cookie", &format!("wfgen_token={token}")));
    not_sent(&page, &application, 401, words);
    // Nobody who was ever signed in, and a token that is not ours.
    let page = proxy
        .browser()
        .follow(form(&proxy, "/form/stranger", URLENCODED, b"a=b"));
    not_sent(&page, &application, 401, words);
    let stranger = proxy.browser();
    stranger.set_cookie(&proxy.url("/"), "wfgen_token=a.b.c; Path=/wfgen");
    let page = stranger.follow(form(&proxy, "/form/forged", URLENCODED, b"a=b"));
    not_sent(&page, &application, 401, words);
    // Scripts go by the status.
    let mut script = form(&proxy, "/form/script", URLENCODED, b"a=b");
    script.mode = Mode::Fetch;
    let answer = browser.send(&script);
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.json()["type"],
        "urn:vestibule:problem:sign-in-needed"
    );
    assert!(answer.all("set-cookie").is_empty());
    let mut frame = form(&proxy, "/form/frame", URLENCODED, b"a=b");
    frame.mode = Mode::Frame;
    assert_eq!(browser.send(&frame).status, 401);
    assert!(posts(&application).is_empty());
    assert!(browser.cookies("wfgen_token_form").is_empty());
}

#[test]
fn switched_off_nothing_is_kept() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[session]", "kept_form_size", "\"off\"")
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("off"));
    end_all(&proxy, &browser);
    application.forget();
    let page = browser.follow(form(&proxy, "/form/off", URLENCODED, b"a=b"));
    not_sent(&page, &application, 401, "What you sent has not been saved");
}

#[test]
fn a_form_is_sent_once_whoever_asks_again() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("twice"));
    end_all(&proxy, &browser);
    application.forget();
    let mut stopping = browser.clone();
    stopping.stop_before(&provider.issuer);
    stopping.follow(form(&proxy, "/form/once", URLENCODED, b"a=b"));
    let kept = browser.cookie("wfgen_token_form");
    // Signed in by another tab, which leads elsewhere: the form waits.
    assert_eq!(browser.navigate(&proxy.url("/page")).answer.status, 200);
    assert!(posts(&application).is_empty());
    let line = format!(
        "Cookie: wfgen_token={}; wfgen_token_form={kept}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n",
        browser.cookie("wfgen_token")
    );
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| proxy.get("/form/once", &line).status);
        let all: Vec<_> = (0..8).map(|_| ask()).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(posts(&application).len(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 410).count(), 7);
}

#[test]
fn a_form_waits_for_an_application_that_is_down() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[upstream]", "servers", "[\"http://127.0.0.1:9\"]")
        .at(Provider::shared())
        .start();
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/page"), &new_person("waiting"));
    assert_eq!(page.answer.status, 502);
    end_all(&proxy, &browser);
    let page = browser.follow(form(&proxy, "/form/wait", URLENCODED, b"a=b"));
    assert_eq!(page.answer.status, 502, "{:#?}", page.addresses());
    assert_eq!(
        browser.cookies("wfgen_token_form").len(),
        1,
        "it is kept on"
    );
    let mut proxy = proxy;
    let path = proxy.file("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let there = format!("http://{}", application.address);
    std::fs::write(&path, text.replace("http://127.0.0.1:9", &there)).unwrap();
    proxy.restart();
    std::thread::sleep(Duration::from_millis(100));
    let page = browser.navigate(&proxy.url("/form/wait"));
    assert_eq!(page.answer.status, 200);
    assert_eq!(posts(&application).len(), 1);
    assert_eq!(posts(&application)[0].body, b"a=b");
}

/// A route may judge a POST otherwise than the GET that brings the form back: the form is sent as a POST.
#[test]
fn a_form_passes_the_rules_of_its_own_method() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::new(&application)
        .route(
            "/wfgen/form/admin",
            "login",
            "methods = [\"POST\"]\nrequire = \"claims.department == 'it'\"",
        )
        .route("/wfgen/form/public", "open", "methods = [\"GET\"]")
        .at(provider)
        .start();
    let user = new_person("outsider");
    provider.claim(
        &user,
        &json!({"preferred_username": user, "family_name": "F", "department": "sales"}),
    );
    let browser = proxy.signed_in(&user);
    let page = browser.follow(form(&proxy, "/form/admin", URLENCODED, b"grant=all"));
    assert_eq!(page.answer.status, 403, "with a session the rule holds");
    end_all(&proxy, &browser);
    application.forget();
    let page = browser.follow(form(&proxy, "/form/admin", URLENCODED, b"grant=all"));
    not_sent(&page, &application, 403, "");
    end_all(&proxy, &browser);
    application.forget();
    // A GET that needs nobody brings no form back.
    let page = browser.follow(form(&proxy, "/form/public", URLENCODED, b"a=b"));
    not_sent(&page, &application, 401, "What you sent has not been saved");
}

/// What the body means is in its fields: one that says more than a form's does is not kept.
#[test]
fn a_coded_form_is_not_kept_without_its_coding() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("coded"));
    end_all(&proxy, &browser);
    application.forget();
    let coded =
        form(&proxy, "/form/coded", URLENCODED, b"\x1f\x8b").with("Content-Encoding", "gzip");
    let page = browser.follow(coded);
    not_sent(&page, &application, 401, "What you sent has not been saved");
}

/// Who has no token of ours makes us hold nothing, and who has one does not make us hold everything.
#[test]
fn forms_that_are_sent_slowly_take_no_memory_without_end() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("slow"));
    end_all(&proxy, &browser);
    let begin = |token: &str| {
        let mut wire = Wire::connect(proxy.address).unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nAccept: text/html\r\nContent-Type: {URLENCODED}\r\n\
             Content-Length: 1048576\r\nCookie: wfgen_token={token}\r\n\r\n",
            proxy.path("/form/slow"),
            proxy.host(),
            proxy.origin(),
        );
        wire.send(head).unwrap();
        wire
    };
    let told = |mut wire: Wire| wire.answer_head().unwrap().status;
    assert_eq!(told(begin("a.b.c")), 401, "at once, its body unread");
    let token = browser.cookie("wfgen_token");
    let mut slow: Vec<_> = (0..64).map(|_| begin(&token)).collect();
    wait_for("no room for another", PATIENCE, || {
        let mut another = begin(&token);
        let soon = Some(Duration::from_millis(300));
        another.stream.set_read_timeout(soon).unwrap();
        let answer = another.answer_head();
        // Whoever had a place before keeps it.
        slow.push(another);
        answer.is_ok_and(|it| it.status == 401).then_some(())
    });
    drop(slow);
}

/// A sibling site can set a cookie for all of its domain: one with an id that nobody gave is nobody's form.
#[test]
fn an_id_that_was_made_up_stands_in_nobodys_way() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("tossed"));
    let made_up = "A".repeat(43);
    let page = Sending::by_person(&proxy.url("/page")).with(
        "Cookie",
        &format!(
            "wfgen_token={}; wfgen_token_form={made_up}",
            browser.cookie("wfgen_token")
        ),
    );
    let answer = browser.send(&page);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(application.last().cookies("wfgen_token_form").is_empty());
}

#[test]
fn one_session_has_eight_forms_kept_and_no_more() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::usual(&application);
    let (one, other) = (
        proxy.signed_in(&new_person("many")),
        proxy.signed_in(&new_person("few")),
    );
    end_all(&proxy, &one);
    application.forget();
    let send = |browser: &Browser, number: usize| {
        let mut stopping = browser.clone();
        stopping.stop_before(&provider.issuer);
        stopping.follow(form(&proxy, &format!("/form/{number}"), URLENCODED, b"a=b"))
    };
    for number in 0..8 {
        assert_eq!(send(&one, number).answer.status, 303, "{number}");
    }
    let page = send(&one, 8);
    not_sent(&page, &application, 401, "What you sent has not been saved");
    assert_eq!(
        send(&other, 9).answer.status,
        303,
        "it is nobody else's room"
    );
}
