//! TLS on the public listener: versions, protocols, resumption, certificates that change while it runs,
//! and what those get who do not speak TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};

use crate::support::application::Application;
use crate::support::chromium::Chromium;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::tls::{Authority, Pair, Tls, connect, get};
use crate::support::wire::{Wire, exchange};
use crate::support::{PATIENCE, free_port, wait_for};

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A proxy over TLS with an open route for everything under `/wfgen/open/`.
fn open(application: &Application, pair: &Pair, change: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = Setup::new(application)
        .route("/wfgen/open/", "open", "")
        .over_tls(pair);
    change(setup).at(Provider::shared()).start_unready()
}

fn leaf(tls: &Tls) -> Vec<u8> {
    tls.conn.peer_certificates().unwrap()[0].to_vec()
}

#[track_caller]
fn replace(proxy: &Proxy, pair: &Pair) {
    std::fs::write(proxy.file("fullchain.pem"), &pair.certificate).unwrap();
    std::fs::write(proxy.file("privkey.pem"), &pair.key).unwrap();
}

#[test]
fn both_versions_and_both_protocols_are_spoken() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| setup);
    for (version, spoken) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for offered in [&["http/1.1"][..], &[], &["http/1.0", "http/1.1"]] {
            let client = authority.client(&[version], offered);
            let tls = connect(proxy.address, &client);
            let Ok(mut tls) = tls else {
                panic!("{spoken:?} {offered:?}: {tls:?}")
            };
            assert_eq!(tls.conn.protocol_version(), Some(spoken));
            let agreed = tls.conn.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed.is_some(), !offered.is_empty(), "{offered:?}");
            for _ in 0..2 {
                let answer = get(&mut tls, proxy.host(), "/wfgen/open/x", "").unwrap();
                assert_eq!(answer.status, 200);
                assert_eq!(answer.json()["headers"][0][0], "host");
            }
        }
        let client = authority.client(&[version], &["h2", "http/1.1"]);
        let tls = connect(proxy.address, &client).unwrap();
        assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]), "{spoken:?}");
    }
    let client = authority.client(BOTH, &["spdy/3"]);
    let refused = connect(proxy.address, &client);
    assert!(refused.is_err(), "RFC 7301 3.2: no protocol in common");
}

#[test]
fn a_client_that_comes_back_resumes_without_early_data() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| setup);
    for version in [&TLS13, &TLS12] {
        let client = authority.client(&[version], &["http/1.1"]);
        let mut first = connect(proxy.address, &client).unwrap();
        assert_eq!(first.conn.handshake_kind(), Some(HandshakeKind::Full));
        get(&mut first, proxy.host(), "/wfgen/open/x", "").unwrap();
        // Any worker may take the next ones: tickets are good at all of them.
        for _ in 0..4 {
            let mut next = connect(proxy.address, &client).unwrap();
            assert_eq!(next.conn.handshake_kind(), Some(HandshakeKind::Resumed));
            assert!(!next.conn.is_early_data_accepted());
            let answer = get(&mut next, proxy.host(), "/wfgen/open/x", "").unwrap();
            assert_eq!(answer.status, 200);
        }
    }
}

