//! Any text is an expression or has its slips, and comes to something on any claims.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::expression::{Expression, Scope, Subject};

const FIELDS: &[&str] = &["username", "department"];

fuzz_target!(|input: (&str, &[u8])| {
    let (text, claims) = input;
    let expression = match Expression::compile(text, Scope::ClaimsAndUser(FIELDS)) {
        Ok(expression) => expression,
        Err(slips) => return assert!(!slips.is_empty()),
    };
    let claims = serde_json::from_slice(claims).unwrap_or_default();
    let subject = Subject::of_claims(&claims).as_user([("username", "ada")].into_iter());
    let _ = expression.text_of(&subject);
    let _ = expression.holds(&subject);
});
