//! Our own endpoints, under `<public_url><auth_path>`. This room knows cookies, pages and redirects,
//! and nothing of the protocol's details; one file an endpoint, one visible match.
//!
//! Endpoints run on the control runtime, since they touch the store and the provider.

mod audience;
mod callback;
mod kept_form;
mod login;
mod logout;
mod page;
mod provider_logout;
mod recurrence;
mod renewal;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::assertion::Assertions;
use crate::bearer::Bearers;
use crate::config::Config;
use crate::environment::{Clock, Random};
use crate::identity::Stripped;
use crate::oidc::RelyingParties;
use crate::provisioning::Provisioning;
use crate::provisioning::outbox::Outbox;
use crate::provisioning::text::TextDirectory;
use crate::rejection::{Context, Kind, Links, Rejection};
use crate::route::{Endpoint, Routes};
use crate::sealing::Sealer;
use crate::session::{Glance, Session, Sessions};
use crate::store::Store;
use crate::telemetry::RequestId;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Servers;

pub use audience::Audience;
pub use kept_form::{Delivery, FormRoom, KeptForm, is_form};
use recurrence::Recurrence;
pub use renewal::{Recognised, Unrenewable};

/// Longest return address; a longer one becomes the base path.
const LONGEST_RETURN: usize = 1536;
/// A query's value in a URL of ours.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Everything that a sign-in needs, shared by all endpoints.
pub struct Endpoints {
    /// The configuration.
    pub config: Arc<Config>,
    /// The compiled routes.
    pub routes: Arc<Routes>,
    /// The providers.
    pub parties: Arc<RelyingParties>,
    /// The application's servers, and how they are.
    pub servers: Arc<Servers>,
    /// Seals states and tokens.
    pub sealer: Sealer,
    /// Gives and ends sessions.
    pub sessions: Arc<Sessions>,
    /// Makes assertions, where the application is sent any.
    pub assertions: Option<Arc<Assertions>>,
    /// Recognises access tokens.
    pub bearers: Arc<Bearers>,
    /// Creates and synchronises users.
    pub provisioning: Provisioning,
    /// Tells receivers of users.
    pub outbox: Arc<Outbox>,
    /// Directories whose users are the lines of a file.
    pub text_directories: Vec<Arc<TextDirectory>>,
    /// Users and sessions.
    pub store: Store,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Who comes round in circles.
    pub recurrence: Recurrence,
    /// Held for reading by each renewal that is under way: a process that stops waits for them.
    pub renewals: tokio::sync::RwLock<()>,
    /// What was said of sessions that nothing renews.
    pub unrenewable: Unrenewable,
    /// Memory for forms that are kept.
    pub form_room: FormRoom,
}

/// A request to one of our endpoints, or one that needs a sign-in.
#[derive(Debug)]
pub struct Asked {
    /// Joins page, log line and audit row.
    pub id: RequestId,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The header section, stripped.
    pub headers: HeaderMap,
    /// The body, where an endpoint reads it.
    pub body: Bytes,
}

impl Asked {
    /// What an endpoint needs of a request, but for its body.
    pub fn of<B>(stripped: &Stripped<B>, id: RequestId) -> Self {
        Self {
            id,
            client: stripped.client(),
            method: stripped.method().clone(),
            uri: stripped.uri().clone(),
            headers: stripped.headers().clone(),
            body: Bytes::new(),
        }
    }

    /// The same with a body.
    pub fn with(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// The value of a query parameter, form-decoded; `None` where it is absent or stands twice.
    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.uri.query().unwrap_or_default();
        let mut values =
            url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        let value = values.next()?.1.into_owned();
        values.next().is_none().then_some(value)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn context(&self) -> Context<'_> {
        Context {
            id: self.id,
            client: self.client,
            method: &self.method,
            path: self.uri.path(),
            headers: &self.headers,
        }
    }
}

