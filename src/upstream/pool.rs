//! One worker's connections to one server: idle ones, the freshest used first, and how many are busy.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::body::RequestBody;
use super::connect::{Target, Transport};
use super::informational::{Ear, Heard};
use super::servers::{Servers, Why};
use super::share::Share;
use super::spare::{Remembering, Spare};

/// How often connections that were idle for too long are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// An idle connection is closed by the fifth sweep that finds it: 60 to 75 seconds after its last use.
const MOST_SWEEPS: u32 = 5;

/// A connection that speaks HTTP.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) spare: Arc<Spare>,
    pub(super) ear: Arc<Ear>,
}

/// One worker's connections to one server.
pub(super) struct Pool {
    servers: Arc<Servers>,
    index: usize,
    target: Target,
    most_idle: usize,
    /// With the number of sweeps that each has lived through.
    idle: RefCell<VecDeque<(Connection, u32)>>,
    busy: Cell<usize>,
    share: Cell<Share>,
    swept: Cell<bool>,
}

impl Pool {
    /// `most_idle` connections are kept.
    pub(super) fn new(servers: &Arc<Servers>, index: usize, most_idle: usize) -> Self {
        Self {
            servers: Arc::clone(servers),
            index,
            target: servers.list()[index].target.of_its_own(),
            most_idle,
            idle: RefCell::default(),
            busy: Cell::new(0),
            share: Cell::new(Share::new(Instant::now())),
            swept: Cell::new(false),
        }
    }

    /// The server's origin, for messages.
    pub(super) fn server(&self) -> &str {
        &self.servers.list()[self.index].origin
    }

    /// The server's own Host.
    pub(super) fn host(&self) -> HeaderValue {
        self.servers.list()[self.index].own_host.clone()
    }

    /// Requests that are in flight, bodies included.
    pub(super) fn busy(&self) -> usize {
        self.busy.get()
    }

    /// Counts how a request ended; too many bad ones put the server out.
    pub(super) fn count(&self, bad: bool, now: Instant) {
        let mut share = self.share.get();
        share.count(bad, now);
        if bad && share.is_bad() {
            share = Share::new(now);
            let reason = "half of its last answers were 502, 504 or none";
            self.servers.failed(self.index, Why::Answers, reason);
        }
        self.share.set(share);
    }

    /// An idle connection that takes a request now.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, _)) = idle.pop_back() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose response has been read to its end. One that is not ready then is still
    /// sending a body that was answered early, or is closing: it is not used again.
    fn give_back(&self, connection: Connection) {
        if !connection.sender.is_ready() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.most_idle {
            idle.pop_front();
        }
        idle.push_back((connection, 0));
    }

    /// Makes a connection.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Connection, String> {
        let made = match self.target.connect().await {
            Ok(Transport::Plain(stream)) => spoken_over(stream).await,
            Ok(Transport::Tls(stream)) => spoken_over(*stream).await,
            Err(reason) => Err(reason),
        };
        match &made {
            Ok(_) => self.servers.connected(self.index),
            Err(reason) => self.servers.failed(self.index, Why::Unreachable, reason),
        }
        if !self.swept.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self)));
        }
        made
    }

    /// A place in flight, for one request.
    pub(super) fn lease(self: &Rc<Self>) -> Lease {
        self.busy.set(self.busy.get() + 1);
        Lease {
            pool: Rc::clone(self),
            connection: None,
        }
    }
}

async fn spoken_over<T>(transport: T) -> Result<Connection, String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (spare, ear) = (Arc::new(Spare::default()), Arc::new(Ear::default()));
    let transport = TokioIo::new(Heard::new(transport, Arc::clone(&ear)));
    let transport = Remembering::new(transport, Arc::clone(&spare));
    let (sender, connection) = http1::handshake(transport)
        .await
        .map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // What goes wrong on the connection is told to the request that is on it.
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection { sender, spare, ear })
}

/// Closes what was idle for too long, as long as there is anything to look after.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.borrow_mut();
        idle.retain_mut(|(connection, sweeps)| {
            *sweeps += 1;
            *sweeps < MOST_SWEEPS && !connection.sender.is_closed()
        });
        if idle.is_empty() && pool.busy.get() == 0 {
            return pool.swept.set(false);
        }
    }
}

/// A request in flight, and the connection that it is on.
pub(super) struct Lease {
    pool: Rc<Pool>,
    connection: Option<Connection>,
}

impl Lease {
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Puts the request on that connection, instead of the one that it was on.
    pub(super) fn hold(&mut self, connection: Connection) -> &mut Connection {
        self.connection.insert(connection)
    }

    /// The response was read to its end: another request may have the connection.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A connection that is still here was not given back: its answer is nobody's.
        if let Some(connection) = &self.connection {
            connection.ear.stop();
        }
        self.pool.busy.set(self.pool.busy.get() - 1);
    }
}
