//! `explain`: what a sign-in with given claims would do, by the code that provisions, writing nothing.

mod access_token;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::input::{self, Unread};
use super::{Failure, run, users};
use crate::config::{self, Config};
use crate::environment::rfc3339;
use crate::mapping::MappedField;
use crate::oidc::{ClaimSet, EmailNotVerified, TenantFault, issuer_of, session_claims};
use crate::provisioning::{Decision, Outcome, Provisioning, explain_unknown};
use crate::sealing::{Purpose, Sealer};
use crate::store::{Access, Store};

/// Bytes of a claims file; no provider's token comes near.
const LARGEST: u64 = 1024 * 1024;

/// Whose sign-in is explained.
pub(super) enum About {
    /// Somebody with the claims in a file (`-` is stdin).
    Claims(PathBuf),
    /// A program that brings this access token.
    AccessToken(PathBuf),
    /// A user, with the claims of their last sign-in.
    User(String),
}

/// Explains a sign-in. A refusal is a result too: it fails only if there is nothing to explain.
pub(super) fn explain(
    config: &Config,
    about: About,
    provider: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let runtime = run::control_runtime()?;
    let decision = match about {
        About::Claims(file) => {
            let unverified_claims = parse(&read(&file)?, &file)?;
            let provider = chosen(config, &unverified_claims, provider)?;
            runtime.block_on(decision(config, provider, &unverified_claims))?
        }
        About::AccessToken(file) => {
            let unverified_claims = parse(&read(&file)?, &file)?;
            let provider = chosen(config, &unverified_claims, provider)?;
            let explaining = access_token::explain(config, provider, &unverified_claims, json);
            return runtime.block_on(explaining);
        }
        About::User(name) => runtime.block_on(decision_about(config, &name))?,
    };
    let mut out = io::stdout().lock();
    match json {
        true => write_json(&mut out, &decision),
        false => write_table(&mut out, &decision),
    }
    .or_else(users::not_written)
}

fn read(claims: &Path) -> Result<String, Failure> {
    let shown = claims.display();
    input::text(claims, LARGEST).map_err(|unread| match unread {
        Unread::Fault(fault) => {
            Failure::new(format!("the claims in {shown} cannot be read: {fault}"))
                .hint("name a file that holds a JSON object or a JWT, or - for stdin")
        }
        Unread::TooLarge => Failure::new(format!(
            "expected at most {LARGEST} bytes of claims in {shown}, found more"
        )),
    })
}

/// A JSON object, or the payload of a JWT. Messages hold positions, never content: it may be a token.
fn parse(text: &str, file: &Path) -> Result<ClaimSet, Failure> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let malformed = |found: &str| {
        Failure::new(format!(
            "expected a JSON object of claims or a JWT in {}, found {found}",
            file.display()
        ))
        .hint("a claims file looks like {\"sub\": \"1\", \"preferred_username\": \"alice\"}")
    };
    if text.starts_with('{') {
        return serde_json::from_str(text).map_err(|fault| {
            malformed(&format!(
                "a fault at line {}, column {}",
                fault.line(),
                fault.column()
            ))
        });
    }
    let parts: Vec<&str> = text.split('.').collect();
    let payload = match parts.as_slice() {
        [_, payload, _] => *payload,
        [_, _, _, _, _] => return Err(malformed("an encrypted JWT")),
        _ => return Err(malformed("neither")),
    };
    let decoded = URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .map_err(|_| malformed("a JWT whose payload is not base64url"))?;
    let claims = serde_json::from_slice(&decoded)
        .map_err(|_| malformed("a JWT whose payload is not a JSON object"))?;
    super::eprint("hint: the token's signature and lifetime were not checked\n");
    Ok(claims)
}

/// The provider whose claims these are.
fn chosen<'a>(
    config: &'a Config,
    claims: &ClaimSet,
    name: Option<&str>,
) -> Result<&'a config::Provider, Failure> {
    let names: Vec<&str> = config.providers.iter().map(|it| it.name.as_str()).collect();
    let names = names.join(", ");
    if let Some(name) = name {
        return config
            .providers
            .iter()
            .find(|provider| provider.name == name)
            .ok_or_else(|| {
                Failure::new(format!(
                    "expected a provider of the configuration, found {name:?}"
                ))
                .hint(format!("the configuration has {names}"))
            });
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    let of = |fits: fn(&config::Issuer, &str) -> bool| {
        let mut providers = config.providers.iter();
        providers.find(|provider| issuer.is_some_and(|issuer| fits(&provider.issuer, issuer)))
    };
    // Of a tenant that is not let in, it is told why not.
    let named = of(config::Issuer::names).or_else(|| of(|known, it| known.tenant_in(it).is_some()));
    match (named, config.providers.as_slice()) {
        (Some(provider), _) | (None, [provider]) => Ok(provider),
        _ => Err(Failure::new(
            "the claims do not tell which provider sent them: none has their iss",
        )
        .hint(format!(
            "add --provider NAME; the configuration has {names}"
        ))),
    }
}

