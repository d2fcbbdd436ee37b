//! The store's contract, as functions over a [`Store`] that every database has to pass, and what SQLite
//! owes besides: its file, its faults, and that what was returned as written is on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};
use vestibule::config::{UserField, UserStatus};
use vestibule::store::{
    AuditRow, Change, Facts, NewSession, OpenSessionError, Question, Store, User,
};

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://one.example";

fn user(id: &str, username: &str) -> User {
    User {
        id: id.into(),
        directory: "SELF".into(),
        status: UserStatus::Active,
        fields: BTreeMap::from([
            (UserField::Username, username.into()),
            (UserField::Name, "Family \"\u{1f600}\" 名".into()),
        ]),
        identities: vec![(ISSUER.into(), id.into())],
        created_at: NOW,
        updated_at: NOW,
        last_login_at: None,
    }
}

fn question<'a>(subject: &'a str, username: Option<&'a str>) -> Question<'a> {
    Question {
        issuer: ISSUER,
        subject,
        username,
        directory: "SELF",
        count_to: Some(10),
    }
}

async fn write(store: &Store, user: User) {
    let asked = question("", None);
    store
        .transact(&asked, NOW, |_| (stored(user.clone()), ()))
        .await
        .unwrap();
}

fn stored(user: User) -> Change {
    Change {
        user: Some(user),
        audit: Vec::new(),
    }
}

fn session(number: u32, expires_at: i64) -> NewSession {
    NewSession {
        sid: format!("sid{number}"),
        sign_in: format!("nonce{number}"),
        user: "1".into(),
        provider: "one".into(),
        id_token: vec![0, 255, 7],
        created_at: NOW,
        expires_at,
    }
}

mod contract {
    use super::*;

    pub(super) async fn users_are_found_by_identity_and_by_name(store: &Store) {
        let asked = question("1", Some("ÁLICE"));
        assert_eq!(store.facts(&asked).await.unwrap(), Facts::default());
        let alice = user("1", "Alice");
        write(store, alice.clone()).await;
        let facts = store.facts(&asked).await.unwrap();
        assert_eq!(facts.by_identity.as_ref(), Some(&alice));
        assert_eq!(facts.by_username, None, "the identity's own");
        let facts = store.facts(&question("2", Some("ÁLICE"))).await.unwrap();
        assert_eq!(
            (facts.by_identity, facts.by_username),
            (None, Some(alice.clone()))
        );
        let facts = store.facts(&question("2", Some("bob"))).await.unwrap();
        assert_eq!(facts.users, 1);
        assert_eq!(store.user_by_name(" alice").await.unwrap(), Some(alice));
        assert_eq!(store.user_by_name("alic").await.unwrap(), None);
    }

    pub(super) async fn identities_keep_their_order_and_their_user(store: &Store) {
        let mut alice = user("1", "alice");
        for number in ["9", "5", "7"] {
            alice.identities.push((ISSUER.into(), number.into()));
            write(store, alice.clone()).await;
        }
        assert_eq!(store.user_by_name("alice").await.unwrap(), Some(alice));
        let mut mallory = user("2", "mallory");
        mallory.identities.push((ISSUER.into(), "5".into()));
        let asked = question("2", None);
        let written = store
            .transact(&asked, NOW, |_| (stored(mallory.clone()), ()))
            .await;
        assert!(written.is_err(), "an identity is one user's");
        assert_eq!(
            store.user_by_name("mallory").await.unwrap(),
            None,
            "all or nothing"
        );
    }

    pub(super) async fn a_username_given_up_stays_reserved(store: &Store) {
        write(store, user("1", "alice")).await;
        write(store, user("1", "alice2")).await;
        let asked = question("2", Some("ALICE"));
        let facts = store.facts(&asked).await.unwrap();
        assert_eq!(facts.given_up_by.as_deref(), Some("1"));
        write(store, user("1", "Alice")).await;
        assert_eq!(
            store.facts(&asked).await.unwrap().given_up_by,
            None,
            "taken back"
        );
        let facts = store.facts(&question("2", Some("alice2"))).await.unwrap();
        assert_eq!(facts.given_up_by.as_deref(), Some("1"));
        write(store, user("1", "ALICE")).await;
        assert_eq!(
            store.facts(&asked).await.unwrap().given_up_by,
            None,
            "a spelling"
        );
    }

