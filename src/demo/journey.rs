//! `demo --once`: one sign-in through the real proxy, every step checked and told.
//!
//! The wording is the same from run to run but for ports, so that it can be quoted.

mod form;
mod telling;

use http::StatusCode;
use serde_json::Value;
use url::Url;

use crate::store::User;

use super::Error;
use super::application::LookUp;
use super::settings::{Addresses, BASE, DIRECTORY, issuer, public_url};
use super::user_agent::{From, Response, UserAgent};
use telling::Telling;

/// A username that the proxy must not let anybody claim by a header of their own.
const FORGED: (&str, &str) = ("X-Forwarded-User", "administrator");

/// Who travels, between what.
pub(super) struct Journey<'a> {
    pub(super) addresses: Addresses,
    pub(super) look_up: &'a LookUp,
}

impl Journey<'_> {
    /// Signs one person in and tells every step on `out`.
    ///
    /// # Errors
    /// [`Error::Unexpected`] at the first step that is not as designed.
    pub(super) async fn travel(&self, out: &mut dyn std::io::Write) -> Result<(), Error> {
        let mut tell = Telling::new(out, self.addresses);
        let mut agent = UserAgent::default();
        tell.opening()?;

        let start = self.proxy(&format!("{BASE}/echo?case=42"))?;
        let authorize = self.ask(&mut agent, &start, &mut tell).await?;
        let login = self.see_form(&mut agent, &authorize, &mut tell).await?;
        let callback = self.sign_in(&mut agent, login, &mut tell).await?;
        let back = self
            .come_back(&mut agent, &callback, &start, &mut tell)
            .await?;
        let echo = self.arrive(&mut agent, &back, &mut tell).await?;
        let user = self.compare(&echo).await?;

        tell.user(&user)?;
        tell.headers(&echo)?;
        tell.token(&echo)?;
        let name = user.field(crate::config::UserField::Username);
        tell.closing(name.unwrap_or_default())
    }

    async fn ask(
        &self,
        agent: &mut UserAgent,
        start: &Url,
        tell: &mut Telling<'_>,
    ) -> Result<Url, Error> {
        let step = tell.step("The browser asks for a page of the application")?;
        let response = navigate(step, agent, start, From::Nowhere, &[]).await?;
        tell.request("GET", start, "")?;
        let authorize = redirect(step, &response, "the provider’s login page")?;
        tell.redirect(response.status, &authorize)?;
        expect(
            step,
            "a redirect to the provider’s authorization endpoint",
            &tell.short(&authorize),
            origin_of(&authorize) == issuer(self.addresses) && authorize.path() == "/authorize",
        )?;
        for name in ["state", "nonce", "code_challenge"] {
            let sent = authorize
                .query_pairs()
                .any(|(key, value)| key == name && !value.is_empty());
            expect(step, &format!("the parameter {name}"), "none", sent)?;
        }
        let cookies: Vec<String> = response.cookies().map(|it| it.name().to_owned()).collect();
        expect(
            step,
            "one cookie, which binds the sign-in to this browser",
            &format!("{} cookies", cookies.len()),
            cookies.len() == 1,
        )?;
        tell.note(&format!(
            "nobody is signed in; the cookie {} binds the sign-in to this browser",
            cookies.concat()
        ))?;
        Ok(authorize)
    }

    async fn see_form(
        &self,
        agent: &mut UserAgent,
        authorize: &Url,
        tell: &mut Telling<'_>,
    ) -> Result<form::Form, Error> {
        let step = tell.step("The provider shows its login form")?;
        let response = navigate(step, agent, authorize, From::Nowhere, &[]).await?;
        tell.request("GET", authorize, "")?;
        require_status(step, &response, StatusCode::OK)?;
        tell.answer(response.status, "Sign in")?;
        let form = form::Form::read(&response.body, authorize)
            .ok_or_else(|| Error::unexpected(step, "a login form", "a page without one"))?;
        let claims: Value = form
            .value("claims")
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| Error::unexpected(step, "claims as JSON in the form", "none"))?;
        tell.claims(&claims)?;
        Ok(form)
    }

    async fn sign_in(
        &self,
        agent: &mut UserAgent,
        mut form: form::Form,
        tell: &mut Telling<'_>,
    ) -> Result<Url, Error> {
        let step = tell.step("The form is sent")?;
        form.fields.push(("action".into(), "sign-in".into()));
        let name = form.value("user_name").unwrap_or_default().to_owned();
        tell.request("POST", &form.action, &format!("user_name={name} claims=…"))?;
        let response = agent
            .submit(&form.action, &form.fields)
            .await
            .map_err(|found| Error::unexpected(step, "an answer", &found))?;
        let callback = redirect(step, &response, "the proxy’s callback with a code")?;
        tell.redirect(response.status, &callback)?;
        let has_code = callback.query_pairs().any(|(key, _)| key == "code");
        let is_callback = callback.path() == format!("{BASE}/auth/callback")
            && origin_of(&callback) == origin_of(&self.proxy("/")?);
        expect(
            step,
            "the proxy’s callback with a code",
            &tell.short(&callback),
            is_callback && has_code,
        )?;
        Ok(callback)
    }

    async fn come_back(
        &self,
        agent: &mut UserAgent,
        callback: &Url,
        start: &Url,
        tell: &mut Telling<'_>,
    ) -> Result<Url, Error> {
        let step = tell.step(
            "The proxy redeems the code, checks the ID token, provisions the user and gives the session",
        )?;
        let response = navigate(step, agent, callback, From::Elsewhere, &[]).await?;
        tell.request("GET", callback, "")?;
        let back = redirect(step, &response, "the page that was asked for first")?;
        tell.redirect(response.status, &back)?;
        expect(
            step,
            &format!("a redirect to {}", tell.short(start)),
            &tell.short(&back),
            back == *start,
        )?;
        let session = response
            .cookies()
            .find(|cookie| cookie.name() == "wfgen_token");
        let Some(session) = session else {
            return Err(Error::unexpected(step, "the cookie wfgen_token", "none"));
        };
        expect(
            step,
            "the cookie wfgen_token to be HttpOnly",
            "that it is not",
            session.http_only() == Some(true),
        )?;
        tell.note(&format!(
            "cookie wfgen_token=…; HttpOnly; Path={}",
            session.path().unwrap_or_default()
        ))?;
        let outcome = self.outcome(step).await?;
        tell.note(&format!("outcome {outcome} in the directory {DIRECTORY}"))?;
        expect(step, "the outcome created", &outcome, outcome == "created")?;
        Ok(back)
    }

    async fn arrive(
        &self,
        agent: &mut UserAgent,
        back: &Url,
        tell: &mut Telling<'_>,
    ) -> Result<Value, Error> {
        let step = tell.step("The browser asks again, this time with a forged user header")?;
        let response = navigate(step, agent, back, From::Elsewhere, &[FORGED]).await?;
        tell.request("GET", back, &format!("{}: {}", FORGED.0, FORGED.1))?;
        require_status(step, &response, StatusCode::OK)?;
        let echo: Value = serde_json::from_str(&response.body)
            .map_err(|_| Error::unexpected(step, "JSON from the application", "something else"))?;
        tell.answer(
            response.status,
            "from the application; the forged header did not reach it",
        )?;
        let user = echo["user"].as_str().unwrap_or("nobody");
        expect(
            step,
            "the user who signed in",
            user,
            user != FORGED.1 && user != "nobody",
        )?;
        Ok(echo)
    }

    /// The application, the session token and the directory must name one person.
    async fn compare(&self, echo: &Value) -> Result<User, Error> {
        const STEP: &str = "the comparison";
        let username = echo["user"].as_str().unwrap_or_default();
        let token = &echo["session_token"];
        expect(
            STEP,
            "a session token that the application accepts",
            token["reason"].as_str().unwrap_or("none"),
            token["accepted"] == true,
        )?;
        let named = token["username"].as_str().unwrap_or("nobody");
        expect(
            STEP,
            &format!("a session token for {username}"),
            named,
            named == username,
        )?;
        (self.look_up)(username.to_owned()).await?.ok_or_else(|| {
            Error::unexpected(STEP, &format!("{username} in the directory"), "nobody")
        })
    }

    /// The outcome of the one sign-in so far, as the proxy's metrics tell it.
    async fn outcome(&self, step: &str) -> Result<String, Error> {
        let url = format!("http://127.0.0.1:{}/metrics", self.addresses.admin);
        let url = parse(&url)?;
        let response = navigate(step, &mut UserAgent::default(), &url, From::Nowhere, &[]).await?;
        let outcomes: Vec<&str> = response.body.lines().filter_map(outcome_of).collect();
        match outcomes.as_slice() {
            [one] => Ok((*one).to_owned()),
            several => {
                let found = format!("{} of them", several.len());
                Err(Error::unexpected(
                    step,
                    "one outcome in the proxy’s metrics",
                    &found,
                ))
            }
        }
    }

    fn proxy(&self, path_and_query: &str) -> Result<Url, Error> {
        let base = parse(&public_url(self.addresses))?;
        base.join(path_and_query)
            .map_err(|error| Error::unexpected("the start", "an address", &error.to_string()))
    }
}

