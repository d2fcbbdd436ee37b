//! A provider with an issuer for each tenant, as Entra ID has for several organisations: the certified provider behind
//! one door to all of them, and the one that lies about whose its tokens are.

use std::io::Write as _;

use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::support::application::Application;
use crate::support::browser::{Browser, Page};
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider, now};
use crate::support::provider::{Client, Provider};
use crate::support::proxy::{Proxy, Setup, payload};
use crate::support::wire::{Answer, exchange};
use crate::support::{PATIENCE, wait_for};

const ONE: &str = "11111111-aaaa-4111-8111-111111111111";
const OTHER: &str = "22222222-bbbb-4222-8222-222222222222";
/// Exists at the provider, and is not let in.
const THIRD: &str = "33333333-cccc-4333-8333-333333333333";
const AUDIENCE: &str = "https://workflow.example.com/wfgen/graphql";
const PLACE: &str = "{tenantid}";

fn of_tenants(setup: Setup, issuer: &str) -> Setup {
    let tenants = format!("[{ONE:?}, {OTHER:?}]");
    setup
        .with("[[providers]]", "issuer", &format!("{issuer:?}"))
        .with("[[providers]]", "issuer_tenants", &tenants)
}

/// A proxy at a provider that says of each token whose it is, as a test has it.
fn with_lies(
    application: &Application,
    edit: impl FnOnce(Setup) -> Setup,
) -> (LyingProvider, Proxy) {
    let provider = LyingProvider::launch();
    provider.have_tenants(&[ONE, OTHER, THIRD]);
    let proxy = of_liar(application, &provider, edit);
    (provider, proxy)
}

fn of_liar(
    application: &Application,
    provider: &LyingProvider,
    edit: impl FnOnce(Setup) -> Setup,
) -> Proxy {
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let setup = Setup::new(application).at_issuer(provider.issuer(), client);
    edit(of_tenants(setup, &provider.issuer_of(PLACE))).start()
}

/// What a tenant says of its `alice`, whose subject is the same everywhere.
fn alice_of(provider: &LyingProvider, tenant: &str) -> Value {
    json!({
        "iss": provider.issuer_of(tenant), "tid": tenant, "sub": "alice", "sid": "desk",
        "preferred_username": format!("alice@{}", &tenant[..8]), "family_name": "Person",
    })
}

