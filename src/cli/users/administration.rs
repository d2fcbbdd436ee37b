//! What an administrator decides about users: in one transaction each, with an audit row that says who did it.

use std::io::{self, Write as _};

use super::{existing_store, nobody, not_written, store_failure};
use crate::cli::{Failure, Identity};
use crate::config::{Config, TENANT_PLACE, UserStatus};
use crate::environment::{Clock as _, SystemClock, UnixSeconds};
use crate::provisioning::audited_changes;
use crate::store::{Access, Administered, AuditRow, Change, User};

/// What becomes of a user, the outcome's name and what is told of it; or why nothing does.
type Decided = Result<(User, &'static str, String), Failure>;

/// Lets a user in: takes the administrator's own flag away, and ends the wait of one who was made inactive.
pub(super) async fn activate(config: &Config, name: &str) -> Result<(), Failure> {
    let from_file = |user: &User| {
        let mut directories = config.directories.iter();
        let directory = directories.find(|it| it.name == user.directory);
        directory.is_some_and(|directory| directory.self_provisioning().is_none())
    };
    let decide = |user: &User| {
        let mut after = User {
            deactivated: false,
            ..user.clone()
        };
        if !from_file(user) {
            after.status = UserStatus::Active;
        }
        let name = user.username();
        let told = match after.is_active() {
            true => format!("{name} is active"),
            false => format!(
                "{name} is not deactivated any more, and stays inactive until the file of directory {} names them",
                user.directory
            ),
        };
        Ok((after, "activated", told))
    };
    decided(config, name, None, false, decide).await
}

/// Keeps a user out, whatever any directory says, and ends their sessions on every node.
pub(super) async fn deactivate(config: &Config, name: &str) -> Result<(), Failure> {
    let decide = |user: &User| {
        let after = User {
            deactivated: true,
            ..user.clone()
        };
        let name = user.username();
        let told = format!("{name} is inactive; their sessions end within a second");
        Ok((after, "deactivated", told))
    };
    decided(config, name, None, true, decide).await
}

/// Records an identity.
pub(super) async fn bind(config: &Config, name: &str, who: &Identity) -> Result<(), Failure> {
    let identity = (issuer(config, who)?, who.subject.clone());
    let decide = |user: &User| {
        let mut after = user.clone();
        if !after.identities.contains(&identity) {
            after.identities.push(identity.clone());
        }
        let told = format!("{} is {} at {}", user.username(), identity.1, identity.0);
        Ok((after, "bound", told))
    };
    let about = (identity.0.as_str(), identity.1.as_str());
    decided(config, name, Some(about), false, decide).await
}

/// Forgets an identity.
pub(super) async fn unbind(config: &Config, name: &str, who: &Identity) -> Result<(), Failure> {
    let identity = (issuer(config, who)?, who.subject.clone());
    let decide = |user: &User| {
        let mut after = user.clone();
        after.identities.retain(|known| *known != identity);
        let (name, (issuer, subject)) = (user.username(), &identity);
        if after.identities.len() == user.identities.len() {
            let found = format!("{name} is not {subject} at {issuer}: there is nothing to forget");
            return Err(Failure::new(found).hint("vestibule users show NAME tells the identities"));
        }
        let told = format!("{name} is {subject} at {issuer} no more");
        Ok((after, "unbound", told))
    };
    decided(config, name, None, true, decide).await
}

/// Gives every identity of one issuer another one.
pub(super) async fn rebind(config: &Config, from: &str, to: &str) -> Result<(), Failure> {
    if from == to {
        let fault = format!("expected two issuers, found {to:?} twice");
        return Err(Failure::new(fault).hint("--from names the one that is replaced"));
    }
    let issuers = issuers(config);
    if !issuers.contains(&to) {
        let fault = format!(
            "expected the issuer of a provider of the configuration, to the letter, found {to:?}"
        );
        return Err(Failure::new(fault).hint(format!("it has {}", issuers.join(", "))));
    }
    let store = existing_store(config, Access::Write).await?;
    let row = row("rebound", SystemClock.now());
    let rebound = store.rebind(from, to, &row).await;
    let rebound = rebound.map_err(|fault| store_failure(&fault))?;
    tell(&format!(
        "{} identities have the issuer {to} now",
        rebound.moved
    ))?;
    match rebound.left {
        0 => Ok(()),
        left => Err(Failure::new(format!(
            "{left} identities keep the issuer {from}, since their subject has signed in at {to} already"
        ))
        .hint("look at both users of each, and unbind one of the identities")),
    }
}

/// Lets anybody have a username again that was given up.
pub(super) async fn release(config: &Config, name: &str) -> Result<(), Failure> {
    let store = existing_store(config, Access::Write).await?;
    let row = AuditRow {
        username: Some(name.to_owned()),
        ..row("released", SystemClock.now())
    };
    let released = store.release(name, &row).await;
    match released.map_err(|fault| store_failure(&fault))? {
        true => tell(&format!("{name} may be anybody's again")),
        false => Err(
            Failure::new(format!("no user gave up the username {name:?}"))
                .hint("only a name that a known user has changed stays reserved"),
        ),
    }
}

async fn decided(
    config: &Config,
    name: &str,
    identity: Option<(&str, &str)>,
    end_sessions: bool,
    decide: impl Fn(&User) -> Decided + Sync,
) -> Result<(), Failure> {
    let store = existing_store(config, Access::Write).await?;
    let now = SystemClock.now();
    let decide = |found: &Administered| match change(found, name, now, end_sessions, &decide) {
        Ok((mut change, told)) => {
            let user = change.user.as_ref().filter(|user| !user.elsewhere);
            change.pushes = user.map_or_else(Vec::new, |user| push_targets(config, user));
            (change, Ok(told))
        }
        Err(failure) => (Change::default(), Err(failure)),
    };
    let decided = store.administer(name, identity, now, decide).await;
    tell(&decided.map_err(|fault| store_failure(&fault))??)
}

/// The receivers that are told of a user: the server delivers it within some seconds.
pub(super) fn push_targets(config: &Config, user: &User) -> Vec<String> {
    let mut directories = config.directories.iter();
    let directory = directories.find(|directory| directory.name == user.directory);
    directory.map_or_else(Vec::new, |directory| directory.push_targets())
}

fn change(
    found: &Administered,
    name: &str,
    now: UnixSeconds,
    end_sessions: bool,
    decide: impl Fn(&User) -> Decided,
) -> Result<(Change, String), Failure> {
    let user = found.user.as_ref().ok_or_else(|| nobody(name))?;
    if found
        .identity_of
        .as_ref()
        .is_some_and(|other| other.id != user.id)
    {
        let fault = "that identity is another user's: expected nobody's";
        return Err(Failure::new(fault).hint("unbind it there first, if that is what is meant"));
    }
    let (after, outcome, told) = decide(user)?;
    if after == *user {
        return Ok((Change::default(), format!("{told}; nothing has changed")));
    }
    let row = AuditRow {
        directory: user.directory.clone(),
        user: Some(user.id.clone()),
        username: Some(user.username().to_owned()),
        changes: audited_changes(user, &after),
        ..row(outcome, now)
    };
    let change = Change {
        user: Some(after),
        audit: vec![row],
        end_sessions,
        ..Change::default()
    };
    Ok((change, told))
}

/// What every row of the command line says.
pub(super) fn row(outcome: &str, now: UnixSeconds) -> AuditRow {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let mut accounts = names.iter().filter_map(|name| std::env::var(name).ok());
    let account = accounts.find(|account| !account.is_empty());
    AuditRow {
        at: now,
        actor: account.map_or("administrator".to_owned(), |account| {
            format!("administrator {account}")
        }),
        outcome: outcome.to_owned(),
        reason: "by the command line".to_owned(),
        ..AuditRow::default()
    }
}

fn issuer(config: &Config, who: &Identity) -> Result<String, Failure> {
    match (&who.issuer, issuers(config).as_slice()) {
        (Some(issuer), _) if issuer.contains(TENANT_PLACE) => Err(Failure::new(format!(
            "expected the issuer of one tenant, found {issuer:?}"
        ))
        .hint(
            "write the tenant's id in the place of {tenantid}, as the `iss` of its tokens has it",
        )),
        (Some(issuer), _) => Ok(issuer.clone()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, several) => Err(
            Failure::new("expected --issuer, since the providers have several")
                .hint(format!("to the letter one of {}", several.join(", "))),
        ),
    }
}

/// Every `iss` that the configuration's providers have.
fn issuers(config: &Config) -> Vec<&str> {
    let providers = config.providers.iter();
    providers
        .flat_map(|provider| provider.issuer.all())
        .collect()
}

fn tell(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").or_else(not_written)
}
