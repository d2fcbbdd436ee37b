//! An OpenID provider that lies on demand: a real HTTP server on loopback, without a login page. Told
//! nothing, it is honest; told a [`Lie`], it is honest in everything else. It counts and keeps what it
//! was asked, and complains (`complaints`) of requests that a strict provider would refuse.
//!
//! It runs on a thread of its own, so that tests with and without an async runtime can use it, and ends
//! with its value.

mod endpoints;
mod keys;
mod lies;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub(crate) use keys::{CURVE, EDWARDS, FIRST, FOREIGN, SigningKey};
pub(crate) use lies::{Lie, now};

/// The client that is registered at the provider.
pub(crate) const CLIENT_ID: &str = "vestibule";
/// Its secret: characters that the two ways of sending it encode differently.
pub(crate) const CLIENT_SECRET: &str = "a secret+of~32 characters: at least";

/// A running provider.
pub(crate) struct LyingProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// How often each endpoint was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) discovery: usize,
    pub(crate) jwks: usize,
    pub(crate) authorize: usize,
    pub(crate) token: usize,
    pub(crate) user_info: usize,
    pub(crate) end_session: usize,
}

/// A token request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenRequest {
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The form, decoded.
    pub(crate) form: HashMap<String, String>,
}

struct Shared {
    issuer: String,
    state: Mutex<State>,
}

/// What tests turn, and what the provider remembers.
struct State {
    lie: Option<Lie>,
    claims: Map<String, Value>,
    user_info: Map<String, Value>,
    signed_user_info: bool,
    metadata: Map<String, Value>,
    lifetime: i64,
    key: &'static SigningKey,
    kid: String,
    requests: Requests,
    complaints: Vec<String>,
    authorization: HashMap<String, String>,
    token_request: TokenRequest,
    grants: HashMap<String, Grant>,
    refreshes: bool,
    /// Token requests that wait for their answers, now and at the most.
    waiting: (usize, usize),
    /// Each is good once.
    refresh_tokens: HashMap<String, Grant>,
    access_tokens: HashMap<String, Value>,
    /// Those that have an issuer of their own below `/ID/v2.0`.
    tenants: Vec<String>,
    /// What its keys say of their issuer.
    key_issuer: Value,
}

/// What an authorization code stands for.
#[derive(Debug, Clone)]
struct Grant {
    nonce: String,
    challenge: String,
    redirect_uri: String,
    used: bool,
}

impl LyingProvider {
    /// Starts an honest provider on a free port.
    pub(crate) async fn start() -> Self {
        Self::launch()
    }

