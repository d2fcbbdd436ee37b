//! Sessions that are renewed while people work, and those that are not any more.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::application::Application;
use crate::support::browser::{Browser, Sending};
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, Lie, LyingProvider};
use crate::support::postgres::Postgres;
use crate::support::provider::{Client, Provider, new_person};
use crate::support::proxy::{Proxy, Setup, payload};
use crate::support::wire::{Answer, Wire, get};
use crate::support::{PATIENCE, wait_for};

const COOKIE: &str = "wfgen_token";

/// Tokens live six seconds, and are renewed in the last two.
fn short(application: &Application) -> Setup {
    Setup::new(application)
        .with("[session]", "lifetime", "\"6s\"")
        .renewing()
}

fn cookie(browser: &Browser) -> String {
    browser.cookie(COOKIE)
}

fn cookie_line(token: &str) -> String {
    format!("Cookie: {COOKIE}={token}\r\n")
}

fn run_out(token: &str) {
    let expires_at = payload(token)["exp"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    std::thread::sleep(Duration::from_secs((expires_at + 1).saturating_sub(now)));
}

fn given(answer: &Answer) -> Option<&str> {
    let set = answer.all("set-cookie");
    let ours = set
        .into_iter()
        .find_map(|it| it.strip_prefix("wfgen_token="))?;
    ours.split(';').next()
}

#[test]
fn it_is_renewed_ahead_of_its_end_beside_a_request() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = short(&application).at(provider).start();
    let user = new_person("ahead");
    let browser = proxy.signed_in(&user);
    let first = cookie(&browser);
    std::thread::sleep(Duration::from_millis(4500));
    let newer = wait_for("a newer token", PATIENCE, || {
        let answer = browser.fetch(&proxy.url("/x"));
        assert_eq!(answer.status, 200);
        let given = given(&answer).map(str::to_owned);
        if given.is_some() {
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        given
    });
    let (old, new) = (payload(&first), payload(&newer));
    assert_eq!(old["sid"], new["sid"], "one session");
    assert_ne!(old["jti"], new["jti"]);
    assert!(new["exp"].as_i64() > old["exp"].as_i64());
    assert_eq!(cookie(&browser), newer);
    application.forget();
    let answer = browser.visit(&proxy.url("/y"));
    assert_eq!((answer.status, given(&answer)), (200, None), "it arrived");
    let request = application.last();
    assert_eq!(request.cookies(COOKIE), [newer]);
    assert_eq!(request.only("x-forwarded-user"), Some(&*user));
    assert_eq!(proxy.metric("vestibule_renewals_total", &["renewed"]), 1.0);
}

/// A lunch break, or a Set-Cookie that was lost, ends nothing: any request renews, even one that changes something.
#[test]
fn a_token_that_ran_out_is_renewed_by_any_request() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = short(&application).at(provider).start();
    let browser = proxy.signed_in(&new_person("late"));
    let old = cookie(&browser);
    run_out(&old);
    application.forget();
    let mut sending = Sending::by_person(&proxy.url("/form"));
    sending.method = "POST".to_owned();
    let form = "application/x-www-form-urlencoded".to_owned();
    sending.body = Some((form, b"field=kept".to_vec()));
    let answer = browser.send(&sending);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let newer = given(&answer).expect("a newer token").to_owned();
    let request = application.last();
    assert_eq!(
        (&*request.method, &*request.body),
        ("POST", &b"field=kept"[..])
    );
    assert_eq!(request.cookies(COOKIE), [newer], "not the one that ran out");
    // The old cookie once more, as of a request that was on its way.
    let again = proxy.get("/x", &cookie_line(&old));
    assert_eq!(again.status, 200);
    assert!(given(&again).is_some());
}

#[test]
fn lesson_09_a_hundred_requests_at_the_end_make_one_renewal() {
    let application = Application::start();
    let provider = Provider::start(0);
    let proxy = short(&application).at(&provider).start();
    let browser = proxy.signed_in(&new_person("crowd"));
    let old = cookie(&browser);
    run_out(&old);
    let before = provider.asked("POST /token");
    let line = cookie_line(&old);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| proxy.get("/x", &line).status);
        let all: Vec<_> = (0..100).map(|_| one()).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 100]);
    assert_eq!(provider.asked("POST /token"), before + 1);
}

