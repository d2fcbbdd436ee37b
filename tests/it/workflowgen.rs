//! WorkflowGen's side, with the module of `integrations/workflowgen` in a real ASP.NET pipeline: who signs
//! in at a certified provider is that user to a page of the application, and whoever forges is nobody.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::asp_net::{AspNet, Site};
use crate::support::browser::Sending;
use crate::support::chromium::Chromium;
use crate::support::lying_provider::{CURVE, FIRST, FOREIGN, SigningKey};
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{SESSION_KEY, Setup, payload};
use crate::support::wire::{Answer, Wire, get};

const PUBLIC_URL: &str = "https://workflow.example.com/wfgen";
const ASSERTION_KEY: &str = "a secret of assertions, of 32 bytes and more too";
const USERNAME: &str = "https://api.workflowgen.com/username";
const PAGE: &str = "/wfgen/who.aspx";

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// What a genuine session token says, apart from what nobody looks at.
fn claims() -> Value {
    json!({
        "iss": format!("{PUBLIC_URL}/auth"), "aud": PUBLIC_URL, "sub": "s", "iat": now(),
        "exp": now() + 600, USERNAME: "ada", "sid": "s", "jti": "j",
    })
}

/// The claims with one replaced, or removed where it is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let all = claims.as_object_mut().unwrap();
    match value {
        Value::Null => all.remove(name),
        value => all.insert(name.to_owned(), value),
    };
    claims
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn jwt(header: &Value, payload: impl AsRef<[u8]>, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", part(header.to_string()), part(payload));
    format!("{signed}.{}", part(sign(signed.as_bytes())))
}

fn mac(algorithm: hmac::Algorithm, secret: &str, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

/// HS256 by that secret.
fn hs256(header: &Value, payload: impl AsRef<[u8]>, secret: &str) -> String {
    jwt(header, payload, |message| {
        mac(hmac::HMAC_SHA256, secret, message)
    })
}

/// A session token with these claims, genuinely signed.
fn session(claims: &Value) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": "1"});
    hs256(&header, claims.to_string(), SESSION_KEY)
}

/// An assertion with these claims, signed by that secret.
fn assertion(claims: &Value, secret: &str) -> String {
    let header = json!({"alg": "HS256", "typ": "assertion+jwt", "kid": "a"});
    hs256(&header, claims.to_string(), secret)
}

/// An assertion with these claims, signed by that key.
fn assertion_by(claims: &Value, key: &SigningKey, kid: &str) -> String {
    let header = json!({"alg": key.algorithm(), "typ": "assertion+jwt", "kid": kid});
    jwt(&header, claims.to_string(), |message| key.sign(message))
}

fn asked(address: SocketAddr, page: &str, lines: &str) -> Answer {
    get(address, "127.0.0.1", page, lines)
}

fn with_cookie(address: SocketAddr, token: &str) -> Answer {
    let line = format!("Cookie: other=1; wfgen_token={token}\r\n");
    asked(address, PAGE, &line)
}

/// The application greets that user, and knows them by the name that WorkflowGen reads.
#[track_caller]
fn greets(answer: &Answer, username: &str) {
    let page = answer.text();
    assert_eq!(answer.status, 200, "{page}");
    for element in [format!("<b>{username}</b>"), format!("<i>{username}</i>")] {
        assert!(page.contains(&element), "{element} in {page}");
    }
}

/// The module refuses, says why in these words, and nothing else ran.
#[track_caller]
fn refuses(answer: &Answer, reason: &str) {
    let page = answer.text();
    assert_eq!(answer.status, 401, "{reason}: {page}");
    assert!(page.contains(reason), "{reason:?} in {page}");
    assert!(!page.contains("<html>"), "the page ran: {page}");
    assert_eq!(answer.header("www-authenticate"), Some("Cookie"));
    let caching = answer.header("cache-control").unwrap_or_default();
    assert!(caching.contains("no-store"), "{caching}");
}

