//! What comes before the answer: 100 (Continue) and what a request expects of it, 103 (Early Hints)
//! and its like.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::application::Application;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Wire, named};

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

/// The status of each head until the final one's, and the fields of those before.
fn heads(wire: &mut Wire) -> (Vec<u16>, Vec<Vec<(String, String)>>) {
    let (mut statuses, mut fields) = (Vec::new(), Vec::new());
    loop {
        let (start, headers) = wire.head().unwrap().unwrap();
        statuses.push(start.split(' ').nth(1).unwrap().parse().unwrap());
        if statuses.last().is_some_and(|status| *status >= 200) {
            let length: usize = named(&headers, "content-length")[0].parse().unwrap();
            let mut body = Vec::new();
            wire.body(&headers, true, |part| body.extend_from_slice(part))
                .unwrap();
            assert_eq!(body.len(), length);
            return (statuses, fields);
        }
        fields.push(headers);
    }
}

fn get(proxy: &Proxy, below: &str, version: &str) -> String {
    let (target, host) = (proxy.path(below), proxy.host());
    format!("GET {target} {version}\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n")
}

const HINTS: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-A: 1\r\nX-A: 2\r\n\
    Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 5\r\nSet-Cookie: wfgen_token=forged\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn hints_arrive_before_the_answer_is_made() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    let (go, waiting) = mpsc::channel::<()>();
    let waiting = Mutex::new(waiting);
    application.answer("/wfgen/open/hints", move |_, stream| {
        stream.write_all(HINTS)?;
        waiting.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(ANSWER)?;
        Ok(true)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    for _ in 0..2 {
        wire.send(get(&proxy, "/open/hints", "HTTP/1.1")).unwrap();
        let (start, headers) = wire.head().unwrap().unwrap();
        assert_eq!(start, "HTTP/1.1 103 Early Hints");
        assert_eq!(named(&headers, "link"), ["</style.css>; rel=preload"]);
        assert_eq!(named(&headers, "x-a"), ["1", "2"]);
        for name in ["connection", "x-hop", "content-length", "set-cookie"] {
            assert!(named(&headers, name).is_empty(), "{name}");
        }
        go.send(()).unwrap();
        assert_eq!(heads(&mut wire).0, [200]);
    }
}

#[test]
fn hints_arrive_in_their_order_however_they_come() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    application.answer("/wfgen/open/at-once", |_, stream| {
        let continued = b"HTTP/1.1 100 Continue\r\n\r\n";
        let processing = b"HTTP/1.1 102 Processing\r\n\r\n";
        stream.write_all(&[&continued[..], processing, HINTS, ANSWER].concat())?;
        Ok(true)
    });
    application.answer("/wfgen/open/in-bytes", |_, stream| {
        for byte in [HINTS, HINTS, ANSWER].concat() {
            stream.write_all(&[byte])?;
        }
        Ok(true)
    });
    application.answer("/wfgen/open/many", |_, stream| {
        stream.write_all(&HINTS.repeat(1000))?;
        stream.write_all(ANSWER)?;
        Ok(true)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    for _ in 0..3 {
        wire.send(get(&proxy, "/open/at-once", "HTTP/1.1")).unwrap();
        assert_eq!(heads(&mut wire).0, [102, 103, 200]);
        wire.send(get(&proxy, "/open/in-bytes", "HTTP/1.1"))
            .unwrap();
        assert_eq!(heads(&mut wire).0, [103, 103, 200]);
        wire.send(get(&proxy, "/open/many", "HTTP/1.1")).unwrap();
        let (statuses, _) = heads(&mut wire);
        assert!((1..=17).contains(&statuses.len()), "{statuses:?}");
        wire.send(get(&proxy, "/open/x", "HTTP/1.1")).unwrap();
        assert_eq!(heads(&mut wire).0, [200]);
    }
    let mut old = Wire::connect(proxy.address).unwrap();
    old.send(get(&proxy, "/open/at-once", "HTTP/1.0")).unwrap();
    assert_eq!(heads(&mut old).0, [200]);
}

/// Behind an answer that has not all been read yet a hint waits for it, or is left out.
#[test]
fn hints_never_break_into_an_answer() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    const LARGE: usize = 12 << 20;
    application.answer("/wfgen/open/large", |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(&vec![b'x'; LARGE])?;
        Ok(true)
    });
    application.answer("/wfgen/open/hints", |_, stream| {
        stream.write_all(&[HINTS, ANSWER].concat())?;
        Ok(true)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    let large = get(&proxy, "/open/large", "HTTP/1.1");
    let hints = get(&proxy, "/open/hints", "HTTP/1.1");
    wire.send([large, hints].concat().repeat(3)).unwrap();
    for _ in 0..3 {
        let (_, headers) = wire.head().unwrap().unwrap();
        let mut length = 0;
        let mut pure = true;
        let read = wire.body(&headers, true, |part| {
            length += part.len();
            pure &= part.iter().all(|byte| *byte == b'x');
        });
        read.unwrap();
        assert!(pure && length == LARGE);
        let (statuses, _) = heads(&mut wire);
        assert!(matches!(statuses[..], [200] | [103, 200]), "{statuses:?}");
    }
}
