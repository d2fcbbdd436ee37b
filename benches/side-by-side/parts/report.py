"""Results: a JSON file a comparison, and the tables of README.md made from them."""
import datetime
import json
import os
import platform
import re
import subprocess
from pathlib import Path

from parts.goals import goals_table
from parts.install import OAUTH2_PROXY_VERSION
from parts.rows import tool
from parts.world import HERE, REPOSITORY

RESULTS = HERE / "results"
START, END = "<!-- results -->", "<!-- end of results -->"
VERSIONS = {
    "nginx": ["nginx", "-v"], "HAProxy": ["haproxy", "-v"], "Apache": ["apache2", "-v"], "wrk": ["wrk", "-v"],
    "h2load": ["h2load", "--version"], "Envoy": ["envoy", "--version"],
}


def machine(binary):
    """One line: what these figures were measured on."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    head = subprocess.run(["git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    found = [f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"]
    for name, (program, flag) in VERSIONS.items():
        if tool(program):
            said = subprocess.run([tool(program), flag], capture_output=True, text=True)
            version = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
            found.append(f"{name} {version[0] if version else '?'}")
    if tool("oauth2-proxy"):
        found.append(f"oauth2-proxy {OAUTH2_PROXY_VERSION[1:]}")  # built as a module, it does not know its own
    own = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.strip()
    if "trained" in Path(binary).parts:
        own += " of benches/trained-build"
    now = datetime.datetime.now(datetime.UTC)
    return ", ".join([*found, f"{own} ({head.stdout.strip()})"]) + f"; {now:%Y-%m-%d %H:%M} UTC"


def save(folder, what, options, line, cells, text):
    folder.mkdir(parents=True, exist_ok=True)
    head = f"{line}; {options.rounds} rounds of {options.seconds} s"
    kept = {"machine": head, "cells": cells}
    (folder / f"{what}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{what}.md").write_text(f"{text}\n{head}\n")


def rewrite_readme(order):
    """Puts the last results between the marks of README.md."""
    parts = [f"{what}\n\n{(RESULTS / f'{what}.md').read_text()}" for what in order if (RESULTS / f"{what}.md").exists()]
    parts = ["### Goals\n\n" + goals_table(RESULTS), *(f"### {part}" for part in parts)] if parts else []
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(START)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{START}\n\n" + "\n".join(parts) + f"\n{END}{after}")
