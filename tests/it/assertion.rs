//! The signed assertion: what an application that verifies sees, by the keys that it fetches itself.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use serde_json::Value;

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, SESSION_KEY, Setup, payload};
use crate::support::wire::get;
use crate::support::{PATIENCE, wait_for};

const USERNAME: &str = "https://api.workflowgen.com/username";
const HEADER: &str = "x-identity-assertion";
const SECRET: &str = "a secret that the application and we share";

/// A fresh private key, made as an operator makes one.
fn key(algorithm: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["keys", "generate", "--algorithm", algorithm])
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn setup(application: &Application, algorithm: &str, key: &str) -> Setup {
    let section = "[upstream.identity.assertion]";
    Setup::new(application)
        .with(section, "algorithm", &format!("{algorithm:?}"))
        .with(section, "key", "{ file = \"assertion\" }")
        .file("assertion", key)
}

fn usual(application: &Application) -> Setup {
    setup(application, "ES256", &key("ES256"))
}

fn jwks(proxy: &Proxy) -> JwkSet {
    let answer = proxy.get("/auth/jwks", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_value(answer.json()).unwrap()
}

fn verified_by(
    jwks: &JwkSet,
    assertion: &str,
    audience: &str,
) -> jsonwebtoken::errors::Result<TokenData<Value>> {
    let header = jsonwebtoken::decode_header(assertion)?;
    let jwk = jwks.find(header.kid.as_deref().unwrap()).expect("its key");
    verified(
        assertion,
        &DecodingKey::from_jwk(jwk)?,
        header.alg,
        audience,
    )
}

/// As an application verifies: the algorithm and the audience are known beforehand.
fn verified(
    assertion: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
    audience: &str,
) -> jsonwebtoken::errors::Result<TokenData<Value>> {
    let mut validation = Validation::new(algorithm);
    validation.leeway = 0;
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    jsonwebtoken::decode(assertion, key, &validation)
}

/// What a request with this cookie carries.
#[track_caller]
fn asserted(proxy: &Proxy, application: &Application, token: &str) -> String {
    let lines = format!("Cookie: wfgen_token={token}\r\n");
    assert_eq!(proxy.get("/page", &lines).status, 200);
    let arrived = application.last();
    arrived.only(HEADER).expect("one assertion").to_owned()
}

/// Every algorithm, each verified by what the application itself can fetch or knows.
#[test]
fn an_application_verifies_who_it_is() {
    for (name, algorithm) in [
        ("ES256", Algorithm::ES256),
        ("EdDSA", Algorithm::EdDSA),
        ("RS256", Algorithm::RS256),
        ("HS256", Algorithm::HS256),
    ] {
        let application = Application::start();
        let secret = match algorithm {
            Algorithm::HS256 => SECRET.to_owned(),
            _ => key(name),
        };
        let proxy = setup(&application, name, &secret)
            .at(Provider::shared())
            .start();
        let user = new_person("asserted");
        let token = proxy.signed_in(&user).cookie("wfgen_token");
        let assertion = asserted(&proxy, &application, &token);
        let published = jwks(&proxy);
        let data = match algorithm {
            Algorithm::HS256 => {
                assert!(published.keys.is_empty(), "{published:?}");
                let key = DecodingKey::from_secret(SECRET.as_bytes());
                verified(&assertion, &key, algorithm, &proxy.public_url)
            }
            _ => verified_by(&published, &assertion, &proxy.public_url),
        };
        let TokenData { header, claims } = data.unwrap();
        assert_eq!(header.alg, algorithm);
        assert_eq!(header.typ.as_deref(), Some("assertion+jwt"));
        let session = payload(&token);
        for same in ["iss", "sub", "sid", USERNAME] {
            assert_eq!(claims[same], session[same], "{same}");
        }
        assert_eq!(claims[USERNAME], user.as_str());
        assert_eq!(claims["aud"], proxy.public_url.as_str());
        let (from, to) = (claims["iat"].as_i64(), claims["exp"].as_i64());
        assert_eq!(to.unwrap() - from.unwrap(), 60);
        assert_ne!(claims["jti"], session["jti"]);
        assert_eq!(claims.as_object().unwrap().len(), 8, "{claims}");
        let log = proxy.log();
        assert!(!log.contains(&assertion), "{log}");
    }
}

/// Many requests over both workers carry one value, and soon after half of its life a new one.
#[test]
fn it_is_made_once_a_session_and_period() {
    let application = Application::start();
    let proxy = usual(&application)
        .with("[upstream.identity.assertion]", "lifetime", "\"4s\"")
        .at(Provider::shared())
        .start();
    let tokens = ["one", "two"].map(|name| {
        let browser = proxy.signed_in(&new_person(name));
        browser.cookie("wfgen_token")
    });
    let values: Vec<BTreeSet<String>> = tokens
        .iter()
        .map(|token| {
            let began = Instant::now();
            let values = (0..40).map(|_| asserted(&proxy, &application, token));
            let values: BTreeSet<_> = values.collect();
            // Half of the life may have ended in between, once.
            assert!(
                values.len() <= 1 + began.elapsed().as_secs() as usize,
                "{values:?}"
            );
            values
        })
        .collect();
    assert!(values[0].is_disjoint(&values[1]));
    let token = &tokens[0];
    let first = asserted(&proxy, &application, token);
    let made = Instant::now();
    let second = wait_for("another assertion", PATIENCE, || {
        let value = asserted(&proxy, &application, token);
        (value != first).then_some(value)
    });
    assert!(made.elapsed() < Duration::from_millis(3500), "{made:?}");
    // The former one was good all that time.
    let [first, second] = [first, second].map(|value| payload(&value));
    assert!(first["exp"].as_i64() > second["iat"].as_i64());
    assert_ne!(first["jti"], second["jti"]);
}

/// It never says more than the session: no assertion outlives the token that it was made from.
#[test]
fn it_does_not_outlive_the_session() {
    let application = Application::start();
    let proxy = usual(&application)
        .with("[session]", "lifetime", "\"20s\"")
        .with("[session]", "refresh", "false")
        .at(Provider::shared())
        .start();
    let token = proxy.signed_in(&new_person("short")).cookie("wfgen_token");
    let assertion = payload(&asserted(&proxy, &application, &token));
    assert_eq!(assertion["exp"], payload(&token)["exp"]);
}

/// A client's own never arrives, in any spelling; where nobody is signed in there is none.
#[test]
fn nobody_else_can_send_one() {
    let application = Application::start();
    let proxy = usual(&application)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let user = new_person("sender");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    let real = asserted(&proxy, &application, &token);
    let spellings = [
        "X-Identity-Assertion",
        "x_identity_assertion",
        "X.Identity--Assertion",
        "X-IDENTITY_ASSERTION",
        "x-identity-assertion-",
    ];
    for spelling in spellings {
        for value in ["evil", &real] {
            let lines = format!("Cookie: wfgen_token={token}\r\n{spelling}: {value}\r\n");
            for (path, expected) in [("/page", 1), ("/open/x", 0)] {
                assert_eq!(proxy.get(path, &lines).status, 200);
                let arrived = application.last();
                let folded = |name: &str| {
                    let letters = name.chars().filter(char::is_ascii_alphanumeric);
                    letters.collect::<String>().to_ascii_lowercase()
                };
                let own = arrived.headers.iter();
                let own: Vec<_> = own
                    .filter(|(name, _)| folded(name) == "xidentityassertion")
                    .collect();
                assert_eq!(own.len(), expected, "{spelling} {path}: {own:?}");
                assert!(own.iter().all(|(_, value)| value != "evil"), "{own:?}");
            }
        }
    }
    assert_eq!(
        proxy
            .get("/page", &format!("{}: {real}\r\n", spellings[0]))
            .status,
        401
    );
}

/// A program's access token brings one for its user, and a machine's brings none.
#[test]
fn access_tokens_bring_one_too() {
    const AUDIENCE: &str = "https://workflow.example.com/wfgen/graphql";
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = usual(&application)
        .with(
            "[[providers]]",
            "access_token_audience",
            &format!("{AUDIENCE:?}"),
        )
        .route("/wfgen/graphql", "bearer", "machine = true")
        .at(provider)
        .start();
    let person = new_person("program");
    proxy.signed_in(&person);
    let program = provider.register_program();
    let token = provider.access_token(&program, &person, AUDIENCE);
    let lines = format!("Authorization: Bearer {token}\r\n{HEADER}: evil\r\n");
    let mut values = BTreeSet::new();
    for _ in 0..20 {
        assert_eq!(proxy.get("/graphql", &lines).status, 200);
        values.insert(application.last().only(HEADER).unwrap().to_owned());
    }
    assert!(values.len() <= 2, "{values:?}");
    let assertion = values.first().unwrap();
    let data = verified_by(&jwks(&proxy), assertion, &proxy.public_url).unwrap();
    assert_eq!(data.claims[USERNAME], person.as_str());
    assert_eq!(data.claims["sub"], payload(&token)["sub"]);
    assert!(data.claims.get("sid").is_none());
    let machine = provider.machine_token(&program, AUDIENCE);
    let lines = format!("Authorization: Bearer {machine}\r\n{HEADER}: evil\r\n");
    assert_eq!(proxy.get("/graphql", &lines).status, 200);
    assert!(application.last().all(HEADER).is_empty());
}

fn rewrite(proxy: &mut Proxy, change: impl Fn(&str) -> String) {
    let path = proxy.file("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    std::fs::write(&path, changed).unwrap();
    proxy.restart();
}

/// The documented rotation: at no step is an assertion under way that the keys of the step before or after do not
/// verify, whichever of the two an application or another node holds.
#[test]
fn keys_are_rotated_without_a_refused_request() {
    let application = Application::start();
    let mut proxy = usual(&application)
        .file("next", &key("ES256"))
        .at(Provider::shared())
        .start();
    let token = proxy
        .signed_in(&new_person("rotated"))
        .cookie("wfgen_token");
    let mut steps = Vec::new();
    let mut note = |proxy: &Proxy| {
        steps.push((asserted(proxy, &application, &token), jwks(proxy)));
    };
    note(&proxy);
    let first = "key = { file = \"assertion\" }";
    rewrite(&mut proxy, |text| {
        text.replace(
            first,
            &format!("{first}\npublished_keys = [{{ file = \"next\" }}]"),
        )
    });
    note(&proxy);
    rewrite(&mut proxy, |text| {
        text.replace("\"assertion\" }", "\"former\" }")
            .replace("\"next\"", "\"assertion\"")
            .replace("\"former\"", "\"next\"")
    });
    note(&proxy);
    rewrite(&mut proxy, |text| {
        text.replace("published_keys = [{ file = \"assertion\" }]", "")
    });
    note(&proxy);
    let kids: Vec<_> = steps
        .iter()
        .map(|(assertion, _)| jsonwebtoken::decode_header(assertion).unwrap().kid.unwrap())
        .collect();
    assert_eq!(kids[0], kids[1]);
    assert_ne!(kids[1], kids[2]);
    assert_eq!(kids[2], kids[3]);
    let published: Vec<_> = steps.iter().map(|(_, keys)| keys.keys.len()).collect();
    assert_eq!(published, [1, 2, 2, 1]);
    for (made, (assertion, _)) in steps.iter().enumerate() {
        for (held, (_, keys)) in steps.iter().enumerate() {
            if made.abs_diff(held) <= 1 {
                let data = verified_by(keys, assertion, &proxy.public_url);
                assert!(data.is_ok(), "step {made} by the keys of {held}: {data:?}");
            }
        }
    }
}

/// A key of its own, an audience, 60 seconds, keys that overlap: what another service's token lacks.
#[test]
fn lesson_26_an_assertion_is_bound() {
    let application = Application::start();
    let section = "[upstream.identity.assertion]";
    // Its own key, or no start: who verifies session tokens could make assertions.
    let shared = setup(&application, "HS256", SESSION_KEY)
        .at(Provider::shared())
        .installed();
    let output = shared.run(&["check"]);
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("among session.keys"), "{told}");
    assert!(!told.contains(SESSION_KEY), "{told}");
    let session_key = key("ES256");
    let proxy = usual(&application)
        .with(section, "audience", "\"urn:reports\"")
        .with(section, "published_keys", "[{ file = \"next\" }]")
        .with("[session]", "algorithm", "\"ES256\"")
        .with(
            "[session]",
            "keys",
            "[{ id = \"1\", secret = { file = \"asymmetric\" } }]",
        )
        .file("asymmetric", &session_key)
        .file("next", &key("ES256"))
        .at(Provider::shared())
        .start();
    let user = new_person("bound");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    let assertion = asserted(&proxy, &application, &token);
    let keys = jwks(&proxy);
    let claims = verified_by(&keys, &assertion, "urn:reports")
        .unwrap()
        .claims;
    assert_eq!(
        claims["exp"].as_i64(),
        claims["iat"].as_i64().map(|at| at + 60)
    );
    // Not for whatever else stands behind the same keys.
    assert!(verified_by(&keys, &assertion, &proxy.public_url).is_err());
    // Not by the session's key, which is at `jwks` too.
    let session = keys.find("1").expect("the session's key");
    let by_session = DecodingKey::from_jwk(session).unwrap();
    assert!(verified(&assertion, &by_session, Algorithm::ES256, "urn:reports").is_err());
    // Nor the other way round: an assertion is no session, and a session token no assertion.
    let lines = format!("Cookie: wfgen_token={assertion}\r\n");
    assert_eq!(proxy.get("/page", &lines).status, 401);
    assert!(verified_by(&keys, &token, "urn:reports").is_err());
    assert_ne!(
        jsonwebtoken::decode_header(&token).unwrap().typ,
        jsonwebtoken::decode_header(&assertion).unwrap().typ
    );
    // Three keys, told apart by `kid`; nothing private.
    let kids: BTreeSet<_> = keys
        .keys
        .iter()
        .filter_map(|key| key.common.key_id.as_ref())
        .collect();
    assert_eq!(kids.len(), 3);
    let text = get(proxy.address, proxy.host(), &proxy.path("/auth/jwks"), "").text();
    assert!(!text.contains("\"d\""), "{text}");
    // With a logout it goes no further: no request carries it.
    application.forget();
    proxy.get("/auth/logout", &format!("Cookie: wfgen_token={token}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n"));
    assert_eq!(
        proxy
            .get("/page", &format!("Cookie: wfgen_token={token}\r\n"))
            .status,
        401
    );
    assert!(application.received().is_empty());
}
