//! What requests count: a set of counters a worker, summed when they are scraped, so that no two cores
//! write to one cache line.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What was asked of a request's caller, as the label `access` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLabel {
    /// A path that needs a signed-in user.
    Login,
    /// A path forwarded without identity.
    Open,
    /// A path that needs an access token.
    Bearer,
    /// A path that is refused.
    Deny,
    /// One of our own endpoints.
    Own,
    /// Answered before a route was found.
    None,
}

impl AccessLabel {
    const ALL: [AccessLabel; 6] = [
        AccessLabel::Login,
        AccessLabel::Open,
        AccessLabel::Bearer,
        AccessLabel::Deny,
        AccessLabel::Own,
        AccessLabel::None,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessLabel::Login => "login",
            AccessLabel::Open => "open",
            AccessLabel::Bearer => "bearer",
            AccessLabel::Deny => "deny",
            AccessLabel::Own => "own",
            AccessLabel::None => "none",
        }
    }
}

/// Why a connection was closed before anything was read of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedConnection {
    /// The PROXY protocol is on, and the peer is no trusted proxy.
    UntrustedPeer,
    /// A trusted proxy sent no good header of the PROXY protocol.
    ProxyProtocol,
}

impl RefusedConnection {
    const ALL: [RefusedConnection; 2] = [
        RefusedConnection::UntrustedPeer,
        RefusedConnection::ProxyProtocol,
    ];

    fn as_str(self) -> &'static str {
        match self {
            RefusedConnection::UntrustedPeer => "untrusted-peer",
            RefusedConnection::ProxyProtocol => "proxy-protocol",
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
    waited: AtomicU64,
    refused: [AtomicU64; RefusedConnection::ALL.len()],
}

impl WorkerMetrics {
    pub(super) fn new() -> Self {
        Self {
            requests: std::array::from_fn(|_| (0..STATUSES).map(|_| AtomicU64::new(0)).collect()),
            durations: Default::default(),
            upstream: Durations::default(),
            stripped: AtomicU64::new(0),
            dropped_cookies: AtomicU64::new(0),
            connections: AtomicI64::new(0),
            waited: AtomicU64::new(0),
            refused: Default::default(),
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

    /// Counts a connection that found all of `server.limits.connections` taken.
    pub fn waited(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was closed before a request.
    pub fn refused(&self, why: RefusedConnection) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
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

/// All workers, summed when they are scraped.
#[derive(Debug)]
pub(super) struct Workers(pub(super) Vec<Arc<WorkerMetrics>>);

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
        let waited = self.sum(|worker| worker.waited.load(Ordering::Relaxed));
        self.counter(
            &mut to,
            "connections_waited",
            "Connections that waited since all of server.limits.connections were open",
            waited,
        )?;
        let mut refused = to.encode_descriptor(
            "connections_refused",
            "Connections closed before a request",
            None,
            MetricType::Counter,
        )?;
        for why in RefusedConnection::ALL {
            let count = self.sum(|worker| worker.refused[why as usize].load(Ordering::Relaxed));
            let labels = [("reason", why.as_str())];
            ConstCounter::new(count).encode(refused.encode_family(&labels)?)?;
        }
        let open: i64 = self
            .0
            .iter()
            .map(|worker| worker.connections.load(Ordering::Relaxed))
            .sum();
        let gauge = ConstGauge::new(open);
        gauge.encode(to.encode_descriptor(
            "connections",
            "Open connections",
            None,
            MetricType::Gauge,
        )?)
    }
}
