//! `users import`: users from JSON lines, as `users export` prints them: a move to another store, or people that
//! another system knows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::administration::{push_targets, row};
use super::{existing_store, not_written, store_failure};
use crate::cli::{Failure, eprint};
use crate::config::{Config, UserField, UserStatus};
use crate::environment::{Clock as _, SystemClock, SystemRandom, UnixSeconds, random_text};
use crate::mapping::{checked_value, claim_text};
use crate::store::{Access, Administered, AuditRow, Change, Store, User};

/// Users that one transaction writes.
const BATCH: usize = 500;
/// Bytes of a line; no user comes near.
const LONGEST_LINE: u64 = 256 * 1024;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// Makes users. A line with a fault ends it, after what stands before; asking again goes on, since whoever is there
/// stays as they are.
pub(super) async fn import(
    config: &Config,
    file: &Path,
    directory: Option<&str>,
) -> Result<(), Failure> {
    if let Some(name) = directory {
        known_directory(config, name).map_err(Failure::new)?;
    }
    let unreadable = |fault| Failure::new(format!("{} cannot be read: {fault}", file.display()));
    let reader: Box<dyn BufRead> = match file == Path::new("-") {
        true => Box::new(BufReader::new(io::stdin())),
        false => Box::new(BufReader::new(File::open(file).map_err(unreadable)?)),
    };
    let mut importing = Importing {
        config,
        store: existing_store(config, Access::Write).await?,
        batch: Vec::new(),
        made: 0,
        there: 0,
        told: Instant::now(),
    };
    let read = importing.lines(reader, directory).await;
    importing.write().await?;
    let (made, there) = (importing.made, importing.there);
    writeln!(
        io::stdout(),
        "{made} users made, {there} were there already"
    )
    .or_else(not_written)?;
    read
}

struct Importing<'c> {
    config: &'c Config,
    store: Store,
    batch: Vec<User>,
    made: u64,
    there: u64,
    told: Instant,
}

impl Importing<'_> {
    async fn lines(
        &mut self,
        mut reader: Box<dyn BufRead>,
        directory: Option<&str>,
    ) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = (&mut reader)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line);
            if read.map_err(|fault| Failure::new(format!("line {number}: {fault}")))? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let user = user(self.config, &line, directory, SystemClock.now()).map_err(|fault| {
                Failure::new(format!("line {number}: {fault}"))
                    .hint("lines before it are done; mend it and import the file again")
            })?;
            self.batch.push(user);
            if self.batch.len() == BATCH {
                self.write().await?;
                self.progress();
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Failure> {
        let users = std::mem::take(&mut self.batch);
        let identity = |user: &'_ User| {
            let first = user.identities.first();
            first.map(|(issuer, subject)| (issuer.clone(), subject.clone()))
        };
        let identities: Vec<_> = users.iter().map(identity).collect();
        let names: Vec<(&str, Option<(&str, &str)>)> = users
            .iter()
            .zip(&identities)
            .map(|(user, identity)| {
                let identity = identity.as_ref();
                let identity =
                    identity.map(|(issuer, subject)| (issuer.as_str(), subject.as_str()));
                (user.username(), identity)
            })
            .collect();
        let now = SystemClock.now();
        let decide = |place: usize, found: &Administered| {
            let (mut change, made) = imported(&users[place], found, now);
            let user = change.user.as_ref();
            change.pushes = user.map_or_else(Vec::new, |user| push_targets(self.config, user));
            (change, made)
        };
        let written = self.store.administer_all(&names, now, decide).await;
        for made in written.map_err(|fault| store_failure(&fault))? {
            match made {
                true => self.made += 1,
                false => self.there += 1,
            }
        }
        Ok(())
    }

    fn progress(&mut self) {
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let end = if io::stderr().is_terminal() {
                '\r'
            } else {
                '\n'
            };
            eprint(&format!("{} users{end}", self.made + self.there));
        }
    }
}

/// A user who is not there yet, by name and identity.
fn imported(user: &User, found: &Administered, now: UnixSeconds) -> (Change, bool) {
    if found.user.is_some() || found.identity_of.is_some() || found.given_up_by.is_some() {
        return (Change::default(), false);
    }
    let row = AuditRow {
        directory: user.directory.clone(),
        user: Some(user.id.clone()),
        username: Some(user.username().to_owned()),
        ..row("imported", now)
    };
    let change = Change {
        user: Some(user.clone()),
        audit: vec![row],
        ..Change::default()
    };
    (change, true)
}

fn known_directory(config: &Config, name: &str) -> Result<String, String> {
    let names: Vec<&str> = config
        .directories
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "expected a directory of the configuration ({}), found another",
            names.join(", ")
        )),
    }
}

/// The user of a line. Faults hold no values.
fn user(
    config: &Config,
    line: &[u8],
    directory: Option<&str>,
    now: UnixSeconds,
) -> Result<User, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| "expected a JSON object, found something else")?;
    let text = |name: &str| {
        let text = object.get(name).map(claim_text).transpose();
        text.map(Option::flatten)
            .map_err(|fault| format!("{name}: {fault}"))
    };
    let mut fields = BTreeMap::new();
    for field in UserField::ALL {
        if let Some(value) = text(field.name())? {
            let value = checked_value(*field, value);
            let value = value.map_err(|fault| format!("{}: {fault}", field.name()))?;
            fields.insert(*field, value);
        }
    }
    for required in [UserField::Username, UserField::Name] {
        if !fields.contains_key(&required) {
            return Err(format!("{}: expected a value, found none", required.name()));
        }
    }
    let named = text("directory")?;
    let named = named.as_deref().or(directory);
    let named = named.ok_or("directory: expected a name here or in --directory, found none")?;
    let inactive = text("status")?.as_deref() == Some("inactive");
    let deactivated = object.get("deactivated") == Some(&Value::Bool(true));
    Ok(User {
        id: text("id")?.unwrap_or_else(|| random_text::<16>(&SystemRandom)),
        directory: known_directory(config, named)?,
        status: match inactive && !deactivated {
            true => UserStatus::Inactive,
            false => UserStatus::Active,
        },
        deactivated,
        elsewhere: false,
        identities: identities(&object, text("issuer")?, text("subject")?)?,
        fields,
        created_at: now,
        updated_at: now,
        last_login_at: None,
    })
}

fn identities(
    object: &Map<String, Value>,
    issuer: Option<String>,
    subject: Option<String>,
) -> Result<Vec<(String, String)>, String> {
    #[derive(serde::Deserialize)]
    struct Identity {
        issuer: String,
        subject: String,
    }
    if let Some(list) = object.get("identities") {
        let list: Vec<Identity> = serde_json::from_value(list.clone())
            .map_err(|_| "identities: expected a list of objects with issuer and subject")?;
        return Ok(list.into_iter().map(|it| (it.issuer, it.subject)).collect());
    }
    match (issuer, subject) {
        (Some(issuer), Some(subject)) => Ok(vec![(issuer, subject)]),
        (None, None) => Ok(Vec::new()),
        _ => Err("expected both issuer and subject, or neither".to_owned()),
    }
}
