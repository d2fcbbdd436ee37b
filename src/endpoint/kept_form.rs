//! No form is lost: what a person sent when their session had ended is kept, sealed, while they sign in, and then
//! delivered once, as it was, to where it was sent. Only the same browser brings it back, and only for the
//! same user.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, ORIGIN, REFERER, SET_COOKIE,
};
use http::{HeaderMap, Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Asked, Endpoints};
use crate::config::{Access, Route};
use crate::rejection::{Kind, Rejection};
use crate::route::Destination;
use crate::sealing::Purpose;
use crate::session::Session;
use crate::store::NewForm;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// A token that ran out longer ago, in seconds, is nobody's form.
const OLDEST: i64 = 7 * 86_400;
/// KiB of all forms that are being read: whoever sends them slowly holds so much memory, and no more.
const MOST_KIB: u32 = 64 * 1024;

/// Memory for forms that are being read.
#[derive(Debug)]
pub struct FormRoom(Arc<Semaphore>);

impl Default for FormRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_KIB as usize)))
    }
}

impl FormRoom {
    /// Room for so many bytes, until the permit is dropped.
    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(MOST_KIB);
        let permit = Arc::clone(&self.0).try_acquire_many_owned(kib.min(MOST_KIB));
        permit.ok()
    }
}

/// A form as it was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptForm {
    /// Path and query.
    target: String,
    /// Of the body.
    pub content_type: String,
    /// The page that it was filled in on.
    pub referer: Option<String>,
    /// Whose session had ended.
    username: String,
    /// That session's id: whoever keeps it again says the same.
    owner: String,
    #[serde(skip)]
    /// The body.
    pub body: Bytes,
}

/// What became of a form that was to be delivered.
#[derive(Debug)]
pub enum Delivery {
    /// It is to be sent, and is kept no more.
    Form(KeptForm),
    /// A page says why not.
    Rejected(Rejection),
}

/// Whether a request sends a form of a page of ours as a person does: a navigation that posts (Fetch Metadata), or
/// from browsers without it, one that takes HTML.
pub fn is_form(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let essence = text(&CONTENT_TYPE).and_then(|value| value.split(';').next());
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    let is_form = matches!(
        &*essence,
        "application/x-www-form-urlencoded" | "multipart/form-data"
    );
    let accepts = text(&http::header::ACCEPT).unwrap_or_default();
    let by_person = match (text(&SEC_FETCH_MODE), text(&SEC_FETCH_DEST)) {
        (Some(mode), destination) => {
            mode == "navigate" && matches!(destination, None | Some("document"))
        }
        (None, _) => accepts.contains("text/html") && !headers.contains_key("x-requested-with"),
    };
    *method == Method::POST && is_form && by_person
}

impl Endpoints {
    /// Whether a form comes from a page of the application itself: nobody else's is kept.
    fn is_our_own(&self, headers: &HeaderMap) -> bool {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let (origin, site) = (text(&ORIGIN), text(&SEC_FETCH_SITE));
        let ours = self.config.server.public_url.origin();
        origin.is_none_or(|origin| origin == ours)
            && site.is_none_or(|site| site == "same-origin")
            && (origin.is_some() || site.is_some())
    }

    /// How many bytes of a form are read to be kept for whoever sends this request, with the room for them.
    ///
    /// # Errors
    /// Why none.
    pub fn form_room(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(usize, OwnedSemaphorePermit), &'static str> {
        let limit = self.config.session.kept_form_size;
        if limit == 0 {
            return Err("session.kept_form_size is off");
        }
        if !self.is_our_own(headers) {
            return Err("expected a form of a page of the application, found another's");
        }
        // Memory is for those alone whom a session of ours was given to.
        let now = self.clock.now();
        if self.sessions.former(headers, now - OLDEST, now).is_none() {
            return Err("expected a session token of ours that ran out or was ended, found none");
        }
        if headers.contains_key(CONTENT_ENCODING) {
            return Err("expected a form as it is, found Content-Encoding");
        }
        if self.needs_session(&Method::GET, path).is_none() {
            return Err(
                "a route lets a GET of its address pass by without a session, and a sign-in comes back with one",
            );
        }
        let declared = headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let room = self.form_room.take(limit.min(declared.unwrap_or(limit)));
        let room =
            room.ok_or("so many forms are being read that there is no memory for another")?;
        Ok((limit, room))
    }

