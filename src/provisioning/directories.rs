//! All directories of the configuration, compiled: who takes whom, which names nobody gets, and who may
//! come in at all.

use std::collections::BTreeSet;

use crate::config::{self, AccessRule, Source, UserField};
use crate::mapping::{Addresses, Mapping, checked_value, claim_text};

use super::Outcome;
use crate::store::User;

use super::naming::Reserved;
use super::rules::Rules;
use super::sign_in::SignIn;
use super::verdict::{Decided, No};

/// The directories, in the file's order.
pub(super) struct Directories {
    list: Vec<Directory>,
    access: Vec<AccessRule>,
    reserved: Reserved,
    /// The session token's claim that carries the username.
    username_claim: String,
    /// Providers with `trust_email`.
    trusted_for_addresses: Vec<String>,
    /// Every claim that decides anything about a person.
    pub(super) claims_in_use: Vec<String>,
}

/// One of them.
pub(super) struct Directory {
    pub(super) name: String,
    providers: Vec<String>,
    push_targets: Vec<String>,
    /// `None` for a directory whose users are provisioned elsewhere.
    pub(super) rules: Option<Rules>,
}

/// `; it is made of the provider's claim "preferred_username"`: whoever mends it looks for that name at the provider.
/// Empty where the username comes from a claim that providers send themselves.
fn username_origin(
    config: &config::Config,
    directory: &config::Directory,
    rules: &config::SelfProvisioning,
) -> String {
    let ours = &config.session.username_claim;
    let mut mapped = rules.mapping.iter();
    let mapped = mapped.find(|(field, _)| *field == UserField::Username);
    let names = match mapped.map(|(_, rule)| &rule.source) {
        Some(Source::Claims(names)) => names.as_slice(),
        _ => &[],
    };
    if !names.contains(ours) {
        return String::new();
    }
    let chosen = |it: &&config::Provider| {
        directory.providers.is_empty() || directory.providers.contains(&it.name)
    };
    let theirs = config.providers.iter().filter(chosen);
    let theirs: BTreeSet<String> = theirs
        .filter(|it| it.username_claim != *ours)
        .map(|it| format!("{:?}", it.username_claim))
        .collect();
    match theirs.is_empty() {
        true => String::new(),
        false => format!(
            "; it is made of the provider's claim {}",
            Vec::from_iter(theirs).join(" or ")
        ),
    }
}

impl Directories {
    pub(super) fn new(config: &config::Config) -> Self {
        let reserved = Reserved::of(config);
        let directory = |(place, directory): (usize, &config::Directory)| Directory {
            name: directory.name.clone(),
            providers: directory.providers.clone(),
            push_targets: directory.push_targets(),
            rules: directory.self_provisioning().map(|rules| Rules {
                name: directory.name.clone(),
                place,
                mapping: Mapping::new(rules),
                username_origin: username_origin(config, directory, rules),
                config: rules.clone(),
                reserved: reserved.clone(),
            }),
        };
        Self {
            list: config
                .directories
                .iter()
                .enumerate()
                .map(directory)
                .collect(),
            access: config.access.clone(),
            trusted_for_addresses: trusted_for_addresses(config),
            username_claim: config.session.username_claim.clone(),
            claims_in_use: config.claims_in_use().into_iter().collect(),
            reserved,
        }
    }

    /// Whether a provider's addresses may become usernames.
    pub(super) fn addresses_of(&self, provider: &str) -> Addresses {
        let mut trusted = self.trusted_for_addresses.iter();
        match trusted.any(|name| name == provider) {
            true => Addresses::Trusted,
            false => Addresses::Verified,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Directory> {
        self.list.iter()
    }

    /// The receivers that are told of a user; none of one who is provisioned elsewhere.
    pub(super) fn push_targets(&self, user: &User) -> Vec<String> {
        let directory = self.named(&user.directory).filter(|_| !user.elsewhere);
        directory.map_or_else(Vec::new, |directory| directory.push_targets.clone())
    }

    pub(super) fn named(&self, name: &str) -> Option<&Directory> {
        self.list.iter().find(|directory| directory.name == name)
    }

    /// The username of the session token: that of a person whom no self-provisioning directory takes.
    pub(super) fn token_username(&self, sign_in: &SignIn<'_>) -> Result<String, No> {
        let claim = &self.username_claim;
        let text = sign_in.claims.get(claim).map(claim_text).transpose();
        let username = match text {
            Ok(Some(Some(username))) => checked_value(UserField::Username, username),
            Ok(_) => Err("expected a value, found none".to_owned()),
            Err(fault) => Err(fault),
        };
        username.map_err(|fault| {
            No::refused(format!("username: {fault} in claim {claim:?}")).field(UserField::Username)
        })
    }

    /// Nobody is created, adopted or let in by such a name alone.
    pub(super) fn is_free_for_sign_ins(&self, username: &str) -> Result<(), No> {
        match self.reserved.contains(username) {
            true => Err(
                No::refused("the username is on the list of reserved_usernames")
                    .field(UserField::Username),
            ),
            false => Ok(()),
        }
    }

    /// The rules of `[access]` have the last word about whoever would come in or be stored, on the user as they would
    /// be stored: of somebody whom they refuse there is nobody to activate, and nothing to push.
    pub(super) fn with_access_rules(&self, sign_in: &SignIn<'_>, decided: Decided) -> Decided {
        let concerns = decided.write || !decided.is_refusal();
        let Some(user) = decided.user.as_ref().filter(|_| concerns) else {
            return decided;
        };
        let fields = user.fields.iter();
        let fields = fields.map(|(field, value)| (field.name(), value.as_str()));
        let subject = sign_in.subject.as_user(fields);
        for rule in &self.access {
            let why = match rule.require.holds(&subject) {
                Ok(true) => continue,
                Ok(false) => "an access rule does not hold".to_owned(),
                Err(fault) => format!("an access rule cannot be decided: {fault}"),
            };
            return Decided {
                outcome: Outcome::Refused,
                reason: why,
                message: rule.message.clone(),
                rule: Some(rule.require.text().to_owned()),
                user: None,
                write: false,
                ..decided
            };
        }
        decided
    }
}

fn trusted_for_addresses(config: &config::Config) -> Vec<String> {
    let trusted = config.providers.iter().filter(|it| it.trust_email);
    trusted.map(|it| it.name.clone()).collect()
}

impl Directory {
    /// Why people of a provider are not of this directory, if they are not.
    pub(super) fn takes_people_of(&self, provider: &str) -> Result<(), String> {
        let named = |name: &String| name == provider;
        match self.providers.is_empty() || self.providers.iter().any(named) {
            true => Ok(()),
            false => Err(format!(
                "takes people of {} only, found provider {provider}",
                self.providers.join(", ")
            )),
        }
    }
}
