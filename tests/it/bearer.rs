//! Routes for programs: access tokens of the real provider pass for users and for machines, those of the lying
//! provider do not, and whoever may no longer come in is out within the bound of sessions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, Lie, LyingProvider, now};
use crate::support::postgres::Postgres;
use crate::support::provider::{Client, Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::{Answer, Wire, exchange, get};
use crate::support::{PATIENCE, wait_for};

const AUDIENCE: &str = "https://workflow.example.com/wfgen/graphql";
const USERNAME: &str = "com.workflowgen.api.username";

fn setup(application: &Application, route: &str) -> Setup {
    Setup::new(application)
        .with(
            "[[providers]]",
            "access_token_audience",
            &format!("{AUDIENCE:?}"),
        )
        .with(
            "[upstream.identity]",
            "headers",
            "{ \"X-Forwarded-Mail\" = \"email\" }",
        )
        .route("/wfgen/graphql", "bearer", route)
}

fn usual(application: &Application, route: &str) -> Proxy {
    setup(application, route).at(Provider::shared()).start()
}

fn of_liar(application: &Application, liar: &LyingProvider) -> Proxy {
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = setup(application, "machine = true")
        .with("[[providers]]", "clock_skew", "\"0s\"")
        .at_issuer(liar.issuer(), client)
        .start();
    liar.set_claims(json!({"preferred_username": "liar", "family_name": "L"}));
    let page = proxy.browser().navigate(&proxy.url("/"));
    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    proxy
}

#[track_caller]
fn call(proxy: &Proxy, token: &str) -> Answer {
    let lines = format!("Authorization: Bearer {token}\r\n");
    proxy.get("/graphql", &lines)
}

fn program() -> &'static Client {
    static PROGRAM: std::sync::OnceLock<Client> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| Provider::shared().register_program())
}

fn token_of(person: &str) -> String {
    Provider::shared().access_token(program(), person, AUDIENCE)
}

#[track_caller]
fn is_challenge(answer: &Answer, status: u16, error: &str, slug: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = format!("urn:vestibule:problem:{slug}");
    assert_eq!(answer.json()["type"], problem.as_str());
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(
        challenge.starts_with("Bearer realm=\"http://"),
        "{challenge}"
    );
    let named = format!("error=\"{error}\"");
    match error {
        "" => assert!(!challenge.contains("error"), "{challenge}"),
        _ => assert!(challenge.contains(&named), "{challenge}"),
    }
    assert!(answer.header("set-cookie").is_none());
}

#[track_caller]
fn is_insufficient(answer: &Answer, why: &str) {
    is_challenge(
        answer,
        403,
        "insufficient_scope",
        "access-token-insufficient",
    );
    let reason = answer.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(why), "{reason}");
}

#[track_caller]
fn soon(what: &str, proxy: &Proxy, token: &str, status: u16) {
    let asked = Instant::now();
    wait_for(what, PATIENCE, || {
        (call(proxy, token).status == status).then_some(())
    });
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3), "{what} took {took:?}");
}

#[test]
fn a_program_calls_for_a_user() {
    let application = Application::start();
    let proxy = usual(&application, "");
    let person = new_person("caller");
    proxy.signed_in(&person);
    let token = token_of(&person);
    let lines = format!(
        "Authorization: Bearer {token}\r\nX-Forwarded-User: administrator\r\nX_Forwarded_Mail: a@b\r\n\
         Cookie: wfgen_token=x; theme=dark\r\n"
    );
    for _ in 0..3 {
        application.forget();
        let answer = proxy.get("/graphql", &lines);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let request = application.last();
        assert_eq!(request.only("x-forwarded-user"), Some(person.as_str()));
        let mail = format!("{person}@example.test");
        assert_eq!(request.only("x-forwarded-mail"), Some(mail.as_str()));
        assert_eq!(request.all("x_forwarded_mail"), [""; 0]);
        let bearer = format!("Bearer {token}");
        assert_eq!(request.only("authorization"), Some(bearer.as_str()));
        assert_eq!(request.only("cookie"), Some("theme=dark"));
    }
    let counted = proxy.metric(
        "vestibule_requests_total",
        &["access=\"bearer\"", "status=\"200\""],
    );
    assert_eq!(counted, 3.0);
    proxy.wait_for_log("access=\"bearer\"");
    let log = proxy.log();
    assert!(!log.contains(&token), "{log}");
    // The token is for its route alone, and the session's cookie does not open that.
    assert_eq!(proxy.get("/page", &lines).status, 401);
    let cookie = proxy.signed_in(&person).cookie("wfgen_token");
    let answer = proxy.get("/graphql", &format!("Cookie: wfgen_token={cookie}\r\n"));
    is_challenge(&answer, 401, "", "access-token-needed");
}

