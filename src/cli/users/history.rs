//! The audit trail as people and programs read it.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{existing_store, not_written, store_failure};
use crate::cli::Failure;
use crate::config::Config;
use crate::environment::rfc3339;
use crate::provisioning::Outcome;
use crate::store::{Access, AuditEntry, Store, User};

/// Entries read at a time.
const PAGE: u32 = 500;

/// Everything that happened to a user, oldest first.
pub(super) async fn of(store: &Store, user: &User) -> Result<Vec<AuditEntry>, Failure> {
    let mut history: Vec<AuditEntry> = Vec::new();
    loop {
        let after = history.last().map_or(0, |entry| entry.id);
        let page = store.history(&user.id, after, PAGE).await;
        let page = page.map_err(|fault| store_failure(&fault))?;
        let last = page.len() < PAGE as usize;
        history.extend(page);
        if last {
            return Ok(history);
        }
    }
}

/// Prints the whole trail, a JSON object a line, oldest first.
pub(super) async fn export(config: &Config) -> Result<(), Failure> {
    let store = existing_store(config, Access::Read).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut after = 0;
    loop {
        let page = store.audit(after, PAGE).await;
        let page = page.map_err(|fault| store_failure(&fault))?;
        let lines = page
            .iter()
            .try_for_each(|entry| writeln!(out, "{}", json(entry)));
        if let Err(fault) = lines {
            return not_written(fault);
        }
        match page.last() {
            Some(entry) => after = entry.id,
            None => return out.flush().or_else(not_written),
        }
    }
}

/// One entry; keys without a value are left out.
pub(super) fn json(entry: &AuditEntry) -> Value {
    let row = &entry.row;
    let mut object = json!({
        "at": rfc3339(row.at), "actor": row.actor, "outcome": row.outcome, "reason": row.reason,
        "directory": row.directory, "changes": row.changes,
    });
    let more = [
        ("request", Some(row.request.as_str())),
        ("provider", Some(row.provider.as_str())),
        ("issuer", Some(row.issuer.as_str())),
        ("subject", Some(row.subject.as_str())),
        ("user", row.user.as_deref()),
        ("username", row.username.as_deref()),
        ("rule", row.rule.as_deref()),
    ];
    for (name, value) in more {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            object[name] = value.into();
        }
    }
    object
}

/// For people: a line an entry, and one a changed field.
pub(super) fn write(out: &mut impl Write, history: &[AuditEntry]) -> io::Result<()> {
    for entry in history {
        let row = &entry.row;
        let (at, actor, outcome) = (rfc3339(row.at), &row.actor, &row.outcome);
        let request = match row.request.as_str() {
            "" => String::new(),
            id => format!("  id {id}"),
        };
        writeln!(out, "\n{at}  {actor}  {outcome}: {}{request}", row.reason)?;
        if outcome == Outcome::Conflict.as_str() {
            // Not the user: whoever came under their name, as `users bind` takes them.
            writeln!(out, "    who came  {} {}", row.issuer, row.subject)?;
        }
        if let Some(rule) = &row.rule {
            writeln!(out, "    rule  {rule}")?;
        }
        for (field, change) in &row.changes {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            let (before, after) = (text(&change.before), text(&change.after));
            writeln!(out, "    {field}  {before} -> {after}")?;
        }
    }
    Ok(())
}
