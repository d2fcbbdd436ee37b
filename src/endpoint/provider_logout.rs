//! `backchannel-logout` and `frontchannel-logout`: the provider ends sessions (Back-Channel Logout 1.0, 2.5 to
//! 2.8; Front-Channel Logout 1.0, 2 and 3). What a logout token says is remembered for a while, so that a sign-in
//! which is on its way does not outrun it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::{Asked, Endpoints, no_store};
use crate::environment::UnixSeconds;
use crate::oidc::LogoutFault;
use crate::store::{LogoutRecord, ProviderLogout};

/// How long a logout is remembered at least: a sign-in may take ten minutes, and its code lives a while.
const REMEMBERED: UnixSeconds = 1200;
/// What a provider that is told "not now" waits, in seconds.
const TRY_AGAIN: u16 = 5;

/// Why a logout was not done.
enum NotDone {
    /// 400: what was sent is no logout of a provider of ours.
    Invalid(String),
    /// 503: it could not be checked or recorded.
    Later(String),
}

impl Endpoints {
    /// A logout token by POST (Back-Channel Logout 1.0, 2.5).
    pub(super) async fn backchannel_logout(&self, asked: &Asked) -> Response<Bytes> {
        let now = self.clock.now();
        let done = match logout_token(asked) {
            Ok(token) => self.logged_out_by(&token, now).await,
            Err(reason) => Err(NotDone::Invalid(reason)),
        };
        match done {
            Ok((provider, record)) => {
                self.told(asked, &provider, record);
                match record {
                    LogoutRecord::Ended(_) => plain(StatusCode::OK),
                    LogoutRecord::Replayed => {
                        refused("invalid_request", "this logout token was used before")
                    }
                }
            }
            Err(NotDone::Invalid(reason)) => {
                self.metrics.provider_logout("", "refused");
                tracing::warn!(id = %asked.id, client = %asked.client, %reason, "a logout token was refused");
                refused("invalid_request", &reason)
            }
            Err(NotDone::Later(reason)) => {
                self.metrics.provider_logout("", "failed");
                tracing::error!(id = %asked.id, %reason, "a logout by the provider was not recorded; the provider was told so");
                let mut response = problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "temporarily_unavailable",
                    "the logout could not be recorded; send it again",
                );
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from(TRY_AGAIN));
                response
            }
        }
    }

    async fn logged_out_by(
        &self,
        token: &str,
        now: UnixSeconds,
    ) -> Result<(String, LogoutRecord), NotDone> {
        let token = match self.parties.logout_token(token, now).await {
            Ok(token) => token,
            Err(fault @ LogoutFault::Invalid(_)) => {
                return Err(NotDone::Invalid(fault.to_string()));
            }
            Err(fault @ LogoutFault::Later(_)) => return Err(NotDone::Later(fault.to_string())),
        };
        let logout = ProviderLogout {
            provider: token.provider,
            issuer: token.issuer,
            jti: token.jti,
            sid: token.sid,
            subject: token.subject,
            issued_at: token.issued_at,
            // Beyond `exp` and any tolerated difference of clocks it is refused by its age.
            kept_until: (now + REMEMBERED).max(token.expires_at.saturating_add(REMEMBERED)),
        };
        let record = self.recorded(&logout, now).await?;
        Ok((logout.provider, record))
    }

    async fn recorded(
        &self,
        logout: &ProviderLogout,
        now: UnixSeconds,
    ) -> Result<LogoutRecord, NotDone> {
        let record = self.store.log_out(logout, now).await.map_err(|error| {
            self.sessions.store_answers(Err(&error));
            NotDone::Later(error.to_string())
        })?;
        // This node need not wait to be told of what it has just done; the others are.
        let _ = self.sessions.follow_ends(now).await;
        Ok(record)
    }

    fn told(&self, asked: &Asked, provider: &str, record: LogoutRecord) {
        let (outcome, sessions) = match record {
            LogoutRecord::Ended(sessions) => ("done", sessions),
            LogoutRecord::Replayed => ("replayed", 0),
        };
        self.metrics.provider_logout(provider, outcome);
        tracing::info!(id = %asked.id, provider, outcome, sessions, "the provider ended sessions");
    }

    /// A page of the provider shows this one in a frame (Front-Channel Logout 1.0, 2). The cookie of a site in a
    /// foreign frame does not come here, so `iss` and `sid` say which session it is.
    pub(super) async fn frontchannel_logout(&self, asked: &Asked) -> Response<Bytes> {
        let (issuer, sid) = (asked.parameter("iss"), asked.parameter("sid"));
        let (Some(issuer), Some(sid)) = (issuer, sid.filter(|sid| !sid.is_empty())) else {
            return refused(
                "invalid_request",
                "expected `iss` and `sid`; set frontchannel_logout_session_required at the provider",
            );
        };
        let names: Vec<_> = self
            .parties
            .by_issuer(&issuer)
            .map(|it| it.name())
            .collect();
        if names.is_empty() {
            return refused("invalid_request", "`iss`: expected a configured provider's");
        }
        let mut response = plain(StatusCode::OK);
        for name in names {
            if !self.ended_in_front(asked, (name, &issuer), &sid).await {
                response = plain(StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        let origin = url::Url::parse(&issuer).map(|url| url.origin().ascii_serialization());
        let policy = format!(
            "default-src 'none'; frame-ancestors {}",
            origin.unwrap_or_default()
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response
                .headers_mut()
                .insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    /// Ends what came of a session of that provider's at that issuer; whether the store has it.
    async fn ended_in_front(
        &self,
        asked: &Asked,
        (provider, issuer): (&str, &str),
        sid: &str,
    ) -> bool {
        let now = self.clock.now();
        let ended = self.store.end_provider_session(provider, issuer, sid, now);
        match ended.await {
            Ok(0) => true,
            Ok(sessions) => {
                // This node need not wait to be told of what it has just done; the others are.
                let _ = self.sessions.follow_ends(now).await;
                self.told(asked, provider, LogoutRecord::Ended(sessions));
                true
            }
            Err(error) => {
                self.sessions.store_answers(Err(&error));
                self.metrics.provider_logout(provider, "failed");
                tracing::error!(id = %asked.id, %error, "a logout by the provider was not recorded");
                false
            }
        }
    }
}

/// The form's one parameter (2.5).
fn logout_token(asked: &Asked) -> Result<String, String> {
    let form = asked.header("content-type").unwrap_or_default();
    let essence = form.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(
            "expected application/x-www-form-urlencoded, found another media type".to_owned(),
        );
    }
    let pairs = url::form_urlencoded::parse(&asked.body);
    let mut tokens = pairs.filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Ok(token.into_owned()),
        (None, _) => Err("expected one logout_token, found none".to_owned()),
        (Some(_), Some(_)) => Err("expected one logout_token, found several".to_owned()),
    }
}

fn refused(error: &str, description: &str) -> Response<Bytes> {
    problem(StatusCode::BAD_REQUEST, error, description)
}

/// As 2.8 asks for: `error` and `error_description` (RFC 6749 5.2).
fn problem(status: StatusCode, error: &str, description: &str) -> Response<Bytes> {
    let body = json!({ "error": error, "error_description": description });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    no_store(&mut response);
    response
}

fn plain(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let never = HeaderValue::from_static("no-cache, no-store");
    response.headers_mut().insert(CACHE_CONTROL, never);
    response
}
