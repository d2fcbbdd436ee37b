//! The application's page: who it thinks is there, and what that rests on.

use http::{Method, StatusCode};
use maud::{Markup, html};
use serde_json::Value;

use crate::store::{self, User};

use super::Installation;
use super::arrival::{Arrival, SessionToken, user_rows};
use crate::demo::listener::Answer;
use crate::demo::page::{Maker, page, table};

/// The page for a request.
pub(super) fn page_of(
    arrival: &Arrival,
    known: Result<&Option<User>, &store::Error>,
    installation: &Installation,
) -> Answer {
    let Some(username) = arrival.username() else {
        return around_the_proxy(arrival, installation);
    };
    let body = html! {
        (greeting(arrival, &username, installation))
        (links(installation))
        @if arrival.method != Method::GET && arrival.method != Method::HEAD { (sent(arrival)) }
        h2 { "Your record in the directory" }
        (record(known))
        h2 { "Things to try" }
        (ideas(installation))
        h2 { "The session token’s claims" }
        (token(arrival.token.as_ref(), installation))
        h2 { "The request as it arrived" }
        (headers(arrival))
        h2 { "Send a form" }
        (form(installation))
    };
    let title = format!("Hello, {username}");
    page(StatusCode::OK, Maker::Application, &title, &body)
}

fn greeting(arrival: &Arrival, username: &str, installation: &Installation) -> Markup {
    let agrees = match &arrival.token {
        Some(SessionToken::Accepted {
            username: named, ..
        }) => named.as_deref() == Some(username),
        _ => false,
    };
    html! {
        p {
            "The proxy says so in the header " code { (installation.user_header) } ". "
            @if agrees { span.good { "The session token names the same person." } }
        }
        @if !agrees {
            p.wrong role="alert" { "The session token does not name the same person." }
        }
    }
}

fn links(installation: &Installation) -> Markup {
    let auth = &installation.auth_prefix;
    html! {
        nav aria-label="Links" {
            div.actions {
                a.button href={ (auth) "/logout" } { "Sign out" }
                a.button.plain href={ (auth) "/session" } { "Who am I, says the proxy" }
                a.button.plain href={ (installation.base) "/echo" } { "This page as JSON" }
            }
        }
    }
}

fn record(known: Result<&Option<User>, &store::Error>) -> Markup {
    match known {
        Ok(Some(user)) => {
            let rows = user_rows(user);
            let rows = rows.iter().map(|(name, value)| (*name, value.as_str()));
            let caption =
                "Written by the proxy while you signed in, before this page was asked for.";
            table(caption, ["Field", "Value"], rows)
        }
        Ok(None) => html! { p.wrong { "The directory knows nobody of that name." } },
        Err(_) => html! { p.wrong { "The directory does not answer now." } },
    }
}

fn token(token: Option<&SessionToken>, installation: &Installation) -> Markup {
    match token {
        Some(SessionToken::Accepted { claims, .. }) => {
            let values: Vec<(&str, String)> = claims
                .iter()
                .map(|(name, value)| (name.as_str(), in_words(value)))
                .collect();
            let rows = values.iter().map(|(name, value)| (*name, value.as_str()));
            let caption =
                "Signature, issuer, audience and expiry checked here with the shared secret.";
            table(caption, ["Claim", "Value"], rows)
        }
        Some(SessionToken::Refused(reason)) => html! {
            p.wrong { "The application does not accept the session token: " (reason) "." }
        },
        None => html! {
            p { "No cookie " code { (installation.cookie) } " came with the request." }
        },
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn headers(arrival: &Arrival) -> Markup {
    // What the proxy has its hand in comes first.
    let is_ours = |name: &str| {
        name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "via" | "cookie")
    };
    let (ours, theirs): (Vec<_>, Vec<_>) =
        arrival.headers.iter().partition(|(name, _)| is_ours(name));
    let rows = ours.into_iter().chain(theirs);
    html! {
        pre {
            (arrival.method) " " (arrival.path)
            @if let Some(query) = &arrival.query { "?" (query) }
        }
        (table(
            "Every header, the proxy’s first, cookies cut short.",
            ["Header", "Value"],
            rows.map(|(name, value)| (name.as_str(), value.as_str())),
        ))
    }
}

fn sent(arrival: &Arrival) -> Markup {
    html! {
        h2 { "What was sent" }
        p { "A " (arrival.method) " request with this body:" }
        pre { (arrival.body) }
    }
}

fn form(installation: &Installation) -> Markup {
    html! {
        form method="post" action={ (installation.base) "/requests/new" } {
            label for="message" { "Message" }
            input #message type="text" name="message" value="A purchase request" autocomplete="off" aria-describedby="message_hint";
            p #message_hint .hint { "The body passes through the proxy as it is." }
            div.actions { button.button type="submit" { "Send" } }
        }
    }
}

fn ideas(installation: &Installation) -> Markup {
    let base = &installation.base;
    html! {
        ul {
            li { "Sign out, sign in again under the same name with another department: the directory follows." }
            li { "Leave " code { "family_name" } " out of the claims of a new person: the directory requires it, and nobody is created." }
            li { "Let the form suggest the claims of somebody new, then write this name into " code { "preferred_username" } ": a conflict, never a take-over." }
            li { "Open " a href={ (base) "/requests/42?view=all" } { (base) "/requests/42?view=all" } " signed out: you come back to just that address." }
            li { "Open " code { (base.to_uppercase()) "/" } ": the proxy knows one spelling of the path and sends you to it." }
            li { "Send a header " code { (installation.user_header) } " of your own, with curl and your cookie: it does not arrive." }
        }
    }
}

fn around_the_proxy(arrival: &Arrival, installation: &Installation) -> Answer {
    let body = html! {
        p.wrong { "This request has no header " code { (installation.user_header) } ": it did not come through the proxy." }
        p {
            "A real installation lets nobody but the proxy reach the application. Go in by the front door: "
            a href=(installation.audience) { (installation.audience) } "."
        }
        (headers(arrival))
    };
    page(
        StatusCode::FORBIDDEN,
        Maker::Application,
        "Nobody is signed in",
        &body,
    )
}
