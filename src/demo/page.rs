//! The layout that the demo's provider and application share: three boxes at the top say which of the
//! three parts made the page.
//!
//! Stands apart from the product's `page`, which must not know a demo. No script, nothing loaded.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::listener::{Answer, written};

const STYLE: &str = include_str!("page.css");

/// Forms may lead anywhere: Chromium holds `form-action` against the redirects that follow, and the
/// login form's lead back to the proxy.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
        STANDARD.encode(hash)
    )
});

/// Which of the demo's own parts made a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Provider,
    Application,
}

/// A page.
pub(super) fn page(status: StatusCode, maker: Maker, title: &str, body: &Markup) -> Answer {
    let part = match maker {
        Maker::Provider => "Provider",
        Maker::Application => "Application",
    };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · " (part) " · Vestibule demo" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { (parts(maker)) }
                main { h1 { (title) } (body) }
                footer { p { "Vestibule demo. Everything here runs on this machine and is reachable from this machine only." } }
            }
        }
    };
    let mut answer = written(status, "text/html; charset=utf-8", markup.into_string());
    let headers = answer.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn parts(maker: Maker) -> Markup {
    let parts = [
        (Some(Maker::Provider), "Provider", "says who you are"),
        (
            None,
            "Proxy",
            "Vestibule: signs you in, keeps the directory",
        ),
        (
            Some(Maker::Application),
            "Application",
            "gets your name in a header",
        ),
    ];
    html! {
        ol.parts aria-label="The three parts of the demo" {
            @for (part, name, what) in parts {
                @let here = part == Some(maker);
                li aria-current=[here.then_some("true")] {
                    strong { (name) }
                    @if here { span.here { "made this page" } }
                    span.what { (what) }
                }
            }
        }
    }
}

/// A table of names and values.
pub(super) fn table<'a>(
    caption: &str,
    heads: [&str; 2],
    rows: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Markup {
    html! {
        div.scroll {
            table {
                caption { (caption) }
                thead { tr { th scope="col" { (heads[0]) } th scope="col" { (heads[1]) } } }
                tbody {
                    @for (name, value) in rows {
                        tr { th scope="row" { code { (name) } } td { code { (value) } } }
                    }
                }
            }
        }
    }
}
