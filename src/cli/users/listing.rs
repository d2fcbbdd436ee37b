//! Users as they are listed and exported, page after page.

use std::io::{self, Write};

use serde::Serializer;
use serde::ser::SerializeMap;

use super::{history, write_row};
use crate::config::UserField;
use crate::environment::{UnixSeconds, rfc3339};
use crate::store::{AuditEntry, User};

const COLUMNS: [&str; 7] = [
    "USERNAME",
    "NAME",
    "FIRST NAME",
    "EMAIL",
    "DIRECTORY",
    "STATUS",
    "LAST LOGIN",
];

/// How users are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Table,
    /// One JSON array.
    Array,
    /// A JSON object a line, with everything that `users import` reads.
    Lines,
}

impl Form {
    pub(super) fn listed(json: bool) -> Self {
        match json {
            true => Form::Array,
            false => Form::Table,
        }
    }
}

/// Writes page after page. Columns are as wide as the first page needs.
pub(super) struct Listing<W> {
    out: W,
    form: Form,
    widths: Option<[usize; COLUMNS.len()]>,
    separator: &'static str,
}

impl<W: Write> Listing<W> {
    pub(super) fn new(out: W, form: Form) -> Self {
        Self {
            out,
            form,
            widths: None,
            separator: "[\n",
        }
    }

    pub(super) fn page(&mut self, users: &[User]) -> io::Result<()> {
        match self.form {
            Form::Array => self.json_page(users),
            Form::Table => self.table_page(users),
            Form::Lines => users.iter().try_for_each(|user| {
                serde_json::to_writer(&mut self.out, &Shown(user, None))?;
                self.out.write_all(b"\n")
            }),
        }
    }

    fn json_page(&mut self, users: &[User]) -> io::Result<()> {
        for user in users {
            self.out.write_all(self.separator.as_bytes())?;
            serde_json::to_writer(&mut self.out, &Listed(user))?;
            self.separator = ",\n";
        }
        Ok(())
    }

    fn table_page(&mut self, users: &[User]) -> io::Result<()> {
        let rows: Vec<[String; COLUMNS.len()]> = users.iter().map(cells).collect();
        let first = self.widths.is_none();
        let widths = *self.widths.get_or_insert_with(|| widths(&rows));
        if first {
            write_row(&mut self.out, &COLUMNS, &widths)?;
        }
        rows.iter()
            .try_for_each(|row| write_row(&mut self.out, row, &widths))
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        match (self.form, self.separator) {
            (Form::Array, "[\n") => self.out.write_all(b"[]\n")?,
            (Form::Array, _) => self.out.write_all(b"\n]\n")?,
            (Form::Table | Form::Lines, _) => {}
        }
        self.out.flush()
    }
}

fn cells(user: &User) -> [String; COLUMNS.len()] {
    let field = |field| user.field(field).unwrap_or("-").to_owned();
    [
        field(UserField::Username),
        field(UserField::Name),
        field(UserField::FirstName),
        field(UserField::Email),
        user.directory.clone(),
        user.status().to_owned(),
        user.last_login_at.map_or("-".to_owned(), rfc3339),
    ]
}

fn widths(rows: &[[String; COLUMNS.len()]]) -> [usize; COLUMNS.len()] {
    std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([COLUMNS[column].len()]).max().unwrap_or(0)
    })
}

/// A user as `users list --json` prints them.
struct Listed<'a>(&'a User);

impl serde::Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        serialize_listed(self.0, &mut map)?;
        map.end()
    }
}

/// A user as `users show --json` and `users export` print them: the same, with the id, every identity, the
/// administrator's flag, and their history where it was asked for.
pub(super) struct Shown<'a>(pub(super) &'a User, pub(super) Option<&'a [AuditEntry]>);

impl serde::Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        serialize_listed(self.0, &mut map)?;
        map.serialize_entry("id", &self.0.id)?;
        let identity = |(issuer, subject): &(String, String)| serde_json::json!({ "issuer": issuer, "subject": subject });
        let identities: Vec<_> = self.0.identities.iter().map(identity).collect();
        map.serialize_entry("identities", &identities)?;
        map.serialize_entry("deactivated", &self.0.deactivated)?;
        if let Some(history) = self.1 {
            let rows: Vec<_> = history.iter().map(history::json).collect();
            map.serialize_entry("history", &rows)?;
        }
        map.end()
    }
}

fn serialize_listed<M: SerializeMap>(user: &User, map: &mut M) -> Result<(), M::Error> {
    let always = [UserField::Username, UserField::Name];
    for field in UserField::ALL {
        let value = user.field(*field);
        if let Some(value) = value.or_else(|| always.contains(field).then_some("")) {
            map.serialize_entry(field.name(), value)?;
        }
    }
    let time = |time: UnixSeconds| rfc3339(time);
    let first = user.identities.first();
    map.serialize_entry("directory", &user.directory)?;
    map.serialize_entry("status", user.status())?;
    map.serialize_entry("issuer", &first.map(|(issuer, _)| issuer))?;
    map.serialize_entry("subject", &first.map(|(_, subject)| subject))?;
    map.serialize_entry("created_at", &time(user.created_at))?;
    map.serialize_entry("updated_at", &time(user.updated_at))?;
    map.serialize_entry("last_login_at", &user.last_login_at.map(time))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::write_user;
    use super::*;
    use crate::config::UserStatus;

    fn user(username: &str, last_login_at: Option<UnixSeconds>) -> User {
        User {
            id: "id-1".into(),
            directory: "SELF".into(),
            status: UserStatus::Active,
            deactivated: false,
            elsewhere: false,
            fields: BTreeMap::from([
                (UserField::Username, username.into()),
                (UserField::Name, "O'Brien \"B\"".into()),
            ]),
            identities: vec![
                ("https://one.example".into(), "1".into()),
                ("https://two.example".into(), "2".into()),
            ],
            created_at: 0,
            updated_at: 60,
            last_login_at,
        }
    }

    fn listed(json: bool, pages: &[&[User]]) -> String {
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, Form::listed(json));
        for page in pages {
            listing.page(page).unwrap();
        }
        listing.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pages_join_to_one_json_array() {
        assert_eq!(listed(true, &[&[]]), "[]\n");
        let text = listed(
            true,
            &[
                &[user("a", None), user("b", Some(1))],
                &[user("c", None)],
                &[],
            ],
        );
        let parsed: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.len(), 3);
        assert_eq!(
            parsed[1],
            serde_json::json!({
                "username": "b", "name": "O'Brien \"B\"", "directory": "SELF", "status": "active",
                "issuer": "https://one.example", "subject": "1",
                "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:01:00Z",
                "last_login_at": "1970-01-01T00:00:01Z",
            })
        );
    }

    #[test]
    fn the_table_has_one_line_a_user() {
        let text = listed(false, &[&[user("alice", None)], &[user("bob", Some(1))]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("USERNAME  NAME"));
        assert!(lines[1].starts_with("alice     O'Brien \"B\""));
        assert!(lines[2].ends_with("1970-01-01T00:00:01Z"));
        assert_eq!(listed(false, &[&[]]).lines().count(), 1);
    }

    #[test]
    fn show_tells_every_identity() {
        let mut out = Vec::new();
        write_user(&mut out, &user("alice", None), None, true).unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(shown["identities"][1]["subject"], "2");
        assert_eq!(shown["id"], "id-1");
        assert_eq!(shown["last_login_at"], serde_json::Value::Null);
        let mut out = Vec::new();
        write_user(&mut out, &user("alice", None), None, false).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("identity       2 at https://two.example\n"),
            "{text}"
        );
    }
}
