//! The relying party against a provider that lies: every lie is refused, the honest case is let in.

mod client_assertion;
mod discovery;
mod id_token;
mod response;
mod token_request;
mod user_info;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;
use vestibule::config::{
    Adopt, ClientAuthentication, Config, Connector, Directory, FieldRule, IdTokenAlgorithm,
    Identity, Lifetime, Limits, Log, Missing, Provider, PublicUrl, Rename, Secret,
    SelfProvisioning, Server, Session, SessionAlgorithm, SessionKey, Source, Store, Sync, Upstream,
    UpstreamHost, UpstreamServer, UserField, UserInfo, UserStatus,
};
use vestibule::environment::{Clock, SystemClock, SystemRandom, UnixSeconds};
use vestibule::oidc::{
    AuthorizationRequest, AuthorizationResponse, ClaimSet, RelyingParties, RelyingParty,
    ResponseFault, TokenFault, VerifiedTokens, session_claims,
};
use vestibule::sealing::Sealer;

use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, Lie, LyingProvider};

/// The value of the browser's sign-in cookie.
const BINDING: &str = "a browser's sign-in cookie";

/// A provider, the relying party under test, and a browser between them.
struct Journey {
    provider: LyingProvider,
    parties: RelyingParties,
    sealer: Sealer,
    config: Config,
    browser: reqwest::Client,
}

/// Where a sign-in ended.
#[derive(Debug)]
enum Fault {
    Response(ResponseFault),
    Token(TokenFault),
}

impl Journey {
    /// A discovered, honest provider and its relying party.
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(edit: impl FnOnce(&mut Provider)) -> Self {
        Self::configured(|config| edit(&mut config.providers[0])).await
    }

    async fn configured(edit: impl FnOnce(&mut Config)) -> Self {
        let provider = LyingProvider::start().await;
        let mut config = config(provider.issuer(), |_| {});
        edit(&mut config);
        let journey = Self::of(provider, config);
        journey.party().discover_once().await.unwrap();
        journey
    }

    fn undiscovered(provider: LyingProvider, edit: impl FnOnce(&mut Provider)) -> Self {
        let config = config(provider.issuer(), edit);
        Self::of(provider, config)
    }

    fn of(provider: LyingProvider, config: Config) -> Self {
        Self {
            parties: RelyingParties::new(&config).unwrap(),
            sealer: Sealer::new(&config.session),
            browser: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .tls_certs_only([])
                .build()
                .unwrap(),
            provider,
            config,
        }
    }

    fn party(&self) -> &Arc<RelyingParty> {
        self.parties.iter().next().unwrap()
    }

    fn authorization_url(&self, return_to: &str, select_account: bool) -> Url {
        let request = AuthorizationRequest {
            return_to,
            select_account,
            restarts: 0,
            binding: BINDING,
        };
        self.party()
            .authorization_url(&request, &self.sealer, &SystemRandom, now())
            .unwrap()
    }

    /// The query with which the provider sends the browser back.
    async fn callback_query(&self) -> String {
        let url = self.authorization_url("/wfgen/form?id=1", false);
        let answer = self.browser.get(url).send().await.unwrap();
        let back = answer.headers()[http::header::LOCATION].to_str().unwrap();
        let back = Url::parse(back).unwrap();
        assert_eq!(back.path(), "/wfgen/auth/callback");
        back.query().unwrap().to_owned()
    }

    fn receive(&self, query: &str) -> Result<AuthorizationResponse, ResponseFault> {
        self.receive_at(query, now())
    }

    fn receive_at(
        &self,
        query: &str,
        now: UnixSeconds,
    ) -> Result<AuthorizationResponse, ResponseFault> {
        AuthorizationResponse::receive(query, None, Some(BINDING), &self.parties, &self.sealer, now)
    }

    /// A whole sign-in.
    async fn sign_in(&self) -> Result<VerifiedTokens, Fault> {
        let response = self.receive(&self.callback_query().await);
        let response = response.map_err(Fault::Response)?;
        let redeemed = self.party().redeem(&response, &SystemRandom, now()).await;
        redeemed.map_err(Fault::Token)
    }

