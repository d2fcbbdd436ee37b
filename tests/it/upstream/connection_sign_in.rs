//! Sign-ins that hold for a connection: people share those to the application, so none is ever made.

use std::io::Write as _;

use crate::support::application::Application;
use crate::support::provider::new_person;

use super::{before, origin};

/// Whatever the status, and wherever among the challenges it stands: a page, and the connection is closed.
#[test]
fn an_application_that_signs_in_connections_is_refused() {
    let application = Application::start();
    let proxy = before(&[origin(&application)], |setup| setup);
    let cookie = format!(
        "Cookie: wfgen_token={}\r\n",
        proxy
            .signed_in(&new_person("windows"))
            .cookie("wfgen_token")
    );
    for (name, status, lines) in [
        ("one", "401 Unauthorized", "WWW-Authenticate: NTLM\r\n"),
        (
            "two",
            "401 Unauthorized",
            "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n",
        ),
        (
            "three",
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"a, b\", negotiate\r\n",
        ),
        // The end of a sign-in that somebody began elsewhere (RFC 4559 5).
        ("four", "200 OK", "WWW-Authenticate: Negotiate oYG2MIG=\r\n"),
    ] {
        for place in ["open/", ""] {
            application.answer_with(&format!("/wfgen/{place}{name}"), status, lines, "secret");
            let path = format!("/{place}{name}");
            let answer = proxy.get(&path, &format!("{cookie}Accept: text/html\r\n"));
            assert_eq!(answer.status, 502, "{path}: {}", answer.text());
            assert!(answer.header("www-authenticate").is_none(), "{path}");
            assert!(!answer.text().contains("secret"), "{path}");
            assert!(answer.text().contains("Windows"), "{}", answer.text());
            // The next one comes over another connection, and that one stays.
            let closed = application.connections();
            assert_eq!(proxy.get("/page", &cookie).status, 200, "{path}");
            assert_eq!(proxy.get("/page", &cookie).status, 200, "{path}");
            assert_eq!(application.connections(), closed + 1, "{path}");
        }
    }
    let problem = proxy.get("/one", &format!("{cookie}Accept: application/json\r\n"));
    assert_eq!(
        problem.json()["type"],
        "urn:vestibule:problem:connection-sign-in"
    );
    let id = problem.json()["id"].as_str().unwrap().to_owned();
    proxy.wait_for_log(&id);
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains(&id)).unwrap();
    assert!(line.contains("asks for NTLM"), "{line}");
    assert!(line.contains(&origin(&application)), "{line}");
    // It answers, so it is not out.
    assert_eq!(proxy.metric("vestibule_upstream_up", &[]), 1.0);
    let text = "Basic realm=\"NTLM, Negotiate\"";
    let lines = format!("WWW-Authenticate: {text}\r\n");
    application.answer_with("/wfgen/open/basic", "401 Unauthorized", &lines, "");
    let answer = proxy.get("/open/basic", "");
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), Some(text));
}

/// A client that begins by itself would sign in the connection with its first request.
#[test]
fn a_client_cannot_sign_in_a_connection() {
    let application = Application::start();
    let proxy = before(&[origin(&application)], |setup| setup);
    let cookie = format!(
        "Cookie: wfgen_token={}\r\n",
        proxy
            .signed_in(&new_person("windows"))
            .cookie("wfgen_token")
    );
    application.answer("/wfgen/", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    });
    for credentials in ["NTLM TlRMTVNTUAABAAAA", "negotiate YIIG", "Negotiate"] {
        for path in ["/open/x", "/page"] {
            let lines = format!("{cookie}Authorization: {credentials}\r\n");
            assert_eq!(proxy.get(path, &lines).status, 200);
            let arrived = application.last();
            assert!(arrived.all("authorization").is_empty(), "{arrived:?}");
        }
    }
    for credentials in ["Basic YTpi", "Bearer NTLM", "Basic"] {
        let lines = format!("{cookie}Authorization: {credentials}\r\n");
        assert_eq!(proxy.get("/open/x", &lines).status, 200);
        assert_eq!(application.last().only("authorization"), Some(credentials));
    }
}
