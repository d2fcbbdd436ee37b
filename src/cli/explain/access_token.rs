//! `explain --access-token`: which bearer routes a token opens, by the code that decides at the edge. Its signature is
//! the one thing that is not looked at.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Failure, users};
use crate::bearer::{Bearer, Bearers};
use crate::config::{self, Access, Config, Route, UserField};
use crate::environment::{Clock, SystemClock};
use crate::oidc::{AccessToken, ClaimSet, RelyingParties};
use crate::store::{self, Standing};

/// What is told of a token.
struct Told<'c> {
    /// Why no route takes it.
    fault: Option<String>,
    user: Option<Standing>,
    machine: bool,
    /// Each bearer route, and why the token does not open it.
    routes: Vec<(&'c Route, Option<&'static str>)>,
}

pub(super) async fn explain(
    config: &Config,
    provider: &config::Provider,
    claims: &ClaimSet,
    json: bool,
) -> Result<(), Failure> {
    let now = SystemClock.now();
    let told = match AccessToken::of_unverified(provider, claims, now) {
        Ok(token) => {
            let (bearer, user) = found(config, &token).await?;
            Told {
                fault: None,
                user,
                machine: bearer.is_machine(),
                routes: verdicts(config, &bearer),
            }
        }
        Err(fault) => Told {
            fault: Some(fault.to_string()),
            user: None,
            machine: false,
            routes: Vec::new(),
        },
    };
    let mut out = io::stdout().lock();
    match json {
        true => told.write_json(&mut out),
        false => told.write_text(&mut out),
    }
    .or_else(users::not_written)
}

async fn found(
    config: &Config,
    token: &AccessToken,
) -> Result<(Bearer, Option<Standing>), Failure> {
    let parties = RelyingParties::new(config).map_err(|fault| Failure::new(fault.to_string()))?;
    let store = users::existing_store(config, store::Access::Read).await?;
    let bearers = Bearers::new(config, &Arc::new(parties), store);
    bearers
        .explain(token, SystemClock.now())
        .await
        .map_err(|fault| users::store_failure(&fault))
}

fn verdicts<'c>(config: &'c Config, bearer: &Bearer) -> Vec<(&'c Route, Option<&'static str>)> {
    let mut rules = 0..;
    let routes = config.routes.iter();
    routes
        .filter(|route| route.access == Access::Bearer)
        .map(|route| {
            let rule = route.require.as_ref().and_then(|_| rules.next());
            let passes = bearer.may_pass(route.machine, rule);
            (route, passes.err().map(|denial| denial.reason()))
        })
        .collect()
}

impl Told<'_> {
    fn whose(&self) -> &'static str {
        match (&self.user, self.machine) {
            (Some(user), _) if user.active => "an active user's",
            (Some(_), _) => "an inactive user's",
            (None, true) => "a machine's",
            (None, false) => "nobody's who is known",
        }
    }

    fn username(&self) -> Option<&str> {
        let user = self.user.as_ref()?;
        user.fields.get(&UserField::Username).map(String::as_str)
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(fault) = &self.fault {
            return writeln!(out, "refused    {fault}");
        }
        writeln!(out, "token      {}", self.whose())?;
        if let Some(username) = self.username() {
            writeln!(out, "username   {username}")?;
        }
        if self.routes.is_empty() {
            writeln!(out, "routes     none has access = \"bearer\"")?;
        }
        for (route, denial) in &self.routes {
            match denial {
                None => writeln!(out, "opens      {}", route.path)?,
                Some(why) => writeln!(out, "refused at {}: {why}", route.path)?,
            }
        }
        Ok(())
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let route = |(route, denial): &(&Route, Option<&str>)| json!({ "path": route.path, "opens": denial.is_none(), "reason": denial });
        let told = json!({
            "accepted": self.fault.is_none(),
            "reason": self.fault,
            "machine": self.machine,
            "username": self.username(),
            "active": self.user.as_ref().map(|user| user.active),
            "routes": self.routes.iter().map(route).collect::<Vec<Value>>(),
        });
        serde_json::to_writer_pretty(&mut *out, &told)?;
        writeln!(out)
    }
}
