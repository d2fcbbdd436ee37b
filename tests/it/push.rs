//! Users handed on to SCIM servers: two that nobody here wrote, and one that lies.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::postgres::faketime;
use crate::support::application::Application;
use crate::support::postgres::Postgres;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::scim::{Receiver, TOKEN};
use crate::support::{PATIENCE, free_port, wait_for};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// A proxy that pushes to this receiver.
fn pushing(application: &Application, base: &str, more: &str) -> Setup {
    pushing_within("2s", application, base, more)
}

fn pushing_within(timeout: &str, application: &Application, base: &str, more: &str) -> Setup {
    Setup::new(application)
        .maps("department", "\"department\"")
        .maps("phone", "{ claim = \"phone_number\", missing = \"clear\" }")
        .more(&format!(
            "\n[[directories.push]]\nurl = {base:?}\ntoken = {{ file = \"scim_token\" }}\ntimeout = {timeout:?}\n{more}\n"
        ))
        .file("scim_token", TOKEN)
        .at(Provider::shared())
}

fn claims(username: &str, more: &Value) -> Value {
    let mut claims = json!({
        "preferred_username": username, "family_name": "Family", "given_name": "Given",
        "email": "person@example.test", "email_verified": true, "department": "Engines", "phone_number": "1",
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn signs_in(proxy: &Proxy, login: &str) -> u16 {
    let page = proxy.browser().sign_in(&proxy.url("/page"), login);
    page.answer.status
}

fn pushes(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric("vestibule_push_total", &[&format!("outcome=\"{outcome}\"")])
}

#[track_caller]
fn run(proxy: &Proxy, arguments: &[&str]) -> String {
    let output = proxy.run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_user_is_at_the_receiver_before_their_first_request() {
    let (application, provider) = (Application::start(), Provider::shared());
    for receiver in Receiver::both() {
        let proxy = pushing(&application, &receiver.base, "").start();
        let person = new_person("pushed");
        provider.claim(&person, &claims(&person, &json!({})));
        assert_eq!(signs_in(&proxy, &person), 200);
        let there = receiver
            .user(&person)
            .expect("told before the first request");
        assert_eq!(
            there["name"],
            json!({"familyName": "Family", "givenName": "Given"})
        );
        assert_eq!(there["emails"][0]["value"], "person@example.test");
        assert_eq!(there[ENTERPRISE]["department"], "Engines");
        assert_eq!(there["active"], true);
        let shown: Value =
            serde_json::from_str(&run(&proxy, &["users", "show", &person, "--json"])).unwrap();
        assert_eq!(there["externalId"], shown["id"]);
        // What changes there changes here, and what goes there goes here.
        let changed = json!({"family_name": "New", "department": "Looms", "phone_number": null});
        provider.claim(&person, &claims(&person, &changed));
        assert_eq!(signs_in(&proxy, &person), 200);
        let there = receiver.user(&person).unwrap();
        assert_eq!(there["name"]["familyName"], "New");
        assert_eq!(there[ENTERPRISE]["department"], "Looms");
        assert!(
            there["phoneNumbers"].as_array().is_none_or(Vec::is_empty),
            "{there}"
        );
        // A new name is the same user's.
        let renamed = new_person("renamed");
        provider.claim(&person, &claims(&renamed, &changed));
        assert_eq!(signs_in(&proxy, &person), 200);
        assert_eq!(receiver.user(&renamed).unwrap()["id"], there["id"]);
        run(&proxy, &["users", "deactivate", &renamed]);
        receiver.wait_for(&renamed, |user| user["active"] == false);
        run(&proxy, &["users", "activate", &renamed]);
        receiver.wait_for(&renamed, |user| user["active"] == true);
        assert_eq!(receiver.users().len(), 1);
        wait_for("the last push", PATIENCE, || {
            let waiting = run(&proxy, &["users", "push", "--pending"]);
            (waiting.lines().count() == 1).then_some(())
        });
        let delivered = pushes(&proxy, "delivered");
        assert_eq!(signs_in(&proxy, &person), 200);
        assert_eq!(
            pushes(&proxy, "delivered"),
            delivered,
            "nothing has changed"
        );
        let check = run(&proxy, &["check", "--online"]);
        assert!(
            check.contains("it answers SCIM and takes the token"),
            "{check}"
        );
    }
}

/// Down for a whole sign-in, then up: told once, and one user there.
#[test]
fn a_receiver_that_is_down_is_told_later() {
    let application = Application::start();
    for (on_failure, status) in [("deny", 503), ("continue", 200)] {
        let port = free_port();
        let base = format!("http://127.0.0.1:{port}/v2");
        let more = format!("on_failure = {on_failure:?}");
        let mut proxy = pushing(&application, &base, &more).start();
        let (person, known) = (new_person("waits"), new_person("known"));
        let page = proxy.browser().sign_in(&proxy.url("/"), &person).answer;
        assert_eq!(page.status, status, "{on_failure}: {}", page.text());
        if status == 503 {
            assert!(page.header("retry-after").is_some());
            assert!(page.text().contains("Your account is not ready yet"));
        }
        let ready = proxy.get_admin("/readyz").text();
        assert!(
            ready.contains("it cannot be reached; its pushes wait"),
            "{ready}"
        );
        let waiting = run(&proxy, &["users", "push", "--pending"]);
        assert!(
            waiting.contains(&person) && waiting.contains("cannot be reached"),
            "{waiting}"
        );
        wait_for("the gauge", PATIENCE, || {
            (proxy.metric("vestibule_push_pending", &[]) == 1.0).then_some(())
        });
        // What waits survives a restart.
        if on_failure == "continue" {
            proxy.restart();
        }
        let receiver = Receiver::scim2_on(port);
        receiver.wait_for(&person, |_| true);
        assert_eq!(signs_in(&proxy, &person), 200);
        assert_eq!(signs_in(&proxy, &known), 200);
        assert_eq!(receiver.users().len(), 2);
        // Whoever was delivered once comes in whatever happens there.
        drop(receiver);
        assert_eq!(signs_in(&proxy, &known), 200);
        assert_eq!(
            signs_in(&proxy, &new_person("later")),
            status,
            "{on_failure}"
        );
    }
}

/// The receiver has the name from another system: left alone, and let in or refused.
#[test]
fn somebody_else_s_user_is_left_alone() {
    let (application, provider) = (Application::start(), Provider::shared());
    for receiver in Receiver::both() {
        let accepting = pushing(&application, &receiver.base, "").start();
        let refusing = pushing(&application, &receiver.base, "foreign = \"conflict\"").start();
        let (person, other) = (new_person("foreign"), new_person("other"));
        receiver.has(&person);
        let before = receiver.user(&person);
        let page = refusing
            .browser()
            .sign_in(&refusing.url("/"), &person)
            .answer;
        assert_eq!(page.status, 403, "{}", page.text());
        assert_eq!(signs_in(&accepting, &person), 200);
        assert_eq!(receiver.user(&person), before);
        provider.claim(
            &person,
            &claims(&person, &json!({"family_name": "Changed"})),
        );
        assert_eq!(signs_in(&accepting, &person), 200);
        assert_eq!(receiver.user(&person), before);
        let metric = accepting.metric("vestibule_provisioning_total", &["owned-elsewhere"]);
        assert_eq!(metric, 1.0);
        let shown = run(&accepting, &["users", "show", &person]);
        assert!(shown.contains("provisioned elsewhere"), "{shown}");
        // Bound to the first identity that used the name.
        provider.claim(&other, &claims(&person, &json!({})));
        assert_eq!(signs_in(&accepting, &other), 403);
    }
}

/// A receiver of our own that answers as it is told, and keeps what it was asked.
fn lying() -> (Application, String) {
    let receiver = Application::start();
    let base = format!("http://{}/scim", receiver.address);
    let list = r#"{"totalResults": 0, "Resources": []}"#;
    receiver.answer_with("/scim/Users", "200 OK", "", list);
    receiver.answer("/scim/Users", move |request, stream| {
        let (status, body) = match request.method.as_str() {
            "POST" => ("201 Created", r#"{"id": "r1"}"#),
            "PATCH" => ("204 No Content", ""),
            _ => ("200 OK", list),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .map(|()| true)
    });
    (receiver, base)
}

#[test]
fn only_what_differs_is_sent() {
    let (application, provider) = (Application::start(), Provider::shared());
    let (receiver, base) = lying();
    let proxy = pushing(&application, &base, "").start();
    let person = new_person("changed");
    provider.claim(&person, &claims(&person, &json!({})));
    assert_eq!(signs_in(&proxy, &person), 200);
    let asked = receiver.received();
    let methods: Vec<&str> = asked
        .iter()
        .map(|request| request.method.as_str())
        .collect();
    assert_eq!(
        methods,
        ["GET", "GET", "POST"],
        "looked up by id and by name, then made"
    );
    assert!(
        asked[0].target.contains("externalId"),
        "{}",
        asked[0].target
    );
    assert_eq!(
        asked[2].only("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    receiver.forget();
    provider.claim(
        &person,
        &claims(
            &person,
            &json!({"department": "Looms", "phone_number": null}),
        ),
    );
    assert_eq!(signs_in(&proxy, &person), 200);
    let patch = receiver.only("/scim/Users/r1");
    let body: Value = serde_json::from_slice(&patch.body).unwrap();
    assert_eq!(
        body["Operations"],
        json!([
            {"op": "replace", "path": format!("{ENTERPRISE}:department"), "value": "Looms"},
            {"op": "remove", "path": "phoneNumbers"},
        ])
    );
    let log = proxy.log();
    assert!(!log.contains(TOKEN) && !log.contains("Looms"), "{log}");
}

/// Each fault of a receiver: what a new person sees, and what becomes of the push.
#[test]
fn faults_of_a_receiver_are_told_apart() {
    let application = Application::start();
    let garbage = "<html>not SCIM</html>";
    let somebody =
        r#"{"totalResults": 1, "Resources": [{"id": "x", "userName": "somebody-else"}]}"#;
    for (lines, status, body, seen, told) in [
        ("", "500 Broken", "", 503, "it answered 500"),
        (
            "Retry-After: 120\r\n",
            "429 Too Many",
            "",
            503,
            "it answered 429",
        ),
        ("", "401 Who", "", 503, "it does not take the token"),
        ("", "302 Found", "", 503, "it answered 302"),
        ("", "200 OK", garbage, 503, "no SCIM"),
        (
            "",
            "409 Taken",
            r#"{"scimType": "uniqueness"}"#,
            403,
            "it answered 409 uniqueness",
        ),
        (
            "",
            "400 Bad",
            r#"{"scimType": "invalidValue", "detail": "hunter2"}"#,
            403,
            "it answered 400 invalidValue",
        ),
    ] {
        let (receiver, base) = lying();
        // A server that ignores filters shows somebody else: they are not taken for our user.
        let (lines, answer, body) = (lines.to_owned(), status.to_owned(), body.to_owned());
        receiver.answer("/scim/Users", move |request, stream| {
            let (lines, status, body) = match (request.method.as_str(), answer.as_str()) {
                ("GET", "409 Taken" | "400 Bad") => ("", "200 OK", somebody),
                (_, status) => (lines.as_str(), status, body.as_str()),
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
            )
            .map(|()| true)
        });
        let proxy = pushing(&application, &base, "").start();
        let person = new_person("faulty");
        let page = proxy.browser().sign_in(&proxy.url("/"), &person).answer;
        assert_eq!(page.status, seen, "{status}: {}", page.text());
        proxy.wait_for_log(told);
        assert!(!proxy.log().contains("hunter2"), "no word of a body");
        let waiting = run(&proxy, &["users", "push", "--pending"]);
        let state = if seen == 503 { "pending" } else { "rejected" };
        assert!(waiting.contains(state), "{status}: {waiting}");
        if seen == 503 {
            continue;
        }
        // A permanent refusal is kept until somebody decides.
        assert_eq!(signs_in(&proxy, &person), 403);
        run(&proxy, &["users", "push", "--discard", &person]);
        assert_eq!(signs_in(&proxy, &person), 200, "given up");
        receiver.answer_with(
            "/scim/Users",
            "201 Created",
            "",
            r#"{"id": "r9", "totalResults": 0}"#,
        );
    }
}

/// A receiver that lists the user and has no such user to change has nothing of what it was told.
#[test]
fn a_user_who_is_shown_and_cannot_be_changed_is_not_delivered() {
    let application = Application::start();
    let (receiver, base) = lying();
    receiver.answer("/scim/Users", move |request, stream| {
        let target = percent_encoding::percent_decode_str(&request.target).decode_utf8_lossy();
        let id = target.split('"').nth(1).unwrap_or_default();
        let (status, body) = match request.method.as_str() {
            "GET" => (
                "200 OK",
                json!({"totalResults": 1, "Resources": [{"id": "r1", "externalId": id}]}),
            ),
            _ => ("404 Not Found", json!({})),
        };
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .map(|()| true)
    });
    let proxy = pushing(&application, &base, "").start();
    let person = new_person("shown");
    let page = proxy.browser().sign_in(&proxy.url("/"), &person).answer;
    assert_eq!(page.status, 503, "{}", page.text());
    proxy.wait_for_log("does not find them to change them");
    let waiting = run(&proxy, &["users", "push", "--pending"]);
    assert!(waiting.contains("pending"), "{waiting}");
}

#[test]
fn a_rejected_push_is_tried_again_when_told() {
    let application = Application::start();
    let (receiver, base) = lying();
    let bad = Arc::new(AtomicBool::new(true));
    let is_bad = Arc::clone(&bad);
    receiver.answer("/scim/Users", move |request, stream| {
        let (status, body) = match (request.method.as_str(), is_bad.load(Ordering::Relaxed)) {
            ("POST", true) => ("400 Bad", "{}"),
            ("POST", false) => ("201 Created", r#"{"id": "r1"}"#),
            _ => ("200 OK", r#"{"totalResults": 0}"#),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .map(|()| true)
    });
    let proxy = pushing(&application, &base, "").start();
    let person = new_person("again");
    assert_eq!(signs_in(&proxy, &person), 403);
    bad.store(false, Ordering::Relaxed);
    assert_eq!(signs_in(&proxy, &person), 403, "nobody decided yet");
    assert_eq!(
        run(&proxy, &["users", "push", "--retry"]),
        "1 pushes are due now\n"
    );
    wait_for("the push", PATIENCE, || {
        (pushes(&proxy, "delivered") == 1.0).then_some(())
    });
    assert_eq!(signs_in(&proxy, &person), 200);
    let usage = proxy.run(&["users", "push"]);
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_slow_receiver_holds_nobody_for_longer_than_its_timeout() {
    let application = Application::start();
    let (receiver, base) = lying();
    receiver.answer("/scim/Users", |_, stream| {
        std::thread::sleep(Duration::from_secs(5));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").map(|()| true)
    });
    let proxy = pushing(&application, &base, "").start();
    let started = Instant::now();
    assert_eq!(signs_in(&proxy, &new_person("slow")), 503);
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    let started = Instant::now();
    assert_eq!(signs_in(&proxy, &new_person("slower")), 503);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "known to be down"
    );
    let background = pushing(&application, &base, "timing = \"background\"").start();
    let started = Instant::now();
    assert_eq!(signs_in(&background, &new_person("background")), 200);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

/// Who is kept out while a receiver takes its time with them gets no session that nobody would end.
#[test]
fn who_is_deactivated_during_their_sign_in_does_not_come_in() {
    let application = Application::start();
    for deactivates in [false, true] {
        let (receiver, base) = lying();
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_asked);
        receiver.answer("/scim/Users", move |request, stream| {
            let (status, body) = match request.method.as_str() {
                "POST" => ("201 Created", r#"{"id": "r1"}"#),
                _ => ("200 OK", r#"{"totalResults": 0, "Resources": []}"#),
            };
            if !asked.swap(true, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1500));
            }
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .map(|()| true)
        });
        let proxy = pushing(&application, &base, "").start();
        let person = new_person("caught");
        let status = std::thread::scope(|scope| {
            let signing_in = scope.spawn(|| signs_in(&proxy, &person));
            wait_for("the receiver to be asked", PATIENCE, || {
                is_asked.load(Ordering::Relaxed).then_some(())
            });
            if deactivates {
                run(&proxy, &["users", "deactivate", &person]);
            }
            signing_in.join().unwrap()
        });
        assert_eq!(status, if deactivates { 403 } else { 200 });
        let sessions = run(&proxy, &["sessions", "list"]);
        assert_eq!(sessions.contains(&person), !deactivates, "{sessions}");
    }
}

/// Fifty sign-ins of one new person over two nodes: one user, one audit row, one SCIM user.
#[test]
fn lesson_17_one_person_on_two_nodes_is_one_user_at_the_receiver() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    for receiver in Receiver::both() {
        let database = postgres.database();
        let node = || {
            pushing(&application, &receiver.base, "")
                .on_postgres(postgres, &database)
                .start()
        };
        let nodes = [node(), node()];
        let person = new_person("newcomer");
        let let_in = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..50 {
                let (node, person, let_in) = (&nodes[number % 2], &person, &let_in);
                scope.spawn(move || {
                    let_in.fetch_add(
                        usize::from(signs_in(node, person) == 200),
                        Ordering::Relaxed,
                    );
                });
            }
        });
        assert_eq!(let_in.into_inner(), 50);
        assert_eq!(nodes[0].users().len(), 1);
        let rows = postgres.query(&database, "select count(*) from audit");
        assert_eq!(rows, "1");
        assert_eq!(receiver.users().len(), 1);
    }
}

/// A node whose clock is ahead does not take a push from the node that delivers it.
#[test]
fn clocks_that_differ_push_nobody_twice() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let (receiver, base) = lying();
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    receiver.answer("/scim/Users", move |request, stream| {
        let (status, body) = match request.method.as_str() {
            "POST" => ("201 Created", r#"{"id": "r1"}"#),
            _ => ("200 OK", r#"{"totalResults": 0, "Resources": []}"#),
        };
        if request.method == "POST" {
            counted.fetch_add(1, Ordering::Relaxed);
            // Longer than the other node takes to look for what is due.
            std::thread::sleep(Duration::from_secs(4));
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .map(|()| true)
    });
    let node = || pushing_within("8s", &application, &base, "").on_postgres(postgres, &database);
    let ahead = node()
        .environment("LD_PRELOAD", &faketime())
        .environment("FAKETIME", "+300s")
        .start();
    let one = node().start();
    assert_eq!(signs_in(&one, &new_person("pushed")), 200);
    assert_eq!(posts.load(Ordering::Relaxed), 1);
    assert_eq!(pushes(&ahead, "delivered"), 0.0);
}

/// Killed in the middle of provisioning, again and again: whoever was told that they are in exists, and every change is
/// at the receiver in the end, once.
#[test]
fn killed_two_hundred_times_nothing_is_lost_or_doubled() {
    const KILLS: usize = 200;
    let application = Application::start();
    let receiver = Receiver::scim2();
    let mut proxy = pushing(&application, &receiver.base, "").start();
    let (mut told, mut all) = (Vec::new(), 0);
    // How long a sign-in takes here and now, so that kills fall into its middle on any machine.
    let started = Instant::now();
    assert_eq!(signs_in(&proxy, &new_person("measured")), 200);
    let mut usual = started.elapsed();
    for kill in 0..KILLS {
        let people: Vec<String> = (0..2).map(|_| new_person("killed")).collect();
        all += people.len();
        let came_in = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for person in &people {
                let (browser, url, came_in) = (proxy.browser(), proxy.url("/page"), &came_in);
                scope.spawn(move || {
                    let page = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        browser.sign_in(&url, person).answer.status
                    }));
                    if matches!(page, Ok(200)) {
                        came_in.lock().unwrap().push(person.clone());
                    }
                });
            }
            // From the first step of a sign-in to behind its last one.
            std::thread::sleep(usual * (kill * 7 % 100) as u32 / 50);
            proxy.kill_hard();
        });
        let came_in = came_in.into_inner().unwrap();
        // The machine may become busier, or less so.
        usual = match came_in.len() {
            0 => usual * 21 / 20,
            _ => usual * 20 / 21,
        };
        told.extend(came_in);
        proxy.restart();
    }
    wait_for("every push", 3 * PATIENCE, || {
        let waiting = run(&proxy, &["users", "push", "--pending"]);
        (waiting.lines().count() == 1).then_some(())
    });
    let users = proxy.users();
    let names: Vec<&str> = users
        .iter()
        .map(|user| user["username"].as_str().unwrap())
        .collect();
    for person in &told {
        assert!(
            names.contains(&person.as_str()),
            "{person} was told to be in"
        );
    }
    let mut there: Vec<String> = receiver
        .users()
        .iter()
        .map(|user| user["userName"].as_str().unwrap().to_owned())
        .collect();
    there.sort();
    let mut here: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    here.sort();
    assert_eq!(there, here, "each once");
    assert!(
        (10..all).contains(&told.len()),
        "{} of {all} came in",
        told.len()
    );
}
