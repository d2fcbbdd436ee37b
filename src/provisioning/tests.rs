use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::config::{
    Adopt, Config, Connector, Directory, FieldRule, Missing, Rename, SelfProvisioning, Source,
    StorePlace, Sync, UserStatus, load_text,
};
use crate::store::{AuditRow, Change};

mod several;

const FILE: &str = r#"
[server]
public_url = "https://workflow.example.com/wfgen"
[upstream]
servers = ["http://127.0.0.1:8081"]
[[providers]]
name = "one"
issuer = "https://one.example"
client_id = "id"
[session]
keys = [{ id = "1", secret = { file = "key" } }]
[[directories]]
name = "SELF"
connector = "self-provisioning"
[directories.mapping]
username = "username"
name = "family_name"
email = "email"
first_name = "given_name"
"#;

const NOW: UnixSeconds = 1_700_000_000;

/// A directory on a real file.
struct World {
    folder: tempfile::TempDir,
    config: Config,
    provisioning: Provisioning,
    store: Store,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Directory)) -> Self {
        let mut world = Self::of(FILE).await;
        world.change(change);
        world
    }

    async fn of(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "k".repeat(32)).unwrap();
        let config = load_text(file, &folder.path().join("proxy.toml")).unwrap();
        let store = Store::open(&StorePlace::Sqlite(folder.path().join("store.db")))
            .await
            .unwrap();
        Self {
            provisioning: Provisioning::new(&config, store.clone()),
            folder,
            config,
            store,
        }
    }

    /// The same store under a changed configuration.
    fn change(&mut self, change: impl FnOnce(&mut Directory)) {
        change(&mut self.config.directories[0]);
        self.provisioning = Provisioning::new(&self.config, self.store.clone());
    }

    async fn sign_in(&self, subject: &str, claims: Value) -> Result<Account, Error> {
        self.sign_in_at("https://one.example", subject, claims)
            .await
    }

    async fn sign_in_at(
        &self,
        issuer: &str,
        subject: &str,
        claims: Value,
    ) -> Result<Account, Error> {
        let person = Person {
            provider: "one",
            issuer,
            subject,
        };
        let claims = claims.as_object().unwrap();
        self.provisioning
            .provision_person(person, claims, RequestId::from_number(7), NOW)
            .await
    }

    async fn sign_in_with(
        &self,
        provider: &str,
        subject: &str,
        claims: Value,
    ) -> Result<Account, Error> {
        let issuer = format!("https://{provider}.example");
        let person = Person {
            provider,
            issuer: &issuer,
            subject,
        };
        let claims = claims.as_object().unwrap();
        self.provisioning
            .provision_person(person, claims, RequestId::from_number(7), NOW)
            .await
    }

    async fn comes_in(&self, subject: &str, claims: Value) -> (Outcome, User) {
        let account = self.sign_in(subject, claims).await.unwrap();
        assert_eq!(account.username(), account.user().username());
        let stored = self.store.user_by_name(account.username()).await.unwrap();
        assert_eq!(stored.as_ref(), Some(account.user()), "as it is stored");
        (account.outcome(), account.user().clone())
    }

    /// The refusal; nothing but one audit row was written.
    async fn is_refused(&self, subject: &str, claims: Value) -> Refusal {
        let (users, rows) = (self.users().await, self.audit().await.len());
        let explained = self.explain(subject, claims.clone()).await;
        let Err(Error::Refused(refusal)) = self.sign_in(subject, claims).await else {
            panic!("expected a refusal");
        };
        assert_eq!(self.users().await, users, "{refusal}");
        let audit = self.audit().await;
        assert_eq!(audit.len(), rows + 1, "{refusal}");
        let row = audit.last().unwrap();
        assert_eq!(row.outcome, refusal.outcome.as_str());
        assert_eq!(row.reason, refusal.reason);
        assert!(row.changes.is_empty());
        assert_eq!(explained.outcome, refusal.outcome);
        assert_eq!(explained.reason, refusal.reason);
        assert_eq!(explained.after, None);
        refusal
    }

    async fn explain(&self, subject: &str, claims: Value) -> Decision {
        let claims = claims.as_object().unwrap().clone();
        self.provisioning
            .explain("one", "https://one.example", subject, &claims)
            .await
            .unwrap()
    }

    async fn users(&self) -> Vec<User> {
        self.store.users(None, 100).await.unwrap().0
    }

    async fn audit(&self) -> Vec<AuditRow> {
        let entries = self.store.audit(0, 10_000).await.unwrap();
        entries.into_iter().map(|entry| entry.row).collect()
    }

    async fn outcomes(&self) -> Vec<String> {
        let audit = self.audit().await;
        audit.into_iter().map(|row| row.outcome).collect()
    }

    /// A user that nobody signs in as yet.
    async fn unbound(&self, username: &str) {
        let person = Person {
            provider: "one",
            issuer: "",
            subject: "",
        };
        let claims = claims(username);
        let directories = &self.provisioning.directories;
        let sign_in = SignIn::new(directories, person, claims.as_object().unwrap());
        let wanted = |known: Option<&User>| directories.wanted(&sign_in, known);
        let question = person.question(&wanted);
        let import = |facts: &Facts| {
            let decided = directories.decide(&sign_in, facts, username, NOW);
            let mut user = decided.user.unwrap();
            user.identities.clear();
            let change = Change {
                user: Some(user),
                ..Change::default()
            };
            (change, ())
        };
        self.store.transact(&question, NOW, import).await.unwrap();
    }
}

