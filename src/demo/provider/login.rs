//! The login form: any user name, no password, and the claims that will be sent as JSON to edit.
//!
//! Claims that nobody edited follow the user name: typing another name into the form signs in another
//! person, without a script in the page.

use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::Shared;
use super::authorization::AuthorizationRequest;
use super::grant::Person;
use crate::demo::listener::{self, Answer, Parameters, Request};
use crate::demo::page::{Maker, page};

/// Claims that the provider sets itself.
const OWN_CLAIMS: [&str; 7] = ["iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash"];

/// The form and what is wrong with it.
pub(super) struct LoginForm {
    user_name: String,
    claims: String,
    /// The name whose claims the unedited ones are.
    suggested_for: String,
    wrong: Option<String>,
}

/// The user name that the form starts with.
pub(super) const FIRST_USER_NAME: &str = "ada.lovelace@example.com";

/// The claims that are suggested for a user name, in the order in which they are shown.
pub(super) fn suggested_claims(user_name: &str) -> Vec<(&'static str, Value)> {
    let local = user_name.split('@').next().unwrap_or_default();
    let words: Vec<String> = local
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(capitalised)
        .collect();
    let (given, family) = match words.split_first() {
        Some((first, [])) => (first.clone(), "Example".to_owned()),
        Some((first, rest)) => (first.clone(), rest.join(" ")),
        None => ("Sam".to_owned(), "Example".to_owned()),
    };
    let email = match user_name.contains('@') {
        true => user_name.to_owned(),
        false => format!("{}@example.com", words.join(".").to_lowercase()),
    };
    vec![
        ("sub", json!(subject_of(user_name))),
        ("preferred_username", json!(user_name)),
        ("given_name", json!(given)),
        ("family_name", json!(family)),
        ("name", json!(format!("{given} {family}"))),
        ("nickname", json!(given.to_lowercase())),
        ("email", json!(email)),
        ("email_verified", json!(true)),
        ("phone_number", json!("+44 20 7946 0018")),
        ("department", json!("Engineering")),
        ("locale", json!("en-GB")),
    ]
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// As a provider would give it: stable for a user name, and telling nothing about it.
fn subject_of(user_name: &str) -> String {
    let hash = super::signing::challenge_of(user_name);
    let letters = hash.chars().filter(char::is_ascii_alphanumeric);
    std::iter::once('u').chain(letters.take(12)).collect()
}

/// One claim a line, in order: what the text field shows.
fn as_text(claims: &[(&str, Value)]) -> String {
    let lines: Vec<String> = claims
        .iter()
        .map(|(name, value)| format!("  {}: {value}", json!(name)))
        .collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// What the text field says, or what is wrong with it.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("The claims are no JSON: {error}. Names and texts stand in double quotes, with a comma between two claims.")
    })?;
    let Value::Object(claims) = value else {
        return Err(
            "The claims are expected to be one JSON object: { \"name\": value, … }.".into(),
        );
    };
    if let Some(name) = OWN_CLAIMS.iter().find(|name| claims.contains_key(**name)) {
        return Err(format!(
            "The provider sets “{name}” itself. Leave it out of the claims."
        ));
    }
    let subject = claims.get("sub").and_then(Value::as_str);
    if !subject.is_some_and(|sub| sub.is_ascii() && (1..=255).contains(&sub.len())) {
        return Err(
            "“sub” says who somebody is: expected a text of 1 to 255 ASCII characters.".into(),
        );
    }
    Ok(claims)
}

/// Claims that are as suggested for `from` become as suggested for `to`; edited ones stay.
fn follow(claims: &mut Map<String, Value>, from: &str, to: &str) {
    let suggestions = suggested_claims(from).into_iter().zip(suggested_claims(to));
    for ((name, old), (_, new)) in suggestions {
        if let Some(value) = claims.get_mut(name).filter(|value| **value == old) {
            *value = new;
        }
    }
}

/// The suggestion's order first, what the person added after it.
fn in_order(claims: &Map<String, Value>) -> Vec<(&str, Value)> {
    let suggested = suggested_claims("");
    let known = suggested
        .iter()
        .filter_map(|(name, _)| claims.get_key_value(*name));
    let added = claims
        .iter()
        .filter(|(name, _)| !suggested.iter().any(|(known, _)| known == name));
    known
        .chain(added)
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect()
}

impl Shared {
    /// `/login`: the form comes back.
    pub(super) fn login(&self, request: &Request) -> Answer {
        // Another site must not sign a person in under a name of its choice.
        if !matches!(
            request.header("sec-fetch-site"),
            None | Some("same-origin" | "none")
        ) {
            return listener::text(
                StatusCode::FORBIDDEN,
                "The login form is sent from its own page only.\n",
            );
        }
        let form = request.form();
        let authorization = match self.validate(form.clone()) {
            Ok(authorization) => authorization,
            Err(answer) => return *answer,
        };
        let action = form.get("action").unwrap_or("sign-in");
        if action == "refuse" {
            return self.refuse(&authorization, "access_denied", "the person said no");
        }
        if let ("fill", Some(name)) = (action, form.get("user_name")) {
            return LoginForm::suggested(name.trim()).page(&authorization);
        }
        match LoginForm::read(&form) {
            Err(form) => form.page(&authorization),
            Ok((user_name, claims)) => {
                let person = Person {
                    user_name,
                    claims,
                    signed_in_at: self.clock.now(),
                };
                self.remember(person.clone(), self.grant(&authorization, person))
            }
        }
    }
}