async fn decision(
    config: &Config,
    provider: &config::Provider,
    claims: &ClaimSet,
) -> Result<Decision, Failure> {
    let of_session = is_of_session(config, provider, claims);
    let issuer = match issuer(provider, claims, of_session) {
        Ok(issuer) => issuer,
        Err(fault) => return Ok(refused(config, provider, claims, fault.to_string())),
    };
    let mapped = match of_session {
        true => claims.clone(),
        false => match provider_claims(config, provider, issuer, claims) {
            Ok(mapped) => mapped,
            Err(fault) => return Ok(refused(config, provider, claims, fault.to_string())),
        },
    };
    let place = &config.store.place;
    let store = Store::open_existing(place, Access::Read)
        .await
        .map_err(|fault| users::store_failure(&fault))?;
    let Some(store) = store else {
        super::eprint(&format!(
            "hint: there is no store at {place} yet; explained against an empty directory\n"
        ));
        return Ok(explain_unknown(config, &provider.name, &mapped));
    };
    let subject = claims.get(&provider.subject_claim).and_then(Value::as_str);
    if subject.is_none_or(str::is_empty) {
        super::eprint(&format!(
            "hint: the claims have no {:?}; explained as somebody whose identity is not known\n",
            provider.subject_claim
        ));
    }
    // No identity has an empty subject.
    Provisioning::new(config, store)
        .explain(&provider.name, issuer, subject.unwrap_or_default(), &mapped)
        .await
        .map_err(|fault| users::store_failure(&fault))
}

/// The provider's own claims as mappings read them; a hint tells where they are not what a sign-in there would send.
fn provider_claims(
    config: &Config,
    provider: &config::Provider,
    issuer: &str,
    claims: &ClaimSet,
) -> Result<ClaimSet, EmailNotVerified> {
    let config::Provider {
        name,
        username_claim,
        ..
    } = provider;
    let other = claims
        .get("iss")
        .and_then(Value::as_str)
        .filter(|iss| *iss != issuer);
    if let Some(other) = other {
        super::eprint(&format!(
            "hint: explained as claims of provider {name}, whose issuer is {issuer:?}; these have iss {other:?}\n"
        ));
    }
    if !claims.contains_key(username_claim) {
        super::eprint(&format!(
            "hint: the claims have no {username_claim:?}, the username_claim of provider {name}, of which {:?} is made\n",
            config.session.username_claim
        ));
    }
    session_claims(claims, provider, &config.session)
}

/// What the user's last sign-in would do now: its claims are kept, sealed, as long as its session is.
async fn decision_about(config: &Config, name: &str) -> Result<Decision, Failure> {
    let store = users::existing_store(config, Access::Read).await?;
    let user = users::named(&store, name).await?;
    let recorded = store.claims_of(&user.id).await;
    let recorded = recorded.map_err(|fault| users::store_failure(&fault))?;
    let gone = || {
        let name = user.username();
        Failure::new(format!("no sign-in of {name} is kept any more, and with it no claims"))
            .hint("give claims with --claims FILE, or see what happened: vestibule users show NAME --history")
    };
    let recorded = recorded.ok_or_else(gone)?;
    let sealed = recorded.claims.as_deref().ok_or_else(gone)?;
    let claims = Sealer::new(&config.session)
        .open(Purpose::SessionClaims, recorded.sid.as_bytes(), sealed)
        .map_err(|fault| {
            Failure::new(format!(
                "the claims of the last sign-in cannot be opened: {fault}"
            ))
            .hint("was session.sealing_keys changed since? the next sign-in mends it")
        })?;
    let claims: ClaimSet = serde_json::from_slice(&claims).unwrap_or_default();
    let named = |provider: &&config::Provider| provider.name == recorded.provider;
    let provider = config.providers.iter().find(named).ok_or_else(gone)?;
    let issuer = match issuer(provider, &claims, true) {
        Ok(issuer) => issuer,
        Err(fault) => return Ok(refused(config, provider, &claims, fault.to_string())),
    };
    let identity = user.identities.iter().find(|(of, _)| of == issuer);
    let (issuer, subject) = identity.ok_or_else(gone)?;
    let at = rfc3339(recorded.at);
    super::eprint(&format!("hint: with the claims of the sign-in at {at}\n"));
    Provisioning::new(config, store.clone())
        .explain(&recorded.provider, issuer, subject, &claims)
        .await
        .map_err(|fault| users::store_failure(&fault))
}

/// Whether these are claims of a session token already. A provider's own token may carry a claim of that name
/// too; a sign-in takes no notice of it.
fn is_of_session(config: &Config, provider: &config::Provider, claims: &ClaimSet) -> bool {
    let issuer = claims.get("iss").and_then(Value::as_str);
    let of_provider = issuer.is_some_and(|issuer| provider.issuer.names(issuer));
    claims.contains_key(&config.session.username_claim) && !of_provider
}

