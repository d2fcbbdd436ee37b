//! Rules in CEL from the outside: what a mapping computes, who may come in, and which pages are for whom.

use serde_json::json;

use crate::support::application::Application;
use crate::support::browser::Browser;
use crate::support::postgres::Postgres;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup, payload};
use crate::support::wire::get;
use crate::support::{PATIENCE, wait_for};

fn claims(username: &str, groups: &[&str]) -> serde_json::Value {
    json!({
        "preferred_username": username, "family_name": "Family", "given_name": "Given", "groups": groups,
        "email": "person@example.test", "email_verified": true, "department": "it",
    })
}

#[test]
fn a_mapping_computes_and_a_rule_turns_away() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::new(&application)
        .maps("initials", "{ expression = \"claims.given_name.substring(0, 1) + claims.family_name.substring(0, 1)\" }")
        .maps("department", "{ expression = \"claims.department.upperAscii()\" }")
        .maps("office", "{ expression = \"claims.nickname.trim()\" }")
        .with(
            "[access]",
            "rules",
            "[{ require = \"'staff' in claims.groups\", message = \"Staff only. Ask <HR>.\" }]",
        )
        .at(provider)
        .start();
    let (staff, guest) = (new_person("staff"), new_person("guest"));
    provider.claim(&staff, &claims(&staff, &["staff"]));
    provider.claim(&guest, &claims(&guest, &[]));
    proxy.signed_in(&staff);
    let users = proxy.users();
    assert_eq!(users[0]["initials"], "GF");
    assert_eq!(users[0]["department"], "IT");
    assert_eq!(
        users[0]["office"],
        json!(null),
        "a missing claim is missing"
    );
    let page = proxy.browser().sign_in(&proxy.url("/"), &guest).answer;
    assert_eq!(page.status, 403);
    let text = page.text();
    assert!(text.contains("Staff only. Ask &lt;HR&gt;."), "{text}");
    assert_eq!(proxy.users().len(), 1, "nobody is created");
    assert_eq!(
        proxy.metric("vestibule_logins_total", &["outcome=\"refused\""]),
        1.0
    );
    proxy.wait_for_log("an access rule does not hold: 'staff' in claims.groups");
    // The same code explains it.
    std::fs::write(proxy.file("claims.json"), claims(&guest, &[]).to_string()).unwrap();
    let explained = proxy.run(&["explain", "--claims", "claims.json", "--json"]);
    let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["outcome"], "refused");
    assert_eq!(explained["rule"], "'staff' in claims.groups");
    assert_eq!(explained["fields"]["initials"]["value"], "GF");
    assert_eq!(
        explained["fields"]["initials"]["claim"],
        "family_name, given_name"
    );
}

/// A rule of a route is decided at the sign-in, on all claims, and stays decided for the session, whatever the token
/// carries of them.
#[test]
fn a_route_is_for_those_for_whom_its_rule_holds() {
    let (application, provider) = (Application::start(), Provider::shared());
    let mut proxy = Setup::new(&application)
        .with("[session]", "claims", "[\"email\"]")
        .maps("department", "\"department\"")
        .route(
            "/wfgen/admin/",
            "login",
            "require = \"'admins' in claims.groups && user.department == 'it'\"",
        )
        .at(provider)
        .start();
    let (admin, other) = (new_person("admin"), new_person("other"));
    provider.claim(&admin, &claims(&admin, &["staff", "admins"]));
    provider.claim(&other, &claims(&other, &["staff"]));
    let (of_admin, of_other) = (proxy.signed_in(&admin), proxy.signed_in(&other));
    let token = payload(&of_admin.cookie("wfgen_token"));
    assert_eq!(
        token["user"],
        json!({"department": "it"}),
        "the field that the rule names"
    );
    for _ in 0..2 {
        assert_eq!(of_admin.visit(&proxy.url("/admin/x")).status, 200);
        assert_eq!(of_admin.visit(&proxy.url("/x")).status, 200);
        assert_eq!(of_other.visit(&proxy.url("/x")).status, 200);
        for spelling in [
            "/admin/x",
            "/ADMIN/x",
            "/%61dmin/x",
            "/admin./x",
            "/admin;a=b/x",
            "/(S(x))/admin/x",
        ] {
            application.forget();
            let answer = of_other.visit(&proxy.url(spelling));
            assert_eq!(answer.status, 403, "{spelling}");
            assert!(application.received().is_empty(), "{spelling}");
        }
        // A restart does not know the claims any more; the session's record does.
        proxy.restart();
    }
    let problem = of_other.fetch(&proxy.url("/admin/x"));
    assert_eq!(problem.status, 403);
    assert_eq!(problem.json()["type"], "urn:vestibule:problem:rule-denied");
}

