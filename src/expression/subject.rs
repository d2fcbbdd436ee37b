//! Somebody as expressions see them: `claims` and `user`, converted once for all expressions of a sign-in.
//!
//! Whole numbers are CEL's `int`, which its operators and literals are, unless they are too large for it.

use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Value};
use serde_json::Value as Json;

/// The variables `claims` and `user`.
#[derive(Debug, Clone)]
pub struct Subject {
    claims: Map,
    user: Map,
}

impl Subject {
    /// Somebody with these claims and no user fields.
    pub fn of_claims(claims: &serde_json::Map<String, Json>) -> Self {
        Self {
            claims: object(claims),
            user: Map {
                map: Arc::default(),
            },
        }
    }

    /// The same somebody, as the user with these fields.
    #[must_use]
    pub fn as_user<'a>(&self, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let fields = fields.map(|(name, value)| (key(name), text(value)));
        Self {
            claims: self.claims.clone(),
            user: Map {
                map: Arc::new(fields.collect()),
            },
        }
    }

    pub(super) fn bind(&self, context: &mut Context<'_, '_>) {
        context.add_variable_from_value("claims", Value::Map(self.claims.clone()));
        context.add_variable_from_value("user", Value::Map(self.user.clone()));
    }

    /// Whether the user has a value in a field.
    pub(super) fn has_field(&self, field: &str) -> bool {
        self.user.map.contains_key(&key(field))
    }

    /// Whether a claim is absent, null or "".
    pub(super) fn lacks(&self, claim: &str) -> bool {
        match self.claims.map.get(&key(claim)) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
        }
    }
}

fn key(name: &str) -> Key {
    Key::String(Arc::new(name.to_owned()))
}

fn text(value: &str) -> Value {
    Value::String(Arc::new(value.to_owned()))
}

fn object(object: &serde_json::Map<String, Json>) -> Map {
    let entries = object.iter().map(|(name, json)| (key(name), value(json)));
    Map {
        map: Arc::new(entries.collect::<HashMap<_, _>>()),
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::String(string) => text(string),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(value).collect())),
        Json::Object(entries) => Value::Map(object(entries)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}
