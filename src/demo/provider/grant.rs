//! What the provider remembers: codes, access tokens and its own sessions, each until it expires.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::environment::UnixSeconds;

/// A code lives this long, in seconds.
const CODE_LIFETIME: UnixSeconds = 60;
/// An access token lives this long, in seconds.
pub(super) const ACCESS_TOKEN_LIFETIME: UnixSeconds = 3600;
/// An own session lives this long, in seconds.
const SESSION_LIFETIME: UnixSeconds = 12 * 3600;

/// Somebody who signed in here.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// As typed into the login form.
    pub(super) user_name: String,
    /// The claims to send, `sub` among them.
    pub(super) claims: Map<String, Value>,
    /// When they signed in: `auth_time`.
    pub(super) signed_in_at: UnixSeconds,
}

/// What a code stands for, and what its redemption must match.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) person: Person,
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: String,
}

enum Code {
    Open(Box<Grant>),
    /// Redeemed, for this access token if all was well.
    Used(Option<String>),
}

/// Codes, access tokens and sessions by their value, each with the time at which it is over.
#[derive(Default)]
pub(super) struct Grants {
    codes: HashMap<String, (UnixSeconds, Code)>,
    access_tokens: HashMap<String, (UnixSeconds, Person)>,
    sessions: HashMap<String, (UnixSeconds, Person)>,
    last: Option<Person>,
}

impl Grants {
    /// Remembers a grant under a new code.
    pub(super) fn open(&mut self, code: String, grant: Grant, now: UnixSeconds) {
        self.forget_what_is_over(now);
        let entry = (now + CODE_LIFETIME, Code::Open(Box::new(grant)));
        self.codes.insert(code, entry);
    }

    /// The grant of a code, once. A second use also takes back what the first one got (RFC 6749 4.1.2).
    pub(super) fn redeem(&mut self, code: &str, now: UnixSeconds) -> Option<Grant> {
        self.forget_what_is_over(now);
        let (_, entry) = self.codes.get_mut(code)?;
        match std::mem::replace(entry, Code::Used(None)) {
            Code::Open(grant) => Some(*grant),
            Code::Used(access_token) => {
                if let Some(token) = access_token {
                    self.access_tokens.remove(&token);
                }
                None
            }
        }
    }

    /// Remembers the access token that a redeemed code was given.
    pub(super) fn issue(&mut self, code: &str, token: String, person: Person, now: UnixSeconds) {
        if let Some((over, entry)) = self.codes.get_mut(code) {
            // Kept as long as the token, so that a replay later still takes the token back.
            *over = now + ACCESS_TOKEN_LIFETIME;
            *entry = Code::Used(Some(token.clone()));
        }
        self.access_tokens
            .insert(token, (now + ACCESS_TOKEN_LIFETIME, person));
    }

    /// Whose access token it is.
    pub(super) fn bearer(&self, token: &str, now: UnixSeconds) -> Option<&Person> {
        let (over, person) = self.access_tokens.get(token)?;
        (now < *over).then_some(person)
    }

    /// Remembers an own session.
    pub(super) fn begin_session(&mut self, id: String, person: Person, now: UnixSeconds) {
        self.last = Some(person.clone());
        self.sessions.insert(id, (now + SESSION_LIFETIME, person));
    }

    /// Who is signed in under that session id.
    pub(super) fn session(&self, id: &str, now: UnixSeconds) -> Option<&Person> {
        let (over, person) = self.sessions.get(id)?;
        (now < *over).then_some(person)
    }

    /// Who signed in last: the login form starts with them, since a demo has one visitor.
    pub(super) fn last(&self) -> Option<&Person> {
        self.last.as_ref()
    }

    /// Ends an own session.
    pub(super) fn end_session(&mut self, id: &str) {
        self.sessions.remove(id);
    }

    fn forget_what_is_over(&mut self, now: UnixSeconds) {
        self.codes.retain(|_, (over, _)| now < *over);
        self.access_tokens.retain(|_, (over, _)| now < *over);
        self.sessions.retain(|_, (over, _)| now < *over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            person: Person {
                user_name: String::new(),
                claims: Map::new(),
                signed_in_at: 0,
            },
            client_id: String::new(),
            redirect_uri: String::new(),
            code_challenge: String::new(),
            nonce: None,
            scope: String::new(),
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute() {
        let mut grants = Grants::default();
        grants.open("a".into(), grant(), 100);
        grants.open("b".into(), grant(), 100);
        assert!(grants.redeem("a", 159).is_some());
        assert!(grants.redeem("a", 159).is_none());
        assert!(grants.redeem("b", 160).is_none());
        assert!(grants.redeem("c", 100).is_none());
    }

    #[test]
    fn a_replayed_code_takes_its_access_token_back() {
        let mut grants = Grants::default();
        grants.open("code".into(), grant(), 100);
        let person = grants.redeem("code", 100).unwrap().person;
        grants.issue("code", "token".into(), person, 100);
        assert!(grants.bearer("token", 200).is_some());
        assert!(grants.redeem("code", 200).is_none());
        assert!(grants.bearer("token", 200).is_none());
    }

    #[test]
    fn a_session_ends_when_it_is_over_or_ended() {
        let mut grants = Grants::default();
        grants.begin_session("s".into(), grant().person, 0);
        assert!(grants.session("s", SESSION_LIFETIME - 1).is_some());
        assert!(grants.session("s", SESSION_LIFETIME).is_none());
        grants.end_session("s");
        assert!(grants.session("s", 0).is_none());
    }
}