    pub(super) async fn users_are_listed_page_by_page(store: &Store) {
        for number in 0..25 {
            let mut user = user(&number.to_string(), &format!("User {number:02}"));
            user.identities.truncate(number % 2);
            write(store, user).await;
        }
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let (users, next) = store.users(after.as_ref(), 10).await.unwrap();
            names.extend(users.iter().map(|user| user.username().to_owned()));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..25).map(|number| format!("User {number:02}")).collect();
        assert_eq!(names, expected);
    }

    pub(super) async fn one_transaction_decides_on_what_the_last_one_wrote(store: &Store) {
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..50 {
            let store = store.clone();
            writers.spawn(async move {
                let id = number.to_string();
                let asked = question("shared", Some("shared"));
                let decide = |facts: &Facts| match &facts.by_identity {
                    Some(_) => (Change::default(), false),
                    None => {
                        let mut user = user(&id, "shared");
                        user.identities = vec![(ISSUER.into(), "shared".into())];
                        (stored(user), true)
                    }
                };
                store.transact(&asked, NOW, decide).await.unwrap()
            });
        }
        let created = writers.join_all().await;
        assert_eq!(created.into_iter().filter(|created| *created).count(), 1);
    }

    pub(super) async fn the_audit_trail_is_written_with_its_change(store: &Store) {
        let row = AuditRow {
            at: NOW,
            request: "1".into(),
            provider: "one".into(),
            issuer: ISSUER.into(),
            subject: "1".into(),
            directory: "SELF".into(),
            user: None,
            username: Some("alice".into()),
            outcome: "refused".into(),
            reason: "no".into(),
            changes: BTreeMap::new(),
        };
        for at in [NOW - 10, NOW] {
            let row = AuditRow { at, ..row.clone() };
            let change = Change {
                user: None,
                audit: vec![row.clone(), row],
            };
            store
                .transact(&question("1", None), NOW, |_| (change.clone(), ()))
                .await
                .unwrap();
        }
        let all = store.audit(0, 10).await.unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[3].row, row);
        assert_eq!(store.audit(all[1].id, 1).await.unwrap(), all[2..3]);
        store.keep_house(NOW, NOW).await.unwrap();
        assert_eq!(store.audit(0, 10).await.unwrap(), all[2..]);
    }

    pub(super) async fn one_sign_in_opens_one_session(store: &Store) {
        write(store, user("1", "alice")).await;
        store.open_session(&session(1, NOW + 60)).await.unwrap();
        let again = NewSession {
            sid: "another".into(),
            ..session(1, NOW + 60)
        };
        let refused = store.open_session(&again).await;
        assert!(matches!(refused, Err(OpenSessionError::SignInUsed)));
        assert_eq!(store.session("another").await.unwrap(), None);
        let twice = NewSession {
            sign_in: "other".into(),
            ..session(1, NOW + 60)
        };
        let refused = store.open_session(&twice).await;
        assert!(
            matches!(refused, Err(OpenSessionError::Store(_))),
            "a sid is one session's"
        );
        let nobodys = NewSession {
            user: "nobody".into(),
            ..session(2, NOW + 60)
        };
        assert!(store.open_session(&nobodys).await.is_err());
    }

    pub(super) async fn a_session_that_ended_stays_ended(store: &Store) {
        write(store, user("1", "alice")).await;
        for number in 1..=3 {
            store
                .open_session(&session(number, NOW + 60))
                .await
                .unwrap();
        }
        assert_eq!(store.live_sessions(NOW).await.unwrap(), 3);
        store.end_session("sid1", NOW + 5).await.unwrap();
        store.end_session("sid1", NOW + 9).await.unwrap();
        store.end_session("unknown", NOW).await.unwrap();
        let record = store.session("sid1").await.unwrap().unwrap();
        assert!(record.ended);
        assert_eq!(
            (record.provider.as_str(), record.id_token),
            ("one", vec![0, 255, 7])
        );
        assert!(!store.session("sid2").await.unwrap().unwrap().ended);
        assert_eq!(store.ended_since(NOW + 5).await.unwrap(), ["sid1"]);
        assert!(
            store.ended_since(NOW + 6).await.unwrap().is_empty(),
            "the first end counts"
        );
        assert_eq!(store.live_sessions(NOW).await.unwrap(), 2);
        assert_eq!(store.live_sessions(NOW + 60).await.unwrap(), 0);
    }

    pub(super) async fn housekeeping_drops_what_is_long_over(store: &Store) {
        write(store, user("1", "alice")).await;
        for number in 0..600 {
            store.open_session(&session(number, NOW)).await.unwrap();
        }
        store
            .open_session(&session(900, NOW + 10_000))
            .await
            .unwrap();
        store.keep_house(NOW + 600, 0).await.unwrap();
        assert!(
            store.session("sid0").await.unwrap().is_some(),
            "its sign-in is not forgotten yet"
        );
        store.keep_house(NOW + 3601, 0).await.unwrap();
        for number in [0, 599] {
            let gone = store.session(&format!("sid{number}")).await.unwrap();
            assert_eq!(gone, None);
        }
        assert!(store.session("sid900").await.unwrap().is_some());
    }

    pub(super) async fn logins_are_noted_and_written_later(store: &Store) {
        write(store, user("1", "alice")).await;
        for time in [NOW + 2, NOW + 5, NOW + 3] {
            store.note_login("1", time);
        }
        store.note_login("nobody", NOW);
        let last = |user: Option<User>| user.unwrap().last_login_at;
        assert_eq!(last(store.user_by_name("alice").await.unwrap()), None);
        store.keep_house(NOW, 0).await.unwrap();
        assert_eq!(
            last(store.user_by_name("alice").await.unwrap()),
            Some(NOW + 5)
        );
        store.note_login("1", NOW);
        store.keep_house(NOW, 0).await.unwrap();
        let alice = store.user_by_name("alice").await.unwrap();
        assert_eq!(last(alice.clone()), Some(NOW + 5), "never back");
        write(store, alice.unwrap()).await;
        assert_eq!(
            last(store.user_by_name("alice").await.unwrap()),
            Some(NOW + 5)
        );
    }

    pub(super) async fn answers_a_ping(store: &Store) {
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
    }
}