/// The application gets the token on these routes, whatever becomes of the field elsewhere.
#[test]
fn the_token_passes_where_authorization_is_stripped_elsewhere() {
    let application = Application::start();
    let proxy = setup(&application, "")
        .with("[upstream]", "authorization", "\"strip\"")
        .at(Provider::shared())
        .start();
    let person = new_person("stripped");
    proxy.signed_in(&person);
    assert_eq!(call(&proxy, &token_of(&person)).status, 200);
    assert!(application.last().only("authorization").is_some());
}

#[test]
fn failures_are_told_as_rfc_6750_says() {
    let application = Application::start();
    let proxy = usual(&application, "");
    let person = new_person("failing");
    proxy.signed_in(&person);
    let token = token_of(&person);
    application.forget();
    for none in ["", "Authorization: Basic YTpi\r\n"] {
        let lines = format!("{none}Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n");
        let answer = proxy.get("/graphql", &lines);
        is_challenge(&answer, 401, "", "access-token-needed");
    }
    for broken in [
        "Authorization: Bearer\r\n".to_owned(),
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
        format!("Authorization: Bearer {token} {token}\r\n"),
    ] {
        let answer = proxy.get("/graphql", &broken);
        is_challenge(&answer, 400, "invalid_request", "access-token-malformed");
    }
    let opaque = call(&proxy, "opaque");
    is_challenge(&opaque, 401, "invalid_token", "access-token-invalid");
    let elsewhere = Provider::shared().access_token(program(), &person, "https://other.example");
    let answer = call(&proxy, &elsewhere);
    is_challenge(&answer, 401, "invalid_token", "access-token-invalid");
    proxy.wait_for_log("`aud`: expected https://workflow.example.com/wfgen/graphql");
    assert!(application.received().is_empty());
    let in_french = format!("Authorization: Bearer {elsewhere}\r\nAccept-Language: fr\r\n");
    let answer = proxy.get("/graphql", &in_french);
    assert_eq!(answer.json()["title"], "Le jeton d’accès n’est pas accepté");
}

#[test]
fn a_token_that_runs_out_is_told_so() {
    let application = Application::start();
    let provider = Provider::shared();
    let proxy = setup(&application, "")
        .with("[[providers]]", "clock_skew", "\"0s\"")
        .at(provider)
        .start();
    let person = new_person("expiring");
    proxy.signed_in(&person);
    let program = provider.register_program();
    provider.id_token_lifetime(&program, 3);
    let token = provider.access_token(&program, &person, AUDIENCE);
    assert_eq!(call(&proxy, &token).status, 200);
    wait_for("the token's end", PATIENCE, || {
        (call(&proxy, &token).status == 401).then_some(())
    });
    let answer = call(&proxy, &token);
    is_challenge(&answer, 401, "invalid_token", "access-token-invalid");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("has expired"), "{challenge}");
}

/// Nobody is made by an access token; whoever becomes somebody, or is no longer, is so here within seconds.
#[test]
fn users_come_and_go_as_the_directory_says() {
    let application = Application::start();
    let proxy = usual(&application, "");
    let person = new_person("coming");
    let token = token_of(&person);
    is_insufficient(&call(&proxy, &token), "no user of this site");
    assert!(proxy.users().is_empty());
    proxy.signed_in(&person);
    soon("a first sign-in", &proxy, &token, 200);
    let run = |arguments: &[&str]| {
        let output = proxy.run(arguments);
        assert!(output.status.success(), "{output:?}");
    };
    run(&["users", "deactivate", &person]);
    soon("a deactivation", &proxy, &token, 403);
    is_insufficient(&call(&proxy, &token), "not active");
    run(&["users", "activate", &person]);
    soon("an activation", &proxy, &token, 200);
    run(&["users", "unbind", &person, "--subject", &person]);
    soon("an unbinding", &proxy, &token, 403);
    is_insufficient(&call(&proxy, &token), "no user of this site");
}

