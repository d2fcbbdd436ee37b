//! The demo: its two parts by themselves, and here the whole from the command line.

mod application;
mod provider;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use crate::support::browser::{Browser, Page};
use crate::support::chromium::Chromium;
use crate::support::{PATIENCE, wait_for};

/// The text field, as a browser reads it.
fn claims_in(page: &Page) -> String {
    let html = page.answer.text();
    let (_, rest) = html.split_once("<textarea").unwrap();
    let (_, rest) = rest.split_once(">\n").unwrap();
    let (text, _) = rest.split_once("</textarea>").unwrap();
    text.replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn vestibule(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn one_sign_in_is_told_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let ended = vestibule(folder.path(), &["demo", "--once"]);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    assert_eq!(text(&ended.stderr), "");
    let told = text(&ended.stdout);
    for line in [
        "1. The browser asks for a page of the application",
        "   302  to provider/authorize?…",
        "        code_challenge_method  S256",
        "   303  to proxy/wfgen/auth/callback?…",
        "   303  to proxy/wfgen/echo?case=42",
        "        outcome created in the directory SELF_PROVISIONING",
        "   GET  proxy/wfgen/echo?case=42  X-Forwarded-User: administrator",
        "   username      ada.lovelace@example.com",
        "   company       Example Ltd",
        "   x-forwarded-user        ada.lovelace@example.com",
        "Header, session token and directory name the same person: ada.lovelace@example.com",
    ] {
        assert!(
            told.lines().any(|told| told == line),
            "{line}\nis not in\n{told}"
        );
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}

/// `vestibule demo`, stopped at the end of the test.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .current_dir(folder)
            .arg("demo")
            .env_remove("CARGO")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// What stands behind a word of the greeting.
    fn told(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.trim().strip_prefix(word) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the demo said nothing of {word}: {:?}", self.child.wait());
    }

    /// SIGTERM, and how it ended.
    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let child = &mut self.child;
        let ended = wait_for("the demo to stop", PATIENCE, || child.try_wait().unwrap());
        let _ = self.out.read_to_string(&mut String::new());
        ended.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sign_in(browser: &Browser, url: &str, edit: impl Fn(String) -> String) -> Page {
    let form = browser.navigate(url);
    let claims = edit(claims_in(&form));
    let user = [
        ("user_name", "ada.lovelace@example.com"),
        ("claims", claims.as_str()),
    ];
    browser.fill_in(&form, &user)
}

#[test]
fn the_demo_runs_until_it_is_stopped_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(folder.path());
    let url = demo.told("Open");
    let users = demo.told("Users");
    assert!(
        users.ends_with("-c vestibule-demo/proxy.toml users list"),
        "{users}"
    );

    let page = sign_in(
        &Browser::new(),
        &format!("{url}requests/42?view=all"),
        |claims| claims,
    );
    assert_eq!(page.url.as_str(), format!("{url}requests/42?view=all"));
    let html = page.answer.text();
    assert!(html.contains("Hello, ada.lovelace@example.com"), "{html}");
    assert!(html.contains("names the same person"), "{html}");

    // A second terminal, and a second demo.
    let configuration = ["-c", "vestibule-demo/proxy.toml"];
    let department = || {
        let listed = vestibule(
            folder.path(),
            &[&configuration[..], &["users", "list", "--json"]].concat(),
        );
        let users: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(users.as_array().unwrap().len(), 1, "{users}");
        users[0]["department"].clone()
    };
    assert_eq!(department(), "Engineering");
    let checked = vestibule(folder.path(), &[&configuration[..], &["check"]].concat());
    assert_eq!(
        (text(&checked.stdout), text(&checked.stderr)),
        ("ok\n".into(), String::new())
    );
    let second = vestibule(folder.path(), &["demo"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second.stderr)
            .starts_with("error: a demo is running in vestibule-demo already\nhint: ")
    );

    assert_eq!(demo.stop(), Some(0));
    let mut again = Running::start(folder.path());
    let url = again.told("Open");
    let changed = |claims: String| claims.replace("Engineering", "Navigation");
    let page = sign_in(&Browser::new(), &url, changed);
    assert!(
        page.answer.text().contains("Navigation"),
        "{}",
        page.answer.text()
    );
    assert_eq!(department(), "Navigation");
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn demos_that_start_at_once_are_apart() {
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let started = folders.iter().map(|folder| Running::start(folder.path()));
    let mut demos: Vec<_> = started.collect();
    let urls: Vec<_> = demos.iter_mut().map(|demo| demo.told("Open")).collect();
    let apart: std::collections::HashSet<_> = urls.iter().collect();
    assert_eq!(apart.len(), urls.len(), "{urls:?}");
    for url in &urls {
        let page = sign_in(&Browser::new(), url, |claims| claims);
        let html = page.answer.text();
        assert!(html.contains("Hello, ada.lovelace@example.com"), "{html}");
    }
    for demo in demos {
        assert_eq!(demo.stop(), Some(0));
    }
}

#[test]
fn the_demo_works_in_a_real_browser() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(folder.path());
    let url = demo.told("Open");
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("{url}requests/42"));
    chromium.press(tab, "button[value=sign-in]");
    chromium.arrive(tab, &format!("{url}requests/42"));
    let sight = chromium.look(tab);
    assert!(sight.text.contains("Hello, ada.lovelace@example.com"));
    chromium.press(tab, "main form button");
    chromium.arrive(tab, &format!("{url}requests/new"));
    let sight = chromium.look(tab);
    assert!(
        sight.text.contains("message=A+purchase+request"),
        "{}",
        sight.text
    );
    chromium.press(tab, "a[href$=logout]");
    chromium.arrive(tab, &format!("{url}auth/logout/return"));
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn signing_out_ends_the_session_at_the_provider_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Running::start(folder.path());
    let url = demo.told("Open");
    let browser = Browser::new();
    let page = sign_in(&browser, &url, |claims| claims);
    let out = browser.click(&page.url, &format!("{url}auth/logout"));
    assert!(
        out.url.path().ends_with("/auth/logout/return"),
        "{:#?}",
        out.addresses()
    );
    out.step("/logout");
    let form = browser.navigate(&url);
    assert!(
        form.answer.text().contains("<textarea"),
        "{:#?}",
        form.addresses()
    );
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn a_folder_that_no_demo_made_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("vestibule-demo")).unwrap();
    std::fs::write(folder.path().join("vestibule-demo/precious"), "x").unwrap();
    let ended = vestibule(folder.path(), &["demo"]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        text(&ended.stderr),
        "error: expected vestibule-demo to be a folder of the demo's or nothing, found files that no demo made\n\
         hint: move it away, or start the demo in another folder\n"
    );
}

#[test]
fn the_configuration_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = vestibule(folder.path(), &["demo", "--print-config"]);
    assert_eq!(printed.status.code(), Some(0));
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, &printed.stdout).unwrap();
    for secret in ["client_secret", "session_key", "sealing_key"] {
        std::fs::write(folder.path().join(secret), "x".repeat(43)).unwrap();
    }
    // Session and sealing key must differ.
    std::fs::write(folder.path().join("sealing_key"), "y".repeat(43)).unwrap();
    let checked = vestibule(folder.path(), &["check"]);
    assert_eq!(text(&checked.stdout), "ok\n", "{}", text(&checked.stderr));
}
