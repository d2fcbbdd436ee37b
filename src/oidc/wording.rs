//! How faults speak of what a provider sent: protocol values only, cleaned of what could forge a log
//! line or flood it; of every other claim the JSON type alone.

use serde_json::Value;

/// Longest protocol value that a fault repeats, in characters.
const SHOWN: usize = 200;

/// Longest error code that is kept, in characters.
const ERROR_CODE: usize = 64;

/// A protocol value as a fault may show it.
pub(super) fn cleaned(value: &str) -> String {
    let mut characters = value.chars();
    let mut text: String = characters
        .by_ref()
        .take(SHOWN)
        .map(|character| match character.is_control() {
            true => '\u{fffd}',
            false => character,
        })
        .collect();
    if characters.next().is_some() {
        text.push('…');
    }
    text
}

/// An OAuth error code (RFC 6749 4.1.2.1, 5.2): visible ASCII, at most 64 characters.
pub(super) fn error_code(code: &str) -> String {
    let code: String = code
        .chars()
        .filter(char::is_ascii_graphic)
        .take(ERROR_CODE)
        .collect();
    match code.is_empty() {
        true => "an error without a code".to_owned(),
        false => code,
    }
}

/// What a JSON value is, without the value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_can_forge_a_line_or_flood_it() {
        assert_eq!(cleaned("a\r\nb\u{1b}[0m"), "a\u{fffd}\u{fffd}b\u{fffd}[0m");
        assert_eq!(cleaned(&"x".repeat(5000)).chars().count(), SHOWN + 1);
        assert_eq!(error_code("access_denied"), "access_denied");
        assert_eq!(error_code("a b\nc\u{e9}"), "abc");
        assert_eq!(error_code(&"x".repeat(5000)).len(), ERROR_CODE);
        assert_eq!(error_code("\n"), "an error without a code");
    }
}