fn and(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn arrives(proxy: &Proxy) -> (Browser, Page) {
    let browser = proxy.browser();
    let page = browser.navigate(&proxy.url("/page"));
    (browser, page)
}

#[track_caller]
fn signed_in(provider: &LyingProvider, proxy: &Proxy, tenant: &str) -> Browser {
    provider.set_claims(alice_of(provider, tenant));
    let (browser, page) = arrives(proxy);
    assert_eq!(page.answer.status, 200, "{}", proxy.log());
    browser
}

fn status(browser: &Browser, proxy: &Proxy) -> u16 {
    browser.fetch(&proxy.url("/page")).status
}

#[test]
fn equal_subjects_of_two_tenants_are_two_people_and_a_third_tenant_s_are_refused() {
    let application = Application::start();
    let provider = Provider::start(0);
    provider.have_tenants(&[ONE, OTHER, THIRD], ONE);
    let setup = Setup::new(&application).renewing().at(&provider);
    let template = format!("{}/{PLACE}/v2.0", provider.issuer);
    let proxy = of_tenants(setup, &template).start();
    let mut cookies = Vec::new();
    for tenant in [ONE, OTHER] {
        let username = format!("alice@{}", &tenant[..8]);
        provider.claim(
            "alice",
            &json!({"preferred_username": username, "family_name": "Person"}),
        );
        provider.have_tenants(&[], tenant);
        let browser = proxy.signed_in("alice");
        let user = application.last();
        assert_eq!(user.only("x-forwarded-user"), Some(&*username));
        let token = payload(&browser.cookie("wfgen_token"));
        assert_eq!(token["tid"], tenant, "mappings and rules may read it");
        cookies.push(browser);
    }
    let mut known: Vec<(String, String)> = proxy
        .users()
        .iter()
        .map(|user| {
            let text = |name: &str| user[name].as_str().unwrap().to_owned();
            (text("issuer"), text("subject"))
        })
        .collect();
    known.sort();
    let identity = |tenant: &str| (template.replace(PLACE, tenant), "alice".to_owned());
    assert_eq!(known, [identity(ONE), identity(OTHER)]);
    provider.have_tenants(&[], THIRD);
    let page = proxy.browser().sign_in(&proxy.url("/page"), "alice");
    let text = page.answer.text();
    assert_eq!(page.answer.status, 403, "{text}");
    assert!(
        text.contains("your organisation is not among those"),
        "{text}"
    );
    assert!(text.contains("Use another account"), "{text}");
    assert!(!text.contains(THIRD), "the page names no claim's value");
    proxy.wait_for_log(&format!(
        "expected a tenant of `issuer_tenants`, found {THIRD}: if its people may come in, add it there"
    ));
    assert_eq!(proxy.users().len(), 2);
    // Who signs out is sent to the provider, which knows by the ID token whose session it is.
    let page = cookies[0].navigate(&proxy.url("/auth/logout"));
    let there = format!("/{ONE}/v2.0/session/end");
    let led = page.addresses().iter().any(|it| it.contains(&there));
    assert!(led, "{:#?}", page.addresses());
    let log = proxy.log();
    for token in provider.tokens() {
        assert!(!log.contains(&token), "{log}");
    }
}

#[test]
fn a_session_is_renewed_in_its_tenant() {
    let application = Application::start();
    let provider = Provider::start(0);
    provider.have_tenants(&[ONE, OTHER], OTHER);
    let setup = Setup::new(&application)
        .with("[session]", "lifetime", "\"4s\"")
        .renewing()
        .at(&provider);
    let template = format!("{}/{PLACE}/v2.0", provider.issuer);
    let proxy = of_tenants(setup, &template).start();
    let browser = proxy.signed_in("alice");
    let first = browser.cookie("wfgen_token");
    wait_for("a renewal", PATIENCE, || {
        assert_eq!(status(&browser, &proxy), 200, "{}", proxy.log());
        (browser.cookie("wfgen_token") != first).then_some(())
    });
    assert_eq!(proxy.users().len(), 1);
    let renewed = proxy.metric("vestibule_renewals_total", &["renewed"]);
    assert!(renewed >= 1.0, "{renewed}");
}

#[test]
fn a_renewal_by_another_tenant_ends_the_session() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| {
        setup.with("[session]", "lifetime", "\"4s\"")
    });
    provider.give_refresh_tokens();
    let browser = signed_in(&provider, &proxy, ONE);
    provider.set_claims(alice_of(&provider, OTHER));
    application.forget();
    wait_for("the session's end", PATIENCE, || {
        (status(&browser, &proxy) == 401).then_some(())
    });
    proxy.wait_for_log("`iss`: expected this session's, found another");
    assert_eq!(
        proxy.users().len(),
        1,
        "nobody of the other tenant was made"
    );
}

#[test]
fn a_token_whose_tenant_and_issuer_disagree_is_refused() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    let honest = alice_of(&provider, ONE);
    let refusals = [
        (
            "an accepted tenant with another's issuer",
            and(&honest, "iss", json!(provider.issuer_of(OTHER))),
            "since `tid` is that tenant's",
        ),
        (
            "an accepted issuer with another's tenant",
            and(&honest, "tid", json!(OTHER)),
            "since `tid` is that tenant's",
        ),
        (
            "an accepted issuer with a tenant that is not let in",
            and(&honest, "tid", json!(THIRD)),
            THIRD,
        ),
        (
            "an accepted tenant with an issuer that is not let in",
            and(&honest, "iss", json!(provider.issuer_of(THIRD))),
            "since `tid` is that tenant's",
        ),
        (
            "no tenant",
            and(&honest, "tid", Value::Null),
            "`tid`: expected a tenant of `issuer_tenants`, found none",
        ),
        (
            "a tenant that is a number",
            and(&honest, "tid", json!(1)),
            "`tid`: expected a tenant of `issuer_tenants`, found a number",
        ),
        (
            "a tenant by its domain",
            and(&honest, "tid", json!("contoso.onmicrosoft.com")),
            "found no tenant's id",
        ),
        (
            "the tenant in another case",
            and(&honest, "tid", json!(ONE.to_uppercase())),
            "found no tenant's id",
        ),
        (
            "the template itself as issuer",
            and(&honest, "iss", json!(provider.issuer_of(PLACE))),
            "since `tid` is that tenant's",
        ),
    ];
    for (what, claims, told) in refusals {
        provider.set_claims(claims);
        let before = proxy.log().len();
        let (_, page) = arrives(&proxy);
        assert_eq!(page.answer.status, 403, "{what}: {}", page.answer.text());
        wait_for(what, PATIENCE, || {
            proxy.log()[before..].contains(told).then_some(())
        });
    }
    assert!(proxy.users().is_empty());
    signed_in(&provider, &proxy, ONE);
    signed_in(&provider, &proxy, OTHER);
    assert_eq!(proxy.users().len(), 2);
}