fn claims(username: &str) -> Value {
    json!({"username": username, "family_name": "Family", "email": "a@example.com"})
}

trait Edited {
    fn rules(&mut self) -> &mut SelfProvisioning;
}

impl Edited for Directory {
    fn rules(&mut self) -> &mut SelfProvisioning {
        match &mut self.connector {
            Connector::SelfProvisioning(rules) => rules,
            Connector::Text(_) => panic!("it is no text directory"),
        }
    }
}

fn rule(directory: &mut Directory, field: UserField, sync: Sync, missing: Missing) {
    let source = Source::Claims(vec![field.name().to_owned()]);
    let mapping = &mut directory.rules().mapping;
    mapping.retain(|(mapped, _)| *mapped != field);
    mapping.push((
        field,
        FieldRule {
            source,
            sync,
            missing,
        },
    ));
}

#[tokio::test]
async fn lesson_04_a_mapped_address_that_nobody_verified_is_nobody() {
    let mut world =
        World::of(&FILE.replace("username = \"username\"", "username = \"email\"")).await;
    let sent = |address: &str, verified: bool| json!({"email": address, "email_verified": verified, "family_name": "Family"});
    let (outcome, ada) = world.comes_in("1", sent("ada@example.com", true)).await;
    assert_eq!(
        (outcome, ada.username()),
        (Outcome::Created, "ada@example.com")
    );
    for (subject, address) in [
        ("2", "bob@example.com"),
        ("2", "ada@example.com"),
        ("1", "ada@example.com"),
        ("1", "bob@example.com"),
    ] {
        let refusal = world.is_refused(subject, sent(address, false)).await;
        assert_eq!(refusal.outcome, Outcome::Refused);
        assert_eq!(refusal.field.as_deref(), Some("username"));
        assert!(
            refusal.reason.contains("email_verified"),
            "{}",
            refusal.reason
        );
    }
    world.config.providers[0].trust_email = true;
    world.change(|_| {});
    let (outcome, bob) = world.comes_in("2", sent("bob@example.com", false)).await;
    assert_eq!(
        (outcome, bob.username()),
        (Outcome::Created, "bob@example.com")
    );
}