    /// [`LyingProvider::start`] for tests without an async runtime.
    pub(crate) fn launch() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}"),
            state: Mutex::new(State::honest()),
        });
        let running = Some(serve(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            running,
        }
    }

    /// `issuer`, without a trailing slash.
    pub(crate) fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// Has an issuer for each of these tenants from now on, as Entra ID has: see [`LyingProvider::issuer_of`]. Who signs
    /// in says of itself whose it is.
    pub(crate) fn have_tenants(&self, ids: &[&str]) {
        self.state().tenants = ids.iter().map(|id| (*id).to_owned()).collect();
    }

    /// The issuer of a tenant, or with `{tenantid}` what the document for all tenants says.
    pub(crate) fn issuer_of(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.issuer())
    }

    /// Its keys say that they are that issuer's from now on.
    pub(crate) fn set_key_issuer(&self, issuer: Value) {
        self.state().key_issuer = issuer;
    }

    /// Lies from now on; replaces the lie before.
    pub(crate) fn lie(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// Honest again.
    pub(crate) fn be_honest(&self) {
        self.state().lie = None;
    }

    /// Claims of the person in the ID token; they replace the protocol's own of the same name.
    pub(crate) fn set_claims(&self, claims: Value) {
        self.state().claims = object(claims);
    }

    /// Claims of UserInfo beside `sub`.
    pub(crate) fn set_user_info(&self, claims: Value) {
        self.state().user_info = object(claims);
    }

    /// UserInfo answers with a JWT.
    pub(crate) fn sign_user_info(&self) {
        self.state().signed_user_info = true;
    }

    /// Gives refresh tokens, and takes each once.
    pub(crate) fn give_refresh_tokens(&self) {
        self.state().refreshes = true;
    }

    /// How many token requests waited at one time, at the most.
    pub(crate) fn most_waiting(&self) -> usize {
        self.state().waiting.1
    }

    /// Members of the discovery document that replace its own; null removes one.
    pub(crate) fn set_metadata(&self, metadata: Value) {
        self.state().metadata = object(metadata);
    }

    /// Seconds until ID tokens expire.
    pub(crate) fn set_lifetime(&self, seconds: i64) {
        self.state().lifetime = seconds;
    }

    /// A JWT with these claims, signed by the key of its key set.
    pub(crate) fn signed(&self, typ: &str, claims: &Value) -> String {
        let state = self.state();
        let header = json!({ "alg": state.key.algorithm(), "kid": state.kid, "typ": typ });
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", encode(&header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(state.key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// Signs with another key from now on; the key set holds that one alone.
    pub(crate) fn rotate_to(&self, key: &'static SigningKey, kid: &str) {
        let mut state = self.state();
        state.key = key;
        state.kid = kid.to_owned();
    }

    /// [`LyingProvider::rotate_to`] a second RSA key.
    pub(crate) fn rotate(&self) {
        self.rotate_to(&keys::SECOND, "second");
    }

    /// Signs with the first key again.
    pub(crate) fn rotate_back(&self) {
        self.rotate_to(&keys::FIRST, "first");
    }

    /// A token with these claims over the protocol's own, signed as its lie says.
    pub(crate) fn token(&self, typ: &str, claims: Value) -> String {
        let state = self.state();
        let draft = lies::Draft {
            issuer: &self.shared.issuer,
            nonce: "",
            lifetime: state.lifetime,
            claims: &object(claims),
            key: state.key,
            kid: &state.kid,
            lie: state.lie,
            typ,
        };
        draft.token()
    }

    /// How often each endpoint was asked.
    pub(crate) fn requests(&self) -> Requests {
        self.state().requests
    }

    /// What a strict provider would have refused.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.state().complaints.clone()
    }

    /// Parameters of the last authorization request.
    pub(crate) fn authorization(&self) -> HashMap<String, String> {
        self.state().authorization.clone()
    }

    /// The last token request.
    pub(crate) fn token_request(&self) -> TokenRequest {
        self.state().token_request.clone()
    }

    /// Stops listening and cuts every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            running.thread.join().unwrap();
        }
    }

    /// Listens again on the same port, remembering everything.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let listener = TcpListener::bind(self.address).unwrap();
        self.running = Some(serve(listener, Arc::clone(&self.shared)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for LyingProvider {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn honest() -> Self {
        Self {
            lie: None,
            claims: Map::new(),
            user_info: Map::new(),
            signed_user_info: false,
            metadata: Map::new(),
            lifetime: 3600,
            key: &keys::FIRST,
            kid: "first".to_owned(),
            requests: Requests::default(),
            complaints: Vec::new(),
            authorization: HashMap::new(),
            token_request: TokenRequest::default(),
            grants: HashMap::new(),
            refreshes: false,
            waiting: (0, 0),
            refresh_tokens: HashMap::new(),
            access_tokens: HashMap::new(),
            tenants: Vec::new(),
            key_issuer: Value::Null,
        }
    }

    fn complain(&mut self, of: impl Into<String>) {
        self.complaints.push(of.into());
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("expected an object, found {other}"),
    }
}

/// 128 random bits as text.
fn random_text() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).unwrap();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> Running {
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
    });
    Running { stop, thread }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| endpoints::answer(Arc::clone(&shared), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}
