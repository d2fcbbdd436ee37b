//! What a person or a program gets instead of the application: a page or problem+json (RFC 9457),
//! with an id that the log line and the audit row carry too. Never a token or a claim's value.
//!
//! A [`Rejection`] says what happened; this room alone decides status, words and form, and logs it
//! once.

mod challenge;
mod render;
mod words;

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::bearer::Denial;
use crate::page::{Document, Form, Language};
use crate::telemetry::RequestId;

pub use render::{Links, render};

/// A request that gets an answer of ours, and why, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What happened.
    pub kind: Kind,
    /// Expected and found, for the log: never a token, a secret or a claim's value.
    pub detail: String,
}

/// What the log line says of the request beside the rejection.
#[derive(Debug, Clone, Copy)]
pub struct Context<'r> {
    /// The id that page, log line and audit row share.
    pub id: RequestId,
    /// The client's address.
    pub client: IpAddr,
    /// The request's method.
    pub method: &'r Method,
    /// The request's path, without its query, or the route's where that holds a secret.
    pub path: &'r str,
    /// The request's headers: they say the reader's language and form.
    pub headers: &'r HeaderMap,
}

impl Rejection {
    /// A rejection whose kind says it all.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            detail: String::new(),
        }
    }

    /// A rejection with what was expected and found.
    pub fn because(kind: Kind, detail: impl ToString) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
        }
    }

    /// Logs it, once, and writes the response.
    pub fn respond(&self, context: &Context<'_>, links: &Links) -> Response<Bytes> {
        self.log(context);
        let challenge = challenge::of(&self.kind, links);
        let (language, form) = (
            Language::of_request(context.headers),
            match self.kind.is_for_programs() {
                true => Form::Problem,
                false => Form::of_request(context.headers),
            },
        );
        let mut response = respond(
            self.kind.status(),
            render(&self.kind, context.id, language, form, links),
        );
        let headers = response.headers_mut();
        if let Some(seconds) = self.kind.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Kind::MethodNotAllowed { allow } = self.kind {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        headers.extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        response
    }

    fn log(&self, context: &Context<'_>) {
        let Context {
            id,
            client,
            method,
            path,
            ..
        } = context;
        let (kind, status, at_fault) = (
            self.kind.slug(),
            self.kind.status().as_u16(),
            self.kind.party().as_str(),
        );
        let detail = &self.detail;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(%id, kind, status, at_fault, %client, %method, path, detail, "request rejected")
            };
        }
        match (&self.kind, self.kind.party().level()) {
            // Every fetch of an expired page comes here: the access log has them.
            (Kind::SignInNeeded | Kind::AccessTokenNeeded, _) => line!(debug),
            (_, tracing::Level::ERROR) => line!(error),
            (_, tracing::Level::WARN) => line!(warn),
            _ => line!(info),
        }
    }
}

/// A response with a document of ours.
pub fn respond(status: StatusCode, document: Document) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().extend(document.headers());
    *response.body_mut() = document.body.into();
    response
}

