//! Where connections come in: sockets of our own, sockets that the service manager passes, and ports
//! that somebody else has.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use crate::support::application::Application;
use crate::support::process::Process;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Wire, get};
use crate::support::{PATIENCE, wait_for};

fn setup(application: &Application) -> Setup {
    Setup::new(application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
}

#[track_caller]
fn fails(mut process: Process, with: &[&str]) {
    assert_eq!(process.wait_until_ended(), Some(1));
    for text in with {
        process.wait_for_log(text);
    }
}

#[test]
fn passed_sockets_take_the_place_of_listen() {
    let application = Application::start();
    let proxy = setup(&application).installed();
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let process = proxy.process(&[("admin", &admin), ("vestibule.socket", &public)]);
    process.wait_for_log("listening");
    let address = public.local_addr().unwrap();
    let answer = get(address, proxy.host(), "/wfgen/open/x", "");
    assert_eq!(answer.status, 200);
    let answer = get(admin.local_addr().unwrap(), "localhost", "/healthz", "");
    assert_eq!(answer.status, 200);
    for unused in [proxy.address, proxy.admin] {
        assert!(
            TcpStream::connect(unused).is_err(),
            "{unused} is not listened on"
        );
    }
}

#[test]
fn a_passed_socket_at_the_admin_address_is_the_admin_listener() {
    let application = Application::start();
    let proxy = setup(&application).installed();
    let public = TcpListener::bind(proxy.address).unwrap();
    let admin = TcpListener::bind(proxy.admin).unwrap();
    let process = proxy.process(&[("unknown", &public), ("unknown", &admin)]);
    process.wait_for_log("listening");
    assert_eq!(proxy.get("/open/x", "").status, 200);
    assert_eq!(proxy.get_admin("/healthz").status, 200);
}

#[test]
fn what_cannot_be_listened_on_is_said() {
    let application = Application::start();
    let proxy = setup(&application).installed();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = TcpListener::from(OwnedFd::from(udp));
    fails(
        proxy.process(&[("public", &udp)]),
        &["expected a listening TCP socket", "hint:"],
    );
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    fails(
        proxy.process(&[("admin", &everywhere)]),
        &["expected a loopback address or admin.token", "hint:"],
    );
    let proxy = setup(&application)
        .with("[admin]", "listen", "\"off\"")
        .installed();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    fails(
        proxy.process(&[("admin", &admin)]),
        &["expected no socket named \"admin\"", "hint:"],
    );
}

/// 192.0.2.1 is nobody's (RFC 5737).
#[test]
fn an_address_of_another_machine_is_told_apart() {
    let application = Application::start();
    let foreign = setup(&application).with("[server]", "listen", "\"192.0.2.1:18080\"");
    fails(
        foreign.installed().process(&[]),
        &["cannot listen on 192.0.2.1:18080", "no such address"],
    );
}

/// SO_REUSEPORT alone would let both listen and answer each other's requests.
#[test]
fn another_installations_port_is_refused() {
    let application = Application::start();
    let first = setup(&application).start_unready();
    let listen = format!("\"{}\"", first.address);
    let other = setup(&application).with("[server]", "listen", &listen);
    fails(
        other.installed().process(&[]),
        &["cannot listen on", "another installation"],
    );
    assert_eq!(first.get("/open/x", "").status, 200);
}

#[test]
fn a_second_process_of_an_installation_says_that_there_are_two() {
    let application = Application::start();
    let mut first = setup(&application).start_unready();
    let second = first.process(&[]);
    second.wait_for_log("another process of this installation listens here too");
    second.wait_for_log("has the admin listener until it ends");
    second.wait_for_log(" listening ");
    first.terminate();
    assert_eq!(first.wait_until_ended(), Some(0));
    wait_for("the admin listener of the second", PATIENCE, || {
        TcpStream::connect(first.admin).ok()
    });
    assert_eq!(first.get_admin("/healthz").status, 200);
    assert_eq!(first.get("/open/x", "").status, 200);
}

#[test]
fn the_service_manager_is_told_of_both_ends() {
    let application = Application::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let proxy = setup(&application)
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .installed();
    let mut process = proxy.process(&[]);
    let told = || {
        let mut message = [0; 256];
        let count = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..count]).trim().to_owned()
    };
    assert_eq!(told(), "READY=1");
    assert_eq!(proxy.get("/open/x", "").status, 200, "every worker listens");
    process.terminate();
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(process.wait_until_ended(), Some(0));
}

/// A peer that dies without a word is found out by the system: keep-alive is on.
#[test]
fn accepted_connections_have_keep_alive() {
    let application = Application::start();
    let proxy = setup(&application).start_unready();
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.path("/open/x"),
        proxy.host()
    ))
    .unwrap();
    assert_eq!(wire.answer("GET").unwrap().status, 200);
    let client = wire.stream.local_addr().unwrap();
    wait_for("its timer in /proc/net/tcp", PATIENCE, || {
        (timer_of(&proxy, client.port()) == Some("02".to_owned())).then_some(())
    });
}

/// The timer that runs on the proxy's side of a connection (proc_net_tcp(5)): 02 is keep-alive.
fn timer_of(proxy: &Proxy, client: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (local, remote) = (
        format!(":{:04X}", proxy.address.port()),
        format!(":{client:04X}"),
    );
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let ours = fields[1].ends_with(&local) && fields[2].ends_with(&remote);
        ours.then(|| fields[5].split(':').next().unwrap().to_owned())
    })
}
