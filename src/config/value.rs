//! One value of the file, and the forms that values take: words, numbers, durations, sizes, lists.
//!
//! Apart from `file`, which finds values and knows no forms. Every method gives `None` after it has
//! noted a fault, so a reader goes on to the next key and the operator sees all faults at once.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeValue;

use super::document::Document;
use super::fault::Problem;
use super::file::Section;
use super::keys::Kind;
use super::literal::describe;
use super::slip::nearest;
use super::unit::{parse_duration, parse_size, show_duration, show_size};

/// A value with its place in the file.
pub(super) struct Value<'v> {
    document: &'v Document<'v>,
    value: &'v DeValue<'v>,
    span: Range<usize>,
    path: String,
    pattern: String,
    kind: Kind,
    name: String,
    name_span: Range<usize>,
}

impl<'v> Value<'v> {
    pub(super) fn new(
        document: &'v Document<'v>,
        value: &'v DeValue<'v>,
        span: Range<usize>,
        path: String,
        pattern: String,
        kind: Kind,
    ) -> Self {
        Self {
            document,
            value,
            name_span: span.clone(),
            span,
            path,
            pattern,
            kind,
            name: String::new(),
        }
    }

    /// Remembers the free name that the file gives this value.
    pub(super) fn named(mut self, name: &str, span: Range<usize>) -> Self {
        self.name = name.to_owned();
        self.name_span = span;
        self
    }

