//! Reads the TOML shape of `proxy.toml` key by key and collects every fault instead of stopping at
//! the first.
//!
//! A [`Section`] is a table that notes which of its keys were asked for; what is left over is unknown.
//! Keys, kinds and defaults come from the table in `keys`, so a key that is not
//! there cannot be read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::fault::Problem;
use super::keys::{Fallback, Key, Kind};
use super::slip::{elsewhere, nearest};
use super::value::Value;

/// A table of the file, or the place where one could be.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    /// As faults name it: `providers[1]`.
    path: String,
    /// As the table of keys names it: `providers[]`.
    pattern: String,
    taken: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        document: &'a Document<'a>,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        path: &str,
        pattern: &str,
    ) -> Self {
        Self {
            document,
            table,
            span,
            path: path.to_owned(),
            pattern: pattern.to_owned(),
            taken: RefCell::default(),
        }
    }

    /// Reads the whole table by `read`, then reports the keys that it did not ask for.
    pub(super) fn read<T>(self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        let result = read(&self);
        self.report_leftovers();
        result
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// The key's value, or its default; without either, a fault. `None`: there was a fault.
    pub(super) fn get<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value<'_>) -> Option<T>,
    ) -> Option<T> {
        if let Some(value) = self.value(name) {
            return read(&value);
        }
        let default = match self.key(name)?.fallback {
            Fallback::Value(text) => DeValue::parse(text).ok(),
            Fallback::Required | Fallback::Absent => None,
        };
        match default {
            Some(default) => read(&Value::new(
                self.document,
                default.get_ref(),
                self.span.clone(),
                self.path_of(name),
                self.pattern_of(name),
                self.kind(name),
            )),
            None => self.missing(name),
        }
    }

    /// The key's value, if the file has it.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.value(name) {
            Some(value) => read(&value).map(Some),
            None => Some(None),
        }
    }

    /// The table of that name; one that the file leaves out is read all the same, so that what it
    /// requires is reported and what has a default gets it.
    pub(super) fn section<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Section<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.value(name) {
            Some(value) => value.section(read),
            None => Section::new(
                self.document,
                None,
                self.span.clone(),
                &self.path_of(name),
                &self.pattern_of(name),
            )
            .read(read),
        }
    }

    /// The list of tables of that name, each read by `read`, which is told its place from 0.
    pub(super) fn tables<T>(
        &self,
        name: &str,
        mut read: impl FnMut(usize, &Section<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut place = 0;
        self.get(name, |value| {
            value.items(|item| {
                place += 1;
                item.section(|section| read(place - 1, section))
            })
        })
    }

    /// Every entry of a table whose names are free, in the file's order.
    pub(super) fn entries(&self) -> Vec<Value<'a>> {
        let mut entries: Vec<Value<'a>> = self
            .table
            .into_iter()
            .flat_map(|table| table.iter())
            .map(|(name, value)| {
                self.taken.borrow_mut().insert(name.get_ref().to_string());
                let pattern = self.pattern_of("*");
                for pattern in [&pattern, &self.pattern_of(name.get_ref())] {
                    self.document.note_read(pattern);
                }
                let kind = Key::find(&pattern).map_or(Kind::Text, |key| key.kind);
                let path = self.path_of(name.get_ref());
                Value::new(
                    self.document,
                    value.get_ref(),
                    value.span(),
                    path,
                    pattern,
                    kind,
                )
                .named(name.get_ref(), name.span())
            })
            .collect();
        entries.sort_by_key(|entry| entry.span().start);
        entries
    }

    /// Takes a key as asked for, without reading it.
    pub(super) fn take(&self, name: &str) {
        self.taken.borrow_mut().insert(name.to_owned());
    }

    /// A path of the file, which starts from the file's own folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.document.resolve(path)
    }

    /// Reports a key of this table as invalid for a reason that spans several keys. Always `None`.
    pub(super) fn refuse<T>(
        &self,
        name: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
        hint: &str,
    ) -> Option<T> {
        let words = [found.into(), expected.into()];
        let hint = Some(hint.to_owned());
        let (span, path) = (self.span_of(name), self.path_of(name));
        self.document
            .fault(&span, &path, Problem::Invalid, words, hint);
        None
    }

    /// Takes every key as asked for: another reading of the table reports what is left over.
    pub(super) fn forget_leftovers(&self) {
        let names = self.table.into_iter().flat_map(|table| table.keys());
        let names = names.map(|name| name.get_ref().to_string());
        self.taken.borrow_mut().extend(names);
    }

    /// Notes something allowed that the operator should know of a key of this table.
    pub(super) fn warn(&self, name: &str, text: &str) {
        self.document
            .warn(&self.span_of(name), &self.path_of(name), text);
    }

    /// Reports that a key is required. Always `None`.
    pub(super) fn missing<T>(&self, name: &str) -> Option<T> {
        let kind = self.kind(name);
        let header = match (kind, self.path.as_str()) {
            (Kind::Tables, _) => format!("add [[{}]] with {}", self.pattern_of(name), {
                let below = format!("{}[]", self.pattern_of(name));
                Key::names_below(&below)
                    .filter(|name| {
                        Key::find(&format!("{below}.{name}"))
                            .is_some_and(|key| key.fallback == Fallback::Required)
                    })
                    .collect::<Vec<_>>()
                    .join(", ")
            }),
            (_, "") => format!("add {name}"),
            (_, path) if self.table.is_none() => format!("add it below [{}]", unindexed(path)),
            (_, path) => format!("add {name} to {path}"),
        };
        let words = ["nothing".to_owned(), kind.expected().to_owned()];
        let path = self.path_of(name);
        self.document
            .fault(&self.span, &path, Problem::Missing, words, Some(header));
        None
    }

    fn value(&self, name: &str) -> Option<Value<'a>> {
        self.taken.borrow_mut().insert(name.to_owned());
        self.document.note_read(&self.pattern_of(name));
        let value = self.table?.get(name)?;
        Some(Value::new(
            self.document,
            value.get_ref(),
            value.span(),
            self.path_of(name),
            self.pattern_of(name),
            self.kind(name),
        ))
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let key = Key::find(&self.pattern_of(name));
        debug_assert!(key.is_some(), "{} is not in KEYS", self.pattern_of(name));
        key
    }

    fn kind(&self, name: &str) -> Kind {
        Key::find(&self.pattern_of(name)).map_or(Kind::Text, |key| key.kind)
    }

    fn span_of(&self, name: &str) -> Range<usize> {
        self.table
            .and_then(|table| table.get_key_value(name))
            .map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*');
        let name = match !name.is_empty() && name.chars().all(bare) {
            true => name.to_owned(),
            false => format!("{name:?}"),
        };
        match self.path.as_str() {
            "" => name,
            path => format!("{path}.{name}"),
        }
    }

    fn pattern_of(&self, name: &str) -> String {
        match self.pattern.as_str() {
            "" => name.to_owned(),
            pattern => format!("{pattern}.{name}"),
        }
    }

    fn report_leftovers(&self) {
        let taken = self.taken.borrow();
        let names = self.table.into_iter().flat_map(|table| table.keys());
        for name in names.map(|name| name.get_ref().as_ref()) {
            if !taken.contains(name) {
                self.unknown(name);
            }
        }
    }

    fn unknown(&self, name: &str) {
        let known: Vec<&str> = Key::names_below(&self.pattern).collect();
        let expected = match known.is_empty() {
            true => "no keys".to_owned(),
            false => known.join(", "),
        };
        let hint = match (nearest(name, known.iter().copied()), elsewhere(name)) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, Some(place)) => format!("{name} belongs below {place}"),
            (None, None) => "remove the key, or look it up in the annotated proxy.toml".to_owned(),
        };
        self.document.fault(
            &self.span_of(name),
            &self.path_of(name),
            Problem::Unknown,
            [format!("{name:?}"), expected],
            Some(hint),
        );
    }
}

/// A path without its indices, as a table's header is written.
fn unindexed(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = *c == '[' || (inside && *c != ']');
            !inside && *c != ']'
        })
        .collect()
}
