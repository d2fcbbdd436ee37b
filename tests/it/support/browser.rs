//! A scripted user agent: keeps cookies as RFC 6265 says, says where its requests come from as Fetch
//! Metadata does, follows redirects by hand and fills in the provider's real forms. Clones are tabs of
//! one browser: they share the jar.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use url::Url;

use super::cookies::{Cookie, Jar, Reach};
use super::wire::{Answer, exchange};

/// What the page that asks wants the answer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The address bar, a link, a form.
    Navigation,
    /// A frame's document.
    Frame,
    /// Script: `fetch` or XMLHttpRequest.
    Fetch,
}

/// A request before the jar and Fetch Metadata are added.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) mode: Mode,
    /// The page that causes it; `None`: the person does.
    pub(crate) initiator: Option<Url>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(String, Vec<u8>)>,
}

/// Where a navigation ended, and every step of it.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) answer: Answer,
    /// Every answer on the way with the address it came from; the last one is `answer`.
    pub(crate) trail: Vec<(Url, Answer)>,
}

impl Page {
    /// The addresses on the way.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.trail.iter().map(|(url, _)| url.to_string()).collect()
    }

    /// The first address on the way whose path ends so.
    #[track_caller]
    pub(crate) fn step(&self, path_end: &str) -> &(Url, Answer) {
        let step = self
            .trail
            .iter()
            .find(|(url, _)| url.path().ends_with(path_end));
        step.unwrap_or_else(|| panic!("no step to …{path_end} in {:#?}", self.addresses()))
    }

    /// It shows the provider's login form.
    pub(crate) fn is_login_form(&self) -> bool {
        self.answer.text().contains("name=\"login\"")
    }
}

/// The user agent, or one of its tabs.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    jar: Arc<Mutex<Jar>>,
    hosts: HashMap<String, SocketAddr>,
    language: Option<String>,
    refused: Option<String>,
    barrier: Option<String>,
}

impl Browser {
    /// A browser without a past.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Reaches an origin at this address, as DNS and a TLS terminator would.
    pub(crate) fn reach(mut self, origin: &str, address: SocketAddr) -> Self {
        self.hosts.insert(origin.to_owned(), address);
        self
    }

    /// Its Accept-Language.
    pub(crate) fn speaking(mut self, language: &str) -> Self {
        self.language = Some(language.to_owned());
        self
    }

    /// Never keeps a cookie of that name.
    pub(crate) fn refusing(mut self, cookie: &str) -> Self {
        self.refused = Some(cookie.to_owned());
        self
    }

    /// Follows no redirect to an address that starts so.
    pub(crate) fn stop_before(&mut self, address: &str) {
        self.barrier = Some(address.to_owned());
    }

    /// Types an address and stays at whatever answers first.
    #[track_caller]
    pub(crate) fn visit(&self, url: &str) -> Answer {
        self.send(&Sending::by_person(url))
    }

    /// Types an address and follows where it leads.
    #[track_caller]
    pub(crate) fn navigate(&self, url: &str) -> Page {
        self.follow(Sending::by_person(url))
    }

    /// A script of the same origin asks for an address.
    #[track_caller]
    pub(crate) fn fetch(&self, url: &str) -> Answer {
        let mut sending = Sending::by_person(url);
        sending.mode = Mode::Fetch;
        sending.initiator = Some(sending.url.clone());
        self.send(&sending)
    }

    /// A person goes to an address that needs a session and signs in there as `user`.
    #[track_caller]
    pub(crate) fn sign_in(&self, url: &str, user: &str) -> Page {
        let page = self.navigate(url);
        assert!(
            page.is_login_form(),
            "expected the login form, came by {:#?} to {} {}",
            page.addresses(),
            page.answer.status,
            page.answer.text()
        );
        self.fill_in(&page, &[("login", user), ("password", "any")])
    }

