//! Every metric, registered once. Names and labels are fixed: operators' dashboards hang on them.
//!
//! What a request touches is counted per worker and summed when it is scraped, so that no two cores
//! write to one cache line.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What was asked of a request's caller, as the label `access` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLabel {
    /// A path that needs a signed-in user.
    Login,
    /// A path forwarded without identity.
    Open,
    /// A path that is refused.
    Deny,
    /// One of our own endpoints.
    Own,
    /// Answered before a route was found.
    None,
}

impl AccessLabel {
    const ALL: [AccessLabel; 5] = [
        AccessLabel::Login,
        AccessLabel::Open,
        AccessLabel::Deny,
        AccessLabel::Own,
        AccessLabel::None,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessLabel::Login => "login",
            AccessLabel::Open => "open",
            AccessLabel::Deny => "deny",
            AccessLabel::Own => "own",
            AccessLabel::None => "none",
        }
    }
}

/// Upper bounds of the duration histograms, in seconds.
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];
const STATUSES: usize = 500;

#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Durations {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.microseconds
            .fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }
}

/// What one worker counts; only that worker writes here.
#[derive(Debug)]
pub struct WorkerMetrics {
    requests: [Box<[AtomicU64]>; AccessLabel::ALL.len()],
    durations: [Durations; AccessLabel::ALL.len()],
    upstream: Durations,
    stripped: AtomicU64,
    dropped_cookies: AtomicU64,
    connections: AtomicI64,
}

impl WorkerMetrics {
    fn new() -> Self {
        Self {
            requests: std::array::from_fn(|_| (0..STATUSES).map(|_| AtomicU64::new(0)).collect()),
            durations: Default::default(),
            upstream: Durations::default(),
            stripped: AtomicU64::new(0),
            dropped_cookies: AtomicU64::new(0),
            connections: AtomicI64::new(0),
        }
    }

    /// Counts an answered request; `took` is until the response's header.
    pub fn request(&self, access: AccessLabel, status: u16, took: Duration) {
        let status = usize::from(status.clamp(100, 599)) - 100;
        self.requests[access as usize][status].fetch_add(1, Ordering::Relaxed);
        self.durations[access as usize].observe(took);
    }

    /// Counts the application's time until its response's header.
    pub fn upstream(&self, took: Duration) {
        self.upstream.observe(took);
    }

    /// Counts inbound header fields that were dropped.
    pub fn stripped(&self, fields: u64) {
        if fields > 0 {
            self.stripped.fetch_add(fields, Ordering::Relaxed);
        }
    }

    /// Counts the application's own `Set-Cookie` of our names.
    pub fn dropped_cookie(&self) {
        self.dropped_cookies.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as long as the guard lives.
    pub fn connection(self: &Arc<Self>) -> ConnectionGuard {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(Arc::clone(self))
    }
}

/// See [`WorkerMetrics::connection`].
#[derive(Debug)]
pub struct ConnectionGuard(Arc<WorkerMetrics>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

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

/// The process's metrics.
pub struct Metrics {
    registry: Registry,
    workers: Vec<Arc<WorkerMetrics>>,
    logins: Family<LoginLabels, Counter>,
    provisioning: Family<DirectoryLabels, Counter>,
    provider_up: Family<ProviderLabel, Gauge>,
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
        registry.register("sessions", "Live sessions in the store", sessions.clone());
        registry.register("store_up", "1 while the store answers", store_up.clone());
        registry.register_collector(Box::new(Workers(workers.clone())));
        Self {
            registry,
            workers,
            logins,
            provisioning,
            provider_up,
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

#[derive(Debug)]
struct Workers(Vec<Arc<WorkerMetrics>>);

impl Workers {
    fn sum(&self, of: impl Fn(&WorkerMetrics) -> u64) -> u64 {
        self.0.iter().map(|worker| of(worker)).sum()
    }

    fn counter(
        &self,
        to: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        value: u64,
    ) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn durations(&self, of: impl Fn(&WorkerMetrics) -> &Durations) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.iter().copied().chain([f64::MAX]);
        let buckets: Vec<_> = bounds
            .enumerate()
            .map(|(at, bound)| {
                (
                    bound,
                    self.sum(|worker| of(worker).buckets[at].load(Ordering::Relaxed)),
                )
            })
            .collect();
        let seconds =
            self.sum(|worker| of(worker).microseconds.load(Ordering::Relaxed)) as f64 / 1e6;
        (
            seconds,
            buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        )
    }
}

impl Collector for Workers {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let mut requests =
            to.encode_descriptor("requests", "Requests answered", None, MetricType::Counter)?;
        for access in AccessLabel::ALL {
            for status in 0..STATUSES {
                let count = self
                    .sum(|worker| worker.requests[access as usize][status].load(Ordering::Relaxed));
                if count > 0 {
                    let labels = [
                        ("access", access.as_str().to_owned()),
                        ("status", (status + 100).to_string()),
                    ];
                    ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
                }
            }
        }
        let mut seconds = to.encode_descriptor(
            "request_seconds",
            "Time to the response's header",
            None,
            MetricType::Histogram,
        )?;
        for access in AccessLabel::ALL {
            let (sum, count, buckets) = self.durations(|worker| &worker.durations[access as usize]);
            let labels = [("access", access.as_str())];
            seconds
                .encode_family(&labels)?
                .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
        }
        let (sum, count, buckets) = self.durations(|worker| &worker.upstream);
        to.encode_descriptor(
            "upstream_seconds",
            "The application's time to its response's header",
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
        let stripped = self.sum(|worker| worker.stripped.load(Ordering::Relaxed));
        self.counter(
            &mut to,
            "stripped_headers",
            "Inbound header fields that were dropped as identity",
            stripped,
        )?;
        let dropped = self.sum(|worker| worker.dropped_cookies.load(Ordering::Relaxed));
        self.counter(
            &mut to,
            "dropped_set_cookies",
            "Set-Cookie of our names that the application sent",
            dropped,
        )?;
        let open: i64 = self
            .0
            .iter()
            .map(|worker| worker.connections.load(Ordering::Relaxed))
            .sum();
        let gauge = prometheus_client::metrics::gauge::ConstGauge::new(open);
        gauge.encode(to.encode_descriptor(
            "connections",
            "Open connections",
            None,
            MetricType::Gauge,
        )?)
    }
}

#[cfg(test)]
mod tests {
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