#[tokio::test]
async fn creates_then_leaves_unchanged_then_updates() {
    let world = World::new().await;
    let (outcome, created) = world.comes_in("1", claims("alice")).await;
    assert_eq!(outcome, Outcome::Created);
    assert_eq!(
        created.identities,
        [("https://one.example".into(), "1".into())]
    );
    assert_eq!((created.created_at, created.updated_at), (NOW, NOW));
    let (outcome, unchanged) = world.comes_in("1", claims("alice")).await;
    assert_eq!(outcome, Outcome::Unchanged);
    assert_eq!(unchanged, created);
    let mut changed = claims("alice");
    changed["family_name"] = json!("New");
    let explained = world.explain("1", changed.clone()).await;
    assert_eq!(explained.outcome, Outcome::Updated);
    assert_eq!(explained.before, Some(created.clone()));
    let (outcome, updated) = world.comes_in("1", changed).await;
    assert_eq!(outcome, Outcome::Updated);
    assert_eq!(updated.field(UserField::Name), Some("New"));
    assert_eq!(updated.id, created.id);
    let audit = world.audit().await;
    assert_eq!(world.outcomes().await, ["created", "updated"]);
    assert_eq!(
        serde_json::to_value(&audit[0].changes).unwrap(),
        json!({
            "username": {"before": null, "after": "alice"},
            "name": {"before": null, "after": "Family"},
            "email": {"before": null, "after": "a@example.com"},
            "status": {"before": null, "after": "active"},
            "identity": {"before": null, "after": "https://one.example 1"},
        })
    );
    assert_eq!(
        serde_json::to_value(&audit[1].changes).unwrap(),
        json!({"name": {"before": "Family", "after": "New"}})
    );
    assert_eq!(audit[1].user.as_deref(), Some(created.id.as_str()));
    assert_eq!(audit[1].request, "0000000000000007");
}

/// Most sign-ins: they wait for no writer.
#[tokio::test]
async fn an_unchanged_user_is_read_and_never_written() {
    use sqlx::Connection as _;
    let world = World::new().await;
    world.comes_in("1", claims("alice")).await;
    let file = world.folder.path().join("store.db");
    let mut other = sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.display()))
        .await
        .unwrap();
    let lock = sqlx::query("begin immediate");
    lock.execute(&mut other).await.unwrap();
    let (outcome, _) = world.comes_in("1", claims("alice")).await;
    assert_eq!(outcome, Outcome::Unchanged);
}

/// Two subjects that share e-mail and username, however it is spelled, never share a user.
#[tokio::test]
async fn lesson_04_two_subjects_never_share_a_user() {
    let world = World::new().await;
    let (_, alice) = world.comes_in("1", claims("alice")).await;
    let (_, other) = world.comes_in("2", claims("mallory")).await;
    assert_ne!(alice.id, other.id, "one e-mail address, two users");
    for name in [
        "alice",
        "ALICE",
        " alice ",
        "älice",
        "ａｌｉｃｅ",
        "al\u{ad}ice",
    ] {
        let refusal = world.is_refused("3", claims(name)).await;
        assert_eq!(refusal.outcome, Outcome::Conflict, "{name:?}");
    }
    // The same subject at another provider is somebody else.
    let foreign = world
        .sign_in_at("https://two.example", "1", claims("alice"))
        .await;
    assert!(matches!(
        foreign,
        Err(Error::Refused(Refusal {
            outcome: Outcome::Conflict,
            ..
        }))
    ));
    assert_eq!(world.users().await.len(), 2);
}

/// The provider is where it is mended, and knows no claim of the session's name.
#[tokio::test]
async fn a_missing_username_names_the_provider_s_claim() {
    let ours = "https://api.workflowgen.com/username";
    let world =
        World::of(&FILE.replace("username = \"username\"", &format!("username = \"{ours}\"")))
            .await;
    let mut nobody = claims("alice");
    nobody.as_object_mut().unwrap().remove("username");
    let refusal = world.is_refused("1", nobody.clone()).await;
    let origin = "; it is made of the provider's claim \"preferred_username\"";
    assert_eq!(
        refusal.reason,
        format!("username: expected a value in claim \"{ours}\", found none{origin}")
    );
    nobody[ours] = json!(["alice"]);
    let refusal = world.is_refused("1", nobody.clone()).await;
    assert!(refusal.reason.ends_with(origin), "{}", refusal.reason);
    let direct = World::new().await;
    let refusal = direct.is_refused("1", nobody).await;
    assert_eq!(
        refusal.reason,
        "username: expected a value in claim \"username\", found none"
    );
}