    /// Submits the page's first form with these values over its own and follows where it leads.
    #[track_caller]
    pub(crate) fn fill_in(&self, page: &Page, values: &[(&str, &str)]) -> Page {
        let form = Form::first(page);
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &form.hidden {
            if values.iter().all(|(other, _)| other != name) {
                text.append_pair(name, value);
            }
        }
        text.extend_pairs(values);
        let mut sending = Sending::by_person(form.action.as_str());
        sending.initiator = Some(page.url.clone());
        if form.post {
            sending.method = "POST".to_owned();
            let kind = "application/x-www-form-urlencoded".to_owned();
            sending.body = Some((kind, text.finish().into_bytes()));
        } else {
            sending.url.set_query(Some(&text.finish()));
        }
        self.follow(sending)
    }

    /// Follows a link that stands on a page of `from`.
    #[track_caller]
    pub(crate) fn click(&self, from: &Url, url: &str) -> Page {
        let mut sending = Sending::by_person(url);
        sending.initiator = Some(from.clone());
        self.follow(sending)
    }

    /// Follows redirects until something else answers.
    #[track_caller]
    pub(crate) fn follow(&self, mut sending: Sending) -> Page {
        let mut trail = Vec::new();
        // A redirect of another site makes all that follows cross-site.
        let mut tainted = false;
        loop {
            let answer = self.send_tainted(&sending, tainted);
            trail.push((sending.url.clone(), answer.clone()));
            let redirect = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
            let Some(location) = answer.header("location").filter(|_| redirect) else {
                let url = sending.url;
                return Page { url, answer, trail };
            };
            let next = sending.url.join(location).unwrap_or_else(|fault| {
                panic!("{} sent to {location:?}: {fault}", sending.url);
            });
            if let Some(barrier) = &self.barrier
                && next.as_str().starts_with(barrier)
            {
                let url = sending.url;
                return Page { url, answer, trail };
            }
            if matches!(answer.status, 301..=303) && sending.method != "HEAD" {
                sending.method = "GET".to_owned();
                sending.body = None;
            }
            tainted |= sending.initiator.is_some() && next.host() != sending.url.host();
            sending.url = next;
            let steps: Vec<String> = trail.iter().map(|(url, _)| url.to_string()).collect();
            assert!(steps.len() < 20, "redirected for ever: {steps:#?}");
        }
    }

    /// One request; cookies of the answer are kept.
    #[track_caller]
    pub(crate) fn send(&self, sending: &Sending) -> Answer {
        self.send_tainted(sending, false)
    }

    #[track_caller]
    fn send_tainted(&self, sending: &Sending, tainted: bool) -> Answer {
        let url = &sending.url;
        let foreign = sending
            .initiator
            .as_ref()
            .is_some_and(|page| page.host() != url.host());
        let safe = matches!(sending.method.as_str(), "GET" | "HEAD");
        let reach = match foreign || tainted {
            false => Reach::SameSite,
            true if safe && sending.mode == Mode::Navigation => Reach::CrossSiteNavigation,
            true => Reach::CrossSite,
        };
        let cookies = self.jar.lock().unwrap().field(url, reach);
        let bytes = self.written(sending, reach, cookies.as_deref());
        let answer = exchange(self.address(url), bytes);
        let mut jar = self.jar.lock().unwrap();
        for field in answer.all("set-cookie") {
            let name = field.split('=').next().unwrap_or_default();
            if self.refused.as_deref() != Some(name) {
                jar.store(url, field);
            }
        }
        answer
    }

