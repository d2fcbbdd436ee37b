//! The file being read: its text, and the faults, warnings and keys seen in it so far.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::fault::{Fault, Problem};
use super::file::Section;

/// The file being read, and what was seen in it so far.
pub(super) struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) source: &'a str,
    pub(super) faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<(usize, String)>>,
    keys_read: RefCell<BTreeSet<String>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, source: &'a str) -> Self {
        Self {
            file,
            source,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            keys_read: RefCell::default(),
        }
    }

    /// Parses the text and walks it by `read`, which gets the top table. Faults are left in `self`.
    pub(super) fn walk<T>(&self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        let (top, errors) = DeTable::parse_recoverable(self.source);
        for error in &errors {
            self.syntax(error);
        }
        // A table that was cut short would give faults that are none.
        if !errors.is_empty() {
            return None;
        }
        Section::new(self, Some(top.get_ref()), 0..0, "", "").read(read)
    }

    /// One slip gives many errors on its line; the first is the one to mend.
    fn syntax(&self, error: &toml::de::Error) {
        let at = error.span().map_or(self.source.len(), |span| span.start);
        let (line, column) = self.position(at);
        let mut faults = self.faults.borrow_mut();
        if faults.iter().any(|fault| fault.line == line) {
            return;
        }
        faults.push(Fault {
            line,
            column,
            key: String::new(),
            problem: Problem::Syntax,
            found: error.message().lines().collect::<Vec<_>>().join(" "),
            expected: "TOML 1.0: [table] headers and key = value lines".to_owned(),
            hint: Some(
                "strings are in quotes, lists in [ ]; other faults are looked for once the file is TOML"
                    .to_owned(),
            ),
        });
    }

    /// What the file says there; a default is not there.
    pub(super) fn source_of(&self, span: &Range<usize>) -> &str {
        self.source.get(span.clone()).unwrap_or_default()
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[start..].chars().count() + 1)
    }

    pub(super) fn fault(
        &self,
        span: &Range<usize>,
        key: &str,
        problem: Problem,
        [found, expected]: [String; 2],
        hint: Option<String>,
    ) {
        let (line, column) = self.position(span.start);
        self.faults.borrow_mut().push(Fault {
            line,
            column,
            key: key.to_owned(),
            problem,
            found,
            expected,
            hint,
        });
    }

    pub(super) fn warn(&self, span: &Range<usize>, key: &str, text: &str) {
        let (line, column) = self.position(span.start);
        let file = self.file.display();
        self.warnings
            .borrow_mut()
            .push((span.start, format!("{file}:{line}:{column}: {key}: {text}")));
    }

    /// The warnings so far, in the file's order.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.take();
        warnings.sort();
        warnings.into_iter().map(|(_, text)| text).collect()
    }

    pub(super) fn note_read(&self, pattern: &str) {
        self.keys_read.borrow_mut().insert(pattern.to_owned());
    }

    /// The patterns of every key that was asked for.
    #[cfg(test)]
    pub(super) fn keys_read(&self) -> BTreeSet<String> {
        self.keys_read.borrow().clone()
    }
}
