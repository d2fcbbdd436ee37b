//! `[server.limits]` against those who try them: the process stays small, and others are still served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::application::Application;
use crate::support::process::{Process, processor_time, resident};
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, wait_for};

fn setup(application: &Application) -> Setup {
    Setup::new(application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
}

fn request(proxy: &Proxy) -> String {
    let (path, host) = (proxy.path("/open/x"), proxy.host());
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Another client, on a connection of its own, is answered at once.
#[track_caller]
fn others_are_served(proxy: &Proxy) {
    let began = Instant::now();
    assert_eq!(proxy.get("/open/x", "").status, 200, "{}", proxy.log());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "others wait {took:?}");
}

/// How much memory `attack` costs, in KiB, measured while what it gives back still lives.
fn growth<T>(proxy: &Proxy, attack: impl FnOnce() -> T) -> (u64, T) {
    others_are_served(proxy);
    let before = resident(proxy.pid());
    let held = attack();
    others_are_served(proxy);
    (resident(proxy.pid()).saturating_sub(before), held)
}

#[test]
fn slow_headers_from_many_are_408_and_cost_little() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "header_timeout", "\"3s\"")
        .start_unready();
    let (grown, wires) = growth(&proxy, || {
        let start = |_| {
            let mut wire = Wire::connect(proxy.address).unwrap();
            wire.send("GET /wfgen/open/x HTTP/1.1\r\nX-Slow: ").unwrap();
            wire
        };
        let mut wires: Vec<_> = (0..500).map(start).collect();
        wires.iter_mut().for_each(|wire| wire.send("more").unwrap());
        wires
    });
    assert!(grown < 500 * 64, "{grown} KiB for 500 connections");
    for mut wire in wires {
        assert_eq!(wire.answer("GET").unwrap().status, 408);
    }
    others_are_served(&proxy);
}

#[test]
fn slow_bodies_cost_little() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[upstream]", "response_timeout", "\"3s\"")
        .start_unready();
    let (path, host) = (proxy.path("/open/x"), proxy.host());
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\nx");
    let (grown, wires) = growth(&proxy, || {
        let start = |_| {
            let mut wire = Wire::connect(proxy.address).unwrap();
            wire.send(&head).unwrap();
            wire
        };
        (0..200).map(start).collect::<Vec<_>>()
    });
    assert!(grown < 200 * 100, "{grown} KiB for 200 uploads");
    for mut wire in wires {
        assert_eq!(wire.answer("POST").unwrap().status, 408);
    }
}

#[test]
fn a_thousand_fields_are_431() {
    let application = Application::start();
    let proxy = setup(&application).start_unready();
    let fields: String = (0..1000).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert!(fields.len() < 32 * 1024, "few bytes");
    assert_eq!(proxy.get("/open/x", &fields).status, 431);
    others_are_served(&proxy);
}

/// What never comes as far as a route is found in the log and among the metrics like any other request.
#[test]
fn requests_that_cannot_be_read_are_logged_and_counted() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "header_timeout", "\"1s\"")
        .start_unready();
    let fields: String = (0..1000).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (request, status) in [
        (
            "GET /wfgen/ HTTP/1.1\r\nBad Name: 1\r\n\r\n".to_owned(),
            400,
        ),
        (format!("GET /wfgen/ HTTP/1.1\r\n{fields}\r\n"), 431),
        ("GET /wfgen/ HTTP/1.1\r\nX-Slow: ".to_owned(), 408),
    ] {
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(&request).unwrap();
        assert_eq!(wire.answer("GET").unwrap().status, status);
        assert!(matches!(wire.at_end(), Ok(true)), "one answer to {status}");
        proxy.wait_for_log(&format!(
            "client=127.0.0.1 method=- path=\"-\" status={status} access=\"none\""
        ));
        let labels = ["access=\"none\"", &format!("status=\"{status}\"")];
        assert_eq!(proxy.metric("vestibule_requests_total", &labels), 1.0);
    }
}

#[test]
fn connections_over_the_limit_wait_and_the_operator_sees_it() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "connections", "200")
        .start_unready();
    let answered = |wire: &mut Wire| {
        wire.send(request(&proxy)).unwrap();
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    };
    let mut wires = Vec::new();
    for nth in 0..200 {
        wires.push(Wire::connect(proxy.address).unwrap());
        answered(&mut wires[nth]);
        if nth == 190 {
            assert!(!proxy.log().contains("connections are open"));
        }
    }
    assert_eq!(proxy.metric("vestibule_connections", &[]), 200.0);
    let mut late: Vec<_> = (0..20)
        .map(|_| Wire::connect(proxy.address).unwrap())
        .collect();
    for wire in &mut late {
        wire.send(request(&proxy)).unwrap();
        let patience = Some(Duration::from_millis(20));
        wire.stream.set_read_timeout(patience).unwrap();
        assert!(wire.some().is_err(), "it waits");
        wire.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    proxy.wait_for_log("all of server.limits.connections are open");
    assert!(proxy.metric("vestibule_connections_waited_total", &[]) >= 1.0);
    assert_eq!(proxy.metric("vestibule_connections", &[]), 200.0);
    answered(&mut wires[0]);
    drop(wires);
    for wire in &mut late {
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    }
    let said = proxy.log().matches("connections are open").count();
    assert_eq!(said, 1, "once a minute");
}

