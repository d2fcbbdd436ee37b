//! Where requests may go: base path, host, routes, and paths that could mean two things.

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{exchange, get};

fn routed(application: &Application) -> Proxy {
    Setup::new(application)
        .route("/wfgen/open/secret", "deny", "")
        .route("/wfgen/open/", "open", "")
        .route("/wfgen/exact", "open", "methods = [\"GET\"]")
        .route("/wfgen/none/", "deny", "")
        .route("/elsewhere/", "open", "")
        .at(Provider::shared())
        .start()
}

/// Nothing makes a path public that its bytes do not: what is matched is what is forwarded.
#[test]
fn lesson_03_public_route_bypass() {
    let application = Application::start();
    let proxy = routed(&application);
    for target in [
        "/wfgen/private?/wfgen/open/x",
        "/wfgen/private?x=/open/",
        "/wfgen/private#/wfgen/open/x",
        "/wfgen/private%23/../open/",
        "/wfgen/private%3f/wfgen/open/",
        "/wfgen/private;/wfgen/open/",
        "/wfgen/open",
        "/wfgen/openx",
        "/wfgen/open;/x",
        "/wfgen/open;x=1/x",
        "/wfgen/open./x",
        "/wfgen/open%20/x",
        "/wfgen/(S(abc))/open/x",
        "/wfgen/open/..",
        "/wfgen/open/../private",
        "/wfgen/open/..;/private",
        "/wfgen/open/%2e%2e/private",
        "/wfgen/open/%2E%2e/private",
        "/wfgen/open/.%2e/private",
        "/wfgen/open/..%2fprivate",
        "/wfgen/open/..%5cprivate",
        "/wfgen/open/..\\private",
        "/wfgen/open\\..\\private",
        "/wfgen/open/./x",
        "/wfgen/open/%2e/x",
        "/wfgen/open//x",
        "/wfgen//open/x",
        "//wfgen/open/x",
        "/wfgen/open%2fx",
        "/wfgen%2fopen/x",
        "/wfgen/open/%252e%252e/private",
        "/wfgen/open/%25%32%65%25%32%65/private",
        "/wfgen/open/%2541",
        "/wfgen/open/%c0%ae%c0%ae/private",
        "/wfgen/open/%u002e%u002e/private",
        "/wfgen/open/%00",
        "/wfgen/open/%0a",
        "/wfgen/open/%",
        "/wfgen/open/%2",
        "/wfgen/open/%zz",
        "/wfgen/open/... /x",
        "/wfgen/open/x./y",
        "/wfgen/exact/",
        "/wfgen/exact/x",
        "/wfgen/exact;x",
        "/wfgen/exact.",
        "/wfgen/exact%20",
        "/wfgen/private/open/x",
    ] {
        application.forget();
        let answer = proxy.get_target(target, "Accept: application/json\r\n");
        for request in application.received() {
            // What passed did so under the route, for any reader of its path.
            let url = url::Url::parse("http://host")
                .unwrap()
                .join(&request.target)
                .unwrap();
            assert!(
                url.path().starts_with("/wfgen/open/"),
                "{target} arrived as {url}"
            );
            assert!(!url.path().contains("private"), "{target} arrived as {url}");
            assert_eq!(request.target, target);
        }
        let passed = !application.received().is_empty();
        assert!(
            passed || matches!(answer.status, 400 | 401 | 403 | 404),
            "{target}: {}",
            answer.status
        );
    }
    for method in ["POST", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /wfgen/exact HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            proxy.host()
        );
        assert_eq!(exchange(proxy.address, request).status, 401, "{method}");
    }
    application.forget();
    for target in [
        "/wfgen/open/x",
        "/wfgen/OPEN/x",
        "/wfgen/exact",
        "/wfgen/exact?a",
        "/elsewhere/x",
    ] {
        assert_eq!(proxy.get_target(target, "").status, 200, "{target}");
        assert_eq!(application.last().target, target);
    }
}