/// The same over two nodes with one database: one of them asks, and both hand out what it got.
#[test]
fn lesson_09_two_nodes_renew_a_session_once() {
    let application = Application::start();
    let (provider, postgres) = (Provider::start(0), Postgres::shared());
    let database = postgres.database();
    let one = short(&application)
        .on_postgres(postgres, &database)
        .at(&provider)
        .start();
    let other = short(&application)
        .public_origin(one.origin())
        .on_postgres(postgres, &database)
        .at_issuer(&provider.issuer, one.client.clone())
        .start();
    let old = cookie(&one.signed_in(&new_person("nodes")));
    run_out(&old);
    let before = provider.asked("POST /token");
    let line = cookie_line(&old);
    let nodes = [&one, &other];
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..40)
            .map(|number| {
                let (node, line) = (nodes[number % 2], &line);
                let host = one.host();
                scope.spawn(move || get(node.address, host, &node.path("/x"), line))
            })
            .collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let tokens: std::collections::BTreeSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{}", answer.text());
            given(answer).expect("a newer token").to_owned()
        })
        .collect();
    assert_eq!(tokens.len(), 1, "every node hands out the same");
    assert_eq!(provider.asked("POST /token"), before + 1);
}

/// A provider that answers 503 for as long as it likes logs nobody out.
#[test]
fn lesson_10_a_provider_that_is_down_ends_no_session() {
    let application = Application::start();
    let provider = Provider::start(0);
    let proxy = short(&application).at(&provider).start();
    let browser = proxy.signed_in(&new_person("patient"));
    provider.fail("/token", 503);
    let old = cookie(&browser);
    run_out(&old);
    let answer = browser.visit(&proxy.url("/x"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let extended = given(&answer)
        .expect("a token that lasts until the next try")
        .to_owned();
    assert_eq!(payload(&extended)["sid"], payload(&old)["sid"]);
    assert_eq!(application.last().cookies(COOKIE), [extended]);
    assert_eq!(proxy.metric("vestibule_renewals_total", &["put-off"]), 1.0);
    proxy.wait_for_log("the renewal of a session is put off");
    let asked = provider.asked("POST /token");
    for _ in 0..20 {
        assert_eq!(browser.visit(&proxy.url("/x")).status, 200);
    }
    assert_eq!(
        provider.asked("POST /token"),
        asked,
        "it is left alone for a while"
    );
}

/// With UserInfo unreachable nothing is mapped, so the renewal waits, and the rotated refresh token is not lost.
#[test]
fn user_info_that_does_not_answer_puts_a_renewal_off() {
    let application = Application::start();
    let provider = Provider::start(0);
    let proxy = short(&application)
        .with("[[providers]]", "user_info", "\"always\"")
        .at(&provider)
        .start();
    let user = new_person("halfway");
    let browser = proxy.signed_in(&user);
    provider.fail("/me", 503);
    provider.claim(
        &user,
        &json!({"preferred_username": user, "family_name": "Changed"}),
    );
    run_out(&cookie(&browser));
    assert_eq!(browser.visit(&proxy.url("/x")).status, 200);
    assert_eq!(proxy.users()[0]["name"], "Family", "nothing is mapped");
    // Once it answers again the next try goes through, with the refresh token of the one that was put off.
    provider.fail("/me", 0);
    let name = || proxy.users()[0]["name"] == "Changed";
    wait_for("the next renewal", 3 * PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(
            browser.visit(&proxy.url("/x")).status,
            200,
            "{}",
            proxy.log()
        );
        name().then_some(())
    });
}

#[test]
fn invalid_grant_ends_the_session() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = short(&application).at(provider).start();
    let user = new_person("revoked");
    let browser = proxy.signed_in(&user);
    let old = cookie(&browser);
    provider.revoke(&user);
    run_out(&old);
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 401);
    assert_eq!(proxy.metric("vestibule_renewals_total", &["ended"]), 1.0);
    proxy.wait_for_log("invalid_grant");
    assert_eq!(proxy.get("/x", &cookie_line(&old)).status, 401);
}

