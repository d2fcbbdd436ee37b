//! A SCIM 2.0 receiver (RFC 7643, RFC 7644): brings one user there, whatever the receiver knows of them already.
//!
//! Whoever has our user's id as `externalId` is ours; whoever has the username without it is somebody else's and is left
//! alone. What comes back is compared here, since a receiver may ignore a filter. Redirects are not followed, answers
//! are bounded, and nothing of a body is logged.

mod attributes;
mod exchange;

use std::time::Duration;

use serde_json::{Value, json};

use crate::config;
use crate::store::{Skeleton, User};

use attributes::Attributes;
use exchange::{Answer, Exchange};

pub use attributes::FIELDS;

/// Users asked for at once where a receiver knows no filters, and how many such pages.
const PAGE: usize = 200;
const PAGES: usize = 500;

/// One receiver.
pub struct Receiver {
    exchange: Exchange,
}

/// What became of a user there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has the user as they are here.
    Delivered {
        /// Its id of the user.
        remote_id: String,
        /// What it has from us: a JSON object.
        attributes: String,
    },
    /// It has the username from somebody else.
    Foreign,
    /// It said no for good.
    Rejected {
        /// Status and error type.
        reason: String,
    },
    /// To be tried again.
    Later {
        /// What went wrong.
        reason: String,
        /// When the receiver wants to be asked again.
        after: Option<Duration>,
        /// It is down for every user.
        everybody: bool,
    },
}

/// A step towards a delivery, or the end of it.
type Step<T> = Result<T, Delivery>;

impl Receiver {
    /// Prepares the client.
    ///
    /// # Errors
    /// What is missing, with what to do.
    pub fn new(push: &config::Push) -> Result<Self, String> {
        Ok(Self {
            exchange: Exchange::new(push)?,
        })
    }

    /// Whether the receiver answers and takes the token, for `check`.
    ///
    /// # Errors
    /// What it did instead.
    pub async fn probe(&self) -> Result<String, String> {
        let asked = self.exchange.get("/Users?count=1").await;
        match asked.and_then(|answer| answer.expect_list()) {
            Ok(_) => Ok("it answers SCIM and takes the token".to_owned()),
            Err(Delivery::Later { reason, .. } | Delivery::Rejected { reason }) => Err(reason),
            Err(_) => Err("it does not answer SCIM".to_owned()),
        }
    }

    /// Brings `user` to the receiver. `remote_id` and `delivered` are what is known of earlier deliveries. Doing it
    /// again after a crash does no harm.
    pub async fn deliver(
        &self,
        user: &User,
        remote_id: Option<&str>,
        delivered: Option<&str>,
    ) -> Delivery {
        let wanted = Attributes::of(user);
        match self.brought(user, &wanted, remote_id, delivered).await {
            Ok(remote_id) => Delivery::Delivered {
                remote_id,
                attributes: wanted.to_json(),
            },
            Err(delivery) => delivery,
        }
    }

    async fn brought(
        &self,
        user: &User,
        wanted: &Attributes,
        remote_id: Option<&str>,
        delivered: Option<&str>,
    ) -> Step<String> {
        if let Some(id) = remote_id {
            let before = delivered.map(Attributes::from_json).unwrap_or_default();
            if self.patched(id, &before, wanted).await? {
                return Ok(id.to_owned());
            }
            // The receiver has lost the user: they are looked for, and made again.
        }
        match self.found(user).await? {
            Some(id) => self.taken_over(id, wanted).await,
            None => self.created(user, wanted).await,
        }
    }

    /// Brings up to date whom the receiver has just shown.
    async fn taken_over(&self, id: String, wanted: &Attributes) -> Step<String> {
        match self.patched(&id, &Attributes::default(), wanted).await? {
            true => Ok(id),
            false => Err(Delivery::Later {
                reason: "it shows the user, and does not find them to change them".to_owned(),
                after: None,
                everybody: false,
            }),
        }
    }

