//! Several servers of one application: who gets a request, who is left out, what is sent again; and
//! answers that are not quite HTTP.

mod connection_sign_in;
mod framing;
mod load;
mod tls;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::application::Application;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::exchange;
use crate::support::{PATIENCE, free_port, wait_for};

/// A proxy in front of these origins, with one worker and an open route under `/wfgen/open/`.
fn before(origins: &[String], change: impl FnOnce(Setup) -> Setup) -> Proxy {
    let setup = Setup::new(&Application::start())
        .with("[server]", "workers", "1")
        .with("[upstream]", "servers", &format!("{origins:?}"))
        .route("/wfgen/open/", "open", "");
    change(setup).at(Provider::shared()).start()
}

fn origin(application: &Application) -> String {
    format!("http://{}", application.address)
}

/// Nobody listens there.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// Whether a server is up, as the metric says it.
fn is_up(proxy: &Proxy, origin: &str) -> bool {
    proxy.metric("vestibule_upstream_up", &[&format!("server={origin:?}")]) == 1.0
}

#[track_caller]
fn wait_until_up(proxy: &Proxy, origin: &str, up: bool) {
    wait_for(&format!("{origin} up: {up}"), 2 * PATIENCE, || {
        (is_up(proxy, origin) == up).then_some(())
    });
}

fn readiness(proxy: &Proxy) -> String {
    proxy.get_admin("/readyz").text()
}

#[track_caller]
fn post(proxy: &Proxy, below: &str) -> u16 {
    let (target, host) = (proxy.path(below), proxy.host());
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    );
    exchange(proxy.address, head).status
}

#[test]
fn the_less_busy_server_gets_the_request() {
    let (one, other) = (Application::start(), Application::start());
    let proxy = before(&[origin(&one), origin(&other)], |setup| setup);
    for _ in 0..60 {
        assert_eq!(proxy.get("/open/x", "").status, 200);
    }
    let shares = [one.received().len(), other.received().len()];
    assert!(shares.iter().all(|share| *share >= 10), "{shares:?}");
    // A request that is held makes its server the busier one.
    let release = Arc::new(AtomicBool::new(false));
    for application in [&one, &other] {
        let release = Arc::clone(&release);
        application.answer("/wfgen/open/held", move |_, stream| {
            wait_for("the release", PATIENCE, || {
                release.load(Ordering::Relaxed).then_some(())
            });
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            Ok(true)
        });
    }
    std::thread::scope(|scope| {
        let held = scope.spawn(|| proxy.get("/open/held", "").status);
        let holds = |it: &&Application| it.received().iter().any(|it| it.target.ends_with("/held"));
        let (holder, free) = wait_for("the held request", PATIENCE, || {
            let holder = [&one, &other].into_iter().find(holds)?;
            let free = if std::ptr::eq(holder, &one) {
                &other
            } else {
                &one
            };
            Some((holder, free))
        });
        holder.forget();
        free.forget();
        for _ in 0..20 {
            assert_eq!(proxy.get("/open/x", "").status, 200);
        }
        assert_eq!((holder.received().len(), free.received().len()), (0, 20));
        release.store(true, Ordering::Relaxed);
        assert_eq!(held.join().unwrap(), 200);
    });
}

#[test]
fn a_server_that_refuses_costs_nobody_an_error_and_is_told_once() {
    let application = Application::start();
    let (dead, alive) = (nowhere(), origin(&application));
    let proxy = before(&[dead.clone(), alive.clone()], |setup| setup);
    // Not sent is not sent: a POST goes elsewhere as a GET does.
    for _ in 0..20 {
        assert_eq!(post(&proxy, "/open/x"), 200);
        assert_eq!(proxy.get("/open/x", "").status, 200);
    }
    assert_eq!(application.received().len(), 40, "each arrives once");
    wait_until_up(&proxy, &dead, false);
    assert!(is_up(&proxy, &alive));
    assert!(readiness(&proxy).contains(&dead), "{}", readiness(&proxy));
    assert_eq!(proxy.get_admin("/readyz").status, 200);
    let told = |log: &str| log.matches("a server of the application is out").count();
    assert_eq!(told(&proxy.log()), 1, "{}", proxy.log());
    // It is back as soon as it listens again, without a request's help.
    let address = dead.strip_prefix("http://").unwrap();
    let _back = std::net::TcpListener::bind(address).unwrap();
    wait_until_up(&proxy, &dead, true);
    assert!(
        !readiness(&proxy).contains("application"),
        "{}",
        readiness(&proxy)
    );
    proxy.wait_for_log("is back");
}

#[test]
fn a_server_whose_answers_are_502_is_out() {
    let (good, bad) = (Application::start(), Application::start());
    bad.answer_with("/", "502 Bad Gateway", "", "");
    let proxy = before(&[origin(&good), origin(&bad)], |setup| setup);
    let mut statuses = BTreeMap::new();
    wait_for("the bad one to be out", PATIENCE, || {
        *statuses.entry(proxy.get("/open/x", "").status).or_insert(0) += 1;
        (!is_up(&proxy, &origin(&bad))).then_some(())
    });
    assert_eq!(statuses[&502], 10, "ten tell: {statuses:?}");
    bad.forget();
    for _ in 0..5 {
        assert_eq!(proxy.get("/open/x", "").status, 200);
    }
    assert!(bad.received().is_empty());
}

