//! `check`: is the configuration good, and with `--online`, is the world as it says.

use std::io::{self, Write as _};
use std::sync::Arc;

use super::{Failure, run};
use crate::config::{self, Config, Lifetime, Session, StorePlace, show_duration};
use crate::environment::{Clock, SystemClock, SystemRandom};
use crate::oidc::{ProviderReport, RelyingParties};
use crate::provisioning::scim::Receiver;
use crate::provisioning::text::{self, TextDirectory};
use crate::server::descriptors;
use crate::session::TokenKeys;
use crate::store::{self, Access, Store};
use crate::upstream;

/// Clocks further apart than this make tokens fail sooner or later.
const TOLERATED_SKEW: i64 = 5;

/// Prints the warnings of a configuration that has no faults, and `ok`.
pub(super) fn check(config: &Config, ask_around: bool) -> Result<(), Failure> {
    for warning in &config.warnings {
        super::eprint(&format!("warning: {warning}\n"));
    }
    for warning in certificate_warnings(config) {
        super::eprint(&format!("warning: server.tls: {warning}\n"));
    }
    if let Err(shortage) = descriptors::raise(&config.server.limits) {
        super::eprint(&format!("warning: {shortage}\n"));
    }
    TokenKeys::new(&config.session).map_err(|fault| Failure {
        code: Failure::BAD_CONFIGURATION,
        ..Failure::new(fault.to_string()).hint("vestibule keys generate makes fitting keys")
    })?;
    upstream::can_be_prepared(config).map_err(|fault| Failure {
        code: Failure::BAD_CONFIGURATION,
        ..Failure::new(format!("upstream: {fault}"))
    })?;
    match ask_around {
        true => online(config)?,
        false => files(config)?,
    }
    Ok(writeln!(io::stdout(), "ok")?)
}

/// The files of text directories, without asking the store who is there.
fn files(config: &Config) -> Result<(), Failure> {
    let sources = text::Source::all(config);
    if sources.is_empty() {
        return Ok(());
    }
    let runtime = run::control_runtime()?;
    for source in sources {
        let read = runtime.block_on(source.read(SystemClock.now()));
        read.map_err(|trouble| {
            Failure::new(format!("directory {}: {trouble}", source.directory()))
                .hint("the proxy goes on with what it read last; mend the file")
        })?;
    }
    Ok(())
}

/// The pair itself was looked at with the configuration.
fn certificate_warnings(config: &Config) -> Vec<String> {
    let pair = config.server.tls.as_ref();
    let pair = pair.and_then(|tls| tls.pair(&tls.read().ok()?).ok());
    let authority = &config.server.public_url.authority;
    pair.map_or_else(Vec::new, |pair| pair.warnings(SystemClock.now(), authority))
}

/// Asks the providers, the application, the store and the clock; one line each, all before it fails.
fn online(config: &Config) -> Result<(), Failure> {
    let runtime = run::control_runtime()?;
    let (lines, failed) = runtime.block_on(async {
        let mut checks = Checks::default();
        checks.store(config).await;
        checks.application(config).await;
        checks.providers(config).await;
        checks.receivers(config).await;
        (checks.lines, checks.failed)
    });
    runtime.shutdown_background();
    lines
        .iter()
        .try_for_each(|line| writeln!(io::stdout(), "{line}"))?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} of the checks above failed"))
            .hint("mend what stands behind each \"failed\" and check again")),
    }
}

#[derive(Default)]
struct Checks {
    lines: Vec<String>,
    failed: usize,
}

impl Checks {
    fn note(&mut self, what: &str, result: Result<String, String>) {
        let (verdict, detail) = match result {
            Ok(detail) => ("ok", detail),
            Err(detail) => {
                self.failed += 1;
                ("failed", detail)
            }
        };
        self.lines.push(format!("{verdict:<7} {what}: {detail}"));
    }

    /// Leaves nothing behind: a store that is not there yet is made by the first `run`.
    async fn store(&mut self, config: &Config) {
        let place = &config.store.place;
        let opened = Store::open_existing(place, Access::Read).await;
        let found = match &opened {
            Ok(Some(store)) => match store.ping().await {
                Ok(()) => can_be_written(place).await.map(|()| place.to_string()),
                Err(error) => Err(error),
            },
            Ok(None) => Store::can_be_made(place)
                .map(|()| format!("{place} has nothing in it yet; run makes it")),
            Err(error) => return self.note("store", Err(told(error))),
        };
        self.note("store", found.map_err(|error| told(&error)));
        self.files(config, opened.ok().flatten()).await;
    }

    /// What the files of text directories would change.
    async fn files(&mut self, config: &Config, store: Option<Store>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let Some(store) = store else {
            for source in text::Source::all(config) {
                let read = source.read(clock.now()).await;
                let found = read.map(|(people, _)| format!("{} people", people.len()));
                let what = format!("directory {}", source.directory());
                self.note(&what, found.map_err(|trouble| trouble.to_string()));
            }
            return;
        };
        for directory in TextDirectory::all(config, &store, &clock) {
            let previewed = directory.preview().await;
            let what = format!("directory {}", directory.name());
            let found = previewed.map(|summary| format!("its file would mean: {summary}"));
            self.note(&what, found.map_err(|trouble| trouble.to_string()));
        }
    }

    async fn receivers(&mut self, config: &Config) {
        for push in config.directories.iter().flat_map(|it| &it.push) {
            let what = format!("receiver {}", push.url);
            let probed = match Receiver::new(push) {
                Ok(receiver) => receiver.probe().await,
                Err(fault) => Err(fault),
            };
            self.note(&what, probed);
        }
    }