/// RFC 9207: the response names its tenant before the ID token does, and both must be one.
#[test]
fn a_response_and_an_id_token_of_two_tenants_are_refused() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    let encoded =
        |tenant: &str| byte_serialize(provider.issuer_of(tenant).as_bytes()).collect::<String>();
    for (named, status) in [
        (ONE, 200),
        (PLACE, 200),
        (OTHER, 403),
        (THIRD, 403),
        ("organizations", 400),
    ] {
        provider.set_claims(alice_of(&provider, ONE));
        let mut browser = proxy.browser();
        browser.stop_before(&proxy.url("/auth/callback"));
        let page = browser.navigate(&proxy.url("/page"));
        let location = page.answer.header("location").expect("the response");
        assert!(location.contains(&encoded(ONE)), "{location}");
        let changed = location.replace(&encoded(ONE), &encoded(named));
        browser.stop_before("http://nowhere.example");
        let page = browser.navigate(&changed);
        assert_eq!(
            page.answer.status,
            status,
            "{named}: {}",
            page.answer.text()
        );
    }
}

#[test]
fn a_key_signs_for_the_issuer_that_it_names_alone() {
    let application = Application::start();
    let provider = LyingProvider::launch();
    provider.have_tenants(&[ONE, OTHER]);
    for (key_issuer, of_one, of_other) in [
        (json!(provider.issuer_of(PLACE)), 200, 200),
        (json!(provider.issuer_of(ONE)), 200, 403),
        (json!("https://elsewhere.example/{tenantid}/v2.0"), 403, 403),
        (json!(5), 403, 403),
        (Value::Null, 200, 200),
    ] {
        provider.set_key_issuer(key_issuer.clone());
        let proxy = of_liar(&application, &provider, |setup| setup);
        for (tenant, expected) in [(ONE, of_one), (OTHER, of_other)] {
            provider.set_claims(alice_of(&provider, tenant));
            let (_, page) = arrives(&proxy);
            assert_eq!(page.answer.status, expected, "{key_issuer}, {tenant}");
        }
        if of_other == 403 {
            proxy.wait_for_log("found one of another issuer");
        }
    }
}

#[test]
fn signed_user_info_is_the_same_tenant_s() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| {
        setup.with("[[providers]]", "user_info", "\"always\"")
    });
    provider.sign_user_info();
    provider.set_user_info(json!({"given_name": "Told"}));
    signed_in(&provider, &proxy, OTHER);
    assert_eq!(proxy.users()[0]["first_name"], "Told");
}

fn logout_token(provider: &LyingProvider, jti: &str, more: Value) -> String {
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let mut claims = json!({
        "aud": CLIENT_ID, "iat": now(), "exp": now() + 120, "jti": jti, "events": { event: {} },
    });
    let more = more.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more);
    provider.signed("logout+jwt", &claims)
}