fn in_front_of(public_url: &str) -> AspNet {
    AspNet::start(&[Site {
        path: "/wfgen",
        settings: &[
            ("VestibulePublicUrl", public_url),
            ("VestibuleSessionSecretFile", "secret"),
        ],
        // The line's end that an editor adds is none of the secret.
        files: &[("secret", &format!("{SESSION_KEY}\r\n"))],
    }])
}

#[test]
fn who_signs_in_through_the_proxy_is_that_user_to_an_asp_net_page() {
    let nobody = Application::start();
    let provider = Provider::shared();
    let setup = Setup::new(&nobody).at(provider);
    let mono = in_front_of(&setup.public_url());
    let servers = format!("[\"http://{}\"]", mono.address);
    let proxy = setup.with("[upstream]", "servers", &servers).start();
    let person = new_person("zoe");
    let username = format!("{person}.hopper@example.com");
    provider.claim(
        &person,
        &json!({"preferred_username": username, "family_name": "Hopper", "given_name": "Zoë"}),
    );

    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/who.aspx"), &person);
    greets(&page.answer, &username);

    // The same address past the proxy knows nobody, unless it brings the token.
    refuses(&asked(mono.address, PAGE, ""), "nothing that says who");
    let forged = "X-Forwarded-User: administrator\r\nX-Identity-Assertion: administrator\r\n";
    refuses(&asked(mono.address, PAGE, forged), "nothing that says who");
    let token = browser.cookie("wfgen_token");
    greets(&with_cookie(mono.address, &token), &username);

    // A genuine token with another name in it.
    let mut replaced = payload(&token);
    replaced[USERNAME] = "administrator".into();
    let parts: Vec<_> = token.split('.').collect();
    let replaced = format!("{}.{}.{}", parts[0], part(replaced.to_string()), parts[2]);
    refuses(&with_cookie(mono.address, &replaced), "signature");

    let later = proxy.url("/who.aspx?later");
    greets(&browser.visit(&later), &username);
    browser.navigate(&proxy.url("/auth/logout"));
    let visited = browser.visit(&later);
    assert_eq!(visited.status, 302, "{}", visited.text());
}

