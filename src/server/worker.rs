//! A worker: a thread with a runtime of its own, which accepts and answers and shares nothing that is
//! written with any other.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, LocalOptions};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

use super::Phase;
use super::connection::{self, Front};
use super::listener::{self, PublicSocket};
use super::open::{Occupancy, Open, Room};
use super::proxy_protocol::{ProxyProtocol, Refusal};
use super::tls;
use crate::config;
use crate::endpoint::Endpoints;
use crate::proxy::Proxy;
use crate::telemetry::access::{AccessLog, Writer};
use crate::telemetry::metrics::{Metrics, RefusedConnection, WorkerMetrics};

/// How long a worker does not accept when the system cannot give it another connection.
const OUT_OF_MEANS: Duration = Duration::from_millis(50);
/// What the handshakes may still take that have begun before a listener closes.
const HANDSHAKES: Duration = Duration::from_millis(400);
/// How often the log says so.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A running worker.
pub(super) struct Worker {
    /// Resolves when its last connection has ended.
    pub(super) ended: oneshot::Receiver<()>,
}

/// Starts a worker for each set of sockets.
pub(super) fn start(
    sockets: Vec<Vec<PublicSocket>>,
    endpoints: &Arc<Endpoints>,
    metrics: &Arc<Metrics>,
    access_log: Option<&Writer>,
    phase: &watch::Receiver<Phase>,
    tls: Option<&tls::Acceptor>,
) -> std::io::Result<Vec<Worker>> {
    let room = Arc::new(Room::new(endpoints.config.server.limits.connections));
    let control = Handle::current();
    let begin = |(index, sockets): (usize, Vec<PublicSocket>)| {
        let (endpoints, control) = (Arc::clone(endpoints), control.clone());
        let (access_log, tls) = (access_log.cloned(), tls.cloned());
        let (metrics, phase, room) = (metrics.worker(index), phase.clone(), Arc::clone(&room));
        let (sender, ended) = oneshot::channel();
        let (begun, has_begun) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                // It stays on its thread: tasks are queued without a lock.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    // Whoever starts the workers waits for this.
                    Err(error) => return drop(begun.send(Err(error))),
                };
                let _ = begun.send(Ok(()));
                let server = endpoints.config.server.clone();
                let access_log = access_log.map(AccessLog::new);
                let counted = Arc::clone(&metrics);
                let proxy = Proxy::new(endpoints, control, counted, access_log.clone());
                let front = Rc::new(Front::new(Rc::new(proxy), &server, tls));
                let following = Rc::clone(&front).follow(phase.clone());
                let acceptor = Acceptor::new(front, &server, metrics, phase, room);
                let acceptor = Rc::new(acceptor);
                let (open, phase) = (acceptor.open.clone(), acceptor.phase.clone());
                runtime.spawn_local(following);
                if let Some(log) = &access_log {
                    runtime.spawn_local(Rc::clone(log).keep_handing_on());
                }
                for socket in sockets {
                    runtime.spawn_local(Rc::clone(&acceptor).accept(socket));
                }
                drop(acceptor);
                runtime.block_on(open.all_closed(phase));
                drop(runtime);
                if let Some(log) = access_log {
                    log.finish();
                }
                // The receiver is gone when nobody waits for the end any more.
                let _ = sender.send(());
            })?;
        let gone = || std::io::Error::other("a worker's thread broke as it started");
        has_begun.recv().map_err(|_| gone())??;
        Ok(Worker { ended })
    };
    sockets.into_iter().enumerate().map(begin).collect()
}

/// What a worker's listeners have in common.
struct Acceptor {
    front: Rc<Front>,
    proxy_protocol: Option<ProxyProtocol>,
    metrics: Arc<WorkerMetrics>,
    phase: watch::Receiver<Phase>,
    room: Arc<Room>,
    open: Open,
    /// When the log was last told that the system gives no further connection.
    said: Cell<Option<Instant>>,
}

impl Acceptor {
    fn new(
        front: Rc<Front>,
        server: &config::Server,
        metrics: Arc<WorkerMetrics>,
        phase: watch::Receiver<Phase>,
        room: Arc<Room>,
    ) -> Self {
        let protocol =
            || ProxyProtocol::new(server.trusted_proxies.clone(), server.limits.header_timeout);
        Self {
            front,
            proxy_protocol: server.proxy_protocol.then(protocol),
            metrics,
            phase,
            room,
            open: Open::default(),
            said: Cell::new(None),
        }
    }

