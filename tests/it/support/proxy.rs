//! The real binary, `vestibule run`, with a proxy.toml of its own in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::application::Application;
use super::browser::Browser;
use super::postgres::{PASSWORD, Postgres};
use super::process::Process;
use super::provider::{Client, Provider};
use super::tls::Pair;
use super::wire::{Answer, get, try_exchange};
use super::{PATIENCE, free_port, wait_for};

/// The key of the session token in every test.
pub(crate) const SESSION_KEY: &str = "a session key of the tests, 32 bytes and more";

/// A proxy.toml in parts, before the proxy starts.
pub(crate) struct Setup {
    port: u16,
    admin_port: u16,
    base: String,
    public_origin: String,
    sections: Vec<(String, Vec<(String, String)>)>,
    tail: String,
    client: Option<Client>,
    environment: Vec<(String, String)>,
    files: Vec<(&'static str, String)>,
    client_metadata: Value,
}

/// A running proxy.
pub(crate) struct Proxy {
    child: Option<Child>,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// `server.public_url`.
    pub(crate) public_url: String,
    pub(crate) client: Client,
    environment: Vec<(String, String)>,
    log: Arc<Mutex<String>>,
}

impl Setup {
    /// The usual: base path `/wfgen`, one directory that takes everybody. The provider is still to be named.
    pub(crate) fn new(application: &Application) -> Self {
        let (port, admin_port) = (free_port(), free_port());
        let setup = Self {
            port,
            admin_port,
            base: "/wfgen".to_owned(),
            public_origin: format!("http://127.0.0.1:{port}"),
            sections: Vec::new(),
            tail: String::new(),
            client: None,
            environment: Vec::new(),
            files: Vec::new(),
            client_metadata: json!({}),
        };
        let text = |value: &str| format!("{value:?}");
        setup
            .with("[server]", "listen", &text(&format!("127.0.0.1:{port}")))
            .with("[server]", "workers", "2")
            .with(
                "[upstream]",
                "servers",
                &format!("[\"http://{}\"]", application.address),
            )
            .with(
                "[session]",
                "keys",
                "[{ id = \"1\", secret = { file = \"session_key\" } }]",
            )
            .with("[store]", "url", "\"sqlite:vestibule.db\"")
            .with("[[directories]]", "name", "\"SELF_PROVISIONING\"")
            .with("[[directories]]", "connector", "\"self-provisioning\"")
            .maps("username", "\"https://api.workflowgen.com/username\"")
            .maps("name", "\"family_name\"")
            .maps("first_name", "\"given_name\"")
            .maps("email", "\"email\"")
            .with(
                "[admin]",
                "listen",
                &text(&format!("127.0.0.1:{admin_port}")),
            )
    }

    /// The usual, with the shared provider, running.
    pub(crate) fn usual(application: &Application) -> Proxy {
        Self::new(application).at(Provider::shared()).start()
    }

