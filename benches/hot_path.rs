//! The pieces that every signed-in request passes through, one by one:
//! `cargo bench --bench hot_path`. What they add up to is measured by `benches/side-by-side/run`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::json;
use vestibule::config::{self, Config, StorePlace};
use vestibule::identity::{Borne, Identity, StripList};
use vestibule::oidc::ClaimSet;
use vestibule::route::Routes;
use vestibule::session::{Cookies, Glance, Recent, Sessions, TokenKeys};
use vestibule::store::Store;

const NOW: i64 = 1_800_000_000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const PROXY_TOML: &str = r#"
[server]
public_url = "https://workflow.example.com/wfgen"
[upstream]
servers = ["http://127.0.0.1:8081"]
[[providers]]
name = "okta"
issuer = "https://example.okta.com"
client_id = "0oa1"
[session]
keys = [{ id = "1", secret = { file = "session" } }]
[[directories]]
name = "SELF_PROVISIONING"
[directories.mapping]
username = "https://api.workflowgen.com/username"
name = "family_name"
[[routes]]
path = "/wfgen/ws/"
access = "open"
[[routes]]
path = "/wfgen/hooks/"
access = "open"
[[routes]]
path = "/wfgen/admin/"
access = "deny"
"#;

/// What Chromium sends for a page, with cookies of the application beside ours.
fn browser(token: &str) -> Request<()> {
    Request::builder()
        .uri("/wfgen/show.aspx?QUERY=CONTEXT&REQUEST_QUERY=WELCOME")
        .header("host", "workflow.example.com")
        .header("connection", "keep-alive")
        .header("sec-ch-ua", "\"Chromium\";v=\"156\", \"Not/A)Brand\";v=\"24\"")
        .header("sec-ch-ua-mobile", "?0")
        .header("sec-ch-ua-platform", "\"Windows\"")
        .header("upgrade-insecure-requests", "1")
        .header("user-agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("accept-language", "en-GB,en;q=0.9,fr;q=0.8")
        .header(COOKIE, format!("wfgen_culture=en-GB; ASP.NET_SessionId=x3j2k1l0m9n8b7v6; wfgen_token={token}"))
        .body(())
        .expect("a request")
}

/// A valid configuration, a genuine token, and sessions that know it.
fn room() -> (Config, String, Sessions) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("session"), [b'k'; 32]).expect("a key");
    let path = folder.path().join("proxy.toml");
    let config = config::load_text(PROXY_TOML, &path).expect("a valid configuration");
    let keys = TokenKeys::new(&config.session).expect("keys");
    let (issuer, audience) = keys.names();
    let claims = json!({
        "iss": issuer, "aud": audience, "sub": "00u1abcd2efGHIjkl3m4", "iat": NOW, "exp": NOW + 3600,
        "sid": "LcbgXNh3JeWtitz97t_CgA", "jti": "OenPMDzjPjQbdOtyiJGZpQ", "nonce": "t38hfn_dnZYoyL3g7s5RkhW8r5pDVUu9bhQWoFaNhpI",
        "https://api.workflowgen.com/username": "ada.lovelace@example.com", "family_name": "Lovelace",
        "given_name": "Ada", "email": "ada.lovelace@example.com", "email_verified": true, "department": "Engineering",
    });
    let claims: ClaimSet = serde_json::from_value(claims).expect("claims");
    let token = keys.sign(&claims).expect("a token");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sessions = runtime.block_on(async {
        let store = Store::open(&StorePlace::Sqlite(folder.path().join("vestibule.db")))
            .await
            .expect("a store");
        // A genuine token is believed while the store is down: no user and no row have to be made.
        store.close().await;
        let sessions = Sessions::new(&config, store).expect("sessions");
        let known = sessions.recognise(std::slice::from_ref(&token), NOW).await;
        assert!(matches!(known, Ok(Some(_))), "the token is genuine");
        sessions
    });
    (config, token, sessions)
}

fn hot_path(criterion: &mut Criterion) {
    let (config, token, sessions) = room();
    let request = browser(&token);
    let recent = Recent::new(&config, None);
    let Glance::Known(known) = sessions.glance(request.headers(), NOW) else {
        panic!("the session is known");
    };
    recent.remember(token.as_bytes(), known, NOW);
    session(criterion, &sessions, &recent, &request);
    header(criterion, &config, &recent, &request);
    route(criterion, &Routes::new(&config));
}

/// Cookie parse alone, then with the look-up of the session: in the worker's own memory, as for whoever
/// asked a moment ago; in the cache of all workers; and with no session at all.
fn session(criterion: &mut Criterion, sessions: &Sessions, recent: &Recent, request: &Request<()>) {
    let (cookies, headers) = (sessions.cookies(), request.headers());
    criterion.bench_function("cookie parse", |bencher| {
        bencher.iter(|| cookies.session_values(black_box(headers)).next());
    });
    let find = |headers| {
        let token = cookies.session_values(headers).next()?;
        recent.find(token, NOW)
    };
    assert!(find(headers).is_some(), "the worker knows the session");
    criterion.bench_function("session look-up", |bencher| {
        bencher.iter(|| find(black_box(headers)));
    });
    criterion.bench_function("session look-up, cache of all workers", |bencher| {
        bencher.iter(|| sessions.glance(black_box(headers), NOW));
    });
    let none = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("wfgen_culture=en-GB"))]);
    criterion.bench_function("session look-up, none", |bencher| {
        bencher.iter(|| sessions.glance(black_box(&none), NOW));
    });
}

/// Folding names for the strip list, then all that a request's header goes through.
fn header(criterion: &mut Criterion, config: &Config, recent: &Recent, request: &Request<()>) {
    let strip = StripList::of(&config.upstream.identity);
    criterion.bench_function("header folding", |bencher| {
        bencher.iter(|| {
            let names = black_box(request.headers()).keys();
            names.filter(|name| strip.owns(name.as_str())).count()
        });
    });
    let identity = Identity::new(config);
    let peer = identity.peer(CLIENT);
    let stripped = || identity.strip(request.clone(), &peer);
    criterion.bench_function("header strip", |bencher| {
        let strip = |request| identity.strip(request, &peer);
        bencher.iter_batched(|| request.clone(), strip, BatchSize::SmallInput);
    });
    let cookies = Cookies::new(config);
    let token = cookies.session_values(request.headers()).next();
    let session = token.and_then(|token| recent.find(token, NOW));
    let session = session.expect("the worker knows the session");
    criterion.bench_function("header stamp", |bencher| {
        let borne = Borne {
            session: &session,
            cookie: 0,
            is_newer: false,
        };
        let stamp = |stripped| identity.of(stripped, borne, None);
        bencher.iter_batched(stripped, stamp, BatchSize::SmallInput);
    });
}

fn route(criterion: &mut Criterion, routes: &Routes) {
    for (name, path) in [
        ("route match, first", "/wfgen/ws/processes.asmx"),
        ("route match, none", "/wfgen/show.aspx"),
        ("route match, escapes", "/wfgen/files/r%C3%A9sum%C3%A9.pdf"),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| routes.find(&Method::GET, black_box(path)).is_ok());
        });
    }
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
