//! From a claim's JSON to a field's text, and what a field's text may be. Faults say expected and found,
//! never the value.

use icu_locale_core::LanguageIdentifier;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use serde_json::Value;

use crate::config::UserField;
use crate::store::{Skeleton, forbidden_character};

/// Characters of a field. WorkflowGen documents no lengths for its user fields; 255 is what it
/// documents for the description of a directory. One limit for all, since usernames may be e-mail addresses
/// (254 characters, RFC 5321 4.5.3.1.3) and even percent-encoded such a value fits a header field.
const LONGEST: usize = 255;

/// A claim's text: null and "" are missing (`None`), numbers and booleans are their JSON text.
///
/// # Errors
/// An array or an object.
pub fn text(claim: &Value) -> Result<Option<String>, String> {
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
///
/// # Errors
/// What was expected and what was found, without the value.
pub fn checked(field: UserField, text: String) -> Result<String, String> {
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
        UserField::TimeZone if !is_time_zone(&text) => {
            return Err(
                "expected a time zone such as Europe/Paris, or the number of one of WorkflowGen's, found something else"
                    .to_owned(),
            );
        }
        // Some providers write `en_US` (OpenID Connect Core 5.1).
        UserField::Language
            if LanguageIdentifier::try_from_str(&text.replace('_', "-")).is_err() =>
        {
            return Err(
                "expected a language such as en or fr-CA (BCP 47), found something else".to_owned(),
            );
        }
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

/// A number of WorkflowGen's own list; a name of the IANA's (at most three parts of letters, digits, `_`, `+` and `-`); or
/// one of Windows', which ends in `Time`. The shape only: lists of names grow, and the application has the last word.
fn is_time_zone(text: &str) -> bool {
    let number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    let windows = |c: char| c.is_ascii_alphabetic() || " .()-".contains(c);
    number
        || ((1..=3).contains(&text.split('/').count()) && text.split('/').all(part))
        || (text.ends_with(" Time") && text.chars().all(windows))
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
    fn time_zones_and_languages_have_their_shapes() {
        for (field, good, bad) in [
            (
                UserField::TimeZone,
                &[
                    "Europe/Paris",
                    "America/Argentina/Ushuaia",
                    "UTC",
                    "Etc/GMT+5",
                    "42",
                    "W. Europe Standard Time",
                ][..],
                &[
                    "Europe/",
                    "/Paris",
                    "a/b/c/d",
                    "123456",
                    "+02:00",
                    "Paris Europe",
                    "Europe/<Paris>",
                ][..],
            ),
            (
                UserField::Language,
                &["en", "fr-CA", "zh-Hant-TW", "en_US", "DE"][..],
                &["English", "f", "fr-", "fr CA", "en-GB-oxendict-"][..],
            ),
        ] {
            for text in good {
                assert_eq!(checked(field, (*text).to_owned()), Ok((*text).to_owned()));
            }
            for text in bad {
                checked(field, (*text).to_owned()).unwrap_err();
            }
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
