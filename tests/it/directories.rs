//! Text directories from the outside: people of a file beside people who provision themselves.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::postgres::Postgres;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::{PATIENCE, wait_for};

const STAFF: &str = "
[[directories]]
name = \"STAFF\"
connector = \"text\"
file = \"staff.csv\"
max_deactivations = \"50%\"
";

/// A proxy with a file of these lines below the header row.
fn with_staff(application: &Application, lines: &str) -> Setup {
    Setup::new(application)
        .more(STAFF)
        .file("staff.csv", &csv(lines))
        .at(Provider::shared())
}

fn csv(lines: &str) -> String {
    format!("username,name,email,subject\n{lines}")
}

/// Puts another file in the place of the one that is there, as tools do.
fn replace(proxy: &Proxy, text: &str) {
    std::fs::write(proxy.file("staff.new"), text).unwrap();
    std::fs::rename(proxy.file("staff.new"), proxy.file("staff.csv")).unwrap();
}

fn user(proxy: &Proxy, username: &str) -> Option<Value> {
    let users = proxy.users();
    users.into_iter().find(|user| user["username"] == username)
}

fn wait_for_file(proxy: &Proxy, outcome: &str, times: f64) {
    let label = format!("outcome=\"{outcome}\"");
    wait_for(outcome, PATIENCE, || {
        let metric = proxy.metric("vestibule_directory_file_total", &[&label]);
        (metric >= times).then_some(())
    });
}

/// A sign-in as a user of another directory lets them in and leaves them as they are, but for the identity.
#[test]
fn lesson_05_a_user_of_a_file_is_never_written_by_a_sign_in() {
    let (application, provider) = (Application::start(), Provider::shared());
    let (listed, other) = (new_person("listed"), new_person("other"));
    let lines = format!("{listed},From The File,file@example.test,\n");
    let mut proxy = with_staff(&application, &lines).start();
    let before = user(&proxy, &listed).expect("the file is read before anybody signs in");
    assert_eq!(before["directory"], "STAFF");
    let browser = proxy.signed_in(&listed);
    assert_eq!(
        application.last().only("x-forwarded-user"),
        Some(listed.as_str())
    );
    let mut after = user(&proxy, &listed).unwrap();
    assert_eq!(after["subject"], json!(listed));
    for changes in ["issuer", "subject", "updated_at", "last_login_at"] {
        after[changes] = before[changes].clone();
    }
    assert_eq!(after, before);
    assert_eq!(
        proxy.metric("vestibule_provisioning_total", &["owned-elsewhere"]),
        1.0
    );
    // Bound to the first identity that uses the name.
    let claims = json!({"preferred_username": listed, "family_name": "F", "email_verified": true});
    provider.claim(&other, &claims);
    let page = proxy.browser().sign_in(&proxy.url("/"), &other).answer;
    assert_eq!(page.status, 403);
    // Everybody else provisions themselves.
    let stranger = new_person("stranger");
    proxy.signed_in(&stranger);
    assert_eq!(
        user(&proxy, &stranger).unwrap()["directory"],
        "SELF_PROVISIONING"
    );
    proxy.restart();
    assert_eq!(browser.visit(&proxy.url("/")).status, 200);
    assert_eq!(
        proxy.users().len(),
        2,
        "reading the same file again changes nothing"
    );
}

/// From the file without somebody to their first refused request.
#[test]
fn lesson_13_who_leaves_the_file_is_out_at_once() {
    let application = Application::start();
    let (leaver, stayer) = (new_person("leaver"), new_person("stayer"));
    let both = format!("{leaver},L,,\n{stayer},S,,{stayer}\n");
    let proxy = with_staff(&application, &both).start();
    let (left, stayed) = (proxy.signed_in(&leaver), proxy.signed_in(&stayer));
    replace(&proxy, &csv(&format!("{stayer},S,,{stayer}\n")));
    let written = Instant::now();
    wait_for("the end of the session", PATIENCE, || {
        (left.fetch(&proxy.url("/")).status == 401).then_some(())
    });
    let took = written.elapsed();
    // Two looks of 2 s that see the same, and a second for the session.
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(
        user(&proxy, &leaver).unwrap()["status"],
        "inactive",
        "not deleted"
    );
    assert_eq!(stayed.visit(&proxy.url("/")).status, 200);
    let page = proxy.browser().sign_in(&proxy.url("/"), &leaver).answer;
    assert_eq!(page.status, 403);
    // Back again, and known as before.
    replace(&proxy, &csv(&both));
    wait_for_file(&proxy, "applied", 3.0);
    proxy.signed_in(&leaver);
    // The subject says who somebody is, so a new name is theirs.
    let renamed = new_person("renamed");
    replace(
        &proxy,
        &csv(&format!("{leaver},L,,\n{renamed},S,,{stayer}\n")),
    );
    wait_for_file(&proxy, "applied", 4.0);
    assert_eq!(user(&proxy, &renamed).unwrap()["subject"], json!(stayer));
    assert_eq!(proxy.users().len(), 2);
}

