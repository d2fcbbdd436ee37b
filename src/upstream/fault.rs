//! Why there is no response, in an operator's words, and whether a request may be sent again after it.

use std::error::Error as _;
use std::time::Duration;

use super::body::Progress;
use super::pool::Pool;

/// Why there is no response. The application's fault, but for those of the body.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection could be made. 502.
    #[error("no connection to the application at {server}: {reason}")]
    Unreachable {
        /// Its origin.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The connection broke, or what came is not HTTP. 502.
    #[error("the application at {server} did not answer with HTTP: {reason}")]
    Broken {
        /// Its origin.
        server: String,
        /// What was found.
        reason: String,
    },
    /// The application would sign in the connection, which other people's requests share. 502.
    #[error(
        "the application at {server} asks for {scheme}, a sign-in that is bound to its connection, and those are shared; expected its own sign-in to be off"
    )]
    BoundSignIn {
        /// Its origin.
        server: String,
        /// The scheme that it asks for.
        scheme: &'static str,
    },
    /// No response's header within `upstream.response_timeout`. 504.
    #[error("the application at {server} did not answer within {waited:?}")]
    Slow {
        /// Its origin.
        server: String,
        /// The time that was waited.
        waited: Duration,
    },
    /// The body was larger than `server.limits.body_size`. 413.
    #[error("the request's body is larger than server.limits.body_size")]
    BodyTooLarge,
    /// The rest of the body did not come within `upstream.response_timeout`. 408.
    #[error("the request's body stopped arriving for {waited:?}")]
    BodySlow {
        /// The time that was waited.
        waited: Duration,
    },
    /// The client went away in the middle of its body. Nobody is left to answer.
    #[error("the request's body broke off")]
    BodyBroken,
}

impl Fault {
    /// What an error on a connection means, with how far the request's body had come.
    pub(super) fn of(pool: &Pool, error: &hyper::Error, progress: &Progress) -> Self {
        match () {
            () if progress.over_limit() => Fault::BodyTooLarge,
            () if progress.broken() => Fault::BodyBroken,
            () => Fault::broken(pool, reason(error)),
        }
    }

    pub(super) fn broken(pool: &Pool, reason: impl Into<String>) -> Self {
        Fault::Broken {
            server: pool.server().to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn bound_sign_in(pool: &Pool, scheme: &'static str) -> Self {
        let server = pool.server().to_owned();
        Fault::BoundSignIn { server, scheme }
    }

    pub(super) fn unreachable(pool: &Pool, reason: String) -> Self {
        let server = pool.server().to_owned();
        Fault::Unreachable { server, reason }
    }
}

/// Whether the connection ended, rather than that something was answered that is no HTTP.
pub(super) fn is_lost(error: &hyper::Error) -> bool {
    let io = error.source().is_some_and(|it| it.is::<std::io::Error>());
    let ended = error.is_incomplete_message() || error.is_canceled() || error.is_closed() || io;
    ended && !error.is_parse() && !error.is_user()
}

/// The chain of an error, without what a peer sent.
pub(super) fn reason(error: &hyper::Error) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{error}{cause}")
}