#[test]
fn one_request_never_names_two_people() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = usual(&application, "");
    let person = new_person("renamed");
    proxy.signed_in(&person);
    let named = |name: &Value| {
        provider.claim_in_access_tokens(&person, &json!({ USERNAME: name }));
        call(&proxy, &token_of(&person))
    };
    assert_eq!(
        named(&json!(person.to_uppercase())).status,
        200,
        "the same name"
    );
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(person.as_str())
    );
    is_insufficient(&named(&json!("administrator")), "another user");
    let answer = named(&json!(["administrator"]));
    is_challenge(&answer, 401, "invalid_token", "access-token-invalid");
    // Without the claim the identity says who it is.
    assert_eq!(named(&Value::Null).status, 200);
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(person.as_str())
    );
}

#[test]
fn machines_pass_without_identity_where_the_route_says_so() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = setup(&application, "")
        .route("/wfgen/jobs/", "bearer", "machine = true")
        .at(provider)
        .start();
    let token = provider.machine_token(program(), AUDIENCE);
    is_insufficient(&call(&proxy, &token), "names no user");
    let lines = format!("Authorization: Bearer {token}\r\nX-Forwarded-User: administrator\r\n");
    application.forget();
    let answer = proxy.get("/jobs/1", &lines);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = application.last();
    assert_eq!(request.all("x-forwarded-user"), [""; 0]);
    assert!(request.only("authorization").is_some());
    assert_eq!(proxy.metric("vestibule_stripped_headers_total", &[]), 1.0);
    // A token that names a user is no machine's.
    let stranger = format!(
        "Authorization: Bearer {}\r\n",
        token_of(&new_person("stranger"))
    );
    is_insufficient(&proxy.get("/jobs/1", &stranger), "no user of this site");
    // Nor is that of somebody who was shut out.
    let person = new_person("shut-out");
    proxy.signed_in(&person);
    provider.claim_in_access_tokens(&person, &json!({}));
    let lines = format!("Authorization: Bearer {}\r\n", token_of(&person));
    assert_eq!(proxy.get("/jobs/1", &lines).status, 200);
    proxy.run(&["users", "deactivate", &person]);
    wait_for("the deactivation", PATIENCE, || {
        (proxy.get("/jobs/1", &lines).status == 403).then_some(())
    });
}

#[test]
fn rules_read_the_token_and_its_user() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = setup(&application, "")
        .route(
            "/wfgen/read/",
            "bearer",
            "machine = true\nrequire = \"'read' in claims.scope.split(' ')\"",
        )
        .route(
            "/wfgen/write/",
            "bearer",
            "require = \"'write' in claims.scope.split(' ')\"",
        )
        .route(
            "/wfgen/mine/",
            "bearer",
            "machine = true\nrequire = \"user.email.endsWith('@example.test')\"",
        )
        .at(provider)
        .start();
    let person = new_person("ruled");
    // The routes' rules are none of a sign-in's business: no claim of theirs is asked of UserInfo.
    proxy.signed_in(&person);
    let (user, machine) = (
        token_of(&person),
        provider.machine_token(program(), AUDIENCE),
    );
    let status = |below: &str, token: &str| {
        let lines = format!("Authorization: Bearer {token}\r\n");
        proxy.get(below, &lines).status
    };
    assert_eq!(status("/read/", &user), 200);
    assert_eq!(status("/read/", &machine), 200);
    assert_eq!(status("/write/", &user), 403);
    assert_eq!(status("/mine/", &user), 200);
    assert_eq!(status("/mine/", &machine), 403, "it has no fields");
    for spelling in ["/WRITE/", "/%77rite/", "/write;a=b/", "/write./"] {
        assert_eq!(status(spelling, &user), 403, "{spelling}");
    }
}