/// Lesson 13: mapping, status and access rules are decided again at each renewal.
#[test]
fn lesson_13_a_renewal_maps_the_claims_again() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = short(&application)
        .with(
            "[access]",
            "rules",
            "[{ require = \"claims.department != 'left'\", message = \"You have left.\" }]",
        )
        .maps("department", "\"department\"")
        .at(provider)
        .start();
    let user = new_person("moving");
    let claims = |department: &str, name: &str| json!({"preferred_username": user, "family_name": name, "department": department});
    provider.claim(&user, &claims("sales", "Before"));
    let browser = proxy.signed_in(&user);
    provider.claim(&user, &claims("law", "After"));
    run_out(&cookie(&browser));
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
    let users = proxy.users();
    assert_eq!(
        (&users[0]["name"], &users[0]["department"]),
        (&json!("After"), &json!("law"))
    );
    provider.claim(&user, &claims("left", "After"));
    run_out(&cookie(&browser));
    assert_eq!(
        browser.fetch(&proxy.url("/x")).status,
        401,
        "the session ends"
    );
    let page = browser.navigate(&proxy.url("/x"));
    assert_eq!(page.answer.status, 403);
    assert!(page.answer.text().contains("You have left."));
}

/// Nothing renews the sessions of a provider that has left the file; its log says so once, not at every request.
#[test]
fn a_provider_that_left_the_file_is_told_of_once() {
    let application = Application::start();
    let mut proxy = short(&application).at(Provider::shared()).start();
    let people = ["left", "behind"].map(|person| cookie(&proxy.signed_in(&new_person(person))));
    let file = proxy.file("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let renamed = text.replace("name = \"test\"", "name = \"other\"");
    assert_ne!(text, renamed);
    std::fs::write(&file, renamed).unwrap();
    proxy.restart();
    for token in &people {
        run_out(token);
        for _ in 0..3 {
            assert_eq!(proxy.get("/x", &cookie_line(token)).status, 401);
        }
    }
    let told = "no [[providers]] entry has this name";
    proxy.wait_for_log(told);
    assert_eq!(proxy.log().matches(told).count(), 1, "{}", proxy.log());
}

#[test]
fn max_lifetime_is_the_end_of_renewals() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = short(&application)
        .with("[session]", "lifetime", "\"3s\"")
        .with("[session]", "max_lifetime", "\"8s\"")
        .at(provider)
        .start();
    let browser = proxy.signed_in(&new_person("mortal"));
    let first = payload(&cookie(&browser));
    let begun = first["iat"].as_i64().unwrap();
    run_out(&cookie(&browser));
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
    run_out(&cookie(&browser));
    // Whatever was given last ends with the session.
    let last = browser.fetch(&proxy.url("/x"));
    if last.status == 200 {
        assert_eq!(payload(&cookie(&browser))["exp"].as_i64(), Some(begun + 8));
        run_out(&cookie(&browser));
    }
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 401);
}

#[test]
fn a_session_that_nobody_uses_ends() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::new(&application)
        .with("[session]", "idle_timeout", "\"5s\"")
        .at(provider)
        .start();
    let (busy, idle) = (
        proxy.signed_in(&new_person("busy")),
        proxy.signed_in(&new_person("idle")),
    );
    for _ in 0..7 {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(busy.fetch(&proxy.url("/x")).status, 200, "{}", proxy.log());
    }
    assert_eq!(idle.fetch(&proxy.url("/x")).status, 401);
    assert_eq!(proxy.get("/x", &cookie_line(&cookie(&idle))).status, 401);
}

/// One node sees the requests, the other hears of them through the store.
#[test]
fn nodes_share_the_last_use_of_a_session() {
    let (application, provider) = (Application::start(), Provider::shared());
    let postgres = Postgres::shared();
    let database = postgres.database();
    let idle = |setup: Setup| {
        setup
            .with("[session]", "idle_timeout", "\"6s\"")
            .on_postgres(postgres, &database)
    };
    let one = idle(Setup::new(&application)).at(provider).start();
    let other = idle(Setup::new(&application).public_origin(one.origin()))
        .at_issuer(&provider.issuer, one.client.clone())
        .start();
    let browser = one.signed_in(&new_person("shared"));
    let line = cookie_line(&cookie(&browser));
    let there = || get(other.address, one.host(), &other.path("/x"), &line).status;
    assert_eq!(there(), 200);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(one.get("/x", &line).status, 200);
    }
    assert_eq!(there(), 200, "in use on the other node");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(there(), 401);
    assert_eq!(one.get("/x", &line).status, 401);
}