/// New connections all the while, requests on open ones too: not one fails.
#[test]
fn a_certificate_changes_under_load() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| setup);
    let client = authority.client(BOTH, &["http/1.1"]);
    let mut old = connect(proxy.address, &client).unwrap();
    let first = leaf(&old);
    let (over, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for fresh in [true, true, false] {
            let (proxy, over, requests) = (&proxy, &over, &requests);
            let client = authority.client(BOTH, &["http/1.1"]);
            scope.spawn(move || {
                let mut kept = connect(proxy.address, &client).unwrap();
                while !over.load(Ordering::Relaxed) {
                    if fresh {
                        kept = connect(proxy.address, &client).unwrap();
                    }
                    let answer = get(&mut kept, proxy.host(), "/wfgen/open/x", "");
                    assert_eq!(answer.unwrap().status, 200);
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=3 {
            let pair = authority.pair();
            replace(&proxy, &pair);
            wait_for("the new certificate", PATIENCE, || {
                (proxy.metric("vestibule_reloads_total", &["ok"]) >= f64::from(round)).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(requests.into_inner() > 20);
    // A ticket names no certificate: a client without one shows what is sent now.
    let fresh = authority.client(BOTH, &["http/1.1"]);
    assert_ne!(leaf(&connect(proxy.address, &fresh).unwrap()), first);
    let answer = get(&mut old, proxy.host(), "/wfgen/open/x", "").unwrap();
    assert_eq!(answer.status, 200, "the old connection goes on");
    assert_eq!(proxy.metric("vestibule_reloads_total", &["failed"]), 0.0);
}

#[test]
fn a_faulty_certificate_changes_nothing_and_is_told_once() {
    let (application, authority) = (Application::start(), Authority::new());
    let pair = authority.pair();
    let proxy = open(&application, &pair, |setup| setup);
    let client = || authority.client(BOTH, &["http/1.1"]);
    let first = leaf(&connect(proxy.address, &client()).unwrap());
    let half = &pair.certificate[..pair.certificate.len() / 2];
    let other = authority.pair();
    let faults = [
        ("fullchain.pem", half, "broken PEM"),
        ("fullchain.pem", "", "no certificate"),
        ("privkey.pem", &other.key, "the key of another certificate"),
        ("privkey.pem", "nothing", "no whole private key"),
    ];
    for (count, (file, text, why)) in (1..).zip(faults) {
        replace(&proxy, &pair);
        std::fs::write(proxy.file(file), text).unwrap();
        proxy.wait_for_log(why);
        // Two looks later it would have been told again.
        std::thread::sleep(Duration::from_millis(1100));
        let failed = proxy.metric("vestibule_reloads_total", &["failed"]);
        assert_eq!(failed, f64::from(count), "{why}");
        let log = proxy.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains(why)).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(told[0].contains(file), "{told:?}");
        assert_eq!(leaf(&connect(proxy.address, &client()).unwrap()), first);
    }
    std::fs::remove_file(proxy.file("fullchain.pem")).unwrap();
    proxy.wait_for_log("No such file");
    replace(&proxy, &other);
    wait_for("the new certificate", PATIENCE, || {
        let now = leaf(&connect(proxy.address, &client()).unwrap());
        (now != first).then_some(())
    });
    assert_eq!(proxy.metric("vestibule_reloads_total", &["ok"]), 1.0);
}

#[test]
fn check_tells_what_is_wrong_with_the_files() {
    let (application, authority) = (Application::start(), Authority::new());
    let good = authority.pair();
    let proxy = open(&application, &good, |setup| setup);
    let check = || {
        let output = proxy.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("server.tls"), "{said}");
    let cases = [
        (
            "fullchain.pem",
            "x",
            "server.tls.certificate",
            "no certificate",
        ),
        (
            "privkey.pem",
            &authority.pair().key,
            "server.tls.private_key",
            "the key of another certificate",
        ),
        (
            "privkey.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            "server.tls.private_key",
            "openssl pkey",
        ),
        (
            "fullchain.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "server.tls.certificate",
            "no X.509 certificate",
        ),
    ];
    for (file, text, key, why) in cases {
        replace(&proxy, &good);
        std::fs::write(proxy.file(file), text).unwrap();
        let (code, said) = check();
        assert_eq!(code, Some(64), "{said}");
        for part in [file, key, why, "expected", "hint"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("BEGIN PRIVATE KEY-----\n"), "{said}");
    }
    replace(&proxy, &good);
    let key = proxy.file("privkey.pem");
    std::fs::remove_file(&key).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(64));
    assert!(said.contains("No such file"), "{said}");
    replace(&proxy, &authority.pair_for(&["elsewhere.example"], 2021));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(0), "warnings are no faults: {said}");
    for warning in [
        "expired on Fri, 31 Dec 2021",
        "does not name the host 127.0.0.1",
    ] {
        assert!(said.contains(warning), "{said}");
    }
}

#[test]
fn who_does_not_speak_tls_is_told_or_closed() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| {
        setup.with("[server.limits]", "header_timeout", "\"1s\"")
    });
    let answer = exchange(proxy.address, "GET /wfgen/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.header("strict-transport-security"), None);
    proxy.wait_for_log("expected a TLS handshake, found HTTP");
    let malformed = ["access=\"none\"", "status=\"400\""];
    assert_eq!(proxy.metric("vestibule_requests_total", &malformed), 1.0);
    proxy.wait_for_log("method=- path=\"-\" status=400");
    // SSH, half a ClientHello, nothing at all.
    for (bytes, at_once) in [
        (&b"\x00hello"[..], true),
        (b"\x16\x03\x01", false),
        (b"", false),
    ] {
        let begun = Instant::now();
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(bytes).unwrap();
        assert!(!matches!(wire.at_end(), Ok(false)), "{bytes:?} is answered");
        let took = begun.elapsed();
        assert_eq!(
            took < Duration::from_millis(900),
            at_once,
            "{bytes:?}: {took:?}"
        );
        assert!(took < Duration::from_secs(5), "{bytes:?}: {took:?}");
    }
}

#[test]
fn a_drain_says_goodbye_on_idle_connections() {
    let (application, authority) = (Application::start(), Authority::new());
    let mut proxy = open(&application, &authority.pair(), |setup| setup);
    let client = authority.client(BOTH, &["http/1.1"]);
    let mut tls = connect(proxy.address, &client).unwrap();
    get(&mut tls, proxy.host(), "/wfgen/open/x", "").unwrap();
    let silent = TcpStream::connect(proxy.address).unwrap();
    proxy.terminate();
    // Without close_notify (RFC 8446 6.1) this is an error: the end could be an attacker's.
    assert_eq!(tls.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(proxy.wait_until_ended(), Some(0));
    drop(silent);
}

#[test]
fn hsts_is_said_on_every_answer_and_the_applications_own_stands() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| {
        setup.with("[server]", "hsts", "\"365d\"")
    });
    application.answer_with(
        "/wfgen/open/own",
        "200 OK",
        "Strict-Transport-Security: max-age=5\r\n",
        "",
    );
    let client = authority.client(BOTH, &["http/1.1"]);
    let mut tls = connect(proxy.address, &client).unwrap();
    for (target, value) in [
        ("/wfgen/open/x", "max-age=31536000"),
        ("/wfgen/inside", "max-age=31536000"),
        ("/wfgen//", "max-age=31536000"),
        ("/nowhere", "max-age=31536000"),
        ("/wfgen/open/own", "max-age=5"),
    ] {
        let answer = get(&mut tls, proxy.host(), target, "").unwrap();
        let found = answer.all("strict-transport-security");
        assert_eq!(found, [value], "{target} {}", answer.status);
    }
}

#[test]
fn plain_http_is_sent_on_to_https() {
    let (application, authority) = (Application::start(), Authority::new());
    let port = free_port();
    let proxy = open(&application, &authority.pair(), |setup| {
        let address = format!("[\"127.0.0.1:{port}\"]");
        setup
            .with("[server]", "redirect_listen", &address)
            .with("[server]", "hsts", "\"1d\"")
            .with("[server.limits]", "header_timeout", "\"1s\"")
    });
    let address = ([127, 0, 0, 1], port).into();
    let ask = |line: &str, host: &str| exchange(address, format!("{line}\r\nHost: {host}\r\n\r\n"));
    let to = |target: &str| Some(format!("{}{target}", proxy.origin()));
    for (line, status, target) in [
        (
            "GET /wfgen/a%20b?c=%2F&d HTTP/1.1",
            308,
            "/wfgen/a%20b?c=%2F&d",
        ),
        ("POST /anything HTTP/1.1", 308, "/anything"),
        ("GET / HTTP/1.0", 301, "/"),
    ] {
        let answer = ask(line, "127.0.0.1");
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.header("location").map(str::to_owned), to(target));
        assert_eq!(answer.header("strict-transport-security"), None);
    }
    assert_eq!(
        ask("GET /a HTTP/1.1", &format!("127.0.0.1:{port}")).status,
        308
    );
    assert_eq!(ask("GET /a HTTP/1.1", "evil.example").status, 421);
    assert_eq!(
        ask("GET http://evil.example/a HTTP/1.1", "127.0.0.1").status,
        421
    );
    for line in [
        "GET /a/../b HTTP/1.1",
        "GET //a HTTP/1.1",
        "GET /a%2fb HTTP/1.1",
    ] {
        assert_eq!(ask(line, "127.0.0.1").status, 400, "{line}");
    }
    assert_eq!(ask("CONNECT a:1 HTTP/1.1", "127.0.0.1").status, 400);
    let with_body = "POST /a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n";
    let answer = exchange(address, with_body);
    assert_eq!(answer.header("connection"), Some("close"));
    let mut wire = Wire::connect(address).unwrap();
    wire.send("GET /slow HTT").unwrap();
    assert_eq!(wire.answer("GET").unwrap().status, 408);
    assert!(application.received().is_empty());
}

#[test]
fn redirects_need_an_https_address() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let file = proxy.file("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (line, key) in [
        ("hsts = \"1d\"", "server.hsts"),
        (
            "redirect_listen = [\"127.0.0.1:1\"]",
            "server.redirect_listen",
        ),
    ] {
        let changed = text.replacen("[server]\n", &format!("[server]\n{line}\n"), 1);
        std::fs::write(&file, changed).unwrap();
        let output = proxy.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(key) && said.contains("https"), "{said}");
    }
}

