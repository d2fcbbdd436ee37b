//! Answers of the application that could mean two things, or nothing: 502 of ours, or a broken body,
//! never half of an answer as a whole one, and never a connection used again after a doubt.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use super::{before, origin};
use crate::support::PATIENCE;
use crate::support::application::Application;
use crate::support::wire::{Wire, try_exchange};

#[test]
fn answers_in_doubt_are_502() {
    let large = format!(
        "HTTP/1.1 200 OK\r\nX-Large: {}\r\n\r\n",
        "x".repeat(600_000)
    );
    let fields: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    let cases: [(&str, &str); 16] = [
        (
            "both-lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "two-lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        (
            "list-of-lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabcd",
        ),
        (
            "signed-length",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        ),
        (
            "gzip-coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "no-chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
        ),
        (
            "two-codings",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "coding-in-1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("status-99", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"),
        (
            "status-1000",
            "HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "status-700",
            "HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n",
        ),
        ("garbage", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        (
            "unasked-switch",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ),
        (
            "folded",
            "HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        ),
        ("large", &large),
        ("many", &many),
    ];
    let application = Application::start();
    for (name, answer) in cases {
        let answer = answer.to_owned();
        application.answer(&format!("/wfgen/open/{name}"), move |_, stream| {
            stream.write_all(answer.as_bytes()).map(|()| true)
        });
    }
    let proxy = before(&[origin(&application)], |setup| setup);
    for (name, _) in cases {
        let answer = proxy.get(&format!("/open/{name}"), "Accept: application/json\r\n");
        assert_eq!(answer.status, 502, "{name}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{name}"
        );
        let connections = application.connections();
        assert_eq!(proxy.get("/open/good", "").status, 200, "after {name}");
        assert_eq!(
            application.connections(),
            connections + 1,
            "{name}: a connection in doubt was used again"
        );
        // The good one's connection must not stay for the next doubt.
        application.answer_with("/wfgen/open/close", "200 OK", "Connection: close\r\n", "");
        assert_eq!(proxy.get("/open/close", "").status, 200);
    }
}

#[test]
fn lengths_that_agree_become_one() {
    let application = Application::start();
    application.answer("/wfgen/open/", |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc")?;
        Ok(true)
    });
    let proxy = before(&[origin(&application)], |setup| setup);
    let answer = proxy.get("/open/x", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    assert_eq!(answer.all("content-length"), ["3"]);
}

#[test]
fn a_body_of_another_length_than_promised_never_passes_for_a_whole_one() {
    let application = Application::start();
    application.answer("/wfgen/open/short", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?;
        Ok(false)
    });
    application.answer("/wfgen/open/unended", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")?;
        Ok(false)
    });
    application.answer("/wfgen/open/long", |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n")?;
        Ok(true)
    });
    let proxy = before(&[origin(&application)], |setup| setup);
    for name in ["short", "unended"] {
        let (target, host) = (proxy.path(&format!("/open/{name}")), proxy.host());
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = try_exchange(proxy.address, head.as_bytes());
        assert!(answer.is_err(), "{name}: {answer:?}");
    }
    let answer = proxy.get("/open/long", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    let connections = application.connections();
    assert_eq!(proxy.get("/open/good", "").status, 200);
    assert_eq!(
        application.connections(),
        connections + 1,
        "a connection with a rest was used again"
    );
}

/// An answer that comes while the request's body is still on its way says nothing of where the next
/// message begins.
#[test]
fn a_connection_that_answered_early_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            accepted.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                let mut wire = Wire::over(stream);
                while let Ok(Some(_)) = wire.head() {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
                    let _ = wire.send(answer);
                }
            });
        }
    });
    let proxy = before(&[format!("http://{address}")], |setup| setup);
    let (target, host) = (proxy.path("/open/x"), proxy.host());
    let mut wire = Wire::connect(proxy.address).unwrap();
    let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n");
    wire.send(head + "the beginning").unwrap();
    assert_eq!(wire.answer("POST").unwrap().text(), "early");
    // Whole now, but what the server made of the rest is in doubt.
    wire.send("x".repeat(87)).unwrap();
    assert_eq!(proxy.get("/open/y", "").text(), "early");
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[test]
fn interim_answers_without_end_are_502_and_cost_the_others_nothing() {
    let application = Application::start();
    let (told, ended) = mpsc::channel();
    application.answer("/wfgen/open/flood", move |_, stream| {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
        while stream.write_all(interim.as_bytes()).is_ok() {}
        let _ = told.send(());
        Ok(false)
    });
    let proxy = before(&[origin(&application)], |setup| {
        setup.with("[upstream]", "response_timeout", "\"1s\"")
    });
    std::thread::scope(|scope| {
        let flooded = scope.spawn(|| proxy.get("/open/flood", "").status);
        application.wait_for("/wfgen/open/flood");
        for _ in 0..10 {
            assert_eq!(proxy.get("/open/good", "").status, 200);
        }
        assert_eq!(flooded.join().unwrap(), 502);
    });
    ended
        .recv_timeout(PATIENCE)
        .expect("the flood's connection is closed");
}

#[test]
fn a_thousand_interim_answers_are_swallowed() {
    let application = Application::start();
    application.answer("/wfgen/open/", |_, stream| {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
        stream.write_all(interim.as_bytes())?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")?;
        Ok(true)
    });
    let proxy = before(&[origin(&application)], |setup| setup);
    assert_eq!(proxy.get("/open/x", "").text(), "abc");
}
