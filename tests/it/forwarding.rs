//! Forwarding: bytes through, hop by hop, and what becomes of connections that break.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use crate::support::application::Application;
use crate::support::free_port;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Wire, exchange};
use crate::support::{PATIENCE, wait_for};

/// A proxy with an open route for everything under `/wfgen/open/`.
fn open(application: &Application) -> Proxy {
    adjusted(application, |setup| setup)
}

fn adjusted(application: &Application, change: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = Setup::new(application).route("/wfgen/open/", "open", "");
    change(setup).at(Provider::shared()).start()
}

/// A request head with these further lines, each ending in CRLF.
fn head(proxy: &Proxy, method: &str, below: &str, lines: &str) -> String {
    let target = proxy.path(below);
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n",
        proxy.host()
    )
}

#[test]
fn requests_arrive_as_they_were_sent() {
    let application = Application::start();
    let proxy = open(&application);
    let body = "{\"a\": 1}";
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT"] {
        let lines = format!(
            "Connection: close\r\nX-Custom: a\r\nX-Custom: b\r\nX-Empty:\r\nX-Bytes: caf\u{e9}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let target = "/open/A%20b/%C3%A9/~!$&'()*+,=@?q=%2F&&a=b;c=d&x?";
        let answer = exchange(proxy.address, head(&proxy, method, target, &lines) + body);
        assert_eq!(answer.status, 200, "{method} {}", answer.text());
        let request = application.last();
        assert_eq!(request.method, method);
        assert_eq!(request.target, format!("/wfgen{target}"));
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.all("x-custom"), ["a", "b"]);
        assert_eq!(request.all("x-empty"), [""]);
        assert_eq!(request.only("content-type"), Some("application/json"));
        assert_eq!(request.only("host"), Some(proxy.host()));
    }
}

#[test]
fn answers_arrive_as_they_were_sent() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer_with(
        "/wfgen/open/a",
        "299 Odd But Fine",
        "X-Custom: a\r\nX-Custom: b\r\nContent-Type: text/plain\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nServer: IIS\r\nCache-Control: public\r\n",
        "text",
    );
    let answer = proxy.get("/open/a", "");
    assert_eq!(answer.status, 299);
    assert_eq!(answer.all("x-custom"), ["a", "b"]);
    assert_eq!(answer.header("server"), Some("IIS"));
    assert_eq!(answer.header("cache-control"), Some("public"));
    assert_eq!(answer.header("x-hop"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.body, b"text");
    assert!(answer.all("set-cookie").is_empty());
    application.answer_with("/wfgen/open/204", "204 No Content", "", "");
    assert_eq!(proxy.get("/open/204", "").status, 204);
    application.answer("/wfgen/open/304", |_, stream| {
        stream.write_all(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")?;
        Ok(true)
    });
    let answer = proxy.get("/open/304", "If-None-Match: \"x\"\r\n");
    assert_eq!((answer.status, answer.header("etag")), (304, Some("\"x\"")));
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let application = Application::start();
    let proxy = open(&application);
    let lines = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic x\r\n\
                 Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-End: 1\r\n";
    assert_eq!(proxy.get_target("/wfgen/open/x", lines).status, 200);
    let request = application.last();
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert!(
            request.all(name).is_empty(),
            "{name}: {:?}",
            request.headers
        );
    }
    assert_eq!(request.only("x-end"), Some("1"));
}

#[test]
fn the_clients_authorization_passes_unless_told_otherwise() {
    let application = Application::start();
    for (setting, expected) in [("forward", Some("Basic eDp5")), ("strip", None)] {
        let proxy = adjusted(&application, |setup| {
            setup.with("[upstream]", "authorization", &format!("{setting:?}"))
        });
        let token = proxy.signed_in(&new_person("basic")).cookie("wfgen_token");
        let basic = "Authorization: Basic eDp5\r\n";
        proxy.get("/page", &format!("Cookie: wfgen_token={token}\r\n{basic}"));
        assert_eq!(
            application.last().only("authorization"),
            expected,
            "{setting}"
        );
        proxy.get("/open/x", basic);
        assert_eq!(application.last().only("authorization"), Some("Basic eDp5"));
    }
}

#[test]
fn connections_to_the_application_are_used_again() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| setup.with("[server]", "workers", "1"));
    for _ in 0..50 {
        assert_eq!(proxy.get("/open/x", "").status, 200);
    }
    let opened = application.connections();
    assert!(opened <= 3, "{opened} connections for 50 requests");
    let mut wire = Wire::connect(proxy.address).unwrap();
    for round in 0..50 {
        wire.send(head(&proxy, "GET", "/open/x", "")).unwrap();
        assert_eq!(wire.answer("GET").unwrap().status, 200, "{round}");
    }
}