    /// Sets a key (TOML text) of a section (`[server]`, `[[providers]]`, …), over what was there.
    pub(crate) fn with(mut self, section: &str, key: &str, value: &str) -> Self {
        let found = self.sections.iter().position(|(name, _)| name == section);
        let index = found.unwrap_or_else(|| {
            self.sections.push((section.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        let keys = &mut self.sections[index].1;
        keys.retain(|(known, _)| known != key);
        keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Maps a user field (TOML text on the right).
    pub(crate) fn maps(self, field: &str, rule: &str) -> Self {
        self.with("[directories.mapping]", field, rule)
    }

    /// Adds a route with these further keys (TOML lines).
    pub(crate) fn route(mut self, path: &str, access: &str, more: &str) -> Self {
        self.tail.push_str(&format!(
            "\n[[routes]]\npath = {path:?}\naccess = {access:?}\n{more}\n"
        ));
        self
    }

    /// Adds these lines of TOML at the end.
    pub(crate) fn more(mut self, lines: &str) -> Self {
        self.tail.push_str(lines);
        self
    }

    /// Puts a file into the folder.
    pub(crate) fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    /// Another base path; `""` for `/`.
    pub(crate) fn base(mut self, base: &str) -> Self {
        base.clone_into(&mut self.base);
        self
    }

    /// People reach it under another origin, through a TLS terminator that tests leave out.
    pub(crate) fn public_origin(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.public_origin);
        self
    }

    /// Ends TLS itself with this pair.
    pub(crate) fn over_tls(mut self, pair: &Pair) -> Self {
        self.public_origin = format!("https://127.0.0.1:{}", self.port);
        self.files.push(("fullchain.pem", pair.certificate.clone()));
        self.files.push(("privkey.pem", pair.key.clone()));
        self.with("[server.tls]", "certificate", "\"fullchain.pem\"")
            .with("[server.tls]", "private_key", "\"privkey.pem\"")
    }

    /// Keeps users and sessions in this database instead of a file.
    pub(crate) fn on_postgres(mut self, postgres: &Postgres, database: &str) -> Self {
        self.files.push(("store_password", PASSWORD.to_owned()));
        self.with("[store]", "url", &format!("{:?}", postgres.url(database)))
            .with("[store]", "password", "{ file = \"store_password\" }")
    }

    /// Sets an environment variable of the process.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its provider gives it refresh tokens.
    pub(crate) fn renewing(mut self) -> Self {
        self.client_metadata["grant_types"] = json!(["authorization_code", "refresh_token"]);
        self
    }

    /// Its provider tells it of logouts (Back-Channel Logout 1.0).
    pub(crate) fn told_of_logouts(mut self) -> Self {
        let url = format!("{}/auth/backchannel-logout", self.public_url());
        self.client_metadata["backchannel_logout_uri"] = json!(url);
        self.client_metadata["backchannel_logout_session_required"] = json!(true);
        self
    }

    /// It signs for the provider with this private key, while the provider knows these public ones.
    pub(crate) fn signing_with(mut self, key: &str, registered: &Value) -> Self {
        self.client_metadata["token_endpoint_auth_method"] = json!("private_key_jwt");
        self.client_metadata["jwks"] = registered.clone();
        self.file("client.pem", key)
            .with(
                "[[providers]]",
                "client_authentication",
                "\"private_key_jwt\"",
            )
            .with("[[providers]]", "private_key", "{ file = \"client.pem\" }")
    }

    /// What `server.public_url` will be.
    pub(crate) fn public_url(&self) -> String {
        format!("{}{}", self.public_origin, self.base)
    }

    /// Signs people in at this provider, where it registers itself.
    pub(crate) fn at(self, provider: &Provider) -> Self {
        let url = self.public_url();
        let client = provider.register(
            &[
                format!("{url}/auth/callback"),
                format!("{url}/auth/callback/test"),
            ],
            &[format!("{url}/auth/logout/return")],
            &self.client_metadata,
        );
        self.at_issuer(&provider.issuer, client)
    }

    /// Signs people in at this issuer as this client.
    pub(crate) fn at_issuer(mut self, issuer: &str, client: Client) -> Self {
        self = self
            .with("[[providers]]", "name", "\"test\"")
            .with("[[providers]]", "issuer", &format!("{issuer:?}"))
            .with("[[providers]]", "client_id", &format!("{:?}", client.id));
        if !client.secret.is_empty() {
            let secret = "{ file = \"client_secret\" }";
            self = self.with("[[providers]]", "client_secret", secret);
        }
        self.client = Some(client);
        self
    }

    /// The finished proxy.toml.
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, keys) in &self.sections {
            text.push_str(&format!("\n{name}\n"));
            for (key, value) in keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text + &self.tail
    }

    /// Starts it and waits until people can sign in.
    #[track_caller]
    pub(crate) fn start(self) -> Proxy {
        let proxy = self.start_unready();
        proxy.wait_until_people_can_sign_in();
        proxy
    }

    /// Starts it and waits until it takes connections.
    #[track_caller]
    pub(crate) fn start_unready(self) -> Proxy {
        let mut proxy = self.installed();
        proxy.spawn();
        proxy
    }

    /// All that it needs, but not started: see [`Proxy::process`].
    #[track_caller]
    pub(crate) fn installed(mut self) -> Proxy {
        let public_url = self.public_url();
        self = self.with("[server]", "public_url", &format!("{public_url:?}"));
        let client = self.client.clone().expect("the test names a provider");
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(folder.path().join(name))?;
            file.write_all(text.as_bytes())
        };
        write("session_key", SESSION_KEY).unwrap();
        write("client_secret", &client.secret).unwrap();
        write("proxy.toml", &self.text()).unwrap();
        for (name, text) in &self.files {
            write(name, text).unwrap();
        }
        Proxy {
            child: None,
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], self.port)),
            admin: SocketAddr::from(([127, 0, 0, 1], self.admin_port)),
            public_url,
            client,
            environment: self.environment,
            log: Arc::default(),
        }
    }
}