    fn written(&self, sending: &Sending, reach: Reach, cookies: Option<&str>) -> Vec<u8> {
        let url = &sending.url;
        let query = url.query().map(|text| format!("?{text}"));
        let target = format!("{}{}", url.path(), query.unwrap_or_default());
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let site = match (&sending.initiator, reach) {
            (None, _) => "none",
            (Some(_), Reach::SameSite) => "same-origin",
            (Some(_), _) => "cross-site",
        };
        let (accept, mode, dest) = match sending.mode {
            Mode::Navigation => ("text/html,*/*;q=0.8", "navigate", "document"),
            Mode::Frame => ("text/html,*/*;q=0.8", "navigate", "iframe"),
            Mode::Fetch => ("*/*", "cors", "empty"),
        };
        let mut text = format!(
            "{} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: scripted\r\n\
             Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n",
            sending.method
        );
        let mut field = |name: &str, value: &str| {
            text.push_str(&format!("{name}: {value}\r\n"));
        };
        let own = |name: &str| {
            sending
                .headers
                .iter()
                .any(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        if !own("accept") {
            field("Accept", accept);
        }
        if let Some(language) = &self.language {
            field("Accept-Language", language);
        }
        if let Some(cookies) = cookies {
            field("Cookie", cookies);
        }
        if let (Some(page), false) = (&sending.initiator, sending.method == "GET") {
            field("Origin", &page.origin().ascii_serialization());
        }
        for (name, value) in &sending.headers {
            field(name, value);
        }
        let body = sending.body.as_ref();
        if let Some((kind, bytes)) = body {
            field("Content-Type", kind);
            field("Content-Length", &bytes.len().to_string());
        }
        let mut bytes = format!("{text}\r\n").into_bytes();
        bytes.extend(body.map(|(_, bytes)| bytes.as_slice()).unwrap_or_default());
        bytes
    }

    fn address(&self, url: &Url) -> SocketAddr {
        let origin = url.origin().ascii_serialization();
        if let Some(address) = self.hosts.get(&origin) {
            return *address;
        }
        let host = url.host_str().unwrap_or_default();
        assert!(
            matches!(host, "127.0.0.1" | "localhost"),
            "the browser was sent out of the test: {url}"
        );
        let port = url.port_or_known_default().unwrap_or(80);
        let mut found = (host, port).to_socket_addrs().unwrap();
        found.find(SocketAddr::is_ipv4).unwrap()
    }

    /// The cookies of that name.
    pub(crate) fn cookies(&self, name: &str) -> Vec<Cookie> {
        let jar = self.jar.lock().unwrap();
        let mut all = jar.cookies.clone();
        all.retain(|cookie| cookie.name == name);
        all
    }

    /// Every cookie.
    pub(crate) fn all_cookies(&self) -> Vec<Cookie> {
        self.jar.lock().unwrap().cookies.clone()
    }

    /// The value of the only cookie of that name.
    #[track_caller]
    pub(crate) fn cookie(&self, name: &str) -> String {
        let found = self.cookies(name);
        assert_eq!(found.len(), 1, "one cookie {name}: {found:?}");
        found[0].value.clone()
    }

    /// Puts a cookie into the jar as if this address had set it.
    pub(crate) fn set_cookie(&self, url: &str, field: &str) {
        let url = Url::parse(url).unwrap();
        self.jar.lock().unwrap().store(&url, field);
    }

    /// Loses the cookies of that name.
    pub(crate) fn lose_cookie(&self, name: &str) {
        let mut jar = self.jar.lock().unwrap();
        jar.cookies.retain(|cookie| cookie.name != name);
    }
}

impl Sending {
    /// A GET that a person asks for.
    #[track_caller]
    pub(crate) fn by_person(url: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            url: Url::parse(url).unwrap_or_else(|fault| panic!("{url}: {fault}")),
            mode: Mode::Navigation,
            initiator: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// With another header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

struct Form {
    action: Url,
    post: bool,
    hidden: Vec<(String, String)>,
}

impl Form {
    #[track_caller]
    fn first(page: &Page) -> Self {
        let html = page.answer.text();
        let start = html.find("<form");
        let start = start.unwrap_or_else(|| panic!("no form at {}: {html}", page.url));
        let form = &html[start..];
        let form = &form[..form.find("</form").unwrap_or(form.len())];
        let action = attribute(form, "action").unwrap_or_default();
        let hidden = form.split("<input").skip(1).filter_map(|input| {
            let value = attribute(input, "value").unwrap_or_default();
            Some((attribute(input, "name")?, value))
        });
        Self {
            action: page.url.join(&action).unwrap(),
            post: attribute(form, "method").is_some_and(|it| it.eq_ignore_ascii_case("post")),
            hidden: hidden.collect(),
        }
    }
}

/// The value of a tag's attribute, from the tag's text on.
pub(crate) fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = &tag[..tag.find('>')?];
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    let value = value.replace("&quot;", "\"").replace("&#39;", "'");
    let value = value.replace("&lt;", "<").replace("&gt;", ">");
    Some(value.replace("&amp;", "&"))
}