#[test]
fn an_answer_streams_while_it_is_made() {
    let application = Application::start();
    let proxy = open(&application);
    let (go, waiting) = mpsc::channel::<()>();
    let waiting = std::sync::Mutex::new(waiting);
    application.answer("/wfgen/open/events", move |_, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for event in 0..3 {
            stream.write_all(format!("9\r\ndata: {event}\n\n\r\n").as_bytes())?;
            waiting.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        stream.write_all(b"0\r\n\r\n")?;
        Ok(true)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(head(&proxy, "GET", "/open/events", "")).unwrap();
    assert_eq!(wire.answer_head().unwrap().status, 200);
    let mut seen = String::new();
    for event in 0..3 {
        while !seen.contains(&format!("data: {event}")) {
            let more = wire.some().unwrap();
            assert!(!more.is_empty(), "the stream ended after {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&more));
        }
        // Only once this event is here is the next one made.
        go.send(()).unwrap();
    }
}

#[test]
fn a_body_streams_while_it_is_sent() {
    let application = Application::start();
    let proxy = open(&application);
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(head(
        &proxy,
        "POST",
        "/open/up",
        "Transfer-Encoding: chunked\r\n",
    ))
    .unwrap();
    for part in 1..=3 {
        wire.send("5\r\nhello\r\n").unwrap();
        wait_for("the part at the application", PATIENCE, || {
            let known = application.received();
            known
                .iter()
                .any(|it| it.body.len() == part * 5)
                .then_some(())
        });
    }
    assert!(!application.last().whole);
    wire.send("0\r\n\r\n").unwrap();
    assert_eq!(wire.answer("POST").unwrap().status, 200);
    assert_eq!(application.last().body, b"hellohellohello");
}

#[test]
fn large_bodies_pass_both_ways_unchanged() {
    let application = Application::start();
    let proxy = open(&application);
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    application.answer("/wfgen/open/back", |request, stream| {
        let length = request.body.len();
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        stream.write_all(&request.body)?;
        Ok(true)
    });
    let lines = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
    let mut bytes = head(&proxy, "POST", "/open/back", &lines).into_bytes();
    bytes.extend_from_slice(&body);
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(bytes).unwrap();
    let answer = wire.answer("POST").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer_early("/wfgen/ws", |_, stream| {
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ",
        )?;
        let mut wire = Wire::over(stream.try_clone()?);
        loop {
            let some = wire.some()?;
            if some.is_empty() {
                return Ok(false);
            }
            stream.write_all(&some.to_ascii_uppercase())?;
        }
    });
    let user = new_person("socket");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = format!(
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nCookie: wfgen_token={token}\r\n"
    );
    wire.send(head(&proxy, "GET", "/ws", &lines)).unwrap();
    let answer = wire.answer_head().unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    let mut seen = Vec::new();
    for (sent, expected) in [
        ("", "hello "),
        ("one", "hello ONE"),
        ("two", "hello ONETWO"),
    ] {
        wire.send(sent).unwrap();
        while seen.len() < expected.len() {
            seen.extend(wire.some().unwrap());
        }
        assert_eq!(seen, expected.as_bytes());
    }
    let request = application.only("/wfgen/ws");
    assert_eq!(request.only("x-forwarded-user"), Some(user.as_str()));
    assert_eq!(request.only("upgrade"), Some("websocket"));
    assert_eq!(request.only("sec-websocket-key"), Some("eA=="));
    // Without a session there is no upgrade.
    assert_eq!(proxy.get("/ws", "Upgrade: websocket\r\n").status, 401);
}

#[test]
fn a_location_of_the_server_becomes_the_public_one() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| {
        setup.public_origin("https://workflow.example.test")
    });
    let server = application.address.to_string();
    for (location, expected) in [
        (
            format!("http://{server}/wfgen/x?a=1"),
            "https://workflow.example.test/wfgen/x?a=1",
        ),
        (
            "http://workflow.example.test/wfgen/y".to_owned(),
            "https://workflow.example.test/wfgen/y",
        ),
        ("/wfgen/z".to_owned(), "/wfgen/z"),
        (
            "https://elsewhere.test/a".to_owned(),
            "https://elsewhere.test/a",
        ),
        (
            format!("http://{server}.evil.example/"),
            &format!("http://{server}.evil.example/"),
        ),
    ] {
        let line = format!("Location: {location}\r\n");
        application.answer_with("/wfgen/open/moved", "302 Found", &line, "");
        let answer = proxy.get("/open/moved", "");
        assert_eq!(answer.header("location"), Some(expected), "{location}");
    }
}

#[test]
fn an_application_that_is_not_there_is_502() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| {
        setup.with(
            "[upstream]",
            "servers",
            &format!("[\"http://127.0.0.1:{}\"]", free_port()),
        )
    });
    let answer = proxy.get("/open/x", "Accept: application/json\r\n");
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(proxy.get_admin("/healthz").status, 200);
}

