//! What sessions cost, in figures: `cargo bench --bench sessions`, with the real binary, a provider that answers at
//! once and `oidc-provider` with rotation. On Linux with two cores: the proxy has one, everything else the other.
//!
//! Not a test: it measures, for `benches/README.md`, and asserts only that what it measured happened.

#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "the tests' own support, of which this uses a part"
)]

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};

use support::application::Application;
use support::lying_provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use support::process::{processor_time, resident};
use support::provider::{Client, Provider};
use support::proxy::{Proxy, SESSION_KEY, Setup, payload};
use support::wire::Wire;

const LIVE: u64 = 1_000_000;
const SEEN: usize = 100_000;

fn main() {
    // `cargo test --benches` and the like run it without this argument, and mean no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    pin(std::process::id(), 1);
    sign_ins();
    renewals();
    checks();
    a_million();
}

fn pin(pid: u32, core: u8) {
    let pinned = Command::new("taskset")
        .args(["-apc", &core.to_string(), &pid.to_string()])
        .output();
    assert!(pinned.unwrap().status.success());
}

/// Hundredths of a second, in microseconds.
fn used(proxy: &Proxy) -> f64 {
    processor_time(proxy.pid()) as f64 * 10_000.0
}

fn one_core(setup: Setup) -> Proxy {
    let proxy = setup
        .with("[server]", "workers", "1")
        .with("[log]", "access", "false")
        .start();
    pin(proxy.pid(), 0);
    proxy
}

fn sign_ins() {
    let application = Application::start();
    let provider = LyingProvider::launch();
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = one_core(Setup::new(&application).at_issuer(provider.issuer(), client));
    let person = |number: usize| {
        provider.set_claims(json!({
            "sub": format!("s{number}"), "preferred_username": format!("person{number}"),
            "family_name": "Family", "given_name": "Given", "email_verified": true,
        }));
    };
    for (what, people) in [("new people", usize::MAX), ("people who return", 1)] {
        let (done, begun, before) = (AtomicUsize::new(0), Instant::now(), used(&proxy));
        while begun.elapsed() < Duration::from_secs(8) {
            // Claims are the provider's alone, so one at a time; the proxy waits for nobody else.
            person(match people {
                1 => 0,
                _ => 1 + done.load(Ordering::Relaxed),
            });
            let page = proxy.browser().navigate(&proxy.url("/page"));
            assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
            done.fetch_add(1, Ordering::Relaxed);
        }
        let count = done.into_inner() as f64;
        let each = (used(&proxy) - before) / count;
        println!(
            "sign-ins, {what}: {each:.0} us of processor each, so {:.0} a second on one core; {:.1} ms from first request to page",
            1e6 / each,
            begun.elapsed().as_secs_f64() * 1e3 / count
        );
    }
}

fn renewals() {
    let (application, provider) = (Application::start(), Provider::start(0));
    let proxy = one_core(
        Setup::new(&application)
            .with("[session]", "lifetime", "\"20s\"")
            .renewing()
            .at(&provider),
    );
    let tokens: Vec<String> = (0..200)
        .map(|number| {
            proxy
                .signed_in(&format!("renewed{number}"))
                .cookie("wfgen_token")
        })
        .collect();
    let last = payload(tokens.last().unwrap())["exp"].as_u64().unwrap();
    while unix_seconds() <= last {
        std::thread::sleep(Duration::from_millis(200));
    }
    let (before, begun) = (used(&proxy), Instant::now());
    for token in &tokens {
        let answer = proxy.get("/x", &format!("Cookie: wfgen_token={token}\r\n"));
        assert_eq!(answer.status, 200);
    }
    let each = (used(&proxy) - before) / tokens.len() as f64;
    assert_eq!(
        proxy.metric("vestibule_renewals_total", &["renewed"]),
        200.0
    );
    println!(
        "renewals: {each:.0} us of processor each, so {:.0} a second on one core; {:.1} ms with oidc-provider on the other",
        1e6 / each,
        begun.elapsed().as_secs_f64() * 1e3 / tokens.len() as f64
    );
}

