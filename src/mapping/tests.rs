use serde_json::json;

use super::*;
use crate::expression::Scope;

fn mapping(rules: &[(UserField, Source)]) -> Mapping {
    Mapping {
        rules: rules
            .iter()
            .map(|(field, source)| {
                let rule = FieldRule {
                    source: source.clone(),
                    sync: Sync::Always,
                    missing: Missing::Keep,
                };
                (*field, rule)
            })
            .collect(),
    }
}

fn claims(names: &[&str]) -> Source {
    Source::Claims(names.iter().map(|name| (*name).to_owned()).collect())
}

fn set(value: serde_json::Value) -> ClaimSet {
    value.as_object().unwrap().clone()
}

fn value_of(source: Source, claims: serde_json::Value) -> Value {
    one(UserField::Department, source, claims).value
}

fn one(field: UserField, source: Source, claims: serde_json::Value) -> MappedField {
    let claims = set(claims);
    mapping(&[(field, source)])
        .explain(&claims, &Subject::of_claims(&claims), Addresses::Verified)
        .fields
        .remove(0)
}

#[test]
fn takes_claim_names_to_the_letter() {
    let odd = "https://example.com/a.b/dept";
    assert_eq!(
        value_of(claims(&[odd]), json!({odd: "Sales", "dept": "no"})),
        Ok(Some("Sales".into()))
    );
    assert_eq!(
        value_of(claims(&["a.b"]), json!({"a": {"b": "no"}})),
        Ok(None)
    );
    assert_eq!(value_of(claims(&["dept"]), json!({"Dept": "no"})), Ok(None));
}

#[test]
fn the_first_present_of_a_list_wins() {
    let list = || claims(&["one", "two", "three"]);
    let found = one(
        UserField::Department,
        list(),
        json!({"one": "", "two": null, "three": "3"}),
    );
    assert_eq!(found.value, Ok(Some("3".into())));
    assert_eq!(found.claim.as_deref(), Some("three"));
    let missing = one(UserField::Department, list(), json!({"one": ""}));
    assert_eq!((missing.value, missing.claim), (Ok(None), None));
}

#[test]
fn a_faulty_claim_is_not_passed_over() {
    let found = one(
        UserField::Department,
        claims(&["one", "two"]),
        json!({"one": ["secret"], "two": "x"}),
    );
    assert_eq!(
        found.value,
        Err("department: expected text, found an array in claim \"one\"".into())
    );
    assert_eq!(found.claim.as_deref(), Some("one"));
}

#[test]
fn numbers_and_booleans_become_their_json_text() {
    for (claim, text) in [
        (json!(42), "42"),
        (json!(-1.5), "-1.5"),
        (
            json!(18_446_744_073_709_551_615_u64),
            "18446744073709551615",
        ),
        (json!(true), "true"),
        (json!(false), "false"),
        (json!(0), "0"),
    ] {
        assert_eq!(
            value_of(claims(&["c"]), json!({"c": claim})),
            Ok(Some(text.into()))
        );
    }
}

