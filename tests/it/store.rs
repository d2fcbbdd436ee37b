//! The store's contract, as functions over a [`Store`] that every database has to pass, and what SQLite
//! owes besides: its file, its faults, and that what was returned as written is on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};
use vestibule::config::{StorePlace, UserField, UserStatus};
use vestibule::store::{
    Access, Administered, AuditRow, Change, Claim, Error, Facts, LogoutRecord, NewForm, NewSession,
    OpenSessionError, ProviderLogout, PushState, Question, Renewable, Settlement, Store, User,
    Wanted,
};

use crate::support::postgres::Postgres;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://one.example";

fn user(id: &str, username: &str) -> User {
    User {
        id: id.into(),
        directory: "SELF".into(),
        status: UserStatus::Active,
        deactivated: false,
        elsewhere: false,
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

/// A sign-in that wants this username, whoever it turns out to be.
fn wants(username: Option<&str>) -> impl Fn(Option<&User>) -> Wanted + Send + Sync {
    let wanted = Wanted {
        username: username.map(str::to_owned),
        directory: "SELF".into(),
        count: true,
    };
    move |_| wanted.clone()
}

async fn facts(store: &Store, subject: &str, username: Option<&str>) -> Facts {
    let question = Question {
        issuer: ISSUER,
        subject,
        wanted: &wants(username),
    };
    store.facts(&question).await.unwrap()
}

async fn transact<T>(
    store: &Store,
    subject: &str,
    username: Option<&str>,
    decide: impl Fn(&Facts) -> (Change, T),
) -> Result<T, Error> {
    let question = Question {
        issuer: ISSUER,
        subject,
        wanted: &wants(username),
    };
    store.transact(&question, NOW, decide).await
}

async fn write(store: &Store, user: User) {
    let decide = |_: &Facts| (stored(user.clone()), ());
    transact(store, "", None, decide).await.unwrap();
}

fn stored(user: User) -> Change {
    Change {
        user: Some(user),
        ..Change::default()
    }
}

fn session(number: u32, expires_at: i64) -> NewSession {
    NewSession {
        sid: format!("sid{number}"),
        sign_in: format!("nonce{number}"),
        user: "1".into(),
        identity: (ISSUER.into(), "1".into()),
        provider: "one".into(),
        subject: "alice".into(),
        provider_sid: Some(format!("theirs{number}")),
        issued_at: NOW,
        renewable: Renewable {
            token: Some(vec![1, 2]),
            token_expires_at: expires_at,
            id_token: vec![0, 255, 7],
            refresh_token: Some(vec![3, 0]),
            claims: Some(vec![7, 0]),
            rules: "{\"a\":true}".into(),
        },
        created_at: NOW,
        expires_at,
        seen_at: NOW,
    }
}

mod contract {
    use super::*;

    pub(super) async fn users_are_found_by_identity_and_by_name(store: &Store) {
        let asked = ("1", Some("ÁLICE"));
        assert_eq!(facts(store, asked.0, asked.1).await, Facts::default());
        let alice = user("1", "Alice");
        write(store, alice.clone()).await;
        let found = facts(store, asked.0, asked.1).await;
        assert_eq!(found.by_identity.as_ref(), Some(&alice));
        assert_eq!(found.by_username, None, "the identity's own");
        let found = facts(store, "2", asked.1).await;
        assert_eq!(
            (found.by_identity, found.by_username),
            (None, Some(alice.clone()))
        );
        assert_eq!(facts(store, "2", Some("bob")).await.users, 1);
        let found = store.user_by_id("1").await.unwrap();
        assert_eq!(found.as_ref(), Some(&alice));
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
        let decide = |_: &Facts| (stored(mallory.clone()), ());
        let written = transact(store, "2", None, decide).await;
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
        let given_up_by = async |name| facts(store, "2", Some(name)).await.given_up_by;
        assert_eq!(given_up_by("ALICE").await.as_deref(), Some("1"));
        write(store, user("1", "Alice")).await;
        assert_eq!(given_up_by("ALICE").await, None, "taken back");
        assert_eq!(given_up_by("alice2").await.as_deref(), Some("1"));
        write(store, user("1", "ALICE")).await;
        assert_eq!(given_up_by("ALICE").await, None, "a spelling");
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
                let decide = |facts: &Facts| match &facts.by_identity {
                    Some(_) => (Change::default(), false),
                    None => {
                        let mut user = user(&id, "shared");
                        user.identities = vec![(ISSUER.into(), "shared".into())];
                        (stored(user), true)
                    }
                };
                transact(&store, "shared", Some("shared"), decide)
                    .await
                    .unwrap()
            });
        }
        let created = writers.join_all().await;
        assert_eq!(created.into_iter().filter(|created| *created).count(), 1);
    }

    pub(super) async fn the_audit_trail_is_written_with_its_change(store: &Store) {
        let row = AuditRow {
            at: NOW,
            actor: "sign-in".into(),
            request: "1".into(),
            provider: "one".into(),
            issuer: ISSUER.into(),
            subject: "1".into(),
            directory: "SELF".into(),
            user: None,
            username: Some("alice".into()),
            outcome: "refused".into(),
            reason: "no".into(),
            rule: Some("false".into()),
            changes: BTreeMap::new(),
        };
        for at in [NOW - 10, NOW] {
            let row = AuditRow { at, ..row.clone() };
            let change = Change {
                audit: vec![row.clone(), row],
                ..Change::default()
            };
            let decide = |_: &Facts| (change.clone(), ());
            transact(store, "1", None, decide).await.unwrap();
        }
        let all = store.audit(0, 10).await.unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[3].row, row);
        assert_eq!(store.audit(all[1].id, 1).await.unwrap(), all[2..3]);
        store.keep_house(NOW, NOW).await.unwrap();
        assert_eq!(store.audit(0, 10).await.unwrap(), all[2..]);
    }

    pub(super) async fn a_logout_of_the_provider_counts_once_and_is_remembered(store: &Store) {
        write(store, user("1", "alice")).await;
        store.open_session(&session(1, NOW + 60)).await.unwrap();
        store.open_session(&session(2, NOW + 60)).await.unwrap();
        let logout = |jti: &str, sid: Option<&str>, issued_at| ProviderLogout {
            provider: "one".into(),
            issuer: ISSUER.into(),
            jti: jti.into(),
            sid: sid.map(str::to_owned),
            subject: Some("alice".into()),
            issued_at,
            kept_until: NOW + 100,
        };
        let by_sid = logout("a", Some("theirs1"), NOW);
        let ended = |count| Ok::<_, ()>(LogoutRecord::Ended(count));
        assert_eq!(store.log_out(&by_sid, NOW).await.map_err(drop), ended(1));
        let again = store.log_out(&by_sid, NOW).await;
        assert_eq!(again.map_err(drop), Ok(LogoutRecord::Replayed));
        let too_early = logout("b", None, NOW - 1);
        assert_eq!(store.log_out(&too_early, NOW).await.map_err(drop), ended(0));
        let by_subject = logout("c", None, NOW);
        assert_eq!(
            store.log_out(&by_subject, NOW).await.map_err(drop),
            ended(1)
        );
        let mut ends = store.ended_within(60, NOW).await.unwrap();
        ends.sort();
        assert_eq!(ends, ["sid1", "sid2"]);
        let another = ProviderLogout {
            issuer: "https://another.example".into(),
            ..logout("d", None, NOW + 50)
        };
        assert_eq!(store.log_out(&another, NOW).await.map_err(drop), ended(0));
        let late = store.open_session(&session(3, NOW + 60)).await;
        assert!(
            matches!(late, Err(OpenSessionError::LoggedOut)),
            "by its subject"
        );
        let later = NewSession {
            issued_at: NOW + 1,
            ..session(4, NOW + 60)
        };
        store.open_session(&later).await.unwrap();
        let same_name = ProviderLogout {
            jti: "e".into(),
            sid: Some("theirs4".into()),
            ..another
        };
        assert_eq!(store.log_out(&same_name, NOW).await.map_err(drop), ended(0));
        let in_front = |issuer| store.end_provider_session("one", issuer, "theirs4", NOW);
        assert_eq!(in_front("https://another.example").await.unwrap(), 0);
        assert_eq!(in_front(ISSUER).await.unwrap(), 1);
        store.keep_house(NOW + 101, NOW).await.unwrap();
        store.open_session(&session(5, NOW + 200)).await.unwrap();
    }

    pub(super) async fn forms_are_kept_for_a_while_and_taken_once(store: &Store) {
        let form = |id: &'static str, owner: &'static str| NewForm {
            id,
            owner,
            sealed: &[0, 255],
            expires_at: NOW + 10,
        };
        assert!(store.keep_form(&form("a", "one"), NOW).await.unwrap());
        let kept = store.kept_form("a", NOW + 10).await.unwrap();
        assert_eq!(kept.as_deref(), Some(&[0, 255][..]));
        assert_eq!(store.kept_form("a", NOW + 11).await.unwrap(), None);
        assert!(store.forget_form("a").await.unwrap());
        assert!(!store.forget_form("a").await.unwrap(), "once");
        for id in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            assert!(store.keep_form(&form(id, "one"), NOW).await.unwrap());
        }
        let ninth = store.keep_form(&form("9", "one"), NOW).await;
        assert!(!ninth.unwrap(), "one session fills nothing");
        assert!(store.keep_form(&form("9", "other"), NOW).await.unwrap());
        let later = store.keep_form(&form("10", "one"), NOW + 11).await;
        assert!(later.unwrap(), "those have gone");
        store.keep_house(NOW + 11, NOW).await.unwrap();
        assert_eq!(store.kept_form("1", NOW).await.unwrap(), None);
    }

    pub(super) async fn one_renewal_of_a_session_is_in_flight(store: &Store) {
        write(store, user("1", "alice")).await;
        store.open_session(&session(1, NOW + 60)).await.unwrap();
        let Ok(Claim::Ours(claimed)) = store.claim_renewal("sid1", "first", NOW).await else {
            panic!("nobody else renews it");
        };
        assert_eq!(claimed.held, session(1, NOW + 60).renewable);
        assert_eq!((&*claimed.nonce, &*claimed.user), ("nonce1", "1"));
        let other = store.claim_renewal("sid1", "second", NOW).await;
        assert_eq!(other.map_err(drop), Ok(Claim::Theirs));
        store.keep_refresh_token("sid1", &[9]).await.unwrap();
        let mut held = claimed.held.clone();
        held.token = Some(vec![4]);
        let foreign = store.settle_renewal("sid1", "second", &held, NOW).await;
        assert!(!foreign.unwrap(), "not the lease");
        assert!(
            store
                .settle_renewal("sid1", "first", &held, NOW)
                .await
                .unwrap()
        );
        let Ok(Claim::Ours(next)) = store.claim_renewal("sid1", "third", NOW).await else {
            panic!("the lease was given back");
        };
        held.refresh_token = Some(vec![9]);
        assert_eq!(next.held, held, "the rotated token stays");
        store.end_session("sid1", NOW).await.unwrap();
        assert!(
            !store
                .settle_renewal("sid1", "third", &held, NOW)
                .await
                .unwrap()
        );
        let ended = store.claim_renewal("sid1", "fourth", NOW).await;
        assert_eq!(ended.map_err(drop), Ok(Claim::Ended));
        let unknown = store.claim_renewal("nobody", "fourth", NOW).await;
        assert_eq!(unknown.map_err(drop), Ok(Claim::Ended));
    }

    pub(super) async fn the_last_use_of_a_session_is_the_latest(store: &Store) {
        write(store, user("1", "alice")).await;
        store.open_session(&session(1, NOW + 60)).await.unwrap();
        for at in [NOW + 5, NOW + 3] {
            store.note_seen(&[("sid1".into(), at)]).await.unwrap();
        }
        let record = store.session("sid1").await.unwrap().unwrap();
        assert_eq!(record.seen_at, NOW + 5);
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
        assert_eq!(store.ended_within(5, NOW + 9).await.unwrap(), ["sid1"]);
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

    pub(super) async fn what_an_administrator_decides_is_kept_apart(store: &Store) {
        let mut alice = user("1", "alice");
        write(store, alice.clone()).await;
        store.open_session(&session(1, NOW + 60)).await.unwrap();
        let deactivate = |found: &Administered| {
            let mut user = found.user.clone().unwrap();
            user.deactivated = true;
            let change = Change {
                end_sessions: true,
                ..stored(user)
            };
            (change, found.given_up_by.clone())
        };
        let told = store.administer("ALICE", None, NOW + 3, deactivate).await;
        assert_eq!(told.unwrap(), None);
        alice.deactivated = true;
        alice.updated_at = NOW + 3;
        let found = store.user_by_name("alice").await.unwrap().unwrap();
        assert_eq!(found, alice);
        assert!(!found.is_active());
        assert_eq!(found.status(), "inactive");
        assert!(store.session("sid1").await.unwrap().unwrap().ended);
        assert_eq!(store.ended_within(3, NOW + 5).await.unwrap(), ["sid1"]);
    }

    pub(super) async fn many_names_are_decided_in_one_transaction(store: &Store) {
        write(store, user("1", "alice")).await;
        let names = [
            ("Alice", Some((ISSUER, "1"))),
            ("bob", Some((ISSUER, "1"))),
            ("carol", None),
        ];
        let decide = |place: usize, found: &Administered| {
            let id = format!("new{place}");
            let change = match found.user {
                Some(_) => Change::default(),
                None => stored(user(&id, names[place].0)),
            };
            let owner = found.identity_of.as_ref().map(|user| user.id.clone());
            (change, (found.user.is_some(), owner))
        };
        let told = store.administer_all(&names, NOW, decide).await.unwrap();
        let alice = Some("1".to_owned());
        assert_eq!(told, [(true, alice.clone()), (false, alice), (false, None)]);
        let (users, _) = store.users_of("SELF", None, 10).await.unwrap();
        let names: Vec<&str> = users.iter().map(User::username).collect();
        assert_eq!(names, ["alice", "bob", "carol"]);
        assert!(
            store
                .users_of("OTHER", None, 10)
                .await
                .unwrap()
                .0
                .is_empty()
        );
        let twice = [("dora", None), ("erik", None)];
        let decide = |_: usize, _: &Administered| (stored(user("new9", "dora")), ());
        store.administer_all(&twice, NOW, decide).await.unwrap();
        let mut clash = user("new10", "fred");
        clash.identities = vec![(ISSUER.into(), "1".into())];
        let decide = |place: usize, _: &Administered| match place {
            0 => (stored(user("new11", "gina")), ()),
            _ => (stored(clash.clone()), ()),
        };
        let failed = store
            .administer_all(&[("gina", None), ("fred", None)], NOW, decide)
            .await;
        assert!(failed.is_err());
        assert_eq!(
            store.user_by_name("gina").await.unwrap(),
            None,
            "all or nothing"
        );
    }

    pub(super) async fn users_are_counted_one_by_one(store: &Store) {
        for number in 0..7 {
            write(store, user(&number.to_string(), &format!("user{number}"))).await;
        }
        write(store, user("0", "user0")).await;
        assert_eq!(facts(store, "new", Some("new")).await.users, 7);
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..20 {
            let store = store.clone();
            writers.spawn(async move {
                let name = format!("late{number}");
                let decide = |facts: &Facts| match facts.users < 10 {
                    true => (stored(user(&name, &name)), 1),
                    false => (Change::default(), 0),
                };
                transact(&store, &name, Some(&name), decide).await.unwrap()
            });
        }
        let created: u32 = writers.join_all().await.into_iter().sum();
        assert_eq!(created, 3, "never over the number");
    }

    pub(super) async fn an_identity_that_is_left_out_is_forgotten(store: &Store) {
        let mut alice = user("1", "alice");
        alice.identities.push((ISSUER.into(), "9".into()));
        write(store, alice.clone()).await;
        alice.identities.remove(0);
        write(store, alice.clone()).await;
        assert_eq!(store.user_by_name("alice").await.unwrap(), Some(alice));
        assert_eq!(facts(store, "1", None).await.by_identity, None);
    }

    pub(super) async fn an_issuer_is_replaced_and_nobody_is_lost(store: &Store) {
        for number in 0..3 {
            write(store, user(&number.to_string(), &format!("user{number}"))).await;
        }
        let mut both = user("3", "both");
        both.identities
            .push(("https://two.example".into(), "0".into()));
        write(store, both).await;
        let row = AuditRow {
            at: NOW,
            actor: "administrator".into(),
            outcome: "rebound".into(),
            ..AuditRow::default()
        };
        let rebound = store
            .rebind(ISSUER, "https://two.example", &row)
            .await
            .unwrap();
        assert_eq!((rebound.moved, rebound.left), (3, 1), "one is taken");
        let history = store.history("2", 0, 10).await.unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].row.username.as_deref(), Some("user2"));
        let change = &history[0].row.changes["identity"];
        assert_eq!(change.after.as_deref(), Some("https://two.example 2"));
    }

    pub(super) async fn a_name_is_released(store: &Store) {
        write(store, user("1", "alice")).await;
        write(store, user("1", "alice2")).await;
        assert_eq!(store.given_up("", 10).await.unwrap(), ["alice"]);
        let row = AuditRow {
            actor: "administrator".into(),
            ..AuditRow::default()
        };
        assert!(store.release("ÁLICE", &row).await.unwrap());
        assert!(!store.release("alice", &row).await.unwrap());
        assert_eq!(facts(store, "2", Some("alice")).await.given_up_by, None);
        assert_eq!(store.history("1", 0, 10).await.unwrap().len(), 1);
    }

    /// What was decided about the person may be old by now.
    pub(super) async fn nobody_who_was_kept_out_meanwhile_opens_a_session(store: &Store) {
        write(store, user("1", "alice")).await;
        let deactivated = User {
            deactivated: true,
            ..user("1", "alice")
        };
        write(store, deactivated).await;
        let refused = store.open_session(&session(1, NOW + 60)).await;
        assert!(matches!(refused, Err(OpenSessionError::Inactive)));
        let waits = User {
            status: UserStatus::Inactive,
            ..user("1", "alice")
        };
        write(store, waits).await;
        let refused = store.open_session(&session(1, NOW + 60)).await;
        assert!(matches!(refused, Err(OpenSessionError::Inactive)));
        let another = User {
            identities: vec![(ISSUER.into(), "another".into())],
            ..user("1", "alice")
        };
        write(store, another).await;
        let refused = store.open_session(&session(1, NOW + 60)).await;
        assert!(matches!(refused, Err(OpenSessionError::Unbound)));
        write(store, user("1", "alice")).await;
        store.open_session(&session(1, NOW + 60)).await.unwrap();
    }

    pub(super) async fn the_newest_claims_of_a_user_are_kept(store: &Store) {
        write(store, user("1", "alice")).await;
        assert_eq!(store.claims_of("1").await.unwrap(), None);
        for (number, at) in [(1, NOW), (2, NOW + 5), (3, NOW - 5)] {
            let session = NewSession {
                created_at: at,
                ..session(number, NOW + 60)
            };
            store.open_session(&session).await.unwrap();
        }
        let recorded = store.claims_of("1").await.unwrap().unwrap();
        assert_eq!((recorded.sid.as_str(), recorded.at), ("sid2", NOW + 5));
        assert_eq!(recorded.claims, Some(vec![7, 0]));
        let record = store.session("sid2").await.unwrap().unwrap();
        assert_eq!(record.rules, "{\"a\":true}");
    }

    pub(super) async fn a_push_is_delivered_by_one_and_never_lost(store: &Store) {
        const THERE: &str = "https://receiver.example/scim";
        let due = |user: User| Change {
            pushes: vec![THERE.into()],
            ..stored(user)
        };
        let change = async |user: User| {
            let decide = |_: &Facts| (due(user.clone()), ());
            transact(store, "", None, decide).await.unwrap();
        };
        let claim_for = async |lease: &str, now: i64, seconds: i64| {
            store
                .claim_pushes(THERE, lease, now, seconds, 5)
                .await
                .unwrap()
        };
        let claim = async |lease: &str, now: i64| claim_for(lease, now, 30).await;
        assert_eq!(store.push("1", THERE).await.unwrap(), None);
        change(user("1", "alice")).await;
        change(user("1", "alice")).await;
        assert_eq!(store.pending_pushes().await.unwrap(), 1, "one a user");
        let claimed = claim("a", NOW).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].wanted, claimed[0].delivered), (2, 0));
        assert!(claim("b", NOW + 1).await.is_empty(), "one delivers");
        let own = store.claim_push("1", THERE, "b", NOW + 1, 30).await;
        assert_eq!(own.unwrap(), None);
        change(user("1", "alice")).await;
        let delivered = Settlement::Delivered {
            remote_id: "r1".into(),
            attributes: "{}".into(),
        };
        assert!(
            store
                .settle_push(&claimed[0], &delivered, NOW + 2)
                .await
                .unwrap()
        );
        let push = store.push("1", THERE).await.unwrap().unwrap();
        assert_eq!(push.state, PushState::Pending, "it changed meanwhile");
        assert_eq!((push.wanted, push.delivered), (3, 2));
        assert_eq!(push.remote_id.as_deref(), Some("r1"));
        let stale = store.settle_push(&claimed[0], &delivered, NOW + 3).await;
        assert!(!stale.unwrap(), "the lease is over");

        let claimed = claim("c", NOW + 3).await;
        let later = Settlement::Later {
            due_at: NOW + 100,
            reason: "down".into(),
        };
        store
            .settle_push(&claimed[0], &later, NOW + 3)
            .await
            .unwrap();
        assert!(claim("d", NOW + 99).await.is_empty());
        // Leases end by the server's clock: this one has ended.
        let claimed = claim_for("d", NOW + 100, -1).await;
        assert_eq!(claimed[0].attempts, 1);
        assert_eq!(claimed[0].last_error.as_deref(), Some("down"));
        let another = claim("e", NOW + 131).await;
        assert_eq!(another.len(), 1, "the first one died");
        let rejected = Settlement::Rejected {
            reason: "400".into(),
        };
        assert!(
            !store
                .settle_push(&claimed[0], &rejected, NOW)
                .await
                .unwrap()
        );
        assert!(
            store
                .settle_push(&another[0], &rejected, NOW)
                .await
                .unwrap()
        );
        let undelivered = store.undelivered_pushes(("", ""), 10).await.unwrap();
        assert_eq!(undelivered[0].state, PushState::Rejected);
        assert_eq!(store.retry_pushes(Some("1"), NOW).await.unwrap(), 1);
        assert_eq!(store.discard_pushes("1").await.unwrap(), 1);
        assert_eq!(store.pending_pushes().await.unwrap(), 0);
        change(user("1", "alice")).await;
        let claimed = store
            .claim_push("1", THERE, "f", NOW, 30)
            .await
            .unwrap()
            .unwrap();
        store
            .settle_push(&claimed, &Settlement::Foreign, NOW)
            .await
            .unwrap();
        let alice = store.user_by_name("alice").await.unwrap().unwrap();
        assert!(alice.elsewhere);
        change(alice).await;
        assert_eq!(
            store.pending_pushes().await.unwrap(),
            0,
            "left alone for good"
        );
    }

    pub(super) async fn answers_a_ping(store: &Store) {
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
    }
}

