//! Layout of every page of ours, and what its reader wants: language (RFC 9110 12.5.4) and form
//! (RFC 9110 12.5.1).
//!
//! Stands apart because rejections and endpoints write pages, and neither may know the other. A
//! page is one file: no script, nothing loaded, and a Content-Security-Policy that says so.

mod preference;
mod style;

use http::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderMap, HeaderName, HeaderValue};
use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use preference::{Preferences, all_lines};

/// The languages that our pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// `en`, and what a reader of neither language gets.
    #[default]
    English,
    /// `fr`.
    French,
}

impl Language {
    /// Both.
    pub const ALL: [Language; 2] = [Language::English, Language::French];

    /// The language of an Accept-Language value.
    ///
    /// A range stands for its primary subtag (`fr-CA` is French) and a language is worth its best
    /// range, else `*`; a language named with `q=0` is out, whatever its regions say. The higher
    /// quality wins, then the one named first, then English. Elements that are not well-formed
    /// count as absent.
    pub fn of(accept_language: Option<&[u8]>) -> Self {
        let preferences = Preferences::parse(accept_language.unwrap_or_default());
        let english = preferences.of_language("en");
        let french = preferences.of_language("fr");
        match french > english {
            true => Language::French,
            false => Language::English,
        }
    }

    /// The language of a request, of all its Accept-Language lines.
    pub fn of_request(headers: &HeaderMap) -> Self {
        Self::of(all_lines(headers, &ACCEPT_LANGUAGE).as_deref())
    }

    /// Its tag, as `lang` and Content-Language say it (RFC 5646).
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::French => "fr",
        }
    }

    /// The one of two texts that is in this language.
    pub fn pick<T>(self, english: T, french: T) -> T {
        match self {
            Language::English => english,
            Language::French => french,
        }
    }
}

/// What a rejection is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// HTML, for a person.
    Page,
    /// `application/problem+json` (RFC 9457), for a program.
    Problem,
}

impl Form {
    /// The form that an Accept value asks for.
    ///
    /// A page where `text/html`, `application/xhtml+xml` or `text/*` is named and no JSON type is
    /// liked better; a problem in every other case. So `*/*` and no Accept at all are programs':
    /// browsers name `text/html` whenever they navigate, `fetch` and command-line clients do not.
    pub fn of(accept: Option<&[u8]>) -> Self {
        let preferences = Preferences::parse(accept.unwrap_or_default());
        match preferences.page() > 0 && preferences.page() >= preferences.problem() {
            true => Form::Page,
            false => Form::Problem,
        }
    }

    /// The form that a request asks for, of all its Accept lines. A navigation
    /// (`Sec-Fetch-Mode: navigate`) gets a page for `*/*` as well.
    pub fn of_request(headers: &HeaderMap) -> Self {
        let navigates = headers
            .get("sec-fetch-mode")
            .is_some_and(|mode| mode == "navigate");
        let accept = all_lines(headers, &ACCEPT);
        match Self::of(accept.as_deref()) {
            Form::Problem if navigates => {
                let any = Preferences::parse(accept.as_deref().unwrap_or(b"*/*"));
                match any.of_any() > 0 && any.problem() <= any.of_any() {
                    true => Form::Page,
                    false => Form::Problem,
                }
            }
            form => form,
        }
    }
}

/// Who may show a page of ours in a frame, and where its forms may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nobody, nowhere: every page without a form.
    Closed,
    /// Anybody may frame it: the page whose only content is the way out of a frame. Without
    /// `frame-ancestors` rather than with `*`, which leaves out the schemes of desktop programs.
    Framed,
    /// It has a form whose answer may redirect to another origin. Browsers hold every redirect
    /// after a form against `form-action`, and where a provider's sign-out leads is not known here.
    Form,
}

impl Policy {
    fn header(self) -> HeaderValue {
        let value = match self {
            Policy::Closed => &style::CLOSED,
            Policy::Framed => &style::FRAMED,
            Policy::Form => &style::FORM,
        };
        (**value).clone()
    }
}

