//! Bodies as streams: how much is held, who waits for whom, and what an end means.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::application::Application;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Answer, Wire, exchange};

const GIB_2: u64 = 2 << 30;
const BLOCK: usize = 256 * 1024;

fn open(application: &Application, change: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = Setup::new(application)
        .with("[server]", "workers", "1")
        .route("/wfgen/open/", "open", "");
    change(setup).at(Provider::shared()).start()
}

fn head(proxy: &Proxy, start: &str, below: &str, lines: &str) -> String {
    let (method, version) = start.split_once(' ').unwrap_or((start, "HTTP/1.1"));
    let (target, host) = (proxy.path(below), proxy.host());
    format!("{method} {target} {version}\r\nHost: {host}\r\n{lines}\r\n")
}

fn send(stream: &mut TcpStream, mut left: u64) {
    let block = vec![b'x'; BLOCK];
    while left > 0 {
        let part = left.min(BLOCK as u64) as usize;
        stream.write_all(&block[..part]).unwrap();
        left -= part as u64;
    }
}

fn receive(stream: &mut TcpStream, mut left: u64) -> u64 {
    let mut block = vec![0; BLOCK];
    while left > 0 {
        let part = left.min(BLOCK as u64) as usize;
        match stream.read(&mut block[..part]).unwrap() {
            0 => break,
            read => left -= read as u64,
        }
    }
    left
}

/// Takes one connection after another, reads the head, and hands the rest to `then`.
fn bare(then: impl Fn(TcpStream) + Send + 'static) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                seen.push(byte[0]);
            }
            then(stream);
        }
    });
    address
}

fn in_front_of(address: std::net::SocketAddr) -> (Application, Proxy) {
    let application = Application::start();
    let proxy = open(&application, |setup| {
        setup
            .with("[server.limits]", "body_size", "\"unlimited\"")
            .with("[upstream]", "servers", &format!("[\"http://{address}\"]"))
    });
    (application, proxy)
}

#[test]
fn two_gibibytes_up_use_no_memory() {
    let address = bare(|mut stream| {
        assert_eq!(receive(&mut stream, GIB_2), 0);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let (_application, proxy) = in_front_of(address);
    let before = proxy.most_memory();
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = format!("Content-Length: {GIB_2}\r\n");
    wire.send(head(&proxy, "POST", "/open/up", &lines)).unwrap();
    send(&mut wire.stream, GIB_2);
    assert_eq!(wire.answer("POST").unwrap().text(), "ok");
    let grown = proxy.most_memory() - before;
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[test]
fn two_gibibytes_down_use_no_memory() {
    let address = bare(|mut stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB_2}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        send(&mut stream, GIB_2);
    });
    let (_application, proxy) = in_front_of(address);
    let before = proxy.most_memory();
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(head(&proxy, "GET", "/open/down", "")).unwrap();
    assert_eq!(wire.answer_head().unwrap().status, 200);
    let buffered = wire.some().unwrap().len() as u64;
    assert_eq!(receive(&mut wire.stream, GIB_2 - buffered), 0);
    let grown = proxy.most_memory() - before;
    assert!(grown < 32 << 20, "{grown} bytes more");
}

/// Writes until nothing is taken for a second: how much was.
fn taken(stream: &mut TcpStream) -> u64 {
    let block = vec![b'x'; BLOCK];
    let timeout = Some(Duration::from_secs(1));
    stream.set_write_timeout(timeout).unwrap();
    let mut taken = 0;
    loop {
        match stream.write(&block) {
            Ok(written) => taken += written as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("after {taken}: {error}"),
        }
        assert!(taken < 64 << 20, "nobody holds the sender back");
    }
}

#[test]
fn a_slow_reader_holds_the_application_back() {
    let (told, count) = mpsc::channel();
    let told = Mutex::new(told);
    let address = bare(move |mut stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB_2}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        told.lock().unwrap().send(taken(&mut stream)).unwrap();
    });
    let (_application, proxy) = in_front_of(address);
    let before = proxy.most_memory();
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(head(&proxy, "GET", "/open/down", "")).unwrap();
    let taken = count
        .recv_timeout(PATIENCE)
        .expect("the application is held back");
    let grown = proxy.most_memory() - before;
    assert!(grown < 24 << 20, "{grown} bytes more, of {taken} sent");
}

#[test]
fn a_slow_application_holds_the_client_back() {
    let (told, done) = mpsc::channel::<()>();
    let done = Mutex::new(done);
    let address = bare(move |stream| {
        let _ = done.lock().unwrap().recv_timeout(PATIENCE);
        drop(stream);
    });
    let (_application, proxy) = in_front_of(address);
    let before = proxy.most_memory();
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = format!("Content-Length: {GIB_2}\r\n");
    wire.send(head(&proxy, "POST", "/open/up", &lines)).unwrap();
    let taken = taken(&mut wire.stream);
    let grown = proxy.most_memory() - before;
    assert!(grown < 24 << 20, "{grown} bytes more, of {taken} sent");
    told.send(()).unwrap();
}

