//! Identity headers: nothing a client sends passes for them, on any way to the application.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::application::{Application, Received};
use crate::support::http2::Connection;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Wire, exchange};

/// The names that `proxy.toml` promises to drop, and one for each prefix.
const OWNED: [&str; 16] = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "Remote-User",
    "X-Remote-User",
    "X-WfGen-Impersonate-Username",
    "X-WfGen-HookToken",
    "X-WfGen-GraphQL-API-Key",
    "X-iisnode-AUTH_USER",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "Proxy",
    "X-Own-Header",
];

/// What may stand between two words of a field name (RFC 9110 5.6.2) and what folds into it.
const SEPARATORS: [&str; 8] = ["-", "_", ".", "--", "_-", "!", "~", "$%&'*+^`|"];

/// Every separator and case variant of an owned name.
fn variants(name: &str) -> BTreeSet<String> {
    let words: Vec<&str> = name.split(['-', '_']).collect();
    let spelled = SEPARATORS.iter().map(|separator| words.join(separator));
    let alternating = |text: &str| {
        let letters = text.char_indices().map(|(at, letter)| match at % 2 {
            0 => letter.to_ascii_lowercase(),
            _ => letter.to_ascii_uppercase(),
        });
        letters.collect::<String>()
    };
    spelled
        .chain([words.join("-_"), format!("{}-", words.join("-"))])
        .flat_map(|text| {
            [
                text.to_lowercase(),
                text.to_uppercase(),
                alternating(&text),
                text,
            ]
        })
        .collect()
}

/// As an application folds names: letters and digits count, all else is one separator.
fn folded(name: &str) -> String {
    let parts = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("_").to_ascii_lowercase()
}

/// Groups of header lines that fit into one request each.
fn evil_lines() -> Vec<String> {
    let all: Vec<String> = OWNED
        .iter()
        .flat_map(|name| variants(name))
        .map(|name| format!("{name}: evil\r\n"))
        .collect();
    assert!(all.len() > 300, "{} variants", all.len());
    all.chunks(60).map(<[String]>::concat).collect()
}

#[track_caller]
fn assert_clean(request: &Received, user: Option<&str>) {
    let own: Vec<&(String, String)> = request
        .headers
        .iter()
        .filter(|(name, value)| {
            let name = folded(name);
            let owned = OWNED.iter().any(|known| folded(known) == name);
            owned || value.contains("evil")
        })
        .collect();
    let expected: Vec<_> = user
        .map(|user| ("x_forwarded_user".to_owned(), user))
        .into_iter()
        .collect();
    let found: Vec<_> = own
        .iter()
        .map(|(name, value)| (folded(name), value.as_str()))
        .collect();
    assert_eq!(found, expected, "{} {}", request.method, request.target);
}

fn guarded(application: &Application) -> Proxy {
    Setup::new(application)
        .with("[upstream.identity]", "strip", "[\"X-Own-*\"]")
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start()
}

/// Separator and case variants of every owned name: none reaches the application.
#[test]
fn lesson_01_header_aliases() {
    let application = Application::start();
    let proxy = guarded(&application);
    let user = new_person("alias");
    let cookie = format!(
        "Cookie: wfgen_token={}\r\n",
        proxy.signed_in(&user).cookie("wfgen_token")
    );
    let before = proxy.metric("vestibule_stripped_headers_total", &[]);
    let mut sent = 0;
    for lines in evil_lines() {
        sent += lines.lines().count();
        let answer = proxy.get("/page", &format!("{cookie}{lines}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_clean(&application.last(), Some(&user));
    }
    let counted = proxy.metric("vestibule_stripped_headers_total", &[]) - before;
    assert!(counted >= sent as f64, "{counted} counted of {sent}");
    // A header of a similar name is none of ours.
    let harmless = format!(
        "{cookie}X-Forwarded-Users: fine\r\nXForwardedUser: fine\r\nRemote-Users: fine\r\n"
    );
    proxy.get("/page", &harmless);
    assert_eq!(application.last().only("x-forwarded-users"), Some("fine"));
    assert_eq!(application.last().only("remote-users"), Some("fine"));
}

/// The same over HTTP/2, which has lower-case names alone; with a session and on an open route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_01_header_aliases_over_http2() {
    let application = Application::start();
    let proxy = guarded(&application);
    let user = new_person("alias2");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    let connection = Connection::in_the_clear(proxy.address).await;
    for lines in evil_lines() {
        for (below, expected) in [("/page", Some(user.as_str())), ("/open/x", None)] {
            let mut asked = http::Request::get(proxy.url(below))
                .header("cookie", format!("wfgen_token={token}"))
                .header("x-fine", "yes");
            for line in lines.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                asked = asked.header(name.to_ascii_lowercase(), value);
            }
            let answer = connection.ask(asked.body(()).unwrap()).await;
            assert_eq!(answer.status, 200, "{below}");
            let arrived = application.last();
            assert_eq!(arrived.only("x-fine"), Some("yes"), "others pass");
            assert_clean(&arrived, expected);
        }
    }
}

