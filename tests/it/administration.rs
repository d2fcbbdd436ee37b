//! What administrators decide on the command line, beside a running server, and what they can see of it.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::postgres::Postgres;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::{PATIENCE, wait_for};

#[track_caller]
fn done(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn shown(proxy: &Proxy, name: &str) -> Value {
    let shown = done(proxy.run(&["users", "show", name, "--history", "--json"]));
    serde_json::from_str(&shown).unwrap()
}

fn signs_in(proxy: &Proxy, login: &str) -> u16 {
    let page = proxy.browser().sign_in(&proxy.url("/page"), login);
    page.answer.status
}

/// From the command to the first refused request, on SQLite and on PostgreSQL.
#[test]
fn lesson_13_a_deactivated_user_is_out_within_a_second() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let usual = || Setup::new(&application).at(Provider::shared());
    for proxy in [
        usual().start(),
        usual().on_postgres(postgres, &database).start(),
    ] {
        let person = new_person("leaver");
        let browser = proxy.signed_in(&person);
        let told = done(proxy.run(&["users", "deactivate", &person.to_uppercase()]));
        let written = Instant::now();
        assert!(told.contains("is inactive"), "{told}");
        wait_for("the end of the session", PATIENCE, || {
            (browser.fetch(&proxy.url("/")).status == 401).then_some(())
        });
        let took = written.elapsed();
        assert!(took < Duration::from_millis(1500), "{took:?}");
        assert_eq!(signs_in(&proxy, &person), 403, "nor by signing in again");
        let again = done(proxy.run(&["users", "deactivate", &person]));
        assert!(again.contains("nothing has changed"), "{again}");
        done(proxy.run(&["users", "activate", &person]));
        assert_eq!(signs_in(&proxy, &person), 200);
        let history = &shown(&proxy, &person)["history"];
        let outcomes: Vec<&str> = history
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["outcome"].as_str().unwrap())
            .collect();
        assert_eq!(
            outcomes,
            ["created", "deactivated", "inactive", "activated"]
        );
        assert!(
            history[1]["actor"]
                .as_str()
                .unwrap()
                .starts_with("administrator")
        );
        assert_eq!(
            history[1]["changes"]["status"],
            json!({"before": "active", "after": "inactive"})
        );
        assert_eq!(history[0]["provider"], "test");
        assert!(history[0]["request"].is_string());
    }
}

#[test]
fn who_waits_is_let_in_and_a_name_is_released() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::new(&application)
        .with("[[directories]]", "new_user_status", "\"inactive\"")
        .at(provider)
        .start();
    let (person, heir) = (new_person("waits"), new_person("heir"));
    assert_eq!(signs_in(&proxy, &person), 403);
    done(proxy.run(&["users", "activate", &person]));
    assert_eq!(signs_in(&proxy, &person), 200);
    // They take another name; the old one is nobody's until it is released.
    let renamed = new_person("renamed");
    let claims = |name: &str| json!({"preferred_username": name, "family_name": "F", "email_verified": true});
    provider.claim(&person, &claims(&renamed));
    assert_eq!(signs_in(&proxy, &person), 200);
    provider.claim(&heir, &claims(&person));
    let page = proxy.browser().sign_in(&proxy.url("/"), &heir).answer;
    assert!(
        page.text().contains("given up by another user"),
        "{}",
        page.text()
    );
    let refusal = refused(proxy.run(&["users", "release", &renamed]));
    assert!(refusal.contains("no user gave up"), "{refusal}");
    done(proxy.run(&["users", "release", &person]));
    assert_eq!(signs_in(&proxy, &heir), 403, "made, and waits");
    done(proxy.run(&["users", "activate", &person]));
    assert_eq!(signs_in(&proxy, &heir), 200);
    let table = done(proxy.run(&["users", "show", &renamed, "--history"]));
    for line in [
        "status         active",
        "released",
        &format!("username  {person} -> {renamed}"),
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }
}