/// Paths that could mean two things are 400 on every route, with and without a session.
#[test]
fn ambiguous_paths_are_refused() {
    let application = Application::start();
    let proxy = routed(&application);
    let token = proxy.signed_in(&new_person("path")).cookie("wfgen_token");
    application.forget();
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    for rest in [
        "..", "../x", "./x", "x/.", "x/..", "%2e%2e/x", "%2E/x", ".%2e/x", "%2e./x", "x\\y",
        "x%5cy", "x%5Cy", "x%2fy", "x%2Fy", "/x", "x//y", "x%00", "x%0d%0aA", "x%7f", "x%1f", "x%",
        "x%g1", "x%1",
    ] {
        for base in ["/wfgen/", "/wfgen/open/", "/wfgen/auth/"] {
            for lines in ["", cookie.as_str()] {
                let answer = proxy.get_target(&format!("{base}{rest}"), lines);
                assert_eq!(answer.status, 400, "{base}{rest}");
            }
        }
    }
    assert!(application.received().is_empty());
    let query = "/wfgen/page?a=..%2f..%5c//%00&b=../x";
    assert_eq!(proxy.get_target(query, &cookie).status, 200);
    assert_eq!(application.last().target, query, "a query may say anything");
}

#[test]
fn a_denied_path_is_denied_in_every_spelling() {
    let application = Application::start();
    let proxy = routed(&application);
    let token = proxy.signed_in(&new_person("deny")).cookie("wfgen_token");
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    application.forget();
    for target in [
        "/wfgen/none/x",
        "/wfgen/NONE/x",
        "/wfgen/none./x",
        "/wfgen/none;a/x",
        "/wfgen/none%20/x",
        "/wfgen/%6eone/x",
        "/wfgen/(S(abc))/none/x",
        "/wfgen/open/secret",
        "/wfgen/open/SECRET",
        "/wfgen/open/secret.",
        "/wfgen/open/secret;x",
        "/wfgen/open/s%65cret",
    ] {
        let answer = proxy.get_target(target, &cookie);
        assert_eq!(answer.status, 403, "{target}");
    }
    assert!(application.received().is_empty());
}

#[test]
fn the_base_path_has_one_spelling() {
    let application = Application::start();
    let proxy = routed(&application);
    for (target, expected) in [
        ("/WFGEN/x?a=1", "/wfgen/x?a=1"),
        // Header values are read a byte a character: these two are the bytes of é.
        ("/WFGEN/caf\u{e9}", "/wfgen/caf\u{c3}\u{a9}"),
        ("/Wfgen", "/wfgen"),
        (
            "/wfGEN/auth/login?return_to=x",
            "/wfgen/auth/login?return_to=x",
        ),
    ] {
        let answer = proxy.get_target(target, "");
        assert_eq!(answer.status, 308, "{target}");
        let location = answer.header("location").unwrap();
        let local = location.strip_prefix(proxy.origin()).unwrap_or(location);
        assert_eq!(local, expected, "{target}");
        assert!(answer.all("set-cookie").is_empty());
    }
    let answer = proxy.get_target("/", "");
    assert!(
        matches!(answer.status, 301 | 302 | 303 | 307 | 308),
        "{}",
        answer.status
    );
    let location = answer.header("location").unwrap();
    let local = location.strip_prefix(proxy.origin()).unwrap_or(location);
    assert!(matches!(local, "/wfgen" | "/wfgen/"), "{location}");
    for target in [
        "/other",
        "/wfgenx",
        "/favicon.ico",
        "/auth/login",
        "/wfgen/auth/none",
        "/wfgen/auth/callback/none?code=x&state=y",
        "/wfgen/auth/callback/",
        "/wfgen/auth/",
        "/wfgen/AUTH/none",
    ] {
        assert_eq!(proxy.get_target(target, "").status, 404, "{target}");
    }
    assert!(application.received().is_empty());
}

#[test]
fn a_base_path_of_slash_takes_everything() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .base("")
        .at(Provider::shared())
        .start();
    let user = new_person("root");
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/any/page?x=1"), &user);
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    assert_eq!(page.url.as_str(), proxy.url("/any/page?x=1"));
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(user.as_str())
    );
    assert_eq!(browser.cookies("wfgen_token")[0].path, "/");
    assert_eq!(browser.visit(&proxy.url("/")).status, 200);
    assert_eq!(application.last().target, "/");
    let answer = browser.visit(&proxy.url("/auth/logout"));
    assert!(matches!(answer.status, 302 | 303));
    assert!(browser.cookies("wfgen_token").is_empty());
}