fn tell(proxy: &Proxy, token: &str) -> Answer {
    let body = format!("logout_token={token}");
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

#[test]
fn a_logout_token_ends_sessions_of_its_own_tenant_alone() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    let of_one = signed_in(&provider, &proxy, ONE);
    let of_other = signed_in(&provider, &proxy, OTHER);
    let issuer = |tenant: &str| provider.issuer_of(tenant);
    for (what, claims) in [
        ("not let in", json!({"iss": issuer(THIRD), "sub": "alice"})),
        ("no tenant", json!({"iss": issuer(PLACE), "sub": "alice"})),
        (
            "two tenants",
            json!({"iss": issuer(ONE), "tid": OTHER, "sub": "alice"}),
        ),
    ] {
        let answer = tell(&proxy, &logout_token(&provider, what, claims));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
    proxy.wait_for_log(THIRD);
    let statuses = || [status(&of_one, &proxy), status(&of_other, &proxy)];
    assert_eq!(statuses(), [200, 200]);
    let by_sub = json!({"iss": issuer(OTHER), "sub": "alice"});
    assert_eq!(
        tell(&proxy, &logout_token(&provider, "1", by_sub)).status,
        200
    );
    assert_eq!(statuses(), [200, 401], "the subject is another's there");
    let of_other = signed_in(&provider, &proxy, ONE);
    let statuses = || [status(&of_one, &proxy), status(&of_other, &proxy)];
    let by_sid = json!({"iss": issuer(OTHER), "sid": "desk"});
    assert_eq!(
        tell(&proxy, &logout_token(&provider, "2", by_sid)).status,
        200
    );
    assert_eq!(statuses(), [200, 200], "and so is the session");
    let by_sid = json!({"iss": issuer(ONE), "tid": ONE, "sid": "desk"});
    assert_eq!(
        tell(&proxy, &logout_token(&provider, "3", by_sid)).status,
        200
    );
    assert_eq!(statuses(), [401, 401]);
}

#[test]
fn the_front_channel_ends_a_session_of_its_own_tenant_alone() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    let of_one = signed_in(&provider, &proxy, ONE);
    let of_other = signed_in(&provider, &proxy, OTHER);
    let ask = |tenant: &str| {
        let issuer: String = byte_serialize(provider.issuer_of(tenant).as_bytes()).collect();
        let query = format!("/auth/frontchannel-logout?iss={issuer}&sid=desk");
        proxy.get(&query, "").status
    };
    assert_eq!((ask(THIRD), ask(PLACE)), (400, 400));
    assert_eq!(ask(OTHER), 200);
    let statuses = [status(&of_one, &proxy), status(&of_other, &proxy)];
    assert_eq!(statuses, [200, 401]);
}

#[test]
fn access_tokens_are_their_tenant_s() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| {
        setup
            .with(
                "[[providers]]",
                "access_token_audience",
                &format!("{AUDIENCE:?}"),
            )
            .route("/wfgen/graphql", "bearer", "machine = true")
    });
    signed_in(&provider, &proxy, ONE);
    signed_in(&provider, &proxy, OTHER);
    let call = |claims: Value| {
        let token = provider.token("at+jwt", claims);
        proxy.get("/graphql", &format!("Authorization: Bearer {token}\r\n"))
    };
    let of = |tenant: &str| json!({"iss": provider.issuer_of(tenant), "tid": tenant, "sub": "alice", "aud": AUDIENCE});
    for tenant in [ONE, OTHER] {
        assert_eq!(call(of(tenant)).status, 200, "{}", proxy.log());
        let username = format!("alice@{}", &tenant[..8]);
        let arrived = application.last();
        assert_eq!(arrived.only("x-forwarded-user"), Some(&*username));
    }
    application.forget();
    for claims in [
        of(THIRD),
        and(&of(ONE), "tid", json!(OTHER)),
        and(&of(ONE), "iss", json!(provider.issuer_of(OTHER))),
        and(&of(ONE), "iss", json!(provider.issuer_of(PLACE))),
        and(&of(ONE), "tid", json!(THIRD)),
        and(&of(ONE), "tid", Value::Null),
    ] {
        let answer = call(claims.clone());
        assert_eq!(answer.status, 401, "{claims}: {}", answer.text());
    }
    assert!(application.received().is_empty());
    proxy.wait_for_log(&format!(
        "expected a tenant of `issuer_tenants` of provider test, found {THIRD}"
    ));
}