    /// The route of a request that needs a session, with the place of its rule; `None` where it needs none, or must
    /// not pass.
    pub fn needs_session(
        &self,
        method: &Method,
        path: &str,
    ) -> Option<(Option<&Route>, Option<usize>)> {
        match self.routes.find(method, path) {
            Ok(Destination::Application {
                access: Access::Login,
                route,
                rule,
            }) => Some((route, rule)),
            _ => None,
        }
    }

    /// Sends a person to sign in and keeps the form that they sent.
    pub async fn keep_form(&self, asked: &Asked) -> Response<Bytes> {
        let mut response = self.sign_in(asked);
        if !response.status().is_redirection() {
            return response;
        }
        let id = match self.kept(asked).await {
            Ok(id) => id,
            Err(why) => {
                self.metrics.kept_form("refused");
                let rejection = Rejection::because(Kind::FormNotKept, why);
                return self.reject(asked, &rejection, None);
            }
        };
        self.metrics.kept_form("kept");
        tracing::info!(id = %asked.id, bytes = asked.body.len(), "a form met an ended session and is kept until its person has signed in");
        // What follows is a GET (RFC 9110 15.4.4).
        *response.status_mut() = StatusCode::SEE_OTHER;
        let cookie = self
            .sessions
            .cookies()
            .set_form(&id, self.config.session.kept_form_lifetime);
        response.headers_mut().append(SET_COOKIE, cookie);
        response
    }

    /// Keeps the form; why not, otherwise.
    async fn kept(&self, asked: &Asked) -> Result<String, String> {
        let now = self.clock.now();
        let target = asked
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        if self.safe_return(Some(target)) != target {
            return Err("its address is too long to come back to".to_owned());
        }
        let former = self.sessions.former(&asked.headers, now - OLDEST, now);
        let (owner, username) = former
            .ok_or("expected a session token of ours that ran out or was ended, found none")?;
        let form = KeptForm {
            target: target.to_owned(),
            content_type: asked.header("content-type").unwrap_or_default().to_owned(),
            referer: asked.header(REFERER.as_str()).map(str::to_owned),
            username,
            owner,
            body: asked.body.clone(),
        };
        let id = self.form_id(target);
        self.put_away(&form, &id).await?;
        Ok(id)
    }

    /// An id that is good for one address: a browser brings it to all of them, and nobody else makes one.
    fn form_id(&self, target: &str) -> String {
        let mut unique = [0; 4];
        self.random.fill(&mut unique);
        let context = target.as_bytes();
        let sealed = self
            .sealer
            .seal(Purpose::KeptForm, context, &unique, &*self.random);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Whether a form of that id was sent to that address, if there is one.
    pub fn is_of_form(&self, id: &str, target: &str) -> bool {
        let context = target.as_bytes();
        let sealed = URL_SAFE_NO_PAD.decode(id).ok();
        sealed.is_some_and(|sealed| {
            self.sealer
                .open(Purpose::KeptForm, context, &sealed)
                .is_ok()
        })
    }

    /// Keeps a form under an id, sealed to it.
    async fn put_away(&self, form: &KeptForm, id: &str) -> Result<(), String> {
        let now = self.clock.now();
        let plain = packed(form).ok_or("it cannot be written")?;
        let sealed = self
            .sealer
            .seal(Purpose::KeptForm, id.as_bytes(), &plain, &*self.random);
        let new = NewForm {
            id,
            owner: &form.owner,
            sealed: &sealed,
            expires_at: now + self.config.session.kept_form_lifetime.as_secs() as i64,
        };
        match self.store.keep_form(&new, now).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("there is no room for more forms".to_owned()),
            Err(error) => {
                self.sessions.store_answers(Err(&error));
                Err(error.to_string())
            }
        }
    }