#[test]
fn a_file_with_faults_changes_nothing_and_is_told_by_line() {
    let application = Application::start();
    let (one, two) = (new_person("one"), new_person("two"));
    let good = format!("{one},One,,\n{two},Two,,\n");
    let mut proxy = with_staff(&application, &good).start();
    let before = proxy.users();
    for (text, told) in [
        (
            csv(&format!("{one},Changed,,\n{two},,,\n")),
            "line 3: name: expected a value, found none",
        ),
        (
            csv(&format!("{one},Changed,,\n{two},Two")),
            "line 3: expected a line break",
        ),
        (
            csv(&format!("{one},Changed,,\n{two},Two\n")),
            "line 3: expected 4 fields, found 2",
        ),
        (
            "user,name\n".to_owned(),
            "line 1: expected names of user fields",
        ),
        (
            csv(""),
            "2 of 2 active users are not in it, expected at most 1",
        ),
    ] {
        replace(&proxy, &text);
        proxy.wait_for_log(told);
        let ready = proxy.get_admin("/readyz").text();
        assert!(
            ready.contains(told) && ready.contains("\"ready\":true"),
            "{ready}"
        );
        assert_eq!(proxy.users(), before, "{told}");
        let check = proxy.run(&["check", "--online"]);
        assert_eq!(check.status.code(), Some(1));
        let output = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(output.contains(told), "{output}");
    }
    assert_eq!(
        proxy.metric("vestibule_directory_file_total", &["faulty"]),
        4.0
    );
    assert_eq!(
        proxy.metric("vestibule_directory_file_total", &["refused"]),
        1.0
    );
    // With a bad file it starts all the same, on what was applied before.
    proxy.restart();
    proxy.signed_in(&one);
    // Somebody writes slowly: nothing happens before they are done.
    let mut slow = std::fs::File::create(proxy.file("staff.csv")).unwrap();
    for part in [
        csv(""),
        format!("{one},Slowly,,\n"),
        format!("{two},Written,,\n"),
    ] {
        std::io::Write::write_all(&mut slow, part.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(700));
    }
    wait_for("the whole file", PATIENCE, || {
        (user(&proxy, &two)?["name"] == "Written").then_some(())
    });
    assert_eq!(user(&proxy, &one).unwrap()["name"], "Slowly");
    assert_eq!(user(&proxy, &one).unwrap()["status"], "active");
    wait_for("readiness", PATIENCE, || {
        let ready = proxy.get_admin("/readyz").text();
        ready.contains("\"degraded\":[]").then_some(())
    });
}

/// A username lives in one directory: the line of a name that somebody else has is left out, the rest is used.
#[test]
fn a_name_of_another_directory_stays_there() {
    let application = Application::start();
    let (own, listed) = (new_person("own"), new_person("listed"));
    let proxy = with_staff(&application, &format!("{listed},L,,\n")).start();
    proxy.signed_in(&own);
    replace(
        &proxy,
        &csv(&format!("{listed},New,,\n{},O,,\n", own.to_uppercase())),
    );
    proxy.wait_for_log("that of a user of another directory");
    wait_for("the rest", PATIENCE, || {
        (user(&proxy, &listed)?["name"] == "New").then_some(())
    });
    assert_eq!(
        user(&proxy, &own).unwrap()["directory"],
        "SELF_PROVISIONING"
    );
    proxy.signed_in(&own);
}

