//! A rejection as a page or as problem+json (RFC 9457), in the reader's language. Pure: status and
//! header fields are the caller's.

use maud::{Markup, html};
use serde_json::json;

use super::Kind;
use super::words::{self, Words};
use crate::page::{Document, Form, Language, Policy};
use crate::telemetry::RequestId;

/// Where a page can lead. Each is a URL that is safe to follow with GET; `None` is not offered.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// `login` with the return address: another sign-in with the same account.
    pub sign_in: Option<String>,
    /// The same with `prompt=select_account`.
    pub other_account: Option<String>,
    /// The address that was asked for, if asking again with GET repeats nothing; without it, pages
    /// that suggest another try fall back on `sign_in`, which leads there too.
    pub here: Option<String>,
    /// The application's front page. Absolute: it also leads away from a wrong host.
    pub home: Option<String>,
}

/// One of the links, with its own wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    SignIn,
    StartAgain,
    TryAgain,
    OtherAccount,
    Reload,
    Home,
}

impl Way {
    fn href(self, links: &Links) -> Option<&str> {
        match self {
            Way::SignIn | Way::StartAgain | Way::TryAgain => links.sign_in.as_deref(),
            Way::OtherAccount => links.other_account.as_deref(),
            Way::Reload => links.here.as_deref().or(links.sign_in.as_deref()),
            Way::Home => links.home.as_deref(),
        }
    }
}

/// What the person can do from here, the likeliest help first.
fn ways_on(kind: &Kind) -> &'static [Way] {
    match kind {
        Kind::SignInCookieMissing | Kind::ForeignSignIn | Kind::SignInUsed => {
            &[Way::StartAgain, Way::Home]
        }
        Kind::SignInNeeded | Kind::FormNotKept => &[Way::SignIn],
        Kind::FormGone | Kind::FormOfAnother | Kind::RuleDenied | Kind::ForeignOrigin => {
            &[Way::Home]
        }
        Kind::Conflict | Kind::Refused { .. } | Kind::ProviderRefused { .. } => {
            &[Way::OtherAccount, Way::TryAgain]
        }
        Kind::Inactive
        | Kind::ClientRefused { .. }
        | Kind::TokenInvalid { .. }
        | Kind::TokenTooLarge
        | Kind::LoopCookieLost
        | Kind::LoopApplication => &[Way::TryAgain, Way::OtherAccount],
        Kind::ApplicationUnreachable
        | Kind::ConnectionSignIn
        | Kind::ProviderDown { .. }
        | Kind::StoreDown
        | Kind::ReceiverDown
        | Kind::ApplicationSlow
        | Kind::RequestTimeout => &[Way::Reload],
        Kind::BadRequest
        | Kind::AmbiguousPath
        | Kind::AccessTokenNeeded
        | Kind::AccessTokenMalformed
        | Kind::AccessTokenInvalid { .. }
        | Kind::AccessTokenInsufficient { .. }
        | Kind::RouteDenied
        | Kind::NotFound
        | Kind::MethodNotAllowed { .. }
        | Kind::BodyTooLarge
        | Kind::UnknownExpectation
        | Kind::WrongHost
        | Kind::HeaderTooLarge => &[Way::Home],
    }
}

/// Writes a rejection in the reader's language and form. The caller adds status, Retry-After and
/// [`Document::headers`].
///
/// A problem (RFC 9457) has the members `type` (`urn:vestibule:problem:SLUG`, see [`Kind::slug`]),
/// `title`, `status`, `detail`, `instance` (`urn:vestibule:request:ID`), `id`, and where the kind
/// has them `provider`, `error`, `field`, `reason` and `allow`. Programs go by `type`; `title` and
/// `detail` are in the language of Content-Language.
pub fn render(
    kind: &Kind,
    id: RequestId,
    language: Language,
    form: Form,
    links: &Links,
) -> Document {
    let words = Words::of(kind, language);
    match form {
        Form::Page => Document::page(
            language,
            words.title,
            page(kind, &words, id, language, links),
            Policy::Closed,
        ),
        Form::Problem => Document::problem(language, problem(kind, &words, id).to_string()),
    }
}

