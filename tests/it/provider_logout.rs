//! Logouts that a provider tells: Back-Channel Logout 1.0 with the certified provider and with one that lies,
//! Front-Channel Logout 1.0, and sign-ins that they meet on their way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::browser::Browser;
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, EDWARDS, Lie, LyingProvider, now};
use crate::support::postgres::Postgres;
use crate::support::provider::{Client, Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Answer, Wire, exchange, get};
use crate::support::{PATIENCE, wait_for};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A proxy at a provider whose every logout token a test can choose.
fn with_lies(application: &Application) -> (LyingProvider, Proxy) {
    let provider = LyingProvider::launch();
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = Setup::new(application)
        .at_issuer(provider.issuer(), client)
        .start();
    (provider, proxy)
}

/// Signed in as the person `sub` in the provider's session `sid`.
fn signed_in(provider: &LyingProvider, proxy: &Proxy, sub: &str, sid: &str) -> Browser {
    provider.set_claims(json!({
        "sub": sub, "sid": sid, "preferred_username": sub, "family_name": "Person", "email_verified": true,
    }));
    let browser = proxy.browser();
    let page = browser.navigate(&proxy.url("/page"));
    assert_eq!(
        page.answer.status,
        200,
        "{}\n{}",
        page.answer.text(),
        proxy.log()
    );
    browser
}