/// Names that people of the file hand on, and a name that is given to another subject.
#[test]
fn a_name_goes_to_nobody_else_by_a_file() {
    let application = Application::start();
    let names: Vec<String> = (0..4).map(|_| new_person("chain")).collect();
    let [a, b, c, free] = &names[..] else {
        unreachable!()
    };
    let lines = |named: [&String; 3]| {
        let line = |(number, name): (usize, &&String)| format!("{name},N,,subject-{number}-{a}\n");
        named.iter().enumerate().map(line).collect::<String>()
    };
    let proxy = with_staff(&application, &lines([a, b, c])).start();
    let id = |name: &String| {
        let shown = proxy.run(&["users", "show", name, "--json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        (shown["id"].clone(), shown["status"].clone())
    };
    let before = [id(a), id(b), id(c)];
    // The first takes the second's name, the second the third's, the third a free one: the last line goes first. A name
    // that was given up stays reserved for who had it, until it is released.
    replace(&proxy, &csv(&lines([b, c, free])));
    proxy.wait_for_log("is that of another user of this directory");
    wait_for_file(&proxy, "applied", 2.0);
    assert_eq!(id(free), before[2], "the third has the free name");
    assert_eq!(id(a), before[0], "the first keeps theirs");
    // Deactivated by an administrator: no rename undoes it.
    assert!(proxy.run(&["users", "deactivate", a]).status.success());
    let another = new_person("chain");
    replace(&proxy, &csv(&lines([&another, b, free])));
    wait_for("the rename", PATIENCE, || {
        (id(&another).0 == before[0].0).then_some(())
    });
    assert_eq!(id(&another).1, "inactive");
    // The second's name with a subject that nobody knows: not their account.
    let stranger = lines([&another, b, free]).replace("subject-1-", "stranger-");
    replace(&proxy, &csv(&stranger));
    proxy.wait_for_log("is that of another subject");
    let shown = proxy.run(&["users", "show", b]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        !shown.contains("stranger-") && shown.contains("inactive"),
        "{shown}"
    );
}

/// Two nodes with copies of a file: one applies it, both know, and an older copy is not used.
#[test]
fn one_of_two_nodes_applies_a_file() {
    let (application, postgres) = (Application::start(), Postgres::shared());
    let database = postgres.database();
    let person = new_person("person");
    let node = |name: &str| {
        with_staff(&application, &format!("{person},{name},,\n"))
            .on_postgres(postgres, &database)
            .start()
    };
    let one = node("First");
    std::thread::sleep(Duration::from_millis(1100));
    let two = node("Second");
    assert_eq!(
        user(&one, &person).unwrap()["name"],
        "Second",
        "the newer one"
    );
    // A restart finds its own copy to be the older one.
    let old = std::fs::read(one.file("staff.csv")).unwrap();
    let stamped = std::fs::metadata(one.file("staff.csv"))
        .unwrap()
        .modified()
        .unwrap();
    let copy = one.file("staff.new");
    std::fs::write(&copy, [old, b"another,A,,\n".to_vec()].concat()).unwrap();
    let copied = std::fs::File::options().write(true).open(&copy).unwrap();
    copied.set_modified(stamped).unwrap();
    std::fs::rename(copy, one.file("staff.csv")).unwrap();
    one.wait_for_log("is older than the one that node");
    assert_eq!(user(&two, &person).unwrap()["name"], "Second");
    assert_eq!(two.users().len(), 1);
    let rows = postgres.query(&database, "select people, node from directory_files");
    assert!(
        rows.starts_with("1|") && rows.ends_with(&two.address.to_string()),
        "{rows}"
    );
}

/// The service manager hears that the start goes on, and a stop does not wait for the rest of the file.
#[test]
fn a_long_file_holds_up_neither_the_service_manager_nor_the_end() {
    let application = Application::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let people: String = (0..100_000).map(|it| format!("p{it},P,,\n")).collect();
    let proxy = with_staff(&application, &people)
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .at(Provider::shared())
        .installed();
    let mut process = proxy.process(&[]);
    let mut message = [0; 256];
    let count = manager.recv(&mut message).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&message[..count]).trim(),
        "EXTEND_TIMEOUT_USEC=60000000"
    );
    let told = Instant::now();
    process.terminate();
    assert_eq!(process.wait_until_ended(), Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "{:?}",
        told.elapsed()
    );
}
