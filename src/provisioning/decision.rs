//! The design's table of outcomes, in its order, as a pure function: the directories' rules, what their
//! mappings make of the claims, and what the store knows become one [`Decided`]. `provision` and
//! `explain` both call it, so they cannot disagree.

use crate::environment::UnixSeconds;
use crate::mapping::Explanation;
use crate::store::{Facts, User, Wanted};

use super::directories::{Directories, Directory};
use super::rules::Rules;
use super::sign_in::SignIn;
use super::verdict::{Decided, No, Yes, with_status};
use super::{Decision, Outcome};

impl Directories {
    /// What the store has to find out for this person, now that the user of their identity is known or that there
    /// is none.
    pub(super) fn wanted(&self, sign_in: &SignIn<'_>, known: Option<&User>) -> Wanted {
        let (rules, username) = match known {
            Some(user) => {
                let rules = self.rules_of(user);
                let username = rules.and_then(|rules| sign_in.mapped_username(rules));
                (rules, username)
            }
            None => {
                let rules = sign_in.taker().ok();
                let username = match rules {
                    Some(rules) => sign_in.mapped_username(rules),
                    None => self.token_username(sign_in).ok(),
                };
                (rules, username)
            }
        };
        Wanted {
            username,
            directory: rules.map_or_else(String::new, |rules| rules.name.clone()),
            count: rules.is_some_and(|rules| rules.config.max_users.is_some()),
        }
    }

    /// The rules that write to a user: none for one who is provisioned elsewhere.
    fn rules_of(&self, user: &User) -> Option<&Rules> {
        let directory = self.named(&user.directory)?;
        directory.rules.as_ref().filter(|_| !user.elsewhere)
    }

    /// Decides. `new_id` is the id of a user who is created; nobody else gets it.
    pub(super) fn decide(
        &self,
        sign_in: &SignIn<'_>,
        facts: &Facts,
        new_id: &str,
        now: UnixSeconds,
    ) -> Decided {
        let before = facts.by_identity.as_ref().or(facts.by_username.as_ref());
        let base = Decided {
            outcome: Outcome::Refused,
            directory: self.concerned(sign_in, before),
            reason: String::new(),
            field: None,
            message: None,
            rule: None,
            username: self.wanted(sign_in, facts.by_identity.as_ref()).username,
            before: before.cloned(),
            user: None,
            write: false,
            over_max_users: false,
        };
        let decided = match self.outcome(sign_in, facts, new_id, now) {
            Err(no) => base.refused(no),
            Ok(yes) => with_status(base, yes, now),
        };
        self.with_access_rules(sign_in, decided)
    }

    /// The directory that decides: that of the user who is known, else the one that takes the person.
    fn concerned(&self, sign_in: &SignIn<'_>, known: Option<&User>) -> String {
        match (known, sign_in.taker()) {
            (Some(user), _) => user.directory.clone(),
            (None, Ok(rules)) => rules.name.clone(),
            (None, Err(_)) => "-".to_owned(),
        }
    }

    /// [`Directories::decide`] as the command line shows it.
    pub(super) fn decision(&self, sign_in: &SignIn<'_>, facts: &Facts) -> Decision {
        let decided = self.decide(sign_in, facts, "", 0);
        let stored = decided.write || !decided.is_refusal();
        let rules = match &decided.before {
            Some(user) => self.rules_of(user),
            None => sign_in.taker().ok(),
        };
        let explanation = rules.map(|rules| sign_in.explanation(rules).clone());
        Decision {
            outcome: decided.outcome,
            directory: decided.directory,
            reason: decided.reason,
            rule: decided.rule,
            others: sign_in.passed_over(),
            explanation: explanation.unwrap_or(Explanation { fields: Vec::new() }),
            before: decided.before,
            after: decided.user.filter(|_| stored),
        }
    }

    fn outcome(
        &self,
        sign_in: &SignIn<'_>,
        facts: &Facts,
        new_id: &str,
        now: UnixSeconds,
    ) -> Result<Yes, No> {
        sign_in.is_complete()?;
        if let Some(user) = &facts.by_identity {
            let directory = self.owner(sign_in, user)?;
            return match directory.rules.as_ref().filter(|_| !user.elsewhere) {
                Some(rules) => rules.known(user, sign_in.explanation(rules), facts),
                None => Ok(provisioned_elsewhere(user.clone())),
            };
        }
        let username = match sign_in.taker() {
            Ok(rules) => rules
                .wanted_username(sign_in.explanation(rules))?
                .to_owned(),
            // Where there is nobody to look for, this says more.
            Err(no) => self.token_username(sign_in).map_err(|_| no)?,
        };
        self.is_free_for_sign_ins(&username)?;
        match &facts.by_username {
            Some(user) => self.known_by_name(sign_in, user, facts),
            None => {
                let rules = sign_in.taker()?;
                rules.created(sign_in, facts, new_id, now)
            }
        }
    }

    /// The username is known, the identity is not.
    fn known_by_name(&self, sign_in: &SignIn<'_>, user: &User, facts: &Facts) -> Result<Yes, No> {
        let directory = self.owner(sign_in, user)?;
        let taker = sign_in.taker();
        match (&directory.rules, taker) {
            (Some(rules), Ok(taker)) if rules.name == taker.name && !user.elsewhere => {
                rules.adopted(sign_in, user, facts)
            }
            // Whom no directory takes has no part in one of them by a name alone.
            (Some(_), Err(no)) => Err(no),
            _ => bound_elsewhere(sign_in, user),
        }
    }

    /// The directory that owns a user, if this person may be of it. One that is no longer in the file has no rules
    /// to go by.
    fn owner(&self, sign_in: &SignIn<'_>, user: &User) -> Result<&Directory, No> {
        let Some(directory) = self.named(&user.directory) else {
            return Err(No::refused(format!(
                "the user belongs to directory {}, which is not in the configuration: expected one of that name",
                user.directory
            )));
        };
        match directory.takes_people_of(sign_in.person.provider) {
            Ok(()) => Ok(directory),
            Err(why) => Err(No::refused(format!(
                "the user belongs to directory {}, which {why}",
                directory.name
            ))),
        }
    }
}

fn provisioned_elsewhere(user: User) -> Yes {
    Yes {
        outcome: Outcome::OwnedElsewhere,
        reason: "the user is provisioned elsewhere; nothing is written to them here".to_owned(),
        user,
    }
}

/// Let in under that name, and bound to the first identity that uses it.
fn bound_elsewhere(sign_in: &SignIn<'_>, user: &User) -> Result<Yes, No> {
    if !user.identities.is_empty() {
        return Err(No::new(
            Outcome::Conflict,
            "the username is bound to another identity",
        )
        .field(crate::config::UserField::Username));
    }
    let mut user = user.clone();
    user.identities.push(sign_in.person.identity());
    Ok(Yes {
        reason: "the user is provisioned elsewhere; the identity is bound to them from now on"
            .to_owned(),
        ..provisioned_elsewhere(user)
    })
}