fn claims(provider: &LyingProvider, jti: &str, more: &Value) -> Value {
    let mut claims = json!({
        "iss": provider.issuer(), "aud": CLIENT_ID, "iat": now(), "exp": now() + 120, "jti": jti,
        "events": { EVENT: {} },
    });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn post(proxy: &Proxy, body: &str) -> Answer {
    let (path, host) = (proxy.path("/auth/backchannel-logout"), proxy.host());
    exchange(
        proxy.address,
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

fn tell(proxy: &Proxy, token: &str) -> Answer {
    post(proxy, &format!("logout_token={token}"))
}

fn status(browser: &Browser, proxy: &Proxy) -> u16 {
    browser.fetch(&proxy.url("/page")).status
}

/// Two applications, one provider: who signs out of the first is out of the second.
#[test]
fn lesson_14_the_certified_provider_ends_sessions_by_the_back_channel() {
    let (application, provider) = (Application::start(), Provider::start(0));
    let one = Setup::new(&application)
        .told_of_logouts()
        .at(&provider)
        .start();
    let other = Setup::new(&application)
        .base("/other")
        .told_of_logouts()
        .at(&provider)
        .start();
    let browser = one.browser().reach(other.origin(), other.address);
    let user = new_person("everywhere");
    browser.sign_in(&one.url("/page"), &user);
    // The provider knows the person, so it does not ask again.
    let page = browser.navigate(&other.url("/page"));
    assert_eq!(page.answer.status, 200, "{:#?}", page.addresses());
    let copy = format!("Cookie: wfgen_token={}\r\n", cookie_of(&browser, &other));
    assert_eq!(other.get("/page", &copy).status, 200);
    let question = browser.navigate(&one.url("/auth/logout"));
    browser.fill_in(&question, &[("logout", "yes")]);
    wait_for("the other session's end", PATIENCE, || {
        (other.get("/page", &copy).status == 401).then_some(())
    });
    assert_eq!(
        other.metric("vestibule_provider_logouts_total", &["done"]),
        1.0
    );
    other.wait_for_log("the provider ended sessions");
}

/// Cookies know no ports: the base path tells those of two proxies apart.
fn cookie_of(browser: &Browser, proxy: &Proxy) -> String {
    let all = browser.cookies("wfgen_token");
    let path = proxy.path("");
    let found = all.iter().find(|cookie| cookie.path == path);
    found.expect("it signed in there").value.clone()
}

#[test]
fn sid_and_sub_end_all_the_sessions_that_they_name() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application);
    let alice = [
        signed_in(&provider, &proxy, "alice", "desk"),
        signed_in(&provider, &proxy, "alice", "desk"),
        signed_in(&provider, &proxy, "alice", "phone"),
    ];
    let bob = signed_in(&provider, &proxy, "bob", "his");
    let statuses = || alice.each_ref().map(|browser| status(browser, &proxy));
    let token = provider.signed(
        "logout+jwt",
        &claims(&provider, "1", &json!({"sid": "desk"})),
    );
    let answer = tell(&proxy, &token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
    assert_eq!(statuses(), [401, 401, 200], "at once on this node");
    let token = provider.signed(
        "logout+jwt",
        &claims(&provider, "2", &json!({"sub": "alice"})),
    );
    assert_eq!(tell(&proxy, &token).status, 200);
    assert_eq!(statuses(), [401, 401, 401]);
    assert_eq!(status(&bob, &proxy), 200, "nobody else's");
    // Whoever signs in again after that is in.
    std::thread::sleep(Duration::from_millis(1100));
    let again = signed_in(&provider, &proxy, "alice", "new");
    assert_eq!(status(&again, &proxy), 200);
    let replayed = tell(&proxy, &token);
    assert_eq!(
        (replayed.status, &replayed.json()["error"]),
        (400, &json!("invalid_request"))
    );
    assert_eq!(status(&again, &proxy), 200, "a replay ends nothing");
}

#[test]
fn a_false_logout_token_ends_nothing() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application);
    let browser = signed_in(&provider, &proxy, "alice", "desk");
    let with = |more: Value| claims(&provider, "x", &more);
    let base = json!({"sid": "desk", "sub": "alice"});
    let and = |name: &str, value: Value| {
        let mut more = base.clone();
        more[name] = value;
        with(more)
    };
    let faults = [
        (
            "another issuer",
            and("iss", json!("https://elsewhere.example")),
        ),
        ("no issuer", and("iss", Value::Null)),
        ("another audience", and("aud", json!("somebody"))),
        ("no audience", and("aud", Value::Null)),
        ("no iat", and("iat", Value::Null)),
        ("an iat to come", and("iat", json!(now() + 600))),
        ("expired", and("exp", json!(now() - 600))),
        ("too old without exp", {
            let mut old = and("exp", Value::Null);
            old["iat"] = json!(now() - 3600);
            old
        }),
        ("no jti", and("jti", Value::Null)),
        ("a nonce, as an ID token has", and("nonce", json!("n"))),
        ("no events", and("events", Value::Null)),
        ("another event", and("events", json!({"other": {}}))),
        (
            "an event that is no object",
            and("events", json!({ EVENT: true })),
        ),
        ("neither sid nor sub", with(json!({}))),
        ("an empty sid", with(json!({"sid": ""}))),
        ("a sid that is a number", with(json!({"sid": 5}))),
    ];
    for (what, claims) in faults {
        let answer = tell(&proxy, &provider.signed("logout+jwt", &claims));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert_eq!(answer.json()["error"], "invalid_request", "{what}");
        assert!(answer.header("cache-control").unwrap().contains("no-store"));
    }
    let good = with(base.clone());
    let as_access_token = provider.signed("at+jwt", &good);
    let signed = provider.signed("logout+jwt", &good);
    let (input, _) = signed.rsplit_once('.').unwrap();
    let none = format!(
        "{}.{}.",
        "eyJhbGciOiJub25lIn0",
        signed.split('.').nth(1).unwrap()
    );
    let foreign = {
        let header = signed.split('.').next().unwrap();
        let payload = signed.split('.').nth(1).unwrap();
        use base64::Engine as _;
        let sign = EDWARDS.sign(format!("{header}.{payload}").as_bytes());
        format!(
            "{header}.{payload}.{}",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sign)
        )
    };
    let lying = |lie: Lie| {
        provider.lie(lie);
        let mut claims = good.clone();
        claims["jti"] = json!("forged");
        let token = provider.token("logout+jwt", claims);
        provider.be_honest();
        token
    };
    let by_secret = lying(Lie::Hs256ByClientSecret);
    let by_public_key = lying(Lie::Hs256ByPublicKey);
    for body in [
        format!("logout_token={as_access_token}"),
        format!("logout_token={input}."),
        format!("logout_token={by_secret}"),
        format!("logout_token={by_public_key}"),
        format!("logout_token={none}"),
        format!("logout_token={foreign}"),
        format!("logout_token={signed}&logout_token={signed}"),
        "logout_token=".to_owned(),
        "logout_token=a.b.c".to_owned(),
        "other=x".to_owned(),
        String::new(),
    ] {
        let answer = post(&proxy, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let big = post(&proxy, &"x".repeat(40_000));
    assert_eq!(big.status, 413, "{}", big.text());
    let by_get = proxy.get(
        &format!("/auth/backchannel-logout?logout_token={signed}"),
        "",
    );
    assert_eq!(by_get.status, 405);
    assert_eq!(status(&browser, &proxy), 200, "still in");
    assert!(!proxy.log().contains("desk"), "no claim's value in the log");
    assert_eq!(tell(&proxy, &signed).status, 200, "the good one is good");
    assert_eq!(status(&browser, &proxy), 401);
}

/// A logout that comes before its sign-in is finished is remembered.
#[test]
fn a_sign_in_does_not_outrun_its_logout() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application);
    let early = claims(&provider, "early", &json!({"sid": "doomed"}));
    assert_eq!(
        tell(&proxy, &provider.signed("logout+jwt", &early)).status,
        200
    );
    provider.set_claims(json!({
        "sub": "late", "sid": "doomed", "preferred_username": "late", "family_name": "Late",
    }));
    let browser = proxy.browser();
    let page = browser.navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 400, "{}", page.answer.text());
    assert!(browser.cookies("wfgen_token").is_empty());
    // The person itself is told out at the time of the ID token.
    let by_subject = claims(
        &provider,
        "subject",
        &json!({"sub": "late", "iat": now() + 2}),
    );
    assert_eq!(
        tell(&proxy, &provider.signed("logout+jwt", &by_subject)).status,
        200
    );
    provider.set_claims(json!({
        "sub": "late", "sid": "other", "preferred_username": "late", "family_name": "Late",
    }));
    let page = proxy.browser().navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 400);
    std::thread::sleep(Duration::from_secs(3));
    let page = proxy.browser().navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 200, "a later sign-in is another one");
}

