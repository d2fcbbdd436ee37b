//! The demo's provider by itself, to the letter of its specifications.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use url::Url;

use vestibule::demo::provider::{Client, Provider};
use vestibule::environment::{Clock, SystemClock, SystemRandom, UnixSeconds};

use super::claims_in;
use crate::support::browser::{Browser, Page};
use crate::support::wire::{Answer, exchange, get};

const CALLBACK: &str = "http://127.0.0.1:1/wfgen/auth/callback";
const SIGNED_OUT: &str = "http://127.0.0.1:1/wfgen/auth/logout/return";
const SECRET: &str = "s3cret/+%: of the client";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

/// The machine's clock, put forward by hand.
struct Forward(AtomicI64);

impl Clock for Forward {
    fn now(&self) -> UnixSeconds {
        SystemClock.now() + self.0.load(Ordering::Relaxed)
    }
}

struct World {
    _runtime: Runtime,
    provider: Provider,
    at: SocketAddr,
    clock: Arc<Forward>,
}

impl World {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let clock = Arc::new(Forward(AtomicI64::new(0)));
        let client = Client {
            id: "the client".into(),
            secret: SECRET.into(),
            redirect_uri: Url::parse(CALLBACK).unwrap(),
            post_logout_redirect_uri: Url::parse(SIGNED_OUT).unwrap(),
        };
        let (provider, at) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let random = Arc::new(SystemRandom);
            let provider = Provider::serve(vec![listener], client, clock.clone(), random);
            (provider.unwrap(), at)
        });
        Self {
            _runtime: runtime,
            provider,
            at,
            clock,
        }
    }

    fn get(&self, target: &str) -> Answer {
        get(self.at, "localhost", target, "")
    }

    /// An authorization request with these parameters changed; an empty value leaves one out.
    fn authorization(&self, changes: &[(&str, &str)]) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let mut parameters: Vec<(&str, &str)> = vec![
            ("client_id", "the client"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid profile"),
            ("state", "a&b"),
            ("nonce", "n"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in changes {
            parameters.retain(|(other, _)| other != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        let mut url = Url::parse(&format!("{}/authorize", self.provider.issuer())).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    /// A browser that stops where it would come back to the client.
    fn browser(&self) -> Browser {
        let mut browser = Browser::new();
        browser.stop_before("http://127.0.0.1:1/");
        browser
    }

    fn form(&self, browser: &Browser) -> Page {
        let page = browser.navigate(&self.authorization(&[]));
        assert_eq!(page.answer.status, 200, "{}", page.answer.text());
        page
    }

    /// Signs in with the claims that the form suggests.
    fn code(&self) -> String {
        let browser = self.browser();
        let form = self.form(&browser);
        let claims = claims_in(&form);
        let signed_in = browser.fill_in(&form, &[("user_name", "ada"), ("claims", &claims)]);
        sent_back(&signed_in.answer)["code"].clone()
    }

    fn redeem(&self, changes: &[(&str, &str)], authorization: Option<(&str, &str)>) -> Answer {
        let mut form: Vec<(&str, &str)> = vec![
            ("grant_type", "authorization_code"),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changes {
            form.retain(|(other, _)| other != name);
            form.push((name, value));
        }
        let lines = authorization.map_or_else(String::new, |(id, secret)| {
            let encoded = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
            };
            let pair = format!("{}:{}", encoded(id), encoded(secret));
            format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
        });
        self.post("/token", &form, &lines)
    }

    fn post(&self, target: &str, form: &[(&str, &str)], lines: &str) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let length = body.len();
        exchange(
            self.at,
            format!(
                "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    }

    fn user_info(&self, token: &str) -> Answer {
        let lines = format!("Authorization: Bearer {token}\r\n");
        get(self.at, "localhost", "/userinfo", &lines)
    }
}

/// The parameters that came back to the client.
fn sent_back(answer: &Answer) -> HashMap<String, String> {
    let location = answer
        .header("location")
        .unwrap_or_else(|| panic!("{}", answer.text()));
    assert!(location.starts_with(CALLBACK), "{location}");
    Url::parse(location)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

#[test]
fn the_provider_signs_in_and_its_id_token_verifies() {
    let world = World::start();
    let issuer = world.provider.issuer();
    let metadata = world.get("/.well-known/openid-configuration").json();
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["token_endpoint"], format!("{issuer}/token"));

    let browser = world.browser();
    let form = world.form(&browser);
    let claims = claims_in(&form);
    let signed_in = browser.fill_in(
        &form,
        &[
            ("user_name", "ada.lovelace@example.com"),
            ("claims", &claims),
        ],
    );
    let back = sent_back(&signed_in.answer);
    assert_eq!(
        (back["state"].as_str(), back["iss"].as_str()),
        ("a&b", issuer)
    );

    let answer = world.redeem(&[("code", &back["code"])], Some(("the client", SECRET)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = answer.json();
    let id_token = tokens["id_token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(id_token).unwrap();
    let jwks: jsonwebtoken::jwk::JwkSet =
        serde_json::from_value(world.get("/jwks").json()).unwrap();
    let jwk = jwks.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&["the client"]);
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let verified = jsonwebtoken::decode::<Map<String, Value>>(id_token, &key, &validation);
    let verified = verified.unwrap().claims;
    assert_eq!(verified["nonce"], "n");
    assert_eq!(verified["given_name"], "Ada");
    assert_eq!(verified["email_verified"], true);
    let access_token = tokens["access_token"].as_str().unwrap();
    let hash = digest(&SHA256, access_token.as_bytes());
    assert_eq!(
        verified["at_hash"],
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
    );

    let info = world.user_info(access_token).json();
    assert_eq!(info["sub"], verified["sub"]);
    assert_eq!(world.user_info("another").status, 401);
}

#[test]
fn the_token_endpoint_refuses_what_does_not_fit() {
    let world = World::start();
    let ours = Some(("the client", SECRET));
    let error = |answer: Answer| {
        (
            answer.status,
            answer.json()["error"].as_str().unwrap().to_owned(),
        )
    };
    let invalid_client = (401, "invalid_client".to_owned());
    let invalid_grant = (400, "invalid_grant".to_owned());

    let code = world.code();
    let refused = world.redeem(&[("code", &code)], Some(("the client", "wrong")));
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .starts_with("Basic")
    );
    assert_eq!(error(refused), invalid_client);
    assert_eq!(
        error(world.redeem(&[("code", &code)], Some(("other", SECRET)))),
        invalid_client
    );
    assert_eq!(
        error(world.redeem(&[("code", &code)], None)),
        invalid_client
    );
    let posted = [
        ("code", code.as_str()),
        ("client_id", "the client"),
        ("client_secret", SECRET),
    ];
    assert_eq!(
        error(world.redeem(&posted, ours)),
        (400, "invalid_request".into())
    );
    // None of them used the code up.
    assert_eq!(world.redeem(&posted, None).status, 200);

    for change in [
        (
            "code_verifier",
            "another-verifier-of-forty-three-characters-or-so",
        ),
        ("code_verifier", ""),
        ("redirect_uri", "http://127.0.0.1:1/other"),
    ] {
        let code = world.code();
        assert_eq!(
            error(world.redeem(&[("code", &code), change], ours)),
            invalid_grant,
            "{change:?}"
        );
    }
    let wrong_type = [("code", "x"), ("grant_type", "password")];
    assert_eq!(
        error(world.redeem(&wrong_type, ours)),
        (400, "unsupported_grant_type".into())
    );
}

#[test]
fn a_code_is_good_once_and_for_a_minute() {
    let world = World::start();
    let ours = Some(("the client", SECRET));
    let code = world.code();
    let first = world.redeem(&[("code", &code)], ours).json();
    let access_token = first["access_token"].as_str().unwrap();
    assert_eq!(world.user_info(access_token).status, 200);
    let replayed = world.redeem(&[("code", &code)], ours);
    assert_eq!(replayed.json()["error"], "invalid_grant");
    assert_eq!(
        world.user_info(access_token).status,
        401,
        "the replay takes the token back"
    );

    let code = world.code();
    world.clock.0.store(61, Ordering::Relaxed);
    let late = world.redeem(&[("code", &code)], ours);
    assert_eq!(late.json()["error"], "invalid_grant");
}

#[test]
fn an_unsound_authorization_request_is_refused() {
    let world = World::start();
    for change in [
        ("client_id", "other"),
        ("redirect_uri", "http://127.0.0.1:1/evil"),
    ] {
        let answer = world.browser().visit(&world.authorization(&[change]));
        assert_eq!(
            (answer.status, answer.header("location")),
            (400, None),
            "{change:?}"
        );
    }
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "profile"), "invalid_scope"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("request", "x"), "request_not_supported"),
        (("prompt", "none"), "login_required"),
        (("prompt", "none login"), "invalid_request"),
    ] {
        let back = sent_back(&world.browser().visit(&world.authorization(&[change])));
        assert_eq!(
            (back["error"].as_str(), back["state"].as_str()),
            (error, "a&b"),
            "{change:?}"
        );
    }
    let twice = format!("{}&nonce=m", world.authorization(&[]));
    assert_eq!(
        sent_back(&world.browser().visit(&twice))["error"],
        "invalid_request"
    );
}

#[test]
fn claims_that_are_no_json_come_back_with_a_message_and_are_escaped() {
    let world = World::start();
    let browser = world.browser();
    let form = world.form(&browser);
    let hostile = "{\"</textarea><script>alert(1)</script>\": \"&quot;\"";
    let page = browser.fill_in(
        &form,
        &[("user_name", "\"><script>x</script>"), ("claims", hostile)],
    );
    assert_eq!(page.answer.status, 422);
    let html = page.answer.text();
    assert!(html.contains("The claims are no JSON") && html.contains("role=\"alert\""));
    assert!(
        !html.contains("<script") && html.matches("</textarea>").count() == 1,
        "{html}"
    );
    assert!(html.contains("&lt;/textarea&gt;&lt;script&gt;"), "{html}");
    // Mended, it goes on.
    let mended = "{\"sub\": \"x\"}";
    let signed_in = browser.fill_in(&page, &[("user_name", "x"), ("claims", mended)]);
    assert!(sent_back(&signed_in.answer).contains_key("code"));
}

#[test]
fn another_user_name_takes_the_unedited_claims_along() {
    let world = World::start();
    let browser = world.browser();
    let form = world.form(&browser);
    let claims = claims_in(&form).replace("Engineering", "Navigation");
    let signed_in = browser.fill_in(&form, &[("user_name", "grace.hopper"), ("claims", &claims)]);
    let code = &sent_back(&signed_in.answer)["code"];
    let tokens = world
        .redeem(&[("code", code)], Some(("the client", SECRET)))
        .json();
    let info = world
        .user_info(tokens["access_token"].as_str().unwrap())
        .json();
    assert_eq!(info["preferred_username"], "grace.hopper");
    assert_eq!(info["family_name"], "Hopper");
    assert_eq!(info["department"], "Navigation");
}

#[test]
fn the_provider_remembers_until_it_is_asked_to_forget() {
    let world = World::start();
    let browser = world.browser();
    let form = world.form(&browser);
    let claims = claims_in(&form);
    let filled = [("user_name", "ada"), ("claims", claims.as_str())];
    let code = sent_back(&browser.fill_in(&form, &filled).answer)["code"].clone();
    let tokens = world
        .redeem(&[("code", &code)], Some(("the client", SECRET)))
        .json();

    let silent = browser.visit(&world.authorization(&[]));
    assert!(sent_back(&silent).contains_key("code"));
    for prompt in ["login", "select_account"] {
        let asked = browser.visit(&world.authorization(&[("prompt", prompt)]));
        assert_eq!(asked.status, 200, "{prompt}");
    }
    let fresh_only = browser.visit(&world.authorization(&[("max_age", "0")]));
    world.clock.0.store(5, Ordering::Relaxed);
    let too_old = browser.visit(&world.authorization(&[("max_age", "1")]));
    assert_eq!((fresh_only.status, too_old.status), (303, 200));

    let mut logout = Url::parse(&format!("{}/logout", world.provider.issuer())).unwrap();
    logout.query_pairs_mut().extend_pairs([
        ("id_token_hint", tokens["id_token"].as_str().unwrap()),
        ("post_logout_redirect_uri", SIGNED_OUT),
    ]);
    let gone = browser.visit(logout.as_str());
    assert_eq!(gone.header("location"), Some(SIGNED_OUT));
    assert_eq!(browser.visit(&world.authorization(&[])).status, 200);

    for (hint, to) in [
        ("forged.token.x", SIGNED_OUT),
        (tokens["id_token"].as_str().unwrap(), "http://evil.example/"),
    ] {
        logout.set_query(None);
        logout
            .query_pairs_mut()
            .extend_pairs([("id_token_hint", hint), ("post_logout_redirect_uri", to)]);
        let stays = browser.visit(logout.as_str());
        assert_eq!(
            (stays.status, stays.header("location")),
            (200, None),
            "{to}"
        );
    }
}

#[test]
fn a_no_is_told_to_the_client() {
    let world = World::start();
    let browser = world.browser();
    let form = world.form(&browser);
    let back = sent_back(&browser.fill_in(&form, &[("action", "refuse")]).answer);
    assert_eq!(back["error"], "access_denied");
}

#[test]
fn the_login_form_is_sent_from_its_own_page_only() {
    let world = World::start();
    let answer = world.post(
        "/login",
        &[("user_name", "a")],
        "Sec-Fetch-Site: cross-site\r\n",
    );
    assert_eq!(answer.status, 403);
    let rebound = get(world.at, "attacker.example", "/jwks", "");
    assert_eq!(rebound.status, 421);
}

#[test]
fn the_provider_is_not_served_off_loopback() {
    let runtime = Runtime::new().unwrap();
    let refused = runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let client = Client {
            id: String::new(),
            secret: String::new(),
            redirect_uri: Url::parse(CALLBACK).unwrap(),
            post_logout_redirect_uri: Url::parse(SIGNED_OUT).unwrap(),
        };
        Provider::serve(
            vec![listener],
            client,
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
        )
        .err()
    });
    assert!(refused.unwrap().to_string().contains("loopback only"));
}
