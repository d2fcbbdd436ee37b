//! How the journey is told: numbered steps, addresses by the part's name, secrets as `…`.

use std::fmt::Write as _;
use std::io::Write;

use http::StatusCode;
use serde_json::Value;
use url::Url;

use crate::config::UserField;
use crate::demo::Error;
use crate::demo::settings::{Addresses, issuer, public_url};
use crate::store::User;

/// Parameters whose value is a secret, or so long and random that it says nothing.
const CUT: [&str; 4] = ["code", "state", "nonce", "code_challenge"];

/// Tells the journey on a terminal.
pub(super) struct Telling<'a> {
    out: &'a mut dyn Write,
    /// Origin and name of each part.
    parts: [(String, &'static str); 3],
    steps: u32,
}

impl<'a> Telling<'a> {
    pub(super) fn new(out: &'a mut dyn Write, addresses: Addresses) -> Self {
        let proxy = public_url(addresses);
        let proxy = proxy.trim_end_matches(crate::demo::settings::BASE);
        Self {
            out,
            parts: [
                (proxy.to_owned(), "proxy"),
                (issuer(addresses), "provider"),
                (
                    format!("http://127.0.0.1:{}", addresses.application),
                    "application",
                ),
            ],
            steps: 0,
        }
    }

    /// Which part is where.
    pub(super) fn opening(&mut self) -> Result<(), Error> {
        let mut text = "One sign-in through the proxy, step by step\n\n".to_owned();
        for (origin, name) in &self.parts {
            let _ = writeln!(text, "   {name:<11}  {origin}");
        }
        self.say(&text)
    }

    /// Begins a step; gives its name back, for errors.
    pub(super) fn step(&mut self, what: &'static str) -> Result<&'static str, Error> {
        self.steps += 1;
        let text = format!("\n{}. {what}\n", self.steps);
        self.say(&text)?;
        Ok(what)
    }

    /// What is asked, and what is sent along.
    pub(super) fn request(&mut self, method: &str, url: &Url, along: &str) -> Result<(), Error> {
        let line = format!("   {method:<4} {}  {along}", self.brief(url));
        self.say(&format!("{}\n", line.trim_end()))
    }

    /// An answer that is no redirect.
    pub(super) fn answer(&mut self, status: StatusCode, what: &str) -> Result<(), Error> {
        self.say(&format!("   {:<4} {what}\n", status.as_u16()))
    }

    /// An answer that sends the browser on, with the parameters that it sends along.
    pub(super) fn redirect(&mut self, status: StatusCode, to: &Url) -> Result<(), Error> {
        let mut text = format!("   {:<4} to {}\n", status.as_u16(), self.brief(to));
        if is_elided(to) {
            let pairs: Vec<(String, String)> = to.query_pairs().into_owned().collect();
            let rows = pairs.iter().map(|(name, value)| {
                let shown = match CUT.contains(&name.as_str()) {
                    true => "…".to_owned(),
                    false => self.named(value),
                };
                (name.clone(), shown)
            });
            text.push_str(&columns("        ", rows.collect()));
        }
        self.say(&text)
    }

    /// What it means.
    pub(super) fn note(&mut self, what: &str) -> Result<(), Error> {
        self.say(&format!("        {what}\n"))
    }

    /// The claims that the provider will send.
    pub(super) fn claims(&mut self, claims: &Value) -> Result<(), Error> {
        let rows = claims.as_object().into_iter().flatten();
        let rows = rows.map(|(name, value)| (name.clone(), in_words(value)));
        self.say(&columns("        ", rows.collect()))
    }

    /// The user, from the store.
    pub(super) fn user(&mut self, user: &User) -> Result<(), Error> {
        let fields = UserField::ALL.iter();
        let mut rows: Vec<(String, String)> = fields
            .filter_map(|field| Some((field.name().to_owned(), user.field(*field)?.to_owned())))
            .collect();
        rows.push(("directory".into(), user.directory.clone()));
        rows.push(("status".into(), user.status.as_str().into()));
        for (issuer, subject) in &user.identities {
            rows.push((
                "identity".into(),
                format!("{subject} at {}", self.named(issuer)),
            ));
        }
        let text = format!("\nThe user, as stored\n{}", columns("   ", rows));
        self.say(&text)
    }

    /// The headers that reached the application.
    pub(super) fn headers(&mut self, echo: &Value) -> Result<(), Error> {
        let pairs = echo["headers"].as_array().into_iter().flatten();
        let mut rows: Vec<(String, String)> = pairs
            .map(|pair| (in_words(&pair[0]), in_words(&pair[1])))
            .collect();
        rows.sort();
        let text = format!(
            "\nThe headers that reached the application\n{}",
            columns("   ", rows)
        );
        self.say(&text)
    }

    /// The session token's claims.
    pub(super) fn token(&mut self, echo: &Value) -> Result<(), Error> {
        let claims = echo["session_token"]["claims"].as_object();
        let rows = claims.into_iter().flatten();
        let rows = rows.map(|(name, value)| (name.clone(), self.named(&in_words(value))));
        let rows = columns("   ", rows.collect());
        self.say(&format!(
            "\nThe session token’s claims, checked by the application\n{rows}"
        ))
    }

    /// The end.
    pub(super) fn closing(&mut self, username: &str) -> Result<(), Error> {
        self.say(&format!(
            "\nHeader, session token and directory name the same person: {username}\n"
        ))
    }

    /// An address with its parameters, by the part's name.
    pub(super) fn short(&self, url: &Url) -> String {
        match is_elided(url) {
            true => self.brief(url),
            false => self.named(url.as_str()),
        }
    }

    fn brief(&self, url: &Url) -> String {
        match is_elided(url) {
            true => format!("{}?…", self.named(&url[..url::Position::AfterPath])),
            false => self.named(url.as_str()),
        }
    }

    /// A text with the part's name for its origin.
    fn named(&self, text: &str) -> String {
        let part = self
            .parts
            .iter()
            .find_map(|(origin, name)| Some((name, text.strip_prefix(origin.as_str())?)));
        match part {
            Some((name, rest)) => format!("{name}{rest}"),
            None => text.to_owned(),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Error> {
        let written = self.out.write_all(text.as_bytes());
        written
            .and_then(|()| self.out.flush())
            .map_err(Error::Output)
    }
}

/// Whether the query carries protocol parameters.
fn is_elided(url: &Url) -> bool {
    url.query_pairs().any(|(name, _)| CUT.contains(&&*name))
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Two columns, the first as wide as its widest.
fn columns(indent: &str, rows: Vec<(String, String)>) -> String {
    let widths = rows.iter().map(|(name, _)| name.chars().count());
    let width = widths.max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in rows {
        // Control characters would let a claim write over the terminal.
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(text, "{indent}{name:<width$}  {value}");
    }
    text
}