#[test]
fn the_front_channel_ends_the_session_that_it_names() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application);
    let browser = signed_in(&provider, &proxy, "frances", "framed");
    let ask = |query: &str| proxy.get(&format!("/auth/frontchannel-logout{query}"), "");
    let issuer: String =
        url::form_urlencoded::byte_serialize(provider.issuer().as_bytes()).collect();
    for query in [
        String::new(),
        format!("?iss={issuer}"),
        "?sid=framed".to_owned(),
        format!("?iss={issuer}&sid="),
        "?iss=https%3A%2F%2Felsewhere.example&sid=framed".to_owned(),
        format!("?iss={issuer}&sid=framed&sid=other"),
    ] {
        assert_eq!(ask(&query).status, 400, "{query}");
    }
    assert_eq!(ask(&format!("?iss={issuer}&sid=another")).status, 200);
    assert_eq!(status(&browser, &proxy), 200);
    let answer = ask(&format!("?iss={issuer}&sid=framed"));
    assert_eq!(answer.status, 200);
    assert!(answer.header("cache-control").unwrap().contains("no-store"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.contains(&format!("frame-ancestors {}", provider.issuer())),
        "{policy}"
    );
    assert_eq!(
        answer.header("x-frame-options"),
        None,
        "the provider shows it in a frame"
    );
    assert_eq!(status(&browser, &proxy), 401);
}