/// The same signed-in request with and without what watches over sessions.
fn checks() {
    let (application, provider) = (Application::start(), Provider::start(0));
    let plain = one_core(
        Setup::new(&application)
            .with("[session]", "refresh", "false")
            .at(&provider),
    );
    let watched = one_core(
        Setup::new(&application)
            .with("[session]", "idle_timeout", "\"30m\"")
            .renewing()
            .at(&provider),
    );
    let (one, other) = (plain.signed_in("plain"), watched.signed_in("watched"));
    let cost = |proxy: &Proxy, token: &str| {
        let mut wire = Wire::connect(proxy.address).unwrap();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nCookie: wfgen_token={token}\r\n\r\n",
            proxy.path("/x"),
            proxy.host()
        );
        let before = used(proxy);
        const REQUESTS: usize = 20_000;
        for _ in 0..REQUESTS {
            wire.send(&request).unwrap();
            assert_eq!(wire.answer("GET").unwrap().status, 200);
        }
        application.forget();
        (used(proxy) - before) / REQUESTS as f64
    };
    let (first, second) = (one.cookie("wfgen_token"), other.cookie("wfgen_token"));
    let mut rounds: Vec<(f64, f64)> = (0..7)
        .map(|_| (cost(&plain, &first), cost(&watched, &second)))
        .collect();
    let mut ratios: Vec<f64> = rounds
        .iter()
        .map(|(plain, watched)| watched / plain)
        .collect();
    ratios.sort_by(f64::total_cmp);
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    println!(
        "signed-in request: {:.1} us of processor without renewal and idle time-out; with both, {:.3} of it (median of {} pairs; least {:.3}, most {:.3})",
        rounds[3].0,
        ratios[3],
        ratios.len(),
        ratios[0],
        ratios[6]
    );
}

fn a_million() {
    let (application, provider) = (Application::start(), Provider::start(0));
    let mut proxy = one_core(Setup::new(&application).renewing().at(&provider));
    let claims = payload(&proxy.signed_in("million").cookie("wfgen_token"));
    proxy.terminate();
    assert_eq!(proxy.wait_until_ended(), Some(0));
    let file = proxy.file("vestibule.db");
    let url = format!("sqlite:{}", file.display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        connection
            .execute("pragma synchronous = off")
            .await
            .unwrap();
        let columns = "user_id, provider, subject, provider_sid, issued_at, token, token_expires_at, id_token, \
             refresh_token, claims, rules, created_at, expires_at, seen_at";
        let fill = format!(
            "insert into sessions (sid, sign_in, {columns}) \
             with recursive n(i) as (select 1 union all select i + 1 from n where i < {LIVE}) \
             select 'live' || i, 'nonce' || i, {columns} from n, (select * from sessions limit 1)"
        );
        sqlx::query(sqlx::AssertSqlSafe(fill))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.execute("pragma wal_checkpoint(truncate)").await.unwrap();
    });
    let bytes = std::fs::metadata(&file).unwrap().len();
    println!(
        "in the store: {} bytes a session, indexes included, claims of {} bytes",
        bytes / LIVE,
        claims.to_string().len()
    );
    let begun = Instant::now();
    proxy.restart();
    println!(
        "start with {LIVE} live sessions: {:.1} s until people can sign in",
        begun.elapsed().as_secs_f64()
    );
    pin(proxy.pid(), 0);
    let token = |number: usize| {
        let mut claims = claims.clone();
        // Spread over all of them.
        let number = number as u64 * 7_919 % LIVE + 1;
        claims["sid"] = Value::from(format!("live{number}"));
        let header = Header {
            kid: Some("1".to_owned()),
            ..Header::default()
        };
        encode(
            &header,
            &claims,
            &EncodingKey::from_secret(SESSION_KEY.as_bytes()),
        )
        .unwrap()
    };
    let tokens: Vec<String> = (0..SEEN).map(token).collect();
    let empty = resident(proxy.pid());
    for what in ["first sight", "seen before"] {
        let (before, mut took) = (used(&proxy), Vec::with_capacity(SEEN));
        let mut wire = Wire::connect(proxy.address).unwrap();
        for token in &tokens {
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nCookie: wfgen_token={token}\r\n\r\n",
                proxy.path("/x"),
                proxy.host()
            );
            let begun = Instant::now();
            wire.send(&request).unwrap();
            assert_eq!(wire.answer("GET").unwrap().status, 200);
            took.push(begun.elapsed());
        }
        application.forget();
        took.sort_unstable();
        println!(
            "of {LIVE} live sessions, {what} of {SEEN}: {:.0} us of processor each; p50 {} us, p99 {} us",
            (used(&proxy) - before) / SEEN as f64,
            took[SEEN / 2].as_micros(),
            took[SEEN * 99 / 100].as_micros()
        );
    }
    let more = resident(proxy.pid()).saturating_sub(empty) * 1024;
    println!(
        "in memory: {} bytes a session that was seen (resident, {SEEN} of them)",
        more / SEEN as u64
    );
}

fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}
