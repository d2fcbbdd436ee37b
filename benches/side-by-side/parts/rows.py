"""The rows: each is a proxy in front of the same application, started with a configuration of its own."""
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from parts.browser import Browser, request
from parts.world import HERE, Failure

MODULES = Path("/usr/lib/apache2/modules")
TOOLS = HERE / ".tools"  # what `run --install` fetches; not committed


@dataclass
class Row:
    """One row of the table. `needs` are files or programs without which it is left out, with a notice."""
    name: str
    start: object = None            # (bench, row) -> Running
    needs: list = field(default_factory=list)
    signs_in: bool = False
    prefix: str = ""                # in front of the application's paths
    what: set = field(default_factory=set)
    options: dict = field(default_factory=dict)


@dataclass
class Running:
    process: object
    origin: str
    log: Path = None
    cookie: str = ""
    signed_in_at: float = float("-inf")


def tool(name):
    """A program on the path, or one that --install fetched."""
    fetched = TOOLS / name
    return str(fetched) if fetched.exists() else shutil.which(name)


def missing(row):
    return [need for need in row.needs if not (tool(need) if "/" not in need else Path(need).exists())]


def direct(bench, row):
    return Running(bench.upstream, f"http://127.0.0.1:{bench.upstream_port}")


def nginx(bench, row):
    world, port, place = bench.world, bench.world.port(), bench.world.place(row.name)
    options = row.options
    tls = options.get("tls", False)
    certificate = ""
    if tls:
        chain, key = bench.certificate()
        certificate = f"ssl_certificate {chain}; ssl_certificate_key {key};"
    conf = world.template(
        "nginx.conf", place / "nginx.conf", dir=place, port=port, decision=world.port(), upstream=bench.upstream_port,
        master="master_process off;" if "under" in options else "",  # callgrind is asked about one process
        workers=options.get("workers", 1), buffers=options.get("buffers", ""), certificate=certificate,
        listen="ssl http2" if options.get("h2") else "ssl" if tls else "",
        auth="auth_request /_decision;" if options.get("auth_request") else "")
    command = [*options.get("under", []), "nginx", "-p", place, "-c", conf]
    process = world.start(command, options.get("cores", world.proxy_cores), row.name)
    world.wait_for_port(port, process, row.name, options.get("patience", 30))
    return Running(process, f"{'https' if tls else 'http'}://127.0.0.1:{port}", cookie=options.get("cookie", ""))