#[test]
fn lesson_19_groups_kept_elsewhere_are_never_no_groups() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::new(&application)
        .with("[[providers]]", "user_info", "\"never\"")
        .with(
            "[access]",
            "rules",
            "[{ require = \"!('banned' in claims.groups)\" }]",
        )
        .at(provider)
        .start();
    let person = new_person("overage");
    let mut sent = claims(&person, &["staff"]);
    provider.claim(&person, &sent);
    proxy.signed_in(&person);
    sent.as_object_mut().unwrap().remove("groups");
    sent["_claim_names"] = json!({"groups": "src1"});
    sent["_claim_sources"] = json!({"src1": {"endpoint": "https://graph.example/groups"}});
    provider.claim(&person, &sent);
    let page = proxy.browser().sign_in(&proxy.url("/"), &person).answer;
    assert_eq!(page.status, 403);
    assert!(
        page.text().contains("keeps it elsewhere"),
        "{}",
        page.text()
    );
}

const NOT_BANNED: &str = "require = \"!('banned' in claims.?groups.orValue([]))\"";

/// Rules read all claims at the sign-in, so the token need not carry what rules alone read; and what it does not carry
/// is not absent.
#[test]
fn lesson_22_two_hundred_groups_fit_though_rules_read_them() {
    let (application, provider) = (Application::start(), Provider::shared());
    let mut proxy = Setup::new(&application)
        .route(
            "/wfgen/admin/",
            "login",
            "require = \"'admins' in claims.groups\"",
        )
        .route("/wfgen/open-to-most/", "login", NOT_BANNED)
        .at(provider)
        .start();
    let groups = |last: &str| -> Vec<String> {
        let group = |number| format!("00000000-0000-0000-0000-{number:012}");
        (0..199).map(group).chain([last.to_owned()]).collect()
    };
    let (admin, banned) = (new_person("admin"), new_person("banned"));
    for (person, last) in [(&admin, "admins"), (&banned, "banned")] {
        let mut sent = claims(person, &[]);
        sent["groups"] = json!(groups(last));
        provider.claim(person, &sent);
    }
    let (admin, banned) = (proxy.signed_in(&admin), proxy.signed_in(&banned));
    let token = payload(&admin.cookie("wfgen_token"));
    assert!(token.get("groups").is_none(), "they would not fit");
    assert_eq!(token["email"], "person@example.test", "mapped claims stay");
    proxy.wait_for_log("claims left out");
    let seen = |proxy: &Proxy| {
        let status = |browser: &Browser, below: &str| browser.visit(&proxy.url(below)).status;
        (
            [
                status(&admin, "/admin/"),
                status(&admin, "/open-to-most/"),
                status(&admin, "/"),
            ],
            [
                status(&banned, "/admin/"),
                status(&banned, "/open-to-most/"),
                status(&banned, "/"),
            ],
        )
    };
    assert_eq!(seen(&proxy), ([200, 200, 200], [403, 403, 200]));
    proxy.restart();
    assert_eq!(seen(&proxy), ([200, 200, 200], [403, 403, 200]));
    // Another rule is decided on the token, which does not tell: nobody passes until they sign in again.
    let file = proxy.file("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("'banned' in claims.?groups", "'banned2' in claims.?groups");
    assert_ne!(text, changed);
    std::fs::write(&file, changed).unwrap();
    proxy.restart();
    assert_eq!(seen(&proxy), ([200, 403, 200], [403, 403, 200]));
}

/// With a list of claims the token carries those alone; one of them that does not fit is left out all the same, and
/// what a mapping reads need not be in the list.
#[test]
fn lesson_22_two_hundred_groups_fit_where_claims_are_listed() {
    let (application, provider) = (Application::start(), Provider::shared());
    let person = new_person("listed");
    let groups: Vec<String> = (0..200)
        .map(|n| format!("00000000-0000-0000-0000-{n:012}"))
        .collect();
    let mut sent = claims(&person, &[]);
    sent["groups"] = json!(groups);
    provider.claim(&person, &sent);
    let signed_in = |listed: &str, more: fn(Setup) -> Setup| {
        let setup = Setup::new(&application)
            .public_origin("https://workflow.example.test")
            .with("[session]", "claims", listed);
        let proxy = more(setup).at(provider).start();
        let page = proxy.browser().sign_in(&proxy.url("/page"), &person);
        let set: Vec<String> = page
            .trail
            .iter()
            .flat_map(|(_, answer)| answer.all("set-cookie"))
            .filter(|set| set.starts_with("wfgen_token="))
            .map(str::to_owned)
            .collect();
        // RFC 6265 6.1: name, value and attributes together.
        assert!(set.iter().all(|set| set.len() <= 4096), "{set:?}");
        (proxy, page, set)
    };
    let token = |set: &[String]| {
        let value = set[0].split(['=', ';']).nth(1).unwrap().to_owned();
        payload(&value)
    };
    let (proxy, page, set) = signed_in("[\"email\"]", |setup| setup);
    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    assert!(set[0].len() < 1000, "{}", set[0].len());
    assert!(token(&set).get("groups").is_none());
    assert!(
        !proxy.log().contains("claims left out"),
        "nobody wanted them"
    );
    let (proxy, page, set) = signed_in("[\"email\", \"groups\"]", |setup| {
        setup.with("[session]", "same_site", "\"none\"")
    });
    assert_eq!(page.answer.status, 200);
    assert_eq!(set.len(), 2);
    assert!(token(&set).get("groups").is_none(), "they would not fit");
    assert_eq!(token(&set)["email"], "person@example.test");
    proxy.wait_for_log("claims left out");
    let count = "{ expression = \"size(claims.groups)\" }";
    let mapped = |setup: Setup| setup.maps("office", "{ expression = \"size(claims.groups)\" }");
    let (proxy, page, _) = signed_in("[\"email\"]", mapped);
    assert_eq!(page.answer.status, 200, "{count}");
    assert_eq!(proxy.users()[0]["office"], "200");
    // Asked to carry what a mapping reads, it says so instead of going round in circles.
    let (_proxy, page, set) = signed_in("\"all\"", mapped);
    assert_eq!(page.answer.status, 403);
    assert!(page.answer.text().contains("too much information"));
    assert!(set.is_empty(), "{set:?}");
}

/// A node that sees a session for the first time while the database does not answer has the token alone, and asks
/// for the record once it can.
#[test]
fn without_the_record_a_rule_is_decided_on_the_token_alone() {
    let application = Application::start();
    let provider = Provider::shared();
    let mut postgres = Postgres::start();
    let database = postgres.database();
    let rules = |setup: Setup| {
        setup
            .with("[session]", "claims", "[\"department\"]")
            .maps("company", "{ value = \"Example\" }")
            .route(
                "/wfgen/told/",
                "login",
                "require = \"claims.department == 'it' && user.company == 'Example'\"",
            )
            .route("/wfgen/untold/", "login", NOT_BANNED)
            .on_postgres(&postgres, &database)
            .at(provider)
            .start()
    };
    let one = rules(Setup::new(&application));
    let other = rules(Setup::new(&application).public_origin(one.origin()));
    let person = new_person("first-sight");
    provider.claim(&person, &claims(&person, &["staff"]));
    let browser = one.signed_in(&person);
    let cookie = format!("Cookie: wfgen_token={}\r\n", browser.cookie("wfgen_token"));
    let there = |below: &str| get(other.address, one.host(), &one.path(below), &cookie).status;
    postgres.stop();
    assert_eq!(there("/"), 200, "a genuine token is believed");
    assert_eq!(there("/told/"), 200, "the token tells");
    assert_eq!(there("/untold/"), 403, "the token does not tell");
    postgres.start_again();
    wait_for("the record", PATIENCE, || {
        (there("/untold/") == 200).then_some(())
    });
    assert_eq!(there("/told/"), 200);
}
