//! The OpenID-certified provider, one for all tests: each brings its own people and its own client.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use super::browser::Browser;
use super::peer::Peer;
use super::wire::{Answer, exchange};

/// Where a program's authorization code comes back to; nothing listens there.
const PROGRAM: &str = "http://127.0.0.1:1/program";

/// A running `oidc-provider`.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    control: SocketAddr,
    _peer: Peer,
}

/// A client that the provider knows.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Provider {
    /// The one that all tests share. It ends with the test binary.
    pub(crate) fn shared() -> &'static Provider {
        static SHARED: OnceLock<Provider> = OnceLock::new();
        SHARED.get_or_init(|| Provider::start(0))
    }

    /// One of a test's own, on that port (0: any), to be stopped by dropping it.
    pub(crate) fn start(port: u16) -> Self {
        let (peer, ready) = Peer::start("oidc-provider.mjs", &[&port.to_string()]);
        Self {
            issuer: ready["issuer"].as_str().unwrap().to_owned(),
            control: ready["control"].as_str().unwrap().parse().unwrap(),
            _peer: peer,
        }
    }

    /// One of a test's own on that port that knows this client from the start.
    pub(crate) fn start_with(
        port: u16,
        client: &Client,
        redirects: &[String],
        after_logout: &[String],
    ) -> Self {
        let provider = Self::start(port);
        let known = json!({
            "client_id": client.id,
            "client_secret": client.secret,
            "redirect_uris": redirects,
            "post_logout_redirect_uris": after_logout,
        });
        provider.control("/client", &known);
        provider
    }

    /// Registers a client (RFC 7591) for these redirect URIs, with this metadata beside.
    pub(crate) fn register(
        &self,
        redirects: &[String],
        after_logout: &[String],
        more: &Value,
    ) -> Client {
        let mut metadata = json!({
            "redirect_uris": redirects,
            "post_logout_redirect_uris": after_logout,
            "token_endpoint_auth_method": "client_secret_basic",
        });
        let more = more.as_object().expect("an object").clone();
        metadata.as_object_mut().unwrap().extend(more);
        let answer = post(self.address(), "/reg", &metadata);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let client = answer.json();
        Client {
            id: client["client_id"].as_str().unwrap().to_owned(),
            // None for a client that signs.
            secret: client["client_secret"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// Answers that path with that status from now on; 0 for as usual.
    pub(crate) fn fail(&self, path: &str, status: u16) {
        self.control("/fail", &json!({ "path": path, "status": status }));
    }

    /// Has an issuer for each of these tenants, as Entra ID has; whoever signs in at the door to all is of `home`.
    pub(crate) fn have_tenants(&self, ids: &[&str], home: &str) {
        self.control("/tenants", &json!({ "ids": ids, "home": home }));
    }

    /// Takes back the refresh tokens of a person.
    pub(crate) fn revoke(&self, user: &str) {
        self.control("/revoke", &json!({ "user": user }));
    }

    /// How often something was asked of it, such as `POST /token`.
    pub(crate) fn asked(&self, request: &str) -> usize {
        let seen = self.control("/seen", &json!({}));
        let requests = seen["requests"].as_array().unwrap();
        requests.iter().filter(|seen| *seen == request).count()
    }

    /// Registers a program that asks for access tokens of users and of its own.
    pub(crate) fn register_program(&self) -> Client {
        let answer = post(
            self.address(),
            "/reg",
            &json!({
                "redirect_uris": [PROGRAM],
                "grant_types": ["authorization_code", "client_credentials"],
                "token_endpoint_auth_method": "client_secret_post",
            }),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
        let client = answer.json();
        Client {
            id: client["client_id"].as_str().unwrap().to_owned(),
            secret: client["client_secret"].as_str().unwrap().to_owned(),
        }
    }

    /// An access token that `user` gave to a program for an API: authorization code, PKCE, resource indicator.
    #[track_caller]
    pub(crate) fn access_token(&self, program: &Client, user: &str, audience: &str) -> String {
        let verifier = "a-code-verifier-of-the-tests-which-is-long-enough";
        let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
        let mut url = Url::parse(&format!("{}/auth", self.issuer)).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("client_id", program.id.as_str()),
            ("redirect_uri", PROGRAM),
            ("response_type", "code"),
            ("scope", "openid read"),
            ("resource", audience),
            ("code_challenge", &URL_SAFE_NO_PAD.encode(challenge)),
            ("code_challenge_method", "S256"),
        ]);
        let mut browser = Browser::new();
        browser.stop_before(PROGRAM);
        let page = browser.sign_in(url.as_str(), user);
        let location = page.answer.header("location").expect("a redirect");
        let back = Url::parse(location).unwrap();
        let code = back.query_pairs().find(|(name, _)| name == "code");
        let code = code.unwrap_or_else(|| panic!("no code in {back}")).1;
        self.token(
            program,
            &[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", PROGRAM),
                ("code_verifier", verifier),
                ("resource", audience),
            ],
        )
    }

    /// An access token of the program itself for an API (RFC 6749 4.4).
    #[track_caller]
    pub(crate) fn machine_token(&self, program: &Client, audience: &str) -> String {
        self.token(
            program,
            &[
                ("grant_type", "client_credentials"),
                ("scope", "read"),
                ("resource", audience),
            ],
        )
    }

    /// What access tokens say of a user or a program from now on.
    pub(crate) fn claim_in_access_tokens(&self, whose: &str, claims: &Value) {
        self.control("/access-claims", &json!({ whose: claims }));
    }

    #[track_caller]
    fn token(&self, program: &Client, parameters: &[(&str, &str)]) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", &program.id);
        form.append_pair("client_secret", &program.secret);
        let form = form.extend_pairs(parameters).finish();
        let answer = exchange(
            self.address(),
            format!(
                "POST /token HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                self.issuer.trim_start_matches("http://"),
                form.len()
            ),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    fn address(&self) -> SocketAddr {
        let issuer = Url::parse(&self.issuer).unwrap();
        SocketAddr::from(([127, 0, 0, 1], issuer.port().unwrap()))
    }

    /// Claims these things about a person from now on (`sub` is the person's login).
    pub(crate) fn claim(&self, user: &str, claims: &Value) {
        self.control("/claims", &json!({ user: claims }));
    }

    /// ID and access tokens for this client live that many seconds.
    pub(crate) fn id_token_lifetime(&self, client: &Client, seconds: u32) {
        self.control("/lifetime", &json!({ &client.id: seconds }));
    }

    /// New signing keys; the old ones stay published or do not.
    pub(crate) fn rotate_keys(&self, keep: bool) {
        self.control("/rotate", &json!({ "keep": keep }));
    }

    /// Every token it gave out.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let seen = self.control("/seen", &json!({}));
        let secrets = seen["secrets"].as_array().unwrap();
        secrets
            .iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    }

    fn control(&self, path: &str, body: &Value) -> Value {
        let answer = post(self.control, path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

fn post(address: SocketAddr, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    exchange(
        address,
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            address.port(),
            body.len()
        ),
    )
}

/// A login that no other test uses.
pub(crate) fn new_person(name: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    format!("{name}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
