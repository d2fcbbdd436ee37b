//! `server.proxy_protocol`: who the client is, told by a balancer before the first byte of HTTP.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::support::application::Application;
use crate::support::haproxy::HaProxy;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Answer, Wire};
use crate::support::{PATIENCE, wait_for};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn start(application: &Application, trusted: &str) -> Proxy {
    Setup::new(application)
        .with("[server]", "proxy_protocol", "true")
        .with(
            "[server]",
            "trusted_proxies",
            &format!("[{trusted:?}, \"203.0.113.7\"]"),
        )
        .with("[server.limits]", "header_timeout", "\"1s\"")
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start_unready()
}

fn request(proxy: &Proxy, lines: &str) -> Vec<u8> {
    let (path, host) = (proxy.path("/open/x"), proxy.host());
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n").into_bytes()
}

/// Sends these parts one by one; the answer, or none where the connection is closed.
fn sent(proxy: &Proxy, parts: &[&[u8]]) -> Option<Answer> {
    let mut wire = Wire::connect(proxy.address).unwrap();
    for part in parts {
        wire.send(part).ok()?;
    }
    wire.answer("GET").ok()
}

/// Who the application takes the client for when a connection begins with these bytes.
#[track_caller]
fn client(application: &Application, proxy: &Proxy, header: &[u8], lines: &str) -> String {
    application.forget();
    let answer = sent(proxy, &[&[header, &request(proxy, lines)].concat()]);
    let status = answer.map(|answer| answer.status);
    assert_eq!(
        status,
        Some(200),
        "{}: {}",
        header.escape_ascii(),
        proxy.log()
    );
    let told = application.last();
    told.only("x-forwarded-for").expect("one client").to_owned()
}

fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

#[test]
fn the_header_names_the_client() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.1/32");
    let four = [&[192, 0, 2, 9, 127, 0, 0, 1][..], &[0x12, 0x34, 0, 80]].concat();
    let mut six = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    six.extend([0; 20]);
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 9], &[0; 20]].concat();
    let with_tlvs = [&four[..], &[0x04, 0x0b, 0xb8], &[0; 3000]].concat();
    for (header, expected) in [
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 56324 443\r\n".to_vec(),
            "192.0.2.1",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n".to_vec(),
            "2001:db8::1",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(1, 0x11, &four), "192.0.2.9"),
        (version_2(1, 0x21, &six), "2001:db8::9"),
        (version_2(1, 0x21, &mapped), "192.0.2.9"),
        (version_2(1, 0x11, &with_tlvs), "192.0.2.9"),
        (version_2(0, 0x00, b""), "127.0.0.1"),
        (version_2(0, 0x11, &four), "127.0.0.1"),
        (version_2(1, 0x00, b"anything"), "127.0.0.1"),
    ] {
        assert_eq!(client(&application, &proxy, &header, ""), expected);
    }
    proxy.wait_for_log("client=192.0.2.1 ");
}

#[test]
fn the_header_may_come_in_any_pieces() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.1/32");
    let line = b"PROXY TCP4 192.0.2.1 127.0.0.1 56324 443\r\n".to_vec();
    let binary = version_2(1, 0x11, &[192, 0, 2, 1, 127, 0, 0, 1, 1, 2, 3, 4]);
    for header in [line, binary] {
        let all = [header, request(&proxy, "")].concat();
        let bytes: Vec<_> = all.chunks(1).collect();
        let answer = sent(&proxy, &bytes).expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(
            application.last().only("x-forwarded-for"),
            Some("192.0.2.1")
        );
    }
}

/// A client behind a balancer that only relays may write any header itself.
#[test]
fn forwarding_headers_are_believed_from_the_named_client_only_if_it_is_trusted() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.1/32");
    let lines = "X-Forwarded-For: 198.51.100.1\r\n";
    let stranger = b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n";
    assert_eq!(client(&application, &proxy, stranger, lines), "192.0.2.1");
    let trusted = b"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n";
    assert_eq!(client(&application, &proxy, trusted, lines), "198.51.100.1");
}

#[test]
fn without_a_good_header_the_connection_is_closed() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.1/32");
    let plain = request(&proxy, "");
    let behind = |header: &[u8]| [header, &plain[..]].concat();
    let refused = || {
        proxy.metric(
            "vestibule_connections_refused_total",
            &["reason=\"proxy-protocol\""],
        )
    };
    // Starting it opened connections without a header, to see whether it listens.
    let before = refused();
    let faulty = [
        plain.clone(),
        behind(b"PROXY TCP4 evil 127.0.0.1 1 2\r\n"),
        behind(b"proxy TCP4 192.0.2.1 127.0.0.1 1 2\r\n"),
        behind(&version_2(1, 0x12, &[0; 12])),
        behind(&version_2(1, 0x11, &[0; 4])),
        behind(&version_2(1, 0x11, &[0; 9000])),
        behind(&[b"PROXY TCP4 ".as_slice(), &[b' '; 200]].concat()),
    ];
    for bytes in &faulty {
        let answer = sent(&proxy, &[bytes]);
        assert!(answer.is_none(), "{}: {answer:?}", bytes.escape_ascii());
    }
    wait_for("each counted", PATIENCE, || {
        (refused() >= before + faulty.len() as f64).then_some(())
    });
    proxy.wait_for_log("does the proxy send one?");
    assert!(application.received().is_empty());
}

#[test]
fn a_header_that_does_not_end_is_not_waited_for() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.1/32");
    for start in [b"".as_slice(), b"P", b"PROXY TCP4 192.0", &SIGNATURE[..7]] {
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(start).unwrap();
        let began = std::time::Instant::now();
        assert!(!matches!(wire.some(), Ok(some) if !some.is_empty()));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_header_of_a_stranger_is_not_believed() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.2/32");
    let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 56324 443\r\n";
    let answer = sent(&proxy, &[&[&header[..], &request(&proxy, "")].concat()]);
    assert!(answer.is_none(), "{answer:?}");
    proxy.wait_for_log("not one of server.trusted_proxies");
    let reason = ["reason=\"untrusted-peer\""];
    assert!(proxy.metric("vestibule_connections_refused_total", &reason) >= 1.0);
    assert!(application.received().is_empty());
}

/// curl from this address, so that it can be told from everything else on loopback.
const CURL_FROM: &str = "127.0.0.5";

#[track_caller]
fn curl(proxy: &Proxy, at: SocketAddr, more: &[&str]) {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "--max-time",
            "20",
            "--interface",
            CURL_FROM,
        ])
        .args(["-H", &format!("Host: {}", proxy.host())])
        .args(more)
        .arg(format!("http://{at}/wfgen/open/x"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}: {}", proxy.log());
}

/// curl sends version 1.
#[test]
fn curl_speaks_it() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.5/32");
    curl(&proxy, proxy.address, &["--haproxy-protocol"]);
    assert_eq!(application.last().only("x-forwarded-for"), Some(CURL_FROM));
}

#[test]
fn haproxy_speaks_both_versions() {
    let application = Application::start();
    let proxy = start(&application, "127.0.0.1/32");
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
    ] {
        let server = format!(" server vestibule {} {option}", proxy.address);
        let front = HaProxy::start(HaProxy::address(), " mode tcp", &server);
        application.forget();
        curl(&proxy, front.address, &[]);
        let told = application.last();
        assert_eq!(told.only("x-forwarded-for"), Some(CURL_FROM), "{option}");
    }
}
