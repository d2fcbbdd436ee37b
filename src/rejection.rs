//! What a person or a program gets instead of the application: a page or problem+json (RFC 9457),
//! with an id that the log line and the audit row carry too. Never a token or a claim's value.
//!
//! A [`Rejection`] says what happened; this room alone decides status, words and form, and logs it
//! once.

mod words;

use http::StatusCode;

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
    /// 403: a `deny` route.
    RouteDenied,
    /// 403: the provider answered with an error, such as `access_denied`.
    ProviderRefused { provider: String, error: String },
    /// 403: the provider's token failed a check.
    TokenInvalid { provider: String },
    /// 403: the username is bound to another identity.
    Conflict,
    /// 403: the user waits for activation.
    Inactive,
    /// 403: a required field is missing, a value is invalid, a rule says no. `reason` is English and
    /// holds no claim value; `field` is the user field or claim at fault.
    Refused {
        reason: String,
        field: Option<String>,
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
    /// 421: the host is neither that of `public_url` nor an alias.
    WrongHost,
    /// 431: too many fields (hyper itself answers the section that is too large).
    HeaderTooLarge,
    /// 502: the application does not take connections, or broke off.
    ApplicationUnreachable,
    /// 503: sign-ins wait for the provider; live sessions go on.
    ProviderDown { provider: String },
    /// 503: sign-ins wait for the directory's store; live sessions go on.
    StoreDown,
    /// 503: this node is draining.
    Draining,
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
            | Kind::SignInUsed => StatusCode::BAD_REQUEST,
            Kind::SignInNeeded => StatusCode::UNAUTHORIZED,
            Kind::RouteDenied
            | Kind::ProviderRefused { .. }
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
            Kind::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Kind::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Kind::ApplicationUnreachable => StatusCode::BAD_GATEWAY,
            Kind::ProviderDown { .. } | Kind::StoreDown | Kind::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Kind::ApplicationSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}