    async fn accept(self: Rc<Self>, socket: PublicSocket) {
        let listener = match TcpListener::from_std(socket.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener does not work"),
        };
        let mut phase = self.phase.clone();
        tokio::select! {
            () = self.accept_all(&listener) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
        }
        if !socket.own_queue {
            return;
        }
        if let Err(error) = listener::begin_no_handshake(&listener) {
            tracing::debug!(%error, "connections that begin now may be reset");
        }
        let rest = self.accept_all(&listener);
        let _ = tokio::time::timeout(HANDSHAKES, rest).await;
        self.empty(listener);
    }

    /// Until it is dropped, or the process ends.
    async fn accept_all(self: &Rc<Self>, listener: &TcpListener) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.not_accepted(&error).await;
                    continue;
                }
            };
            let place = match self.room.place() {
                Some(place) => place,
                // With no room left this one waits, and those behind it in the system's queue.
                None => {
                    self.metrics.waited();
                    match self.room.wait().await {
                        Some(place) => place,
                        None => return,
                    }
                }
            };
            self.answer(stream, peer, place);
        }
    }

    /// What has reached the queue was promised an answer: closing the socket would reset it. The system
    /// is asked itself, since the runtime may not have heard of the last ones yet.
    fn empty(self: &Rc<Self>, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Ok((stream, peer)) = listener.accept() {
            let Some(place) = self.room.place() else {
                return;
            };
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.answer(stream, peer, place);
            }
        }
    }

    fn answer(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let occupancy = Occupancy::new(place, self.metrics.connection());
        let (this, open) = (Rc::clone(self), self.open.guard());
        // An IPv4 client of an IPv6 listener is the IPv4 client that the configuration knows.
        let peer = peer.ip().to_canonical();
        tokio::task::spawn_local(async move {
            let _open = open;
            let (stream, client) = match &this.proxy_protocol {
                None => (stream, peer),
                // In a box: only those who use it pay for its room in every connection.
                Some(protocol) => match Box::pin(this.told(protocol, stream, peer)).await {
                    Some(told) => told,
                    None => return,
                },
            };
            let (front, phase) = (Rc::clone(&this.front), this.phase.clone());
            connection::serve(stream, client, front, occupancy, phase).await;
        });
    }

    /// The client that the PROXY protocol names; `None` where the connection is not to be served.
    async fn told(
        &self,
        protocol: &ProxyProtocol,
        mut stream: TcpStream,
        peer: IpAddr,
    ) -> Option<(TcpStream, IpAddr)> {
        let mut phase = self.phase.clone();
        let told = tokio::select! {
            told = protocol.client(&mut stream, peer) => told,
            _ = phase.wait_for(|phase| *phase == Phase::Ending) => return None,
        };
        match told {
            Ok(client) => return Some((stream, client)),
            Err(Refusal::Gone) => tracing::debug!(%peer, "closed before a PROXY protocol header"),
            Err(Refusal::Untrusted) => {
                self.metrics.refused(RefusedConnection::UntrustedPeer);
                tracing::info!(%peer, "closed: server.proxy_protocol is on, and the peer is not one of server.trusted_proxies");
            }
            Err(Refusal::Late) => {
                self.metrics.refused(RefusedConnection::ProxyProtocol);
                tracing::warn!(%peer, "closed: expected a PROXY protocol header within header_timeout; does the proxy send one?");
            }
            Err(Refusal::Malformed(found)) => {
                self.metrics.refused(RefusedConnection::ProxyProtocol);
                tracing::warn!(%peer, %found, "closed: expected a PROXY protocol header; does the proxy send one?");
            }
        }
        None
    }

    /// Lets others close before the next try, where it was the system that had nothing left to give.
    async fn not_accepted(&self, error: &std::io::Error) {
        let peer_has_gone = matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        );
        if peer_has_gone {
            return;
        }
        if self.said.get().is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            self.said.set(Some(Instant::now()));
            tracing::warn!(%error, "cannot accept connections: they wait; raise LimitNOFILE, or lower server.limits.connections");
        }
        tokio::time::sleep(OUT_OF_MEANS).await;
    }
}
