//! The life of a request, on one screen. Each stage hands on a type that only it can make, so a
//! skipped check does not compile: [`Stripped`] before anything is looked at, a `Session` that was
//! verified, an `Outgoing` that bears the identity of exactly that session.

mod answer;
mod bearer;
mod body;
mod form;
mod host;
mod origin;
mod reader;
mod reading;
mod signed_in;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::bearer::RecentBearers;
use crate::config::{self, Access};
use crate::endpoint::{Asked, Audience, Endpoints};
use crate::identity::{Identity, Peer, Stripped};
use crate::rejection::{Context, Kind, Rejection};
use crate::route::{Ambiguous, Destination, Endpoint};
use crate::session::Recent;
use crate::telemetry::access::{AccessLog, Line};
use crate::telemetry::metrics::{AccessLabel, WorkerMetrics};
use crate::telemetry::{RequestId, RequestIds};
use crate::upstream::{Application, Arriving, Body};

use answer::{Answer, hidden, moved};
use host::{Host, Hosts};
use origin::Origins;
use reader::Reader;
use reading::well_formed;

/// One worker's front door.
pub struct Proxy {
    endpoints: Arc<Endpoints>,
    identity: Rc<Identity>,
    application: Application,
    hosts: Hosts,
    origins: Origins,
    recent: Recent,
    recent_bearers: RecentBearers,
    login: String,
    origin: String,
    base_path: String,
    access_log: Option<Rc<AccessLog>>,
    control: Handle,
    ids: RequestIds,
    metrics: Arc<WorkerMetrics>,
}

/// A request that was taken in, and nothing else, is answered. Small: what waits for an answer holds it, on each floor
/// of the call.
pub struct TakenIn {
    stripped: Stripped<Arriving>,
    reader: Box<Reader>,
}

impl Proxy {
    /// Prepares a worker; `control` is the runtime that owns the store and the providers.
    pub fn new(
        endpoints: Arc<Endpoints>,
        control: Handle,
        metrics: Arc<WorkerMetrics>,
        access_log: Option<Rc<AccessLog>>,
    ) -> Self {
        let (config, clock) = (&endpoints.config, Arc::clone(&endpoints.clock));
        // A worker's own: its header values are counted references, which no other core should write.
        let identity = Rc::new(Identity::new(config));
        let assertions = endpoints.assertions.as_ref();
        Self {
            application: Application::new(
                config,
                &endpoints.servers,
                Rc::clone(&identity),
                clock,
                &*endpoints.random,
                Arc::clone(&metrics),
            ),
            hosts: Hosts::new(&config.server),
            origins: Origins::new(config),
            login: format!("{}/login", config.server.auth_prefix()),
            origin: config.server.public_url.origin(),
            base_path: config.server.public_url.base_path().to_owned(),
            recent: Recent::new(config, assertions),
            recent_bearers: RecentBearers::new(config, assertions),
            access_log,
            ids: RequestIds::new(&*endpoints.random),
            endpoints,
            identity,
            control,
            metrics,
        }
    }

    /// Looks at who is at the other end of a connection.
    pub fn peer(&self, address: IpAddr) -> Peer {
        self.identity.peer(address)
    }

    /// Takes a request in, which has just been read: stripped, before anything else.
    pub fn take_in(&self, request: Request<Arriving>, peer: &Peer) -> TakenIn {
        let started = Instant::now();
        let stripped = self.identity.strip(request, peer);
        self.metrics.stripped(stripped.dropped());
        let reader = Box::new(Reader::of(&stripped, self.ids.next(), started));
        TakenIn { stripped, reader }
    }

    /// Answers a request: always with a response, logged and counted once.
    pub async fn answer(&self, request: TakenIn) -> Response<Body> {
        let TakenIn { stripped, reader } = request;
        let answer = self.life_of(stripped, &reader).await;
        self.note(&answer, &reader);
        answer.response
    }

    fn note(&self, answer: &Answer, reader: &Reader) {
        let took = reader.started.elapsed();
        let status = answer.response.status().as_u16();
        self.metrics.request(answer.access, status, took);
        if let Some(log) = &self.access_log {
            let line = Line {
                id: reader.id,
                client: reader.client,
                method: reader.method.as_str(),
                path: answer.hidden_path.as_deref().unwrap_or(reader.uri.path()),
                status,
                access: answer.access.as_str(),
                took,
            };
            log.note(&line, SystemTime::now());
        }
    }

    /// The answer to a header section that did not arrive in time: 408, whatever it might have asked.
    pub fn timed_out(&self, peer: &Peer) -> Response<Bytes> {
        self.unread(Rejection::of(Kind::RequestTimeout), peer)
    }

    /// The answer to HTTP without TLS where TLS is expected: 400, its request unread.
    pub fn spoke_plain(&self, peer: &Peer) -> Response<Bytes> {
        let detail = "expected a TLS handshake, found HTTP; open the https address";
        self.unread(Rejection::because(Kind::BadRequest, detail), peer)
    }

    /// Notes a request that could not be read as HTTP, and was answered with `status` for that alone.
    pub fn unreadable(&self, status: StatusCode, peer: &Peer) {
        self.note_unread(self.ids.next(), status, peer);
    }

    fn unread(&self, rejection: Rejection, peer: &Peer) -> Response<Bytes> {
        let (method, headers) = (Method::GET, HeaderMap::new());
        let id = self.ids.next();
        let context = Context {
            id,
            client: peer.address(),
            method: &method,
            path: "",
            headers: &headers,
        };
        self.note_unread(id, rejection.kind.status(), peer);
        self.endpoints.write(&rejection, &context, None)
    }