macro_rules! both_keep {
    ($($promise:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let folder = tempfile::tempdir().unwrap();
                super::contract::$promise(&super::open(&folder).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::contract::$promise(&super::on_postgres().await).await;
            })+
        }
    };
}

both_keep! {
    users_are_found_by_identity_and_by_name, identities_keep_their_order_and_their_user,
    a_username_given_up_stays_reserved, users_are_listed_page_by_page,
    one_transaction_decides_on_what_the_last_one_wrote, the_audit_trail_is_written_with_its_change,
    a_logout_of_the_provider_counts_once_and_is_remembered, one_renewal_of_a_session_is_in_flight,
    the_last_use_of_a_session_is_the_latest, forms_are_kept_for_a_while_and_taken_once, one_sign_in_opens_one_session, a_session_that_ended_stays_ended,
    housekeeping_drops_what_is_long_over, logins_are_noted_and_written_later, answers_a_ping,
    what_an_administrator_decides_is_kept_apart, many_names_are_decided_in_one_transaction,
    users_are_counted_one_by_one, an_identity_that_is_left_out_is_forgotten,
    an_issuer_is_replaced_and_nobody_is_lost, a_name_is_released, the_newest_claims_of_a_user_are_kept,
    nobody_who_was_kept_out_meanwhile_opens_a_session,
    a_push_is_delivered_by_one_and_never_lost,
}