#[test]
fn upgraded_connections_count_among_them() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "connections", "2")
        .start_unready();
    application.answer_early("/wfgen/open/ws", |_, stream| {
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        Ok(stream.read(&mut [0; 1]).is_ok_and(|count| count > 0))
    });
    let upgrade = request(&proxy).replace("/open/x", "/open/ws").replace(
        "\r\n\r\n",
        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let sockets: Vec<_> = (0..2)
        .map(|_| {
            let mut wire = Wire::connect(proxy.address).unwrap();
            wire.send(&upgrade).unwrap();
            assert_eq!(wire.answer_head().unwrap().status, 101);
            wire
        })
        .collect();
    let mut third = Wire::connect(proxy.address).unwrap();
    third.send(request(&proxy)).unwrap();
    proxy.wait_for_log("all of server.limits.connections are open");
    assert_eq!(proxy.metric("vestibule_connections", &[]), 2.0);
    drop(sockets);
    assert_eq!(third.answer("GET").unwrap().status, 200);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_closed() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "header_timeout", "\"1s\"")
        .with("[server.limits]", "idle_timeout", "\"2s\"")
        .start_unready();
    application.answer("/wfgen/open/x/endless", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")?;
        loop {
            stream.write_all(&[b'x'; 64 * 1024])?;
        }
    });
    let endless = request(&proxy).replace("/open/x", "/open/x/endless");
    let (grown, wires) = growth(&proxy, || {
        let start = |_| {
            let mut wire = Wire::connect(proxy.address).unwrap();
            wire.send(&endless).unwrap();
            wire
        };
        (0..50).map(start).collect::<Vec<_>>()
    });
    assert!(
        grown < 50 * 400,
        "{grown} KiB for 50 answers that nobody takes"
    );
    wait_for("its end", PATIENCE, || {
        (proxy.metric("vestibule_connections", &[]) <= 1.0).then_some(())
    });
    for mut wire in wires {
        // What the system had taken is still there; then the connection is broken.
        let mut read = wire.some();
        while matches!(&read, Ok(some) if !some.is_empty()) {
            read = wire.some();
        }
    }
}

/// Whoever is only silent stays connected, for longer than the other was given.
#[test]
fn an_upgraded_client_that_takes_nothing_is_closed() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "idle_timeout", "\"2s\"")
        .start_unready();
    const SWITCHING: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    application.answer_early("/wfgen/open/endless", |_, stream| {
        stream.write_all(SWITCHING)?;
        loop {
            stream.write_all(&[b'x'; 64 * 1024])?;
        }
    });
    application.answer_early("/wfgen/open/silent", |_, stream| {
        stream.write_all(SWITCHING)?;
        let mut byte = [0; 1];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
        Ok(false)
    });
    let open = |to: &str| {
        let mut wire = Wire::connect(proxy.address).unwrap();
        let head = request(&proxy).replace("/open/x", to);
        let fields = "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        wire.send(head.replace("\r\n\r\n", fields)).unwrap();
        assert_eq!(wire.answer_head().unwrap().status, 101);
        wire
    };
    let (mut silent, _endless) = (open("/open/silent"), open("/open/endless"));
    assert_eq!(proxy.metric("vestibule_connections", &[]), 2.0);
    wait_for("the end of one", PATIENCE, || {
        (proxy.metric("vestibule_connections", &[]) <= 1.0).then_some(())
    });
    silent.send("y").unwrap();
    assert_eq!(silent.some().unwrap(), b"y");
}

#[test]
fn a_client_that_takes_its_answer_slowly_is_not_closed() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "header_timeout", "\"1s\"")
        .with("[server.limits]", "idle_timeout", "\"1s\"")
        .start_unready();
    const SIZE: usize = 24 * 1024 * 1024;
    application.answer("/wfgen/open/x", |_, stream| {
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())?;
        stream.write_all(&vec![b'x'; SIZE]).map(|()| true)
    });
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.write_all(request(&proxy).as_bytes()).unwrap();
    let (mut seen, mut some) = (0, vec![0; SIZE / 8]);
    let began = Instant::now();
    while seen < SIZE {
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "closed after {seen} bytes");
        seen += count;
        if began.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    assert!(began.elapsed() > Duration::from_secs(2));
}

#[test]
fn idle_connections_are_closed() {
    let application = Application::start();
    let proxy = setup(&application)
        .with("[server.limits]", "header_timeout", "\"1s\"")
        .with("[server.limits]", "idle_timeout", "\"1s\"")
        .start_unready();
    let mut wires: Vec<_> = (0..100)
        .map(|_| Wire::connect(proxy.address).unwrap())
        .collect();
    for wire in &mut wires[..50] {
        wire.send(request(&proxy)).unwrap();
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    }
    for wire in &mut wires {
        assert!(wire.at_end().unwrap(), "closed without a word");
    }
    others_are_served(&proxy);
}

/// With no descriptor left connections wait; the process neither spins nor dies.
#[test]
fn running_out_of_descriptors_is_survived() {
    let application = Application::start();
    let proxy = setup(&application).installed();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 90 && exec \"$0\" run -c proxy.toml"])
        .arg(env!("CARGO_BIN_EXE_vestibule"))
        .current_dir(proxy.file(""));
    let process = Process::start(shell, &[]);
    process.wait_for_log("may need 40256 open files, the system grants 90");
    process.wait_for_log(" listening ");
    let mut first = Wire::connect(proxy.address).unwrap();
    let answered = |wire: &mut Wire| {
        wire.send(request(&proxy)).unwrap();
        assert_eq!(wire.answer("GET").unwrap().status, 200);
    };
    answered(&mut first);
    let others: Vec<_> = (0..150)
        .map(|_| Wire::connect(proxy.address).unwrap())
        .collect();
    process.wait_for_log("cannot accept connections");
    let before = processor_time(process.id());
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_time(process.id()) - before;
    assert!(
        used < 30,
        "{used} hundredths of a second in one second: it spins"
    );
    answered(&mut first);
    drop(others);
    answered(&mut Wire::connect(proxy.address).unwrap());
    let said = process.log().matches("cannot accept").count();
    assert!(said <= 4, "the log is not flooded: {said}");
}