impl LoginForm {
    /// The form's own fields, beside the authorization request's parameters.
    pub(super) const FIELDS: &'static [&'static str] =
        &["user_name", "claims", "suggested_for", "action"];

    /// The form with the claims that are suggested for a user name.
    pub(super) fn suggested(user_name: &str) -> Self {
        Self {
            user_name: user_name.to_owned(),
            claims: as_text(&suggested_claims(user_name)),
            suggested_for: user_name.to_owned(),
            wrong: None,
        }
    }

    /// The form with the claims that somebody sent before.
    pub(super) fn again(person: &Person) -> Self {
        Self {
            user_name: person.user_name.clone(),
            claims: as_text(&in_order(&person.claims)),
            suggested_for: person.user_name.clone(),
            wrong: None,
        }
    }

    /// User name and claims, or the form with what is wrong.
    fn read(form: &Parameters) -> Result<(String, Map<String, Value>), Self> {
        let suggested_for = form.get("suggested_for").unwrap_or_default();
        let user_name = form.get("user_name").unwrap_or_default().trim();
        let text = form.get("claims").unwrap_or_default();
        let wrong = |reason| Self {
            user_name: user_name.to_owned(),
            claims: text.to_owned(),
            suggested_for: suggested_for.to_owned(),
            wrong: Some(reason),
        };
        if user_name.is_empty() {
            return Err(wrong("Expected a user name.".into()));
        }
        let mut claims = parse(text).map_err(wrong)?;
        follow(&mut claims, suggested_for, user_name);
        Ok((user_name.to_owned(), claims))
    }

    /// The form's page.
    pub(super) fn page(&self, request: &AuthorizationRequest) -> Answer {
        let status = match self.wrong {
            Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
            None => StatusCode::OK,
        };
        page(status, Maker::Provider, "Sign in", &self.body(request))
    }

    fn body(&self, request: &AuthorizationRequest) -> Markup {
        html! {
            p {
                "The proxy sent you here because the application wants to know who you are. Be anybody: "
                "this provider asks for no password and sends the claims that you see below."
            }
            @if let Some(wrong) = &self.wrong {
                p #wrong .wrong role="alert" { (wrong) }
            }
            form method="post" action="/login" {
                @for (name, value) in request.parameters() {
                    input type="hidden" name=(name) value=(value);
                }
                input type="hidden" name="suggested_for" value=(self.suggested_for);
                label for="user_name" { "User name" }
                input #user_name type="text" name="user_name" value=(self.user_name) required
                    autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby="user_name_hint";
                p #user_name_hint .hint { "With another name, the claims that you did not edit become those of that name." }
                label for="claims" { "Claims to send" }
                textarea #claims name="claims" rows="14" spellcheck="false" autocomplete="off"
                    aria-invalid=[self.wrong.as_ref().map(|_| "true")]
                    aria-describedby={ "claims_hint" @if self.wrong.is_some() { " wrong" } } {
                    // A parser of HTML drops one line end at the start of a text field.
                    "\n" (self.claims)
                }
                p #claims_hint .hint {
                    "JSON. Change a value, add a claim, or leave one out and see what the directory makes of it. "
                    "The provider adds " (OWN_CLAIMS.join(", ")) "."
                }
                div.actions {
                    button.button type="submit" name="action" value="sign-in" { "Sign in" }
                    button.button.plain type="submit" name="action" value="fill" { "Suggest claims for this name" }
                    button.button.plain type="submit" name="action" value="refuse" formnovalidate { "Do not sign in" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(claims: &[(&str, Value)]) -> Map<String, Value> {
        let pairs = claims.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn the_suggestion_is_json_that_the_form_takes() {
        for name in [
            "ada.lovelace@example.com",
            "bob",
            "",
            "Zoë \"Z\" d'Ars",
            "@",
            "…",
        ] {
            let suggested = suggested_claims(name);
            assert_eq!(
                parse(&as_text(&suggested)),
                Ok(object(&suggested)),
                "{name}"
            );
        }
        let ada = object(&suggested_claims("ada.lovelace@example.com"));
        assert_eq!(ada["given_name"], "Ada");
        assert_eq!(ada["family_name"], "Lovelace");
        assert_eq!(ada["email"], "ada.lovelace@example.com");
        assert_eq!(object(&suggested_claims("bob"))["email"], "bob@example.com");
    }

    #[test]
    fn unedited_claims_follow_the_user_name_and_edited_ones_stay() {
        let mut claims = object(&suggested_claims("ada"));
        claims.insert("given_name".into(), json!("Augusta"));
        claims.remove("locale");
        follow(&mut claims, "ada", "bob");
        assert_eq!(claims["preferred_username"], "bob");
        assert_eq!(claims["sub"], subject_of("bob"));
        assert_eq!(claims["given_name"], "Augusta");
        assert!(!claims.contains_key("locale"));
    }

    #[test]
    fn claims_that_cannot_be_sent_are_explained() {
        for (text, word) in [
            ("{", "no JSON"),
            ("[]", "one JSON object"),
            (r#"{"sub":"a","iss":"x"}"#, "“iss”"),
            ("{}", "“sub”"),
            (r#"{"sub":""}"#, "“sub”"),
            (r#"{"sub":5}"#, "“sub”"),
            (r#"{"sub":"é"}"#, "“sub”"),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(word), "{text}: {reason}");
        }
    }
}
