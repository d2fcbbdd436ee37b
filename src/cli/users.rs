//! `users`: the users of the directories, read and decided about beside a running server.

mod administration;
mod history;
mod import;
mod listing;
mod push;

use std::io::{self, Write};

use super::{Failure, Users};
use crate::config::Config;
use crate::environment::rfc3339;
use crate::store::{self, Access, AuditEntry, Store, User};
use listing::{Form, Listing, Shown};

/// Users read at a time: a million users need no more memory than this.
const PAGE: u32 = 500;

/// Does what a subcommand asks for.
pub(super) fn run(config: &Config, command: Users) -> Result<(), Failure> {
    let runtime = super::run::control_runtime()?;
    runtime.block_on(async {
        match command {
            Users::List { json } => list(config, Form::listed(json)).await,
            Users::Show {
                name,
                history,
                json,
            } => show(config, &name, history, json).await,
            Users::Export { history: false } => list(config, Form::Lines).await,
            Users::Export { history: true } => history::export(config).await,
            Users::Import { file, directory } => {
                import::import(config, &file, directory.as_deref()).await
            }
            Users::Activate { name } => administration::activate(config, &name).await,
            Users::Deactivate { name } => administration::deactivate(config, &name).await,
            Users::Bind { name, identity } => administration::bind(config, &name, &identity).await,
            Users::Unbind { name, identity } => {
                administration::unbind(config, &name, &identity).await
            }
            Users::Rebind { from, to } => administration::rebind(config, &from, &to).await,
            Users::Push {
                retry: Some(name), ..
            } => push::retry(config, &name).await,
            Users::Push {
                discard: Some(name),
                ..
            } => push::discard(config, &name).await,
            Users::Push { .. } => push::list(config).await,
            Users::Release { name } => administration::release(config, &name).await,
        }
    })
}

/// Prints every user, in the order of their names, a page at a time.
async fn list(config: &Config, form: Form) -> Result<(), Failure> {
    let store = existing_store(config, Access::Read).await?;
    let mut listing = Listing::new(io::BufWriter::new(io::stdout().lock()), form);
    let mut after = None;
    loop {
        let page = store.users(after.as_ref(), PAGE).await;
        let (users, next) = page.map_err(|fault| store_failure(&fault))?;
        if let Err(fault) = listing.page(&users) {
            return not_written(fault);
        }
        after = next;
        if after.is_none() {
            return listing.end().or_else(not_written);
        }
    }
}

/// Prints one user with everything that is known of them.
async fn show(config: &Config, name: &str, history: bool, json: bool) -> Result<(), Failure> {
    let store = existing_store(config, Access::Read).await?;
    let user = named(&store, name).await?;
    let history = match history {
        true => Some(history::of(&store, &user).await?),
        false => None,
    };
    let mut out = io::stdout().lock();
    write_user(&mut out, &user, history.as_deref(), json).or_else(not_written)
}

/// The user of that name, whatever its case and accents.
pub(super) async fn named(store: &Store, name: &str) -> Result<User, Failure> {
    let found = store.user_by_name(name).await;
    found
        .map_err(|fault| store_failure(&fault))?
        .ok_or_else(|| nobody(name))
}

fn nobody(name: &str) -> Failure {
    Failure::new(format!("no user is named {name:?}")).hint("vestibule users list shows every user")
}

/// The store that a server made.
pub(super) async fn existing_store(config: &Config, access: Access) -> Result<Store, Failure> {
    let place = &config.store.place;
    Store::open_existing(place, access)
        .await
        .map_err(|fault| store_failure(&fault))?
        .ok_or_else(|| {
            Failure::new(format!("there is no store at {place} yet"))
                .hint("start vestibule run once, or look at store.url")
        })
}

/// A store that does not answer, with what to do.
pub(super) fn store_failure(fault: &store::Error) -> Failure {
    let failure = Failure::new(fault.to_string());
    match fault.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Whoever reads us may have seen enough.
pub(super) fn not_written(fault: io::Error) -> Result<(), Failure> {
    match fault.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(fault.into()),
    }
}

/// One line of a table: two spaces between columns, none behind the last.
pub(super) fn write_row(
    out: &mut impl Write,
    cells: &[impl AsRef<str>],
    widths: &[usize],
) -> io::Result<()> {
    let line: String = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{:<width$}  ", cell.as_ref()))
        .collect();
    writeln!(out, "{}", line.trim_end())
}

fn write_user(
    out: &mut impl Write,
    user: &User,
    history: Option<&[AuditEntry]>,
    json: bool,
) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &Shown(user, history))?;
        return writeln!(out);
    }
    let mut lines: Vec<(&str, String)> = user
        .fields
        .iter()
        .map(|(field, value)| (field.name(), value.clone()))
        .collect();
    lines.push(("id", user.id.clone()));
    lines.push(("directory", user.directory.clone()));
    lines.push(("status", status_in_words(user)));
    for (issuer, subject) in &user.identities {
        lines.push(("identity", format!("{subject} at {issuer}")));
    }
    lines.push(("created_at", rfc3339(user.created_at)));
    lines.push(("updated_at", rfc3339(user.updated_at)));
    let last_login = user.last_login_at.map_or("-".to_owned(), rfc3339);
    lines.push(("last_login_at", last_login));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines
        .iter()
        .try_for_each(|(name, value)| writeln!(out, "{name:<width$}  {value}"))?;
    history::write(out, history.unwrap_or_default())
}

fn status_in_words(user: &User) -> String {
    let why = match (user.deactivated, user.elsewhere) {
        (true, _) => " (deactivated by an administrator)",
        (false, true) => " (provisioned elsewhere)",
        (false, false) => "",
    };
    format!("{}{why}", user.status())
}
