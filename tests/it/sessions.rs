//! `sessions list` and `sessions end`, beside a running server.

use std::time::Duration;

use serde_json::Value;

use crate::support::application::Application;
use crate::support::browser::Browser;
use crate::support::provider::new_person;
use crate::support::proxy::{Proxy, Setup, payload};
use crate::support::{PATIENCE, wait_for};

fn text(proxy: &Proxy, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = proxy.run(arguments);
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        utf8(&output.stdout),
        utf8(&output.stderr),
    )
}

fn listed(proxy: &Proxy, more: &[&str]) -> Vec<Value> {
    let (code, out, errors) = text(proxy, &[&["sessions", "list", "--json"], more].concat());
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&out).unwrap_or_else(|fault| panic!("{fault}: {out}"))
}

fn wait_until_out(proxy: &Proxy, browser: &Browser) {
    let started = std::time::Instant::now();
    wait_for("the session's end", PATIENCE, || {
        (browser.fetch(&proxy.url("/x")).status == 401).then_some(())
    });
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "within the bound"
    );
}

#[test]
fn sessions_are_listed_and_ended() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    assert_eq!(listed(&proxy, &[]), [] as [Value; 0]);
    let (ada, bob) = (new_person("ada"), new_person("bob"));
    let (first, second) = (proxy.signed_in(&ada), proxy.signed_in(&ada));
    let other = proxy.signed_in(&bob);
    let all = listed(&proxy, &[]);
    assert_eq!(all.len(), 3);
    assert_eq!(listed(&proxy, &["--user", &ada]).len(), 2);
    let sid = payload(&first.cookie("wfgen_token"))["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = all
        .iter()
        .find(|it| it["sid"] == *sid)
        .expect("it is listed");
    assert_eq!(shown["username"], *ada);
    assert_eq!(
        (&shown["provider"], &shown["renewable"]),
        (&"test".into(), &false.into())
    );
    let (code, table, _) = text(&proxy, &["sessions", "list"]);
    assert_eq!(code, Some(0));
    assert!(
        table.starts_with("SESSION") && table.contains(&sid),
        "{table}"
    );

    assert_eq!(text(&proxy, &["sessions", "end", &sid]).0, Some(0));
    wait_until_out(&proxy, &first);
    assert_eq!(second.fetch(&proxy.url("/x")).status, 200);
    let (code, _, errors) = text(&proxy, &["sessions", "end", &sid]);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("error: no live session has the id") && errors.contains("hint:"),
        "{errors}"
    );

    let (code, out, _) = text(&proxy, &["sessions", "end", "--user", &ada]);
    assert_eq!((code, &*out), (Some(0), "ended 1 session\n"));
    wait_until_out(&proxy, &second);
    assert_eq!(other.fetch(&proxy.url("/x")).status, 200);
    let (code, out, _) = text(&proxy, &["sessions", "end", "--all"]);
    assert_eq!((code, &*out), (Some(0), "ended 1 session\n"));
    wait_until_out(&proxy, &other);
    assert_eq!(listed(&proxy, &[]), [] as [Value; 0]);
    assert_eq!(text(&proxy, &["sessions", "end"]).0, Some(2), "which?");
    assert_eq!(
        text(&proxy, &["sessions", "list", "--user", "nobody"]).0,
        Some(1)
    );
}
