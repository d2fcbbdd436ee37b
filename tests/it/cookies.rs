//! Cookies at the border: ours do not leave, the application's do not come in under our names.

use serde_json::json;

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::Setup;

#[test]
fn other_spellings_of_our_cookies_do_not_reach_the_application() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let browser = proxy.signed_in(&new_person("border"));
    let token = browser.cookie("wfgen_token");
    let line = format!(
        "Cookie: a=1; WFGEN_TOKEN=upper; wfgen%5Ftoken=escaped; wfgen_token=bad; wfgen_token={token}\r\n\
         Cookie: Wfgen_Token=mixed; wfgen_token_sign_in=x; b=2; WFGEN_TOKEN_SIGN_IN=y; c\r\n"
    );
    application.forget();
    assert_eq!(proxy.get("/page", &line).status, 200);
    let sent = application.last().all("cookie").join("; ");
    let mut pairs: Vec<&str> = sent.split("; ").collect();
    pairs.sort_unstable();
    let own = format!("wfgen_token={token}");
    assert_eq!(pairs, ["a=1", "b=2", "c", own.as_str()]);
    assert_eq!(proxy.get("/open/x", &line).status, 200);
    let sent = application.last().all("cookie").join("; ");
    assert!(!sent.to_lowercase().contains("wfgen"), "{sent}");
    assert!(sent.contains("a=1") && sent.contains("b=2"), "{sent}");
}

#[test]
fn the_session_cookie_may_be_kept_from_the_application() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[upstream.identity]", "session_cookie", "\"strip\"")
        .at(Provider::shared())
        .start();
    let user = new_person("kept");
    let browser = proxy.signed_in(&user);
    browser.set_cookie(&proxy.url("/"), "other=1; Path=/");
    browser.visit(&proxy.url("/page"));
    let request = application.last();
    assert_eq!(request.all("cookie"), ["other=1"]);
    assert_eq!(request.only("x-forwarded-user"), Some(user.as_str()));
}

#[test]
fn the_applications_own_set_cookie_of_our_names_is_dropped() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("setter"));
    application.answer_with(
        "/wfgen/set",
        "200 OK",
        "Set-Cookie: wfgen_token=evil; Path=/wfgen\r\nSet-Cookie: keep=1; Path=/wfgen\r\n\
         Set-Cookie: WFGEN_TOKEN=evil; Path=/\r\nSet-Cookie: wfgen_token_sign_in=evil\r\n\
         Set-Cookie: keep2=2; HttpOnly\r\n",
        "set",
    );
    let token = browser.cookie("wfgen_token");
    let answer = browser.visit(&proxy.url("/set"));
    assert_eq!(
        answer.all("set-cookie"),
        ["keep=1; Path=/wfgen", "keep2=2; HttpOnly"]
    );
    assert_eq!(browser.cookie("wfgen_token"), token);
}

#[test]
fn logging_out_expires_our_cookie_wherever_it_may_be() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("wherever"));
    let token = browser.cookie("wfgen_token");
    for path in ["/", "/wfgen/"] {
        browser.set_cookie(
            &proxy.url("/"),
            &format!("wfgen_token={token}; Path={path}"),
        );
    }
    assert_eq!(browser.cookies("wfgen_token").len(), 3);
    browser.visit(&proxy.url("/auth/logout"));
    assert_eq!(browser.cookies("wfgen_token").len(), 0);
}

#[test]
fn a_cookie_of_eight_kibibytes_does_no_harm() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("heavy"));
    let token = browser.cookie("wfgen_token");
    let big = "x".repeat(8 * 1024);
    let line = format!("Cookie: big={big}; wfgen_token={token}\r\n");
    assert_eq!(proxy.get("/page", &line).status, 200);
    assert_eq!(application.last().cookies("big"), [big.as_str()]);
    let line = format!("Cookie: wfgen_token={big}\r\n");
    assert_eq!(proxy.get("/page", &line).status, 401);
    let line = format!("Cookie: wfgen_token_sign_in={big}\r\n");
    let answer = proxy.get("/auth/callback?code=x&state=y", &line);
    assert_eq!(answer.status, 400);
    let over = format!("Cookie: big={}\r\n", "x".repeat(40 * 1024));
    assert_eq!(proxy.get("/page", &over).status, 431);
    assert_eq!(proxy.get_admin("/healthz").status, 200);
}

#[test]
fn two_instances_on_one_host_keep_apart() {
    let application = Application::start();
    let one = Setup::usual(&application);
    let two = Setup::new(&application)
        .with("[session]", "cookie", "\"other_token\"")
        .base("/other")
        .at(Provider::shared())
        .start();
    let browser = one.browser().reach(two.origin(), two.address);
    let user = new_person("apart");
    browser.sign_in(&one.url("/page"), &user);
    let page = browser.navigate(&two.url("/page"));
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    assert_eq!(browser.cookies("wfgen_token").len(), 1);
    assert_eq!(browser.cookies("other_token").len(), 1);
    assert_eq!(one.users()[0]["username"], json!(user));
    assert_eq!(two.users()[0]["username"], json!(user));
}

/// A worker remembers what became of a Cookie field; nothing of one field may come with another.
#[test]
fn each_request_brings_its_own_cookies_however_often_they_were_seen() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[server]", "workers", "1")
        .at(Provider::shared())
        .start();
    let (ada, bob) = (new_person("ada"), new_person("bob"));
    let tokens = [&ada, &bob].map(|person| {
        let browser = proxy.signed_in(person);
        browser.cookie("wfgen_token")
    });
    application.forget();
    let long = "x".repeat(3000);
    let mut expected = Vec::new();
    for round in 0..3 {
        for token in &tokens {
            for (sent, arrives) in [
                (
                    format!("wfgen_token={token}"),
                    format!("wfgen_token={token}"),
                ),
                (
                    format!("wfgen_token={token}; a={round}"),
                    format!("wfgen_token={token}; a={round}"),
                ),
                (
                    format!("wfgen_token_sign_in=s; wfgen_token={token}; b=1"),
                    format!("b=1; wfgen_token={token}"),
                ),
                (
                    format!("wfgen_token={token}; wfgen_token_sign_in=s; wfgen_token_form=f; c=1"),
                    format!("c=1; wfgen_token={token}"),
                ),
                (
                    format!("wfgen_token={token}; Wfgen_Token=forged; d={long}"),
                    format!("d={long}; wfgen_token={token}"),
                ),
            ] {
                proxy.get("/x", &format!("Cookie: {sent}\r\n"));
                expected.push(arrives);
            }
        }
    }
    let received = application.received();
    let arrived: Vec<_> = received
        .iter()
        .map(|it| it.all("cookie").join(" & "))
        .collect();
    assert_eq!(arrived, expected);
}
