//! What a decision writes: the user, and the audit rows that tell of it.

use std::collections::BTreeMap;

use crate::config::UserField;
use crate::environment::UnixSeconds;
use crate::store::{AuditRow, Change, FieldChange, User};
use crate::telemetry::RequestId;

use super::directories::Directories;
use super::verdict::Decided;
use super::{Outcome, Person};

/// Everything that `decided` writes; empty for `unchanged`.
///
/// A user who is created inactive gets two rows: `created`, which tells what was stored, and `inactive`,
/// which tells how the sign-in ended.
pub(super) fn change(
    directories: &Directories,
    person: &Person<'_>,
    decided: &Decided,
    request: RequestId,
    now: UnixSeconds,
) -> Change {
    let written = decided.user.as_ref().filter(|_| decided.write);
    let row = |outcome: Outcome, reason: &str, changes| AuditRow {
        at: now,
        actor: "sign-in".to_owned(),
        request: request.to_string(),
        provider: person.provider.to_owned(),
        issuer: person.issuer.to_owned(),
        subject: person.subject.to_owned(),
        directory: decided.directory.clone(),
        user: concerned(decided).map(|user| user.id.clone()),
        username: named(decided),
        outcome: outcome.as_str().to_owned(),
        reason: reason.to_owned(),
        rule: decided.rule.clone(),
        changes,
    };
    let mut audit = Vec::new();
    let mut changes = written.map_or_else(BTreeMap::new, |after| {
        differences(decided.before.as_ref(), after)
    });
    if written.is_some() && decided.outcome == Outcome::Inactive {
        audit.push(row(
            Outcome::Created,
            "nobody has this identity or this username",
            std::mem::take(&mut changes),
        ));
    }
    let silent = match decided.outcome {
        Outcome::Unchanged => true,
        // The identity was bound before: nothing is new.
        Outcome::OwnedElsewhere => written.is_none(),
        _ => false,
    };
    if !silent {
        audit.push(row(decided.outcome, &decided.reason, changes));
    }
    Change {
        user: written.cloned(),
        audit,
        pushes: written.map_or_else(Vec::new, |user| directories.push_targets(user)),
        ..Change::default()
    }
}

fn concerned(decided: &Decided) -> Option<&User> {
    decided.user.as_ref().or(decided.before.as_ref())
}

fn named(decided: &Decided) -> Option<String> {
    let stored = decided.user.as_ref().map(|user| user.username().to_owned());
    stored.or_else(|| decided.username.clone())
}

/// Before and after of every field that differs, and of the identities.
pub(super) fn differences(before: Option<&User>, after: &User) -> BTreeMap<String, FieldChange> {
    let mut changes: BTreeMap<String, FieldChange> = UserField::ALL
        .iter()
        .filter_map(|field| {
            let old = before.and_then(|user| user.field(*field));
            let new = after.field(*field);
            (old != new).then(|| (field.name().to_owned(), field_change(old, new)))
        })
        .collect();
    let old = before.map(User::status);
    if old != Some(after.status()) {
        let change = field_change(old, Some(after.status()));
        changes.insert("status".to_owned(), change);
    }
    let old = before.map_or(&[][..], |user| &user.identities);
    let text = |(issuer, subject): &(String, String)| format!("{issuer} {subject}");
    let forgotten = old.iter().find(|it| !after.identities.contains(it));
    let recorded = after.identities.iter().find(|it| !old.contains(it));
    if forgotten.is_some() || recorded.is_some() {
        let (before, after) = (forgotten.map(text), recorded.map(text));
        changes.insert("identity".to_owned(), FieldChange { before, after });
    }
    changes
}

fn field_change(before: Option<&str>, after: Option<&str>) -> FieldChange {
    FieldChange {
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}