fn page(kind: &Kind, words: &Words, id: RequestId, language: Language, links: &Links) -> Markup {
    let ways = ways_on(kind).iter();
    let ways: Vec<_> = ways
        .filter_map(|way| Some((way.href(links)?, words::way(*way, language))))
        .collect();
    html! {
        h1 { (words.title) }
        p { (words.explanation) }
        @if !words.facts.is_empty() {
            dl {
                @for fact in &words.facts {
                    dt { (fact.label) }
                    dd lang=[fact.language.filter(|l| *l != language).map(Language::tag)] { (fact.value) }
                }
            }
        }
        p { (words.advice) }
        @if !ways.is_empty() {
            ul.actions {
                @for (place, (href, label)) in ways.iter().enumerate() {
                    li { a.button.plain[place > 0] href=(href) { (label) } }
                }
            }
        }
        @if !words.checks.is_empty() {
            details {
                summary { (words::administrator(language)) }
                ul { @for check in words.checks { li { (with_code(check)) } } }
            }
        }
        footer { p { (words::quote_this_id(language)) " " code { (id) } } }
    }
}

/// A text whose names of keys and commands stand between backticks.
fn with_code(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn problem(kind: &Kind, words: &Words, id: RequestId) -> serde_json::Value {
    let mut problem = json!({
        "type": format!("urn:vestibule:problem:{}", kind.slug()),
        "title": words.title,
        "status": kind.status().as_u16(),
        "detail": format!("{} {}", words.explanation, words.advice),
        "instance": format!("urn:vestibule:request:{id}"),
        "id": id.to_string(),
    });
    for fact in &words.facts {
        problem[fact.name] = json!(fact.value);
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::StatusCode;

    use super::*;
    use crate::bearer::Denial;
    use crate::rejection::Party;

    const HOSTILE: &str = "<script>alert('1')</script>\"&\u{202e}\r\nSet-Cookie: a=b";
    const ID: u64 = 0x0123_4567_89ab_cdef;

    /// The kind after this one. A new kind does not compile before it has its place in the chain.
    fn after(kind: &Kind) -> Option<Kind> {
        let text = || HOSTILE.to_owned();
        Some(match kind {
            Kind::BadRequest => Kind::AmbiguousPath,
            Kind::AmbiguousPath => Kind::SignInCookieMissing,
            Kind::SignInCookieMissing => Kind::ForeignSignIn,
            Kind::ForeignSignIn => Kind::SignInUsed,
            Kind::SignInUsed => Kind::SignInNeeded,
            Kind::SignInNeeded => Kind::FormNotKept,
            Kind::FormNotKept => Kind::FormGone,
            Kind::FormGone => Kind::FormOfAnother,
            Kind::FormOfAnother => Kind::AccessTokenNeeded,
            Kind::AccessTokenNeeded => Kind::AccessTokenMalformed,
            Kind::AccessTokenMalformed => Kind::AccessTokenInvalid { expired: true },
            Kind::AccessTokenInvalid { .. } => Kind::AccessTokenInsufficient {
                denial: Denial::UnknownUser,
            },
            Kind::AccessTokenInsufficient { .. } => Kind::RouteDenied,
            Kind::RouteDenied => Kind::RuleDenied,
            Kind::RuleDenied => Kind::ForeignOrigin,
            Kind::ForeignOrigin => Kind::ProviderRefused {
                provider: text(),
                error: text(),
            },
            Kind::ProviderRefused { .. } => Kind::ClientRefused {
                provider: text(),
                error: text(),
            },
            Kind::ClientRefused { .. } => Kind::TokenInvalid { provider: text() },
            Kind::TokenInvalid { .. } => Kind::Conflict,
            Kind::Conflict => Kind::Inactive,
            Kind::Inactive => Kind::Refused {
                reason: text(),
                field: Some(text()),
                message: Some(text()),
            },
            Kind::Refused { .. } => Kind::TokenTooLarge,
            Kind::TokenTooLarge => Kind::LoopCookieLost,
            Kind::LoopCookieLost => Kind::LoopApplication,
            Kind::LoopApplication => Kind::NotFound,
            Kind::NotFound => Kind::MethodNotAllowed { allow: "GET, HEAD" },
            Kind::MethodNotAllowed { .. } => Kind::RequestTimeout,
            Kind::RequestTimeout => Kind::BodyTooLarge,
            Kind::BodyTooLarge => Kind::UnknownExpectation,
            Kind::UnknownExpectation => Kind::WrongHost,
            Kind::WrongHost => Kind::HeaderTooLarge,
            Kind::HeaderTooLarge => Kind::ApplicationUnreachable,
            Kind::ApplicationUnreachable => Kind::ConnectionSignIn,
            Kind::ConnectionSignIn => Kind::ProviderDown { provider: text() },
            Kind::ProviderDown { .. } => Kind::StoreDown,
            Kind::StoreDown => Kind::ReceiverDown,
            Kind::ReceiverDown => Kind::ApplicationSlow,
            Kind::ApplicationSlow => return None,
        })
    }

    fn every_kind() -> Vec<Kind> {
        std::iter::successors(Some(Kind::BadRequest), after).collect()
    }

    fn links() -> Links {
        Links {
            sign_in: Some("/wfgen/auth/login?return_to=%2Fwfgen%2F&a=\"<".into()),
            other_account: Some("/wfgen/auth/login?prompt=select_account".into()),
            here: Some("/wfgen/here".into()),
            home: Some("https://workflow.example.com/wfgen".into()),
        }
    }

    fn rendered(kind: &Kind, language: Language, form: Form) -> Document {
        render(kind, RequestId::from_number(ID), language, form, &links())
    }

    /// Every tag is closed by its own end tag, in order.
    fn assert_balanced(html: &str) {
        let mut open = Vec::new();
        for piece in html.split('<').skip(1) {
            let (tag, _) = piece.split_once('>').expect("a tag ends");
            assert!(!tag.contains(['\n', '\r']), "{tag}");
            let name = tag.split(' ').next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{html}"),
                None if matches!(name, "!DOCTYPE" | "meta") => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn every_kind_has_its_own_slug_and_an_error_status() {
        let kinds = every_kind();
        assert_eq!(kinds.len(), 38);
        let slugs: BTreeSet<_> = kinds.iter().map(Kind::slug).collect();
        assert_eq!(slugs.len(), kinds.len());
        for kind in &kinds {
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            let slug = kind.slug();
            assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }

    #[test]
    fn every_page_is_whole_in_both_languages() {
        for kind in every_kind() {
            let mut texts = BTreeSet::new();
            for language in Language::ALL {
                let document = rendered(&kind, language, Form::Page);
                let html = &document.body;
                assert_eq!(document.content_type, "text/html; charset=utf-8");
                assert_balanced(html);
                assert!(html.contains(&format!("<html lang=\"{}\">", language.tag())));
                assert!(html.contains("<code>0123456789abcdef</code>"), "{html}");
                assert!(!html.contains("<script"), "{html}");
                assert!(!html.contains('\u{202e}') && !html.contains('\r'), "{html}");
                assert!(!html.contains('`'), "{html}");
                assert_eq!(html.matches("<h1>").count(), 1);
                assert!(
                    html.contains("<a class=\"button\""),
                    "{} leads on",
                    kind.slug()
                );
                let words = Words::of(&kind, language);
                for text in [words.title, words.explanation, words.advice] {
                    assert!(!text.trim().is_empty());
                    assert!(texts.insert(text), "{} says twice: {text}", kind.slug());
                }
            }
            let [english, french] = Language::ALL.map(|l| Words::of(&kind, l).checks.len());
            assert_eq!(english, french, "{}", kind.slug());
        }
    }

    #[test]
    fn every_problem_is_whole_in_both_languages() {
        for kind in every_kind() {
            for language in Language::ALL {
                let document = rendered(&kind, language, Form::Problem);
                assert_eq!(document.content_type, "application/problem+json");
                let problem: serde_json::Value = serde_json::from_str(&document.body).unwrap();
                let slug = kind.slug();
                assert_eq!(problem["type"], format!("urn:vestibule:problem:{slug}"));
                assert_eq!(problem["status"], kind.status().as_u16());
                assert_eq!(problem["id"], "0123456789abcdef");
                assert_eq!(
                    problem["instance"],
                    "urn:vestibule:request:0123456789abcdef"
                );
                assert_eq!(problem["title"], Words::of(&kind, language).title);
                assert!(problem["detail"].as_str().is_some_and(|d| d.len() > 20));
            }
        }
    }

    #[test]
    fn french_is_typeset_as_french() {
        for kind in every_kind() {
            let words = Words::of(&kind, Language::French);
            let texts = [words.title, words.explanation, words.advice];
            for text in texts.iter().chain(words.checks) {
                for mark in [" :", " ;", " ?", " !", "'"] {
                    assert!(!text.contains(mark), "{mark:?} in {text}");
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_which_field_and_why() {
        let kind = Kind::Refused {
            reason: "field email is required, its claim is missing".into(),
            field: Some("email".into()),
            message: Some("Ask <b>HR</b>.".into()),
        };
        let page = rendered(&kind, Language::French, Form::Page).body;
        assert!(page.contains("<dd>email</dd>"), "{page}");
        let reason = "<dd lang=\"en\">field email is required, its claim is missing</dd>";
        assert!(page.contains(reason), "{page}");
        assert!(
            page.contains("<dd>Ask &lt;b&gt;HR&lt;/b&gt;.</dd>"),
            "{page}"
        );
        let problem = rendered(&kind, Language::English, Form::Problem).body;
        let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
        assert_eq!(problem["field"], "email");
        assert_eq!(
            problem["reason"],
            "field email is required, its claim is missing"
        );
    }

    #[test]
    fn a_sentence_in_the_place_of_an_error_code_is_not_repeated() {
        let answered = |error: &str| Kind::ProviderRefused {
            provider: "okta".into(),
            error: error.into(),
        };
        let page = |error: &str| rendered(&answered(error), Language::English, Form::Page).body;
        assert!(page("access_denied").contains("<dd>access_denied</dd>"));
        for lure in ["Call 555 0100 to unlock", "", &"a".repeat(65), "<b>"] {
            assert!(page(lure).contains("<dd>unreadable</dd>"), "{lure}");
        }
    }

    #[test]
    fn a_very_long_reason_is_cut() {
        let kind = Kind::Refused {
            reason: "é".repeat(100_000),
            field: None,
            message: None,
        };
        let problem = rendered(&kind, Language::English, Form::Problem).body;
        assert!(problem.len() < 2_000, "{}", problem.len());
    }

    #[test]
    fn sign_in_refusals_offer_another_account_and_another_try() {
        for kind in every_kind() {
            if kind.status() != StatusCode::FORBIDDEN
                || matches!(
                    kind,
                    Kind::RouteDenied
                        | Kind::RuleDenied
                        | Kind::ForeignOrigin
                        | Kind::FormOfAnother
                )
                || matches!(kind, Kind::AccessTokenInsufficient { .. })
            {
                continue;
            }
            let page = rendered(&kind, Language::English, Form::Page).body;
            assert!(page.contains("prompt=select_account"), "{}", kind.slug());
            assert!(page.contains(">Try again<"), "{}", kind.slug());
        }
    }

    #[test]
    fn broken_sign_ins_can_be_started_again() {
        for kind in [
            Kind::SignInCookieMissing,
            Kind::ForeignSignIn,
            Kind::SignInUsed,
        ] {
            let page = rendered(&kind, Language::English, Form::Page).body;
            assert!(page.contains("/auth/login?return_to="), "{}", kind.slug());
        }
    }

    #[test]
    fn a_link_that_is_not_given_is_not_offered() {
        for kind in every_kind() {
            let id = RequestId::from_number(ID);
            let none = Links::default();
            let page = render(&kind, id, Language::English, Form::Page, &none).body;
            assert!(!page.contains("href"), "{page}");
            assert_balanced(&page);
        }
    }

    #[test]
    fn what_anybody_can_provoke_is_no_warning() {
        for kind in every_kind() {
            let by_anybody =
                kind.status().is_client_error() && kind.status() != StatusCode::FORBIDDEN;
            if by_anybody || kind == Kind::RouteDenied {
                assert_eq!(kind.party(), Party::UserAgent, "{}", kind.slug());
                assert_eq!(kind.party().level(), tracing::Level::INFO);
            }
        }
    }
}