#[test]
fn the_last_server_is_never_out() {
    let application = Application::start();
    application.answer_with("/wfgen/open/bad", "502 Bad Gateway", "", "");
    let proxy = before(&[origin(&application), nowhere()], |setup| setup);
    for _ in 0..15 {
        assert_eq!(proxy.get("/open/bad", "").status, 502);
    }
    wait_until_up(&proxy, &origin(&application), false);
    assert!(
        readiness(&proxy).contains("still go to it"),
        "{}",
        readiness(&proxy)
    );
    assert_eq!(proxy.get("/open/good", "").status, 200);
}

#[test]
fn an_active_check_finds_what_no_request_has_met() {
    let (one, other) = (Application::start(), Application::start());
    one.answer_with("/wfgen/health", "401 Unauthorized", "", "");
    other.answer_with("/wfgen/health", "503 Service Unavailable", "", "");
    let proxy = before(&[origin(&one), origin(&other)], |setup| {
        setup.with("[upstream]", "health_path", "\"/wfgen/health\"")
    });
    wait_until_up(&proxy, &origin(&other), false);
    assert!(is_up(&proxy, &origin(&one)), "below 500 is healthy");
    proxy.wait_for_log("/wfgen/health answers 503");
    let asked = other.wait_for("/wfgen/health");
    assert_eq!(
        (asked.method.as_str(), asked.only("host")),
        ("GET", Some(proxy.host()))
    );
    for _ in 0..10 {
        assert_eq!(proxy.get("/open/x", "").status, 200);
    }
    let strays = other
        .received()
        .iter()
        .filter(|it| it.target.contains("/open/"))
        .count();
    assert_eq!(strays, 0, "nothing goes to a server that is out");
    let output = proxy.run(&["check", "--online"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains(&format!("ok      application {}", origin(&one))),
        "{told}"
    );
    assert!(
        told.contains(&format!("failed  application {}", origin(&other))),
        "{told}"
    );
    other.answer_with("/wfgen/health", "204 No Content", "", "");
    wait_until_up(&proxy, &origin(&other), true);
}

#[test]
fn each_server_is_told_its_own_host_and_its_location_becomes_public() {
    let (one, other) = (Application::start(), Application::start());
    for application in [&one, &other] {
        // Each names the other: an application knows all its servers.
        let named = if std::ptr::eq(application, &one) {
            &other
        } else {
            &one
        };
        let location = format!("Location: http://{}/wfgen/there?a#b\r\n", named.address);
        application.answer_with("/wfgen/open/moved", "302 Found", &location, "");
    }
    let origins = [nowhere(), origin(&one), origin(&other)];
    let proxy = before(&origins, |setup| {
        setup.with("[upstream]", "host", "\"server\"")
    });
    for _ in 0..30 {
        let answer = proxy.get("/open/moved", "");
        assert_eq!(answer.header("location"), Some(&*proxy.url("/there?a#b")));
    }
    for application in [&one, &other] {
        let received = application.received();
        assert!(!received.is_empty());
        for request in received {
            assert_eq!(
                request.only("host"),
                Some(&*application.address.to_string())
            );
            assert_eq!(request.only("x-forwarded-host"), Some(proxy.host()));
        }
    }
}

/// The application closes a connection as a request arrives on it: what may be sent again is.
#[test]
fn a_request_whose_pooled_connection_dies_is_repeated_if_it_may_be() {
    let application = Application::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    application.answer("/wfgen/open/dies-once", move |_, stream| {
        if counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Ok(false);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let proxy = before(&[origin(&application)], |setup| setup);
    for (method, expected, arrivals) in [
        ("GET", 200, 2),
        ("HEAD", 200, 2),
        ("OPTIONS", 200, 2),
        ("DELETE", 502, 1),
    ] {
        assert_eq!(proxy.get("/open/warm", "").status, 200);
        application.forget();
        asked.store(0, Ordering::Relaxed);
        let (target, host) = (proxy.path("/open/dies-once?q=%20"), proxy.host());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-Bytes: caf\u{e9}\r\nX-Two: a\r\nX-Two: b\r\n\r\n"
        );
        assert_eq!(exchange(proxy.address, head).status, expected, "{method}");
        let received = application.received();
        assert_eq!(received.len(), arrivals, "{method}");
        let (first, last) = (&received[0], &received[arrivals - 1]);
        assert_eq!(
            (&first.target, &first.headers),
            (&last.target, &last.headers)
        );
    }
}

#[test]
fn a_name_that_does_not_resolve_puts_out_only_its_own_server() {
    let application = Application::start();
    let unknown = "http://no-such-host.invalid:8081".to_owned();
    let proxy = before(&[unknown.clone(), origin(&application)], |setup| {
        setup.with("[upstream]", "connect_timeout", "\"1s\"")
    });
    wait_for("the unknown one to be out", PATIENCE, || {
        assert_eq!(proxy.get("/open/x", "").status, 200);
        (!is_up(&proxy, &unknown)).then_some(())
    });
    assert_eq!(proxy.get_admin("/healthz").status, 200);
}

/// A server that takes connections and gives no answer is asked once, then the next one is.
#[test]
fn a_server_that_hangs_up_on_everybody_costs_no_error() {
    let (good, bad) = (Application::start(), Application::start());
    bad.answer("/", |_, _| Ok(false));
    let proxy = before(&[origin(&good), origin(&bad)], |setup| setup);
    wait_for("the bad one to be out", PATIENCE, || {
        assert_eq!(proxy.get("/open/x", "").status, 200);
        (!is_up(&proxy, &origin(&bad))).then_some(())
    });
}
