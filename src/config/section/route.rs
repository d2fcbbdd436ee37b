//! `[[routes]]`: paths with rules of their own.

use http::Method;

use crate::expression::Expression;

/// One of `[[routes]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Absolute path as browsers send it; ending in `/` it is a prefix, else exact.
    pub path: String,
    /// What is asked of the caller.
    pub access: Access,
    /// Empty = all.
    pub methods: Vec<Method>,
    /// Names of the strip list that may pass on this route.
    pub keep_headers: Vec<String>,
    /// What must hold for a signed-in user to pass.
    pub require: Option<Expression>,
    /// Whether access tokens without a user pass, on a bearer route.
    pub machine: bool,
    /// `false`: the access log shows the route's path instead of the request's.
    pub log_path: bool,
}

/// `routes.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Forwarded without identity.
    Open,
    /// Needs a signed-in user.
    Login,
    /// Needs a provider's access token (RFC 6750).
    Bearer,
    /// Refused.
    Deny,
}