async fn on_postgres() -> Store {
    let postgres = Postgres::shared();
    Store::open(&postgres.place(&postgres.database()))
        .await
        .unwrap()
}

fn at(file: &Path) -> StorePlace {
    StorePlace::Sqlite(file.to_owned())
}

async fn open(folder: &tempfile::TempDir) -> Store {
    let file = folder.path().join("store.db");
    Store::open(&at(&file)).await.unwrap()
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
        let writing = transact(&store, "1", None, |_| (stored(user("1", "alice")), ()));
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
        opening.spawn(async move { Store::open(&at(&file)).await });
    }
    for opened in opening.join_all().await {
        opened.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn opening_to_read_makes_nothing_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    assert!(
        Store::open_existing(&at(&file), Access::Read)
            .await
            .unwrap()
            .is_none()
    );
    assert!(!file.exists());
    let writer = open(&folder).await;
    let reader = Store::open_existing(&at(&file), Access::Read)
        .await
        .unwrap()
        .unwrap();
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
        let Err(error) = Store::open(&at(&path(name))).await else {
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
    let version = |version: i64| {
        sqlx::query(
            "update _sqlx_migrations set version = ? where version = (select max(version) from _sqlx_migrations)",
        )
        .bind(version)
    };
    for (found, fault) in [(999_999, "another version"), (0, "an earlier version")] {
        version(found).execute(&mut database).await.unwrap();
        let Err(error) = Store::open_existing(&at(&file), Access::Read).await else {
            panic!("version {found} was opened");
        };
        assert!(error.to_string().contains(fault), "{error}");
    }
    version(999_999).execute(&mut database).await.unwrap();
    let Err(error) = Store::open(&at(&file)).await else {
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
