//! HTTP/2 towards browsers: what it brings to the application, its limits, and its end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use rustls::version::{TLS12, TLS13};

use crate::support::application::Application;
use crate::support::http2::{Connection, push, raw, whole, within};
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, wait_for};

/// A proxy without TLS with an open route for everything under `/wfgen/open/`.
fn open(application: &Application) -> Proxy {
    adjusted(application, |setup| setup)
}

fn adjusted(application: &Application, change: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = Setup::new(application).route("/wfgen/open/", "open", "");
    change(setup).at(Provider::shared()).start()
}

fn request(proxy: &Proxy, method: &str, below: &str) -> http::request::Builder {
    Request::builder().method(method).uri(proxy.url(below))
}

fn get(proxy: &Proxy, below: &str) -> Request<()> {
    request(proxy, "GET", below).body(()).unwrap()
}

/// Resident memory in MiB.
fn memory(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .and_then(|it| it.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    kib / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_arrive_as_http1_and_answers_as_http2() {
    let (application, authority) = (Application::start(), Authority::new());
    let plain = open(&application);
    let secure = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .over_tls(&authority.pair())
        .at(Provider::shared())
        .start_unready();
    application.answer("/wfgen/open/connected", |_, stream| {
        let lines =
            "Connection: x-hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n";
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).map(|()| false)
    });
    let client = authority.client(&[&TLS13, &TLS12], &["h2"]);
    for (proxy, connection) in [
        (&plain, Connection::in_the_clear(plain.address).await),
        (&secure, Connection::over_tls(secure.address, &client).await),
    ] {
        let target = "/open/A%20b/%C3%A9/~!$&'()*+,=@?q=%2F&&a=b;c=d&x?";
        let answer = connection.ask(get(proxy, target)).await;
        assert_eq!(answer.status, 200);
        let arrived = application.last();
        assert_eq!(arrived.target, format!("/wfgen{target}"));
        assert_eq!(arrived.only("host"), Some(proxy.host()));
        assert_eq!(arrived.only("via"), Some("2 vestibule"));
        assert!(arrived.all("transfer-encoding").is_empty(), "{arrived:?}");
        let answer = connection.ask(get(proxy, "/open/connected")).await;
        assert_eq!((answer.status, &*answer.text()), (200, "ok"));
        for name in [
            "connection",
            "x-hop",
            "keep-alive",
            "upgrade",
            "transfer-encoding",
        ] {
            assert!(!answer.headers.contains_key(name), "{name}: {answer:?}");
        }
        let known = request(proxy, "POST", "/open/known").header("content-length", "3");
        let answer = connection.send(known.body(()).unwrap(), "abc").await;
        assert_eq!(answer.json()["body"], "abc");
        assert_eq!(application.last().only("content-length"), Some("3"));
        let unknown = request(proxy, "PUT", "/open/unknown").body(()).unwrap();
        let answer = connection.send(unknown, "abcd").await;
        assert_eq!(answer.json()["body"], "abcd");
        assert_eq!(
            application.last().only("transfer-encoding"),
            Some("chunked")
        );
        let refused = connection.ask(get(proxy, "/open//x")).await;
        assert_eq!(refused.status, 400);
        assert!(!refused.headers.contains_key("connection"), "{refused:?}");
    }
}

/// Many streams at once, of two people on one connection and on two: the identity that the application
/// sees is that of the stream's own cookie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_two_people_never_cross() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let people = [new_person("left"), new_person("right")];
    let tokens = people
        .each_ref()
        .map(|user| proxy.signed_in(user).cookie("wfgen_token"));
    let connections = [
        Connection::in_the_clear(proxy.address).await,
        Connection::in_the_clear(proxy.address).await,
    ];
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..200 {
        let who = number % 2;
        let sender = connections[number / 2 % 2].sender.clone();
        let cookie = format!("wfgen_token={}", tokens[who]);
        let below = format!("/stream/{number}");
        let request = request(&proxy, "GET", &below).header("cookie", cookie);
        let request = request.body(()).unwrap();
        asked.spawn(async move {
            let mut sender = sender.ready().await.unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            (
                who,
                below,
                whole(within(response).await.unwrap()).await.unwrap(),
            )
        });
    }
    while let Some(answer) = asked.join_next().await {
        let (who, below, answer) = answer.unwrap();
        assert_eq!(answer.status, 200, "{below}");
        let seen = answer.json();
        assert_eq!(seen["target"], proxy.path(&below));
        let headers = seen["headers"].as_array().unwrap();
        let users: Vec<_> = headers
            .iter()
            .filter(|field| field[0] == "x-forwarded-user")
            .map(|field| field[1].as_str().unwrap())
            .collect();
        assert_eq!(users, [&people[who]]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookie_crumbs_are_one_field() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let user = new_person("crumbs");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    let connection = Connection::in_the_clear(proxy.address).await;
    let mut crumbs = request(&proxy, "GET", "/crumbs").header("cookie", "a=1");
    // More of them than a request may have fields.
    for number in 0..120 {
        crumbs = crumbs.header("cookie", format!("c{number}=x"));
    }
    let crumbs = crumbs.header("cookie", format!("wfgen_token={token}"));
    let answer = connection
        .ask(crumbs.header("cookie", "b=2").body(()).unwrap())
        .await;
    assert_eq!(answer.status, 200);
    let arrived = application.only("/wfgen/crumbs");
    assert_eq!(arrived.only("x-forwarded-user"), Some(&*user));
    let cookies = arrived.only("cookie").expect("one field");
    assert!(cookies.starts_with("a=1; c0=x; "), "{cookies}");
    assert_eq!(arrived.cookies("wfgen_token"), [&token]);
    assert_eq!(arrived.cookies("b"), ["2"]);
}

/// Requests at the level of frames, each on a connection of its own: the status, or `None` for a reset.
fn status_of(address: SocketAddr, fields: &[(&str, &str)]) -> Option<u16> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    raw::greet(&mut socket).unwrap();
    let block = raw::fields(fields);
    let flags = raw::END_HEADERS | raw::END_STREAM;
    socket
        .write_all(&raw::frame(raw::HEADERS, flags, 1, &block))
        .unwrap();
    loop {
        let (kind, _, stream, payload) = raw::read(&mut socket).ok()?;
        match (kind, stream) {
            (raw::HEADERS, 1) => {
                // The first field is :status, from the static table or as a literal after its index.
                return Some(match payload[0] {
                    0x88 => 200,
                    0x89 => 204,
                    0x8b => 304,
                    0x8c => 400,
                    0x8d => 404,
                    0x8e => 500,
                    _ => u16::MAX,
                });
            }
            (raw::RST_STREAM, 1) | (raw::GOAWAY, _) => return None,
            _ => {}
        }
    }
}

#[test]
fn targets_that_could_mean_two_things_are_refused() {
    let application = Application::start();
    let proxy = open(&application);
    let host = proxy.host().to_owned();
    let status = |method, scheme, authority: &str, more: &[(&str, &str)]| {
        let mut fields = vec![
            (":method", method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", "/wfgen/open/x"),
        ];
        fields.extend(more);
        status_of(proxy.address, &fields)
    };
    assert_eq!(status("GET", "http", &host, &[]), Some(200));
    assert_eq!(status("GET", "https", &host, &[]), Some(200));
    assert_eq!(status("GET", "http", &host, &[("host", &host)]), Some(200));
    application.forget();
    let refused = Some(400);
    assert_eq!(status("GET", "http", &host, &[("host", "evil")]), refused);
    assert_eq!(status("GET", "http", "evil", &[("host", &host)]), refused);
    assert_eq!(status("GET", "ftp", &host, &[]), refused);
    assert_eq!(status("TRACE", "http", &host, &[]), refused);
    assert_eq!(status("get", "http", &host, &[]), refused);
    // A connection's fields do not exist here: the stream is reset (RFC 9113 8.2.2).
    for field in [
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        (":protocol", "websocket"),
        ("X-Upper", "1"),
    ] {
        assert_eq!(status("GET", "http", &host, &[field]), None, "{field:?}");
    }
    let connect = [(":method", "CONNECT"), (":authority", &*host)];
    assert_eq!(status_of(proxy.address, &connect), refused);
    assert!(application.received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_sections_are_bounded() {
    let application = Application::start();
    let proxy = open(&application);
    let connection = Connection::in_the_clear(proxy.address).await;
    let with = |count: usize, length: usize| {
        let mut request = request(&proxy, "GET", "/open/x");
        for number in 0..count {
            request = request.header(format!("x-{number}"), "v".repeat(length));
        }
        request.body(()).unwrap()
    };
    assert_eq!(connection.ask(with(100, 1)).await.status, 200);
    assert_eq!(connection.ask(with(101, 1)).await.status, 431);
    assert_eq!(connection.ask(with(2, 17_000)).await.status, 431);
    assert_eq!(connection.ask(with(1, 1)).await.status, 200);
    let foreign = Request::get("http://evil.example/wfgen/open/x").body(());
    assert_eq!(connection.ask(foreign.unwrap()).await.status, 421);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_both_ways() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .over_tls(&authority.pair())
        .at(Provider::shared())
        .start_unready();
    application.answer("/wfgen/open/big", |request, stream| {
        let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
        let length = request.body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nX-Sum: {sum}\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(&request.body).map(|()| true)
    });
    let client = authority.client(&[&TLS13, &TLS12], &["h2"]);
    let connection = Connection::over_tls(proxy.address, &client).await;
    let body: Vec<u8> = (0..3_000_000u32).map(|it| (it % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let sending = request(&proxy, "POST", "/open/big").body(()).unwrap();
    let (response, mut stream) = connection.begin(sending, false).await;
    push(&mut stream, Bytes::from(body.clone()), true)
        .await
        .unwrap();
    let answer = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(answer.headers["x-sum"], sum.to_string());
    assert!(answer.body == body, "the body comes back as it went");
}

/// Nobody reads: both ways what is held stays small, and the other streams go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_hold_up_the_sender_and_nobody_else() {
    let application = Application::start();
    let proxy = open(&application);
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    application.answer_early("/wfgen/open/unread", move |_, _| {
        let _ = released.lock().unwrap().recv_timeout(PATIENCE);
        Ok(false)
    });
    application.answer("/wfgen/open/endless", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let part = [b'x'; 64 * 1024];
        for _ in 0..1024 {
            stream.write_all(&part)?;
        }
        Ok(false)
    });
    let connection = Connection::in_the_clear(proxy.address).await;
    connection.ask(get(&proxy, "/open/warm")).await;
    let before = memory(&proxy);
    let up = request(&proxy, "POST", "/open/unread").body(()).unwrap();
    let (_response, mut stream) = connection.begin(up, false).await;
    let all = Bytes::from(vec![b'x'; 48 << 20]);
    let pushed = push(&mut stream, all, true);
    let stalled = tokio::time::timeout(Duration::from_secs(2), pushed).await;
    assert!(stalled.is_err(), "48 MiB went somewhere");
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(connection.head(get(&proxy, "/open/endless")).await.unwrap());
    }
    let answer = connection.ask(get(&proxy, "/open/beside")).await;
    assert_eq!(answer.status, 200);
    let held = memory(&proxy).saturating_sub(before);
    assert!(held < 24, "{held} MiB are held");
    drop((unread, release));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer("/wfgen/open/trailers", |_, stream| {
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                  2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
            )
            .map(|()| true)
    });
    let connection = Connection::in_the_clear(proxy.address).await;
    let sending = request(&proxy, "POST", "/open/trailers")
        .header("te", "trailers")
        .header("trailer", "x-check");
    let (response, mut stream) = connection.begin(sending.body(()).unwrap(), false).await;
    push(&mut stream, Bytes::from("abc"), false).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-check", "1".parse().unwrap());
    trailers.insert("x-forwarded-user", "root".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7");
    let arrived = application.only("/wfgen/open/trailers");
    assert_eq!(arrived.body, b"abc");
    let named: Vec<_> = arrived
        .trailers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(named, ["x-check"], "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_at_once() {
    let application = Application::start();
    let proxy = open(&application);
    let (next, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    application.answer("/wfgen/open/events", move |_, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for _ in 0..3 {
            stream.write_all(b"9\r\ndata: x\n\n\r\n")?;
            told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").map(|()| true)
    });
    let connection = Connection::in_the_clear(proxy.address).await;
    let response = connection.head(get(&proxy, "/open/events")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for _ in 0..3 {
        let event = within(body.data()).await.unwrap().unwrap();
        assert_eq!(event, "data: x\n\n");
        body.flow_control().release_capacity(event.len()).unwrap();
        next.send(()).unwrap();
    }
    // The end may come as an empty frame.
    let rest = within(body.data()).await.map(Result::unwrap);
    assert!(rest.unwrap_or_default().is_empty() && body.is_end_stream());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body_have_none() {
    let application = Application::start();
    let proxy = open(&application);
    for (path, status) in [("204", "204 No Content"), ("304", "304 Not Modified")] {
        let answer = format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\n\r\n");
        application.answer(&format!("/wfgen/open/{path}"), move |_, stream| {
            stream.write_all(answer.as_bytes()).map(|()| true)
        });
    }
    let connection = Connection::in_the_clear(proxy.address).await;
    for (method, below, status) in [
        ("GET", "/open/204", 204),
        ("GET", "/open/304", 304),
        ("HEAD", "/open/x", 200),
    ] {
        let asked = request(&proxy, method, below).body(()).unwrap();
        let answer = connection.ask(asked).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{below}");
        let length = answer.headers.get("content-length");
        assert_eq!(length.is_some(), method == "HEAD", "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_come_before_the_body_has() {
    let application = Application::start();
    let proxy = open(&application);
    application.answer_early("/wfgen/open/early", |_, stream| {
        stream.write_all(
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        )?;
        Ok(false)
    });
    let connection = Connection::in_the_clear(proxy.address).await;
    let sending = request(&proxy, "POST", "/open/early").body(()).unwrap();
    let (response, mut stream) = connection.begin(sending, false).await;
    push(&mut stream, Bytes::from("begun"), false)
        .await
        .unwrap();
    let answer = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, &*answer.text()), (413, "no"));
    let after = connection.ask(get(&proxy, "/open/after")).await;
    assert_eq!(after.status, 200, "the connection goes on");
}

/// CVE-2023-44487: a stream is opened and reset, and again, as fast as it goes.
#[test]
fn a_flood_of_resets_ends_its_own_connection() {
    let application = Application::start();
    let proxy = open(&application);
    let block = raw::fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", proxy.host()),
        (":path", "/wfgen/open/flood"),
    ]);
    let flags = raw::END_HEADERS | raw::END_STREAM;
    flood(&proxy, |number| {
        let stream = 2 * number + 1;
        let reset = raw::frame(raw::RST_STREAM, 0, stream, &8u32.to_be_bytes());
        [raw::frame(raw::HEADERS, flags, stream, &block), reset].concat()
    });
}

/// CVE-2024-27316 and its like: a field block that never ends.
#[test]
fn a_flood_of_continuations_ends_its_own_connection() {
    let application = Application::start();
    let proxy = open(&application);
    let long = raw::fields(&[("x-flood", &"v".repeat(100))]).repeat(100);
    flood(&proxy, |number| match number {
        0 => raw::frame(raw::HEADERS, 0, 1, &raw::fields(&[(":method", "GET")])),
        _ => raw::frame(raw::CONTINUATION, 0, 1, &long),
    });
    let empty = |number| match number {
        0 => raw::frame(raw::HEADERS, 0, 1, &raw::fields(&[(":method", "GET")])),
        _ => raw::frame(raw::CONTINUATION, 0, 1, &[]),
    };
    flood(&proxy, empty);
}

/// Sends until the proxy has had enough, which must be soon; others are served meanwhile, and what it
/// holds stays small.
#[track_caller]
fn flood(proxy: &Proxy, mut part: impl FnMut(u32) -> Vec<u8>) {
    assert_eq!(proxy.get("/open/before", "").status, 200);
    let before = memory(proxy);
    let mut socket = TcpStream::connect(proxy.address).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    raw::greet(&mut socket).unwrap();
    let end = (0..200_000).find(|number| {
        if number % 500 == 499 {
            assert_eq!(proxy.get("/open/beside", "").status, 200);
        }
        socket.write_all(&part(*number)).is_err()
    });
    assert!(end.is_some(), "the flood may go on for ever");
    assert_eq!(proxy.get("/open/after", "").status, 200);
    let held = memory(proxy).saturating_sub(before);
    assert!(held < 32, "{held} MiB are held");
}

#[test]
fn connections_without_requests_end() {
    let application = Application::start();
    let proxy = adjusted(&application, |setup| {
        setup
            .with("[server.limits]", "header_timeout", "\"1s\"")
            .with("[server.limits]", "idle_timeout", "\"2s\"")
    });
    let half = raw::frame(raw::HEADERS, 0, 1, &raw::fields(&[(":method", "GET")]));
    let greeting = [raw::PREFACE, &raw::frame(raw::SETTINGS, 0, 0, &[])].concat();
    // Half a preface, a header section that never ends, pings and nothing else.
    for (begin, ping, at_least) in [
        (raw::PREFACE[..9].to_vec(), false, 900),
        ([&greeting[..], &half].concat(), false, 900),
        (
            [&greeting[..], &half[..half.len() - 3]].concat(),
            false,
            900,
        ),
        (greeting.clone(), true, 1900),
        (greeting.clone(), false, 1900),
    ] {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(proxy.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        socket.write_all(&begin).unwrap();
        wait_for("the end of the connection", PATIENCE, || {
            if ping {
                // Written to a closed connection, it is the next read that tells.
                let _ = socket.write_all(&raw::frame(raw::PING, 0, 0, &[0; 8]));
            }
            match socket.read(&mut [0; 4096]) {
                Ok(0) => Some(()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(()),
                _ => None,
            }
        });
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(at_least),
            "{took:?}: {begin:?}"
        );
        assert!(took < Duration::from_secs(9), "{took:?}: {begin:?}");
    }
}

/// GOAWAY says that it ends; what is in flight is answered, and the process goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_streams_in_flight_end() {
    let application = Application::start();
    let mut proxy = open(&application);
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    application.answer("/wfgen/open/slow", move |_, stream| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            .map(|()| true)
    });
    let busy = Connection::in_the_clear(proxy.address).await;
    let idle = Connection::in_the_clear(proxy.address).await;
    assert_eq!(idle.ask(get(&proxy, "/open/x")).await.status, 200);
    let (response, _) = busy.begin(get(&proxy, "/open/slow"), true).await;
    application.wait_for("/wfgen/open/slow");
    proxy.terminate();
    within(idle.ended)
        .await
        .unwrap()
        .expect("GOAWAY without an error");
    // The busy connection has heard it too: no more streams.
    let sender = busy.sender.clone();
    let closed = async {
        while let Ok(mut sender) = sender.clone().ready().await {
            if sender
                .send_request(get(&proxy, "/open/late"), true)
                .is_err()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(closed).await;
    release.send(()).unwrap();
    let answer = whole(within(response).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, &*answer.text()), (200, "done"));
    within(busy.ended)
        .await
        .unwrap()
        .expect("an end in good order");
    assert_eq!(proxy.wait_until_ended(), Some(0));
}

/// The conformance suite for HTTP/2 and HPACK, against the whole program. In the clear one case cannot
/// hold: what is no preface is HTTP/1 there, and is answered as that.
#[test]
fn h2spec_finds_nothing_else() {
    let (application, authority) = (Application::start(), Authority::new());
    let plain = open(&application);
    let secure = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .over_tls(&authority.pair())
        .at(Provider::shared())
        .start_unready();
    let no_preface = "Sends invalid connection preface";
    for (proxy, more, known) in [
        (&plain, &[][..], &[no_preface][..]),
        (&secure, &["-t", "-k"], &[]),
    ] {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/h2spec/h2spec");
        let output = Command::new(program)
            .args([
                "generic",
                "http2",
                "hpack",
                "-o",
                "5",
                "-P",
                "/wfgen/open/x",
            ])
            .args(["-p", &proxy.address.port().to_string()])
            .args(more)
            .output()
            .unwrap_or_else(|fault| panic!("{program} ({fault}): run tests/run"));
        let text = String::from_utf8_lossy(&output.stdout);
        let failed: BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix('×')?.split_once(": "))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(failed, known.iter().copied().collect(), "{text}");
        let passed = text.lines().filter(|line| line.contains('✔')).count();
        assert!(passed >= 140, "{passed} of at least 140: {text}");
    }
}
