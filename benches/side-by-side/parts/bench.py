"""What all rows share: the application, the provider, a certificate; and the rows that run."""
import json
import os
import subprocess
import time

from parts.browser import request
from parts.rows import ROWS, Failure, Unsupported, missing, sign_in
from parts.world import REPOSITORY

PEERS = REPOSITORY / "tests" / "peers"
SESSION_SECONDS = 20 * 60  # then sign in anew: some peers' sessions end with an access token's hour


class Provider:
    """The certified oidc-provider that the tests use."""

    def __init__(self, world):
        node = PEERS / "node_modules" / ".bin" / "node"
        if not (PEERS / "node_modules" / "oidc-provider").exists():
            raise Failure(f"oidc-provider is missing: run `npm ci --prefix {PEERS}`, or this with --install")
        command = [node if node.exists() else "node", "--no-warnings", PEERS / "oidc-provider.mjs", "0"]
        process = world.start(command, world.load_cores, "oidc-provider", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = json.loads(process.stdout.readline() or "{}")
        if not ready:
            raise Failure("oidc-provider does not start: " + (world.folder / "oidc-provider.log").read_text())
        self.issuer, self.control = ready["issuer"], ready["control"]
        self.port = int(self.issuer.rpartition(":")[2])

    def register(self, redirects):
        body = {"redirect_uris": redirects, "token_endpoint_auth_method": "client_secret_basic"}
        client = self.post(f"http://127.0.0.1:{self.port}/reg", body)
        self.post(f"http://{self.control}/lifetime", {client["client_id"]: 86_400})
        return {"issuer": self.issuer, "id": client["client_id"], "secret": client["client_secret"]}

    def post(self, url, body):
        status, _, text = request("POST", url, {"Content-Type": "application/json"}, json.dumps(body))
        if status not in (200, 201):
            raise Failure(f"{url} answered {status}: {text[:300]}")
        return json.loads(text)


class Bench:
    def __init__(self, world, binary, upstream_workers=1):
        self.world, self.binary, self.running, self.chain = world, binary, {}, None
        self.start_upstream(upstream_workers)
        self.provider = Provider(world)

    def start_upstream(self, workers):
        place = self.world.place("application")
        for folder in ("www", "www/open"):
            (place / folder).mkdir()
            (place / folder / "k1").write_bytes(b"x" * 1024)
            (place / folder / "m1").write_bytes(b"y" * 1024 * 1024)
        self.upstream_port = self.world.port()
        conf = self.world.template(
            "upstream.conf", place / "nginx.conf", dir=place, port=self.upstream_port, workers=workers)
        self.upstream = self.world.start(["nginx", "-p", place, "-c", conf], self.world.load_cores, "application")
        self.world.wait_for_port(self.upstream_port, self.upstream, "application")

    def certificate(self):
        """A self-signed P-256 certificate for 127.0.0.1."""
        if not self.chain:
            place = self.world.place("certificate")
            self.chain = place / "chain.pem", place / "key.pem"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", self.chain[0], "-keyout",
                 self.chain[1]], check=True, capture_output=True)
            self.chain[1].chmod(0o600)
        return self.chain

    def start(self, row):
        """Starts a row; `None`, with a notice, where this machine or this build cannot run it."""
        lacking = missing(row)
        if lacking:
            print(f"left out: {row.name}: {', '.join(lacking)} missing (try --install)", flush=True)
            return None
        try:
            running = row.start(self, row)
        except Unsupported as fault:
            print(f"left out: {row.name}: this vestibule refuses its configuration:\n{fault}", flush=True)
            return None
        running.log = self.world.folder / f"{row.name}.log"
        self.running[row.name] = running
        self.freshen(row)
        status, _, body = self.ask(row, "/k1")
        if status != 200 or body != b"x" * 1024:
            raise Failure(f"{row.name}: expected the file of 1 KiB, found {status} with {len(body)} bytes")
        return running

    def start_all(self, what, names):
        """The rows of this comparison that run, in the table's order."""
        chosen = [row for row in ROWS if what in row.what and (not names or row.name in names)]
        return [row for row in chosen if self.start(row)]

    def freshen(self, row):
        running = self.running[row.name]
        if row.signs_in and time.monotonic() > running.signed_in_at + SESSION_SECONDS:
            sign_in(running, row)
            running.signed_in_at = time.monotonic()

    def ask(self, row, path):
        running = self.running[row.name]
        return request("GET", self.url(row, path), {"Cookie": running.cookie} if running.cookie else {})

    def url(self, row, path):
        return f"{self.running[row.name].origin}{row.prefix}{path}"

    def shorten_log(self, row):
        """An access log of millions of lines would fill the disk; nobody reads it here."""
        log = self.running[row.name].log
        if log and log.exists():
            os.truncate(log, 0)
