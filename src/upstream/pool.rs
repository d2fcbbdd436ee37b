//! Idle connections to the application, the freshest used first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderValue;
use http::header::HOST;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::RequestBody;
use crate::config::UpstreamServer;

/// Idle connections that are kept, a worker.
const MOST_IDLE: usize = 1024;
/// How long an idle connection is kept.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

type Connection = SendRequest<RequestBody>;

/// One worker's connections to one server.
pub(super) struct Pool {
    host: String,
    port: u16,
    server: String,
    host_header: HeaderValue,
    connect_timeout: Duration,
    idle: RefCell<VecDeque<(Connection, Instant)>>,
}

impl Pool {
    pub(super) fn new(server: &UpstreamServer, connect_timeout: Duration) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the configuration's hosts are checked ASCII"
        )]
        let host_header = HeaderValue::from_str(&server.authority()).expect("visible ASCII");
        Self {
            host: server.host.clone(),
            port: server.port,
            server: format!("{}:{}", server.host, server.port),
            host_header,
            connect_timeout,
            idle: RefCell::default(),
        }
    }

    /// `host:port`, for messages.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Says this server's Host, where the request does not name the public one.
    pub(super) fn name_host(&self, headers: &mut HeaderMap) {
        headers
            .entry(HOST)
            .or_insert_with(|| self.host_header.clone());
    }

    /// An idle connection that takes a request now, and for how long it was idle.
    pub(super) fn take(&self) -> Option<(Connection, Duration)> {
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, since)) = idle.pop_back() {
            if connection.is_ready() {
                let idle_for = since.elapsed();
                if idle_for > LONGEST_IDLE {
                    idle.clear();
                    return None;
                }
                return Some((connection, idle_for));
            }
        }
        None
    }

    /// Keeps a connection whose response has been read to its end.
    pub(super) fn give_back(self: &Rc<Self>, mut connection: Connection) {
        if connection.is_ready() {
            return self.keep(connection);
        }
        let pool = Rc::clone(self);
        // The request's body may still be on its way; a connection that never gets there is dropped.
        tokio::task::spawn_local(async move {
            let ready = tokio::time::timeout(Duration::from_secs(5), connection.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                pool.keep(connection);
            }
        });
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        let oldest = Instant::now().checked_sub(LONGEST_IDLE);
        while idle.len() >= MOST_IDLE
            || idle.front().is_some_and(|(_, since)| Some(*since) < oldest)
        {
            idle.pop_front();
        }
        idle.push_back((connection, Instant::now()));
    }

    /// Makes a connection.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .map_err(|_| format!("no answer within {:?}", self.connect_timeout))?
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::task::spawn_local(async move {
            // What goes wrong on the connection is told to the request that is on it.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}
