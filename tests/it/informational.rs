//! What comes before the answer: 100 (Continue) and what a request expects of it.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::application::Application;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::Wire;

fn open(application: &Application, change: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = Setup::new(application)
        .with("[server]", "workers", "1")
        .route("/wfgen/open/", "open", "");
    change(setup).at(Provider::shared()).start()
}

/// A POST that asks first, its body not yet sent.
fn asked(proxy: &Proxy, below: &str, lines: &str) -> Wire {
    let mut wire = Wire::connect(proxy.address).unwrap();
    let (target, host) = (proxy.path(below), proxy.host());
    wire.send(format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n{lines}\r\n"
    ))
    .unwrap();
    wire
}

#[test]
fn the_application_asks_for_the_body() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    application.answer_early("/wfgen/open/asks", |request, stream| {
        assert_eq!(request.only("expect"), Some("100-continue"));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        let mut wire = Wire::over(stream.try_clone()?);
        let mut body = Vec::new();
        wire.body(&request.headers, false, |part| body.extend_from_slice(part))?;
        let length = body.len();
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        stream.write_all(&body)?;
        Ok(false)
    });
    let started = Instant::now();
    for lines in ["Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut wire = asked(&proxy, "/open/asks", lines);
        let (start, _) = wire.head().unwrap().unwrap();
        assert_eq!(start, "HTTP/1.1 100 Continue");
        let chunked = lines.starts_with('T');
        wire.send(if chunked {
            "4\r\nbody\r\n0\r\n\r\n"
        } else {
            "body"
        })
        .unwrap();
        let answer = wire.answer("POST").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    }
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "the 100 was not waited for"
    );
}

/// RFC 9110 10.1.1: an application that does not know the mechanism never says 100.
#[test]
fn a_silent_application_gets_the_body_after_a_second() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    let started = Instant::now();
    let mut wire = asked(&proxy, "/open/x", "Content-Length: 4\r\n");
    let (start, _) = wire.head().unwrap().unwrap();
    assert_eq!(start, "HTTP/1.1 100 Continue");
    assert!(started.elapsed() >= Duration::from_millis(900));
    wire.send("body").unwrap();
    assert_eq!(wire.answer("POST").unwrap().status, 200);
    assert_eq!(application.last().body, b"body");
}

/// What the application refuses is refused without a 100, without the body, and with the whole answer
/// though it comes in parts; neither connection is used again.
#[test]
fn the_application_refuses_before_the_body() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    let (told, ended) = mpsc::channel();
    let told = Mutex::new(told);
    application.answer_early("/wfgen/open/refuses", move |request, stream| {
        let status = request
            .target
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        stream.write_all(
            format!(
                "HTTP/1.1 {status} No\r\nLocation: /wfgen/elsewhere\r\nContent-Length: 6\r\n\r\nno"
            )
            .as_bytes(),
        )?;
        std::thread::sleep(Duration::from_millis(1200));
        stream.write_all(b" way")?;
        let mut wire = Wire::over(stream.try_clone()?);
        let _ = told.lock().unwrap().send(wire.some());
        Ok(false)
    });
    for status in [417, 307] {
        let mut wire = asked(
            &proxy,
            &format!("/open/refuses/{status}"),
            "Content-Length: 4\r\n",
        );
        let (start, headers) = wire.head().unwrap().unwrap();
        assert_eq!(start.split(' ').nth(1), Some(status.to_string().as_str()));
        let mut body = Vec::new();
        wire.body(&headers, true, |part| body.extend_from_slice(part))
            .unwrap();
        assert_eq!(body, b"no way");
        assert!(wire.at_end().unwrap(), "{status}");
        let rest = ended.recv_timeout(PATIENCE).unwrap();
        assert_eq!(rest.unwrap(), b"", "a body was sent all the same");
    }
    assert_eq!(proxy.get("/open/x", "").status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let application = Application::start();
    let proxy = open(&application, |setup| {
        setup.with("[server.limits]", "body_size", "\"1 KiB\"")
    });
    let mut wire = asked(&proxy, "/open/x", "Content-Length: 1025\r\n");
    let (start, _) = wire.head().unwrap().unwrap();
    assert!(start.starts_with("HTTP/1.1 413"), "{start}");
    assert!(application.received().is_empty());
}

#[test]
fn who_is_not_signed_in_is_told_before_the_body_is_sent() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    let mut wire = asked(&proxy, "/upload", "Content-Length: 1000000\r\n");
    let (start, _) = wire.head().unwrap().unwrap();
    assert!(start.starts_with("HTTP/1.1 401"), "{start}");
}