/// The same on every other way: open routes, OPTIONS, other methods, upgrades, own endpoints, errors.
#[test]
fn lesson_02_stripping_on_open_paths() {
    let application = Application::start();
    let proxy = guarded(&application);
    let user = new_person("open");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    let cookie = format!("Cookie: wfgen_token={token}\r\n");
    application.forget();
    for lines in evil_lines() {
        for method in [
            "GET", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND",
        ] {
            let request = |path: &str, more: &str| {
                let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", proxy.host());
                exchange(
                    proxy.address,
                    format!("{head}Connection: close\r\nContent-Length: 0\r\n{more}{lines}\r\n"),
                )
            };
            assert_eq!(request("/wfgen/open/x", "").status, 200, "{method}");
            assert_clean(&application.last(), None);
            // With a session an open route still carries no identity.
            assert_eq!(request("/wfgen/open/x", &cookie).status, 200, "{method}");
            assert_clean(&application.last(), None);
            assert_eq!(request("/wfgen/page", &cookie).status, 200, "{method}");
            assert_clean(&application.last(), Some(&user));
        }
        let upgrade = format!("{cookie}Connection: Upgrade\r\nUpgrade: websocket\r\n{lines}");
        for path in ["/open/ws", "/ws"] {
            let mut wire = Wire::connect(proxy.address).unwrap();
            let head = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\n",
                proxy.path(path),
                proxy.host()
            );
            wire.send(format!("{head}{upgrade}\r\n")).unwrap();
            assert_eq!(wire.answer("GET").unwrap().status, 200);
            let user = (path == "/ws").then_some(user.as_str());
            assert_clean(&application.last(), user);
        }
        let seen = application.received().len();
        for path in [
            "/auth/callback?code=x&state=y",
            "/auth/session",
            "/auth/login",
            "/auth/none",
        ] {
            let answer = proxy.get(path, &lines);
            assert_ne!(answer.status, 200, "{path}");
        }
        assert_eq!(proxy.get("/page", &lines).status, 401);
        assert_eq!(
            application.received().len(),
            seen,
            "none of these is the application's"
        );
    }
}

/// Trailers are fields too.
#[test]
fn identity_does_not_come_in_by_a_trailer() {
    let application = Application::start();
    let proxy = guarded(&application);
    let token = proxy
        .signed_in(&new_person("trailer"))
        .cookie("wfgen_token");
    let answer = exchange(
        proxy.address,
        format!(
            "POST /wfgen/page HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: wfgen_token={token}\r\n\
             Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Forwarded-User, X-Fine\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Forwarded-User: evil\r\nX_Forwarded_User: evil\r\nX-Fine: fine\r\n\r\n",
            proxy.host()
        ),
    );
    assert_eq!(answer.status, 200);
    let request = application.last();
    assert_eq!(request.body, b"abc");
    let evil = request.trailers.iter().any(|(_, value)| value == "evil");
    assert!(!evil, "{:?}", request.trailers);
}

/// `Connection` names an identity header: it is removed before ours is set, so ours arrives.
#[test]
fn a_connection_field_cannot_take_the_identity_away() {
    let application = Application::start();
    let proxy = guarded(&application);
    let user = new_person("hop");
    let token = proxy.signed_in(&user).cookie("wfgen_token");
    for option in [
        "X-Forwarded-User",
        "x-forwarded-user, close",
        "Cookie",
        "Host",
        "keep-alive, X-Forwarded-User, X-Forwarded-Proto, Content-Length",
    ] {
        let lines = format!(
            "Cookie: wfgen_token={token}\r\nConnection: {option}\r\nX-Forwarded-User: evil\r\n"
        );
        let answer = exchange(
            proxy.address,
            format!(
                "GET /wfgen/page HTTP/1.1\r\nHost: {}\r\n{lines}\r\n",
                proxy.host()
            ),
        );
        if option == "Cookie" && answer.status == 401 {
            continue;
        }
        assert_eq!(answer.status, 200, "Connection: {option}");
        let request = application.last();
        assert_eq!(
            request.only("x-forwarded-user"),
            Some(user.as_str()),
            "{option}"
        );
        assert_eq!(request.only("host"), Some(proxy.host()));
        assert_eq!(request.only("x-forwarded-proto"), Some("http"));
    }
}