impl Proxy {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command
            .args(arguments)
            .arg("-c")
            .arg("proxy.toml")
            .current_dir(self.folder.path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// A process of this installation, beside any other, with these sockets passed as systemd does.
    #[track_caller]
    pub(crate) fn process(&self, passed: &[(&str, &std::net::TcpListener)]) -> Process {
        Process::start(self.command(&["run"]), passed)
    }

    /// The process that [`Setup::start`] started.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    #[track_caller]
    fn spawn(&mut self) {
        let mut child = self
            .command(&["run"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        for pipe in [
            child.stdout.take().map(|it| Box::new(it) as Pipe),
            child.stderr.take().map(|it| Box::new(it) as Pipe),
        ] {
            let log = Arc::clone(&self.log);
            let pipe = pipe.expect("both are piped");
            std::thread::spawn(move || {
                let mut lines = BufReader::new(pipe);
                let mut line = Vec::new();
                while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    log.lock()
                        .unwrap()
                        .push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            });
        }
        self.child = Some(child);
        let end = std::time::Instant::now() + PATIENCE;
        while Answer::of_admin(self, "/healthz").is_none_or(|it| it.status != 200)
            || std::net::TcpStream::connect(self.address).is_err()
        {
            let ended = self.child.as_mut().and_then(|it| it.try_wait().ok()?);
            assert!(
                ended.is_none() && std::time::Instant::now() < end,
                "the proxy does not start ({ended:?}): {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub(crate) fn wait_until_people_can_sign_in(&self) {
        let path = self.path("/auth/login");
        let mut last = None;
        let ready = || {
            let lines = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
            let answer = get(self.address, self.host(), &path, lines);
            let ready = matches!(answer.status, 302 | 303);
            last = Some(answer);
            ready.then_some(())
        };
        let end = std::time::Instant::now() + PATIENCE;
        let mut ready = ready;
        while ready().is_none() {
            if std::time::Instant::now() > end {
                panic!("nobody can sign in: {last:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The Host of `public_url`.
    pub(crate) fn host(&self) -> &str {
        let rest = self.public_url.split_once("://").unwrap().1;
        rest.split('/').next().unwrap()
    }

    /// Scheme and host of `public_url`.
    pub(crate) fn origin(&self) -> &str {
        let scheme = self.public_url.find("://").unwrap() + 3;
        &self.public_url[..scheme + self.host().len()]
    }

    /// A path below the base path, as a request target.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("{}{below}", &self.public_url[self.origin().len()..])
    }

    /// A URL below the base path.
    pub(crate) fn url(&self, below: &str) -> String {
        format!("{}{below}", self.public_url)
    }

    /// A browser that knows where the proxy is.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new().reach(self.origin(), self.address)
    }

    /// A browser in which `user` has signed in.
    #[track_caller]
    pub(crate) fn signed_in(&self, user: &str) -> Browser {
        let browser = self.browser();
        let page = browser.sign_in(&self.url("/"), user);
        assert_eq!(
            page.answer.status,
            200,
            "{user} signed in by {:#?} and got {}\n{}",
            page.addresses(),
            page.answer.text(),
            self.log()
        );
        browser
    }

    /// A GET below the base path with these further lines (each ending in CRLF) and nothing else.
    #[track_caller]
    pub(crate) fn get(&self, below: &str, lines: &str) -> Answer {
        get(self.address, self.host(), &self.path(below), lines)
    }

    /// A GET with exactly this target.
    #[track_caller]
    pub(crate) fn get_target(&self, target: &str, lines: &str) -> Answer {
        get(self.address, self.host(), target, lines)
    }

    /// A GET on the admin listener.
    #[track_caller]
    pub(crate) fn get_admin(&self, path: &str) -> Answer {
        Answer::of_admin(self, path).expect("the admin listener answers")
    }

    /// The sum of a metric's series whose labels contain all of these.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.get_admin("/metrics").text();
        text.lines()
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (found, rest) = series.split_once('{').unwrap_or((series, ""));
                let fits = found == name && labels.iter().all(|label| rest.contains(label));
                fits.then(|| value.parse::<f64>().ok())?
            })
            .sum()
    }

    /// Runs another command on the same configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What `users list --json` prints.
    #[track_caller]
    pub(crate) fn users(&self) -> Vec<Value> {
        let output = self.run(&["users", "list", "--json"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "users list: {errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything it has written so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds that text.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), PATIENCE, || {
            self.log().contains(text).then_some(())
        });
    }

    /// The most memory that it ever held, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let child = self.child.as_ref().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        kibibytes.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let child = self.child.as_ref().expect("it runs");
        let signal = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status();
        assert!(signal.unwrap().success());
    }

    /// Waits until it has ended by itself; its exit code.
    #[track_caller]
    pub(crate) fn wait_until_ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let status = wait_for("the proxy's end", 2 * PATIENCE, || {
            child.try_wait().unwrap()
        });
        status.code()
    }

    /// Ends it at once and starts it again on the same folder.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.restart_unready();
        self.wait_until_people_can_sign_in();
    }

    /// The same, whether people can sign in or not.
    #[track_caller]
    pub(crate) fn restart_unready(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Ends it at once (SIGKILL), in the middle of whatever it does; [`Proxy::restart`] starts it again.
    pub(crate) fn kill_hard(&self) {
        let child = self.child.as_ref().expect("it runs");
        let signal = Command::new("kill")
            .args(["-KILL", &child.id().to_string()])
            .status();
        assert!(signal.unwrap().success());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

type Pipe = Box<dyn Read + Send>;

impl Answer {
    fn of_admin(proxy: &Proxy, path: &str) -> Option<Answer> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            proxy.admin
        );
        try_exchange(proxy.admin, request.as_bytes()).ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("── the proxy's log ──\n{}", self.log());
        }
    }
}

/// A path in the proxy's folder.
impl Proxy {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The payload of a JWT, unverified.
#[track_caller]
pub(crate) fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