#[tokio::test]
async fn adopts_as_far_as_it_is_allowed() {
    for (adopt, unbound, bound) in [
        (Adopt::Never, false, false),
        (Adopt::Unbound, true, false),
        (Adopt::Any, true, true),
    ] {
        let world = World::with(|directory| directory.rules().adopt = adopt).await;
        world.unbound("free").await;
        world.comes_in("1", claims("taken")).await;
        for (name, subject, allowed) in [("Free", "2", unbound), ("taken", "3", bound)] {
            if allowed {
                let (outcome, user) = world.comes_in(subject, claims(name)).await;
                assert_eq!(outcome, Outcome::Adopted, "{adopt:?} {name}");
                assert_eq!(user.identities.last().unwrap().1, subject);
                let (outcome, _) = world.comes_in(subject, claims(name)).await;
                assert_eq!(outcome, Outcome::Unchanged);
                let row = world.audit().await.pop().unwrap();
                assert_eq!(row.changes["identity"].before, None);
            } else {
                let refusal = world.is_refused(subject, claims(name)).await;
                assert_eq!(refusal.outcome, Outcome::Conflict, "{adopt:?} {name}");
                assert_eq!(refusal.field.as_deref(), Some("username"));
            }
        }
    }
}

/// Sync and missing on the way to the store; the pure table is in `mapping`.
#[tokio::test]
async fn lesson_16_absent_and_empty_claims_follow_their_policy() {
    // Policy, the field before, what comes, what stands after (None is refused).
    let absent = || [json!({"email": ""}), json!({"email": null}), json!({})];
    let cases = [
        (Sync::Always, Missing::Keep, Some(Some("a@example.com"))),
        (Sync::Always, Missing::Clear, Some(None)),
        (Sync::Always, Missing::Deny, None),
        (Sync::OnCreate, Missing::Keep, Some(Some("a@example.com"))),
        (Sync::OnCreate, Missing::Clear, Some(Some("a@example.com"))),
        (Sync::OnCreate, Missing::Deny, Some(Some("a@example.com"))),
        (Sync::IfEmpty, Missing::Keep, Some(Some("a@example.com"))),
        (Sync::IfEmpty, Missing::Clear, Some(Some("a@example.com"))),
        (Sync::IfEmpty, Missing::Deny, Some(Some("a@example.com"))),
    ];
    for (sync, missing, expected) in cases {
        let world = World::with(|it| rule(it, UserField::Email, sync, missing)).await;
        for (number, sent) in absent().into_iter().enumerate() {
            let name = format!("user{number}");
            world.comes_in(&name, claims(&name)).await;
            let mut later = sent;
            later["username"] = json!(name);
            later["family_name"] = json!("Family");
            match expected {
                Some(email) => {
                    let (_, user) = world.comes_in(&name, later).await;
                    assert_eq!(user.field(UserField::Email), email, "{sync:?} {missing:?}");
                }
                None => {
                    let refusal = world.is_refused(&name, later).await;
                    assert_eq!(refusal.outcome, Outcome::Refused);
                    assert_eq!(refusal.field.as_deref(), Some("email"));
                    assert_eq!(
                        refusal.reason,
                        "email: expected a value in claim \"email\", found none"
                    );
                }
            }
        }
        let mut changed = claims("user0");
        changed["email"] = json!("b@example.com");
        let (_, user) = world.comes_in("user0", changed).await;
        let cleared = expected == Some(None);
        let taken = sync == Sync::Always || cleared;
        let email = if taken {
            "b@example.com"
        } else {
            "a@example.com"
        };
        assert_eq!(
            user.field(UserField::Email),
            Some(email),
            "{sync:?} {missing:?}"
        );
    }
}

