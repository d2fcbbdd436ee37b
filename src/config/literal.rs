//! TOML values as text, as faults may show them.

use toml::de::DeValue;

use super::keys::Kind;

/// A value as faults show it: shortened, and never what may be a secret.
pub(super) fn describe(value: &DeValue<'_>, kind: Kind) -> String {
    match value {
        DeValue::String(_) if kind == Kind::Secret => "a string (not shown)".to_owned(),
        DeValue::String(text) => {
            let shown = without_userinfo(text);
            match shown.chars().count() {
                0..=80 => format!("{shown:?}"),
                _ => format!("{:?}…", shown.chars().take(80).collect::<String>()),
            }
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => match items.len() {
            0 => "an empty list".to_owned(),
            1 => "a list of one".to_owned(),
            many => format!("a list of {many}"),
        },
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A URL's user and password are left out: they may be real.
fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => text.to_owned(),
    }
}
