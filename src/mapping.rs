//! From session claims to user fields, by a directory's mapping. Compiled once when the file is
//! read; `explain` tells every step, and applying a mapping is its result, so both always agree.

mod policy;
mod value;

use crate::config::{self, FieldRule, Missing, Source, Sync, UserField};
use crate::expression::{self, Expression, Subject};
use crate::oidc::{ClaimSet, email_is_verified};

pub use policy::{Settled, settle};
pub use value::{checked as checked_value, text as claim_text};

/// Whether the address in a claim set's `email` may become a username.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Where the claim set says that it is verified.
    Verified,
    /// Always: the operator trusts the provider with `trust_email`.
    Trusted,
}

/// A directory's compiled mapping.
#[derive(Debug, Clone)]
pub struct Mapping {
    rules: Vec<(UserField, FieldRule)>,
}

/// What a mapping makes of a claim set, field by field, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// One entry a mapped field.
    pub fields: Vec<MappedField>,
}

/// One mapped field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedField {
    /// Which field.
    pub field: UserField,
    /// The value; `None` is missing; an error says expected and found, never the value.
    pub value: Result<Option<String>, String>,
    /// The claim it came from, or those that its expression names, with commas between; `None` for a constant or
    /// when none was present.
    pub claim: Option<String>,
    /// When it is written.
    pub sync: Sync,
    /// What it does when missing.
    pub missing: Missing,
}

impl Mapping {
    /// Compiles a directory's mapping.
    pub fn new(directory: &config::SelfProvisioning) -> Self {
        Self {
            rules: directory.mapping.clone(),
        }
    }

    /// Maps a claim set; `subject` is made of the same claims.
    pub fn explain(
        &self,
        claims: &ClaimSet,
        subject: &Subject,
        addresses: Addresses,
    ) -> Explanation {
        let vouched = addresses == Addresses::Trusted || email_is_verified(claims);
        let fields = self.rules.iter().map(|(field, rule)| {
            let mapped = mapped(*field, rule, claims, subject);
            match *field == UserField::Username && !vouched {
                true => without_address(mapped, &rule.source),
                false => mapped,
            }
        });
        Explanation {
            fields: fields.collect(),
        }
    }

    /// The claims a field is looked for in, for a message: `claim "a"`, or `claims "a", "b"`. `None`
    /// for a constant and a field that is not mapped.
    pub fn sources(&self, field: UserField) -> Option<String> {
        let (_, rule) = self.rules.iter().find(|(mapped, _)| *mapped == field)?;
        let names: Vec<&String> = match &rule.source {
            Source::Claims(names) => names.iter().collect(),
            Source::Expression(expression) => expression.claims().iter().collect(),
            Source::Value(_) => return None,
        };
        let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        let noun = if names.len() == 1 { "claim" } else { "claims" };
        Some(format!("{noun} {}", quoted.join(", ")))
    }
}

impl Explanation {
    /// What was made of a field; `None` if it is not mapped.
    pub fn field(&self, field: UserField) -> Option<&MappedField> {
        self.fields.iter().find(|mapped| mapped.field == field)
    }
}

fn mapped(field: UserField, rule: &FieldRule, claims: &ClaimSet, subject: &Subject) -> MappedField {
    let (claim, value) = match &rule.source {
        Source::Value(constant) => (None, constant_value(field, constant)),
        Source::Claims(names) => claimed_value(field, names, claims),
        Source::Expression(expression) => computed_value(field, expression, subject),
    };
    MappedField {
        field,
        value,
        claim,
        sync: rule.sync,
        missing: rule.missing,
    }
}

/// A username that came from an address nobody vouches for: whoever may write any address there could be anybody.
fn without_address(mapped: MappedField, source: &Source) -> MappedField {
    let from_email = match source {
        Source::Claims(_) => mapped.claim.as_deref() == Some("email"),
        Source::Expression(_) => source.reads_email(),
        Source::Value(_) => false,
    };
    match mapped.value {
        Ok(Some(_)) if from_email => MappedField {
            value: Err(format!(
                "{}: expected a verified address in claim \"email\", found that email_verified is not true; verify it at the provider, or set trust_email if the provider verifies all addresses",
                mapped.field.name()
            )),
            ..mapped
        },
        _ => mapped,
    }
}

type Value = Result<Option<String>, String>;

fn constant_value(field: UserField, constant: &str) -> Value {
    match constant {
        "" => Ok(None),
        text => value::checked(field, text.to_owned())
            .map(Some)
            .map_err(|fault| format!("{}: {fault} in its constant", field.name())),
    }
}

/// The first claim that is present decides, also when its value is at fault: another person's value is no
/// substitute for a broken one.
fn claimed_value(field: UserField, names: &[String], claims: &ClaimSet) -> (Option<String>, Value) {
    let present = names.iter().find_map(|name| {
        let text = value::text(claims.get(name)?).transpose()?;
        Some((name, text))
    });
    let Some((name, text)) = present else {
        return (None, Ok(None));
    };
    let value = text
        .and_then(|text| value::checked(field, text))
        .map(Some)
        .map_err(|fault| format!("{}: {fault} in claim {name:?}", field.name()));
    (Some(name.clone()), value)
}

/// Where a claim that it names is missing, an expression that fails is missing too; every other failure is a
/// fault.
fn computed_value(
    field: UserField,
    expression: &Expression,
    subject: &Subject,
) -> (Option<String>, Value) {
    let names: Vec<&str> = expression.claims().iter().map(String::as_str).collect();
    let names = (!names.is_empty()).then(|| names.join(", "));
    let text = match expression.text_of(subject) {
        Ok(Some(text)) => text,
        Ok(None) | Err(expression::Fault::Missing(_)) => return (names, Ok(None)),
        Err(fault) => return (names, Err(format!("{}: {fault}", field.name()))),
    };
    let value = value::checked(field, text)
        .map(Some)
        .map_err(|fault| format!("{}: {fault} in its expression", field.name()));
    (names, value)
}

#[cfg(test)]
mod tests;