    /// Changes what differs (RFC 7644 3.5.2); whether the receiver still has the user.
    async fn patched(&self, id: &str, before: &Attributes, wanted: &Attributes) -> Step<bool> {
        let operations = wanted.operations_from(before);
        if operations.is_empty() {
            return Ok(true);
        }
        let body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": operations,
        });
        let answer = self.exchange.send("PATCH", &user_path(id), &body).await?;
        match answer.status {
            200 | 204 => Ok(true),
            404 | 410 => Ok(false),
            _ => Err(answer.refusal()),
        }
    }

    /// Our user at the receiver: by the id that we gave them, else by name.
    async fn found(&self, user: &User) -> Step<Option<String>> {
        for filter in [
            format!("externalId eq {}", quoted(&user.id)),
            format!("userName eq {}", quoted(user.username())),
        ] {
            let path = format!("/Users?filter={}", encoded(&filter));
            let answer = self.exchange.get(&path).await?;
            match answer.status {
                200 => {
                    if let Some(found) = ours(user, &answer.expect_list()?)? {
                        return Ok(Some(found));
                    }
                }
                // It knows no such filter: RFC 7644 3.4.2.2 has 400, others say so in other ways.
                400 | 403 | 404 | 405 | 501 => return self.found_in_list(user).await,
                _ => return Err(answer.refusal()),
            }
        }
        Ok(None)
    }

    /// The same without filters, page by page (RFC 7644 3.4.2.4).
    async fn found_in_list(&self, user: &User) -> Step<Option<String>> {
        let mut start = 1;
        for _ in 0..PAGES {
            let path = format!("/Users?startIndex={start}&count={PAGE}");
            let answer = self.exchange.get(&path).await?;
            let resources = answer.expect_list()?;
            if let Some(found) = ours(user, &resources)? {
                return Ok(Some(found));
            }
            start += resources.len();
            let total = answer.body.get("totalResults").and_then(Value::as_u64);
            if resources.is_empty() || total.is_some_and(|total| start as u64 > total) {
                return Ok(None);
            }
        }
        let reason = format!("it has no filters and more than {} users", PAGE * PAGES);
        Err(Delivery::Rejected { reason })
    }

    async fn created(&self, user: &User, wanted: &Attributes) -> Step<String> {
        let answer = self
            .exchange
            .send("POST", "/Users", &wanted.resource())
            .await?;
        match answer.status {
            200 | 201 => match answer.id().or_else(|| answer.id_in_location()) {
                Some(id) => Ok(id),
                None => self.made_or_not(user).await,
            },
            // Its filters are stricter than its names, or somebody was faster.
            409 => match self.found_in_list(user).await? {
                Some(id) => self.taken_over(id, wanted).await,
                None => Err(answer.refusal()),
            },
            _ => Err(answer.refusal()),
        }
    }

    async fn made_or_not(&self, user: &User) -> Step<String> {
        self.found(user).await?.ok_or_else(|| Delivery::Later {
            reason: "it said that it made the user, and does not show them".to_owned(),
            after: None,
            everybody: false,
        })
    }
}

/// The id of our user among what came back; somebody else with the username ends it.
fn ours(user: &User, resources: &[Value]) -> Step<Option<String>> {
    let text = |resource: &Value, name: &str| resource[name].as_str().map(str::to_owned);
    let is_ours = |resource: &&Value| resource["externalId"] == user.id.as_str();
    if let Some(resource) = resources.iter().find(is_ours) {
        return Ok(text(resource, "id"));
    }
    let wanted = Skeleton::of(user.username());
    let same = |resource: &Value| {
        text(resource, "userName").is_some_and(|name| Skeleton::of(&name) == wanted)
    };
    match resources.iter().any(same) {
        true => Err(Delivery::Foreign),
        false => Ok(None),
    }
}

fn user_path(id: &str) -> String {
    format!("/Users/{}", encoded(id))
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A string of a filter (RFC 7644 3.4.2.2): JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Answer {
    /// The resources of a list (RFC 7644 3.4.2).
    fn expect_list(&self) -> Step<Vec<Value>> {
        if self.status != 200 {
            return Err(self.refusal());
        }
        match &self.body["Resources"] {
            Value::Array(resources) => Ok(resources.clone()),
            // Without any, the member may be left out.
            Value::Null if self.body["totalResults"] == 0 => Ok(Vec::new()),
            _ => Err(self.garbage()),
        }
    }
}