#[test]
fn a_route_may_keep_a_header_but_never_the_identity() {
    let application = Application::start();
    let proxy = Setup::new(&application)
        .route(
            "/wfgen/hooks/",
            "open",
            "keep_headers = [\"X-WfGen-HookToken\"]",
        )
        .at(Provider::shared())
        .start();
    let lines = "X-WfGen-HookToken: hook\r\nX-WfGen-Impersonate-Username: evil\r\nX-Forwarded-User: evil\r\n";
    assert_eq!(proxy.get("/hooks/x", lines).status, 200);
    let request = application.last();
    assert_eq!(request.only("x-wfgen-hooktoken"), Some("hook"));
    assert!(!request.headers.iter().any(|(_, value)| value == "evil"));
}

#[test]
fn values_that_are_not_plain_are_percent_encoded() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = Setup::new(&application)
        .with(
            "[upstream.identity]",
            "headers",
            "{ \"X-First-Name\" = \"first_name\", \"X-Nothing\" = \"phone\" }",
        )
        .maps("phone", "\"phone_number\"")
        .at(provider)
        .start();
    let user = new_person("plain");
    let name = format!("DOMAIN\\{user} é%");
    provider.claim(
        &user,
        &json!({"preferred_username": name, "family_name": "Ø", "given_name": "Zoë 100%"}),
    );
    proxy.signed_in(&user);
    let request = application.last();
    let expected = format!("DOMAIN\\{user}%20%C3%A9%25");
    assert_eq!(request.only("x-forwarded-user"), Some(expected.as_str()));
    assert_eq!(request.only("x-first-name"), Some("Zo%C3%AB%20100%25"));
    assert!(
        request.all("x-nothing").is_empty(),
        "an empty field sends nothing"
    );
    assert_eq!(proxy.users()[0]["username"], json!(name));
}

#[test]
fn forwarding_headers_come_from_the_public_url() {
    let application = Application::start();
    let proxy = guarded(&application);
    let token = proxy.signed_in(&new_person("fwd")).cookie("wfgen_token");
    let lines = format!(
        "Cookie: wfgen_token={token}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n\
         Forwarded: host=evil.example\r\nX-Forwarded-For: 10.9.8.7\r\nX-Forwarded-Port: 1\r\n"
    );
    assert_eq!(proxy.get("/page", &lines).status, 200);
    let request = application.last();
    assert_eq!(request.only("x-forwarded-proto"), Some("http"));
    assert_eq!(request.only("x-forwarded-host"), Some(proxy.host()));
    assert_eq!(request.only("x-forwarded-for"), Some("127.0.0.1"));
    let forwarded = request.only("forwarded").unwrap();
    assert!(
        forwarded.contains(proxy.host()) && !forwarded.contains("evil"),
        "{forwarded}"
    );
}

/// No header value changes a decision, and health, metrics and status pages are not on the public listener.
#[test]
fn lesson_08_side_doors() {
    let application = Application::start();
    let proxy = guarded(&application);
    for line in [
        "User-Agent: kube-probe/1.29",
        "User-Agent: GoogleHC/1.0",
        "User-Agent: ELB-HealthChecker/2.0",
        "X-Forwarded-Uri: /wfgen/open/x",
        "X-Original-URL: /wfgen/open/x",
        "X-Rewrite-URL: /wfgen/open/x",
        "X-Original-URI: /wfgen/open/x",
        "X-Forwarded-Prefix: /wfgen/open",
        "X-Forwarded-Path: /wfgen/open/x",
        "X-Forwarded-Method: OPTIONS",
        "X-HTTP-Method-Override: OPTIONS",
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Referer: http://127.0.0.1/wfgen/open/",
        "Authorization: Basic YWRtaW46YWRtaW4=",
        "Authorization: Bearer x",
        "X-Auth-Request-User: admin",
        "Upgrade: websocket\r\nConnection: upgrade",
        "Origin: null",
        "Access-Control-Request-Method: GET",
        "Purpose: prefetch",
    ] {
        let answer = proxy.get("/page", &format!("{line}\r\n"));
        assert_eq!(answer.status, 401, "{line}");
    }
    application.forget();
    for path in [
        "/healthz", "/readyz", "/metrics", "/ping", "/status", "/-/ready",
    ] {
        assert_eq!(
            proxy
                .get_target(path, "User-Agent: kube-probe/1.29\r\n")
                .status,
            404,
            "{path}"
        );
        assert_eq!(
            proxy.get(path, "User-Agent: kube-probe/1.29\r\n").status,
            401,
            "{path}"
        );
        assert_eq!(proxy.get(&format!("/auth{path}"), "").status, 404, "{path}");
    }
    assert!(application.received().is_empty());
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(proxy.get_admin(path).status, 200, "{path}");
    }
}