    /// Neither a method nor a path is known, nor when it began.
    fn note_unread(&self, id: RequestId, status: StatusCode, peer: &Peer) {
        let (access, status, took) = (AccessLabel::None, status.as_u16(), Duration::ZERO);
        self.metrics.request(access, status, took);
        if let Some(log) = &self.access_log {
            let line = Line {
                id,
                client: peer.address(),
                method: "-",
                path: "-",
                status,
                access: access.as_str(),
                took,
            };
            log.note(&line, SystemTime::now());
        }
    }

    /// The life of a request.
    async fn life_of(&self, stripped: Stripped<Arriving>, reader: &Reader) -> Answer {
        let id = reader.id;
        let destination = match self.admitted(&stripped) {
            Ok(destination) => destination,
            Err(rejection) => return self.turned_away(rejection, &stripped, id),
        };
        match destination {
            // In a box: other requests need no room for what this one waits for.
            Destination::Own(endpoint) => Box::pin(self.own(endpoint, stripped, id)).await,
            Destination::Application {
                access,
                route,
                rule,
            } => match access {
                Access::Login => self.login(stripped, route, rule, reader).await,
                Access::Open => self.open(stripped, route, reader).await,
                Access::Bearer => self.bearer(stripped, route, rule, reader).await,
                Access::Deny => self.denied(&stripped, route, id),
            },
            Destination::Canonical(target) => moved(
                StatusCode::PERMANENT_REDIRECT,
                &target,
                stripped.uri().query(),
            ),
            Destination::Base => moved(StatusCode::FOUND, &self.base_path, None),
            Destination::NotFound => self.turned_away(Rejection::of(Kind::NotFound), &stripped, id),
        }
    }

    /// Where a request may go, once it is well formed, its path means one thing, and its host is ours.
    fn admitted(&self, stripped: &Stripped<Arriving>) -> Result<Destination<'_>, Rejection> {
        well_formed(stripped)?;
        let (method, path) = (stripped.method(), stripped.uri().path());
        let found = self.found(method, path, stripped.headers());
        let found = found.map_err(|fault| Rejection::because(Kind::AmbiguousPath, fault))?;
        // Neither needs the cookie, which belongs to the public host.
        let cookieless = matches!(
            found,
            Destination::Application {
                access: Access::Open | Access::Bearer,
                ..
            }
        );
        match self.hosts.judge(stripped.host()) {
            Host::Public => Ok(found),
            Host::Alias if cookieless => Ok(found),
            Host::Alias if audience(stripped) != Audience::Program => {
                Ok(Destination::Canonical(format!("{}{path}", self.origin)))
            }
            // RFC 9112 3.2: without a Host, or with several, nobody is asked for.
            Host::Foreign if stripped.host().is_none() => Err(Rejection::because(
                Kind::BadRequest,
                "expected one Host, found none or several",
            )),
            Host::Alias | Host::Foreign => Err(Rejection::because(
                Kind::WrongHost,
                self.hosts.expected(stripped.host()),
            )),
        }
    }

    /// A preflight goes where the request goes that it asks about, if that needs an access token.
    fn found(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Destination<'_>, Ambiguous> {
        let routes = &self.endpoints.routes;
        let found = routes.find(method, path)?;
        let needs = |destination: &Destination<'_>, needed| matches!(destination, Destination::Application { access, .. } if *access == needed);
        match bearer::asked_about(method, headers) {
            Some(asked) if needs(&found, Access::Login) => {
                let of_asked = routes.find(&asked, path)?;
                Ok(match needs(&of_asked, Access::Bearer) {
                    true => of_asked,
                    false => found,
                })
            }
            _ => Ok(found),
        }
    }

    async fn open(
        &self,
        stripped: Stripped<Arriving>,
        route: Option<&config::Route>,
        reader: &Reader,
    ) -> Answer {
        let outgoing = self.identity.anonymous(stripped, route);
        let answer = self.application.forward(outgoing, reader.started).await;
        self.forwarded(answer, reader, AccessLabel::Open, route)
    }

    fn denied(
        &self,
        stripped: &Stripped<Arriving>,
        route: Option<&config::Route>,
        id: RequestId,
    ) -> Answer {
        let rejection = Rejection::of(Kind::RouteDenied);
        self.reject(rejection, stripped, id, AccessLabel::Deny, route)
    }

    async fn own(&self, endpoint: Endpoint, stripped: Stripped<Arriving>, id: RequestId) -> Answer {
        let endpoints = Arc::clone(&self.endpoints);
        let mut asked = Asked::of(&stripped, id);
        let (stripped, body) = stripped.replace_body(());
        match body::read(body, endpoint.body_limit()).await {
            Ok(body) => asked = asked.with(body),
            Err(kind) => {
                let rejection = Rejection::of(kind);
                return self.reject(rejection, &stripped, id, AccessLabel::Own, None);
            }
        }
        let answered = self
            .control
            .spawn(async move { endpoints.answer(endpoint, asked).await })
            .await;
        match answered {
            Ok(response) => Answer {
                response: response.map(Body::own),
                access: AccessLabel::Own,
                hidden_path: None,
            },
            Err(broken) => {
                let rejection = Rejection::because(
                    Kind::StoreDown,
                    format!("an endpoint of ours broke: {broken}"),
                );
                self.reject(rejection, &stripped, id, AccessLabel::Own, None)
            }
        }
    }
}

fn audience(stripped: &Stripped<Arriving>) -> Audience {
    Audience::of(stripped.method(), stripped.headers())
}