    /// A sign-in that must fail at the token: the fault.
    async fn token_fault(&self) -> TokenFault {
        match self.sign_in().await {
            Err(Fault::Token(fault)) => {
                let text = format!("{fault} {fault:?}");
                // Nothing personal and no secret in what operators read.
                for secret in ["person-1", "person-2", "eyJ", CLIENT_SECRET] {
                    assert!(!text.contains(secret), "{text}");
                }
                assert!(!text.chars().any(char::is_control), "{text:?}");
                fault
            }
            other => panic!("expected a token fault, found {other:?}"),
        }
    }

    /// A sign-in that a check must refuse: which.
    async fn refusal(&self) -> String {
        match self.token_fault().await {
            TokenFault::Invalid { reason, .. } | TokenFault::UnknownKey { reason, .. } => reason,
            other => panic!("expected a failed check, found {other:?}"),
        }
    }

    fn session_claims(&self, claims: &ClaimSet) -> ClaimSet {
        session_claims(claims, &self.config.providers[0], &self.config.session).unwrap()
    }
}

fn now() -> UnixSeconds {
    SystemClock.now()
}

fn parameters(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// A configuration as the defaults of the reference have it.
fn config(issuer: &str, edit: impl FnOnce(&mut Provider)) -> Config {
    // A second installation in one process changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut provider = provider("lying", issuer);
    edit(&mut provider);
    let secret = |text: &str| SessionKey {
        id: "1".to_owned(),
        secret: Secret::new(text),
    };
    Config {
        path: PathBuf::from("proxy.toml"),
        server: server(),
        upstream: upstream(),
        providers: vec![provider],
        session: Session {
            cookie: "wfgen_token".to_owned(),
            keys: vec![secret("0123456789abcdef0123456789abcdef")],
            sealing_keys: vec![secret("fedcba9876543210fedcba9876543210")],
            claims: None,
            algorithm: SessionAlgorithm::HS256,
            issuer: "https://workflow.example.com/wfgen/auth".to_owned(),
            audience: "https://workflow.example.com/wfgen".to_owned(),
            username_claim: "https://api.workflowgen.com/username".to_owned(),
            lifetime: Lifetime::IdToken,
            max_lifetime: Duration::from_secs(86_400),
            same_site_none: false,
            trusted_origins: Vec::new(),
            idle_timeout: None,
            refresh: true,
            kept_form_size: 0,
            kept_form_lifetime: Duration::from_secs(900),
        },
        store: Store {
            place: vestibule::config::StorePlace::Sqlite("vestibule.db".into()),
            audit_retention: Duration::from_secs(86_400),
        },
        access: Vec::new(),
        directories: vec![directory()],
        routes: Vec::new(),
        admin: None,
        log: Log {
            json: false,
            level: "info".to_owned(),
            access: true,
        },
        warnings: Vec::new(),
    }
}

fn provider(name: &str, issuer: &str) -> Provider {
    Provider {
        name: name.to_owned(),
        issuer: vestibule::config::Issuer::one(issuer),
        client_id: CLIENT_ID.to_owned(),
        client_secret: Some(Secret::new(CLIENT_SECRET)),
        client_authentication: ClientAuthentication::Basic,
        private_key: None,
        subject_claim: "sub".to_owned(),
        scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        username_claim: "preferred_username".to_owned(),
        trust_email: false,
        user_info: UserInfo::Never,
        authorization_parameters: Vec::new(),
        algorithms: vec![
            IdTokenAlgorithm::RS256,
            IdTokenAlgorithm::ES256,
            IdTokenAlgorithm::EdDSA,
        ],
        clock_skew: Duration::from_secs(30),
        end_provider_session: true,
        ca: None,
        access_token_audience: Some("https://api.example/graphql".to_owned()),
        access_token_username_claim: "com.workflowgen.api.username".to_owned(),
    }
}

fn server() -> Server {
    Server {
        public_url: PublicUrl {
            https: true,
            authority: "workflow.example.com".to_owned(),
            base: "/wfgen".to_owned(),
        },
        redirect_listen: Vec::new(),
        tls: None,
        hsts: None,
        listen: Vec::new(),
        auth_path: "/auth".to_owned(),
        workers: 1,
        aliases: Vec::new(),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        drain_delay: Duration::ZERO,
        shutdown_grace: Duration::from_secs(20),
        limits: Limits {
            connections: 20_000,
            header_size: 32 * 1024,
            body_size: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
        },
    }
}

fn upstream() -> Upstream {
    Upstream {
        servers: vec![UpstreamServer {
            https: false,
            host: "127.0.0.1".to_owned(),
            port: 8081,
        }],
        host: UpstreamHost::Public,
        connect_timeout: Duration::from_secs(3),
        response_timeout: Duration::from_secs(120),
        health_path: None,
        ca: None,
        forward_authorization: true,
        identity: Identity {
            user_header: http::HeaderName::from_static("x-forwarded-user"),
            forward_session_cookie: true,
            headers: Vec::new(),
            strip: Vec::new(),
            assertion: None,
        },
    }
}

fn directory() -> Directory {
    let claims = |names: &[&str]| FieldRule {
        source: Source::Claims(names.iter().map(|name| (*name).to_owned()).collect()),
        sync: Sync::Always,
        missing: Missing::Keep,
    };
    Directory {
        name: "SELF_PROVISIONING".to_owned(),
        description: String::new(),
        providers: Vec::new(),
        reserved_usernames: Vec::new(),
        push: Vec::new(),
        connector: Connector::SelfProvisioning(SelfProvisioning {
            when: None,
            rename: Rename::Follow,
            create: true,
            update: true,
            adopt: Adopt::Never,
            new_user_status: UserStatus::Active,
            max_users: None,
            mapping: vec![
                (
                    UserField::Username,
                    claims(&["https://api.workflowgen.com/username"]),
                ),
                (UserField::Name, claims(&["family_name"])),
            ],
        }),
    }
}

#[tokio::test]
async fn an_honest_provider_signs_people_in() {
    let journey = Journey::start().await;
    journey.provider.set_lifetime(7200);
    let name = "https://example.com/claim";
    journey
        .provider
        .set_claims(json!({"preferred_username": "alice", name: [1, "x"]}));
    let tokens = journey.sign_in().await.unwrap();
    let claims = &tokens.claims;
    assert_eq!(claims.provider(), "lying");
    assert_eq!(claims.issuer(), journey.provider.issuer());
    assert_eq!(claims.subject(), "person-1");
    assert!((now() + 7100..now() + 7300).contains(&claims.expires_at()));
    assert_eq!(claims.set()["preferred_username"], "alice");
    assert_eq!(claims.set()[name], json!([1, "x"]));
    assert_eq!(claims.set()["aud"], CLIENT_ID);
    let text = std::str::from_utf8(tokens.id_token.expose()).unwrap();
    assert_eq!(text.split('.').count(), 3);
    assert!(!format!("{:?}", tokens.id_token).contains(text));
    assert_eq!(
        journey.provider.authorization()["nonce"],
        claims.set()["nonce"]
    );
    assert_eq!(journey.provider.complaints(), Vec::<String>::new());
    let asked = journey.provider.requests();
    assert_eq!((asked.token, asked.jwks, asked.user_info), (1, 1, 0));
}

/// Sign-ins run on a runtime of many threads.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_tabs_sign_in_at_once() {
    let journey = Arc::new(Journey::start().await);
    let tabs: Vec<_> = (0..20)
        .map(|_| {
            let journey = Arc::clone(&journey);
            tokio::spawn(async move { journey.sign_in().await.unwrap() })
        })
        .collect();
    for tab in tabs {
        tab.await.unwrap();
    }
    assert_eq!(journey.provider.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn the_session_claims_are_the_providers_without_protocol_and_ours() {
    let journey = Journey::start().await;
    let username = "https://api.workflowgen.com/username";
    let sent = json!({
        "preferred_username": "alice", "family_name": "Liddell", "groups": ["a", {"b": 1}],
        "sid": "theirs", "jti": "theirs", "user": {"username": "root"}, username: "root",
        "aud": [CLIENT_ID], "azp": CLIENT_ID, "nbf": 1, "at_hash": "x", "c_hash": "x", "s_hash": "x",
        "control": "a\u{0}\r\nb",
    });
    journey.provider.set_claims(sent.clone());
    let tokens = journey.sign_in().await.unwrap();
    let copied = journey.session_claims(tokens.claims.set());
    let names: Vec<&str> = copied.keys().map(String::as_str).collect();
    let expected = [
        "control",
        "family_name",
        "groups",
        username,
        "nonce",
        "preferred_username",
        "sub",
    ];
    assert_eq!(names, expected);
    assert_eq!(copied[username], "alice");
    assert_eq!(copied["sub"], "person-1");
    assert_eq!(copied["groups"], sent["groups"]);
    assert_eq!(copied["control"], sent["control"]);
}

#[test]
fn the_username_may_be_the_claim_that_we_set_ourselves() {
    let mut config = config("http://127.0.0.1:1", |_| {});
    let ours = config.session.username_claim.clone();
    config.providers[0].username_claim.clone_from(&ours);
    let claims = |value: Value| match value {
        Value::Object(claims) => claims,
        _ => unreachable!(),
    };
    let set = claims(json!({ours.as_str(): "alice"}));
    let copied = session_claims(&set, &config.providers[0], &config.session).unwrap();
    assert_eq!(copied[&ours], "alice");
    let copied = session_claims(&claims(json!({})), &config.providers[0], &config.session);
    assert_eq!(copied.unwrap(), claims(json!({})));
}

#[test]
fn an_email_address_is_a_username_only_when_it_is_verified() {
    let mut config = config("http://127.0.0.1:1", |provider| {
        provider.username_claim = "email".to_owned();
    });
    let copied = |config: &Config, value: Value| {
        let set = value.as_object().unwrap();
        session_claims(set, &config.providers[0], &config.session)
    };
    let ours = config.session.username_claim.clone();
    for verified in [json!(true), json!("true")] {
        let sent = json!({"email": "a@example.com", "email_verified": verified});
        assert_eq!(copied(&config, sent).unwrap()[&ours], "a@example.com");
    }
    for unverified in [
        json!(false),
        json!("false"),
        json!(null),
        json!(1),
        json!("TRUE"),
    ] {
        let sent = json!({"email": "a@example.com", "email_verified": unverified});
        let fault = copied(&config, sent).unwrap_err().to_string();
        assert!(fault.contains("lying") && !fault.contains("a@example.com"));
    }
    assert!(copied(&config, json!({"email": "a@example.com"})).is_err());
    assert_eq!(
        copied(&config, json!({"name": "a"})).unwrap().get(&ours),
        None
    );
    config.providers[0].trust_email = true;
    let sent = json!({"email": "a@example.com"});
    assert_eq!(copied(&config, sent).unwrap()[&ours], "a@example.com");
}

#[test]
fn a_setup_that_no_retry_mends_is_told_at_once() {
    for pem in ["not PEM", ""] {
        let config = config("https://id.example.com", |provider| {
            provider.ca = Some(pem.as_bytes().to_vec());
        });
        let fault = RelyingParties::new(&config).err().unwrap();
        assert_eq!(fault.provider, "lying");
        assert!(
            fault.reason.starts_with("ca: expected a PEM file"),
            "{fault}"
        );
    }
    let config = config("http://127.0.0.1:1", |provider| {
        provider.client_secret = Some(Secret::new([0xff, 0xfe]));
    });
    let fault = RelyingParties::new(&config).err().unwrap();
    assert!(fault.reason.starts_with("client_secret"), "{fault}");
}
