//! `[[directories.push]]`: where users are handed on to.

use std::time::Duration;

use url::Url;

use super::{operator, server::covers_path};
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{Access, Foreign, OnFailure, Push, Route, Server, Timing};

/// One of `[[directories.push]]`; `earlier` are the URLs of all before.
pub(super) fn push(section: &Section<'_>, earlier: &mut Vec<String>) -> Option<Push> {
    let kind = section.get("kind", |value| value.choice(&[("scim", ())]));
    // The other keys are read whatever is wrong with this one.
    let url = match section.optional("url", |value| url(value, earlier)) {
        Some(None) => section.missing("url"),
        found => found.flatten(),
    };
    let token = section.optional("token", operator::token);
    let foreign = section.get("foreign", |value| {
        value.choice(&[("accept", Foreign::Accept), ("conflict", Foreign::Conflict)])
    });
    let timing = section.get("timing", |value| {
        value.choice(&[
            ("inline", Timing::Inline),
            ("background", Timing::Background),
        ])
    });
    let on_failure = section.get("on_failure", |value| {
        value.choice(&[("deny", OnFailure::Deny), ("continue", OnFailure::Continue)])
    });
    let timeout = section.get("timeout", |value| {
        value.duration(Duration::from_millis(100)..=Duration::from_secs(60))
    });
    kind?;
    Some(Push {
        url: url?,
        token: token?,
        foreign: foreign?,
        timing: timing?,
        on_failure: on_failure?,
        timeout: timeout?,
    })
}

fn url(value: &Value<'_>, earlier: &mut Vec<String>) -> Option<Url> {
    let expected = r#"the base URL of a SCIM server, such as "http://127.0.0.1:8081/wfgen/scim""#;
    let Ok(mut url) = Url::parse(value.text()?) else {
        return value.refuse(expected, "begin with http:// or https://");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return value.refuse(expected, "begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "secrets are never written in this file: set `token`";
        return value.refuse_found("a URL with a user in it", expected, hint);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return value.refuse(expected, "remove everything from ? or # on");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let text = url.to_string();
    if earlier.contains(&text) {
        return value.refuse("each receiver once", "another push has it already");
    }
    earlier.push(text);
    Some(url)
}

/// A push through ourselves needs a route that lets it pass without a session.
pub(super) fn check_route(
    section: &Section<'_>,
    pushes: &[Push],
    server: &Server,
    routes: &[Route],
) {
    let public = &server.public_url;
    for push in pushes {
        let origin = push.url.origin().ascii_serialization();
        let ours = origin == public.origin() && push.url.path().starts_with(&public.base);
        let path = format!("{}/Users", push.url.path());
        let open = |route: &&Route| covers_path(&route.path, &path);
        let access = routes.iter().find(open).map(|route| route.access);
        if ours && access != Some(Access::Open) {
            section.warn(
                "directories",
                &format!(
                    "the push to {} comes to this proxy, which asks it to sign in: name the application's own address, or add an \"open\" route",
                    push.url
                ),
            );
        }
    }
}
