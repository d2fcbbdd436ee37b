//! What a sign-in's directory work costs by the number of users in the directory.
//!
//! `cargo bench --bench directory -- STORE [USERS…]`: STORE is a folder for SQLite files, or the URL of a PostgreSQL server whose
//! password is in PGPASSWORD and which has databases `bench_USERS`. A store for each number is filled, as far as it is not, and
//! then all of them are measured in turn, so that what else the machine does falls on each alike. It prints, in microseconds, the
//! median and the 99th percentile of a returning sign-in (the decision on one read) and of a creation (one transaction).

use std::time::Instant;

use vestibule::config::{self, Config, Secret, StorePlace, UserField, UserStatus};
use vestibule::oidc::ClaimSet;
use vestibule::provisioning::Provisioning;
use vestibule::store::{Administered, AuditRow, Change, Facts, Question, Store, User, Wanted};

const ISSUER: &str = "https://one.example";
const BATCH: usize = 500;
const SAMPLES: usize = 5_000;
/// Samples that are not counted: connections open, and statements are prepared.
const WARM_UP: usize = 200;
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

/// How many users there are.
async fn counted(store: &Store) -> usize {
    let wanted = |_: Option<&User>| Wanted {
        username: Some("nobody".to_owned()),
        directory: "SELF".into(),
        count: true,
    };
    let question = Question {
        issuer: ISSUER,
        subject: "nobody",
        wanted: &wanted,
    };
    store.facts(&question).await.expect("facts").users as usize
}

async fn fill(store: &Store, users: usize) {
    for start in (counted(store).await..users).step_by(BATCH) {
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

/// One store, and what was measured on it.
struct Measured {
    store: Store,
    provisioning: Provisioning,
    users: usize,
    next: usize,
    returns: Vec<f64>,
    creations: Vec<f64>,
}

impl Measured {
    async fn new(config: &Config, place: &StorePlace, users: usize) -> Self {
        let store = Store::open(place).await.expect("a store");
        let started = Instant::now();
        let before = counted(&store).await;
        fill(&store, users).await;
        let (added, took) = (
            users.saturating_sub(before),
            started.elapsed().as_secs_f64(),
        );
        println!(
            "{users} users, {added} of them filled in now in {took:.1} s ({:.0} a second)",
            added as f64 / took
        );
        Self {
            provisioning: Provisioning::new(config, store.clone()),
            next: counted(&store).await,
            store,
            users,
            returns: Vec::new(),
            creations: Vec::new(),
        }
    }

    async fn sample(&mut self, sample: usize) {
        // Far apart, so that no page is warm by its neighbour.
        let number = (sample * 7919) % self.users;
        let started = Instant::now();
        returning(&self.provisioning, number).await;
        let returned = started.elapsed().as_secs_f64() * 1e6;
        let started = Instant::now();
        creation(&self.store, self.next).await;
        let created = started.elapsed().as_secs_f64() * 1e6;
        self.next += 1;
        if sample >= WARM_UP {
            self.returns.push(returned);
            self.creations.push(created);
        }
    }

    async fn finish(self) {
        println!("{} users", self.users);
        told("returning sign-in", self.returns);
        told("creation", self.creations);
        self.store.close().await;
    }
}

async fn measure(config: &Config, store: &str, numbers: &[usize]) {
    let mut all = Vec::new();
    for users in numbers {
        all.push(Measured::new(config, &place(store, *users), *users).await);
    }
    for sample in 0..WARM_UP + SAMPLES {
        for measured in &mut all {
            measured.sample(sample).await;
        }
    }
    for measured in all {
        measured.finish().await;
    }
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
    let numbers: Vec<usize> = match numbers.is_empty() {
        true => vec![1_000, 1_000_000],
        false => numbers
            .iter()
            .map(|it| it.parse().expect("a number"))
            .collect(),
    };
    runtime.block_on(measure(&config, store, &numbers));
}
