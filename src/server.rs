//! Listeners, workers and the end of the process. One single-threaded runtime a core with its own
//! listening socket (SO_REUSEPORT) and its own connections to the application; sign-ins, the store and
//! the admin listener run on the control runtime.

mod background;
mod connection;
mod deadline;
pub(crate) mod descriptors;
mod http2;
mod installation;
mod interim;
mod listener;
mod open;
mod passed_sockets;
mod preface;
pub mod proxy_protocol;
mod redirect;
mod tls;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::assertion::{self, Assertions};
use crate::bearer::Bearers;
use crate::config::Config;
use crate::endpoint::Endpoints;
use crate::environment::{Clock, Random, SystemClock, SystemRandom};
use crate::oidc::{self, RelyingParties};
use crate::provisioning::Provisioning;
use crate::provisioning::outbox::Outbox;
use crate::provisioning::text::TextDirectory;
use crate::route::Routes;
use crate::sealing::Sealer;
use crate::session::{KeyFault, Sessions};
use crate::store::{self, Store};
use crate::telemetry::access;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Servers;

use installation::Installation;
pub use passed_sockets::PassedSockets;
pub use tls::TlsFault;

/// Answers say `Connection: close` for this long before idle connections are closed, so that requests
/// on their way still arrive.
const LINGER: Duration = Duration::from_millis(1500);
/// What the store's connections may take to close at the end.
const CLOSING: Duration = Duration::from_secs(3);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// A provider's section does not work.
    #[error(transparent)]
    Provider(#[from] oidc::SetupFault),
    /// A session key does not fit.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// An assertion's key does not fit.
    #[error(transparent)]
    AssertionKey(#[from] assertion::KeyFault),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate and its key do not work.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The service manager passed something that is no listening TCP socket.
    #[error(
        "expected a listening TCP socket from the service manager, found something else under the name {name:?}: {source}"
    )]
    Passed {
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The service manager passed a socket that nothing here listens on.
    #[error(
        "expected no socket named {name:?} from the service manager, since admin.listen is \"off\" or has one already; found one for {address}"
    )]
    Unwanted {
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// Where it listens.
        address: SocketAddr,
    },
    /// The admin listener's passed socket could be reached by everybody.
    #[error(
        "expected a loopback address or admin.token for the admin listener, found a passed socket for {address} and no token"
    )]
    OpenAdmin {
        /// Where it listens.
        address: SocketAddr,
    },
    /// Connections to the application cannot be prepared.
    #[error("upstream: {0}")]
    Upstream(String),
    /// The client of a push's receiver cannot be prepared.
    #[error("directories.push: {0}")]
    Receiver(String),
    /// A worker's runtime did not start.
    #[error("a worker did not start: {0}")]
    Worker(std::io::Error),
}

/// What a started server is reached by.
#[derive(Debug, Clone)]
pub struct Listening {
    /// The public listener's addresses, with the ports that the system chose for port 0.
    pub public: Vec<SocketAddr>,
    /// The admin listener's.
    pub admin: Option<SocketAddr>,
}

/// Runs until `stop` resolves, then drains, unless that is `cut_short`. `ready` is told once every
/// worker listens. Sockets that were `passed` take the place of `server.listen`.
///
/// # Errors
/// [`StartFault`]; nothing is served then.
pub async fn serve(
    config: Config,
    mut passed: PassedSockets,
    ready: oneshot::Sender<Listening>,
    stop: impl Future<Output = ()>,
    cut_short: impl Future<Output = ()>,
) -> Result<(), StartFault> {
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new(config.server.workers));
    let endpoints = Arc::new(endpoints(&config, &metrics).await?);
    let (phase_sender, phase) = watch::channel(Phase::Serving);
    if let Err(shortage) = descriptors::raise(&config.server.limits) {
        tracing::warn!("{shortage}");
    }
    let tls = set_up_tls(&config)?;
    let installation = Installation::join(&config.store.place);
    let admin = listener::admin(&config, &mut passed, &installation)?;
    let (admin, admin_address) = admin.unzip();
    let (sockets, public) = listener::public(&config, &mut passed, &installation)?;
    let redirects = listener::redirects(&config, &installation)?;
    let draining = Arc::new(AtomicBool::new(false));
    let mut background = background::keep_up(&endpoints, admin, &draining);
    let acceptor = tls.map(|(acceptor, files)| {
        let (clock, metrics) = (Arc::clone(&endpoints.clock), Arc::clone(&metrics));
        background.push(tokio::spawn(files.follow(clock, metrics)));
        acceptor
    });
    background.extend(redirect::start(redirects, &endpoints, &phase));
    let access_log = match config.log.access {
        true => {
            access::Writer::start(config.log.json, std::io::stderr()).map_err(StartFault::Worker)?
        }
        false => None,
    };
    let workers = worker::start(
        sockets,
        &endpoints,
        &metrics,
        access_log.as_ref(),
        &phase,
        acceptor.as_ref(),
    )
    .map_err(StartFault::Worker)?;
    tracing::info!(listen = ?public, admin = ?admin_address, public_url = %config.server.public_url, "listening");
    // Whoever waits for the addresses may have gone: the server runs all the same.
    let _ = ready.send(Listening {
        public,
        admin: admin_address,
    });
    stop.await;
    tokio::select! {
        () = drain(&endpoints, &draining, &phase_sender, workers) => {}
        () = cut_short => tracing::warn!("told to stop again: requests in flight are cut off"),
    }
    if let Some(log) = access_log {
        log.flush();
    }
    background.iter().for_each(tokio::task::JoinHandle::abort);
    let now = SystemClock.now();
    if let Err(error) = endpoints
        .store
        .keep_house(now, background::audit_before(&config, now))
        .await
    {
        tracing::warn!(%error, "last log-ins are not recorded");
    }
    // What SQLite still has beside its file goes into it, so that a copy of the file alone is whole.
    let closed = tokio::time::timeout(CLOSING, endpoints.store.close()).await;
    if closed.is_err() {
        tracing::warn!("the store is still in use, so it is left as it is: nothing is lost");
    }
    Ok(())
}

