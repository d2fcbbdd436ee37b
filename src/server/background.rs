//! Everything that runs beside requests: discovery, ended sessions, housekeeping, the admin listener.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use super::listener::AdminSocket;
use crate::admin;
use crate::config::Config;
use crate::endpoint::Endpoints;

/// How often ended sessions are read from the store.
const FOLLOW_ENDS: Duration = Duration::from_secs(1);
/// How often the store is tidied and the gauges are set.
const KEEP_HOUSE: Duration = Duration::from_secs(10);
/// How long a task that broke is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs for as long as the process. A task that breaks is told to the log and begun again: if the one that follows
/// ended sessions were gone in silence, nobody would be put out any more.
fn stays<F>(what: &'static str, begin: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
            tracing::error!(
                task = what,
                "a task beside requests broke, and begins again; please report this"
            );
            tokio::time::sleep(AGAIN).await;
        }
    })
}

/// Everything that runs beside requests.
pub(super) fn keep_up(
    endpoints: &Arc<Endpoints>,
    admin: Option<AdminSocket>,
    draining: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let parties = endpoints.parties.iter().map(|party| {
        let party = Arc::clone(party);
        stays("discovery", move || Arc::clone(&party).stay_discovered())
    });
    let mut tasks: Vec<_> = parties.collect();
    tasks.extend((0..endpoints.servers.count()).map(|index| {
        let servers = Arc::clone(&endpoints.servers);
        stays("checks of the application's servers", move || {
            Arc::clone(&servers).stay_checked(index)
        })
    }));
    tasks.extend(follow_sessions(endpoints));
    tasks.push(every(KEEP_HOUSE, "housekeeping", endpoints, keep_house));
    if !endpoints.outbox.is_empty() {
        let outbox = Arc::clone(&endpoints.outbox);
        tasks.push(stays("pushes", move || Arc::clone(&outbox).deliver()));
    }
    for directory in &endpoints.text_directories {
        let (directory, metrics) = (Arc::clone(directory), Arc::clone(&endpoints.metrics));
        tasks.push(stays("a text directory", move || {
            let metrics = Arc::clone(&metrics);
            Arc::clone(&directory).follow(move |name, outcome| {
                metrics.directory_file(name, outcome.as_str());
            })
        }));
    }
    if let Some(socket) = admin {
        let (endpoints, draining) = (Arc::clone(endpoints), Arc::clone(draining));
        // It owns its socket, and answers each connection in a task of its own.
        tasks.push(tokio::spawn(async move {
            admin::serve(socket.listening().await, endpoints, draining).await;
        }));
    }
    tasks
}

/// What is heard of sessions and users that were put out, here and on other nodes.
fn follow_sessions(endpoints: &Arc<Endpoints>) -> Vec<JoinHandle<()>> {
    let listener = Arc::clone(endpoints);
    let listening = stays("listening for ended sessions", move || {
        let listener = Arc::clone(&listener);
        async move {
            let heard = |sid: &str| listener.sessions.heard_of_end(sid);
            listener.store.tell_ends(heard).await;
        }
    });
    let ended = |endpoints: Arc<Endpoints>| async move {
        // The sessions room tells the log; the next round tries again.
        let _ = endpoints.sessions.follow_ends(endpoints.clock.now()).await;
        set_gauges(&endpoints);
    };
    // Whoever follows ended sessions tells the log of a store that does not answer.
    let opened = |endpoints: Arc<Endpoints>| async move {
        let now = endpoints.clock.now();
        let _ = endpoints.sessions.follow_opened(now).await;
    };
    let bearers = |endpoints: Arc<Endpoints>| async move {
        let _ = endpoints.bearers.follow(endpoints.clock.now()).await;
    };
    let mut tasks = vec![
        listening,
        every(FOLLOW_ENDS, "following ended sessions", endpoints, ended),
        every(FOLLOW_ENDS, "following opened sessions", endpoints, opened),
    ];
    if endpoints.config.takes_access_tokens() {
        let what = "following the users of access tokens";
        tasks.push(every(FOLLOW_ENDS, what, endpoints, bearers));
    }
    tasks
}

/// The same again and again, with a pause after each time.
fn every<F>(
    pause: Duration,
    what: &'static str,
    endpoints: &Arc<Endpoints>,
    round: impl Fn(Arc<Endpoints>) -> F + Copy + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let endpoints = Arc::clone(endpoints);
    stays(what, move || {
        let endpoints = Arc::clone(&endpoints);
        async move {
            loop {
                round(Arc::clone(&endpoints)).await;
                tokio::time::sleep(pause).await;
            }
        }
    })
}

fn set_gauges(endpoints: &Endpoints) {
    endpoints.metrics.store_up(endpoints.sessions.store_is_up());
    for party in endpoints.parties.iter() {
        endpoints
            .metrics
            .provider_up(party.name(), party.availability().is_ok());
    }
}

async fn keep_house(endpoints: Arc<Endpoints>) {
    let now = endpoints.clock.now();
    let kept = endpoints
        .store
        .keep_house(now, audit_before(&endpoints.config, now))
        .await;
    if let Ok(pending) = endpoints.store.pending_pushes().await {
        endpoints.metrics.push_pending(pending);
    }
    match (kept, endpoints.store.live_sessions(now).await) {
        (Ok(()), Ok(live)) => endpoints.metrics.sessions(live),
        (Err(error), _) | (_, Err(error)) => endpoints.sessions.store_answers(Err(&error)),
    }
}

/// When what is kept of the audit trail begins.
pub(super) fn audit_before(config: &Config, now: i64) -> i64 {
    now.saturating_sub(config.store.audit_retention.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_breaks_begins_again_and_one_that_ends_has_ended() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let task = stays("a test", move || {
            let counted = Arc::clone(&counted);
            async move {
                let before = counted.fetch_add(1, Ordering::Relaxed);
                assert!(before == 2, "breaks twice");
            }
        });
        task.await.unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
