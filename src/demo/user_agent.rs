//! A browser as far as `demo --once` needs one: navigations over plain HTTP to loopback, a cookie jar,
//! and no following of redirects, since each is a step to be shown.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use cookie::Cookie;
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, COOKIE, HOST, HeaderMap, LOCATION, SET_COOKIE,
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a navigation comes from, as browsers tell (Fetch Metadata).
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// The address bar.
    Nowhere,
    /// A page of the same origin.
    SameOrigin,
    /// A page of another site.
    Elsewhere,
}

/// A browser with its cookies.
#[derive(Debug, Default)]
pub(super) struct UserAgent {
    jar: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// Where it came from, for relative addresses.
    url: Url,
}

impl Response {
    /// The address of a redirect; `None` for any other status.
    pub(super) fn redirect(&self) -> Option<Url> {
        let sends_on = matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = self.headers.get(LOCATION)?.to_str().ok()?;
        sends_on.then(|| self.url.join(location).ok()).flatten()
    }

    /// Cookies that it sets, expired ones left out.
    pub(super) fn cookies(&self) -> impl Iterator<Item = Cookie<'_>> {
        let lines = self.headers.get_all(SET_COOKIE).iter();
        lines
            .filter_map(|line| Cookie::parse(line.to_str().ok()?).ok())
            .filter(|cookie| !is_expired(cookie))
    }
}

impl UserAgent {
    /// Navigates to `url`, with more headers of the caller's.
    ///
    /// # Errors
    /// What went wrong below HTTP, for people.
    pub(super) async fn open(
        &mut self,
        url: &Url,
        from: From,
        more: &[(&str, &str)],
    ) -> Result<Response, String> {
        self.navigate(Method::GET, url, from, more, String::new())
            .await
    }

    /// Sends a form.
    ///
    /// # Errors
    /// As [`UserAgent::open`].
    pub(super) async fn submit(
        &mut self,
        url: &Url,
        fields: &[(String, String)],
    ) -> Result<Response, String> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let form = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        self.navigate(Method::POST, url, From::SameOrigin, &form, body)
            .await
    }

    async fn navigate(
        &mut self,
        method: Method,
        url: &Url,
        from: From,
        more: &[(&str, &str)],
        body: String,
    ) -> Result<Response, String> {
        let site = match from {
            From::Nowhere => "none",
            From::SameOrigin => "same-origin",
            From::Elsewhere => "cross-site",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(HOST, authority(url))
            .header(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
            .header(ACCEPT_LANGUAGE, "en")
            .header("sec-fetch-site", site)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        if let Some(cookies) = self.cookies_for(url) {
            request = request.header(COOKIE, cookies);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let response = tokio::time::timeout(PATIENCE, exchange(url, request))
            .await
            .map_err(|_| "no answer within 10 s".to_owned())??;
        self.keep_cookies(&response);
        Ok(response)
    }

    fn cookies_for(&self, url: &Url) -> Option<String> {
        let host = url.host_str()?;
        let pairs: Vec<String> = self
            .jar
            .iter()
            .filter(|kept| kept.host == host && path_matches(url.path(), &kept.path))
            .map(|kept| format!("{}={}", kept.name, kept.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep_cookies(&mut self, response: &Response) {
        let host = response.url.host_str().unwrap_or_default();
        for line in response.headers.get_all(SET_COOKIE) {
            let Some(cookie) = line.to_str().ok().and_then(|line| Cookie::parse(line).ok()) else {
                continue;
            };
            let path = cookie.path().unwrap_or("/").to_owned();
            let same =
                |kept: &Kept| kept.host == host && kept.path == path && kept.name == cookie.name();
            self.jar.retain(|kept| !same(kept));
            if !is_expired(&cookie) {
                self.jar.push(Kept {
                    host: host.to_owned(),
                    path,
                    name: cookie.name().to_owned(),
                    value: cookie.value().to_owned(),
                });
            }
        }
    }
}

async fn exchange(url: &Url, request: Request<Full<Bytes>>) -> Result<Response, String> {
    let port = url.port_or_known_default().unwrap_or(80);
    // Every host of the demo is this one.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("no connection to {address}: {error}"))?;
    let broken = |error: hyper::Error| format!("a broken answer from {address}: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender
        .send_request(request)
        .await
        .map_err(broken)?
        .into_parts();
    let body = body.collect().await.map_err(broken)?.to_bytes();
    connection.abort();
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        url: url.clone(),
    })
}

fn authority(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

fn is_expired(cookie: &Cookie<'_>) -> bool {
    match cookie.max_age() {
        Some(age) => age.whole_seconds() <= 0,
        // RFC 6265 5.3: without Max-Age, Expires counts; ours are of 1970 or none.
        None => cookie
            .expires_datetime()
            .is_some_and(|when| when.unix_timestamp() <= 0),
    }
}

/// RFC 6265 5.1.4.
fn path_matches(path: &str, cookie_path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || cookie_path.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_keep_to_their_path() {
        assert!(path_matches("/wfgen", "/wfgen") && path_matches("/wfgen/a", "/wfgen"));
        assert!(path_matches("/wfgen/a", "/") && path_matches("/wfgen/a", "/wfgen/"));
        assert!(!path_matches("/wfgenx", "/wfgen") && !path_matches("/wfgen", "/wfgen/"));
    }

    #[test]
    fn an_expired_cookie_is_forgotten() {
        let url = Url::parse("http://127.0.0.1:1/wfgen/").unwrap();
        let setting = |line: &str| Response {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(SET_COOKIE, line.parse().unwrap())]),
            body: String::new(),
            url: url.clone(),
        };
        let mut agent = UserAgent::default();
        agent.keep_cookies(&setting("a=1; Path=/wfgen"));
        agent.keep_cookies(&setting("b=2; Path=/wfgen"));
        assert_eq!(agent.cookies_for(&url).as_deref(), Some("a=1; b=2"));
        agent.keep_cookies(&setting("a=; Path=/; Max-Age=0"));
        agent.keep_cookies(&setting("b=; Path=/wfgen; Max-Age=0"));
        assert_eq!(agent.cookies_for(&url).as_deref(), Some("a=1"));
        let elsewhere = Url::parse("http://localhost:1/wfgen/").unwrap();
        assert_eq!(agent.cookies_for(&elsewhere), None);
    }
}
