//! What operators meet: health, metrics, log, restart and end of a running proxy.

use std::time::Duration;

use serde_json::Value;

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::Setup;
use crate::support::wire::Wire;
use crate::support::{PATIENCE, wait_for};

#[test]
fn the_metrics_of_the_contract_count() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("metric"));
    browser.visit(&proxy.url("/page"));
    proxy.get("/page", "X-Forwarded-User: evil\r\n");
    let text = proxy.get_admin("/metrics").text();
    for name in [
        "vestibule_requests_total",
        "vestibule_request_seconds",
        "vestibule_logins_total",
        "vestibule_provisioning_total",
        "vestibule_sessions",
        "vestibule_stripped_headers_total",
        "vestibule_upstream_seconds",
        "vestibule_connections",
        "vestibule_store_up",
        "vestibule_provider_up",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let one = |name: &str, labels: &[&str]| {
        wait_for(&format!("{name}{labels:?}"), PATIENCE, || {
            (proxy.metric(name, labels) >= 1.0).then_some(())
        });
    };
    one(
        "vestibule_requests_total",
        &["access=\"login\"", "status=\"200\""],
    );
    one("vestibule_requests_total", &["status=\"401\""]);
    one("vestibule_logins_total", &["provider=\"test\""]);
    one(
        "vestibule_provisioning_total",
        &["outcome=\"created\"", "directory=\"SELF_PROVISIONING\""],
    );
    one("vestibule_stripped_headers_total", &[]);
    one("vestibule_store_up", &[]);
    one("vestibule_provider_up", &["provider=\"test\""]);
    one("vestibule_sessions", &[]);
}

#[test]
fn the_access_log_has_one_line_a_request_and_no_query() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[log]", "format", "\"json\"")
        .route("/wfgen/hooks/", "open", "log_path = false")
        .at(Provider::shared())
        .start();
    proxy.get("/logged/page?secret=query", "");
    proxy.get("/hooks/secret-token-in-the-path", "");
    proxy.wait_for_log("/wfgen/hooks/");
    proxy.wait_for_log("/wfgen/logged/page");
    let log = proxy.log();
    assert!(!log.contains("secret"), "{log}");
    let lines = log
        .lines()
        .filter(|line| line.contains("/wfgen/logged/page"));
    assert!(lines.count() >= 1);
    for line in log.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|it| it.is_object()), "not JSON: {line}");
    }
}

#[test]
fn the_proxy_drains_and_ends_at_sigterm() {
    let application = Application::start();
    let mut proxy = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    application.answer("/wfgen/open/slow", |_, stream| {
        use std::io::Write as _;
        std::thread::sleep(Duration::from_secs(1));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            .map(|()| true)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    let request = format!(
        "GET /wfgen/open/slow HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.host()
    );
    wire.send(request).unwrap();
    application.wait_for("/wfgen/open/slow");
    proxy.terminate();
    let answer = wire.answer("GET").unwrap();
    assert_eq!(answer.body, b"done", "a request in flight is finished");
    assert_eq!(proxy.wait_until_ended(), Some(0), "{}", proxy.log());
}

/// Whoever copies the file of a proxy that has ended needs no other file beside it.
#[test]
fn the_file_of_the_store_is_whole_after_a_stop() {
    let application = Application::start();
    let mut proxy = Setup::usual(&application);
    let user = new_person("kept");
    proxy.signed_in(&user);
    proxy.terminate();
    assert_eq!(proxy.wait_until_ended(), Some(0), "{}", proxy.log());
    let store = proxy.file("vestibule.db");
    let copy = std::fs::read(&store).unwrap();
    for beside in ["vestibule.db-wal", "vestibule.db-shm"] {
        let _ = std::fs::remove_file(proxy.file(beside));
    }
    std::fs::write(&store, copy).unwrap();
    let users = proxy.users();
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!(users[0]["username"], Value::from(user));
    assert!(users[0]["last_login_at"].is_string(), "{users:?}");
}

#[test]
fn slow_headers_are_cut_off() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .with("[server.limits]", "header_timeout", "\"1s\"")
        .with("[server.limits]", "idle_timeout", "\"2s\"")
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    for start in ["", "G", "GET /wfgen/open/x HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(start).unwrap();
        let seen = wire.answer("GET").map(|answer| answer.status);
        assert!(matches!(seen, Ok(408) | Err(_)), "{start:?}: {seen:?}");
        if start.len() > 1 {
            assert_eq!(seen.ok(), Some(408));
        }
    }
    let mut wire = Wire::connect(proxy.address).unwrap();
    let request = format!(
        "GET /wfgen/open/x HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.host()
    );
    wire.send(&request).unwrap();
    assert_eq!(wire.answer("GET").unwrap().status, 200);
    assert!(wire.at_end().unwrap(), "an idle connection is closed");
}

#[test]
fn header_sections_over_the_limit_are_431() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let line = |size: usize| format!("X-Big: {}\r\n", "x".repeat(size));
    assert_eq!(proxy.get("/open/x", &line(30 * 1024)).status, 200);
    assert_eq!(proxy.get("/open/x", &line(33 * 1024)).status, 431);
    assert_eq!(proxy.get("/open/x", &"X-A: b\r\n".repeat(150)).status, 431);
    assert_eq!(proxy.get("/open/x", "").status, 200);
}

#[test]
fn a_new_provider_key_needs_no_restart() {
    let application = Application::start();
    let provider = Provider::start(0);
    let proxy = Setup::new(&application).at(&provider).start();
    proxy.signed_in(&new_person("before"));
    provider.rotate_keys(false);
    proxy.signed_in(&new_person("after"));
}

#[test]
fn sessions_go_on_when_the_store_is_gone() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("gone"));
    for name in ["vestibule.db", "vestibule.db-wal", "vestibule.db-shm"] {
        let _ = std::fs::remove_file(proxy.file(name));
    }
    assert_eq!(browser.fetch(&proxy.url("/page")).status, 200);
}

/// Clients that reuse connections and mind `Connection: close` lose nothing at SIGTERM.
#[test]
fn no_request_is_lost_while_draining_under_load() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let application = Application::start();
    let mut proxy = Setup::new(&application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let (address, host) = (proxy.address, proxy.host().to_owned());
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> Result<(), String> {
                    let request = format!("GET /wfgen/open/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
                    loop {
                        // Refused before anything was sent: the listener has gone, nothing is lost.
                        let Ok(mut wire) = Wire::connect(address) else {
                            return Ok(());
                        };
                        loop {
                            wire.send(&request)
                                .map_err(|error| format!("sending: {error}"))?;
                            let answer = wire.answer("GET").map_err(|error| {
                                format!("after {}: {error}", answered.load(Ordering::Relaxed))
                            })?;
                            assert_eq!(answer.status, 200);
                            answered.fetch_add(1, Ordering::Relaxed);
                            if answer.header("connection") == Some("close") {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        proxy.terminate();
        for client in clients {
            assert_eq!(client.join().unwrap(), Ok(()));
        }
    });
    assert!(answered.into_inner() > 100);
    assert_eq!(proxy.wait_until_ended(), Some(0), "{}", proxy.log());
}