#[test]
fn explain_and_check_tell_what_a_token_opens() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = setup(&application, "")
        .route(
            "/wfgen/jobs/",
            "bearer",
            "machine = true\nrequire = \"claims.scope == 'read'\"",
        )
        .at(provider)
        .start();
    let person = new_person("explained");
    proxy.signed_in(&person);
    let explained = |token: &str| -> Value {
        std::fs::write(proxy.file("token"), token).unwrap();
        let output = proxy.run(&["explain", "--access-token", "token", "--json"]);
        assert!(output.status.success(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains(token));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let opens = |told: &Value| -> Vec<bool> {
        let routes = told["routes"].as_array().unwrap().iter();
        routes
            .map(|route| route["opens"].as_bool().unwrap())
            .collect()
    };
    let told = explained(&token_of(&person));
    assert_eq!(told["username"], person.as_str());
    assert_eq!(
        (&told["accepted"], &told["active"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(opens(&told), [true, true]);
    let told = explained(&provider.machine_token(program(), AUDIENCE));
    assert_eq!(told["machine"], true);
    assert_eq!(opens(&told), [false, true]);
    let told = explained(&token_of(&new_person("unknown")));
    assert_eq!(opens(&told), [false, false]);
    let told = explained(&provider.machine_token(program(), "https://other.example"));
    assert_eq!(told["accepted"], false);
    assert!(told["reason"].as_str().unwrap().contains("`aud`"), "{told}");
    let text = proxy.run(&["explain", "--access-token", "token"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.starts_with("refused    the access token"), "{text}");
    let check = proxy.run(&["check", "--online"]);
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    let expected =
        format!("provider test, access tokens: for {AUDIENCE}; {USERNAME} names the user");
    assert!(check.contains(&expected), "{check}");
}

#[test]
fn preflights_are_the_applications_to_answer() {
    let application = Application::start();
    let proxy = usual(&application, "methods = [\"POST\"]");
    let ask = |method: &str, below: &str, lines: &str| {
        let (target, host) = (proxy.path(below), proxy.host());
        exchange(
            proxy.address,
            format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n"
            ),
        )
    };
    let preflight = "Origin: https://spa.example\r\nAccess-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: authorization\r\nX-Forwarded-User: a\r\n";
    assert_eq!(ask("OPTIONS", "/graphql", preflight).status, 200);
    let request = application.last();
    assert_eq!(request.method, "OPTIONS");
    assert_eq!(request.all("x-forwarded-user"), [""; 0]);
    application.forget();
    let other = preflight.replace("POST", "DELETE");
    for (method, below, lines, why) in [
        ("OPTIONS", "/graphql", "", "no preflight"),
        (
            "OPTIONS",
            "/graphql",
            "Origin: https://spa.example\r\n",
            "half a preflight",
        ),
        ("OPTIONS", "/graphql", &other, "about another route"),
        ("OPTIONS", "/graphql;x", preflight, "a lenient path"),
        ("OPTIONS", "/page", preflight, "another route"),
        ("POST", "/graphql", preflight, "no OPTIONS"),
    ] {
        assert_eq!(ask(method, below, lines).status, 401, "{why}");
    }
    assert!(application.received().is_empty());
}

#[test]
fn forged_tokens_are_refused() {
    let (application, liar) = (Application::start(), LyingProvider::launch());
    let proxy = of_liar(&application, &liar);
    let claims = json!({"aud": AUDIENCE, USERNAME: "liar"});
    for typ in ["at+jwt", "application/at+jwt", "JWT", "AT+JWT"] {
        assert_eq!(
            call(&proxy, &liar.token(typ, claims.clone())).status,
            200,
            "{typ}"
        );
    }
    application.forget();
    for lie in [
        Lie::Issuer,
        Lie::IssuerArray,
        Lie::NoIssuer,
        Lie::Audience,
        Lie::NoAudience,
        Lie::Expired,
        Lie::ExpiryText,
        Lie::NoExpiry,
        Lie::IssuedInFuture,
        Lie::NotBeforeInFuture,
        Lie::NumberSubject,
        Lie::LongSubject,
        Lie::TwoSubjects,
        Lie::PayloadArray,
        Lie::Signature,
        Lie::ForeignKey,
        Lie::UnknownKid,
        Lie::AlgNone,
        Lie::Hs256ByClientSecret,
        Lie::Hs256ByPublicKey,
        Lie::CriticalHeader,
        Lie::LogoutTokenType,
        Lie::ChangedPayload,
    ] {
        liar.lie(lie);
        let answer = call(&proxy, &liar.token("at+jwt", claims.clone()));
        assert_eq!(answer.status, 401, "{lie:?}: {}", answer.text());
        is_challenge(&answer, 401, "invalid_token", "access-token-invalid");
    }
    liar.be_honest();
    let with = |typ: &str, more: Value| {
        let mut claims = claims.clone();
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call(&proxy, &liar.token(typ, claims)).status
    };
    assert_eq!(with("JWT", json!({"nonce": "n"})), 401, "an ID token");
    assert_eq!(with("JWT", json!({"at_hash": "h"})), 401, "an ID token");
    assert_eq!(
        with("JWT", json!({"typ": "ID"})),
        401,
        "Keycloak's ID token"
    );
    assert_eq!(with("JWT", json!({"events": {}})), 401, "a logout token");
    assert_eq!(
        with("at+jwt", json!({"cnf": {"jkt": "x"}})),
        401,
        "bound to a key"
    );
    assert_eq!(
        with("at+jwt", json!({"x": "x".repeat(16 * 1024)})),
        401,
        "oversized"
    );
    assert_eq!(
        with(
            "at+jwt",
            json!({"aud": [AUDIENCE, "https://other.example"]})
        ),
        200
    );
    assert_eq!(
        with("JWT", json!({"typ": "Bearer", "nonce": "n"})),
        200,
        "Keycloak's of old"
    );
    assert_eq!(with("at+jwt", json!({"nbf": now() + 3600})), 401);
    assert_eq!(application.received().len(), 2);
    // A session token of ours is none, nor is the ID token of a sign-in.
    let session = proxy.browser();
    session.navigate(&proxy.url("/"));
    assert_eq!(call(&proxy, &session.cookie("wfgen_token")).status, 401);
}

/// At some providers an application is the client and the API in one, so that the audience tells no ID token apart: one
/// that a renewal gave has not even a nonce.
#[test]
fn an_id_token_is_no_access_token_where_both_have_one_audience() {
    let (application, liar) = (Application::start(), LyingProvider::launch());
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let proxy = setup(&application, "machine = true")
        .with(
            "[[providers]]",
            "access_token_audience",
            &format!("{CLIENT_ID:?}"),
        )
        .at_issuer(liar.issuer(), client)
        .start();
    liar.set_claims(json!({"preferred_username": "both", "family_name": "B"}));
    assert_eq!(proxy.browser().navigate(&proxy.url("/")).answer.status, 200);
    let with = |typ: &str, more: Value| {
        let mut claims = json!({"aud": CLIENT_ID, "preferred_username": "both", "azp": CLIENT_ID});
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call(&proxy, &liar.token(typ, claims)).status
    };
    assert_eq!(with("JWT", json!({})), 401, "an ID token");
    assert_eq!(
        with("JWT", json!({"aud": [CLIENT_ID, "x"]})),
        401,
        "an ID token"
    );
    for of_a_client in [
        json!({"scope": "a b"}),
        json!({"scp": ["a"]}),
        json!({"client_id": "program"}),
        json!({"azp": "program"}),
        json!({"azp": null, "appid": "program"}),
    ] {
        assert_eq!(with("JWT", of_a_client.clone()), 200, "{of_a_client}");
    }
    assert_eq!(with("at+jwt", json!({})), 200);
}

/// A program has no cookie that belongs to one host, and does not follow people to the public one.
#[test]
fn an_alias_serves_programs_too() {
    let application = Application::start();
    let proxy = setup(&application, "")
        .with("[server]", "aliases", "[\"old.example.test\"]")
        .at(Provider::shared())
        .start();
    let person = new_person("aliased");
    proxy.signed_in(&person);
    let (path, token) = (proxy.path("/graphql"), token_of(&person));
    let line = format!("Authorization: Bearer {token}\r\n");
    application.forget();
    let answer = get(proxy.address, "old.example.test", &path, &line);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(application.last().only("x-forwarded-user"), Some(&*person));
    let unsigned = get(proxy.address, "old.example.test", &path, "");
    is_challenge(&unsigned, 401, "", "access-token-needed");
    let foreign = get(proxy.address, "other.example.test", &path, &line);
    assert_eq!(foreign.status, 421);
}

/// Whoever makes up key ids does not make us hammer the provider.
#[test]
fn unknown_keys_are_asked_for_rarely_and_rotation_heals() {
    let (application, liar) = (Application::start(), LyingProvider::launch());
    let proxy = of_liar(&application, &liar);
    let claims = json!({"aud": AUDIENCE, USERNAME: "liar"});
    let before = liar.requests().jwks;
    liar.rotate();
    assert_eq!(
        call(&proxy, &liar.token("at+jwt", claims.clone())).status,
        200
    );
    assert_eq!(liar.requests().jwks, before + 1);
    liar.lie(Lie::EndlessKids);
    for _ in 0..50 {
        assert_eq!(
            call(&proxy, &liar.token("at+jwt", claims.clone())).status,
            401
        );
    }
    assert_eq!(liar.requests().jwks, before + 1);
}

#[test]
fn known_keys_go_on_while_the_provider_is_down() {
    let (application, mut liar) = (Application::start(), LyingProvider::launch());
    let mut proxy = of_liar(&application, &liar);
    let claims =
        |serial: u32| json!({"aud": AUDIENCE, USERNAME: "liar", "jti": serial.to_string()});
    let tokens = [1, 2].map(|serial| liar.token("at+jwt", claims(serial)));
    assert_eq!(call(&proxy, &tokens[0]).status, 200);
    liar.stop();
    assert_eq!(call(&proxy, &tokens[0]).status, 200, "known");
    assert_eq!(call(&proxy, &tokens[1]).status, 200, "by a known key");
    // A node that never saw the keys cannot tell.
    proxy.restart_unready();
    let answer = call(&proxy, &tokens[0]);
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    liar.restart();
    wait_for("the provider", 2 * PATIENCE, || {
        (call(&proxy, &tokens[0]).status == 200).then_some(())
    });
}

#[test]
fn each_token_is_checked_by_the_provider_that_it_names() {
    let (application, liar, provider) = (
        Application::start(),
        LyingProvider::launch(),
        Provider::shared(),
    );
    let more = format!(
        "[[providers]]\nname = \"liar\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
         access_token_audience = \"https://liar.example\"\n",
        liar.issuer()
    );
    let proxy = setup(&application, "machine = true")
        .more(&more)
        .at(provider)
        .start_unready();
    let of_liar = |audience: &str| liar.token("at+jwt", json!({"aud": audience, "sub": "machine"}));
    let one = provider.machine_token(program(), AUDIENCE);
    for token in [one, of_liar("https://liar.example")] {
        wait_for("the providers", PATIENCE, || {
            (call(&proxy, &token).status == 200).then_some(())
        });
    }
    assert_eq!(
        call(&proxy, &of_liar(AUDIENCE)).status,
        401,
        "another's audience"
    );
    let in_the_others_name = json!({"iss": provider.issuer, "aud": AUDIENCE, "sub": "machine"});
    let forged = liar.token("at+jwt", in_the_others_name);
    assert_eq!(call(&proxy, &forged).status, 401, "another's name");
}

/// A repeated request asks nobody: neither the database nor the provider is there any more.
#[test]
fn a_known_token_needs_no_store_and_a_new_one_waits_for_it() {
    let (application, provider) = (Application::start(), Provider::shared());
    let mut postgres = Postgres::start();
    let database = postgres.database();
    let proxy = setup(&application, "")
        .on_postgres(&postgres, &database)
        .at(provider)
        .start();
    let person = new_person("storeless");
    proxy.signed_in(&person);
    let (known, new) = (token_of(&person), token_of(&person));
    assert_eq!(call(&proxy, &known).status, 200);
    // Each worker knows it, or they share what they know.
    postgres.stop();
    for _ in 0..20 {
        assert_eq!(call(&proxy, &known).status, 200);
    }
    let answer = call(&proxy, &new);
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    postgres.start_again();
    soon_after_store(&proxy, &new);
    proxy.run(&["users", "deactivate", &person]);
    for token in [&known, &new] {
        soon("a deactivation by another process", &proxy, token, 403);
    }
}

fn soon_after_store(proxy: &Proxy, token: &str) {
    wait_for("the store", 2 * PATIENCE, || {
        (call(proxy, token).status == 200).then_some(())
    });
}

#[test]
fn what_a_token_opened_ends_with_its_user() {
    let application = Application::start();
    let proxy = usual(&application, "");
    application.echo_upgraded("/wfgen/graphql");
    let person = new_person("subscriber");
    proxy.signed_in(&person);
    let token = token_of(&person);
    let (target, host) = (proxy.path("/graphql"), proxy.host());
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    ))
    .unwrap();
    assert_eq!(wire.answer_head().unwrap().status, 101);
    proxy.run(&["users", "deactivate", &person]);
    let asked = Instant::now();
    assert!(wire.at_end().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(4));
}
