//! Expressions of the file, and `[access]`: compiled here, so that a slip points to its place.

use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{AccessRule, UserField};
use crate::expression::{Expression, Scope};

/// Characters of a message; a page is no place for more.
const LONGEST_MESSAGE: usize = 500;

/// An expression over `claims`.
pub(super) fn over_claims(value: &Value<'_>) -> Option<Expression> {
    expression(value, Scope::Claims)
}

/// An expression over `claims` and `user`.
pub(super) fn over_claims_and_user(value: &Value<'_>) -> Option<Expression> {
    let fields: Vec<&'static str> = UserField::ALL.iter().map(|field| field.name()).collect();
    expression(value, Scope::ClaimsAndUser(&fields))
}

/// The same, where "" is none.
pub(super) fn optional(
    value: &Value<'_>,
    read: impl FnOnce(&Value<'_>) -> Option<Expression>,
) -> Option<Option<Expression>> {
    match value.as_text() {
        Some("") => Some(None),
        _ => read(value).map(Some),
    }
}

fn expression(value: &Value<'_>, scope: Scope<'_>) -> Option<Expression> {
    let text = value.text()?;
    match Expression::compile(text, scope) {
        Ok(expression) => Some(expression),
        Err(slips) => {
            for slip in slips {
                value.refuse_inside::<()>(slip.at, [slip.found, slip.expected], &slip.hint);
            }
            None
        }
    }
}

/// `access.rules`.
pub(super) fn access(section: &Section<'_>) -> Option<Vec<AccessRule>> {
    section.tables("rules", |_, section| {
        let require = section.get("require", over_claims_and_user);
        let message = section.optional("message", message);
        Some(AccessRule {
            require: require?,
            message: message?,
        })
    })
}

fn message(value: &Value<'_>) -> Option<String> {
    let message = value.name_text()?;
    match message.chars().count() <= LONGEST_MESSAGE {
        true => Some(message),
        false => value.refuse(format!("at most {LONGEST_MESSAGE} characters"), ""),
    }
}
