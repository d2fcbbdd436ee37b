//! A worker: a thread with a runtime of its own, which accepts and answers and shares nothing that is
//! written with any other.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::LocalSet;

use super::Phase;
use super::connection::{self, Front};
use super::open::{Guard, Open};
use super::tls::Acceptor;
use crate::endpoint::Endpoints;
use crate::proxy::Proxy;
use crate::telemetry::access::{AccessLog, Writer};
use crate::telemetry::metrics::{ConnectionGuard, Metrics, WorkerMetrics};

/// A running worker.
pub(super) struct Worker {
    /// Resolves when its last connection has ended.
    pub(super) ended: oneshot::Receiver<()>,
}

/// Starts a worker for each set of sockets.
pub(super) fn start(
    sockets: Vec<Vec<TcpListener>>,
    endpoints: &Arc<Endpoints>,
    metrics: &Arc<Metrics>,
    access_log: Option<&Writer>,
    phase: &watch::Receiver<Phase>,
    tls: Option<&Acceptor>,
) -> std::io::Result<Vec<Worker>> {
    let room = Arc::new(Semaphore::new(endpoints.config.server.limits.connections));
    let control = Handle::current();
    let begin = |(index, sockets): (usize, Vec<TcpListener>)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (endpoints, control) = (Arc::clone(endpoints), control.clone());
        let access_log = access_log.cloned();
        let (metrics, phase, room) = (metrics.worker(index), phase.clone(), Arc::clone(&room));
        let (sender, ended) = oneshot::channel();
        let tls = tls.cloned();
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let config = Arc::clone(&endpoints.config);
                let access_log = access_log.map(AccessLog::new);
                let proxy = Rc::new(Proxy::new(
                    endpoints,
                    control,
                    Arc::clone(&metrics),
                    access_log.clone(),
                ));
                let front = Rc::new(Front::new(proxy, &config.server, tls));
                let open = Open::default();
                let local = LocalSet::new();
                if let Some(log) = &access_log {
                    local.spawn_local(Rc::clone(log).keep_handing_on());
                }
                for socket in sockets {
                    let accepting = accept(
                        socket,
                        Rc::clone(&front),
                        metrics.clone(),
                        phase.clone(),
                        room.clone(),
                        open.clone(),
                    );
                    local.spawn_local(accepting);
                }
                local.block_on(&runtime, open.all_closed(phase));
                if let Some(log) = access_log {
                    log.finish();
                }
                // The receiver is gone when nobody waits for the end any more.
                let _ = sender.send(());
            })?;
        Ok(Worker { ended })
    };
    sockets.into_iter().enumerate().map(begin).collect()
}

async fn accept(
    socket: TcpListener,
    front: Rc<Front>,
    metrics: Arc<WorkerMetrics>,
    mut phase: watch::Receiver<Phase>,
    room: Arc<Semaphore>,
    open: Open,
) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener does not work"),
    };
    loop {
        // With no room left connections wait in the system's queue.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let answering =
                    connection::serve(stream, peer.ip(), Rc::clone(&front), phase.clone());
                keep(answering, permit, metrics.connection(), open.guard());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // What has reached the queue was promised an answer: closing the socket would reset it. The system
    // is asked itself, since the runtime may not have heard of the last ones yet.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            return;
        };
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream));
        let Ok(stream) = stream else { continue };
        let answering = connection::serve(stream, peer.ip(), Rc::clone(&front), phase.clone());
        keep(answering, permit, metrics.connection(), open.guard());
    }
}

fn keep(
    answering: impl Future<Output = ()> + 'static,
    permit: OwnedSemaphorePermit,
    counted: ConnectionGuard,
    open: Guard,
) {
    tokio::task::spawn_local(async move {
        answering.await;
        drop((permit, counted, open));
    });
}
