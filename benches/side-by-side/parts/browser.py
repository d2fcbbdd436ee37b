"""A user agent that signs in: follows redirects, keeps cookies, fills in the provider's form."""
import http.client
import ssl
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from parts.world import Failure

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Forms(HTMLParser):
    """The forms of a page: action and fields by name, with their types."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.found.append((attributes.get("action") or "", {}))
        elif tag == "input" and self.found and attributes.get("name"):
            kind = attributes.get("type") or "text"
            self.found[-1][1][attributes["name"]] = (kind, attributes.get("value") or "")


def request(method, url, headers=None, body=None):
    """One exchange on a connection of its own: status, header fields, body."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        anyone = ssl._create_unverified_context()  # the certificate is the benchmark's own
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=20, context=anyone)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Browser:
    """Cookies are kept by host and port, since several servers share 127.0.0.1."""

    def __init__(self):
        self.jars = {}

    def fetch(self, method, url, data=None):
        jar = self.jars.setdefault(urlsplit(url).netloc, {})
        headers = dict(NAVIGATION)
        if jar:
            headers["Cookie"] = self.cookies(url)
        if data is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        status, fields, body = request(method, url, headers, data and urlencode(data))
        for line in fields.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].strip().partition("=")
            jar[name] = value
            lowered = line.lower()
            if not value or "max-age=0" in lowered or "expires=thu, 01 jan 1970" in lowered:
                del jar[name]
        return status, fields, body.decode(errors="replace")

    def cookies(self, url):
        return "; ".join(f"{name}={value}" for name, value in self.jars[urlsplit(url).netloc].items())

    def sign_in(self, start, user="alice"):
        """Asks for a page, signs in on the way; gives back the page and the cookies for its server."""
        method, url, data = "GET", start, None
        for _ in range(20):
            status, fields, page = self.fetch(method, url, data)
            if status in (301, 302, 303, 307, 308):
                method, url, data = "GET", urljoin(url, fields["Location"]), None
                continue
            forms = Forms(page).found
            if status != 200 or not forms:
                break
            action, inputs = forms[0]
            data = {name: user if kind in ("text", "password") else value
                    for name, (kind, value) in inputs.items()}
            method, url = "POST", urljoin(url, action)
        if status != 200 or urlsplit(url).netloc != urlsplit(start).netloc:
            raise Failure(f"signing in at {start} ended at {url} with {status}\n{page[:400]}")
        return page, self.cookies(start)