#[test]
fn the_command_line_asks_which_tenant() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    signed_in(&provider, &proxy, ONE);
    let run = |arguments: &[&str]| {
        let output = proxy.run(arguments);
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (name, of_other) = (format!("alice@{}", &ONE[..8]), provider.issuer_of(OTHER));
    let bind = ["users", "bind", &name, "--subject", "x"];
    let (done, said) = run(&bind);
    assert!(!done && said.contains(&of_other), "{said}");
    let template = provider.issuer_of(PLACE);
    let (done, said) = run(&[&bind[..], &["--issuer", &template]].concat());
    assert!(!done && said.contains("the issuer of one tenant"), "{said}");
    let (done, said) = run(&[&bind[..], &["--issuer", &of_other]].concat());
    assert!(done, "{said}");
    let from = provider.issuer().to_owned();
    let rebind = |to: &str| run(&["users", "rebind", "--from", &from, "--to", to]);
    assert!(!rebind(&template).0 && rebind(&of_other).0);
    let explained = |claims: Value| {
        let mut file = std::fs::File::create(proxy.file("claims.json")).unwrap();
        write!(file, "{claims}").unwrap();
        let claims = proxy.file("claims.json");
        let claims = claims.to_str().unwrap();
        run(&["explain", "--claims", claims, "--json"]).1
    };
    let known = explained(alice_of(&provider, ONE));
    assert!(known.contains("\"outcome\": \"unchanged\""), "{known}");
    let without_issuer = explained(and(&alice_of(&provider, ONE), "iss", Value::Null));
    assert!(without_issuer.contains("unchanged"), "{without_issuer}");
    let stranger = explained(alice_of(&provider, THIRD));
    assert!(stranger.contains("\"outcome\": \"refused\""), "{stranger}");
    assert!(stranger.contains("issuer_tenants"), "{stranger}");
    let (done, said) = run(&["explain", "--user", &name, "--json"]);
    assert!(
        done && said.contains("\"outcome\": \"unchanged\""),
        "{said}"
    );
}

#[test]
fn check_online_asks_for_each_tenant() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    let check = || {
        let output = proxy.run(&["check", "--online"]);
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    };
    let (done, said) = check();
    assert!(done, "{said}");
    let discovered = format!("provider test, discovery: {}", provider.issuer_of(PLACE));
    assert!(said.contains(&discovered), "{said}");
    for tenant in [ONE, OTHER] {
        let known = format!("ok      provider test, tenant {tenant}: the provider knows it");
        assert!(said.contains(&known), "{said}");
    }
    provider.have_tenants(&[ONE]);
    let (done, said) = check();
    assert!(!done, "{said}");
    let told = format!(
        "failed  provider test, tenant {OTHER}: {}",
        provider.issuer_of(OTHER)
    );
    assert!(said.contains(&told), "{said}");
}

/// `https://sts.windows.net/{tenantid}/`: the tenant is at the end, before a slash, and the document at `common`.
#[test]
fn issuers_of_version_1_work_too() {
    let application = Application::start();
    let (provider, proxy) = with_lies(&application, |setup| setup);
    let template = format!("{}/{PLACE}/", provider.issuer());
    drop(proxy);
    let proxy = of_liar(&application, &provider, |setup| {
        setup.with("[[providers]]", "issuer", &format!("{template:?}"))
    });
    let mut statuses = Vec::new();
    for tenant in [ONE, THIRD, OTHER] {
        let claims = alice_of(&provider, tenant);
        provider.set_claims(and(&claims, "iss", json!(template.replace(PLACE, tenant))));
        statuses.push(arrives(&proxy).1.answer.status);
        provider.set_claims(claims);
        assert_ne!(arrives(&proxy).1.answer.status, 200, "of version 2");
    }
    assert_eq!(statuses, [200, 403, 200]);
    let output = proxy.run(&["check", "--online"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains(&format!("tenant {OTHER}: the provider knows it")),
        "{said}"
    );
}

/// The document must say the template to the letter.
#[test]
fn another_template_is_not_the_configured_one() {
    let application = Application::start();
    let provider = LyingProvider::launch();
    provider.set_metadata(json!({"issuer": provider.issuer_of(ONE)}));
    let client = Client {
        id: CLIENT_ID.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let setup = Setup::new(&application).at_issuer(provider.issuer(), client);
    let proxy = of_tenants(setup, &provider.issuer_of(PLACE)).start_unready();
    let url = Url::parse(&provider.issuer_of("organizations")).unwrap();
    proxy.wait_for_log(&format!(
        "{url}/.well-known/openid-configuration: expected issuer {}",
        provider.issuer_of(PLACE)
    ));
}