/// Only a renewal would bring another token: signing out forestalls it.
#[test]
fn signing_out_with_a_token_that_ran_out_ends_the_session() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = short(&application).at(provider).start();
    let browser = proxy.signed_in(&new_person("leaving"));
    let old = cookie(&browser);
    run_out(&old);
    browser.visit(&proxy.url("/auth/logout"));
    assert_eq!(proxy.get("/x", &cookie_line(&old)).status, 401);
}

/// Tokens under a key that signs no more are good, and are minted anew at the next request.
#[test]
fn tokens_of_a_demoted_key_are_minted_anew() {
    let (application, provider) = (Application::start(), Provider::shared());
    let mut proxy = Setup::new(&application)
        .file(
            "session_key_2",
            "another session key of the tests, long enough",
        )
        .at(provider)
        .start();
    let browser = proxy.signed_in(&new_person("keys"));
    let old = cookie(&browser);
    let path = proxy.file("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let keys = "[{ id = \"1\", secret = { file = \"session_key\" } }]";
    let both = "[{ id = \"2\", secret = { file = \"session_key_2\" } }, { id = \"1\", secret = { file = \"session_key\" } }]";
    std::fs::write(&path, text.replace(keys, both)).unwrap();
    proxy.restart();
    application.forget();
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
    let newer = cookie(&browser);
    assert_ne!(old, newer);
    assert_eq!(
        application.last().cookies(COOKIE),
        [&*newer],
        "the application may know the new key only"
    );
    assert_eq!(payload(&old)["sid"], payload(&newer)["sid"]);
    let header = jsonwebtoken::decode_header(&newer).unwrap();
    assert_eq!(header.kid.as_deref(), Some("2"));
    let answer = browser.fetch(&proxy.url("/y"));
    assert_eq!((answer.status, given(&answer)), (200, None));
}

/// Lesson 25: the provider's tokens are in no file in the clear, in no log and in no header.
#[test]
fn lesson_25_refresh_tokens_are_sealed() {
    let application = Application::start();
    let provider = Provider::start(0);
    let mut proxy = short(&application).at(&provider).start();
    let browser = proxy.signed_in(&new_person("sealed"));
    run_out(&cookie(&browser));
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
    let tokens = provider.tokens();
    assert!(tokens.len() >= 6, "two answers with three tokens each");
    proxy.terminate();
    assert_eq!(proxy.wait_until_ended(), Some(0));
    for entry in std::fs::read_dir(proxy.file("")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for token in &tokens {
            let found = bytes
                .windows(token.len())
                .any(|window| window == token.as_bytes());
            assert!(!found, "a token in the clear");
        }
    }
    let log = proxy.log();
    let headers: Vec<_> = application
        .received()
        .into_iter()
        .flat_map(|it| it.headers)
        .collect();
    for token in &tokens {
        assert!(!log.contains(token));
        assert!(headers.iter().all(|(_, value)| !value.contains(token)));
    }
}

/// Nobody knows then whether a session may be renewed: those that are known here go on.
#[test]
fn sessions_go_on_while_the_store_is_down() {
    let application = Application::start();
    let (provider, mut postgres) = (Provider::shared(), Postgres::start());
    let database = postgres.database();
    let proxy = short(&application)
        .on_postgres(&postgres, &database)
        .at(provider)
        .start();
    let browser = proxy.signed_in(&new_person("stored"));
    let old = cookie(&browser);
    postgres.stop();
    run_out(&old);
    let answer = browser.visit(&proxy.url("/x"));
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), proxy.log());
    let foreign = proxy.get("/x", &cookie_line("a.b.c"));
    assert_eq!(foreign.status, 401);
    postgres.start_again();
    wait_for("the store", PATIENCE, || {
        (proxy.metric("vestibule_store_up", &[]) == 1.0).then_some(())
    });
    assert_eq!(browser.visit(&proxy.url("/x")).status, 200);
}

/// A proxy at a provider whose answers to refresh tokens a test can choose, and somebody who is signed in there.
fn of_liar(application: &Application) -> (LyingProvider, Proxy, Browser) {
    let provider = LyingProvider::launch();
    provider.give_refresh_tokens();
    provider.set_claims(person("alice"));
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = short(application)
        .at_issuer(provider.issuer(), client)
        .start();
    let browser = proxy.browser();
    let page = browser.navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 200, "{}", proxy.log());
    (provider, proxy, browser)
}

