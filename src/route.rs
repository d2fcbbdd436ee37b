//! Where a request may go: the path that was matched is the path that is forwarded, so a path must
//! mean one thing only before any rule looks at it (RFC 3986 6.2.2, and what IIS reads leniently).

mod path;

use http::Method;

use crate::config::{self, Access, Config};

pub use path::{Ambiguous, Clarity, clarity};

/// A form with one logout token, in bytes.
const LOGOUT_TOKEN_BODY: usize = 32 * 1024;

/// One of our own endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the design's table of endpoints defines them")]
pub enum Endpoint {
    Login,
    /// With the `NAME` of `callback/NAME`.
    Callback(Option<String>),
    Logout,
    LogoutReturn,
    BackchannelLogout,
    FrontchannelLogout,
    Session,
    Jwks,
}

impl Endpoint {
    /// Bytes of the body that it reads.
    pub fn body_limit(&self) -> usize {
        match self {
            Self::BackchannelLogout => LOGOUT_TOKEN_BODY,
            _ => 0,
        }
    }
}

/// What becomes of a path.
#[derive(Debug)]
pub enum Destination<'r> {
    /// One of our own endpoints.
    Own(Endpoint),
    /// The application; without a route of its own a path needs a signed-in user.
    Application {
        /// Whether a session is needed.
        access: Access,
        /// The route that matched.
        route: Option<&'r config::Route>,
        /// Its rule's place among those of [`Config::route_rules`], or of [`Config::bearer_rules`].
        rule: Option<usize>,
    },
    /// 308 to this path: the base path in another spelling (a browser's cookie path is case-sensitive).
    Canonical(String),
    /// 302 from `/` to the base path.
    Base,
    /// 404.
    NotFound,
}

/// The compiled routes.
#[derive(Debug)]
pub struct Routes {
    base: String,
    auth: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    route: config::Route,
    path: String,
    rule: Option<usize>,
}

impl Routes {
    /// Compiles the routes of a configuration.
    pub fn new(config: &Config) -> Self {
        let lower = |route: &config::Route| route.path.to_ascii_lowercase();
        let (mut of_sessions, mut of_tokens) = (0.., 0..);
        Self {
            base: config.server.public_url.base.clone(),
            auth: config.server.auth_prefix().to_ascii_lowercase(),
            entries: config
                .routes
                .iter()
                .map(|route| Entry {
                    path: lower(route),
                    rule: route.require.as_ref().and_then(|_| match route.access {
                        Access::Bearer => of_tokens.next(),
                        _ => of_sessions.next(),
                    }),
                    route: route.clone(),
                })
                .collect(),
        }
    }

    /// What becomes of `path` (as it came, without its query).
    ///
    /// # Errors
    /// [`Ambiguous`] for a path that could mean two things: 400 on every route.
    pub fn find<'r>(&'r self, method: &Method, path: &str) -> Result<Destination<'r>, Ambiguous> {
        let clarity = clarity(path)?;
        if path == "/" && !self.base.is_empty() {
            return Ok(Destination::Base);
        }
        let inside = below(&self.base, path);
        if let Some(rest) = inside
            && !path.starts_with(&self.base)
        {
            return Ok(Destination::Canonical(format!("{}{rest}", self.base)));
        }
        if let Some(endpoint) = self.own(path) {
            return Ok(Destination::Own(endpoint));
        }
        let ours = |path: &str| below(&self.auth, path).is_some();
        let reserved = ours(path) || clarity.cleaned().is_some_and(ours);
        // A route of all that surrounds our endpoints does not reach in among them.
        let applies = |entry: &&Entry| {
            (!reserved || ours(&entry.path)) && entry.matches(method, path, &clarity)
        };
        if let Some(entry) = self.entries.iter().find(applies) {
            return Ok(Destination::Application {
                access: entry.route.access,
                route: Some(&entry.route),
                rule: entry.rule,
            });
        }
        match inside.is_some() && !reserved {
            true => Ok(Destination::Application {
                access: Access::Login,
                route: None,
                rule: None,
            }),
            false => Ok(Destination::NotFound),
        }
    }

    fn own(&self, path: &str) -> Option<Endpoint> {
        let rest = below(&self.auth, path)?.strip_prefix('/')?;
        match rest {
            "login" => Some(Endpoint::Login),
            "callback" => Some(Endpoint::Callback(None)),
            "logout" => Some(Endpoint::Logout),
            "logout/return" => Some(Endpoint::LogoutReturn),
            "backchannel-logout" => Some(Endpoint::BackchannelLogout),
            "frontchannel-logout" => Some(Endpoint::FrontchannelLogout),
            "session" => Some(Endpoint::Session),
            "jwks" => Some(Endpoint::Jwks),
            _ => rest
                .strip_prefix("callback/")
                .map(|name| Endpoint::Callback(Some(name.to_owned()))),
        }
    }

    /// Whether `path` may be returned to after a sign-in: under the base, in its own spelling, and not
    /// one of ours.
    pub fn may_return_to(&self, path: &str) -> bool {
        let Ok(clarity) = clarity(path) else {
            return false;
        };
        let ours = |path: &str| below(&self.auth, path).is_some();
        below(&self.base, path).is_some() && !ours(path) && !clarity.cleaned().is_some_and(ours)
    }
}

impl Entry {
    /// `open` takes a path only as it is written; rules that protect take its lenient reading too.
    fn matches(&self, method: &Method, path: &str, clarity: &Clarity) -> bool {
        let asked = &self.route.methods;
        let method_matches = asked.is_empty()
            || asked.contains(method)
            || (method == Method::HEAD && asked.contains(&Method::GET));
        method_matches
            && match (self.route.access, clarity) {
                (Access::Open, Clarity::Plain | Clarity::Encoded { .. }) => self.covers(path),
                (Access::Open, Clarity::Lenient { .. }) => false,
                (Access::Login | Access::Bearer | Access::Deny, _) => {
                    self.covers(path)
                        || clarity
                            .cleaned()
                            .is_some_and(|cleaned| self.covers_cleaned(cleaned))
                }
            }
    }

    /// With and without the slash behind which a server may have dropped the last segment.
    fn covers_cleaned(&self, path: &str) -> bool {
        self.covers(path) || path.strip_suffix('/').is_some_and(|it| self.covers(it))
    }

    fn covers(&self, path: &str) -> bool {
        match self.path.ends_with('/') {
            true => {
                path.len() >= self.path.len()
                    && path.as_bytes()[..self.path.len()].eq_ignore_ascii_case(self.path.as_bytes())
            }
            false => path.eq_ignore_ascii_case(&self.path),
        }
    }
}

/// What follows `base` in `path`, if `path` is `base` or below it, ignoring ASCII case.
fn below<'p>(base: &str, path: &'p str) -> Option<&'p str> {
    let (head, rest) = path.as_bytes().split_at_checked(base.len())?;
    let inside = head.eq_ignore_ascii_case(base.as_bytes()) && (rest.is_empty() || rest[0] == b'/');
    // `base` is ASCII, so the cut is on a character's border.
    inside.then(|| &path[base.len()..])
}

#[cfg(test)]
mod tests;
