//! A SQLite store in trouble under people who are signed in: they go on, sign-ins wait, and all heals without a
//! restart.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{Connection as _, SqliteConnection};

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::{PATIENCE, wait_for};

/// Nobody comes in, and whoever is in goes on; readiness and metric say so.
fn is_in_trouble(proxy: &Proxy, browser: &crate::support::browser::Browser) {
    let page = proxy
        .browser()
        .sign_in(&proxy.url("/"), &new_person("waits"));
    let page = page.answer;
    assert_eq!(page.status, 503, "{}", page.text());
    assert!(page.header("retry-after").is_some());
    assert_eq!(browser.visit(&proxy.url("/page")).status, 200);
    wait_for("the metric", PATIENCE, || {
        (proxy.metric("vestibule_store_up", &[]) == 0.0).then_some(())
    });
    let ready = proxy.get_admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(
        ready.text().contains("store: it does not answer"),
        "{}",
        ready.text()
    );
}

fn heals(proxy: &Proxy) {
    let person = new_person("later");
    wait_for("a sign-in", 2 * PATIENCE, || {
        let page = proxy.browser().sign_in(&proxy.url("/"), &person);
        (page.answer.status == 200).then_some(())
    });
    wait_for("the metric", PATIENCE, || {
        (proxy.metric("vestibule_store_up", &[]) == 1.0).then_some(())
    });
}

#[test]
fn a_store_that_another_process_locks() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("signed-in"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("sqlite:{}", proxy.file("vestibule.db").display());
    let mut other = runtime.block_on(SqliteConnection::connect(&url)).unwrap();
    let mut run = |statement: &'static str| {
        let done = runtime.block_on(sqlx::query(statement).execute(&mut other));
        done.unwrap();
    };
    run("begin immediate");
    is_in_trouble(&proxy, &browser);
    assert!(
        proxy.log().contains("locked by another process"),
        "{}",
        proxy.log()
    );
    run("rollback");
    heals(&proxy);
}

/// Somebody removes the file, or puts another in its place: nobody comes in who would be forgotten.
#[test]
fn a_store_that_is_gone() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("signed-in"));
    let (file, away) = (proxy.file("vestibule.db"), proxy.file("away.db"));
    std::fs::rename(&file, &away).unwrap();
    is_in_trouble(&proxy, &browser);
    assert!(
        proxy.log().contains("was removed or replaced"),
        "{}",
        proxy.log()
    );
    std::fs::copy(&away, &file).unwrap();
    let page = proxy
        .browser()
        .sign_in(&proxy.url("/"), &new_person("another-file"));
    assert_eq!(page.answer.status, 503, "not the one that is open");
    std::fs::rename(&away, &file).unwrap();
    heals(&proxy);
    assert_eq!(proxy.users().len(), 2);
}

/// Nothing can be written any more, as on a disk that its system made read-only.
#[test]
fn a_store_that_is_read_only() {
    let application = Application::start();
    let proxy = Setup::usual(&application);
    let browser = proxy.signed_in(&new_person("signed-in"));
    let files = Frozen(["vestibule.db", "vestibule.db-wal"].map(|name| proxy.file(name)));
    let checked = || proxy.run(&["check", "--online"]);
    assert!(checked().status.success());
    files.set("+i");
    is_in_trouble(&proxy, &browser);
    let told = checked();
    assert!(!told.status.success());
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("failed  store: "), "{told}");
    files.set("-i");
    heals(&proxy);
    assert!(checked().status.success());
    assert_eq!(proxy.users().len(), 2);
}

/// The program dies, and finds a disk that its system made read-only meanwhile: who was signed in is.
#[test]
fn a_start_on_a_read_only_disk() {
    let application = Application::start();
    let mut proxy = Setup::new(&application)
        .with("[store]", "url", "\"sqlite:small/vestibule.db\"")
        .at(Provider::shared())
        .installed();
    let disk = SmallDisk::at(&proxy.file("small"));
    proxy.restart();
    let browser = proxy.signed_in(&new_person("signed-in"));
    proxy.kill_hard();
    proxy.wait_until_ended();
    assert!(as_root(&["mount", "-o", "remount,ro"], &disk.0));
    proxy.restart();
    is_in_trouble(&proxy, &browser);
    assert!(proxy.log().contains("cannot be written"), "{}", proxy.log());
    assert!(as_root(&["mount", "-o", "remount,rw"], &disk.0));
    heals(&proxy);
    assert_eq!(proxy.users().len(), 2);
    drop(proxy);
    drop(disk);
}

/// Files that nobody may write, not even who has them open.
struct Frozen([PathBuf; 2]);

impl Frozen {
    fn set(&self, attribute: &str) {
        for file in &self.0 {
            let done = as_root(&["chattr", attribute], file);
            assert!(
                done,
                "chattr needs root, and ext4, xfs or btrfs below {}",
                file.display()
            );
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for file in &self.0 {
            as_root(&["chattr", "-i"], file);
        }
    }
}

/// A small file system of its own; it goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let mounted = as_root(
            &["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs"],
            folder,
        );
        assert!(mounted, "mounting a tmpfs needs root");
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy"], &self.0);
    }
}

fn as_root(command: &[&str], folder: &Path) -> bool {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    let words: &[&str] = if id == b"0\n" { &[] } else { &["sudo", "-n"] };
    let words: Vec<&str> = words.iter().chain(command).copied().collect();
    let status = Command::new(words[0])
        .args(&words[1..])
        .arg(folder)
        .status();
    status.unwrap().success()
}

#[test]
fn a_store_on_a_full_disk() {
    let application = Application::start();
    let mut proxy = Setup::new(&application)
        .with("[store]", "url", "\"sqlite:small/vestibule.db\"")
        .at(Provider::shared())
        .installed();
    let disk = SmallDisk::at(&proxy.file("small"));
    proxy.restart();
    let browser = proxy.signed_in(&new_person("signed-in"));
    let mut ballast = File::create(proxy.file("small/ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    drop(ballast);
    is_in_trouble(&proxy, &browser);
    assert!(proxy.log().contains("is on a full disk"), "{}", proxy.log());
    std::fs::remove_file(proxy.file("small/ballast")).unwrap();
    heals(&proxy);
    assert!(!proxy.users().is_empty());
    drop(proxy);
    drop(disk);
}
