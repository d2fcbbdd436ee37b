//! The CSV file (RFC 4180): a header row of user field names, and a line a person. Every fault is told by line and
//! column name, and never by what stands there; nothing of a file with faults is used.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Source, Trouble};
use crate::config::UserField;
use crate::environment::UnixSeconds;
use crate::mapping::checked_value;
use crate::store::{AppliedFile, Skeleton};

/// Bytes of a file: a million people fit.
const LARGEST: u64 = 256 * 1024 * 1024;
/// Faults that are told at once.
const MOST_FAULTS: usize = 20;

/// Somebody in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// From 1, the header row included.
    pub line: u64,
    /// Who they are to the provider, where the file says it.
    pub subject: Option<String>,
    /// The fields that have a value; `username` and `name` always have.
    pub fields: BTreeMap<UserField, String>,
}

impl Person {
    /// The username.
    pub fn username(&self) -> &str {
        self.fields
            .get(&UserField::Username)
            .map_or("", String::as_str)
    }
}

/// A fault of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// From 1.
    pub line: u64,
    /// Expected and found, without values.
    pub fault: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Subject,
    Field(UserField),
}

impl Source {
    /// The people of the file, and which version of it this is.
    ///
    /// # Errors
    /// [`Trouble::Unreadable`] and [`Trouble::Faulty`].
    pub async fn read(&self, now: UnixSeconds) -> Result<(Vec<Person>, AppliedFile), Trouble> {
        let unreadable = |source| Trouble::Unreadable {
            file: self.path(),
            source,
        };
        let metadata = tokio::fs::metadata(&self.file).await.map_err(unreadable)?;
        if metadata.len() > LARGEST {
            let found = format!("{} bytes, expected at most {LARGEST}", metadata.len());
            return Err(unreadable(std::io::Error::other(found)));
        }
        let bytes = tokio::fs::read(&self.file).await.map_err(unreadable)?;
        let modified = metadata.modified().ok();
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let version = AppliedFile {
            digest: URL_SAFE_NO_PAD.encode(digest(&SHA256, &bytes)),
            modified_at: modified.as_ref().map_or(0, Duration::as_secs) as i64,
            applied_at: now,
            node: self.node.clone(),
            people: 0,
        };
        match parse(&bytes, self.issuer.is_some()) {
            Ok(people) => {
                let people_count = people.len() as i64;
                let version = AppliedFile {
                    people: people_count,
                    ..version
                };
                Ok((people, version))
            }
            Err(faults) => Err(Trouble::Faulty {
                file: self.path(),
                faults,
            }),
        }
    }
}

