//! The rules of routes (`routes.require`): decided at a sign-in on all that is known of the person then, recorded
//! with the session, and one bit a rule where a request meets them.
//!
//! A rule that the record does not know, since the file has changed, is decided on the token's own claims; so are
//! all of them while the store does not answer. The token may have been made without a claim that the person has, so
//! a rule that names one which is not there does not hold, whatever it says of absent ones.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Config;
use crate::expression::{Expression, Subject};

/// The rules in their order, each with the name of its text.
#[derive(Debug)]
pub(super) struct RouteRules(Vec<(String, Expression)>);

impl RouteRules {
    pub(super) fn new(config: &Config) -> Self {
        let rules = config.route_rules();
        Self(rules.map(|rule| (name_of(rule), rule.clone())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The verdicts as a session's record has them: a JSON object.
    pub(super) fn record(&self, subject: &Subject) -> String {
        let verdicts = self
            .0
            .iter()
            .map(|(name, rule)| (name, holds(rule, subject)));
        // Texts and truth always have a text.
        serde_json::to_string(&verdicts.collect::<BTreeMap<_, _>>()).unwrap_or_default()
    }

    /// One verdict a rule, from the record where it knows the rule.
    pub(super) fn verdicts(
        &self,
        record: Option<&str>,
        subject: impl Fn() -> Subject,
    ) -> Box<[bool]> {
        if self.0.is_empty() {
            return Box::default();
        }
        let record: BTreeMap<String, bool> = record
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut known = None;
        let mut verdict = |(name, rule): &(String, Expression)| match record.get(name) {
            Some(verdict) => *verdict,
            None => {
                let subject = known.get_or_insert_with(&subject);
                rule.is_told_all(subject) && holds(rule, subject)
            }
        };
        self.0.iter().map(&mut verdict).collect()
    }
}

fn holds(rule: &Expression, subject: &Subject) -> bool {
    rule.holds(subject).unwrap_or(false)
}

fn name_of(rule: &Expression) -> String {
    let digest = digest(&SHA256, rule.text().as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12])
}