/// Every node refuses within a second, open WebSockets are closed; and within ten without the channel.
#[test]
fn a_logout_ends_sessions_and_their_websockets_on_every_node() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    application.echo_upgraded("/wfgen/ws");
    let provider = LyingProvider::launch();
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let database = postgres.database();
    let one = Setup::new(&application)
        .on_postgres(postgres, &database)
        .at_issuer(provider.issuer(), client.clone())
        .start();
    let other = Setup::new(&application)
        .public_origin(one.origin())
        .on_postgres(postgres, &database)
        .at_issuer(provider.issuer(), client)
        .start();
    for round in 0..6 {
        let sid = format!("round{round}");
        let browser = signed_in(&provider, &one, "walter", &sid);
        let cookie = format!("Cookie: wfgen_token={}\r\n", browser.cookie("wfgen_token"));
        let there = || get(other.address, one.host(), &one.path("/page"), &cookie).status;
        assert_eq!(there(), 200);
        let mut socket = Wire::connect(other.address).unwrap();
        let (path, host) = (one.path("/ws"), one.host());
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        socket.send(handshake).unwrap();
        assert_eq!(socket.answer_head().unwrap().status, 101);
        if round == 5 {
            // The channel is cut: nobody listens for a moment, and the table is read.
            let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query ilike 'listen%'";
            assert_ne!(postgres.query(&database, cut), "0");
        }
        let token = provider.signed("logout+jwt", &claims(&provider, &sid, &json!({"sid": sid})));
        assert_eq!(tell(&one, &token).status, 200);
        let told = Instant::now();
        while there() != 401 {
            assert!(told.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = told.elapsed();
        if round < 5 {
            // Reading the table every second alone would take longer in half of the rounds.
            assert!(took < Duration::from_millis(500), "round {round}: {took:?}");
        }
        assert!(
            socket.some().is_ok_and(|some| some.is_empty()),
            "the socket is closed"
        );
        assert!(
            told.elapsed() < Duration::from_secs(3),
            "{:?}",
            told.elapsed()
        );
    }
}

#[test]
fn a_logout_that_cannot_be_recorded_says_so() {
    let application = Application::start();
    let mut postgres = Postgres::start();
    let database = postgres.database();
    let provider = LyingProvider::launch();
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = Setup::new(&application)
        .on_postgres(&postgres, &database)
        .at_issuer(provider.issuer(), client)
        .start();
    let browser = signed_in(&provider, &proxy, "nora", "hers");
    let token = provider.signed(
        "logout+jwt",
        &claims(&provider, "1", &json!({"sid": "hers"})),
    );
    postgres.stop();
    let answer = tell(&proxy, &token);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    postgres.start_again();
    wait_for("the same token to count", PATIENCE, || {
        (tell(&proxy, &token).status == 200).then_some(())
    });
    assert_eq!(status(&browser, &proxy), 401);
}

/// A logout that is signed by a key which cannot be had now is not lost: the provider is told to send it again.
#[test]
fn a_logout_whose_key_cannot_be_had_is_asked_for_again() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application);
    let browser = signed_in(&provider, &proxy, "kay", "keys");
    provider.rotate();
    provider.lie(Lie::Jwks500);
    let token = provider.signed(
        "logout+jwt",
        &claims(&provider, "1", &json!({"sid": "keys"})),
    );
    let answer = tell(&proxy, &token);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    provider.be_honest();
    wait_for("the same token to count", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(500));
        (tell(&proxy, &token).status == 200).then_some(())
    });
    assert_eq!(status(&browser, &proxy), 401);
}

/// Some providers name their session in logout tokens and not in ID tokens.
#[test]
fn a_logout_by_sid_and_sub_ends_sessions_that_have_no_sid() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application);
    let in_as = |sub: &str| signed_in(&provider, &proxy, sub, "");
    let named = signed_in(&provider, &proxy, "nina", "named");
    provider.set_claims(json!({"sub": "nina", "preferred_username": "nina", "family_name": "P"}));
    let unnamed = proxy.browser();
    assert_eq!(unnamed.navigate(&proxy.url("/page")).answer.status, 200);
    let other = in_as("olga");
    let more = json!({"sid": "another", "sub": "nina", "iat": now() + 1});
    let token = provider.signed("logout+jwt", &claims(&provider, "both", &more));
    assert_eq!(tell(&proxy, &token).status, 200);
    assert_eq!(status(&unnamed, &proxy), 401);
    assert_eq!(status(&named, &proxy), 200, "it is known to be another one");
    assert_eq!(status(&other, &proxy), 200, "nobody else's");
    // Nor does a sign-in outrun it.
    provider.set_claims(
        json!({"sub": "nina", "preferred_username": "nina", "family_name": "P", "iat": now() - 5}),
    );
    let page = proxy.browser().navigate(&proxy.url("/page"));
    assert_eq!(page.answer.status, 400, "{}", page.answer.text());
}