    /// The free name that the file gives this value.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    pub(super) fn document(&self) -> &'v Document<'v> {
        self.document
    }

    /// Reports the value as invalid. Always `None`.
    pub(super) fn refuse<T>(&self, expected: impl Into<String>, hint: &str) -> Option<T> {
        self.refuse_found(describe(self.value, self.kind), expected, hint)
    }

    /// As `refuse`, with other words for what was found. An empty hint is none.
    pub(super) fn refuse_found<T>(
        &self,
        found: impl Into<String>,
        expected: impl Into<String>,
        hint: &str,
    ) -> Option<T> {
        self.report(Problem::Invalid, found.into(), expected.into(), hint)
    }

    /// As `refuse_found`, at a place inside of the string: so many characters from its beginning. Where the string
    /// has escapes its characters cannot be counted in the file, and the fault is told at its beginning.
    pub(super) fn refuse_inside<T>(
        &self,
        characters: usize,
        [found, expected]: [String; 2],
        hint: &str,
    ) -> Option<T> {
        let raw = self.document.source_of(&self.span);
        let plain = self.as_text().filter(|text| {
            let quoted = raw.get(1..raw.len().saturating_sub(1));
            quoted == Some(text) && raw.starts_with(['"', '\''])
        });
        let inside = plain.and_then(|text| text.char_indices().nth(characters));
        let offset = inside.map_or(0, |(offset, _)| offset + 1);
        let at = self.span.start + offset..self.span.end;
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let problem = Problem::Invalid;
        self.document
            .fault(&at, &self.path, problem, [found, expected], hint);
        None
    }

    /// Reports that no key has the free name that the file gives this value. Always `None`.
    pub(super) fn unknown<T>(&self, expected: impl Into<String>, hint: &str) -> Option<T> {
        let words = [format!("{:?}", self.name), expected.into()];
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.document
            .fault(&self.name_span, &self.path, Problem::Unknown, words, hint);
        None
    }

    fn report<T>(
        &self,
        problem: Problem,
        found: String,
        expected: String,
        hint: &str,
    ) -> Option<T> {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.document
            .fault(&self.span, &self.path, problem, [found, expected], hint);
        None
    }

    /// Notes something allowed that the operator should know.
    pub(super) fn warn(&self, text: &str) {
        self.document.warn(&self.span, &self.path, text);
    }

    /// The string, without a fault if it is none.
    pub(super) fn as_text(&self) -> Option<&'v str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    pub(super) fn text(&self) -> Option<&'v str> {
        match self.as_text() {
            Some(text) => Some(text),
            None => self.refuse(self.kind.expected(), "write it in quotes"),
        }
    }

    /// A string with something in it and no control characters.
    pub(super) fn name_text(&self) -> Option<String> {
        let text = self.text()?;
        match !text.trim().is_empty() && !text.chars().any(char::is_control) {
            true => Some(text.to_owned()),
            false => self.refuse("a string that is not empty, without control characters", ""),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(truth) => Some(*truth),
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => {
                self.refuse("true or false", "write it without quotes")
            }
            _ => self.refuse("true or false", ""),
        }
    }

    pub(super) fn number(&self, range: RangeInclusive<u64>, word: Option<&str>) -> Option<u64> {
        let number = match self.value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let numbers = format!("a whole number from {} to {}", range.start(), range.end());
        let expected = match word {
            Some(word) => format!("{word:?} or {numbers}"),
            None => numbers,
        };
        let in_quotes = self
            .as_text()
            .is_some_and(|text| text.parse::<u64>().is_ok());
        let hint = match in_quotes {
            true => "write it without quotes",
            false => "",
        };
        self.refuse(expected, hint)
    }

    /// One of `words`.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = self.as_text();
        if let Some((_, choice)) = words.iter().find(|(word, _)| found == Some(word)) {
            return Some(*choice);
        }
        let expected: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let near = found.and_then(|found| nearest(found, words.iter().map(|(word, _)| *word)));
        let hint = near.map_or_else(String::new, |near| format!("did you mean {near:?}?"));
        self.refuse(expected.join(" or "), &hint)
    }

    /// A duration such as `"90s"`, within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let parsed = self.as_text().map(parse_duration);
        let expected = format!(
            "a duration from \"{}\" to \"{}\", such as \"90s\", \"10m\", \"10h\" or \"400d\"",
            show_duration(*range.start()),
            show_duration(*range.end()),
        );
        match parsed {
            Some(Ok(duration)) if range.contains(&duration) => Some(duration),
            Some(Ok(_)) => self.refuse(expected, ""),
            Some(Err(hint)) => self.refuse(expected, hint),
            None => self.refuse(expected, "write the unit too, in quotes: \"90s\""),
        }
    }

    /// A size such as `"32 KiB"` in bytes, within `range`; `word` is allowed in its place.
    pub(super) fn size(&self, range: RangeInclusive<u64>, word: Option<&str>) -> Option<u64> {
        let parsed = self.as_text().map(parse_size);
        let sizes = format!(
            "a size from \"{}\" to \"{}\"",
            show_size(*range.start()),
            show_size(*range.end())
        );
        let expected = match word {
            Some(word) => format!("{word:?} or {sizes}"),
            None => sizes,
        };
        match parsed {
            Some(Ok(size)) if range.contains(&size) => Some(size),
            Some(Ok(_)) => self.refuse(expected, ""),
            Some(Err(hint)) => self.refuse(expected, hint),
            None => self.refuse(expected, "write the unit too, in quotes: \"32 KiB\""),
        }
    }

    /// A list, each item read by `read`. Every item's faults are noted; `None` if there was one.
    pub(super) fn items<T>(&self, mut read: impl FnMut(&Value<'v>) -> Option<T>) -> Option<Vec<T>> {
        let DeValue::Array(items) = self.value else {
            let hint = match (self.kind, self.value) {
                (Kind::Tables, DeValue::Table(_)) => {
                    format!("write the header in double brackets: [[{}]]", self.path)
                }
                (Kind::List, DeValue::String(_)) => "write it in [ ]".to_owned(),
                _ => String::new(),
            };
            return self.refuse(self.kind.expected(), &hint);
        };
        let kind = match self.kind {
            Kind::Tables => Kind::Table,
            _ => Kind::Text,
        };
        let results: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(place, item)| {
                read(&Value::new(
                    self.document,
                    item.get_ref(),
                    item.span(),
                    format!("{}[{place}]", self.path),
                    format!("{}[]", self.pattern),
                    kind,
                ))
            })
            .collect();
        results.into_iter().collect()
    }

    /// A list of different strings, each read by `read`.
    pub(super) fn set<T>(&self, mut read: impl FnMut(&Value<'v>) -> Option<T>) -> Option<Vec<T>> {
        let mut seen = Vec::new();
        self.items(|item| {
            let text = item.text()?;
            if seen.contains(&text) {
                return item.refuse("each entry once", "remove the second one");
            }
            seen.push(text);
            read(item)
        })
    }

    /// The table that this value is.
    pub(super) fn section<T>(&self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        let DeValue::Table(table) = self.value else {
            return self.refuse(self.kind.expected(), "");
        };
        let span = self.span.clone();
        Section::new(self.document, Some(table), span, &self.path, &self.pattern).read(read)
    }

    /// The entries of a table whose names the caller checks; `None` without a fault if it is no table.
    pub(super) fn as_entries(&self) -> Option<Vec<(&'v str, Value<'v>)>> {
        let DeValue::Table(table) = self.value else {
            return None;
        };
        let entry = |name: &'v str, value: &'v DeValue<'v>, span| {
            let path = format!("{}.{name}", self.path);
            let pattern = format!("{}.{name}", self.pattern);
            Value::new(self.document, value, span, path, pattern, Kind::Text)
        };
        let entries = table.iter().map(|(name, value)| {
            let name = name.get_ref().as_ref();
            (name, entry(name, value.get_ref(), value.span()))
        });
        Some(entries.collect())
    }
}