#[tokio::test]
async fn required_fields_keep_what_is_stored_and_are_never_empty() {
    let mut world = World::new().await;
    for claim in ["username", "family_name"] {
        let mut without = claims("alice");
        without[claim] = json!("");
        let refusal = world.is_refused("1", without).await;
        assert_eq!(refusal.outcome, Outcome::Refused);
        assert!(refusal.reason.contains(claim), "{refusal}");
    }
    world.comes_in("1", claims("alice")).await;
    let (outcome, _) = world.comes_in("1", json!({"email": "a@example.com"})).await;
    assert_eq!(outcome, Outcome::Unchanged, "missing = keep");
    world.change(|it| {
        it.rules()
            .mapping
            .iter_mut()
            .for_each(|(_, rule)| rule.missing = Missing::Clear);
    });
    let refusal = world.is_refused("1", json!({"username": "alice"})).await;
    assert_eq!(refusal.field.as_deref(), Some("name"));
}

#[tokio::test]
async fn faulty_claims_are_refused_without_their_value() {
    let world = World::new().await;
    world.comes_in("known", claims("known")).await;
    for (claim, value, field) in [
        ("username", json!({"hunter2": 1}), "username"),
        ("username", json!("hunter2\u{0}"), "username"),
        ("username", json!("hunter2\r\nX-Evil: 1"), "username"),
        ("family_name", json!(["hunter2"]), "name"),
        ("email", json!("hunter2@a@b"), "email"),
        ("given_name", json!("hunter2".repeat(100)), "first_name"),
    ] {
        for subject in ["known", "new"] {
            let mut faulty = claims(subject);
            faulty[claim] = value.clone();
            let refusal = world.is_refused(subject, faulty).await;
            assert_eq!(refusal.outcome, Outcome::Refused);
            assert_eq!(refusal.field.as_deref(), Some(field));
            assert!(refusal.reason.contains(&format!("{claim:?}")), "{refusal}");
            assert!(!refusal.reason.contains("hunter2"), "{refusal}");
        }
    }
}

/// Fifty first sign-ins of one person at once, over two nodes on one file.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lesson_17_concurrent_first_sign_ins_make_one_user() {
    let world = World::new().await;
    let file = world.folder.path().join("store.db");
    let other = Store::open(&StorePlace::Sqlite(file)).await.unwrap();
    let other = Provisioning::new(&world.config, other);
    let nodes = [
        std::sync::Arc::new(Provisioning::new(&world.config, world.store.clone())),
        std::sync::Arc::new(other),
    ];
    let mut sign_ins = tokio::task::JoinSet::new();
    for number in 0..50 {
        let node = nodes[number % 2].clone();
        sign_ins.spawn(async move {
            let person = Person {
                provider: "one",
                issuer: "https://one.example",
                subject: "1",
            };
            let claims = claims("alice").as_object().unwrap().clone();
            let account = node
                .provision_person(person, &claims, RequestId::from_number(1), NOW)
                .await
                .unwrap();
            (account.user().id.clone(), account.outcome())
        });
    }
    let accounts = sign_ins.join_all().await;
    let ids: BTreeSet<_> = accounts.iter().map(|(id, _)| id).collect();
    let created = accounts
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::Created);
    assert_eq!(ids.len(), 1);
    assert_eq!(created.count(), 1);
    assert_eq!(world.users().await.len(), 1);
    assert_eq!(world.outcomes().await, ["created"]);
}