/// What one provider says is of its own sessions and people.
#[test]
fn a_provider_ends_no_session_of_another() {
    let application = Application::start();
    let provider = LyingProvider::launch();
    let other = LyingProvider::launch();
    other.rotate_to(&EDWARDS, "its own");
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = Setup::new(&application)
        .at_issuer(provider.issuer(), client)
        .more(&format!(
            "\n[[providers]]\nname = \"other\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
             client_secret = {{ file = \"client_secret\" }}\n",
            other.issuer()
        ))
        .start_unready();
    wait_for("both providers", PATIENCE, || {
        let up = |name: &str| proxy.metric("vestibule_provider_up", &[name]) == 1.0;
        (up("test") && up("other")).then_some(())
    });
    provider.set_claims(
        json!({"sub": "same", "sid": "same", "preferred_username": "same", "family_name": "P"}),
    );
    let browser = proxy.browser();
    let login = "/auth/login?provider=test&return_to=/wfgen/page";
    assert_eq!(browser.navigate(&proxy.url(login)).answer.status, 200);
    for (jti, more) in [
        ("1", json!({"sid": "same"})),
        ("2", json!({"sub": "same"})),
        ("3", json!({"sid": "same", "sub": "same"})),
    ] {
        let own = other.signed("logout+jwt", &claims(&other, jti, &more));
        assert_eq!(tell(&proxy, &own).status, 200, "{more}");
        // Its key, the other's name.
        let foreign = other.signed("logout+jwt", &claims(&provider, jti, &more));
        assert!(tell(&proxy, &foreign).status >= 400, "{more}");
    }
    let issuer: String = url::form_urlencoded::byte_serialize(other.issuer().as_bytes()).collect();
    let frame = format!("/auth/frontchannel-logout?iss={issuer}&sid=same");
    assert_eq!(proxy.get(&frame, "").status, 200);
    assert_eq!(status(&browser, &proxy), 200, "still in");
    let token = provider.signed(
        "logout+jwt",
        &claims(&provider, "1", &json!({"sid": "same"})),
    );
    assert_eq!(
        tell(&proxy, &token).status,
        200,
        "the other's token of that name is not this one"
    );
    assert_eq!(status(&browser, &proxy), 401);
}

/// One issuer may stand in the file twice, as two clients: a logout token is for the one that it names.
#[test]
fn two_clients_of_one_issuer_are_told_apart() {
    let application = Application::start();
    let provider = LyingProvider::launch();
    let client = Client {
        id: "another".to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = Setup::new(&application)
        .at_issuer(provider.issuer(), client)
        .more(&format!(
            "\n[[providers]]\nname = \"second\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
             client_secret = {{ file = \"client_secret\" }}\n",
            provider.issuer()
        ))
        .start_unready();
    wait_for("both", PATIENCE, || {
        let up = |name: &str| proxy.metric("vestibule_provider_up", &[name]) == 1.0;
        (up("test") && up("second")).then_some(())
    });
    let login = "/auth/login?provider=second&return_to=/wfgen/page";
    let in_as = |sid: &str| {
        provider.set_claims(
            json!({"sub": "zoe", "sid": sid, "preferred_username": "zoe", "family_name": "P"}),
        );
        let browser = proxy.browser();
        assert_eq!(browser.navigate(&proxy.url(login)).answer.status, 200);
        browser
    };
    let (one, other) = (in_as("one"), in_as("other"));
    let token = provider.signed(
        "logout+jwt",
        &claims(&provider, "1", &json!({"sid": "one"})),
    );
    let answer = tell(&proxy, &token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(status(&one, &proxy), 401);
    let issuer: String =
        url::form_urlencoded::byte_serialize(provider.issuer().as_bytes()).collect();
    let frame = format!("/auth/frontchannel-logout?iss={issuer}&sid=other");
    assert_eq!(proxy.get(&frame, "").status, 200);
    assert_eq!(status(&other, &proxy), 401);
}