fn person(sub: &str) -> serde_json::Value {
    json!({"sub": sub, "preferred_username": sub, "family_name": "Person"})
}

/// What a provider says of another person, or does not say at all, is nobody's renewal.
#[test]
fn a_renewal_that_cannot_be_believed_ends_the_session() {
    let application = Application::start();
    let (provider, proxy, _) = of_liar(&application);
    let lies = [
        None,
        Some(Lie::Issuer),
        Some(Lie::Audience),
        Some(Lie::Nonce),
        Some(Lie::Expired),
        Some(Lie::Signature),
        Some(Lie::ForeignKey),
        Some(Lie::AlgNone),
        Some(Lie::Hs256ByClientSecret),
        Some(Lie::TwoSubjects),
        Some(Lie::UserInfoOtherSubject),
    ];
    let browsers = lies.map(|lie| {
        let browser = proxy.browser();
        assert_eq!(browser.navigate(&proxy.url("/page")).answer.status, 200);
        (lie, browser)
    });
    run_out(&cookie(&browsers[lies.len() - 1].1));
    application.forget();
    for (lie, browser) in &browsers {
        let old = cookie_line(&cookie(browser));
        match lie {
            Some(Lie::UserInfoOtherSubject) => provider.set_claims(json!({"sub": "alice"})),
            Some(_) => {}
            None => provider.set_claims(person("mallory")),
        }
        lie.inspect(|lie| provider.lie(*lie));
        assert_eq!(browser.fetch(&proxy.url("/x")).status, 401, "{lie:?}");
        provider.be_honest();
        provider.set_claims(person("alice"));
        assert_eq!(proxy.get("/x", &old).status, 401, "for good: {lie:?}");
    }
    assert!(application.received().is_empty());
    assert_eq!(proxy.users().len(), 1, "nobody else was made a user");
}

/// Providers that give no ID token with a refresh vouch for the former one.
#[test]
fn a_renewal_without_an_id_token_goes_on() {
    let application = Application::start();
    let (provider, proxy, browser) = of_liar(&application);
    provider.lie(Lie::NoIdToken);
    run_out(&cookie(&browser));
    assert_eq!(
        browser.fetch(&proxy.url("/x")).status,
        200,
        "{}",
        proxy.log()
    );
    run_out(&cookie(&browser));
    assert_eq!(
        browser.fetch(&proxy.url("/x")).status,
        200,
        "the rotated token too"
    );
    assert_eq!(proxy.metric("vestibule_renewals_total", &["renewed"]), 2.0);
}

/// The provider signs by a new key, and its key set does not answer, or was just asked: that is its trouble, not the
/// person's.
#[test]
fn keys_that_cannot_be_had_put_a_renewal_off() {
    let application = Application::start();
    let (provider, proxy, browser) = of_liar(&application);
    provider.rotate();
    provider.lie(Lie::Jwks500);
    run_out(&cookie(&browser));
    assert_eq!(
        browser.fetch(&proxy.url("/x")).status,
        200,
        "{}",
        proxy.log()
    );
    assert_eq!(proxy.metric("vestibule_renewals_total", &["put-off"]), 1.0);
}

/// What a renewal beside a request has made is known by then: the request that brings it in asks the application alone.
#[test]
fn a_newer_token_waits_for_no_store() {
    let application = Application::start();
    let (provider, postgres) = (LyingProvider::launch(), Postgres::shared());
    let database = postgres.database();
    provider.give_refresh_tokens();
    provider.set_claims(person("alice"));
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = short(&application)
        .with("[session]", "lifetime", "\"9s\"")
        .on_postgres(postgres, &database)
        .at_issuer(provider.issuer(), client)
        .start();
    let browser = proxy.browser();
    assert_eq!(browser.navigate(&proxy.url("/page")).answer.status, 200);
    let line = cookie_line(&cookie(&browser));
    std::thread::sleep(Duration::from_millis(6500));
    assert_eq!(proxy.get("/x", &line).status, 200);
    wait_for("the renewal", PATIENCE, || {
        (proxy.metric("vestibule_renewals_total", &["renewed"]) == 1.0).then_some(())
    });
    std::thread::scope(|scope| {
        let hold =
            "begin; lock table sessions in access exclusive mode; select pg_sleep(5); commit";
        let holding = scope.spawn(|| postgres.query(&database, hold));
        std::thread::sleep(Duration::from_millis(500));
        let before = Instant::now();
        let answer = proxy.get("/x", &line);
        let took = before.elapsed();
        assert_eq!(answer.status, 200);
        assert!(given(&answer).is_some(), "the newer token");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(!holding.is_finished());
    });
}

