//! Lesson 30: sign-ins, renewals, upgrades and requests that are broken off, over HTTP/1.1 and HTTP/2, for a while:
//! memory, descriptors and the store stay as small as at the beginning.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::application::Application;
use crate::support::process::resident;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, wait_for};

const WARM: Duration = Duration::from_secs(8);
const LONG: Duration = Duration::from_secs(24);
/// KiB that the heap may wander by.
const WANDERS: u64 = 24 * 1024;

fn descriptors(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.id()))
        .unwrap()
        .count()
}

struct Churn<'a> {
    proxy: &'a Proxy,
    stop: AtomicBool,
    done: [AtomicUsize; 4],
}

impl Churn<'_> {
    fn while_it_lasts(&self, kind: usize, round: impl Fn()) {
        while !self.stop.load(Ordering::Relaxed) {
            round();
            self.done[kind].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Signs in, works until the token has been renewed, and signs out.
    fn live(&self) {
        let browser = self.proxy.signed_in(&new_person("churn"));
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(browser.fetch(&self.proxy.url("/x")).status, 200);
        }
        browser.visit(&self.proxy.url("/auth/logout"));
    }

    /// Opens a WebSocket and leaves without a word.
    fn upgrade(&self, cookie: &str) {
        let mut socket = Wire::connect(self.proxy.address).unwrap();
        let (path, host) = (self.proxy.path("/ws"), self.proxy.host());
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        socket.send(handshake).unwrap();
        assert_eq!(socket.answer_head().unwrap().status, 101);
        socket.send("x").unwrap();
    }

    /// Sends the half of a body, or of a request, and is gone.
    fn abort(&self, cookie: &str) {
        let (path, host) = (self.proxy.path("/x"), self.proxy.host());
        let half = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}Content-Length: 100000\r\n\r\n{}",
            "x".repeat(5_000)
        );
        for text in [&*half, &half[..40]] {
            let mut stream = TcpStream::connect(self.proxy.address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    /// Begins to speak HTTP/2, asks nothing whole, and is gone.
    fn abort_http2(&self) {
        let mut stream = TcpStream::connect(self.proxy.address).unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        // The beginning of a header block that never ends (RFC 9113 6.2).
        let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let text = [&preface[..], &settings, &headers].concat();
        stream.write_all(&text).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lesson_30_churn_leaves_memory_flat() {
    let application = Application::start();
    application.echo_upgraded("/wfgen/ws");
    let proxy = Setup::new(&application)
        .with("[session]", "lifetime", "\"2s\"")
        .with("[[providers]]", "logout", "\"local\"")
        .with("[log]", "access", "false")
        .renewing()
        .at(Provider::shared())
        .start();
    let watcher = proxy.signed_in(&new_person("watcher"));
    let at_rest = descriptors(&proxy);
    let churn = Churn {
        proxy: &proxy,
        stop: AtomicBool::new(false),
        done: Default::default(),
    };
    let (running, watching) = (&churn, &watcher);
    let (warm, long) = std::thread::scope(|scope| {
        let begun = Instant::now();
        for _ in 0..4 {
            scope.spawn(|| churn.while_it_lasts(0, || churn.live()));
        }
        // A session of a lifetime of its own: the token is as new as the last round needs it.
        let cookie = || {
            watching.fetch(&running.proxy.url("/x"));
            format!("Cookie: wfgen_token={}\r\n", watching.cookie("wfgen_token"))
        };
        scope.spawn(move || running.while_it_lasts(1, || running.upgrade(&cookie())));
        let cookie = || format!("Cookie: wfgen_token={}\r\n", watching.cookie("wfgen_token"));
        scope.spawn(move || running.while_it_lasts(2, || running.abort(&cookie())));
        scope.spawn(|| churn.while_it_lasts(3, || churn.abort_http2()));
        std::thread::sleep(WARM);
        let warm = resident(proxy.id());
        std::thread::sleep(LONG - begun.elapsed());
        let long = resident(proxy.id());
        churn.stop.store(true, Ordering::Relaxed);
        (warm, long)
    });
    let done = churn.done.map(AtomicUsize::into_inner);
    assert!(
        done.iter()
            .zip([8, 50, 100, 100])
            .all(|(done, least)| *done >= least),
        "{done:?}"
    );
    assert!(
        long < warm + WANDERS,
        "{warm} KiB, later {long} KiB, after {done:?}"
    );
    wait_for("descriptors to be given back", PATIENCE, || {
        (descriptors(&proxy) <= at_rest + 40).then_some(())
    });
    assert_eq!(watcher.fetch(&proxy.url("/x")).status, 200);
}