/// Sign-in, cookies and a WebSocket over TLS, in a browser that speaks HTTP/2 by itself.
#[test]
fn a_person_signs_in_over_http2_in_chromium() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| setup);
    application.answer("/wfgen/ws", |request, stream| {
        let key = request.only("sec-websocket-key").unwrap_or_default();
        let seed = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
            seed.as_bytes(),
        );
        use base64::Engine as _;
        let accept = base64::engine::general_purpose::STANDARD.encode(digest);
        let user = request.only("x-forwarded-user").unwrap_or("nobody");
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        // One unmasked text frame (RFC 6455 5.6), then it stays open until the browser goes.
        let text = format!("hello {user}");
        stream.write_all(&[&[0x81, text.len() as u8][..], text.as_bytes()].concat())?;
        let _ = stream.read(&mut [0; 64]);
        Ok(false)
    });
    let user = new_person("secure");
    let mut browser = Chromium::start();
    let tab = browser.open(&proxy.url("/page?x=1"));
    browser.sign_in(tab, &user);
    browser.arrive(tab, &proxy.url("/page?x=1"));
    let shown = browser.look(tab);
    assert!(shown.text.contains(&user), "{shown:?}");
    let cookies = browser.cookies(&proxy.url("/page"));
    let token = cookies.iter().find(|it| it["name"] == "wfgen_token");
    let token = token.unwrap();
    assert_eq!(token["secure"], true);
    assert_eq!(token["httpOnly"], true);
    let protocol = browser.evaluate(
        tab,
        "performance.getEntriesByType('navigation')[0].nextHopProtocol",
    );
    assert_eq!(protocol, "h2");
    let page = application.only("/wfgen/page");
    assert_eq!(page.only("x-forwarded-user"), Some(&*user));
    assert_eq!(page.all("cookie").len(), 1);
    let said = browser.evaluate(
        tab,
        "new Promise((resolve, reject) => {
            const socket = new WebSocket(location.origin.replace('https', 'wss') + '/wfgen/ws');
            socket.onmessage = (event) => resolve(event.data);
            socket.onerror = () => reject(new Error('no WebSocket'));
        })",
    );
    assert_eq!(said, format!("hello {user}"));
}

#[test]
fn clients_share_one_certificate_and_no_state() {
    let (application, authority) = (Application::start(), Authority::new());
    let proxy = open(&application, &authority.pair(), |setup| setup);
    let clients: Vec<_> = (0..4)
        .map(|_| authority.client(BOTH, &["http/1.1"]))
        .collect();
    let mut open: Vec<Tls> = clients
        .iter()
        .map(|client| connect(proxy.address, &Arc::clone(client)).unwrap())
        .collect();
    for round in 0..3 {
        for (number, tls) in open.iter_mut().enumerate() {
            let target = format!("/wfgen/open/{number}/{round}");
            let answer = get(tls, proxy.host(), &target, "").unwrap();
            assert_eq!(answer.json()["target"], target);
        }
    }
}