/// A whole body with what must be said about it in the response's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Content-Type.
    pub content_type: &'static str,
    /// Content-Language.
    pub language: Language,
    /// Content-Security-Policy.
    pub content_security_policy: HeaderValue,
    /// The body.
    pub body: String,
}

impl Document {
    /// Content type of pages.
    pub const HTML: &'static str = "text/html; charset=utf-8";
    /// Content type of problems (RFC 9457 6.1).
    pub const PROBLEM: &'static str = "application/problem+json";

    /// A page made by [`layout`].
    pub fn page(language: Language, title: &str, body: Markup, policy: Policy) -> Self {
        Self {
            content_type: Self::HTML,
            language,
            content_security_policy: policy.header(),
            body: layout(language, title, body),
        }
    }

    /// A problem; `body` is JSON.
    pub fn problem(language: Language, body: String) -> Self {
        Self {
            content_type: Self::PROBLEM,
            language,
            content_security_policy: Policy::Closed.header(),
            body,
        }
    }

    /// The header fields of every response with this body. `no-store`, since each belongs to one
    /// person's moment. The referrer stays within the origin: it would tell others the address,
    /// and without it a form's Origin would be `null`, which no same-origin check can pass.
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 7] {
        [
            (CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (
                CONTENT_LANGUAGE,
                HeaderValue::from_static(self.language.tag()),
            ),
            (
                CONTENT_SECURITY_POLICY,
                self.content_security_policy.clone(),
            ),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (VARY, HeaderValue::from_static("Accept, Accept-Language")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ]
    }
}

/// A complete HTML document around `body`, which opens with its own `h1`.
pub fn layout(language: Language, title: &str, body: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style::SHEET)) }
            }
            body { main { (body) } }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn language(value: &str) -> Language {
        Language::of(Some(value.as_bytes()))
    }

    fn form(value: &str) -> Form {
        Form::of(Some(value.as_bytes()))
    }

    fn request(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn french_is_spoken_to_those_who_prefer_it() {
        for value in [
            "fr",
            "FR",
            "fr-CA",
            "fr-CA,fr;q=0.9,en-CA;q=0.8,en;q=0.7",
            "en;q=0.5, fr;q=0.6",
            "en;q=0.5,fr",
            "de, fr;q=0.4, en;q=0.3",
            "fr, en",
            "en;q=0, *",
            "*;q=0.1, en;q=0",
            "en;q=0.2, *;q=0.3",
            "en ; Q=0.1 , fr\t;\tq=0.200",
            ",, fr ,",
        ] {
            assert_eq!(language(value), Language::French, "{value}");
        }
    }

    #[test]
    fn everybody_else_is_spoken_to_in_english() {
        for value in [
            "",
            "en",
            "en-GB",
            "de",
            "de, *;q=0.5",
            "*",
            "en, fr",
            "en-US,fr;q=0.9,en;q=0.5",
            "fr;q=0",
            "fr;q=0, fr-CA",
            "fr-CA;q=0",
            "fr-CA;q=0, en;q=0",
            "fr;q=0.0, de",
            "fr;q=2",
            "fr;q=0.1234",
            "fr;q=",
            "fr;q=1.1",
            "fr;level=1",
            "fr fr",
            "frx",
            "fré",
            "\"fr\"",
        ] {
            assert_eq!(language(value), Language::English, "{value}");
        }
        assert_eq!(Language::of(None), Language::English);
    }

    #[test]
    fn browsers_get_pages() {
        for value in [
            "text/html",
            "TEXT/HTML",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "application/xhtml+xml",
            "text/*;q=0.5",
            "application/json;q=0.5, text/html;q=0.5",
            "text/html;level=\"1,2;q=0\";q=0.7, */*;q=0.1",
        ] {
            assert_eq!(form(value), Form::Page, "{value}");
        }
    }

    #[test]
    fn programs_get_problems() {
        for value in [
            "",
            "*/*",
            "application/json",
            "application/problem+json",
            "application/json, text/plain, */*",
            "text/html;q=0",
            "text/html;q=0, */*",
            "text/html;q=0, text/*",
            "text/html;q=0.4, application/json;q=0.5",
            "text/*;q=0.3, application/*;q=0.9",
            "text/html;q=1;q=1",
            r#"text/html;x="\",";q=0.2, application/json;q=0.5"#,
            "text/html;q=x",
            "text/ html",
            "image/*",
            "*/html",
        ] {
            assert_eq!(form(value), Form::Problem, "{value}");
        }
        assert_eq!(Form::of(None), Form::Problem);
    }

    #[test]
    fn a_navigation_that_takes_anything_gets_a_page() {
        let navigate = ("sec-fetch-mode", "navigate");
        let form = |fields: &[_]| Form::of_request(&request(fields));
        assert_eq!(form(&[navigate, ("accept", "*/*")]), Form::Page);
        assert_eq!(form(&[navigate]), Form::Page);
        assert_eq!(
            form(&[navigate, ("accept", "application/json")]),
            Form::Problem
        );
        assert_eq!(
            form(&[navigate, ("accept", "application/json, */*;q=0.1")]),
            Form::Problem
        );
        assert_eq!(
            form(&[("sec-fetch-mode", "cors"), ("accept", "*/*")]),
            Form::Problem
        );
    }

    #[test]
    fn several_lines_are_one_list() {
        let headers = request(&[
            ("accept-language", "en;q=0.4"),
            ("accept-language", "fr;q=0.8"),
            ("accept", "application/json;q=0.2"),
            ("accept", "text/html"),
        ]);
        assert_eq!(Language::of_request(&headers), Language::French);
        assert_eq!(Form::of_request(&headers), Form::Page);
    }

    #[test]
    fn the_policy_allows_the_style_sheet_and_nothing_else() {
        use base64::Engine as _;
        let document = Document::page(Language::French, "a <b>", html! {}, Policy::Closed);
        let policy = document.content_security_policy.to_str().unwrap();
        let (_, rest) = document.body.split_once("<style>").unwrap();
        let (sheet, _) = rest.split_once("</style>").unwrap();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sheet.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!document.body.contains("<script"));
        assert!(
            document
                .body
                .starts_with("<!DOCTYPE html><html lang=\"fr\">")
        );
        assert!(document.body.contains("<title>a &lt;b&gt;</title>"));
    }

    #[test]
    fn only_the_frame_page_may_be_framed_and_only_the_form_page_posts() {
        let text = |policy: Policy| policy.header().to_str().unwrap().to_owned();
        assert!(!text(Policy::Framed).contains("frame-ancestors"));
        assert!(text(Policy::Framed).contains("form-action 'none'"));
        assert!(text(Policy::Form).contains("frame-ancestors 'none'"));
        assert!(!text(Policy::Form).contains("form-action"));
        for policy in [Policy::Closed, Policy::Framed, Policy::Form] {
            assert!(text(policy).contains("base-uri 'none'"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_language_and_a_form(bytes: Vec<u8>) {
            Language::of(Some(&bytes));
            Form::of(Some(&bytes));
        }

        #[test]
        fn anything_like_a_list_has_a_language_and_a_form(value in "[a-z*/;,=q0-9.\" \\\\-]{0,60}") {
            language(&value);
            form(&value);
        }

        #[test]
        fn the_higher_quality_wins(english in 0u16..=1000, french in 0u16..=1000, swap: bool) {
            let quality = |thousandths: u16| format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let mut ranges = [
                format!("en;q={}", quality(english)),
                format!("fr;q={}", quality(french)),
            ];
            if swap {
                ranges.reverse();
            }
            let expected = match french > english || (swap && french == english && french > 0) {
                true => Language::French,
                false => Language::English,
            };
            prop_assert_eq!(language(&ranges.join(",")), expected);
        }

        #[test]
        fn noise_around_a_range_changes_nothing(noise in "[a-z]{4,8}(;q=0\\.[0-9]{1,3})?") {
            let value = format!("{noise}, fr;q=0.9, {noise}");
            prop_assert_eq!(language(&value), Language::French);
        }
    }
}
