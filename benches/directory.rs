//! What a sign-in's directory work costs by the number of users in the directory.
//!
//! `cargo bench --bench directory -- STORE [USERS…]`: STORE is a folder for SQLite files, or the URL of a PostgreSQL server whose
//! password is in PGPASSWORD and whose databases `bench_USERS` are empty. For each number it fills a store and prints, in
//! microseconds, the median and the 99th percentile of a returning sign-in (the decision on one read) and of a creation (one transaction).

use std::time::Instant;

use vestibule::config::{self, Config, Secret, StorePlace, UserField, UserStatus};
use vestibule::oidc::ClaimSet;
use vestibule::provisioning::Provisioning;
use vestibule::store::{Administered, AuditRow, Change, Facts, Question, Store, User, Wanted};

const ISSUER: &str = "https://one.example";
const BATCH: usize = 500;
const SAMPLES: usize = 2_000;
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
max_users = 100000000
[directories.mapping]
username = "username"
name = "family_name"
email = "email"
"#;

fn user(number: usize) -> User {
    let username = format!("user{number:08}");
    User {
        id: format!("id{number:08}"),
        directory: "SELF".into(),
        status: UserStatus::Active,
        deactivated: false,
        elsewhere: false,
        identities: vec![(ISSUER.into(), format!("subject{number:08}"))],
        fields: [
            (UserField::Email, format!("{username}@example.com")),
            (UserField::Name, "Family".to_owned()),
            (UserField::Username, username),
        ]
        .into(),
        created_at: 0,
        updated_at: 0,
        last_login_at: None,
    }
}

fn made(user: User) -> Change {
    let row = AuditRow {
        outcome: "created".to_owned(),
        user: Some(user.id.clone()),
        ..AuditRow::default()
    };
    Change {
        user: Some(user),
        audit: vec![row],
        ..Change::default()
    }
}

async fn fill(store: &Store, users: usize) {
    for start in (0..users).step_by(BATCH) {
        let batch: Vec<User> = (start..users.min(start + BATCH)).map(user).collect();
        let names: Vec<(&str, Option<(&str, &str)>)> =
            batch.iter().map(|user| (user.username(), None)).collect();
        let decide = |place: usize, _: &Administered| (made(batch[place].clone()), ());
        store
            .administer_all(&names, 0, decide)
            .await
            .expect("filled");
    }
}

async fn returning(provisioning: &Provisioning, number: usize) {
    let user = user(number);
    let claims = serde_json::json!({
        "username": user.username(), "family_name": "Family", "email": user.field(UserField::Email),
    });
    let claims: ClaimSet = serde_json::from_value(claims).expect("claims");
    let subject = &user.identities[0].1;
    let decision = provisioning.explain("one", ISSUER, subject, &claims).await;
    assert_eq!(decision.expect("a decision").outcome.as_str(), "unchanged");
}

async fn creation(store: &Store, number: usize) {
    let user = user(number);
    let wanted = Wanted {
        username: Some(user.username().to_owned()),
        directory: "SELF".into(),
        count: true,
    };
    let question = Question {
        issuer: ISSUER,
        subject: &user.identities[0].1,
        wanted: &|_| wanted.clone(),
    };
    let decide = |facts: &Facts| {
        assert!(facts.by_identity.is_none() && facts.users > 0);
        (made(user.clone()), ())
    };
    store.transact(&question, 0, decide).await.expect("created");
}

fn told(what: &str, mut microseconds: Vec<f64>) {
    microseconds.sort_by(f64::total_cmp);
    let at = |share: f64| microseconds[(microseconds.len() as f64 * share) as usize];
    println!(
        "  {what:<18} p50 {:>8.0} µs   p99 {:>8.0} µs",
        at(0.5),
        at(0.99)
    );
}

fn place(store: &str, users: usize) -> StorePlace {
    if !store.starts_with("postgres:") {
        return StorePlace::Sqlite(std::path::Path::new(store).join(format!("{users}.db")));
    }
    let password = std::env::var("PGPASSWORD").ok().map(Secret::new);
    let url = format!("{}/bench_{users}", store.trim_end_matches('/'));
    StorePlace::Postgres {
        url: url.parse().expect("a url"),
        password,
    }
}

async fn measure(config: &Config, store: &str, users: usize) {
    let store = Store::open(&place(store, users)).await.expect("a store");
    let started = Instant::now();
    fill(&store, users).await;
    let took = started.elapsed().as_secs_f64();
    println!(
        "{users} users, filled in {took:.1} s ({:.0} a second)",
        users as f64 / took
    );
    let provisioning = Provisioning::new(config, store.clone());
    let (mut returns, mut creations) = (Vec::new(), Vec::new());
    for sample in 0..SAMPLES {
        // Far apart, so that no page is warm by its neighbour.
        let number = (sample * 7919) % users;
        let started = Instant::now();
        returning(&provisioning, number).await;
        returns.push(started.elapsed().as_secs_f64() * 1e6);
        let started = Instant::now();
        creation(&store, users + sample).await;
        creations.push(started.elapsed().as_secs_f64() * 1e6);
    }
    told("returning sign-in", returns);
    told("creation", creations);
    store.close().await;
}

fn main() {
    let arguments = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let arguments: Vec<String> = arguments.collect();
    let Some((store, numbers)) = arguments.split_first() else {
        // As `cargo test` and a bare `cargo bench` call it.
        return println!("usage: cargo bench --bench directory -- STORE [USERS…]");
    };
    let folder = std::env::temp_dir().join("vestibule-bench-key");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("key"), "k".repeat(32)).expect("a key");
    let config = config::load_text(FILE, &folder.join("proxy.toml")).expect("a configuration");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let numbers: Vec<usize> = numbers
        .iter()
        .map(|it| it.parse().expect("a number"))
        .collect();
    for users in match numbers.is_empty() {
        true => vec![1_000, 1_000_000],
        false => numbers,
    } {
        runtime.block_on(measure(&config, store, users));
    }
}