#[test]
fn an_application_that_breaks_off_before_its_answer_is_502() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer("/wfgen/open/cut", |_, _| Ok(false));
    application.answer("/wfgen/open/noise", |_, stream| {
        stream.write_all(b"no HTTP at all\r\n\r\n").map(|()| false)
    });
    application.answer("/wfgen/open/two-ends", |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            .map(|()| false)
    });
    for path in ["/open/cut", "/open/noise", "/open/two-ends"] {
        assert_eq!(proxy.get(path, "").status, 502, "{path}");
        let posted = head(
            &proxy,
            "POST",
            path,
            "Connection: close\r\nContent-Length: 1\r\n",
        ) + "x";
        assert_eq!(exchange(proxy.address, posted).status, 502, "POST {path}");
    }
    let posts = application.received();
    let posts = posts
        .iter()
        .filter(|it| it.method == "POST" && it.target.ends_with("cut"));
    assert_eq!(posts.count(), 1, "a POST is never sent twice");
    assert_eq!(proxy.get("/open/x", "").status, 200);
}

/// A body that broke off must not look whole.
#[test]
fn an_answer_that_breaks_off_in_its_body_breaks_off_at_the_client() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer("/wfgen/open/length", |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .map(|()| false)
    });
    application.answer("/wfgen/open/chunked", |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .map(|()| false)
    });
    for path in ["/open/length", "/open/chunked"] {
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(head(&proxy, "GET", path, "")).unwrap();
        wire.answer("GET").expect_err(path);
        assert_eq!(proxy.get("/open/x", "").status, 200);
    }
}

#[test]
fn an_application_that_is_too_slow_is_504() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| {
        setup.with("[upstream]", "response_timeout", "\"1s\"")
    });
    application.answer("/wfgen/open/slow", |_, _| {
        std::thread::sleep(Duration::from_secs(4));
        Ok(false)
    });
    let started = std::time::Instant::now();
    assert_eq!(proxy.get("/open/slow", "").status, 504);
    let waited = started.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&waited),
        "{waited:?}"
    );
}

#[test]
fn a_body_over_the_limit_is_413() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| {
        setup.with("[server.limits]", "body_size", "\"1 KiB\"")
    });
    let post = |lines: &str, body: &str| {
        let lines = format!("Connection: close\r\n{lines}");
        exchange(
            proxy.address,
            head(&proxy, "POST", "/open/x", &lines) + body,
        )
        .status
    };
    assert_eq!(post("Content-Length: 1024\r\n", &"x".repeat(1024)), 200);
    assert_eq!(post("Content-Length: 1025\r\n", &"x".repeat(1025)), 413);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(post(chunked, &format!("{chunk}0\r\n\r\n")), 200);
    assert_eq!(post(chunked, &format!("{chunk}1\r\nx\r\n0\r\n\r\n")), 413);
    let whole: Vec<_> = application
        .received()
        .into_iter()
        .filter(|it| it.whole)
        .collect();
    assert!(whole.iter().all(|it| it.body.len() <= 1024));
}

/// A request whose framing could be read in two ways is refused and its connection closed, or is read
/// in one way only: the application sees as many requests as were answered by it.
#[test]
fn smuggled_requests_do_not_arrive() {
    let application = Application::start();
    let proxy = open(&application);
    let smuggled = head(&proxy, "GET", "/open/smuggled", "");
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\u{0}b\r\n",
    ] {
        application.forget();
        let bytes = head(&proxy, "POST", "/open/x", lines) + "0\r\n\r\n" + &smuggled;
        let mut wire = Wire::connect(proxy.address).unwrap();
        let _ = wire.send(bytes);
        let mut answered = 0;
        while let Ok(answer) = wire.answer("POST") {
            assert!(matches!(answer.status, 200 | 400 | 501), "{lines:?}");
            answered += usize::from(answer.status == 200);
            if answer.status != 200 {
                assert!(wire.at_end().unwrap_or(true), "{lines:?}: not closed");
                break;
            }
        }
        let arrived = application.received();
        assert_eq!(arrived.len(), answered, "{lines:?}: {arrived:#?}");
    }
    for target in [
        "CONNECT 127.0.0.1:1",
        "TRACE /wfgen/open/x",
        "OPTIONS *",
        "get /wfgen/open/x",
    ] {
        let request = format!(
            "{target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            proxy.host()
        );
        let status = exchange(proxy.address, request).status;
        assert!(
            matches!(status, 400 | 404 | 405 | 421 | 501),
            "{target}: {status}"
        );
    }
}

