//! What is wrong with a configuration file, and how an operator is told.
//!
//! Apart from the reader because the command line prints faults and tests compare them. A fault never
//! shows the file's own line: a secret may stand on it by mistake.

use std::fmt;
use std::path::PathBuf;

/// One fault of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1; 0 when the file as a whole is at fault.
    pub line: usize,
    /// Column in characters, from 1; 0 when the file as a whole is at fault.
    pub column: usize,
    /// The key's path, such as `providers[1].name`; empty when the file as a whole is at fault.
    pub key: String,
    /// What kind of fault it is.
    pub problem: Problem,
    /// What the file says; never a secret.
    pub found: String,
    /// What it may say.
    pub expected: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The file cannot be read.
    Unreadable,
    /// The file is not TOML.
    Syntax,
    /// A required key is missing.
    Missing,
    /// There is no such key.
    Unknown,
    /// Wrong type, out of range, or at odds with another key.
    Invalid,
}

/// Every fault of a configuration file, in its order. `Display` is the text for the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub list: Vec<Fault>,
}

impl Problem {
    fn says(self) -> &'static str {
        match self {
            Problem::Unreadable => "the file cannot be read",
            Problem::Syntax => "this is not TOML",
            Problem::Missing => "is missing",
            Problem::Unknown => "is no key",
            Problem::Invalid => "is not valid",
        }
    }
}

impl Faults {
    /// The faults as text; `colour` adds ANSI colours for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let [red, blue, off] = match colour {
            true => ["\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"],
            false => [""; 3],
        };
        let mut text = String::new();
        for fault in &self.list {
            let place = self.place(fault);
            let subject = match fault.key.is_empty() {
                true => String::new(),
                false => format!("{} ", fault.key),
            };
            let problem = fault.problem.says();
            text += &format!("{red}error:{off} {place}: {subject}{problem}\n");
            text += &format!("  found:    {}\n", fault.found);
            text += &format!("  expected: {}\n", fault.expected);
            if let Some(hint) = &fault.hint {
                text += &format!("{blue}hint:{off} {hint}\n");
            }
        }
        text
    }

    fn place(&self, fault: &Fault) -> String {
        match fault.line {
            0 => self.file.display().to_string(),
            line => format!("{}:{line}:{}", self.file.display(), fault.column),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}
