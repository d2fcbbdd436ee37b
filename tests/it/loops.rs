//! Everything that sends a browser round in circles ends in a page that says what was observed, before the browser
//! itself gives up (after 20 redirects).

use std::sync::Arc;

use crate::support::application::{Application, Received};
use crate::support::browser::{Browser, Page, Sending};
use crate::support::chromium::Chromium;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::exchange;

/// What a browser follows before it gives up.
const MOST_REDIRECTS: usize = 20;

#[track_caller]
fn ends_in(page: &Page, title: &str) {
    assert_eq!(page.answer.status, 403, "{:#?}", page.addresses());
    let text = page.answer.text();
    assert!(text.contains(title), "{text}");
    let redirects = page.trail.len() - 1;
    assert!(redirects < MOST_REDIRECTS, "{:#?}", page.addresses());
}

/// A server in front that hands requests on to `proxy`, as `target` says, or answers with a redirect.
fn front(
    proxy: &Arc<Proxy>,
    target: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static,
) -> Application {
    let front = Application::start();
    let proxy = Arc::clone(proxy);
    front.answer("/", move |request: &Received, stream| {
        use std::io::Write as _;
        let answer = match target(&request.target) {
            Ok(target) => {
                let lines = request
                    .headers
                    .iter()
                    .filter(|(name, _)| !name.eq_ignore_ascii_case("connection"));
                let lines: String = lines
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let head = format!(
                    "{} {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n",
                    request.method
                );
                let answer = exchange(proxy.address, [head.as_bytes(), &request.body].concat());
                let lines = answer.headers.iter().filter(|(name, _)| {
                    !["connection", "content-length", "transfer-encoding"]
                        .contains(&name.to_ascii_lowercase().as_str())
                });
                let lines: String = lines
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let head = format!(
                    "HTTP/1.1 {} x\r\n{lines}Content-Length: {}\r\n\r\n",
                    answer.status,
                    answer.body.len()
                );
                [head.into_bytes(), answer.body].concat()
            }
            Err(location) => {
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes()
            }
        };
        stream.write_all(&answer)?;
        Ok(true)
    });
    front
}

/// `public_url` is https, and something in front sends pages on to http, where no `Secure` cookie goes.
#[test]
fn a_secure_cookie_on_http() {
    let application = Application::start();
    let secure = "https://workflow.example.test";
    let proxy = Setup::new(&application)
        .public_origin(secure)
        .at(Provider::shared())
        .start();
    let proxy = Arc::new(proxy);
    let front = front(&proxy, |target| match target.starts_with("/wfgen/page") {
        true => Err(format!("http://workflow.example.test{target}")),
        false => Ok(target.to_owned()),
    });
    let browser = Browser::new()
        .reach(secure, front.address)
        .reach("http://workflow.example.test", proxy.address);
    let insecure = "http://workflow.example.test/wfgen/page";
    // Without any cookie the sign-in cannot end.
    let page = browser.sign_in(insecure, &new_person("plain"));
    assert_eq!(page.answer.status, 400, "{:#?}", page.addresses());
    assert!(
        page.answer.text().contains("plain http"),
        "{}",
        page.answer.text()
    );
    // Signed in elsewhere, the callback meets a session that the page does not.
    let page = browser.navigate(&proxy.url("/other"));
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    application.forget();
    let page = browser.navigate(insecure);
    ends_in(&page, "The sign-in does not last");
    assert!(application.received().is_empty());
    // The page is no dead end: what is reached by https works.
    assert_eq!(browser.navigate(&proxy.url("/other")).answer.status, 200);
}

/// The server in front calls the base path by another name, which the cookie's path is not.
#[test]
fn a_cookie_of_another_path() {
    let application = Application::start();
    let origin = "http://workflow.example.test";
    let proxy = Setup::new(&application)
        .public_origin(origin)
        .at(Provider::shared())
        .start();
    let proxy = Arc::new(proxy);
    let front = front(&proxy, |target| match target.strip_prefix("/app") {
        Some(below) => Ok(format!("/wfgen{below}")),
        None if target.starts_with("/wfgen/page") => Err(target.replacen("/wfgen", "/app", 1)),
        None => Ok(target.to_owned()),
    });
    let browser = Browser::new().reach(origin, front.address);
    let page = browser.sign_in(&format!("{origin}/app/page"), &new_person("path"));
    ends_in(&page, "The sign-in does not last");
    assert!(application.received().is_empty());
}

/// The cookie is there, and a clock or a store that is not the same makes nothing of it; here its token is cut off.
#[test]
fn a_cookie_that_comes_back_broken() {
    let application = Application::start();
    let proxy = Arc::new(Setup::usual(&application));
    let browser = proxy.browser().refusing("wfgen_token");
    browser.set_cookie(&proxy.url("/"), "wfgen_token=broken; Path=/wfgen");
    let page = browser.sign_in(&proxy.url("/page"), &new_person("broken"));
    ends_in(&page, "The sign-in does not last");
    assert!(application.received().is_empty());
}

#[test]
fn an_application_that_refuses_the_token() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("refused"));
    let absolute = proxy.url("/auth/login?return_to=/wfgen/absolute");
    for (below, location) in [
        ("/relative", "/wfgen/auth/login?return_to=/wfgen/relative"),
        ("/absolute", absolute.as_str()),
    ] {
        let lines = format!("Location: {location}\r\n");
        application.answer_with(&format!("/wfgen{below}"), "302 Found", &lines, "");
        let page = browser.navigate(&proxy.url(below));
        ends_in(&page, "The application does not accept the sign-in");
    }
    // By a page of its own, which goes on by itself.
    let login = proxy.url("/auth/login?return_to=/wfgen/scripted");
    let mut sending = Sending::by_person(&login);
    sending.initiator = Some(sending.url.join("/wfgen/scripted").unwrap());
    let statuses: Vec<u16> = (0..2).map(|_| browser.send(&sending).status).collect();
    assert_eq!(statuses, [303, 403]);
    // A person may click as often as they like.
    sending
        .headers
        .push(("Sec-Fetch-User".to_owned(), "?1".to_owned()));
    assert!((0..9).all(|_| browser.send(&sending).status == 303));
}

#[test]
fn a_page_that_goes_on_by_itself_in_chromium() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    application.answer_with(
        "/wfgen/page",
        "200 OK",
        "Content-Type: text/html\r\n",
        "<script>location = '/wfgen/auth/login?return_to=/wfgen/page'</script>",
    );
    let mut browser = Chromium::start();
    let tab = browser.open(&proxy.url("/other"));
    browser.sign_in(tab, &new_person("scripted"));
    browser.arrive(tab, &proxy.url("/other"));
    browser.go(tab, &proxy.url("/page"));
    browser.arrive(tab, &proxy.url("/auth/login"));
    let shown = browser.look(tab);
    assert!(shown.title.contains("does not accept"), "{shown:?}");
}
