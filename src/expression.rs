//! Expressions of the operator's file in CEL, the Common Expression Language, with its strings extension: what a
//! mapping computes, which directory takes whom, and who may come in.
//!
//! Compiled once when the file is read, so that a slip points into the file; evaluated at sign-ins, on threads
//! with a deep stack. The crate knows no step limit: length, nesting and comprehensions are bounded here. No message
//! holds a claim's value.

mod names;
mod subject;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, Program, Value};

pub use subject::Subject;

/// Bytes of an expression: a longer one could overflow the parser's stack.
const LONGEST: usize = 1000;
/// How deep parentheses, lists and calls nest.
const DEEPEST: u16 = 24;

/// The language: CEL's own functions, and those of the strings extension.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut language = Env::stdlib();
    // It fails for a function that is there twice; a test evaluates one of them.
    let _ = language.add_extension(cel::extensions::strings);
    Arc::new(language)
});

/// The variables that an expression may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// `claims`: the session claims.
    Claims,
    /// `claims`, and `user` with fields of these names.
    ClaimsAndUser(&'a [&'static str]),
}

/// A compiled expression; clones share it.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: String,
    program: Program,
    claims: BTreeSet<String>,
    fields: BTreeSet<String>,
}

/// A fault of an expression's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slip {
    /// Where, in characters from the text's beginning.
    pub at: usize,
    /// What stands there.
    pub found: String,
    /// What may.
    pub expected: String,
    /// What to do; empty if nothing is known.
    pub hint: String,
}

/// An expression that came to no value for somebody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It failed, and a claim that it names is absent, null or empty.
    #[error("claim {0:?} is missing")]
    Missing(String),
    /// It failed, and a user field that it names is empty.
    #[error("user field {0} is empty")]
    Empty(String),
    /// It failed on what the claims hold.
    #[error("the expression failed: {0}")]
    Failed(String),
    /// It came to something else than what is expected of it.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// Such as `true or false`.
        expected: &'static str,
        /// Such as `a list`.
        found: &'static str,
    },
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Every [`Slip`] of the text that can be told at once, in the order of their places.
    pub fn compile(text: &str, scope: Scope<'_>) -> Result<Self, Vec<Slip>> {
        if text.len() > LONGEST {
            return Err(vec![Slip {
                at: 0,
                found: format!("{} bytes", text.len()),
                expected: format!("an expression of at most {LONGEST} bytes"),
                hint: "let the provider compute the claim".to_owned(),
            }]);
        }
        names::check_nesting(text, DEEPEST)?;
        let program = LANGUAGE.compile(text).map_err(|faults| {
            let slips = faults.errors.iter().map(|fault| slip(text, fault));
            slips.collect::<Vec<_>>()
        })?;
        let names = names::of(&program, scope)?;
        Ok(Self(Arc::new(Compiled {
            text: text.to_owned(),
            program,
            claims: names.claims,
            fields: names.fields,
        })))
    }

    /// As the file has it.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The claims that it names.
    pub fn claims(&self) -> &BTreeSet<String> {
        &self.0.claims
    }

    /// The user fields that it names.
    pub fn user_fields(&self) -> &BTreeSet<String> {
        &self.0.fields
    }

    /// Whether every claim and user field that it names is there; only then is its verdict on half of what is known
    /// that on all of it.
    pub fn is_told_all(&self, subject: &Subject) -> bool {
        let lacks = |claim: &String| subject.lacks(claim);
        let has = |field: &String| subject.has_field(field);
        !self.0.claims.iter().any(lacks) && self.0.fields.iter().all(has)
    }

    /// The text that it comes to for somebody: numbers and booleans are their JSON text, null and "" are `None`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn text_of(&self, subject: &Subject) -> Result<Option<String>, Fault> {
        let text = match self.value(subject)? {
            Value::Null => return Ok(None),
            Value::String(text) => text.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Int(number) => number.to_string(),
            Value::UInt(number) => number.to_string(),
            Value::Float(number) => serde_json::json!(number).to_string(),
            other => {
                return Err(Fault::Kind {
                    expected: "text",
                    found: kind(&other),
                });
            }
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Whether it holds for somebody.
    ///
    /// # Errors
    /// [`Fault`]; whoever asks takes that for no.
    pub fn holds(&self, subject: &Subject) -> Result<bool, Fault> {
        match self.value(subject)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(Fault::Kind {
                expected: "true or false",
                found: kind(&other),
            }),
        }
    }

    fn value(&self, subject: &Subject) -> Result<Value, Fault> {
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        subject.bind(&mut context);
        self.0.program.execute(&context).map_err(|fault| {
            let missing = self.0.claims.iter().find(|claim| subject.lacks(claim));
            let empty = self.0.fields.iter().find(|field| !subject.has_field(field));
            match (missing, empty) {
                (Some(claim), _) => Fault::Missing(claim.clone()),
                (None, Some(field)) => Fault::Empty(field.clone()),
                (None, None) => Fault::Failed(words(&fault)),
            }
        })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expression {}

/// What the parser says, at a place in characters; its lines count from 1, its columns from 0 or 1.
fn slip(text: &str, fault: &cel::ParseError) -> Slip {
    let (line, column) = fault.pos;
    let line = usize::try_from(line - 1).unwrap_or_default();
    let before: usize = text
        .split_inclusive('\n')
        .take(line)
        .map(|line| line.chars().count())
        .sum();
    let column = usize::try_from(column - 1).unwrap_or_default();
    Slip {
        at: (before + column).min(text.chars().count()),
        found: fault.msg.lines().collect::<Vec<_>>().join(" "),
        expected: "an expression in CEL".to_owned(),
        hint: "for example claims.given_name + \" \" + claims.family_name; text is in quotes"
            .to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) => "an object",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "text",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
        Value::Opaque(_) => "an optional value: end with .orValue(\"\")",
        _ => "something else",
    }
}

/// The crate's own words hold values; these do not.
fn words(fault: &ExecutionError) -> String {
    match fault {
        ExecutionError::NoSuchOverload(overload) => format!(
            "{} does not take ({})",
            overload.function(),
            overload.argument_types().join(", ")
        ),
        ExecutionError::FunctionError { function, .. } => {
            format!("{function} does not work on what it was given")
        }
        ExecutionError::UndeclaredReference(name) => format!("{name} is not known"),
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        ExecutionError::NoSuchKey(_) => "a name is not there".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "a list is shorter than that".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        _ => "its parts do not fit together".to_owned(),
    }
}

#[cfg(test)]
mod tests;