#[test]
fn faults_name_field_and_claim_and_never_the_value() {
    let long = "v".repeat(300);
    for (field, claim) in [
        (UserField::Email, json!("hunter2@a@b")),
        (UserField::Name, json!({"hunter2": "hunter2"})),
        (UserField::Name, json!("hunter2\n")),
        (UserField::Name, json!("hunter2\u{85}")),
        (UserField::Username, json!("hunter2\u{202e}")),
        (UserField::Username, json!("hunter2\u{378}")),
        (UserField::Username, json!(" \u{301}")),
        (UserField::Phone, json!(format!("hunter2{long}"))),
    ] {
        let fault = one(field, claims(&["c"]), json!({"c": claim}))
            .value
            .unwrap_err();
        assert!(fault.starts_with(field.name()), "{fault}");
        assert!(
            fault.contains("expected") && fault.contains("found"),
            "{fault}"
        );
        assert!(fault.ends_with("in claim \"c\""), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}

#[test]
fn a_constant_comes_from_no_claim() {
    let found = one(
        UserField::Company,
        Source::Value("Example Ltd".into()),
        json!({}),
    );
    assert_eq!(found.value, Ok(Some("Example Ltd".into())));
    assert_eq!(found.claim, None);
}

/// Every policy against a claim that is present, empty, null or absent, on a user who is created, or is known
/// with the field filled or empty.
#[test]
fn lesson_16_sync_and_missing_have_one_truth_table() {
    use Settled::{Clear, Deny, Keep, Write};
    let situations = [(true, false), (false, true), (false, false)];
    // By sync, missing: (present, missing) at creation, on a filled field, on an empty one.
    let table = [
        (
            Sync::Always,
            Missing::Keep,
            [(Write, Keep), (Write, Keep), (Write, Keep)],
        ),
        (
            Sync::Always,
            Missing::Clear,
            [(Write, Clear), (Write, Clear), (Write, Clear)],
        ),
        (
            Sync::Always,
            Missing::Deny,
            [(Write, Deny), (Write, Deny), (Write, Deny)],
        ),
        (
            Sync::OnCreate,
            Missing::Keep,
            [(Write, Keep), (Keep, Keep), (Keep, Keep)],
        ),
        (
            Sync::OnCreate,
            Missing::Clear,
            [(Write, Clear), (Keep, Keep), (Keep, Keep)],
        ),
        (
            Sync::OnCreate,
            Missing::Deny,
            [(Write, Deny), (Keep, Keep), (Keep, Keep)],
        ),
        (
            Sync::IfEmpty,
            Missing::Keep,
            [(Write, Keep), (Keep, Keep), (Write, Keep)],
        ),
        (
            Sync::IfEmpty,
            Missing::Clear,
            [(Write, Clear), (Keep, Keep), (Write, Clear)],
        ),
        (
            Sync::IfEmpty,
            Missing::Deny,
            [(Write, Deny), (Keep, Keep), (Write, Deny)],
        ),
    ];
    for (sync, missing, expected) in table {
        for ((creating, filled), (present, absent)) in situations.into_iter().zip(expected) {
            for (claims_sent, settled) in [
                (json!({"c": "x"}), present),
                (json!({"c": ""}), absent),
                (json!({"c": null}), absent),
                (json!({}), absent),
            ] {
                let value = value_of(claims(&["c"]), claims_sent.clone()).unwrap();
                assert_eq!(
                    settle(sync, missing, creating, filled, value.is_some()),
                    settled,
                    "{sync:?} {missing:?} creating {creating} filled {filled} {claims_sent}"
                );
            }
        }
    }
}

/// The username of a source at a provider whose addresses are trusted or not, and the claim it came from.
fn username_of(source: &Source, claims: serde_json::Value, addresses: Addresses) -> MappedField {
    let claims = set(claims);
    let subject = Subject::of_claims(&claims);
    mapping(&[(UserField::Username, source.clone())])
        .explain(&claims, &subject, addresses)
        .fields
        .remove(0)
}

#[test]
fn lesson_04_an_address_that_nobody_verified_is_no_username() {
    let expression =
        |text: &str| Source::Expression(Expression::compile(text, Scope::Claims).unwrap());
    let local_part = expression("claims.email.split('@')[0]");
    let named = claims(&["email"]);
    let either = claims(&["upn", "email"]);
    for source in [&named, &either, &local_part] {
        for unverified in [
            json!(false),
            json!("false"),
            json!(null),
            json!(1),
            json!("TRUE"),
        ] {
            let sent = json!({"email": "ada@example.com", "email_verified": unverified});
            let found = username_of(source, sent.clone(), Addresses::Verified);
            let fault = found.value.unwrap_err();
            assert!(
                fault.starts_with("username: expected a verified address"),
                "{fault}"
            );
            assert!(
                fault.contains("trust_email") && !fault.contains("ada"),
                "{fault}"
            );
            username_of(source, sent, Addresses::Trusted).value.unwrap();
        }
        for verified in [json!(true), json!("true")] {
            let sent = json!({"email": "ada@example.com", "email_verified": verified});
            let found = username_of(source, sent, Addresses::Verified);
            assert!(found.value.unwrap().unwrap().starts_with("ada"));
        }
    }
    let unverified = json!({"email": "ada@example.com", "upn": "ada"});
    let found = username_of(&either, unverified.clone(), Addresses::Verified);
    assert_eq!(found.value, Ok(Some("ada".into())), "not from the address");
    let careful = expression("claims.email_verified == true ? claims.email : claims.upn");
    let found = username_of(
        &careful,
        json!({"email": "e@x", "upn": "ada", "email_verified": false}),
        Addresses::Verified,
    );
    assert_eq!(
        found.value,
        Ok(Some("ada".into())),
        "the expression sees to it"
    );
    let missing = username_of(&named, json!({}), Addresses::Verified);
    assert_eq!(
        missing.value,
        Ok(None),
        "what nobody claims needs no verification"
    );
    let email = mapping(&[(UserField::Email, named)]);
    let sent = set(unverified);
    let fields = email
        .explain(&sent, &Subject::of_claims(&sent), Addresses::Verified)
        .fields;
    assert_eq!(
        fields[0].value,
        Ok(Some("ada@example.com".into())),
        "no other field minds"
    );
}
