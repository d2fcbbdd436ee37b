//! A running HAProxy; it ends with its test.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, free_port, wait_for};

/// HAProxy with one listener.
pub(crate) struct HaProxy {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl HaProxy {
    /// A port for its listener, before its servers are known.
    pub(crate) fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], free_port()))
    }

    /// Starts it there; `listen` are the lines of its section beside `bind`.
    #[track_caller]
    pub(crate) fn start(address: SocketAddr, defaults: &str, listen: &str) -> Self {
        let configuration = format!(
            "defaults\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n{defaults}\n\
             listen front\n bind {address}\n{listen}\n"
        );
        let mut child = Command::new("/usr/sbin/haproxy")
            .args(["-f", "/dev/stdin", "-db"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|fault| panic!("haproxy does not start ({fault}): run tests/run"));
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(configuration.as_bytes()).unwrap();
        drop(input);
        let started = Self { child, address };
        wait_for("HAProxy", PATIENCE, || {
            std::net::TcpStream::connect(address).ok()
        });
        started
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