/// The chain as a person sees it; with SHOW set it stays up, to be looked at.
#[test]
fn a_browser_shows_an_asp_net_page_with_the_users_name() {
    let nobody = Application::start();
    let setup = Setup::new(&nobody).at(Provider::shared());
    let mono = in_front_of(&setup.public_url());
    let servers = format!("[\"http://{}\"]", mono.address);
    let proxy = setup.with("[upstream]", "servers", &servers).start();
    let (url, person) = (proxy.url("/who.aspx"), new_person("katherine"));
    let mut browser = Chromium::start();
    let tab = browser.open(&url);
    browser.sign_in(tab, &person);
    browser.arrive(tab, &url);
    let shown = browser.look(tab);
    assert!(shown.text.contains(&format!("User: {person}")), "{shown:?}");
    if std::env::var_os("SHOW").is_some() {
        println!("provider     {}", Provider::shared().issuer);
        println!("Vestibule    {}", proxy.public_url);
        println!("ASP.NET      http://{}/wfgen", mono.address);
        println!("Open {url} and sign in with any name; Enter ends it.");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}

#[test]
fn the_proxys_assertion_names_the_user_without_any_cookie() {
    let nobody = Application::start();
    let provider = Provider::shared();
    let setup = Setup::new(&nobody)
        .at(provider)
        .with("[upstream.identity]", "session_cookie", "\"strip\"")
        .with("[upstream.identity.assertion]", "algorithm", "\"HS256\"")
        .with(
            "[upstream.identity.assertion]",
            "key",
            "{ file = \"assertion\" }",
        )
        .file("assertion", ASSERTION_KEY);
    let mono = AspNet::start(&[Site {
        path: "/wfgen",
        settings: &[
            ("VestibulePublicUrl", &setup.public_url()),
            ("VestibuleTrust", "assertion"),
            ("VestibuleAssertionAlgorithm", "HS256"),
            ("VestibuleAssertionSecretFile", "assertion"),
        ],
        files: &[("assertion", ASSERTION_KEY)],
    }]);
    let servers = format!("[\"http://{}\"]", mono.address);
    let proxy = setup.with("[upstream]", "servers", &servers).start();
    let person = new_person("grace");
    provider.claim(
        &person,
        &json!({"preferred_username": person, "family_name": "Hopper"}),
    );
    let browser = proxy.browser();
    let page = browser.sign_in(&proxy.url("/who.aspx"), &person);
    greets(&page.answer, &person);
    // The session token itself opens nothing here, nor does a forged assertion through the proxy.
    let token = browser.cookie("wfgen_token");
    let line = format!("X-Identity-Assertion: {token}\r\n");
    refuses(&asked(mono.address, PAGE, &line), "type");
    let forged = Sending::by_person(&proxy.url("/who.aspx")).with("X-Identity-Assertion", &token);
    greets(&browser.send(&forged), &person);
}

#[test]
fn no_token_but_a_genuine_one_is_anybody() {
    let mut mono = in_front_of(PUBLIC_URL);
    let genuine = session(&claims());
    greets(&with_cookie(mono.address, &genuine), "ada");
    for (claims, username) in [
        (with("exp", json!(now() - 10)), "ada"),
        (with("nbf", json!(now() + 10)), "ada"),
        (
            with("aud", json!(["https://other.example.com", PUBLIC_URL])),
            "ada",
        ),
        (
            with(USERNAME, json!("DOMAIN\\Zoë <&>")),
            "DOMAIN\\Zo&#235; &lt;&amp;&gt;",
        ),
    ] {
        greets(&with_cookie(mono.address, &session(&claims)), username);
    }
    // Of several cookies the first that verifies counts.
    let both = format!("x; wfgen_token={genuine}");
    greets(&with_cookie(mono.address, &both), "ada");

    for (what, token, reason) in forgeries(&genuine) {
        let answer = with_cookie(mono.address, &token);
        assert!(answer.status == 401, "{what}: {}", answer.text());
        refuses(&answer, reason);
    }
    assert!(mono.runs());
    greets(&with_cookie(mono.address, &genuine), "ada");
}

/// Tokens that are none, each with what is wrong and the words that tell it.
fn forgeries(genuine: &str) -> Vec<(&'static str, String, &'static str)> {
    let mut all = wrong_signatures(genuine);
    all.extend(wrong_claims());
    all
}

fn wrong_signatures(genuine: &str) -> Vec<(&'static str, String, &'static str)> {
    let parts: Vec<_> = genuine.split('.').collect();
    let said = claims().to_string();
    let none = |alg: &str| jwt(&json!({"alg": alg, "typ": "JWT"}), &said, |_| Vec::new());
    let by = |header: Value| hs256(&header, &said, SESSION_KEY);
    let hs512 = |message: &[u8]| mac(hmac::HMAC_SHA512, SESSION_KEY, message);
    let rs256 = json!({"alg": "RS256", "typ": "JWT", "kid": "1"});
    let own_key = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": part("a foreign key of 32 bytes or more")}});
    let last = if genuine.ends_with('A') { "E" } else { "A" };
    // The same signature, spelt with bits that belong to none of its bytes.
    let spelt = char::from(genuine.as_bytes()[genuine.len() - 1] + 1);
    let cut = &genuine[..genuine.len() - 1];
    vec![
        ("empty", String::new(), "empty"),
        ("no token", "administrator".into(), "three parts"),
        (
            "two parts",
            format!("{}.{}", parts[0], parts[1]),
            "three parts",
        ),
        ("four parts", format!("{genuine}.x"), "three parts"),
        ("nothing in the parts", "..".into(), "JSON"),
        (
            "no base64url",
            format!("{}.%.{}", parts[0], parts[2]),
            "signature",
        ),
        ("padded", format!("{genuine}="), "base64url"),
        (
            "too long",
            format!("{genuine}{}", "A".repeat(17_000)),
            "longer",
        ),
        (
            "foreign key",
            hs256(
                &json!({"alg": "HS256"}),
                &said,
                "a foreign key of 32 bytes or more",
            ),
            "signature",
        ),
        (
            "the key cut",
            hs256(&json!({"alg": "HS256"}), &said, &SESSION_KEY[..32]),
            "signature",
        ),
        (
            "its own key",
            hs256(&own_key, &said, "a foreign key of 32 bytes or more"),
            "signature",
        ),
        ("alg none", none("none"), "algorithm"),
        ("alg None", none("None"), "algorithm"),
        ("alg none, signed", by(json!({"alg": "none"})), "algorithm"),
        ("no alg", by(json!({"typ": "JWT"})), "algorithm"),
        (
            "alg in other case",
            by(json!({"alg": "hs256"})),
            "algorithm",
        ),
        ("two algs", by(json!({"alg": ["HS256"]})), "algorithm"),
        (
            "HS512 by the secret",
            jwt(&json!({"alg": "HS512"}), &said, hs512),
            "algorithm",
        ),
        (
            "RS256",
            jwt(&rs256, &said, |message| FOREIGN.sign(message)),
            "algorithm",
        ),
        (
            "critical extension",
            by(json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
            "critical",
        ),
        (
            "an assertion",
            by(json!({"alg": "HS256", "typ": "assertion+jwt"})),
            "type",
        ),
        (
            "a logout token",
            by(json!({"alg": "HS256", "typ": "logout+jwt"})),
            "type",
        ),
        (
            "no signature",
            format!("{}.{}.", parts[0], parts[1]),
            "signature",
        ),
        (
            "signature cut",
            format!("{}.{}.{}", parts[0], parts[1], &parts[2][..20]),
            "signature",
        ),
        ("another spelling", format!("{cut}{spelt}"), "base64url"),
        ("last character", format!("{cut}{last}"), "session token"),
        (
            "header replaced",
            format!("{}.{}.{}", part(r#"{"alg":"HS256"}"#), parts[1], parts[2]),
            "signature",
        ),
    ]
}

fn wrong_claims() -> Vec<(&'static str, String, &'static str)> {
    let claim = |name, value| session(&with(name, value));
    let payload = |text: &str| hs256(&json!({"alg": "HS256"}), text, SESSION_KEY);
    let twice = format!(r#"{{"{USERNAME}":"a"}}{{"{USERNAME}":"b"}}"#);
    vec![
        ("expired", claim("exp", json!(now() - 600)), "expired"),
        ("no exp", claim("exp", Value::Null), "exp"),
        ("exp as text", claim("exp", json!("9999999999")), "exp"),
        ("exp as true", claim("exp", json!(true)), "exp"),
        ("not yet valid", claim("nbf", json!(now() + 600)), "nbf"),
        ("nbf as text", claim("nbf", json!("0")), "nbf"),
        ("of the future", claim("iat", json!(now() + 600)), "iat"),
        (
            "foreign iss",
            claim("iss", json!("https://evil.example/auth")),
            "iss",
        ),
        (
            "iss of another case",
            claim("iss", json!(format!("{PUBLIC_URL}/AUTH"))),
            "iss",
        ),
        (
            "several iss",
            claim("iss", json!([format!("{PUBLIC_URL}/auth")])),
            "iss",
        ),
        ("no iss", claim("iss", Value::Null), "iss"),
        (
            "foreign aud",
            claim("aud", json!("https://evil.example")),
            "aud",
        ),
        (
            "aud with more",
            claim("aud", json!(format!("{PUBLIC_URL}/graphql"))),
            "aud",
        ),
        ("foreign auds", claim("aud", json!(["a", 1, null])), "aud"),
        ("no aud", claim("aud", Value::Null), "aud"),
        ("no username", claim(USERNAME, Value::Null), "username"),
        (
            "a number as username",
            claim(USERNAME, json!(1)),
            "username",
        ),
        (
            "several usernames",
            claim(USERNAME, json!(["administrator"])),
            "username",
        ),
        ("an empty username", claim(USERNAME, json!(" ")), "username"),
        (
            "a username of two lines",
            claim(USERNAME, json!("a\nb")),
            "username",
        ),
        (
            "a long username",
            claim(USERNAME, json!("a".repeat(256))),
            "username",
        ),
        ("a list", payload("[]"), "JSON"),
        ("null", payload("null"), "JSON"),
        ("nothing", payload(""), "JSON"),
        (
            "a claim twice",
            payload(
                &claims()
                    .to_string()
                    .replacen('{', &format!("{{\"{USERNAME}\":\"root\","), 1),
            ),
            "JSON",
        ),
        (
            "no JSON but for lenient readers",
            payload(&claims().to_string().replace('"', "'")),
            "JSON",
        ),
        ("two objects", payload(&twice), "JSON"),
        ("deep", payload(&"[".repeat(5_000)), "JSON"),
        (
            "a huge number",
            payload(
                &claims()
                    .to_string()
                    .replace("\"exp\":", "\"exp\":1e999,\"x\":"),
            ),
            "JSON",
        ),
    ]
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// JSON, or almost.
    fn json(&mut self) -> String {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\u0000",
            "\\",
            "'",
            "null",
            "true",
            "-",
            "0",
            "1e308",
            "1e999",
            "\"exp\"",
            "\"alg\"",
            "\"HS256\"",
            "\"iss\"",
            "\"__type\"",
            "\"\\/Date(1)\\/\"",
            "é",
            "\u{1F600}",
            " ",
            "//",
        ];
        let length = self.below(24);
        (0..length).map(|_| self.pick(&pieces)).collect()
    }

    /// A token that is none: noise, noise in the form of a token, a genuine one with a slip, or noise genuinely signed.
    fn token(&mut self, genuine: &str) -> String {
        match self.below(4) {
            0 => {
                let noise = self.bytes(300).into_iter();
                // What may stand in a cookie's value (RFC 6265 4.1.1), and dots often.
                let noise = noise.map(|byte| match byte % 95 + 32 {
                    b' ' | b'"' | b',' | b';' | b'\\' => '.',
                    other => char::from(other),
                });
                noise.collect()
            }
            1 => {
                let header = match self.below(2) {
                    0 => json!({"alg": self.pick(&["HS256", "none", "ES256", ""])}).to_string(),
                    _ => self.json(),
                };
                let (payload, signature) = (self.json(), self.bytes(64));
                format!("{}.{}.{}", part(header), part(payload), part(signature))
            }
            2 => {
                let mut slipped = genuine.as_bytes().to_vec();
                let (at, by) = (
                    self.below(slipped.len()),
                    self.pick(&["A", "_", ".", "z", "=", "%"]),
                );
                match slipped[at] == by.as_bytes()[0] {
                    true => slipped.truncate(at),
                    false => slipped[at] = by.as_bytes()[0],
                }
                String::from_utf8(slipped).unwrap()
            }
            _ => {
                let header = match self.below(2) {
                    0 => r#"{"alg":"HS256"}"#.to_owned(),
                    _ => format!(r#"{{"alg":"HS256","x":{}}}"#, self.json()),
                };
                let payload = match self.below(2) {
                    0 => self.json().into_bytes(),
                    _ => self.bytes(100),
                };
                let signed = format!("{}.{}", part(header), part(payload));
                format!(
                    "{signed}.{}",
                    part(mac(hmac::HMAC_SHA256, SESSION_KEY, signed.as_bytes()))
                )
            }
        }
    }
}

#[test]
fn twenty_thousand_random_tokens_are_refused_and_crash_nothing() {
    const THREADS: u64 = 4;
    // Each of a request's tokens is looked at, since the first that verifies would count.
    const TOGETHER: u64 = 10;
    let mut mono = in_front_of(PUBLIC_URL);
    let (address, genuine) = (mono.address, session(&claims()));
    greets(&with_cookie(address, &genuine), "ada");
    std::thread::scope(|scope| {
        for seed in 1..=THREADS {
            let genuine = &genuine;
            scope.spawn(move || {
                let (mut random, mut wire) = (Random(seed), Wire::connect(address).unwrap());
                for _ in 0..20_000 / THREADS / TOGETHER {
                    let tokens: Vec<_> = (0..TOGETHER)
                        .map(|_| format!("wfgen_token={}", random.token(genuine)))
                        .collect();
                    let cookies = tokens.join("; ");
                    let request = format!(
                        "GET {PAGE} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n\r\n"
                    );
                    wire.send(request).unwrap();
                    let answer = wire.answer("GET").unwrap();
                    assert_eq!(answer.status, 401, "{cookies}: {}", answer.text());
                }
            });
        }
    });
    assert!(mono.runs());
    greets(&with_cookie(address, &genuine), "ada");
}

/// A JWK Set with these public keys.
fn key_set(keys: &[(&SigningKey, &str)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(key, kid)| key.jwk(kid)).collect();
    json!({"keys": keys}).to_string()
}

#[test]
fn assertions_headers_and_settings_are_believed_as_the_operator_says() {
    let keys = key_set(&[(&*FIRST, "old"), (&*CURVE, "other"), (&*FOREIGN, "new")]);
    let url = ("VestibulePublicUrl", PUBLIC_URL);
    let both = ("VestibuleTrust", "assertion, session");
    let (secret, of_assertions) = (
        ("VestibuleSessionSecret", SESSION_KEY),
        ("VestibuleAssertionSecret", ASSERTION_KEY),
    );
    let hs256 = ("VestibuleAssertionAlgorithm", "HS256");
    let files = [("jwks.json", &*keys)];
    let site = |path, settings| Site {
        path,
        settings,
        files: &files,
    };
    let mono = AspNet::start(&[
        site("/shared", &[url, both, secret, hs256, of_assertions]),
        site(
            "/rs256",
            &[
                url,
                ("VestibuleTrust", "assertion"),
                ("VestibuleAssertionAlgorithm", "RS256"),
                ("VestibuleAssertionKeysFile", "jwks.json"),
            ],
        ),
        site(
            "/header",
            &[
                ("VestibuleTrust", "header"),
                ("VestibuleProxies", "10.0.0.0/8, 127.0.0.1/32"),
            ],
        ),
        site(
            "/elsewhere",
            &[
                ("VestibuleTrust", "header"),
                ("VestibuleProxies", "127.0.0.2, 10.0.0.0/8, ::1"),
            ],
        ),
        // Each of these is a mistake, and serves nobody.
        site("/nothing", &[]),
        site("/no-url", &[secret]),
        site("/short", &[url, ("VestibuleSessionSecret", "short")]),
        site("/unlisted", &[("VestibuleTrust", "header")]),
        site(
            "/world",
            &[
                ("VestibuleTrust", "header"),
                ("VestibuleProxies", "0.0.0.0/0"),
            ],
        ),
        site(
            "/one-secret",
            &[
                url,
                both,
                secret,
                hs256,
                ("VestibuleAssertionSecret", SESSION_KEY),
            ],
        ),
        site(
            "/none",
            &[url, secret, ("VestibuleSessionAlgorithm", "none")],
        ),
        site("/slip", &[url, secret, ("VestibuleSesionCookie", "other")]),
        site("/no-file", &[url, ("VestibuleSessionSecretFile", "absent")]),
    ]);
    let asks = |site: &str, lines: &str| asked(mono.address, &format!("{site}/who.aspx"), lines);
    let asserts =
        |site: &str, token: &str| asks(site, &format!("X-Identity-Assertion: {token}\r\n"));

    greets(
        &asserts("/shared", &assertion(&claims(), ASSERTION_KEY)),
        "ada",
    );
    refuses(
        &asserts("/shared", &assertion(&claims(), SESSION_KEY)),
        "signature",
    );
    refuses(&asserts("/shared", &session(&claims())), "type");
    refuses(
        &asserts(
            "/shared",
            &assertion(&with("exp", json!(now() - 60)), ASSERTION_KEY),
        ),
        "expired",
    );
    refuses(
        &asserts(
            "/shared",
            &assertion(&with("aud", json!("x")), ASSERTION_KEY),
        ),
        "aud",
    );
    refuses(&asserts("/shared", "administrator"), "three parts");
    // The assertion decides where there is one; a session token serves where there is none.
    let token = session(&with(USERNAME, json!("grace")));
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    greets(&asks("/shared", &cookie), "grace");
    refuses(
        &asks("/shared", &format!("{cookie}X-Identity-Assertion: x\r\n")),
        "three parts",
    );

    for (key, kid) in [(&*FIRST, "old"), (&*FOREIGN, "new")] {
        greets(
            &asserts("/rs256", &assertion_by(&claims(), key, kid)),
            "ada",
        );
    }
    refuses(
        &asserts("/rs256", &assertion_by(&claims(), &FIRST, "new")),
        "signature",
    );
    refuses(
        &asserts("/rs256", &assertion_by(&claims(), &CURVE, "other")),
        "algorithm",
    );
    let public = String::from_utf8_lossy(&FIRST.public_bytes()).into_owned();
    refuses(
        &asserts("/rs256", &assertion(&claims(), &public)),
        "algorithm",
    );
    refuses(&asks("/rs256", &cookie), "nothing that says who");

    greets(
        &asks("/header", "X-Forwarded-User: Zo%C3%AB+%25\r\n"),
        "Zo&#235;+%",
    );
    refuses(
        &asks("/header", "X-Forwarded-User: 100%\r\n"),
        "percent-escape",
    );
    refuses(
        &asks("/header", "X-Forwarded-User: a%0Ab\r\n"),
        "control characters",
    );
    refuses(&asks("/header", &cookie), "nothing that says who");
    refuses(
        &asks("/elsewhere", "X-Forwarded-User: ada\r\n"),
        "VestibuleProxies",
    );
    refuses(
        &asks("/shared", "X-Forwarded-User: ada\r\n"),
        "nothing that says who",
    );

    for (site, setting) in [
        ("/nothing", "VestibulePublicUrl"),
        ("/no-url", "VestibulePublicUrl"),
        ("/short", "VestibuleSessionSecret"),
        ("/unlisted", "VestibuleProxies"),
        ("/world", "VestibuleProxies"),
        ("/one-secret", "VestibuleAssertionSecret"),
        ("/none", "VestibuleSessionAlgorithm"),
        ("/slip", "VestibuleSesionCookie"),
        ("/no-file", "VestibuleSessionSecretFile"),
    ] {
        let answer = asks(site, &format!("{cookie}X-Forwarded-User: ada\r\n"));
        let page = answer.text();
        assert_eq!(answer.status, 500, "{site}: {page}");
        assert!(
            page.contains(&format!("appSettings, {setting}:")),
            "{site}: {page}"
        );
        assert!(!page.contains(SESSION_KEY), "{site} shows the secret");
    }
}

/// The table of settings in the module's README is whole, and has no other.
#[test]
fn every_setting_is_in_the_modules_readme() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/workflowgen");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (code, readme) = (read("VestibuleIdentityModule.cs"), read("README.md"));
    let (_, known) = code.split_once("string[] Known =").unwrap();
    let (known, _) = known.split_once("};").unwrap();
    let known: BTreeSet<_> = known.split('"').skip(1).step_by(2).collect();
    let (_, settings) = readme.split_once("## Settings").unwrap();
    let rows = settings.lines().filter(|line| line.starts_with("| `"));
    let keys = rows.filter_map(|row| row.split('|').nth(1));
    let named: BTreeSet<_> = keys
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(known.len() > 15);
    assert_eq!(named, known);
}
