//! Servers that are killed and restarted while many ask: nobody who only reads may notice.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{before, wait_until_up};
use crate::support::peer::Peer;
use crate::support::proxy::Proxy;
use crate::support::wire::Wire;
use crate::support::{PATIENCE, free_port, wait_for};

const CLIENTS: usize = 24;

/// One of the servers, with its port for life.
struct Server {
    name: &'static str,
    port: u16,
    running: Option<(Peer, u64)>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let mut server = Self {
            name,
            port: free_port(),
            running: None,
        };
        server.run();
        server
    }

    fn run(&mut self) {
        let (peer, ready) = Peer::start("application.mjs", &[self.name, &self.port.to_string()]);
        self.running = Some((peer, ready["pid"].as_u64().expect("a pid")));
    }

    fn stop(&mut self, signal: &str) {
        let (peer, pid) = self.running.take().expect("it runs");
        let killed = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status();
        assert!(killed.unwrap().success());
        drop(peer);
    }

    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Asks over kept connections until told to stop, and counts what came back by method.
fn ask(
    proxy: &Proxy,
    token: &str,
    stop: &AtomicBool,
    method: &str,
    seen: &Mutex<BTreeMap<String, usize>>,
) {
    let (target, host) = (proxy.path("/x"), proxy.host());
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    let length = if method == "POST" {
        "Content-Length: 0\r\n"
    } else {
        ""
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{cookie}{length}\r\n");
    let mut wire = None;
    while !stop.load(Ordering::Relaxed) {
        let connected = wire.get_or_insert_with(|| Wire::connect(proxy.address).unwrap());
        let answer = connected
            .send(&head)
            .and_then(|()| connected.answer(method));
        let what = match &answer {
            Ok(answer) => format!("{method} {}", answer.status),
            Err(error) => format!("{method} {error}"),
        };
        *seen.lock().unwrap().entry(what).or_default() += 1;
        // The proxy keeps every connection of a client that did nothing wrong.
        if answer.is_err() {
            wire = None;
        }
    }
}

/// Waits until so many more requests were answered.
#[track_caller]
fn wait_for_answers(seen: &Mutex<BTreeMap<String, usize>>, more: usize) {
    let total = || seen.lock().unwrap().values().sum::<usize>();
    let before = total();
    wait_for("answers", PATIENCE, || {
        (total() >= before + more).then_some(())
    });
}

#[test]
fn killing_and_restarting_a_server_costs_no_reader_an_error() {
    let mut servers = [Server::start("a"), Server::start("b")];
    let origins = [servers[0].origin(), servers[1].origin()];
    let proxy = before(&origins, |setup| setup.with("[server]", "workers", "2"));
    let token = proxy.signed_in("alice").cookie("wfgen_token");
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let method = ["GET", "HEAD", "GET", "POST"][client % 4];
            let (proxy, token, stop, seen) = (&proxy, &token, &stop, &seen);
            scope.spawn(move || ask(proxy, token, stop, method, seen));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (round, signal) in ["-KILL", "-TERM"].iter().enumerate() {
                let server = &mut servers[round % 2];
                // Both are asked before one goes, while it is gone, and after it is back.
                wait_for_answers(&seen, 200);
                server.stop(signal);
                wait_for_answers(&seen, 200);
                server.run();
                wait_until_up(&proxy, &server.origin(), true);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let seen = seen.into_inner().unwrap();
    for (what, count) in &seen {
        let read = what.starts_with("GET") || what.starts_with("HEAD");
        assert!(
            !read || what.ends_with(" 200"),
            "{count} of {what}: {seen:?}"
        );
        assert!(
            what.ends_with(" 200") || what == "POST 502",
            "{count} of {what}: {seen:?}"
        );
    }
    assert!(seen["GET 200"] > 500, "there was load: {seen:?}");
    // Only what a killed server may have begun is lost: at most what was in flight there.
    let lost = seen.get("POST 502").copied().unwrap_or_default();
    assert!(lost <= 2 * CLIENTS / 4, "{seen:?}");
}