/// What happened. Each kind has one status, one problem type and one set of words a language.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "field names say what they hold")]
pub enum Kind {
    /// 400: the request is malformed (Host, framing, method).
    BadRequest,
    /// 400: the path could mean two things.
    AmbiguousPath,
    /// 400: the return from the provider lacks the browser's sign-in cookie.
    SignInCookieMissing,
    /// 400: the return from the provider is not one that this browser asked for.
    ForeignSignIn,
    /// 400: the return from the provider was used before.
    SignInUsed,
    /// 401: no session, and not a navigation.
    SignInNeeded,
    /// 401: a person sent a form when their session had ended, and it is not kept.
    FormNotKept,
    /// 410: a kept form was sent on already, or is kept no more.
    FormGone,
    /// 403: a kept form is somebody else's.
    FormOfAnother,
    /// 401: no access token, where one is needed.
    AccessTokenNeeded,
    /// 400: no one access token can be read from the request.
    AccessTokenMalformed,
    /// 401: the access token failed a check, or ran out.
    AccessTokenInvalid { expired: bool },
    /// 403: the access token is good, but lets nobody in here.
    AccessTokenInsufficient { denial: Denial },
    /// 403: a `deny` route.
    RouteDenied,
    /// 403: the user is signed in, but the route's rule does not hold for them.
    RuleDenied,
    /// 403: a page of another site would change something with the person's session.
    ForeignOrigin,
    /// 403: the provider answered with an error, such as `access_denied`.
    ProviderRefused { provider: String, error: String },
    /// 403: the provider does not know this installation, such as `invalid_client`.
    ClientRefused { provider: String, error: String },
    /// 403: the provider's token failed a check.
    TokenInvalid { provider: String },
    /// 403: the username is bound to another identity.
    Conflict,
    /// 403: the user waits for activation.
    Inactive,
    /// 403: a required field is missing, a value is invalid, a rule says no. `reason` is English and
    /// holds no claim value; `field` is the user field or claim at fault; `message` is the operator's own.
    Refused {
        reason: String,
        field: Option<String>,
        message: Option<String>,
    },
    /// 403: the person's claims do not fit into a cookie.
    TokenTooLarge,
    /// 403: the sign-in cookie is set, yet does not come back.
    LoopCookieLost,
    /// 403: the session is good, yet the application sends people to sign in.
    LoopApplication,
    /// 404: nothing of ours, nothing of the application.
    NotFound,
    /// 405: an own endpoint that does not take this method; `allow` lists those that it takes.
    MethodNotAllowed { allow: &'static str },
    /// 408: the header section did not arrive in time.
    RequestTimeout,
    /// 413: the body is over `server.limits.body_size`.
    BodyTooLarge,
    /// 417: `Expect` asks for something else than `100-continue` (RFC 9110 10.1.1).
    UnknownExpectation,
    /// 421: the host is neither that of `public_url` nor an alias.
    WrongHost,
    /// 431: too many fields (hyper itself answers the section that is too large).
    HeaderTooLarge,
    /// 502: the application does not take connections, or broke off.
    ApplicationUnreachable,
    /// 502: the application asks for a sign-in that is bound to a connection (NTLM, Negotiate).
    ConnectionSignIn,
    /// 503: sign-ins wait for the provider; live sessions go on.
    ProviderDown { provider: String },
    /// 503: sign-ins wait for the directory's store; live sessions go on.
    StoreDown,
    /// 503: the application's own directory has to be told of the person first, and does not answer.
    ReceiverDown,
    /// 504: the application took longer than `upstream.response_timeout`.
    ApplicationSlow,
}

impl Kind {
    /// The response's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Kind::BadRequest
            | Kind::AmbiguousPath
            | Kind::SignInCookieMissing
            | Kind::ForeignSignIn
            | Kind::SignInUsed
            | Kind::AccessTokenMalformed => StatusCode::BAD_REQUEST,
            Kind::SignInNeeded
            | Kind::FormNotKept
            | Kind::AccessTokenNeeded
            | Kind::AccessTokenInvalid { .. } => StatusCode::UNAUTHORIZED,
            Kind::FormGone => StatusCode::GONE,
            Kind::AccessTokenInsufficient { .. }
            | Kind::FormOfAnother
            | Kind::RouteDenied
            | Kind::RuleDenied
            | Kind::ForeignOrigin
            | Kind::ProviderRefused { .. }
            | Kind::ClientRefused { .. }
            | Kind::TokenInvalid { .. }
            | Kind::Conflict
            | Kind::Inactive
            | Kind::Refused { .. }
            | Kind::TokenTooLarge
            | Kind::LoopCookieLost
            | Kind::LoopApplication => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Kind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Kind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            Kind::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Kind::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Kind::ApplicationUnreachable | Kind::ConnectionSignIn => StatusCode::BAD_GATEWAY,
            Kind::ProviderDown { .. } | Kind::StoreDown | Kind::ReceiverDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Kind::ApplicationSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Whose fault a rejection is, and so how loudly it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The browser or program that asked.
    UserAgent,
    /// The OpenID provider.
    Provider,
    /// The directory: its rules, or what it knows of the person.
    Directory,
    /// The application behind us.
    Application,
    /// Whoever configures or runs this installation.
    Operator,
    /// This program and what it keeps.
    Us,
}

impl Party {
    /// As logs say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Party::UserAgent => "user-agent",
            Party::Provider => "provider",
            Party::Directory => "directory",
            Party::Application => "application",
            Party::Operator => "operator",
            Party::Us => "us",
        }
    }

    /// The level of the one line that is logged: what anybody can provoke from outside is news, what
    /// a peer or the operator must look at is a warning, what is ours is an error.
    pub fn level(self) -> tracing::Level {
        match self {
            Party::UserAgent => tracing::Level::INFO,
            Party::Provider | Party::Directory | Party::Application | Party::Operator => {
                tracing::Level::WARN
            }
            Party::Us => tracing::Level::ERROR,
        }
    }
}