    /// The form that a signed-in person's request brings back to its address, if it is theirs.
    pub async fn form_of(&self, id: &str, target: &str, session: &Arc<Session>) -> Delivery {
        let gone = || Delivery::Rejected(Rejection::of(Kind::FormGone));
        let kept = self.store.kept_form(id, self.clock.now()).await;
        let sealed = match kept {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return gone(),
            Err(error) => return self.form_store_down(&error),
        };
        let opened = self.sealer.open(Purpose::KeptForm, id.as_bytes(), &sealed);
        let form = opened.ok().and_then(unpacked);
        let Some(form) = form.filter(|form| form.target == target) else {
            return gone();
        };
        let taken = match self.store.forget_form(id).await {
            Ok(taken) => taken,
            Err(error) => return self.form_store_down(&error),
        };
        if form.username != session.username() {
            self.metrics.kept_form("refused");
            return Delivery::Rejected(Rejection::of(Kind::FormOfAnother));
        }
        match taken {
            true => {
                self.metrics.kept_form("delivered");
                Delivery::Form(form)
            }
            false => gone(),
        }
    }

    fn form_store_down(&self, error: &crate::store::Error) -> Delivery {
        self.sessions.store_answers(Err(error));
        Delivery::Rejected(Rejection::because(Kind::StoreDown, error))
    }

    /// Keeps a form once more that did not reach the application.
    pub async fn keep_again(&self, form: &KeptForm, id: &str) {
        if let Err(reason) = self.put_away(form, id).await {
            tracing::error!(
                reason,
                "a kept form did not reach the application, and could not be kept again"
            );
        }
    }
}

/// Length of the header, header, body.
fn packed(form: &KeptForm) -> Option<Vec<u8>> {
    let header = serde_json::to_vec(form).ok()?;
    let length = u32::try_from(header.len()).ok()?;
    Some([&length.to_be_bytes()[..], &header, &form.body].concat())
}

fn unpacked(plain: Vec<u8>) -> Option<KeptForm> {
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let (header, body) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let form: KeptForm = serde_json::from_slice(header).ok()?;
    Some(KeptForm {
        body: Bytes::copy_from_slice(body),
        ..form
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_comes_out_as_it_went_in() {
        let form = KeptForm {
            target: "/wfgen/x?y=1".into(),
            content_type: "multipart/form-data; boundary=b".into(),
            referer: None,
            username: "ada".into(),
            owner: "sid".into(),
            body: Bytes::from_static(b"\x00\xff--b"),
        };
        let again = unpacked(packed(&form).unwrap()).unwrap();
        assert_eq!((again.target, again.body), (form.target, form.body));
        for broken in [&b""[..], b"\0\0\0", b"\xff\xff\xff\xff{}", b"\0\0\0\x02{}"] {
            assert!(unpacked(broken.to_vec()).is_none());
        }
    }

    #[test]
    fn a_form_is_a_navigation_that_posts() {
        let asked = |lines: &[(&'static str, &'static str)]| {
            let pairs = lines
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            is_form(&Method::POST, &pairs.collect())
        };
        let form = (
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        assert!(asked(&[
            form,
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document")
        ]));
        assert!(asked(&[form, ("accept", "text/html,*/*")]));
        assert!(!asked(&[
            form,
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty")
        ]));
        assert!(!asked(&[
            form,
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe")
        ]));
        assert!(!asked(&[
            form,
            ("accept", "text/html"),
            ("x-requested-with", "XMLHttpRequest")
        ]));
        assert!(!asked(&[
            ("content-type", "application/json"),
            ("accept", "text/html")
        ]));
    }
}
