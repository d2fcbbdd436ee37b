//! Every metric, registered once. Names and labels are fixed: operators' dashboards hang on them.
//!
//! What a request touches is counted per worker, in `metrics/worker.rs`.

mod worker;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use worker::Workers;
pub use worker::{AccessLabel, ConnectionGuard, RefusedConnection, WorkerMetrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    provider: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectoryLabels {
    directory: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabel {
    provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

/// The process's metrics.
pub struct Metrics {
    registry: Registry,
    workers: Vec<Arc<WorkerMetrics>>,
    logins: Family<LoginLabels, Counter>,
    provisioning: Family<DirectoryLabels, Counter>,
    provider_up: Family<ProviderLabel, Gauge>,
    reloads: Family<OutcomeLabel, Counter>,
    directory_files: Family<DirectoryLabels, Counter>,
    renewals: Family<LoginLabels, Counter>,
    kept_forms: Family<OutcomeLabel, Counter>,
    provider_logouts: Family<LoginLabels, Counter>,
    pushes: Family<DirectoryLabels, Counter>,
    push_pending: Gauge,
    upstream_up: Family<ServerLabel, Gauge>,
    sessions: Gauge,
    store_up: Gauge,
}

impl Metrics {
    /// Registers everything, for `workers` data-plane threads.
    pub fn new(workers: usize) -> Self {
        let workers: Vec<_> = (0..workers)
            .map(|_| Arc::new(WorkerMetrics::new()))
            .collect();
        let mut registry = Registry::with_prefix("vestibule");
        let (logins, provisioning, provider_up) =
            (Family::default(), Family::default(), Family::default());
        let reloads = Family::<OutcomeLabel, Counter>::default();
        for outcome in ["ok", "failed"] {
            drop(reloads.get_or_create(&OutcomeLabel { outcome }));
        }
        registry.register(
            "reloads",
            "Files that were read again while running",
            reloads.clone(),
        );
        let upstream_up = Family::<ServerLabel, Gauge>::default();
        let (sessions, store_up) = (Gauge::default(), Gauge::default());
        registry.register(
            "logins",
            "Sign-ins that came to an end, by outcome",
            logins.clone(),
        );
        registry.register(
            "provisioning",
            "What sign-ins did to the directory",
            provisioning.clone(),
        );
        registry.register(
            "provider_up",
            "1 while sign-ins can be started at the provider",
            provider_up.clone(),
        );
        registry.register(
            "upstream_up",
            "1 while the server of the application is well",
            upstream_up.clone(),
        );
        let directory_files = Family::default();
        registry.register(
            "directory_file",
            "What became of the files of text directories",
            directory_files.clone(),
        );
        let renewals = Family::default();
        registry.register(
            "renewals",
            "What became of renewals of sessions",
            renewals.clone(),
        );
        let kept_forms = Family::default();
        registry.register(
            "kept_forms",
            "What became of forms that met an ended session",
            kept_forms.clone(),
        );
        let provider_logouts = Family::default();
        registry.register(
            "provider_logouts",
            "What came of logouts that providers told",
            provider_logouts.clone(),
        );
        let (pushes, push_pending) = (Family::default(), Gauge::default());
        registry.register("push", "What became of pushes to receivers", pushes.clone());
        registry.register(
            "push_pending",
            "Users that receivers have still to be told of",
            push_pending.clone(),
        );
        registry.register("sessions", "Live sessions in the store", sessions.clone());
        registry.register("store_up", "1 while the store answers", store_up.clone());
        registry.register_collector(Box::new(Workers(workers.clone())));
        Self {
            registry,
            workers,
            logins,
            provisioning,
            provider_up,
            reloads,
            directory_files,
            renewals,
            kept_forms,
            provider_logouts,
            pushes,
            push_pending,
            upstream_up,
            sessions,
            store_up,
        }
    }

    /// The counters of worker `index`.
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        Arc::clone(&self.workers[index])
    }

    /// Counts a sign-in's end: a provisioning outcome, or the slug of a rejection.
    pub fn login(&self, provider: &str, outcome: &'static str) {
        self.logins
            .get_or_create(&LoginLabels {
                provider: provider.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Counts what came of the renewal of a session.
    pub fn renewal(&self, provider: &str, outcome: &'static str) {
        self.renewals
            .get_or_create(&LoginLabels {
                provider: provider.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Counts what came of a logout that a provider told.
    pub fn provider_logout(&self, provider: &str, outcome: &'static str) {
        self.provider_logouts
            .get_or_create(&LoginLabels {
                provider: provider.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Counts what became of a form that met an ended session.
    pub fn kept_form(&self, outcome: &'static str) {
        self.kept_forms
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    /// Counts what a sign-in did to a directory.
    pub fn provisioning(&self, directory: &str, outcome: &'static str) {
        self.provisioning
            .get_or_create(&DirectoryLabels {
                directory: directory.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Says whether sign-ins can be started at a provider.
    pub fn provider_up(&self, provider: &str, up: bool) {
        self.provider_up
            .get_or_create(&ProviderLabel {
                provider: provider.to_owned(),
            })
            .set(i64::from(up));
    }

    /// Counts files that changed and were read again: `ok`, or `failed` and left as they were.
    pub fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts what became of a push.
    pub fn push(&self, directory: &str, outcome: &'static str) {
        self.pushes
            .get_or_create(&DirectoryLabels {
                directory: directory.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Says how many pushes wait.
    pub fn push_pending(&self, pending: u64) {
        self.push_pending
            .set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// Counts what became of a text directory's file.
    pub fn directory_file(&self, directory: &str, outcome: &'static str) {
        self.directory_files
            .get_or_create(&DirectoryLabels {
                directory: directory.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Says whether a server of the application is well.
    pub fn upstream_up(&self, server: &str, up: bool) {
        self.upstream_up
            .get_or_create(&ServerLabel {
                server: server.to_owned(),
            })
            .set(i64::from(up));
    }

    /// Says how many sessions are live.
    pub fn sessions(&self, live: u64) {
        self.sessions.set(live as i64);
    }

    /// Says whether the store answers.
    pub fn store_up(&self, up: bool) {
        self.store_up.set(i64::from(up));
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn workers_are_summed_under_the_names_of_the_reference() {
        let metrics = Metrics::new(2);
        metrics
            .worker(0)
            .request(AccessLabel::Login, 200, Duration::from_millis(2));
        metrics
            .worker(1)
            .request(AccessLabel::Login, 200, Duration::from_secs(60));
        metrics.worker(1).stripped(3);
        metrics.login("okta", "created");
        let _open = metrics.worker(0).connection();
        let text = metrics.text();
        for line in [
            "vestibule_requests_total{access=\"login\",status=\"200\"} 2",
            "vestibule_request_seconds_count{access=\"login\"} 2",
            "vestibule_request_seconds_bucket{le=\"0.0025\",access=\"login\"} 1",
            "vestibule_stripped_headers_total 3",
            "vestibule_logins_total{provider=\"okta\",outcome=\"created\"} 1",
            "vestibule_connections 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