/// Nor do those that last while the store is away.
#[test]
fn nobody_waits_for_a_store_that_is_away() {
    let application = Application::start();
    let (provider, mut postgres) = (Provider::shared(), Postgres::start());
    let database = postgres.database();
    let proxy = short(&application)
        .on_postgres(&postgres, &database)
        .at(provider)
        .start();
    let browser = proxy.signed_in(&new_person("hasty"));
    postgres.stop();
    run_out(&cookie(&browser));
    assert_eq!(browser.visit(&proxy.url("/x")).status, 200);
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let before = Instant::now();
        assert_eq!(browser.visit(&proxy.url("/x")).status, 200);
        let took = before.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sessions that all run out at once do not take as many connections to a provider that is slow, and go on.
#[test]
fn a_slow_provider_is_asked_by_few_at_a_time() {
    let application = Application::start();
    let (provider, proxy, _) = of_liar(&application);
    let tokens: Vec<_> = (0..150)
        .map(|_| {
            let browser = proxy.browser();
            assert_eq!(browser.navigate(&proxy.url("/page")).answer.status, 200);
            cookie(&browser)
        })
        .collect();
    run_out(&tokens[tokens.len() - 1]);
    provider.lie(Lie::TokenSlow);
    std::thread::scope(|scope| {
        for token in &tokens {
            scope.spawn(|| assert_eq!(proxy.get("/x", &cookie_line(token)).status, 200));
        }
    });
    let most = provider.most_waiting();
    assert!((1..=64).contains(&most), "{most}");
}

/// The store goes away while the provider answers: the rotated refresh token comes there once it is back, for every node.
#[test]
fn a_rotated_refresh_token_is_kept_once_the_store_is_back() {
    let application = Application::start();
    let (provider, mut postgres) = (LyingProvider::launch(), Postgres::start());
    let database = postgres.database();
    provider.give_refresh_tokens();
    provider.set_claims(person("alice"));
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = short(&application)
        .on_postgres(&postgres, &database)
        .at_issuer(provider.issuer(), client)
        .start();
    let browser = proxy.browser();
    assert_eq!(browser.navigate(&proxy.url("/page")).answer.status, 200);
    let held =
        |postgres: &Postgres| postgres.query(&database, "select md5(refresh_token) from sessions");
    let before = held(&postgres);
    provider.lie(Lie::TokenLate);
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
    std::thread::sleep(Duration::from_secs(1));
    postgres.stop();
    wait_for("the renewal to be put off", 3 * PATIENCE, || {
        (proxy.metric("vestibule_renewals_total", &["put-off"]) == 1.0).then_some(())
    });
    postgres.start_again();
    wait_for("the newer refresh token", PATIENCE, || {
        (held(&postgres) != before).then_some(())
    });
}

/// Whoever is put out while the provider is asked about them stays out.
#[test]
fn a_renewal_under_way_lets_nobody_back_in() {
    let application = Application::start();
    let (provider, proxy, _) = of_liar(&application);
    let in_as = |sub: &str| {
        provider.set_claims(person(sub));
        let browser = proxy.browser();
        assert_eq!(browser.navigate(&proxy.url("/page")).answer.status, 200);
        browser
    };
    let done = |arguments: &[&str]| assert!(proxy.run(arguments).status.success());
    let put_out = |sub: &str, browser: &Browser| match sub {
        "deactivated" => done(&["users", "deactivate", sub]),
        "ended" => done(&["sessions", "end", "--user", sub]),
        _ => assert_eq!(browser.visit(&proxy.url("/auth/logout")).status, 303),
    };
    for sub in ["deactivated", "ended", "gone"] {
        let browser = in_as(sub);
        let old = cookie_line(&cookie(&browser));
        run_out(&cookie(&browser));
        application.forget();
        provider.lie(Lie::TokenLate);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| proxy.get("/x", &old).status);
            std::thread::sleep(Duration::from_millis(700));
            put_out(sub, &browser);
            assert_eq!(asking.join().unwrap(), 401, "{sub}");
        });
        provider.be_honest();
        assert_eq!(proxy.get("/x", &old).status, 401, "{sub}");
        assert!(application.received().is_empty(), "{sub}");
    }
}