#[test]
fn identities_are_bound_unbound_and_moved_to_another_issuer() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::usual(&application);
    let (owner, other) = (new_person("owner"), new_person("other"));
    proxy.signed_in(&owner);
    let claims = json!({"preferred_username": owner, "family_name": "F", "email_verified": true});
    provider.claim(&other, &claims);
    assert_eq!(
        signs_in(&proxy, &other),
        403,
        "the name is bound to another identity"
    );
    let shown = done(proxy.run(&["users", "show", &owner, "--history"]));
    let who = format!("who came  {} {other}", provider.issuer);
    assert!(shown.contains(&who), "whom `bind` would take: {shown}");
    done(proxy.run(&["users", "bind", &owner, "--subject", &other]));
    assert_eq!(signs_in(&proxy, &other), 200);
    let stranger = new_person("stranger");
    proxy.signed_in(&stranger);
    let refusal = refused(proxy.run(&["users", "bind", &stranger, "--subject", &other]));
    assert!(refusal.contains("is another user's"), "{refusal}");
    done(proxy.run(&["users", "unbind", &owner, "--subject", &other]));
    assert_eq!(signs_in(&proxy, &other), 403);
    let refusal = refused(proxy.run(&["users", "unbind", &owner, "--subject", &other]));
    assert!(refusal.contains("nothing to forget"), "{refusal}");
    let refusal = refused(proxy.run(&["users", "bind", "nobody", "--subject", "x"]));
    assert!(refusal.contains("no user is named"), "{refusal}");
    // The provider had another issuer before.
    done(proxy.run(&["users", "unbind", &owner, "--subject", &owner]));
    let old = "https://old.example";
    done(proxy.run(&[
        "users",
        "bind",
        &owner,
        "--issuer",
        old,
        "--subject",
        &owner,
    ]));
    assert_eq!(signs_in(&proxy, &owner), 403);
    let refusal = refused(proxy.run(&["users", "rebind", "--from", old, "--to", "https://typo"]));
    assert!(refusal.contains("to the letter"), "{refusal}");
    let same = refused(proxy.run(&["users", "rebind", "--from", old, "--to", old]));
    assert!(same.contains("expected two issuers"), "{same}");
    let told = done(proxy.run(&["users", "rebind", "--from", old, "--to", &provider.issuer]));
    assert!(told.starts_with("1 identities"), "{told}");
    assert_eq!(signs_in(&proxy, &owner), 200);
}

/// Why did this person get in: by the claims of their last sign-in, by the code that decides.
#[test]
fn a_user_s_last_sign_in_is_explained() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::usual(&application);
    let person = new_person("explained");
    proxy.signed_in(&person);
    let explained = done(proxy.run(&["explain", "--user", &person, "--json"]));
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(explained["outcome"], "unchanged");
    assert_eq!(explained["fields"]["name"]["value"], "Family");
    assert_eq!(explained["fields"]["name"]["before"], "Family");
    done(proxy.run(&["users", "deactivate", &person]));
    let explained = done(proxy.run(&["explain", "--user", &person]));
    assert!(explained.contains("outcome    inactive"), "{explained}");
    // Nobody else's claims are told, and no claims are made up.
    let line = json!({"username": "silent", "name": "S", "directory": "SELF_PROVISIONING"});
    std::fs::write(proxy.file("users.jsonl"), format!("{line}\n")).unwrap();
    done(proxy.run(&["users", "import", "users.jsonl"]));
    let refusal = refused(proxy.run(&["explain", "--user", "silent"]));
    assert!(
        refusal.contains("no sign-in of silent is kept"),
        "{refusal}"
    );
    let usage = proxy.run(&["explain"]);
    assert_eq!(usage.status.code(), Some(2));
    drop(provider.issuer.clone());
}

/// From the file of one node to a database for many.
#[test]
fn users_move_to_another_store() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let provider = Provider::shared();
    let (one, two) = (new_person("mover"), new_person("shut-out"));
    let proxy = Setup::usual(&application);
    proxy.signed_in(&one);
    proxy.signed_in(&two);
    done(proxy.run(&["users", "deactivate", &two]));
    let exported = done(proxy.run(&["users", "export"]));
    assert_eq!(exported.lines().count(), 2);
    let trail = done(proxy.run(&["users", "export", "--history"]));
    let rows: Vec<Value> = trail
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["outcome"], "deactivated");

    let database = postgres.database();
    let moved = Setup::new(&application)
        .on_postgres(postgres, &database)
        .at(provider)
        .start();
    std::fs::write(moved.file("users.jsonl"), &exported).unwrap();
    let told = done(moved.run(&["users", "import", "users.jsonl"]));
    assert_eq!(told, "2 users made, 0 were there already\n");
    let told = done(moved.run(&["users", "import", "users.jsonl"]));
    assert_eq!(told, "0 users made, 2 were there already\n");
    let id = |proxy: &Proxy| shown(proxy, &one)["id"].clone();
    assert_eq!(id(&moved), id(&proxy));
    assert_eq!(signs_in(&moved, &one), 200);
    assert_eq!(signs_in(&moved, &two), 403, "who was kept out stays out");
    assert_eq!(moved.users().len(), 2);
    for (line, fault) in [
        ("{\"username\": \"a\"}", "line 1: name: expected a value"),
        ("[]", "line 1: expected a JSON object"),
        (
            "{\"username\": \"a\", \"name\": \"A\"}",
            "line 1: directory: expected a name",
        ),
        (
            "{\"username\": \"a\", \"name\": \"A\", \"directory\": \"X\"}",
            "line 1: expected a directory",
        ),
        (
            "{\"username\": \"a\", \"name\": {}, \"directory\": \"X\"}",
            "line 1: name: expected text, found an object",
        ),
    ] {
        std::fs::write(moved.file("users.jsonl"), line).unwrap();
        let output = moved.run(&["users", "import", "users.jsonl"]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains(fault), "{errors}");
    }
}