/// The issuer that a sign-in with these claims has. The `iss` of a session token is ours, and says nothing of it.
fn issuer<'p>(
    provider: &'p config::Provider,
    claims: &ClaimSet,
    of_session: bool,
) -> Result<&'p str, TenantFault> {
    let mut claims = claims.clone();
    if of_session {
        claims.remove("iss");
    }
    issuer_of(provider, &claims)
}

/// A sign-in that ends before provisioning.
fn refused(
    config: &Config,
    provider: &config::Provider,
    claims: &ClaimSet,
    reason: String,
) -> Decision {
    Decision {
        outcome: Outcome::Refused,
        reason,
        rule: None,
        before: None,
        after: None,
        ..explain_unknown(config, &provider.name, claims)
    }
}

fn write_json(out: &mut impl Write, decision: &Decision) -> io::Result<()> {
    let fields: Map<String, Value> = decision
        .explanation
        .fields
        .iter()
        .map(|mapped| (mapped.field.name().to_owned(), field_json(mapped, decision)))
        .collect();
    let other = |(name, why): &(String, String)| json!({ "directory": name, "reason": why });
    let others: Vec<Value> = decision.others.iter().map(other).collect();
    let explained = json!({
        "outcome": decision.outcome.as_str(),
        "directory": decision.directory,
        "reason": decision.reason,
        "rule": decision.rule,
        "fields": fields,
        "passed_over": others,
    });
    serde_json::to_writer_pretty(&mut *out, &explained)?;
    writeln!(out)
}

fn field_json(mapped: &MappedField, decision: &Decision) -> Value {
    let mut field = json!({
        "value": mapped.value.as_ref().ok(),
        "claim": mapped.claim,
        "sync": mapped.sync.as_str(),
        "missing": mapped.missing.as_str(),
        "before": before(mapped, decision),
        "after": after(mapped, decision),
    });
    if let Err(fault) = &mapped.value {
        field["error"] = fault.as_str().into();
    }
    field
}

/// As it would be stored; nothing where nobody is let in.
fn after<'a>(mapped: &MappedField, decision: &'a Decision) -> Option<&'a str> {
    decision.after.as_ref()?.field(mapped.field)
}

fn before<'a>(mapped: &MappedField, decision: &'a Decision) -> Option<&'a str> {
    decision.before.as_ref()?.field(mapped.field)
}

fn write_table(out: &mut impl Write, decision: &Decision) -> io::Result<()> {
    let mut rows = vec![
        [
            "FIELD", "VALUE", "CLAIM", "SYNC", "MISSING", "BEFORE", "AFTER",
        ]
        .map(str::to_owned),
    ];
    rows.extend(decision.explanation.fields.iter().map(|mapped| {
        let value = match &mapped.value {
            Ok(Some(value)) => value.as_str(),
            Ok(None) => "(missing)",
            Err(_) => "(at fault)",
        };
        [
            mapped.field.name(),
            value,
            mapped.claim.as_deref().unwrap_or("-"),
            mapped.sync.as_str(),
            mapped.missing.as_str(),
            before(mapped, decision).unwrap_or("-"),
            after(mapped, decision).unwrap_or("-"),
        ]
        .map(str::to_owned)
    }));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    for row in &rows {
        users::write_row(out, row, &widths)?;
    }
    writeln!(out)?;
    for mapped in &decision.explanation.fields {
        if let Err(fault) = &mapped.value {
            writeln!(out, "at fault   {fault}")?;
        }
    }
    writeln!(out, "outcome    {}", decision.outcome.as_str())?;
    writeln!(out, "directory  {}", decision.directory)?;
    writeln!(out, "reason     {}", decision.reason)?;
    if let Some(rule) = &decision.rule {
        writeln!(out, "rule       {rule}")?;
    }
    for (name, why) in &decision.others {
        writeln!(out, "not in     {name}: {why}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file() -> &'static Path {
        Path::new("claims")
    }

    #[test]
    fn takes_an_object_or_a_jwt() {
        let claims = "{\"sub\": \"1\"}";
        let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        for text in [
            claims,
            "\u{feff} {\"sub\": \"1\"}\n",
            &token,
            &format!("{token}\n"),
        ] {
            assert_eq!(parse(text, file()).unwrap()["sub"], "1", "{text}");
        }
    }

    #[test]
    fn faults_never_show_the_content() {
        let array = format!("e30.{}.x", URL_SAFE_NO_PAD.encode("[\"hunter2\"]"));
        for text in [
            "",
            "hunter2",
            "{\"hunter2\": ",
            "a.hunter2!.c",
            "a.b.c.d.hunter2",
            &array,
        ] {
            let failure = parse(text, file()).unwrap_err();
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
            assert!(failure.message.contains("expected"), "{}", failure.message);
            assert_eq!(failure.code, 1);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s).{0,60}") {
            let _ = parse(&text, file());
        }
    }
}
