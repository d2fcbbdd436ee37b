//! One sign-in as the directories see it, worked out once before the store is asked: what each mapping
//! makes of the claims, and which directory would take the person.

use crate::expression::{Fault, Subject};
use crate::mapping::Explanation;
use crate::oidc::ClaimSet;

use super::Person;
use super::directories::{Directories, Directory};
use super::naming::username;
use super::rules::Rules;
use super::verdict::No;

/// A person with their claims.
pub(super) struct SignIn<'s> {
    pub(super) person: Person<'s>,
    pub(super) claims: &'s ClaimSet,
    pub(super) subject: Subject,
    /// By the place of the directory; `None` for one without a mapping.
    explanations: Vec<Option<Explanation>>,
    /// The first self-provisioning directory that takes the person, and why others did not.
    taker: Option<&'s Rules>,
    passed_over: Vec<(String, String)>,
    /// A `when` that could not be decided, or a claim that is kept elsewhere: nobody comes in by half of what
    /// should be known.
    incomplete: Option<No>,
}

impl<'s> SignIn<'s> {
    pub(super) fn new(
        directories: &'s Directories,
        person: Person<'s>,
        claims: &'s ClaimSet,
    ) -> Self {
        let subject = Subject::of_claims(claims);
        let addresses = directories.addresses_of(person.provider);
        let explain = |directory: &Directory| {
            let rules = directory.rules.as_ref()?;
            Some(rules.mapping.explain(claims, &subject, addresses))
        };
        let mut sign_in = Self {
            explanations: directories.iter().map(explain).collect(),
            person,
            claims,
            taker: None,
            passed_over: Vec::new(),
            incomplete: kept_elsewhere(claims, &directories.claims_in_use),
            subject,
        };
        sign_in.choose(directories);
        sign_in
    }

    fn choose(&mut self, directories: &'s Directories) {
        for directory in directories.iter() {
            match self.takes(directory) {
                Ok(rules) => {
                    self.taker = Some(rules);
                    return;
                }
                Err(why) => self.passed_over.push((directory.name.clone(), why)),
            }
        }
    }

    fn takes(&mut self, directory: &'s Directory) -> Result<&'s Rules, String> {
        let Some(rules) = &directory.rules else {
            return Err("its users come from its file".to_owned());
        };
        directory.takes_people_of(self.person.provider)?;
        let Some(when) = &rules.config.when else {
            return Ok(rules);
        };
        match when.holds(&self.subject) {
            Ok(true) => Ok(rules),
            Ok(false) => Err("its `when` does not hold".to_owned()),
            Err(Fault::Missing(claim)) => Err(format!(
                "its `when` does not hold, since claim {claim:?} is missing"
            )),
            Err(fault) => {
                let why = format!(
                    "`when` of directory {} cannot be decided: {fault}",
                    directory.name
                );
                self.incomplete.get_or_insert_with(|| No::refused(&why));
                Err(format!("its `when` cannot be decided: {fault}"))
            }
        }
    }

    /// Whether everything is known that decides.
    pub(super) fn is_complete(&self) -> Result<(), No> {
        match &self.incomplete {
            Some(no) => Err(no.clone()),
            None => Ok(()),
        }
    }

    /// The directory that would create the person.
    pub(super) fn taker(&self) -> Result<&'s Rules, No> {
        self.taker.ok_or_else(|| {
            let reasons = self.passed_over.iter();
            let reasons: Vec<String> = reasons
                .map(|(name, why)| format!("{name}: {why}"))
                .collect();
            No::refused(format!(
                "no directory takes this person ({})",
                reasons.join("; ")
            ))
        })
    }

    /// The directories before the one that takes the person, and why they do not.
    pub(super) fn passed_over(&self) -> Vec<(String, String)> {
        self.passed_over.clone()
    }

    /// What a directory's mapping makes of the claims.
    pub(super) fn explanation(&self, rules: &Rules) -> &Explanation {
        const NOTHING: &Explanation = &Explanation { fields: Vec::new() };
        self.explanations[rules.place].as_ref().unwrap_or(NOTHING)
    }

    /// The username that a directory's mapping comes to, if it is one.
    pub(super) fn mapped_username(&self, rules: &Rules) -> Option<String> {
        username(self.explanation(rules)).map(str::to_owned)
    }
}

/// A claim that decides something and is announced, yet not in the token: aggregated and distributed claims
/// (OpenID Connect Core 5.6.2), as Entra ID sends groups of people who have many. Never taken for absent.
fn kept_elsewhere(claims: &ClaimSet, in_use: &[String]) -> Option<No> {
    let named = claims
        .get("_claim_names")
        .and_then(|names| names.as_object());
    let has_groups = match claims.get("hasgroups") {
        Some(serde_json::Value::Bool(has)) => *has,
        Some(serde_json::Value::String(has)) => has == "true",
        _ => false,
    };
    let announced = |claim: &String| {
        named.is_some_and(|names| names.contains_key(claim)) || (has_groups && claim == "groups")
    };
    let claim = in_use
        .iter()
        .find(|claim| announced(claim) && !claims.contains_key(*claim))?;
    Some(No {
        field: Some(claim.clone()),
        ..No::refused(format!(
            "expected claim {claim:?} in the token, found that the provider keeps it elsewhere (too many values); at Entra ID send only groups assigned to the application, or app roles"
        ))
    })
}

impl Person<'_> {
    /// `(issuer, subject)`.
    pub(super) fn identity(&self) -> (String, String) {
        (self.issuer.to_owned(), self.subject.to_owned())
    }
}