    async fn application(&mut self, config: &Config) {
        let seen = match upstream::look_at_all(config).await {
            Ok(seen) => seen,
            Err(fault) => return self.note("application", Err(fault)),
        };
        let path = config.upstream.health_path.as_deref();
        for (origin, status) in seen {
            // WorkflowGen itself answers 401 to a request without a session: it is alive.
            let verdict = status.and_then(|status| match (status.as_u16(), path) {
                (status @ 500.., Some(path)) => Err(format!(
                    "expected a status below 500 of {path}, found {status}"
                )),
                (status, _) => Ok(format!("it answers HTTP, status {status}")),
            });
            self.note(&format!("application {origin}"), verdict);
        }
    }

    async fn providers(&mut self, config: &Config) {
        let parties = match RelyingParties::new(config) {
            Ok(parties) => parties,
            Err(fault) => return self.note("providers", Err(fault.to_string())),
        };
        for party in parties.iter() {
            let what = format!("provider {}", party.name());
            match party.probe(&SystemRandom, &SystemClock).await {
                Ok(report) => {
                    self.provider(&what, &report);
                    if config.takes_access_tokens() {
                        self.access_tokens(&what, party.config());
                    }
                    let lasting = lasting(&config.session, &report);
                    self.note(&format!("{what}, sessions"), Ok(lasting));
                }
                Err(down) => self.note(&what, Err(down.to_string())),
            }
        }
    }

    /// Their keys and algorithms are those of ID tokens.
    fn access_tokens(&mut self, what: &str, provider: &config::Provider) {
        let name = &provider.access_token_username_claim;
        let taken = match &provider.access_token_audience {
            Some(audience) => format!("for {audience}; {name} names the user"),
            None => "refused on bearer routes: it has no access_token_audience".to_owned(),
        };
        self.note(&format!("{what}, access tokens"), Ok(taken));
    }

    fn provider(&mut self, what: &str, report: &ProviderReport) {
        self.note(&format!("{what}, discovery"), Ok(report.issuer.clone()));
        for (tenant, known) in &report.tenants {
            let known = known.clone().map(|()| "the provider knows it".to_owned());
            self.note(&format!("{what}, tenant {tenant}"), known);
        }
        let keys = report
            .keys
            .iter()
            .map(|key| key.algorithm.as_deref().unwrap_or(&key.kind));
        let kinds = keys.collect::<Vec<_>>().join(", ");
        let keys = match report.keys.is_empty() {
            true => Err(format!(
                "expected at least one usable key at {}, found none",
                report.jwks_uri
            )),
            false => Ok(format!("{} ({kinds})", report.keys.len())),
        };
        self.note(&format!("{what}, keys"), keys);
        let common = match report.common_algorithms.is_empty() {
            true => Err(format!(
                "the provider signs with {}, none of which is in providers.algorithms",
                report.announced_algorithms.join(", ")
            )),
            false => Ok(report.common_algorithms.join(", ")),
        };
        self.note(&format!("{what}, algorithms"), common);
        let known = report.client_authentication.clone();
        self.note(&format!("{what}, client authentication"), known);
        let user_info = match report.user_info_lacks {
            true => {
                Err("user_info = \"always\", but the provider has no userinfo_endpoint".to_owned())
            }
            false => Ok(report
                .userinfo_endpoint
                .clone()
                .unwrap_or_else(|| "none, and not needed".to_owned())),
        };
        self.note(&format!("{what}, UserInfo"), user_info);
        let logout = report.end_session_endpoint.clone();
        let logout = logout.unwrap_or_else(|| {
            "no end_session_endpoint: signing out ends our session alone".to_owned()
        });
        self.note(&format!("{what}, logout"), Ok(logout));
        if report.pkce_s256 == Some(false) {
            self.note(
                &format!("{what}, PKCE"),
                Ok("S256 is not announced; it is sent all the same".to_owned()),
            );
        }
        let skew = match report.clock_ahead {
            None => Ok("the provider sends no Date".to_owned()),
            Some(seconds) if seconds.abs() <= TOLERATED_SKEW => Ok(format!("{seconds} s apart")),
            Some(seconds) => Err(format!(
                "this machine's clock is {seconds} s ahead of the provider's (negative: behind); expected at most {TOLERATED_SKEW} s apart; let both follow a time server"
            )),
        };
        self.note(&format!("{what}, clock"), skew);
    }
}

/// Without sign-ins a store that can only be read looks whole: the server keeps its sessions and makes none.
async fn can_be_written(place: &StorePlace) -> Result<(), store::Error> {
    let Some(store) = Store::open_existing(place, Access::Write).await? else {
        return Ok(());
    };
    let written = store.can_be_written(SystemClock.now()).await;
    store.close().await;
    written
}

fn told(error: &store::Error) -> String {
    let hint = error.hint().map(|hint| format!("; {hint}"));
    format!("{error}{}", hint.unwrap_or_default())
}

/// How long sessions of a provider's people will be.
fn lasting(session: &Session, report: &ProviderReport) -> String {
    let one = match session.lifetime {
        Lifetime::IdToken => "as long as the ID token".to_owned(),
        Lifetime::Fixed(lifetime) => show_duration(lifetime),
    };
    let most = show_duration(session.max_lifetime);
    match (session.refresh, report.lists_offline_access) {
        (false, _) => format!("{one}, since session.refresh is false"),
        (true, true) => {
            format!("renewed while in use, up to {most}; {one} where no refresh token is given")
        }
        (true, false) => format!(
            "{one}, unless the provider gives refresh tokens unasked: its scopes_supported does not list offline_access"
        ),
    }
}