/// The outcome label of a sample of `vestibule_provisioning_total` that is not zero.
fn outcome_of(line: &str) -> Option<&str> {
    let sample = line.strip_prefix("vestibule_provisioning_total{")?;
    let (labels, count) = sample.rsplit_once('}')?;
    let outcome = labels
        .split(',')
        .find_map(|label| label.trim().strip_prefix("outcome=\""))?;
    (count.trim() != "0").then(|| outcome.trim_end_matches('"'))
}

fn parse(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|error| Error::unexpected("the start", url, &error.to_string()))
}

async fn navigate(
    step: &str,
    agent: &mut UserAgent,
    url: &Url,
    from: From,
    more: &[(&str, &str)],
) -> Result<Response, Error> {
    let answer = agent.open(url, from, more).await;
    answer.map_err(|found| Error::unexpected(step, "an answer", &found))
}

fn redirect(step: &str, response: &Response, to: &str) -> Result<Url, Error> {
    response.redirect().ok_or_else(|| {
        let found = format!("{}{}", response.status, title(&response.body));
        Error::unexpected(step, &format!("a redirect to {to}"), &found)
    })
}

fn require_status(step: &str, response: &Response, status: StatusCode) -> Result<(), Error> {
    let found = format!("{}{}", response.status, title(&response.body));
    expect(step, status.as_str(), &found, response.status == status)
}

/// The title of a page, which says what went wrong better than its status.
fn title(body: &str) -> String {
    let title = body
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    title.map_or_else(String::new, |(title, _)| format!(" “{title}”"))
}

fn expect(step: &str, expected: &str, found: &str, holds: bool) -> Result<(), Error> {
    match holds {
        true => Ok(()),
        false => Err(Error::unexpected(step, expected, found)),
    }
}

fn origin_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_read_from_the_metrics() {
        let line = r#"vestibule_provisioning_total{directory="A",outcome="created"} 1"#;
        assert_eq!(outcome_of(line), Some("created"));
        let other_order = r#"vestibule_provisioning_total{outcome="created",directory="A"} 1"#;
        assert_eq!(outcome_of(other_order), Some("created"));
        let none = r#"vestibule_provisioning_total{directory="A",outcome="refused"} 0"#;
        assert_eq!(outcome_of(none), None);
        assert_eq!(outcome_of("# TYPE vestibule_provisioning counter"), None);
    }
}
