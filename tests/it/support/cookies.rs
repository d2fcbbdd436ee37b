//! A user agent's cookie jar: RFC 6265 sections 5.1 to 5.4, and SameSite as browsers do it.

use std::time::{Duration, SystemTime};

use url::{Host, Url};

/// A cookie as the user agent keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) path: String,
    pub(crate) domain: String,
    pub(crate) host_only: bool,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    /// Lower case; empty where the server did not say.
    pub(crate) same_site: String,
    /// `None`: until the browser is closed.
    pub(crate) expires: Option<SystemTime>,
}

/// How a request came about, as far as SameSite asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// From the same site, or typed by the person.
    SameSite,
    /// A top-level navigation with a safe method that another site caused.
    CrossSiteNavigation,
    /// Anything else that another site caused.
    CrossSite,
}

/// The jar.
#[derive(Debug, Default)]
pub(crate) struct Jar {
    pub(crate) cookies: Vec<Cookie>,
}

impl Jar {
    /// RFC 6265 5.3.
    pub(crate) fn store(&mut self, url: &Url, field: &str) {
        let Some(cookie) = parsed(url, field) else {
            return;
        };
        self.cookies.retain(|known| {
            (&known.name, &known.domain, &known.path)
                != (&cookie.name, &cookie.domain, &cookie.path)
        });
        if cookie.expires.is_none_or(|end| end > SystemTime::now()) {
            self.cookies.push(cookie);
        }
    }

    /// RFC 6265 5.4: the Cookie field's value; `None` without cookies.
    pub(crate) fn field(&mut self, url: &Url, reach: Reach) -> Option<String> {
        let now = SystemTime::now();
        self.cookies
            .retain(|cookie| cookie.expires.is_none_or(|end| end > now));
        let mut sent: Vec<&Cookie> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.goes_to(url) && cookie.allows(reach))
            .collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = sent
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    fn goes_to(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let domain = match self.host_only {
            true => host == self.domain,
            false => domain_matches(host, &self.domain),
        };
        domain && path_matches(url.path(), &self.path) && (!self.secure || url.scheme() == "https")
    }

    fn allows(&self, reach: Reach) -> bool {
        match (self.same_site.as_str(), reach) {
            (_, Reach::SameSite) | ("none", _) => true,
            ("strict", _) => false,
            (_, reach) => reach == Reach::CrossSiteNavigation,
        }
    }
}

fn parsed(url: &Url, field: &str) -> Option<Cookie> {
    let mut parts = field.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let host = url.host_str()?.to_owned();
    let mut cookie = Cookie {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
        path: default_path(url.path()),
        domain: host.clone(),
        host_only: true,
        secure: false,
        http_only: false,
        same_site: String::new(),
        expires: None,
    };
    let mut max_age = None;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "domain" => {
                value.trim_start_matches('.').clone_into(&mut cookie.domain);
                cookie.host_only = false;
            }
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "samesite" => cookie.same_site = value.to_ascii_lowercase(),
            "expires" => cookie.expires = httpdate::parse_http_date(value).ok(),
            "max-age" => max_age = value.parse::<i64>().ok(),
            _ => {}
        }
    }
    if let Some(seconds) = max_age {
        let lasting = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        cookie.expires = Some(SystemTime::now() + lasting);
    }
    let foreign = !cookie.host_only && !domain_matches(&host, &cookie.domain);
    let insecure = cookie.secure && url.scheme() != "https";
    let too_open = cookie.same_site == "none" && !cookie.secure;
    let too_long = cookie.name.len() + cookie.value.len() > 4096;
    (!foreign && !insecure && !too_open && !too_long).then_some(cookie)
}

/// RFC 6265 5.1.3.
fn domain_matches(host: &str, domain: &str) -> bool {
    let address = matches!(Host::parse(host), Ok(Host::Ipv4(_) | Host::Ipv6(_)));
    host == domain || (!address && host.ends_with(&format!(".{domain}")))
}

/// RFC 6265 5.1.4.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
    }
}

/// RFC 6265 5.1.4.
fn path_matches(path: &str, cookie: &str) -> bool {
    match path.strip_prefix(cookie) {
        Some(rest) => rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// What holds the jar to the specification: without it a test could pass on a jar that forgives.
#[test]
fn the_jar_keeps_to_path_secure_and_same_site() {
    let url = |text: &str| Url::parse(text).unwrap();
    let mut jar = Jar::default();
    let https = url("https://host.test/wfgen/auth/callback");
    jar.store(&https, "a=1; Path=/wfgen; Secure; SameSite=Lax");
    jar.store(&https, "b=2; Path=/wfgen/auth");
    jar.store(&url("http://host.test/"), "c=3; Secure");
    let mut sent = |to: &str, reach| jar.field(&url(to), reach);
    let home = "https://host.test/wfgen/x";
    assert_eq!(sent(home, Reach::SameSite).as_deref(), Some("a=1"));
    assert_eq!(
        sent(home, Reach::CrossSiteNavigation).as_deref(),
        Some("a=1")
    );
    assert_eq!(sent(home, Reach::CrossSite), None);
    assert_eq!(sent("https://host.test/WFGEN/x", Reach::SameSite), None);
    assert_eq!(sent("https://host.test/wfgenx", Reach::SameSite), None);
    assert_eq!(sent("http://host.test/wfgen", Reach::SameSite), None);
    assert_eq!(
        sent("https://host.test/wfgen/auth/", Reach::SameSite).as_deref(),
        Some("b=2; a=1")
    );
}