/// A connection that was opened at one node goes on while another renews its session.
#[test]
fn a_websocket_goes_on_while_another_node_renews_its_session() {
    let application = Application::start();
    application.echo_upgraded("/wfgen/ws");
    let (provider, postgres) = (Provider::shared(), Postgres::shared());
    let database = postgres.database();
    let long = |setup: Setup| setup.with("[session]", "lifetime", "\"24s\"");
    let one = long(short(&application))
        .on_postgres(postgres, &database)
        .at(provider)
        .start();
    let other = long(short(&application))
        .public_origin(one.origin())
        .on_postgres(postgres, &database)
        .at_issuer(&provider.issuer, one.client.clone())
        .start();
    let old = cookie(&one.signed_in(&new_person("socket")));
    let line = cookie_line(&old);
    let mut socket = Wire::connect(one.address).unwrap();
    let handshake = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{line}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        one.path("/ws"),
        one.host()
    );
    socket.send(handshake).unwrap();
    assert_eq!(socket.answer_head().unwrap().status, 101);
    let mut echoed = || {
        socket.send("still here").unwrap();
        assert_eq!(socket.some().unwrap(), b"still here");
    };
    std::thread::sleep(Duration::from_secs(10));
    echoed();
    std::thread::sleep(Duration::from_secs(7));
    let there = || get(other.address, one.host(), &other.path("/x"), &line);
    wait_for("the renewal", PATIENCE, || given(&there()).map(drop));
    echoed();
    run_out(&old);
    std::thread::sleep(Duration::from_secs(2));
    echoed();
}

/// A process that is told to stop finishes the renewals that are under way: a refresh token that was spent in vain would
/// be the end of the session.
#[test]
fn a_renewal_under_way_outlives_the_order_to_stop() {
    let application = Application::start();
    let (provider, mut proxy, browser) = of_liar(&application);
    std::thread::sleep(Duration::from_millis(4500));
    provider.lie(Lie::TokenLater);
    assert_eq!(browser.fetch(&proxy.url("/x")).status, 200);
    std::thread::sleep(Duration::from_millis(500));
    proxy.terminate();
    assert_eq!(proxy.wait_until_ended(), Some(0));
    proxy.restart();
    provider.be_honest();
    run_out(&cookie(&browser));
    let answer = browser.fetch(&proxy.url("/x"));
    assert_eq!(answer.status, 200, "{}", proxy.log());
    assert_eq!(provider.requests().token, 2, "a sign-in and one renewal");
}

/// A node that has not seen a session before the store went away asks for it, and nobody waits for that.
#[test]
fn nobody_waits_for_a_store_that_confirms_nothing() {
    let application = Application::start();
    let (provider, mut postgres) = (Provider::shared(), Postgres::start());
    let database = postgres.database();
    let one = Setup::new(&application)
        .on_postgres(&postgres, &database)
        .at(provider)
        .start();
    let other = Setup::new(&application)
        .public_origin(one.origin())
        .on_postgres(&postgres, &database)
        .at_issuer(&provider.issuer, one.client.clone())
        .start();
    let browser = one.signed_in(&new_person("moved"));
    let line = cookie_line(&cookie(&browser));
    postgres.stop();
    let there = || get(other.address, one.host(), &other.path("/x"), &line).status;
    assert_eq!(there(), 200, "the first asks");
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        let before = Instant::now();
        assert_eq!(there(), 200);
        let took = before.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Once the store is back it is asked for good: whoever is ended meanwhile is out.
    postgres.start_again();
    assert!(one.run(&["sessions", "end", "--all"]).status.success());
    wait_for("the end", PATIENCE, || (there() == 401).then_some(()));
}
