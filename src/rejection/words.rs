//! The words of every kind of rejection, one table a language, without a wildcard: a new kind does
//! not compile before both say what happened, whose fault it is and what the person can do.
//!
//! Texts address the person; `checks` are for an administrator who happens to be that person. None
//! holds a secret, a claim's value or anything that the person could not have found out.

mod english;
mod french;

use super::Kind;
use super::render::Way;
use crate::page::Language;

/// What one kind says in one language.
#[derive(Debug)]
pub(super) struct Words {
    /// What happened, in a few words.
    pub(super) title: &'static str,
    /// What happened and whose fault it is.
    pub(super) explanation: &'static str,
    /// What the person can do.
    pub(super) advice: &'static str,
    /// What an administrator can look at; names of keys and commands stand between backticks.
    pub(super) checks: &'static [&'static str],
    /// What this very rejection is about.
    pub(super) facts: Vec<Fact>,
}

/// A detail of one rejection.
#[derive(Debug)]
pub(super) struct Fact {
    /// The problem's member.
    pub(super) name: &'static str,
    /// The page's label.
    pub(super) label: &'static str,
    /// Cleaned and cut.
    pub(super) value: String,
    /// Of the value, where it is prose.
    pub(super) language: Option<Language>,
}

/// The constant part of [`Words`], as the tables hold it.
struct Texts {
    title: &'static str,
    explanation: &'static str,
    advice: &'static str,
    checks: &'static [&'static str],
}

impl Words {
    pub(super) fn of(kind: &Kind, language: Language) -> Self {
        let texts = match language {
            Language::English => english::texts(kind),
            Language::French => french::texts(kind),
        };
        Self {
            title: texts.title,
            explanation: texts.explanation,
            advice: texts.advice,
            checks: texts.checks,
            facts: facts(kind, language),
        }
    }
}

fn facts(kind: &Kind, language: Language) -> Vec<Fact> {
    let fact = |name, label, value: &str| Fact {
        name,
        label,
        value: shown(value),
        language: None,
    };
    let provider = |name: &str| fact("provider", language.pick("Provider", "Fournisseur"), name);
    match kind {
        Kind::ProviderRefused {
            provider: name,
            error,
        }
        | Kind::ClientRefused {
            provider: name,
            error,
        } => vec![
            provider(name),
            fact(
                "error",
                language.pick("Its answer", "Sa réponse"),
                error_code(error),
            ),
        ],
        Kind::TokenInvalid { provider: name } | Kind::ProviderDown { provider: name } => {
            vec![provider(name)]
        }
        Kind::Refused {
            reason,
            field,
            message,
        } => {
            let label = language.pick("Field or claim", "Champ ou revendication");
            let field = field.as_deref().map(|name| fact("field", label, name));
            let reason = Fact {
                language: Some(Language::English),
                ..fact("reason", language.pick("Reason", "Motif"), reason)
            };
            let label = language.pick("Message", "Message");
            let message = message.as_deref().map(|text| fact("message", label, text));
            let facts = message.into_iter().chain(field);
            facts.chain([reason]).collect()
        }
        Kind::AccessTokenInsufficient { denial } => vec![Fact {
            language: Some(Language::English),
            ..fact("reason", language.pick("Reason", "Motif"), denial.reason())
        }],
        Kind::MethodNotAllowed { allow } => vec![fact(
            "allow",
            language.pick("Methods allowed here", "Méthodes admises ici"),
            allow,
        )],
        Kind::BadRequest
        | Kind::AmbiguousPath
        | Kind::SignInCookieMissing
        | Kind::ForeignSignIn
        | Kind::SignInUsed
        | Kind::SignInNeeded
        | Kind::FormNotKept
        | Kind::FormGone
        | Kind::FormOfAnother
        | Kind::AccessTokenNeeded
        | Kind::AccessTokenMalformed
        | Kind::AccessTokenInvalid { .. }
        | Kind::RouteDenied
        | Kind::RuleDenied
        | Kind::ForeignOrigin
        | Kind::Conflict
        | Kind::Inactive
        | Kind::TokenTooLarge
        | Kind::LoopCookieLost
        | Kind::LoopApplication
        | Kind::NotFound
        | Kind::RequestTimeout
        | Kind::BodyTooLarge
        | Kind::UnknownExpectation
        | Kind::WrongHost
        | Kind::HeaderTooLarge
        | Kind::ApplicationUnreachable
        | Kind::ConnectionSignIn
        | Kind::StoreDown
        | Kind::ReceiverDown
        | Kind::ApplicationSlow => Vec::new(),
    }
}

/// An OAuth error code (RFC 6749 4.1.2.1), or a stand-in: what came through the browser may be a
/// sentence that somebody wants to put into our mouth.
fn error_code(error: &str) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    match !error.is_empty() && error.len() <= 64 && error.bytes().all(plain) {
        true => error,
        false => "unreadable",
    }
}

/// Without what could break out of its line or turn the text around, and cut.
fn shown(value: &str) -> String {
    const LONGEST: usize = 400;
    let visible = |c: &char| {
        let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !c.is_control() && !turns
    };
    let mut text: String = value.chars().filter(visible).take(LONGEST).collect();
    if value.chars().filter(visible).nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}

/// Wording of a link.
pub(super) fn way(way: Way, language: Language) -> &'static str {
    let (english, french) = match way {
        Way::SignIn => ("Sign in", "Se connecter"),
        Way::StartAgain => ("Start again", "Recommencer"),
        Way::TryAgain => ("Try again", "Réessayer"),
        Way::OtherAccount => ("Use another account", "Utiliser un autre compte"),
        Way::Reload => ("Try again", "Réessayer"),
        Way::Home => ("Go to the front page", "Aller à l’accueil"),
    };
    language.pick(english, french)
}

/// Heads the checks.
pub(super) fn administrator(language: Language) -> &'static str {
    language.pick("For the administrator", "Pour l’administrateur")
}

/// Precedes the id.
pub(super) fn quote_this_id(language: Language) -> &'static str {
    language.pick(
        "If you ask for help, quote this id:",
        "Si vous demandez de l’aide, indiquez cet identifiant\u{a0}:",
    )
}