/// The rest of the body is no header section that comes too slowly.
#[test]
fn a_body_goes_on_after_an_early_answer() {
    let application = Application::start();
    let proxy = open(&application, |setup| {
        setup.with("[server.limits]", "header_timeout", "\"1s\"")
    });
    let (told, received) = mpsc::channel();
    let told = Mutex::new(told);
    application.answer_early("/wfgen/open/early", move |request, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")?;
        let mut length = 0;
        let mut wire = Wire::over(stream.try_clone()?);
        let end = wire.body(&request.headers, false, |part| length += part.len());
        told.lock().unwrap().send(end.map(|_| length)).unwrap();
        Ok(false)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    let lines = "Content-Length: 15\r\n";
    wire.send(head(&proxy, "POST", "/open/early", lines))
        .unwrap();
    assert_eq!(wire.answer("POST").unwrap().text(), "early");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(500));
        wire.send("abc").unwrap();
    }
    let length = received.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(length, 15);
    wire.send(head(&proxy, "GET", "/open/next", "")).unwrap();
    assert_eq!(wire.answer("GET").unwrap().status, 200);
}

#[test]
fn a_client_that_goes_away_ends_its_request() {
    let (told, ended) = mpsc::channel();
    let told = Mutex::new(told);
    let address = bare(move |mut stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        told.lock().unwrap().send(read.map(|_| rest.len())).unwrap();
    });
    let (_application, proxy) = in_front_of(address);
    for (start, lines, body) in [
        ("GET", "", ""),
        ("POST", "Content-Length: 100\r\n", "half"),
        ("POST", "Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n"),
    ] {
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(head(&proxy, start, "/open/x", lines) + body)
            .unwrap();
        // The application has the head once its reading side says so; until then nobody leaves.
        std::thread::sleep(Duration::from_millis(200));
        let left = Instant::now();
        drop(wire);
        let _ = ended.recv_timeout(PATIENCE).expect("the request ended");
        assert!(left.elapsed() < Duration::from_secs(2), "{start} {lines}");
    }
}

/// One answer as these bytes, after which the application closes.
fn answered(bytes: &'static [u8], start: &str) -> (Result<Answer, std::io::Error>, bool) {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    application.answer("/wfgen/open/x", move |_, stream| {
        stream.write_all(bytes)?;
        Ok(false)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(head(&proxy, start, "/open/x", "")).unwrap();
    let method = start.split(' ').next().unwrap();
    let answer = wire.answer(method);
    // Whether the connection goes on: another request is answered on it.
    let next = wire.send(head(&proxy, "GET", "/open/next", ""));
    let goes_on = next.is_ok() && wire.answer("GET").is_ok_and(|next| next.status == 200);
    (answer, goes_on)
}

#[test]
fn an_answer_without_length_lasts_until_the_application_closes() {
    let (answer, goes_on) = answered(b"HTTP/1.1 200 OK\r\n\r\nto the end", "GET");
    assert_eq!(answer.unwrap().text(), "to the end");
    assert!(goes_on, "chunked towards the client");
    let (answer, goes_on) = answered(b"HTTP/1.0 200 OK\r\n\r\nto the end", "GET");
    assert_eq!(answer.unwrap().text(), "to the end");
    assert!(goes_on);
}

#[test]
fn a_client_of_http_1_0_gets_what_it_can_read() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let (answer, goes_on) = answered(chunked, "GET HTTP/1.0");
    let answer = answer.unwrap();
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.text(), "body");
    assert!(!goes_on);
}

#[test]
fn a_broken_body_is_broken_for_http_1_0_with_a_length() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    answered(half, "GET HTTP/1.0").0.expect_err("it is short");
}

#[test]
fn answers_without_a_body_keep_their_fields_and_their_connection() {
    for (bytes, start, status, length) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"[..],
            "HEAD",
            200,
            Some("1234"),
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n",
            "GET",
            304,
            // hyper leaves it out there, as it may (RFC 9110 8.6).
            None,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, None),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HEAD",
            200,
            None,
        ),
    ] {
        let (answer, goes_on) = answered(bytes, start);
        let answer = answer.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-length"), length, "{status}");
        assert!(answer.body.is_empty() && goes_on, "{status}");
    }
}

#[test]
fn ranges_are_the_applications_own() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    let lines = "Content-Range: bytes 1-2/10\r\nETag: \"x\"\r\nAccept-Ranges: bytes\r\n";
    application.answer_with("/wfgen/open/x", "206 Partial Content", lines, "ab");
    let lines = "Connection: close\r\nRange: bytes=1-2\r\nIf-Range: \"x\"\r\n";
    let answer = exchange(proxy.address, head(&proxy, "GET", "/open/x", lines));
    assert_eq!((answer.status, answer.text().as_str()), (206, "ab"));
    assert_eq!(answer.header("content-range"), Some("bytes 1-2/10"));
    assert_eq!(answer.header("content-length"), Some("2"));
    let request = application.last();
    assert_eq!(request.only("range"), Some("bytes=1-2"));
    assert_eq!(request.only("if-range"), Some("\"x\""));
}

/// An application that says more than it was asked has its connection closed.
#[test]
fn what_follows_an_answer_on_the_wire_is_nobodys_answer() {
    let application = Application::start();
    let proxy = open(&application, |setup| setup);
    application.answer("/wfgen/open/two", |_, stream| {
        let one = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none";
        let forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
        stream.write_all(&[&one[..], forged].concat())?;
        Ok(true)
    });
    for _ in 0..10 {
        let first = proxy.get("/open/two", "");
        assert_eq!(first.text(), "one");
        assert!(proxy.get("/open/next", "").text().contains("/open/next"));
    }
}