impl Endpoints {
    /// Answers a request to an own endpoint.
    pub async fn answer(&self, endpoint: Endpoint, asked: Asked) -> Response<Bytes> {
        let allow = match endpoint {
            // HEAD changes nothing (RFC 9110 9.2.1), so it must not spend the code of a sign-in.
            Endpoint::Callback(_) => "GET",
            // HEAD asks for no page, so that nobody who sends it means to sign out.
            Endpoint::Logout => "GET, POST",
            Endpoint::BackchannelLogout => "POST",
            Endpoint::FrontchannelLogout => "GET",
            _ => "GET, HEAD",
        };
        // What is not there is not there for any method.
        if let Endpoint::Callback(Some(name)) = &endpoint
            && self.parties.by_name(name).is_none()
        {
            return self.reject(&asked, &Rejection::of(Kind::NotFound), None);
        }
        if !allow.split(", ").any(|method| asked.method == method) {
            return self.reject(
                &asked,
                &Rejection::of(Kind::MethodNotAllowed { allow }),
                None,
            );
        }
        match endpoint {
            Endpoint::Login => self.login(&asked).await,
            Endpoint::Callback(name) => self.callback(name.as_deref(), &asked).await,
            Endpoint::Logout => self.logout(&asked).await,
            Endpoint::LogoutReturn => self.logout_return(&asked).await,
            Endpoint::BackchannelLogout => self.backchannel_logout(&asked).await,
            Endpoint::FrontchannelLogout => self.frontchannel_logout(&asked).await,
            Endpoint::Session => self.session(&asked).await,
            Endpoint::Jwks => self.jwks(),
        }
    }

    /// The session of a request, whether it was seen here before or not.
    async fn session_of(&self, asked: &Asked) -> Option<Arc<Session>> {
        let now = self.clock.now();
        match self.sessions.glance(&asked.headers, now) {
            Glance::Known(session) => Some(session),
            Glance::Unseen(tokens) => self.live_or_renewed(&tokens, asked.id).await,
            Glance::Nothing => None,
        }
    }

    /// The id of the session that a request bears, even where its token has run out and only a renewal would bring
    /// another.
    async fn sid_of(&self, asked: &Asked) -> Option<String> {
        let now = self.clock.now();
        match self.sessions.glance(&asked.headers, now) {
            Glance::Known(session) => Some(session.sid().to_owned()),
            Glance::Unseen(tokens) => {
                let (sighting, _) = self.sessions.recognise(&tokens, now).await.ok()??;
                Some(sighting.sid().to_owned())
            }
            Glance::Nothing => None,
        }
    }

    /// Writes a rejection; `return_to` is where another try leads.
    pub fn write(
        &self,
        rejection: &Rejection,
        context: &Context<'_>,
        return_to: Option<&str>,
    ) -> Response<Bytes> {
        rejection.respond(context, &self.links(return_to))
    }

    fn reject(
        &self,
        asked: &Asked,
        rejection: &Rejection,
        return_to: Option<&str>,
    ) -> Response<Bytes> {
        rejection.respond(&asked.context(), &self.links(return_to))
    }

    /// The ways out of a page of ours.
    pub fn links(&self, return_to: Option<&str>) -> Links {
        let login = format!("{}/login", self.config.server.auth_prefix());
        let to = return_to.map(|to| format!("return_to={}", utf8_percent_encode(to, QUERY_VALUE)));
        let with = |parameters: &[&str]| match parameters.is_empty() {
            true => login.clone(),
            false => format!("{login}?{}", parameters.join("&")),
        };
        let to: Vec<_> = to.iter().map(String::as_str).collect();
        Links {
            sign_in: Some(with(&to)),
            other_account: Some(with(&[&["prompt=select_account"], to.as_slice()].concat())),
            here: return_to.map(str::to_owned),
            home: Some(self.config.server.public_url.to_string()),
        }
    }

    /// A return address that leads nowhere but into the application; the base path for every other.
    pub fn safe_return(&self, wanted: Option<&str>) -> String {
        let base = || self.config.server.public_url.base_path().to_owned();
        let Some(wanted) = wanted else { return base() };
        let encoded = utf8_percent_encode(wanted, percent_encoding::CONTROLS).to_string();
        let path = encoded.split('?').next().unwrap_or_default();
        let plain = encoded
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#'));
        match plain && encoded.len() <= LONGEST_RETURN && self.routes.may_return_to(path) {
            true => encoded,
            false => base(),
        }
    }
}

/// A redirect that no cache keeps and that tells the next site nothing.
fn redirect(
    status: StatusCode,
    location: &str,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // What is not a header value was refused before it came here; the front page is a safe second.
    headers.insert(
        LOCATION,
        HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/")),
    );
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    no_store(&mut response);
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

fn no_store(response: &mut Response<Bytes>) {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