#[test]
fn another_host_is_refused() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .public_origin("https://workflow.example.test")
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let status = |host: &str, lines: &str| get(proxy.address, host, "/wfgen/open/x", lines).status;
    for host in [
        "workflow.example.test",
        "WORKFLOW.Example.test",
        "workflow.example.test.",
        "workflow.example.test:443",
    ] {
        assert_eq!(status(host, ""), 200, "{host}");
    }
    for host in [
        "evil.example",
        "workflow.example.test.evil.example",
        "workflow.example.test:8443",
        "workflow.example.test:80",
        "127.0.0.1",
        &proxy.address.to_string(),
    ] {
        assert_eq!(status(host, ""), 421, "{host}");
    }
    let spoofed = "X-Forwarded-Host: workflow.example.test\r\n";
    assert_eq!(status("evil.example", spoofed), 421, "nobody is trusted");
    assert_eq!(
        status(
            "workflow.example.test",
            "X-Forwarded-Host: evil.example\r\n"
        ),
        200
    );
    for lines in [
        "Host: workflow.example.test\r\nHost: evil.example\r\n",
        "Host: workflow.example.test\r\nHost: workflow.example.test\r\n",
        "Host: \r\n",
        "",
        "Host: workflow.example.test, evil.example\r\n",
        "Host: workflow.example.test/x\r\n",
    ] {
        let request = format!("GET /wfgen/open/x HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        let status = exchange(proxy.address, request).status;
        assert!(matches!(status, 400 | 421), "{lines:?}: {status}");
    }
    for target in [
        "http://evil.example/wfgen/open/x",
        "http://u@workflow.example.test/wfgen/open/x",
    ] {
        let answer = get(proxy.address, "workflow.example.test", target, "");
        assert!(
            matches!(answer.status, 400 | 421),
            "{target}: {}",
            answer.status
        );
    }
}

#[test]
fn an_alias_is_sent_to_the_public_address() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[server]", "aliases", "[\"old.example.test\"]")
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let answer = get(
        proxy.address,
        "old.example.test",
        "/wfgen/page?a=1",
        navigation,
    );
    assert_eq!(answer.status, 308);
    assert_eq!(
        answer.header("location"),
        Some(proxy.url("/page?a=1").as_str())
    );
    assert_eq!(
        get(proxy.address, "old.example.test", "/wfgen/open/x", "").status,
        200
    );
}

#[test]
fn a_trusted_proxy_names_the_host_and_the_client() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .public_origin("https://workflow.example.test")
        .with("[server]", "trusted_proxies", "[\"127.0.0.0/8\"]")
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let lines = "X-Forwarded-Host: workflow.example.test\r\nX-Forwarded-For: 10.1.2.3\r\n";
    let answer = get(proxy.address, "inner:8080", "/wfgen/open/x", lines);
    assert_eq!(answer.status, 200);
    let request = application.last();
    assert_eq!(request.only("x-forwarded-for"), Some("10.1.2.3"));
    assert_eq!(request.only("host"), Some("workflow.example.test"));
    // What the client made up stands above what the trusted proxy added, in one line or in two.
    for made_up in [
        "X-Forwarded-For: 10.6.6.6, 10.1.2.3",
        "X-Forwarded-For: 10.6.6.6\r\nX-Forwarded-For: 10.1.2.3",
    ] {
        let lines = format!("X-Forwarded-Host: workflow.example.test\r\n{made_up}\r\n");
        get(proxy.address, "inner:8080", "/wfgen/open/x", &lines);
        assert_eq!(
            application.last().only("x-forwarded-for"),
            Some("10.1.2.3"),
            "{made_up}"
        );
    }
    for made_up in [
        "X-Forwarded-Host: evil.example, workflow.example.test",
        "X-Forwarded-Host: evil.example\r\nX-Forwarded-Host: workflow.example.test",
        "Forwarded: for=10.6.6.6;host=evil.example, for=\"10.1.2.3:5\";host=workflow.example.test",
    ] {
        let answer = get(
            proxy.address,
            "inner:8080",
            "/wfgen/open/x",
            &format!("{made_up}\r\n"),
        );
        assert_eq!(answer.status, 200, "{made_up}");
    }
    assert_eq!(application.last().only("x-forwarded-for"), Some("10.1.2.3"));
    assert_eq!(
        application.last().only("forwarded"),
        Some("for=10.1.2.3;host=\"workflow.example.test\";proto=https")
    );
    // A client's Forwarded is not the word of a proxy that writes the others.
    let lines = "X-Forwarded-For: 10.1.2.3\r\nForwarded: host=workflow.example.test\r\n";
    assert_eq!(
        get(proxy.address, "inner:8080", "/wfgen/open/x", lines).status,
        421
    );
    let lines = "X-Forwarded-Host: workflow.example.test, evil.example\r\n";
    assert_eq!(
        get(
            proxy.address,
            "workflow.example.test",
            "/wfgen/open/x",
            lines
        )
        .status,
        421
    );
}
