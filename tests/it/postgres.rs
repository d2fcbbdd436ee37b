//! Many nodes on one PostgreSQL: the whole journey there, one person on two nodes at once, and the database
//! that stops and comes back.

use std::time::{Duration, Instant};

use crate::support::application::Application;
use crate::support::postgres::Postgres;
use crate::support::provider::Provider;
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::get;
use crate::support::{PATIENCE, wait_for};

/// Debian's libfaketime, which gives a process a clock of its own.
pub(crate) fn faketime() -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let files = folders.map(|it| it.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let found = files.into_iter().find(|file| file.exists());
    let found = found.expect("tests/run installs libfaketime");
    found.to_str().unwrap().to_owned()
}

fn node(application: &Application, postgres: &Postgres, database: &str) -> Proxy {
    Setup::new(application)
        .on_postgres(postgres, database)
        .at(Provider::shared())
        .start()
}

#[test]
fn a_person_signs_in_and_out_on_postgresql() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let mut proxy = node(&application, postgres, &database);
    let browser = proxy.signed_in("grace");
    let users = proxy.users();
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["status"], "active");
    proxy.restart();
    assert_eq!(
        browser.visit(&proxy.url("/")).status,
        200,
        "still signed in"
    );
    let cookie = format!("Cookie: wfgen_token={}\r\n", browser.cookie("wfgen_token"));
    browser.visit(&proxy.url("/auth/logout"));
    let copied = proxy.get("/", &cookie);
    assert_eq!(copied.status, 401, "copies of the cookie end too");
    let log = proxy.log();
    assert!(!log.contains("pass") && !log.contains("p%C3%A4ss"), "{log}");
}

/// Fifty sign-ins of one new person at once, over two nodes with one database.
#[test]
fn lesson_17_concurrent_first_sign_ins_make_one_user() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let nodes = [
        node(&application, postgres, &database),
        node(&application, postgres, &database),
    ];
    std::thread::scope(|scope| {
        for number in 0..50 {
            let node = &nodes[number % 2];
            scope.spawn(|| node.signed_in("newcomer"));
        }
    });
    assert_eq!(nodes[0].users().len(), 1);
    assert_eq!(nodes[1].users(), nodes[0].users());
    let created = "select count(*) from audit where outcome = 'created'";
    assert_eq!(postgres.query(&database, created), "1");
    let rows = postgres.query(&database, "select count(*) from audit");
    assert_eq!(rows, "1", "unchanged sign-ins leave no trace");
    let sessions = postgres.query(&database, "select count(*) from sessions");
    assert_eq!(sessions, "50");
}

/// A logout on one node is known on the other within the bound of the design.
#[test]
fn a_session_ends_on_every_node() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let one = node(&application, postgres, &database);
    let other = Setup::new(&application)
        .public_origin(one.origin())
        .on_postgres(postgres, &database)
        .at(Provider::shared())
        .start();
    let browser = one.signed_in("henry");
    let cookie = format!("Cookie: wfgen_token={}\r\n", browser.cookie("wfgen_token"));
    let there = || get(other.address, one.host(), &one.path("/"), &cookie).status;
    assert_eq!(there(), 200, "no sticky sessions");
    browser.visit(&one.url("/auth/logout"));
    let ended = Instant::now();
    wait_for("the other node", PATIENCE, || {
        (there() == 401).then_some(())
    });
    assert!(
        ended.elapsed() < Duration::from_secs(2),
        "{:?}",
        ended.elapsed()
    );
}

/// Two nodes whose clocks are five minutes apart: what ends on one ends on the other, by the database's clock.
#[test]
fn clocks_may_be_minutes_apart() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let one = node(&application, postgres, &database);
    let ahead = Setup::new(&application)
        .public_origin(one.origin())
        .on_postgres(postgres, &database)
        .environment("LD_PRELOAD", &faketime())
        .environment("FAKETIME", "+300s")
        .at(Provider::shared())
        .start();
    let there = |cookie: &str| {
        let cookie = format!("Cookie: wfgen_token={cookie}\r\n");
        get(ahead.address, one.host(), &one.path("/"), &cookie).status
    };
    let browser = one.signed_in("kate");
    let cookie = browser.cookie("wfgen_token");
    assert_eq!(there(&cookie), 200);
    browser.visit(&one.url("/auth/logout"));
    wait_for("the node ahead", Duration::from_secs(3), || {
        (there(&cookie) == 401).then_some(())
    });
    let again = one.signed_in("kate").cookie("wfgen_token");
    assert_eq!(there(&again), 200);
    // By the command line of the node behind, and of the node ahead.
    for (node, other) in [(&one, false), (&ahead, true)] {
        let cookie = one.signed_in("kate").cookie("wfgen_token");
        assert_eq!(there(&cookie), 200);
        let done = node.run(&["users", "deactivate", "kate"]);
        assert!(done.status.success(), "{done:?}");
        wait_for("both nodes", Duration::from_secs(3), || {
            let here = one
                .get("/", &format!("Cookie: wfgen_token={cookie}\r\n"))
                .status;
            (there(&cookie) == 401 && here == 401).then_some(())
        });
        assert!(
            node.run(&["users", "activate", "kate"]).status.success(),
            "{other}"
        );
    }
    assert_eq!(ahead.users().len(), 1);
}

/// The database stops under people who are signed in, and comes back.
#[test]
fn postgresql_may_stop_and_come_back() {
    let application = Application::start();
    let mut postgres = Postgres::start();
    let database = postgres.database();
    let proxy = node(&application, &postgres, &database);
    let browser = proxy.signed_in("irene");
    postgres.stop();
    for _ in 0..5 {
        assert_eq!(
            browser.visit(&proxy.url("/")).status,
            200,
            "live sessions go on"
        );
    }
    let started = Instant::now();
    let page = proxy.browser().sign_in(&proxy.url("/"), "jules");
    assert_eq!(page.answer.status, 503, "{}", page.answer.text());
    assert!(page.answer.header("retry-after").is_some());
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "nobody waits long for bad news"
    );
    let ready = proxy.get_admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("store"), "{}", ready.text());
    wait_for("the metric", PATIENCE, || {
        (proxy.metric("vestibule_store_up", &[]) == 0.0).then_some(())
    });
    postgres.start_again();
    wait_for("the store", PATIENCE, || {
        (proxy.metric("vestibule_store_up", &[]) == 1.0).then_some(())
    });
    proxy.signed_in("jules");
    assert_eq!(proxy.users().len(), 2);
}

#[test]
fn the_command_line_says_what_is_wrong_with_a_server() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let setup = |database: &str| {
        Setup::new(&application)
            .on_postgres(postgres, database)
            .at(Provider::shared())
    };
    let missing = setup("missing").installed().run(&["run"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(text.contains("does not exist on that server"), "{text}");
    assert!(text.contains("hint: make it: createdb"), "{text}");
    let wrong = setup("postgres")
        .with("[store]", "password", "{ file = \"session_key\" }")
        .installed()
        .run(&["users", "list"]);
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(text.contains("user or password is wrong"), "{text}");
    let inside = setup("postgres")
        .with("[store]", "url", "\"postgres://u:hunter2@127.0.0.1/d\"")
        .installed()
        .run(&["check"]);
    assert_eq!(inside.status.code(), Some(64));
    let text = String::from_utf8_lossy(&inside.stderr).into_owned();
    assert!(text.contains("a url without a password"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