#[tokio::test]
async fn lesson_18_a_rename_follows_unless_the_name_is_taken() {
    let world = World::with(|it| it.reserved_usernames = vec!["Administrator".into()]).await;
    let (_, alice) = world.comes_in("1", claims("alice")).await;
    world.comes_in("2", claims("bob")).await;
    let (outcome, renamed) = world.comes_in("1", claims("alice2")).await;
    assert_eq!(outcome, Outcome::Updated);
    assert_eq!((renamed.username(), &renamed.id), ("alice2", &alice.id));
    // Taken, reserved, given up by somebody else: the old name stays, the rest is synchronised.
    for (subject, name, old) in [
        ("1", "BOB", "alice2"),
        ("1", "administrator", "alice2"),
        ("2", "Alice", "bob"),
    ] {
        let mut wanted = claims(name);
        wanted["given_name"] = json!(format!("Given by {name}"));
        let explained = world.explain(subject, wanted.clone()).await;
        assert_eq!(explained.outcome, Outcome::RenameKept);
        let (outcome, kept) = world.comes_in(subject, wanted).await;
        assert_eq!(outcome, Outcome::RenameKept, "{name}");
        assert_eq!(kept.username(), old);
        assert_eq!(
            kept.field(UserField::FirstName),
            Some(&*format!("Given by {name}"))
        );
        assert_eq!(world.outcomes().await.last().unwrap(), "rename-kept");
    }
    // A name given up is nobody's, but whoever gave it up may return to it.
    let refusal = world.is_refused("3", claims("alice")).await;
    assert_eq!(refusal.outcome, Outcome::Refused);
    let (outcome, back) = world.comes_in("1", claims("alice")).await;
    assert_eq!((outcome, back.username()), (Outcome::Updated, "alice"));
    let refusal = world.is_refused("3", claims("alice2")).await;
    assert!(refusal.reason.contains("given up"), "{refusal}");
}

#[tokio::test]
async fn a_rename_is_kept_or_denied_where_the_rule_says_so() {
    let mut world = World::with(|it| it.rules().rename = Rename::Keep).await;
    let (_, alice) = world.comes_in("1", claims("alice")).await;
    let (outcome, kept) = world.comes_in("1", claims("alice2")).await;
    assert_eq!((outcome, &kept), (Outcome::RenameKept, &alice));
    world.change(|it| it.rules().rename = Rename::Deny);
    let refusal = world.is_refused("1", claims("alice2")).await;
    assert_eq!(refusal.outcome, Outcome::Refused);
    // Another spelling is no other name.
    let (outcome, same) = world.comes_in("1", claims("ALICE")).await;
    assert_eq!((outcome, same.username()), (Outcome::Unchanged, "alice"));
    world.change(|it| it.rules().rename = Rename::Follow);
    let (outcome, spelled) = world.comes_in("1", claims("ALICE")).await;
    assert_eq!((outcome, spelled.username()), (Outcome::Updated, "ALICE"));
    // A username that is taken once is taken at creation only.
    world.change(|it| rule(it, UserField::Username, Sync::OnCreate, Missing::Keep));
    let (outcome, same) = world.comes_in("1", claims("other")).await;
    assert_eq!((outcome, same.username()), (Outcome::Unchanged, "ALICE"));
}

#[tokio::test]
async fn nobody_new_comes_in_where_creation_is_closed() {
    let mut world = World::new().await;
    world.comes_in("1", claims("alice")).await;
    type Closing = fn(&mut Directory);
    let closings: [(Closing, &str); 5] = [
        (|it| it.rules().create = false, "create is off"),
        (|it| it.rules().max_users = Some(1), "max_users allows: 1"),
        (|it| it.rules().max_users = Some(0), "max_users allows: 0"),
        (|it| it.providers = vec!["two".into()], "people of two only"),
        (
            |it| it.reserved_usernames = vec!["BÓB".into()],
            "reserved_usernames",
        ),
    ];
    for (close, reason) in closings {
        let open = world.config.directories[0].clone();
        world.change(close);
        let refusal = world.is_refused("2", claims("bob")).await;
        assert_eq!(refusal.outcome, Outcome::Refused);
        assert!(refusal.reason.contains(reason), "{refusal}");
        world.change(|it| *it = open);
    }
    world.change(|it| it.rules().max_users = Some(2));
    assert_eq!(world.comes_in("2", claims("bob")).await.0, Outcome::Created);
    // Whoever is known still comes in, under a name that was reserved later too.
    world.change(|it| {
        it.rules().create = false;
        it.reserved_usernames = vec!["alice".into()];
    });
    assert_eq!(
        world.comes_in("1", claims("alice")).await.0,
        Outcome::Unchanged
    );
}