/// Reads a whole file. `subjects` says whether a `subject` column can mean something.
///
/// # Errors
/// The first faults, by line.
pub(super) fn parse(bytes: &[u8], subjects: bool) -> Result<Vec<Person>, Vec<LineFault>> {
    let one = |line, fault: &str| {
        vec![LineFault {
            line,
            fault: fault.to_owned(),
        }]
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(fault) => {
            let before = &bytes[..fault.valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            return Err(one(line, "expected UTF-8, found other bytes"));
        }
    };
    if !text.is_empty() && !text.ends_with('\n') {
        let line = text.lines().count() as u64;
        let fault =
            "expected a line break at the end of the file, found none: is it still being written?";
        return Err(one(line, fault));
    }
    // The crate counts lines by their feeds, of which it sees one too few here.
    let text = text.replace("\r\n", "\n");
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let columns = match reader.headers() {
        Ok(header) => columns(header, subjects)?,
        Err(fault) => return Err(vec![unreadable(&fault)]),
    };
    let mut reading = Reading::default();
    for record in reader.records() {
        match record {
            Ok(record) => reading.line(&record, &columns),
            Err(fault) => reading.faults.push(unreadable(&fault)),
        }
        if reading.faults.len() >= MOST_FAULTS {
            break;
        }
    }
    match reading.faults.is_empty() {
        true => Ok(reading.people),
        false => Err(reading.faults),
    }
}

fn columns(header: &csv::StringRecord, subjects: bool) -> Result<Vec<Column>, Vec<LineFault>> {
    let mut columns = Vec::new();
    let mut faults = Vec::new();
    let mut fault = |fault: String| faults.push(LineFault { line: 1, fault });
    for name in header {
        let column = match name.trim() {
            "subject" => Some(Column::Subject),
            name => UserField::from_name(name).map(Column::Field),
        };
        match column {
            Some(Column::Subject) if !subjects => fault(
                "expected no column subject, since the directory is not of exactly one provider, or that has several tenants"
                    .to_owned(),
            ),
            Some(column) if columns.contains(&column) => {
                fault(format!("expected each column once, found {name:?} twice"));
            }
            Some(column) => columns.push(column),
            None => fault(format!(
                "expected names of user fields, or subject, found {name:?}"
            )),
        }
    }
    for required in [UserField::Username, UserField::Name] {
        if !columns.contains(&Column::Field(required)) {
            fault(format!("expected a column {}, found none", required.name()));
        }
    }
    match faults.is_empty() {
        true => Ok(columns),
        false => Err(faults),
    }
}

/// The people so far, and where each name and subject stands.
#[derive(Default)]
struct Reading {
    people: Vec<Person>,
    faults: Vec<LineFault>,
    names: HashMap<Skeleton, u64>,
    subjects: HashMap<String, u64>,
}

impl Reading {
    fn line(&mut self, record: &csv::StringRecord, columns: &[Column]) {
        let line = record.position().map_or(0, csv::Position::line);
        let mut person = Person {
            line,
            subject: None,
            fields: BTreeMap::new(),
        };
        let before = self.faults.len();
        for (column, value) in columns.iter().zip(record) {
            match column {
                _ if value.is_empty() => {}
                Column::Subject if value.chars().any(char::is_control) => {
                    self.fault(
                        line,
                        "subject: expected text without control characters".into(),
                    );
                }
                Column::Subject => person.subject = Some(value.to_owned()),
                Column::Field(field) => match checked_value(*field, value.to_owned()) {
                    Ok(value) => drop(person.fields.insert(*field, value)),
                    Err(fault) => self.fault(line, format!("{}: {fault}", field.name())),
                },
            }
        }
        for required in [UserField::Username, UserField::Name] {
            if self.faults.len() == before && !person.fields.contains_key(&required) {
                let fault = format!("{}: expected a value, found none", required.name());
                self.fault(line, fault);
            }
        }
        if self.faults.len() == before {
            self.once(&person);
        }
        self.people.push(person);
    }

    fn once(&mut self, person: &Person) {
        let line = person.line;
        let name = Skeleton::of(person.username());
        if let Some(other) = self.names.insert(name, line) {
            let fault = format!("username: expected each name once, found that of line {other}");
            self.fault(line, fault);
        }
        let subject = person.subject.clone();
        if let Some(other) = subject.and_then(|subject| self.subjects.insert(subject, line)) {
            let fault = format!("subject: expected each once, found that of line {other}");
            self.fault(line, fault);
        }
    }

    fn fault(&mut self, line: u64, fault: String) {
        self.faults.push(LineFault { line, fault });
    }
}

/// The crate's own words hold no values, but say too much.
fn unreadable(fault: &csv::Error) -> LineFault {
    let line = fault.position().map_or(1, csv::Position::line);
    let fault = match fault.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("expected {expected_len} fields, found {len}"),
        _ => "expected a line of CSV (RFC 4180), found something else".to_owned(),
    };
    LineFault { line, fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text.as_bytes(), true).unwrap_err();
        faults.iter().map(LineFault::to_string).collect()
    }

    #[test]
    fn reads_people() {
        let text = "\u{feff}username,name,email,subject\r\nalice,\"Liddell, A.\",alice@example.com,s1\r\nbob,Builder,,\r\n";
        let people = parse(text.as_bytes(), true).unwrap();
        assert_eq!(people.len(), 2);
        assert_eq!(people[0].line, 2);
        assert_eq!(people[0].subject.as_deref(), Some("s1"));
        assert_eq!(people[0].fields[&UserField::Name], "Liddell, A.");
        assert_eq!(people[1].fields.len(), 2, "an empty field has no value");
        assert_eq!(people[1].subject, None);
        assert_eq!(parse(b"username,name\n", false).unwrap(), []);
    }

    #[test]
    fn every_fault_is_told_by_line() {
        let text =
            "username,name,email\nalice,A,no-address\n,B,\nÁLICE2,,\nbob,B,\nBOB,B,\nc\u{7},C,\n";
        assert_eq!(
            faults(text),
            [
                "line 2: email: expected one e-mail address with a single @, found something else",
                "line 3: username: expected a value, found none",
                "line 4: name: expected a value, found none",
                "line 6: username: expected each name once, found that of line 5",
                "line 7: username: expected text without control characters, found one",
            ]
        );
        assert_eq!(
            faults("username,name\na,b\nc\n"),
            ["line 3: expected 2 fields, found 1"]
        );
        assert_eq!(
            faults("username,name\na,b\nc,")[0],
            "line 3: expected a line break at the end of the file, found none: is it still being written?"
        );
        let header = faults("user,name,name,subject,subject\n");
        assert_eq!(header.len(), 4, "{header:?}");
        assert!(header[0].contains("found \"user\""));
        assert_eq!(faults("").len(), 2, "an empty file has no columns");
        let two = "username,name,subject\na,A,1\nb,B,1\n";
        assert_eq!(
            faults(two),
            ["line 3: subject: expected each once, found that of line 2"]
        );
        let unwanted = parse(two.as_bytes(), false).unwrap_err();
        assert!(unwanted[0].fault.contains("exactly one provider"));
        let latin = parse(b"username,name\na,b\nc,\xe9\n", true).unwrap_err();
        assert_eq!(latin[0].line, 3);
        let many = format!("username,name\n{}", "a,\n".repeat(100));
        assert_eq!(faults(&many).len(), MOST_FAULTS);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s)(username|name|email|subject|,|\n|\r\n|\"|[a-z@.]|.){0,60}") {
            let _ = parse(text.as_bytes(), true);
        }

        /// Cut anywhere, a file is refused or ends at a line's end.
        #[test]
        fn a_half_written_file_is_refused(cut in 0..46usize) {
            let text = "username,name,email\nalice,A,a@example.com\nb,B,\n";
            if let Ok(people) = parse(&text.as_bytes()[..cut], true) {
                prop_assert!(text[..cut].ends_with('\n'));
                prop_assert!(people.len() < 2);
            }
        }
    }
}
