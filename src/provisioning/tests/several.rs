//! Several directories: whose user is it, and who may come in at all.

use super::*;

const TWO: &str = r#"
[server]
public_url = "https://workflow.example.com/wfgen"
[upstream]
servers = ["http://127.0.0.1:8081"]
[[providers]]
name = "one"
issuer = "https://one.example"
client_id = "id"
[[providers]]
name = "two"
issuer = "https://two.example"
client_id = "id"
[session]
keys = [{ id = "1", secret = { file = "key" } }]
username_claim = "username"
[access]
rules = [{ require = "!has(claims.blocked)", message = "Ask HR." }, { require = "user.?city.orValue('') != 'Atlantis'" }, { require = "!has(claims.level) || claims.level > 1" }]
[[directories]]
name = "STAFF"
connector = "self-provisioning"
providers = ["one"]
when = "'staff' in claims.groups"
reserved_usernames = ["root"]
[directories.mapping]
username = "username"
name = "family_name"
city = "town"
department = { expression = "claims.dept.upperAscii()" }
[[directories]]
name = "PAYROLL"
connector = "text"
file = "payroll.csv"
providers = ["one"]
[[directories]]
name = "GUESTS"
connector = "self-provisioning"
adopt = "any"
[directories.mapping]
username = "username"
name = "family_name"
city = { value = "Atlantic City" }
"#;

async fn two() -> World {
    World::of(TWO).await
}

fn staff(username: &str) -> Value {
    json!({"username": username, "family_name": "F", "groups": ["staff"], "town": "Paris", "dept": "it"})
}

fn guest(username: &str) -> Value {
    json!({"username": username, "family_name": "G", "groups": []})
}

/// A user of a directory as its file or an administrator made it.
async fn made(world: &World, directory: &str, username: &str, identity: Option<&str>) -> User {
    let user = User {
        id: format!("id-{username}"),
        directory: directory.into(),
        status: UserStatus::Active,
        deactivated: false,
        elsewhere: false,
        fields: [
            (UserField::Username, username.to_owned()),
            (UserField::Name, "Made".to_owned()),
        ]
        .into(),
        identities: identity
            .map(|subject| ("https://one.example".to_owned(), subject.to_owned()))
            .into_iter()
            .collect(),
        created_at: NOW - 9,
        updated_at: NOW,
        last_login_at: None,
    };
    let change = Change {
        user: Some(user.clone()),
        ..Change::default()
    };
    let decide = |_: &store::Administered| (change.clone(), ());
    world
        .store
        .administer(username, None, NOW, decide)
        .await
        .unwrap();
    user
}

#[tokio::test]
async fn the_first_directory_that_holds_takes_a_person() {
    let world = two().await;
    let (outcome, alice) = world.comes_in("1", staff("alice")).await;
    assert_eq!(
        (outcome, alice.directory.as_str()),
        (Outcome::Created, "STAFF")
    );
    assert_eq!(alice.field(UserField::Department), Some("IT"));
    let (_, bob) = world.comes_in("2", guest("bob")).await;
    assert_eq!(bob.directory, "GUESTS");
    assert_eq!(bob.field(UserField::City), Some("Atlantic City"));
    let explained = world.explain("3", guest("carol")).await;
    let names: Vec<&str> = explained
        .others
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["STAFF", "PAYROLL"]);
    assert_eq!(explained.others[0].1, "its `when` does not hold");
    // Once somebody's user, always theirs: the owner's rules, whatever holds today.
    let mut left = guest("alice");
    left["town"] = json!("Rome");
    let (outcome, alice) = world.comes_in("1", left).await;
    assert_eq!(outcome, Outcome::Updated);
    assert_eq!(alice.directory, "STAFF");
    assert_eq!(alice.field(UserField::City), Some("Rome"));
}

