//! The end of a process, and a restart that nobody notices.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::application::Application;
use crate::support::load;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, wait_for};

fn setup(application: &Application) -> Setup {
    Setup::new(application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
}

fn request(proxy: &Proxy, below: &str) -> String {
    let (path, host) = (proxy.path(below), proxy.host());
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A request that the application answers only after `delay`; it is in flight when this returns.
fn in_flight(application: &Application, proxy: &Proxy, delay: Duration) -> Wire {
    application.answer("/wfgen/open/slow", move |_, stream| {
        std::thread::sleep(delay);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            .map(|()| true)
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(request(proxy, "/open/slow")).unwrap();
    application.wait_for("/wfgen/open/slow");
    wire
}

#[test]
fn what_is_in_flight_is_answered_and_what_is_new_refused() {
    let application = Application::start();
    let mut proxy = setup(&application).start_unready();
    let mut kept = Wire::connect(proxy.address).unwrap();
    kept.send(request(&proxy, "/open/x")).unwrap();
    assert_eq!(kept.answer("GET").unwrap().header("connection"), None);
    let mut slow = in_flight(&application, &proxy, Duration::from_secs(1));
    proxy.terminate();
    // The handshake gets no answer, and a moment later a reset.
    wait_for("no new connections", PATIENCE, || {
        let tried = TcpStream::connect_timeout(&proxy.address, Duration::from_millis(100));
        tried.is_err().then_some(())
    });
    kept.send(request(&proxy, "/open/x")).unwrap();
    let answer = kept.answer("GET").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(kept.at_end().unwrap());
    let answer = slow.answer("GET").unwrap();
    assert_eq!(answer.body, b"done");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(proxy.wait_until_ended(), Some(0));
}

#[test]
fn during_drain_delay_it_serves_and_is_not_ready() {
    let application = Application::start();
    let mut proxy = setup(&application)
        .with("[server]", "drain_delay", "\"4s\"")
        .start();
    wait_for("200 at /readyz", PATIENCE, || {
        (proxy.get_admin("/readyz").status == 200).then_some(())
    });
    proxy.terminate();
    wait_for("503 at /readyz", PATIENCE, || {
        (proxy.get_admin("/readyz").status == 503).then_some(())
    });
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(request(&proxy, "/open/x")).unwrap();
    let answer = wire.answer("GET").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert_eq!(proxy.wait_until_ended(), Some(0));
}

#[test]
fn shutdown_grace_is_the_end_of_patience() {
    let application = Application::start();
    let mut proxy = setup(&application)
        .with("[server]", "shutdown_grace", "\"2s\"")
        .start_unready();
    let mut slow = in_flight(&application, &proxy, 2 * PATIENCE);
    let told = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait_until_ended(), Some(0));
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(slow.answer("GET").is_err(), "it is cut off");
    assert!(proxy.log().contains("cut off"), "{}", proxy.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let application = Application::start();
    let mut proxy = setup(&application).start_unready();
    let mut slow = in_flight(&application, &proxy, 2 * PATIENCE);
    proxy.terminate();
    proxy.wait_for_log("draining");
    let told = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait_until_ended(), Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(1),
        "{:?}",
        told.elapsed()
    );
    assert!(slow.answer("GET").is_err());
    proxy.wait_for_log("told to stop again");
}

#[test]
fn upgraded_connections_are_closed_at_the_drains_end() {
    let application = Application::start();
    let mut proxy = setup(&application).start_unready();
    application.echo_upgraded("/wfgen/open/ws");
    let mut slow = in_flight(&application, &proxy, Duration::from_secs(3));
    let mut socket = Wire::connect(proxy.address).unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let head = request(&proxy, "/open/ws").replace("\r\n\r\n", "\r\n");
    socket.send(format!("{head}{upgrade}")).unwrap();
    assert_eq!(socket.answer_head().unwrap().status, 101);
    proxy.terminate();
    proxy.wait_for_log("draining");
    for _ in 0..2 {
        socket.send("x").unwrap();
        assert_eq!(
            socket.some().unwrap(),
            b"x",
            "it goes on while others are answered"
        );
        std::thread::sleep(Duration::from_millis(900));
    }
    assert_eq!(slow.answer("GET").unwrap().body, b"done");
    assert!(
        !matches!(socket.some(), Ok(some) if !some.is_empty()),
        "it is closed"
    );
    assert_eq!(proxy.wait_until_ended(), Some(0));
}

/// A second process on the same port (SO_REUSEPORT), the first one told to end once the second listens.
#[test]
fn a_restart_with_a_second_process_loses_no_request() {
    let application = Application::start();
    let proxy = setup(&application).installed();
    let mut running = proxy.process(&[]);
    running.wait_for_log("listening");
    let outcome = load::during(proxy.address, proxy.host(), "/wfgen/open/x", 8, || {
        for _ in 0..2 {
            let next = proxy.process(&[]);
            next.wait_for_log(" listening ");
            running.terminate();
            assert_eq!(running.wait_until_ended(), Some(0));
            running = next;
        }
    });
    assert_eq!(outcome.faults, [""; 0]);
    assert!(outcome.answered > 500, "{outcome:?}");
    // The last one has the admin listener now.
    wait_for("the admin listener", PATIENCE, || {
        TcpStream::connect(proxy.admin).ok()
    });
}

/// With a socket of the service manager not even one process after the other loses anything.
#[test]
fn a_restart_on_a_passed_socket_loses_no_request() {
    let application = Application::start();
    let proxy = setup(&application).installed();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let passed = [("public", &socket)];
    let mut running = proxy.process(&passed);
    running.wait_for_log("listening");
    let outcome = load::during(address, proxy.host(), "/wfgen/open/x", 8, || {
        let next = proxy.process(&passed);
        next.wait_for_log(" listening ");
        running.terminate();
        assert_eq!(running.wait_until_ended(), Some(0));
        running = next;
        running.terminate();
        assert_eq!(running.wait_until_ended(), Some(0));
        running = proxy.process(&passed);
        running.wait_for_log(" listening ");
    });
    assert_eq!(outcome.faults, [""; 0]);
    assert!(outcome.answered > 500, "{outcome:?}");
}