#[test]
fn a_client_that_goes_away_frees_the_application() {
    let application = Application::start();
    let proxy = open(&application);
    let (told, gone) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    application.answer("/wfgen/open/endless", move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        while stream.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        told.lock().unwrap().send(()).unwrap();
        Ok(false)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(head(&proxy, "GET", "/open/endless", "")).unwrap();
    assert_eq!(wire.answer_head().unwrap().status, 200);
    drop(wire);
    gone.recv_timeout(PATIENCE)
        .expect("the application's connection was closed");
}

#[test]
fn expect_continue_is_answered() {
    let application = Application::start();
    let proxy = open(&application);
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    wire.send(head(&proxy, "POST", "/open/x", lines)).unwrap();
    let (start, _) = wire.head().unwrap().unwrap();
    assert!(start.starts_with("HTTP/1.1 100"), "{start}");
    wire.send("body").unwrap();
    let answer = wire.answer("POST").unwrap();
    assert_eq!(answer.json()["body"], json!("body"));
}

#[test]
fn head_has_no_body_and_keeps_the_connection() {
    let application = Application::start();
    let proxy = open(&application);
    let mut wire = Wire::connect(proxy.address).unwrap();
    for _ in 0..2 {
        wire.send(head(&proxy, "HEAD", "/open/x", "")).unwrap();
        let answer = wire.answer("HEAD").unwrap();
        assert_eq!(answer.status, 200);
        assert_ne!(answer.header("content-length"), Some("0"));
    }
    wire.send(head(&proxy, "GET", "/open/x", "")).unwrap();
    assert_eq!(wire.answer("GET").unwrap().json()["method"], json!("GET"));
}

/// A browser that is still sending when it is refused must get to read why.
#[test]
fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let application = Application::start();
    let proxy = open(&application);
    for round in 0..5 {
        let lines = "Content-Type: application/octet-stream\r\nContent-Length: 3000000\r\n";
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(head(&proxy, "POST", "/upload", lines)).unwrap();
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(2));
            wire.send(vec![b'x'; 100_000])
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        assert_eq!(wire.answer("POST").unwrap().status, 401);
    }
}

#[test]
fn a_body_in_chunks_passes_with_every_method() {
    let application = Application::start();
    let proxy = open(&application);
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let lines = "Connection: close\r\nTransfer-Encoding: chunked\r\n";
        let bytes = head(&proxy, method, "/open/x", lines) + "4\r\nbody\r\n0\r\n\r\n";
        assert_eq!(exchange(proxy.address, bytes).status, 200, "{method}");
        assert_eq!(application.last().body, b"body", "{method}");
    }
}

/// An upgraded connection carries what we cannot strip: another version of HTTP on it would carry
/// requests with identities of their own making.
#[test]
fn a_connection_is_not_upgraded_to_another_http() {
    let application = Application::start();
    let proxy = open(&application);
    for protocol in ["h2c", "H2C, websocket", "HTTP/2.0", "TLS/1.0"] {
        let lines = format!(
            "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n"
        );
        assert_eq!(proxy.get_target("/wfgen/open/x", &lines).status, 200);
        let request = application.last();
        assert_eq!(request.only("upgrade"), None, "{protocol}");
        assert_eq!(request.only("connection"), None, "{protocol}");
    }
}

#[test]
fn an_upgrade_sets_no_cookie_of_ours() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer_early("/wfgen/open/ws", |_, stream| {
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Keep-Alive: timeout=5\r\nSet-Cookie: wfgen_token=forged; Path=/\r\nSet-Cookie: own=1\r\n\r\n",
        )?;
        Ok(false)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    wire.send(head(&proxy, "GET", "/open/ws", lines)).unwrap();
    let answer = wire.answer_head().unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.all("set-cookie"), ["own=1"]);
    assert_eq!(answer.header("keep-alive"), None);
}

/// Who stops in the middle of a body is told so; the application is not blamed.
#[test]
fn a_body_that_stops_arriving_is_408() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| {
        setup.with("[upstream]", "response_timeout", "\"1s\"")
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = "Content-Length: 10\r\n";
    wire.send(head(&proxy, "POST", "/open/x", lines) + "half")
        .unwrap();
    assert_eq!(wire.answer("POST").unwrap().status, 408);
}

#[test]
fn signing_out_closes_what_was_upgraded() {
    let application = Application::start();
    let proxy = open(&application);
    application.echo_upgraded("/wfgen/ws");
    let token = proxy.signed_in(&new_person("leaver")).cookie("wfgen_token");
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{cookie}");
    wire.send(head(&proxy, "GET", "/ws", &lines)).unwrap();
    assert_eq!(wire.answer_head().unwrap().status, 101);
    let lines = format!("{cookie}Sec-Fetch-Site: same-origin\r\n");
    assert_eq!(proxy.get("/auth/logout", &lines).status, 303);
    let asked = std::time::Instant::now();
    assert!(wire.at_end().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(3));
}
