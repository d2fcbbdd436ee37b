//! One exchange with a receiver (RFC 7644 3), bounded in time and bytes, and what its answer means for a delivery.

use std::time::Duration;

use http::header::{DATE, LOCATION, RETRY_AFTER};
use reqwest::Method;
use serde_json::Value;

use super::{Delivery, Step};
use crate::config;

/// Bytes of an answer: a page of users fits.
const BODY_CAP: usize = 4 << 20;
/// A receiver's wish to be left alone is followed up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The client of one receiver.
pub(super) struct Exchange {
    client: reqwest::Client,
    base: String,
    token: Option<config::Secret>,
}

/// An answer; `body` is null where there is none.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    location: Option<String>,
    retry_after: Option<Duration>,
}

impl Exchange {
    pub(super) fn new(push: &config::Push) -> Result<Self, String> {
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .timeout(push.timeout)
        };
        // Plain http needs no authorities, and must work on machines that have none.
        let client = match push.url.scheme() {
            "http" => builder().tls_certs_only([]).build(),
            _ => builder().build(),
        };
        let client = client.map_err(|_| {
            "the system's certificate authorities cannot be used: install them (package ca-certificates)"
                .to_owned()
        })?;
        Ok(Self {
            client,
            base: push.url.as_str().trim_end_matches('/').to_owned(),
            token: push.token.clone(),
        })
    }

    pub(super) async fn get(&self, path: &str) -> Step<Answer> {
        self.exchange(Method::GET, path, None).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &Value) -> Step<Answer> {
        let method = match method {
            "PATCH" => Method::PATCH,
            _ => Method::POST,
        };
        self.exchange(method, path, Some(body)).await
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Step<Answer> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header("accept", "application/scim+json, application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(String::from_utf8_lossy(token.expose()));
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/scim+json")
                .body(body.to_string());
        }
        let mut answer = request.send().await.map_err(|fault| unreachable(&fault))?;
        let status = answer.status().as_u16();
        let header = |name| answer.headers().get(name).and_then(|it| it.to_str().ok());
        let location = header(LOCATION).map(str::to_owned);
        let retry_after = header(RETRY_AFTER).map(|text| wait(text, header(DATE)));
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|fault| unreachable(&fault))? {
            if bytes.len() + chunk.len() > BODY_CAP {
                return Err(later(format!("it answered {status} with too much"), true));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer = Answer {
            status,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            location,
            retry_after,
        };
        match status {
            401 => Err(later(
                "it answered 401: it does not take the token".to_owned(),
                true,
            )),
            200..=299 | 400..=428 | 430..=499 | 501 => Ok(answer),
            _ => Err(Delivery::Later {
                reason: format!("it answered {status}"),
                after: answer.retry_after,
                everybody: true,
            }),
        }
    }
}

impl Answer {
    /// What a status that was not expected means: 4xx is about the user, and stays so.
    pub(super) fn refusal(&self) -> Delivery {
        let kind = self.body["scimType"].as_str().unwrap_or_default();
        let known = kind.len() <= 40 && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
        let reason = match (known, kind) {
            (true, kind) if !kind.is_empty() => format!("it answered {} {kind}", self.status),
            _ => format!("it answered {}", self.status),
        };
        match self.status {
            // Not the user's fault, or gone with the next try.
            403 | 408 | 412 | 425 | 501 => later(reason, self.status == 403),
            400..=499 => Delivery::Rejected { reason },
            _ => self.garbage(),
        }
    }

    /// An answer that is no SCIM.
    pub(super) fn garbage(&self) -> Delivery {
        let reason = format!("it answered {} with something that is no SCIM", self.status);
        later(reason, true)
    }

    /// `id` of the resource.
    pub(super) fn id(&self) -> Option<String> {
        let id = self.body["id"].as_str()?;
        (!id.is_empty()).then(|| id.to_owned())
    }

    /// The last segment of its location.
    pub(super) fn id_in_location(&self) -> Option<String> {
        let (_, id) = self.location.as_deref()?.rsplit_once("/Users/")?;
        let id = percent_encoding::percent_decode_str(id)
            .decode_utf8()
            .ok()?;
        (!id.is_empty()).then(|| id.into_owned())
    }
}

fn later(reason: String, everybody: bool) -> Delivery {
    Delivery::Later {
        reason,
        after: None,
        everybody,
    }
}

/// The address is in the configuration; the crate's words would repeat it with the filter, and so with a name.
fn unreachable(fault: &reqwest::Error) -> Delivery {
    let reason = match (fault.is_timeout(), fault.is_connect()) {
        (true, _) => "it gave no answer in time",
        (_, true) => "it cannot be reached",
        _ => "it broke off",
    };
    later(reason.to_owned(), true)
}

/// RFC 9110 10.2.3: seconds, or a date, which is looked at by the receiver's own clock.
fn wait(text: &str, now: Option<&str>) -> Duration {
    let date = |text| httpdate::parse_http_date(text).ok();
    let wait = match (text.trim().parse(), now.and_then(date), date(text)) {
        (Ok(seconds), _, _) => Duration::from_secs(seconds),
        (Err(_), Some(now), Some(then)) => then.duration_since(now).unwrap_or_default(),
        _ => Duration::from_secs(60),
    };
    wait.min(LONGEST_WAIT)
}