#[tokio::test]
async fn reserved_usernames_are_not_adopted() {
    let mut world = World::with(|it| it.rules().adopt = Adopt::Any).await;
    world.unbound("administrator").await;
    world.change(|it| it.reserved_usernames = vec!["Administrator".into()]);
    let refusal = world.is_refused("1", claims("administrator")).await;
    assert_eq!(refusal.outcome, Outcome::Refused);
}

#[tokio::test]
async fn update_off_lets_known_users_in_untouched() {
    let mut world = World::new().await;
    let (_, alice) = world.comes_in("1", claims("alice")).await;
    world.change(|it| {
        it.rules().update = false;
        it.rules().rename = Rename::Deny;
    });
    for sent in [
        json!({}),
        claims("alice2"),
        json!({"username": ["x"], "email": "@@"}),
    ] {
        let (outcome, user) = world.comes_in("1", sent).await;
        assert_eq!((outcome, &user), (Outcome::Unchanged, &alice));
    }
    assert_eq!(world.outcomes().await, ["created"]);
    assert_eq!(world.comes_in("2", claims("bob")).await.0, Outcome::Created);
}

#[tokio::test]
async fn an_inactive_user_is_stored_once_and_waits() {
    let world = World::with(|it| it.rules().new_user_status = UserStatus::Inactive).await;
    let explained = world.explain("1", claims("alice")).await;
    assert_eq!(explained.outcome, Outcome::Inactive);
    assert!(explained.after.is_some());
    let Err(Error::Refused(refusal)) = world.sign_in("1", claims("alice")).await else {
        panic!("expected a refusal");
    };
    assert_eq!(refusal.outcome, Outcome::Inactive);
    assert_eq!(world.outcomes().await, ["created", "inactive"]);
    let users = world.users().await;
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].status, UserStatus::Inactive);
    // Known now: nothing of what has changed is written, and the name is not adopted either.
    let mut changed = claims("alice");
    changed["family_name"] = json!("New");
    assert_eq!(
        world.is_refused("1", changed).await.outcome,
        Outcome::Inactive
    );
    assert_eq!(
        world.is_refused("2", claims("alice")).await.outcome,
        Outcome::Conflict
    );
}

#[tokio::test]
async fn a_user_of_a_directory_that_is_gone_is_left_alone() {
    let mut world = World::with(|it| it.rules().adopt = Adopt::Any).await;
    world.comes_in("1", claims("alice")).await;
    world.change(|it| it.name = "OTHER".into());
    for subject in ["1", "2"] {
        let refusal = world.is_refused(subject, claims("alice")).await;
        assert_eq!(refusal.outcome, Outcome::Refused);
        assert!(refusal.reason.contains("directory SELF"), "{refusal}");
    }
}

#[tokio::test]
async fn explain_writes_nothing_and_says_what_provision_does() {
    let world = World::new().await;
    let explained = world.explain("1", claims("alice")).await;
    assert_eq!(explained.outcome, Outcome::Created);
    let after = explained.after.unwrap();
    assert!(world.users().await.is_empty() && world.audit().await.is_empty());
    let (_, created) = world.comes_in("1", claims("alice")).await;
    assert_eq!(after.fields, created.fields);
    assert_eq!(after.identities, created.identities);
    let empty = explain_unknown(&world.config, "one", claims("alice").as_object().unwrap());
    assert_eq!(empty.outcome, Outcome::Created);
}