macro_rules! sqlite_keeps {
    ($($promise:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let folder = tempfile::tempdir().unwrap();
            contract::$promise(&open(&folder).await).await;
        }
    )+};
}

sqlite_keeps! {
    users_are_found_by_identity_and_by_name, identities_keep_their_order_and_their_user,
    a_username_given_up_stays_reserved, users_are_listed_page_by_page,
    one_transaction_decides_on_what_the_last_one_wrote, the_audit_trail_is_written_with_its_change,
    one_sign_in_opens_one_session, a_session_that_ended_stays_ended,
    housekeeping_drops_what_is_long_over, logins_are_noted_and_written_later, answers_a_ping,
}

async fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("store.db")).await.unwrap()
}

async fn raw(file: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}", file.display()))
        .await
        .unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    write(&store, user("1", "alice")).await;
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and its index");
}

/// A crash leaves exactly the files that stand there when a write returns.
#[tokio::test]
async fn what_was_returned_as_written_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    write(&store, user("1", "alice")).await;
    store.open_session(&session(1, NOW + 60)).await.unwrap();
    store.end_session("sid1", NOW).await.unwrap();
    let after_the_crash = tempfile::tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(folder.path().join(name), after_the_crash.path().join(name)).unwrap();
    }
    let store = open(&after_the_crash).await;
    assert!(store.user_by_name("alice").await.unwrap().is_some());
    assert!(store.session("sid1").await.unwrap().unwrap().ended);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_writes_nothing_and_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    for _ in 0..20 {
        let asked = question("1", None);
        let writing = store.transact(&asked, NOW, |_| (stored(user("1", "alice")), ()));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(300), writing).await;
    }
    write(&store, user("2", "bob")).await;
    assert!(store.user_by_name("bob").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_at_once_make_one_set_of_tables() {
    let folder = tempfile::tempdir().unwrap();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let file = folder.path().join("store.db");
        opening.spawn(async move { Store::open(&file).await });
    }
    for opened in opening.join_all().await {
        opened.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn opening_to_read_makes_nothing_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    assert!(Store::open_existing(&file).await.unwrap().is_none());
    assert!(!file.exists());
    let writer = open(&folder).await;
    let reader = Store::open_existing(&file).await.unwrap().unwrap();
    write(&writer, user("1", "alice")).await;
    assert!(
        reader.user_by_name("alice").await.unwrap().is_some(),
        "beside a running server"
    );
    let fault = reader.end_session("sid", NOW).await.unwrap_err();
    assert!(fault.to_string().ends_with("cannot be written"), "{fault}");
}

#[tokio::test]
async fn faults_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("text"),
        "this is no database, but quite a long text".repeat(30),
    )
    .unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    for (name, fault) in [
        ("missing/store.db", "its folder does not exist"),
        ("text", "is not a SQLite database"),
        ("folder", "is a folder"),
    ] {
        let Err(error) = Store::open(&path(name)).await else {
            panic!("{name} was opened");
        };
        assert!(error.to_string().contains(fault), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn another_version_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    open(&folder).await.close().await;
    let mut database = raw(&file).await;
    let version =
        |version: i64| sqlx::query("update _sqlx_migrations set version = ?").bind(version);
    for (found, fault) in [(999_999, "another version"), (0, "an earlier version")] {
        version(found).execute(&mut database).await.unwrap();
        let Err(error) = Store::open_existing(&file).await else {
            panic!("version {found} was opened");
        };
        assert!(error.to_string().contains(fault), "{error}");
    }
    version(999_999).execute(&mut database).await.unwrap();
    let Err(error) = Store::open(&file).await else {
        panic!("a later version was opened");
    };
    assert!(error.to_string().contains("another version"), "{error}");
}

#[tokio::test]
async fn a_lock_of_another_process_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut other = raw(&folder.path().join("store.db")).await;
    sqlx::query("begin immediate")
        .execute(&mut other)
        .await
        .unwrap();
    assert_eq!(store.session("sid").await.unwrap(), None, "readers go on");
    let error = store.end_session("sid", NOW).await.unwrap_err();
    assert!(
        error.to_string().contains("locked by another process"),
        "{error}"
    );
    assert!(error.hint().is_some());
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    store.end_session("sid", NOW).await.unwrap();
}