def haproxy(bench, row):
    world, port, place = bench.world, bench.world.port(), bench.world.place(row.name)
    conf = world.template("haproxy.cfg", place / "haproxy.cfg", port=port, upstream=bench.upstream_port,
                          connections=min(20_000, world.files // 2 - 100))
    process = world.start(["haproxy", "-db", "-f", conf], world.proxy_cores, row.name)
    world.wait_for_port(port, process, row.name)
    return Running(process, f"http://127.0.0.1:{port}")


def apache(bench, row):
    world, port, place = bench.world, bench.world.port(), bench.world.place(row.name)
    client = bench.provider.register([f"http://127.0.0.1:{port}/signed-in"])
    conf = world.template(
        "apache.conf", place / "apache.conf", dir=place, port=port, upstream=bench.upstream_port, modules=MODULES,
        user="User www-data\nGroup www-data" if os.geteuid() == 0 else "", **client)
    process = world.start(["apache2", "-f", conf, "-DFOREGROUND"], world.proxy_cores, row.name)
    world.wait_for_port(port, process, row.name)
    return Running(process, f"http://127.0.0.1:{port}")


def envoy(bench, row):
    world, port, place = bench.world, bench.world.port(), bench.world.place(row.name)
    client = bench.provider.register([f"http://127.0.0.1:{port}/callback"])
    filters = ""
    if row.signs_in:
        filters = world.template("envoy-sign-in.yaml", place / "filters.yaml", **client).read_text()
    conf = world.template(
        "envoy.yaml", place / "envoy.yaml", port=port, upstream=bench.upstream_port, filters=filters.rstrip(),
        provider=bench.provider.port, secret=client["secret"])
    command = [tool("envoy"), "-c", conf, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
    process = world.start(command, world.proxy_cores, row.name)
    world.wait_for_port(port, process, row.name)
    return Running(process, f"http://127.0.0.1:{port}")


def oauth2_proxy(bench, row):
    world, port = bench.world, bench.world.port()
    origin = f"http://127.0.0.1:{port}"
    client = bench.provider.register([f"{origin}/oauth2/callback"])
    command = [
        tool("oauth2-proxy"), "--provider=oidc", f"--oidc-issuer-url={client['issuer']}", f"--client-id={client['id']}",
        f"--client-secret={client['secret']}", f"--redirect-url={origin}/oauth2/callback", "--email-domain=*",
        f"--http-address=127.0.0.1:{port}", f"--upstream=http://127.0.0.1:{bench.upstream_port}/",
        f"--cookie-secret={secrets.token_hex(16)}", "--cookie-secure=false", "--code-challenge-method=S256",
        "--skip-provider-button", "--request-logging=false", "--scope=openid profile email"]
    process = world.start(command, world.proxy_cores, row.name)
    world.wait_for_port(port, process, row.name)
    return Running(process, origin)


def vestibule(bench, row):
    world, port, place = bench.world, bench.world.port(), bench.world.place(row.name)
    options = row.options
    tls = options.get("tls", False)
    origin = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    client = bench.provider.register([f"{origin}/auth/callback", f"{origin}/auth/callback/oidc-provider"])
    (place / "client_secret").write_text(client["secret"])
    (place / "session_key").write_text(secrets.token_hex(32))
    table = ""
    if tls:
        chain, key = bench.certificate()
        table = f'\n[server.tls]\ncertificate = "{chain}"\nprivate_key = "{key}"'
    conf = world.template(
        "proxy.toml", place / "proxy.toml", origin=origin, port=port, upstream=bench.upstream_port, tls=table,
        admin=world.port(), access=str(options.get("access", True)).lower(), issuer=client["issuer"], id=client["id"])
    # A copy, so that no other row's process shares its pages: PSS would halve them.
    binary = shutil.copy2(bench.binary, place / "vestibule")
    command = [*options.get("under", []), binary, "--config", conf]
    check = subprocess.run([binary, "--config", conf, "check"], capture_output=True, text=True)
    if check.returncode:
        raise Unsupported(f"{check.stdout}{check.stderr}".strip())
    process = world.start([*command, "run"], options.get("cores", world.proxy_cores), row.name)
    world.wait_for_port(port, process, row.name, options.get("patience", 30))
    return Running(process, origin)


class Unsupported(Failure):
    """This build refuses the row's configuration."""


def patiently(signing_in, seconds=15):
    """A proxy that has just begun may not know its provider yet."""
    last = time.monotonic() + seconds
    while True:
        try:
            return signing_in()
        except Failure:
            if time.monotonic() > last:
                raise
            time.sleep(1)


def sign_in(running, row):
    """A session from a real sign-in, which the application must have been told of."""
    page, running.cookie = patiently(lambda: Browser().sign_in(f"{running.origin}/whoami"))
    if "alice" not in page and "auth=Bearer" not in page:
        raise Failure(f"{row.name}: the application was not told who signed in: {page[:200]}")
    status, _, _ = request("GET", f"{running.origin}/k1")
    if status == 200:
        raise Failure(f"{row.name}: a request without a session got 200")


# What served bodies of 1 MiB best of a dozen settings tried: the whole body in one buffer, passed on as it comes.
BEST_BUFFERS = "proxy_buffering off; proxy_buffer_size 2m; proxy_buffers 4 2m; proxy_busy_buffers_size 4m;"
# As long as Vestibule's cookies after the sign-in here: what nginx pays for a request of that length.
AS_LONG = "wfgen_token_sign_in=" + "x" * 43 + "; wfgen_token=" + "x" * 653
APACHE = [str(MODULES / "mod_auth_openidc.so"), "apache2"]

ROWS = [
    Row("direct", direct, what={"http", "bodies"}),
    Row("nginx", nginx, ["nginx"], what={"http", "bodies", "memory", "calls", "instructions"}),
    Row("nginx-same-request", nginx, ["nginx"], what={"http"}, options={"cookie": AS_LONG}),
    Row("nginx-large-buffers", nginx, ["nginx"], what={"bodies"}, options={"buffers": BEST_BUFFERS}),
    Row("haproxy", haproxy, ["haproxy"], what={"http", "bodies"}),
    Row("envoy", envoy, ["envoy"], what={"http", "bodies", "memory"}),
    Row("nginx-auth_request", nginx, ["nginx"], what={"http"}, options={"auth_request": True}),
    Row("envoy-oauth2", envoy, ["envoy"], True, what={"http", "bodies"}),
    Row("apache-oidc", apache, APACHE, True, what={"http", "bodies"}),
    Row("oauth2-proxy", oauth2_proxy, ["oauth2-proxy"], True, what={"http", "bodies"}),
    Row("vestibule-open", vestibule, [], True, prefix="/open", what={"http", "bodies", "calls", "instructions"}),
    Row("vestibule", vestibule, [], True, what={"http", "bodies", "memory", "calls", "instructions"}),
    Row("vestibule-no-log", vestibule, [], True, what={"http", "calls", "instructions"},
        options={"access": False}),
    Row("nginx-tls", nginx, ["nginx", "openssl"], what={"tls"}, options={"tls": True}),
    Row("vestibule-tls", vestibule, ["openssl"], True, what={"tls"}, options={"tls": True}),
    Row("nginx-h2", nginx, ["nginx", "openssl", "h2load"], what={"h2"}, options={"tls": True, "h2": True}),
    Row("vestibule-h2", vestibule, ["openssl", "h2load"], True, what={"h2"}, options={"tls": True}),
]
