//! From a claim's JSON to a field's text, and what a field's text may be. Faults say expected and found,
//! never the value.

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use serde_json::Value;

use crate::config::UserField;
use crate::store::{Skeleton, forbidden_character};

/// Characters of a field. WorkflowGen documents no lengths for its user fields; 255 is what it
/// documents for the description of a directory. One limit for all, since usernames may be e-mail addresses
/// (254 characters, RFC 5321 4.5.3.1.3) and even percent-encoded such a value fits a header field.
const LONGEST: usize = 255;

/// Absent, null and "" are missing; numbers and booleans are their JSON text.
pub(super) fn text(claim: &Value) -> Result<Option<String>, String> {
    match claim {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) => Ok(Some(claim.to_string())),
        Value::Array(_) => Err("expected text, found an array".to_owned()),
        Value::Object(_) => Err("expected text, found an object".to_owned()),
    }
}

/// `text` if the field may have it.
pub(super) fn checked(field: UserField, text: String) -> Result<String, String> {
    let length = text.chars().count();
    if length > LONGEST {
        return Err(format!(
            "expected at most {LONGEST} characters, found {length}"
        ));
    }
    if text.chars().any(is_control) {
        return Err("expected text without control characters, found one".to_owned());
    }
    match field {
        UserField::Username => checked_username(&text)?,
        UserField::Email if !is_email_address(&text) => {
            return Err(
                "expected one e-mail address with a single @, found something else".to_owned(),
            );
        }
        _ => {}
    }
    Ok(text)
}

fn is_control(c: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::Control
}

fn checked_username(text: &str) -> Result<(), String> {
    if let Some(found) = forbidden_character(text) {
        return Err(format!("expected a username, found {found}"));
    }
    match Skeleton::of(text).is_empty() {
        true => {
            Err("expected a username, found only spaces, marks or invisible characters".to_owned())
        }
        false => Ok(()),
    }
}

/// One addr-spec of RFC 5322 3.4.1 without quoting, comments and folding, letters and digits of all
/// scripts (RFC 6531): whatever reads it later finds the same one address in it.
fn is_email_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let local_character = |c: char| c.is_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(c);
    let label = |label: &str| {
        (1..=63).contains(&label.chars().count())
            && label.chars().all(is_label_character)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.chars().count() <= 254
        && (1..=64).contains(&local.chars().count())
        && local.chars().all(local_character)
        && domain.split('.').all(label)
}

/// Marks belong to the letters of many scripts.
fn is_label_character(c: char) -> bool {
    use icu_properties::props::GeneralCategoryGroup;
    c == '-'
        || c.is_alphanumeric()
        || GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lesson_28_an_email_is_one_address() {
        for good in [
            "alice@example.com",
            "alice+tag@sub.example.com",
            "o'brien@example.com",
            "jörg@bücher.example",
            "a@localhost",
            "first.last@a-b.example",
        ] {
            assert!(is_email_address(good), "{good}");
        }
        for bad in [
            "",
            "@",
            "alice",
            "alice@",
            "@example.com",
            "alice@example.com@evil.example",
            "alice@evil.example\u{ff20}example.com",
            "alice@example.com,bob@example.com",
            "alice@example.com;bob",
            "alice@example.com bob@example.com",
            " alice@example.com",
            "alice@example.com ",
            "<alice@example.com>",
            "Alice <alice@example.com>",
            "\"alice@evil.example\"@example.com",
            "alice@[127.0.0.1]",
            "alice@example..com",
            "alice@example.com.",
            "alice@-example.com",
            "alice(comment)@example.com",
            "alice@exa mple.com",
            "alice@example.com\u{200b}",
            "alice@exam\u{202e}ple.com",
        ] {
            assert!(!is_email_address(bad), "{bad}");
        }
    }

    #[test]
    fn limits_length_by_characters() {
        let longest = "é".repeat(LONGEST);
        assert_eq!(
            checked(UserField::Name, longest.clone()),
            Ok(longest.clone())
        );
        assert_eq!(
            checked(UserField::Name, longest + "e"),
            Err("expected at most 255 characters, found 256".to_owned())
        );
    }

    proptest! {
        #[test]
        fn an_accepted_email_has_one_at_and_nothing_that_splits_it(text in "[a-z@.,;<>\" \\[\\]\\PC]{0,20}") {
            if let Ok(text) = checked(UserField::Email, text) {
                prop_assert_eq!(text.matches('@').count(), 1);
                let splits = |c: char| c.is_whitespace() || ",;<>\"()[]\\:".contains(c);
                prop_assert!(!text.contains(splits));
            }
        }

        #[test]
        fn no_accepted_value_holds_a_control_character(text in "(?s).{0,20}", field in 0..UserField::ALL.len()) {
            if let Ok(text) = checked(UserField::ALL[field], text) {
                prop_assert!(!text.contains(char::is_control));
            }
        }

        #[test]
        fn an_accepted_username_names_somebody(text in "(?s).{0,20}") {
            if let Ok(text) = checked(UserField::Username, text) {
                prop_assert!(!Skeleton::of(&text).is_empty());
            }
        }
    }
}
