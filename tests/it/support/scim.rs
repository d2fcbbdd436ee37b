//! SCIM 2.0 servers that nobody here wrote: scim2-server and scimmy, which disagree in details.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::peer::Peer;
use super::wire::exchange;
use super::{PATIENCE, free_port, wait_for};

/// The bearer token of both.
pub(crate) const TOKEN: &str = "a-token-of-the-receivers";

/// A running receiver.
pub(crate) struct Receiver {
    /// Its base URL.
    pub(crate) base: String,
    kind: Kind,
}

enum Kind {
    Scimmy(Mutex<Peer>),
    Scim2 { child: Child, port: u16 },
}

impl Receiver {
    /// npm's scimmy.
    pub(crate) fn scimmy() -> Self {
        let (peer, ready) = Peer::start("scimmy.mjs", &[TOKEN]);
        Self {
            base: ready["base"].as_str().unwrap().to_owned(),
            kind: Kind::Scimmy(Mutex::new(peer)),
        }
    }

    /// PyPI's scim2-server.
    pub(crate) fn scim2() -> Self {
        Self::scim2_on(free_port())
    }

    /// The same on this port, empty.
    #[track_caller]
    pub(crate) fn scim2_on(port: u16) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/scim/venv/bin");
        let child = Command::new(folder.join("scim2-server"))
            .args(["--port", &port.to_string(), "--bearer-token", TOKEN])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/run installs scim2-server");
        let receiver = Self {
            base: format!("http://127.0.0.1:{port}/v2"),
            kind: Kind::Scim2 { child, port },
        };
        wait_for("scim2-server", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        receiver
    }

    /// Both, one after the other.
    pub(crate) fn both() -> [Self; 2] {
        [Self::scim2(), Self::scimmy()]
    }

    /// Every user that it has.
    #[track_caller]
    pub(crate) fn users(&self) -> Vec<Value> {
        match &self.kind {
            Kind::Scimmy(peer) => {
                let users = peer.lock().unwrap().ask(&json!({}));
                serde_json::from_value(users).unwrap()
            }
            Kind::Scim2 { .. } => {
                let list = self.ask("GET", "/Users?count=1000", "");
                let resources = list["Resources"].as_array();
                resources.cloned().unwrap_or_default()
            }
        }
    }

    /// The user of that name.
    pub(crate) fn user(&self, name: &str) -> Option<Value> {
        let users = self.users();
        users.into_iter().find(|user| user["userName"] == name)
    }

    /// Waits until a user is as `look` wants them.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, look: impl Fn(&Value) -> bool) {
        wait_for(&format!("{name} at {}", self.base), 2 * PATIENCE, || {
            self.user(name).filter(|user| look(user)).map(drop)
        });
    }

    /// Makes a user as another system would.
    #[track_caller]
    pub(crate) fn has(&self, name: &str) {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
            "name": {"familyName": "Foreign"}, "externalId": "of another system",
        });
        let made = self.ask("POST", "/Users", &user.to_string());
        assert_eq!(made["userName"], name, "{made}");
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (address, base) = self.base["http://".len()..].split_once('/').unwrap();
        let request = format!(
            "{method} /{base}{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/scim+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(address.parse().unwrap(), request);
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Kind::Scim2 { child, port } = &mut self.kind {
            let _ = child.kill();
            let _ = child.wait();
            // The port is free again before the next one starts there.
            let end = std::time::Instant::now() + Duration::from_secs(2);
            while std::net::TcpListener::bind(("127.0.0.1", *port)).is_err()
                && std::time::Instant::now() < end
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