/// A claim that `when` names and nobody sent is no; one that it cannot be decided on lets nobody in.
#[tokio::test]
async fn what_cannot_be_decided_lets_nobody_in() {
    let world = two().await;
    let (_, user) = world
        .comes_in("1", json!({"username": "a", "family_name": "F"}))
        .await;
    assert_eq!(user.directory, "GUESTS");
    let odd = json!({"username": "b", "family_name": "F", "groups": 7});
    let refusal = world.is_refused("2", odd).await;
    assert!(
        refusal
            .reason
            .contains("`when` of directory STAFF cannot be decided"),
        "{refusal}"
    );
}

#[tokio::test]
async fn lesson_05_a_user_of_another_directory_is_left_as_they_are() {
    let world = two().await;
    let made = made(&world, "PAYROLL", "Dora", None).await;
    let mut sent = staff("dora");
    sent["family_name"] = json!("Other");
    let (outcome, mut dora) = world.comes_in("7", sent.clone()).await;
    assert_eq!(outcome, Outcome::OwnedElsewhere);
    assert_eq!(
        dora.identities,
        [("https://one.example".into(), "7".into())]
    );
    dora.identities.clear();
    assert_eq!(dora, made, "but for the identity");
    // Bound to the first identity that uses the name.
    let refusal = world.is_refused("8", sent.clone()).await;
    assert_eq!(refusal.outcome, Outcome::Conflict);
    let (outcome, again) = world.comes_in("7", staff("another-name")).await;
    assert_eq!(
        (outcome, again.username()),
        (Outcome::OwnedElsewhere, "Dora")
    );
    assert_eq!(world.outcomes().await, ["owned-elsewhere", "conflict"]);
    // Its directory takes people of one provider only.
    let Err(Error::Refused(refusal)) = world.sign_in_with("two", "9", guest("dora")).await else {
        panic!("expected a refusal");
    };
    assert!(
        refusal.reason.contains("takes people of one only"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_user_of_another_self_provisioning_directory_is_elsewhere_too() {
    let world = two().await;
    made(&world, "STAFF", "erik", None).await;
    let (outcome, erik) = world.comes_in("1", guest("erik")).await;
    assert_eq!(outcome, Outcome::OwnedElsewhere);
    assert_eq!(erik.field(UserField::Name), Some("Made"));
    made(&world, "GUESTS", "fred", None).await;
    let (outcome, fred) = world.comes_in("2", guest("fred")).await;
    assert_eq!(outcome, Outcome::Adopted, "its own directory adopts");
    assert_eq!(fred.field(UserField::Name), Some("G"));
}

#[tokio::test]
async fn a_user_whom_the_receiver_owns_is_untouched() {
    let world = two().await;
    world.comes_in("1", staff("gina")).await;
    let elsewhere = |found: &store::Administered| {
        let mut user = found.user.clone().unwrap();
        user.elsewhere = true;
        let change = Change {
            user: Some(user),
            ..Change::default()
        };
        (change, ())
    };
    world
        .store
        .administer("gina", None, NOW, elsewhere)
        .await
        .unwrap();
    let (outcome, gina) = world.comes_in("1", guest("gina2")).await;
    assert_eq!(
        (outcome, gina.username()),
        (Outcome::OwnedElsewhere, "gina")
    );
    assert_eq!(gina.field(UserField::Name), Some("F"));
}

#[tokio::test]
async fn names_are_reserved_over_all_directories() {
    let world = two().await;
    for sent in [staff("Root"), guest("root")] {
        let refusal = world.is_refused("1", sent).await;
        assert!(refusal.reason.contains("reserved_usernames"), "{refusal}");
    }
    made(&world, "PAYROLL", "root", None).await;
    let refusal = world.is_refused("1", staff("root")).await;
    assert!(
        refusal.reason.contains("reserved_usernames"),
        "nor let in by name: {refusal}"
    );
    made(&world, "PAYROLL", "röot2", Some("5")).await;
    assert_eq!(
        world.comes_in("5", staff("root")).await.0,
        Outcome::OwnedElsewhere,
        "by identity"
    );
}

#[tokio::test]
async fn an_inactive_user_of_another_directory_waits_too() {
    let world = two().await;
    made(&world, "PAYROLL", "hugo", Some("1")).await;
    let deactivate = |found: &store::Administered| {
        let mut user = found.user.clone().unwrap();
        user.deactivated = true;
        let change = Change {
            user: Some(user),
            ..Change::default()
        };
        (change, ())
    };
    world
        .store
        .administer("hugo", None, NOW, deactivate)
        .await
        .unwrap();
    let refusal = world.is_refused("1", staff("hugo")).await;
    assert_eq!(refusal.outcome, Outcome::Inactive);
}

#[tokio::test]
async fn access_rules_have_the_last_word() {
    let world = two().await;
    let mut blocked = staff("ivan");
    blocked["blocked"] = json!(1);
    let refusal = world.is_refused("1", blocked.clone()).await;
    assert_eq!(refusal.outcome, Outcome::Refused);
    assert_eq!(refusal.message.as_deref(), Some("Ask HR."));
    assert_eq!(
        refusal.to_string(),
        "refused: an access rule does not hold: !has(claims.blocked)",
        "as the log has it"
    );
    let audit = world.audit().await;
    assert_eq!(
        audit.last().unwrap().rule.as_deref(),
        Some("!has(claims.blocked)")
    );
    assert_eq!(audit.last().unwrap().directory, "STAFF");
    let explained = world.explain("1", blocked.clone()).await;
    assert_eq!(explained.rule.as_deref(), Some("!has(claims.blocked)"));
    // On the user as they would be stored.
    let mut sunken = staff("ivan");
    sunken["town"] = json!("Atlantis");
    let refusal = world.is_refused("1", sunken).await;
    assert_eq!(refusal.message, None);
    // What cannot be decided is no.
    let mut odd = staff("ivan");
    odd["level"] = json!("two");
    let refusal = world.is_refused("1", odd).await;
    assert!(refusal.reason.contains("cannot be decided"), "{refusal}");
    // A known user whom a rule refuses is not synchronised.
    let (_, ivan) = world.comes_in("1", staff("ivan")).await;
    blocked["family_name"] = json!("Changed");
    world.is_refused("1", blocked).await;
    assert_eq!(world.store.user_by_name("ivan").await.unwrap(), Some(ivan));
}

/// Of somebody whom a rule refuses there is nobody to activate, and nothing to push.
#[tokio::test]
async fn whom_a_rule_refuses_is_not_created_inactive_either() {
    let mut world = two().await;
    world.change(|it| it.rules().new_user_status = UserStatus::Inactive);
    let mut blocked = staff("ivan");
    blocked["blocked"] = json!(1);
    let refusal = world.is_refused("1", blocked).await;
    assert_eq!(refusal.outcome, Outcome::Refused);
    assert_eq!(refusal.message.as_deref(), Some("Ask HR."));
    // Without the rule's no they wait, and the status is what they are told of.
    let waits = world.sign_in("1", staff("ivan")).await;
    assert!(matches!(waits, Err(Error::Refused(it)) if it.outcome == Outcome::Inactive));
    assert_eq!(world.users().await.len(), 1);
}

/// Entra ID's groups overage: the groups are announced, not sent. Never "no groups".
#[tokio::test]
async fn lesson_19_groups_that_are_kept_elsewhere_are_not_absent() {
    let world = two().await;
    world.comes_in("1", staff("judy")).await;
    for announced in [
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}}}),
        json!({"hasgroups": true}),
        json!({"hasgroups": "true"}),
    ] {
        let mut sent = announced.as_object().unwrap().clone();
        sent.insert("username".into(), json!("judy"));
        sent.insert("family_name".into(), json!("F"));
        let refusal = world.is_refused("1", Value::Object(sent)).await;
        assert!(refusal.reason.contains("keeps it elsewhere"), "{refusal}");
        assert_eq!(refusal.field.as_deref(), Some("groups"));
    }
    let mut both = staff("judy");
    both["hasgroups"] = json!(true);
    assert_eq!(
        world.comes_in("1", both).await.0,
        Outcome::Unchanged,
        "they are there"
    );
    let unused = json!({"username": "kim", "family_name": "F", "groups": [], "_claim_names": {"roles": "src1"}});
    assert_eq!(
        world.comes_in("2", unused).await.0,
        Outcome::Created,
        "nothing names roles"
    );
}