impl Kind {
    /// Names the kind in problem types, logs and metrics. Never changes.
    pub fn slug(&self) -> &'static str {
        match self {
            Kind::BadRequest => "bad-request",
            Kind::AmbiguousPath => "ambiguous-path",
            Kind::SignInCookieMissing => "sign-in-cookie-missing",
            Kind::ForeignSignIn => "foreign-sign-in",
            Kind::SignInUsed => "sign-in-used",
            Kind::SignInNeeded => "sign-in-needed",
            Kind::FormNotKept => "form-not-kept",
            Kind::FormGone => "form-gone",
            Kind::FormOfAnother => "form-of-another",
            Kind::AccessTokenNeeded => "access-token-needed",
            Kind::AccessTokenMalformed => "access-token-malformed",
            Kind::AccessTokenInvalid { .. } => "access-token-invalid",
            Kind::AccessTokenInsufficient { .. } => "access-token-insufficient",
            Kind::RouteDenied => "route-denied",
            Kind::RuleDenied => "rule-denied",
            Kind::ForeignOrigin => "foreign-origin",
            Kind::ProviderRefused { .. } => "provider-refused",
            Kind::ClientRefused { .. } => "client-refused",
            Kind::TokenInvalid { .. } => "token-invalid",
            Kind::Conflict => "conflict",
            Kind::Inactive => "inactive",
            Kind::Refused { .. } => "refused",
            Kind::TokenTooLarge => "token-too-large",
            Kind::LoopCookieLost => "loop-cookie-lost",
            Kind::LoopApplication => "loop-application",
            Kind::NotFound => "not-found",
            Kind::MethodNotAllowed { .. } => "method-not-allowed",
            Kind::RequestTimeout => "request-timeout",
            Kind::BodyTooLarge => "body-too-large",
            Kind::UnknownExpectation => "unknown-expectation",
            Kind::WrongHost => "wrong-host",
            Kind::HeaderTooLarge => "header-too-large",
            Kind::ApplicationUnreachable => "application-unreachable",
            Kind::ConnectionSignIn => "connection-sign-in",
            Kind::ProviderDown { .. } => "provider-down",
            Kind::StoreDown => "store-down",
            Kind::ReceiverDown => "receiver-down",
            Kind::ApplicationSlow => "application-slow",
        }
    }

    /// Whose fault it is.
    pub fn party(&self) -> Party {
        match self {
            Kind::BadRequest
            | Kind::AmbiguousPath
            | Kind::SignInCookieMissing
            | Kind::ForeignSignIn
            | Kind::SignInUsed
            | Kind::SignInNeeded
            | Kind::FormNotKept
            | Kind::FormGone
            | Kind::FormOfAnother
            | Kind::AccessTokenNeeded
            | Kind::AccessTokenMalformed
            | Kind::AccessTokenInvalid { .. }
            | Kind::AccessTokenInsufficient { .. }
            | Kind::RouteDenied
            | Kind::RuleDenied
            | Kind::ForeignOrigin
            | Kind::NotFound
            | Kind::MethodNotAllowed { .. }
            | Kind::RequestTimeout
            | Kind::BodyTooLarge
            | Kind::UnknownExpectation
            | Kind::WrongHost
            | Kind::HeaderTooLarge => Party::UserAgent,
            Kind::ProviderRefused { .. }
            | Kind::TokenInvalid { .. }
            | Kind::ProviderDown { .. } => Party::Provider,
            Kind::Conflict | Kind::Inactive | Kind::Refused { .. } => Party::Directory,
            Kind::ApplicationUnreachable | Kind::ApplicationSlow | Kind::ReceiverDown => {
                Party::Application
            }
            Kind::ClientRefused { .. }
            | Kind::TokenTooLarge
            | Kind::LoopCookieLost
            | Kind::LoopApplication
            | Kind::ConnectionSignIn => Party::Operator,
            Kind::StoreDown => Party::Us,
        }
    }

    /// Whether no person ever reads it, whatever Accept says.
    fn is_for_programs(&self) -> bool {
        matches!(
            self,
            Kind::AccessTokenNeeded
                | Kind::AccessTokenMalformed
                | Kind::AccessTokenInvalid { .. }
                | Kind::AccessTokenInsufficient { .. }
        )
    }

    /// Seconds for Retry-After, where trying again helps by itself.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Kind::ProviderDown { .. } | Kind::ReceiverDown => Some(15),
            Kind::StoreDown => Some(5),
            _ => None,
        }
    }
}