/// What workers do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Accepting and answering.
    Serving,
    /// Answering, with `Connection: close`; no new connections.
    Closing,
    /// Idle connections are closed, requests in flight end.
    Ending,
}

async fn endpoints(config: &Arc<Config>, metrics: &Arc<Metrics>) -> Result<Endpoints, StartFault> {
    let store = Store::open(&config.store.place).await?;
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let text_directories = TextDirectory::all(config, &store, &clock);
    for directory in &text_directories {
        // Before anybody signs in, so that nobody who is in the file is made by another directory.
        let applied = directory.apply().await;
        directory.tell(&applied, &|name, outcome| {
            metrics.directory_file(name, outcome.as_str())
        });
    }
    let counted = Arc::clone(metrics);
    let outbox = Outbox::new(
        config,
        store.clone(),
        Arc::clone(&clock),
        Arc::clone(&random),
        move |directory, outcome| counted.push(directory, outcome),
    )
    .map_err(StartFault::Receiver)?;
    let servers = Servers::new(config, Arc::clone(&random), Arc::clone(metrics))
        .map_err(StartFault::Upstream)?;
    let parties = Arc::new(RelyingParties::new(config)?);
    let assertions = Assertions::new(config, Arc::clone(&random))?;
    Ok(Endpoints {
        routes: Arc::new(Routes::new(config)),
        bearers: Arc::new(Bearers::new(config, &parties, store.clone())),
        parties,
        assertions: assertions.map(Arc::new),
        servers: Arc::new(servers),
        sealer: Sealer::new(&config.session),
        sessions: Arc::new(Sessions::new(config, store.clone())?),
        provisioning: Provisioning::new(config, store.clone()),
        store,
        metrics: Arc::clone(metrics),
        outbox: Arc::new(outbox),
        text_directories: text_directories.into_iter().map(Arc::new).collect(),
        clock,
        random,
        recurrence: Default::default(),
        renewals: Default::default(),
        unrenewable: Default::default(),
        form_room: Default::default(),
        config: Arc::clone(config),
    })
}

fn set_up_tls(config: &Config) -> Result<Option<(tls::Acceptor, tls::Files)>, TlsFault> {
    let Some(files) = &config.server.tls else {
        return Ok(None);
    };
    let authority = &config.server.public_url.authority;
    tls::set_up(files, authority, &SystemClock).map(Some)
}

/// Not ready, still serving; then no new connections, then none idle; at last no more patience.
async fn drain(
    endpoints: &Endpoints,
    draining: &AtomicBool,
    phase: &watch::Sender<Phase>,
    workers: Vec<worker::Worker>,
) {
    let config = &endpoints.config;
    draining.store(true, Ordering::Relaxed);
    tracing::info!(delay = ?config.server.drain_delay, grace = ?config.server.shutdown_grace, "draining");
    tokio::time::sleep(config.server.drain_delay).await;
    let patience = tokio::time::Instant::now() + config.server.shutdown_grace;
    phase.send_replace(Phase::Closing);
    tokio::time::sleep(LINGER.min(config.server.shutdown_grace)).await;
    phase.send_replace(Phase::Ending);
    for worker in workers {
        if tokio::time::timeout_at(patience, worker.ended)
            .await
            .is_err()
        {
            tracing::warn!("requests still in flight after shutdown_grace are cut off");
            break;
        }
    }
    // A refresh token that is spent in vain would be the end of its session.
    let renewed = tokio::time::timeout_at(patience, endpoints.renewals.write());
    if renewed.await.is_err() {
        tracing::warn!("renewals still under way after shutdown_grace are cut off");
    }
    tracing::info!("stopped");
}
