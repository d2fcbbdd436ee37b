"""Comparisons that are not cells beside cells: memory, two cores against one, system calls, instructions."""
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
import subprocess
import time
from pathlib import Path
from statistics import median

from parts.kinds import number, table
from parts.load import Sockets, wrk
from parts.rows import ROWS, tool, vestibule
from parts.world import Failure, cpu, pss, tree

IDLE = 10_000
QUIET = 10  # seconds after the last request: what is idle then is idle
SESSIONS = 100_000


def cores():
    """The proxy's core, and that of load and application."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Failure("expected two cores at least, found one: load and proxy would measure each other")
    return {allowed[0]}, {allowed[1]}


def memory(bench, options):
    cells = []
    for row in bench.start_all("memory", options.rows):
        def note(state, row=row, **more):
            cells.append({"row": row.name, "state": state, "pss": pss(bench.running[row.name].process.pid)} | more)
            print(f"  {row.name:20} {state:28} {cells[-1]['pss']:8.1f} MB", flush=True)

        note("started")
        loaded = wrk(bench, row, "/k1", 256, options.seconds)
        note("256 connections")
        cells[-1]["pss"] = loaded["pss"]
        idle_connections(bench, row, note)
        if row.start is vestibule:
            # A new process: what the idle connections left behind is not the sessions'.
            bench.world.stop(bench.running[row.name].process)
            bench.start(row)
            live_sessions(bench, row, note)
    return cells


def idle_connections(bench, row, note):
    """Each was used for a request before it fell idle."""
    cookie = bench.running[row.name].cookie
    held = []
    try:
        for _ in range(IDLE // 500):
            some = Sockets(bench, row, 500)
            held.append(some)
            for start in range(0, 500, 50):
                some.exchange([cookie] * 50, start)
        time.sleep(QUIET)
        note(f"{IDLE:,} idle connections")
    finally:
        for some in held:
            some.close()


def live_sessions(bench, row, note):
    """One real sign-in, copied: rows in the store, and tokens signed as ours are (RFC 7515, HS256)."""
    running = bench.running[row.name]
    tokens = minted(bench.world.folder / row.name, running.cookie)
    sockets = Sockets(bench, row, 50)
    try:
        for turn in ("first use", "second use"):
            before = cpu(running.process.pid)
            for start in range(0, SESSIONS, 50):
                sockets.exchange([f"wfgen_token={token}" for token in tokens[start:start + 50]])
            spent = sum(cpu(running.process.pid)) - sum(before)
            note(f"{SESSIONS:,} live sessions, {turn}", cpu=spent * 1e6 / SESSIONS)
    finally:
        sockets.close()


def minted(folder, cookie):
    token = re.search(r"wfgen_token=([^;]+)", cookie)[1]
    head, claims, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
    key = (folder / "session_key").read_bytes()
    store = sqlite3.connect(folder / "vestibule.db", timeout=30)
    columns = "user_id, provider, id_token, created_at, expires_at"
    known = store.execute(f"select {columns} from sessions where sid = ?", [claims["sid"]]).fetchone()
    tokens, rows = [], []
    for _ in range(SESSIONS):
        claims["sid"], claims["jti"] = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        body = f"{head}.{encoded(json.dumps(claims, separators=(',', ':')).encode())}"
        tokens.append(f"{body}.{encoded(hmac.digest(key, body.encode(), hashlib.sha256))}")
        rows.append((claims["sid"], secrets.token_urlsafe(32), *known))
    with store:
        store.executemany(f"insert into sessions (sid, sign_in, {columns}) values (?, ?, ?, ?, ?, ?, ?)", rows)
    store.close()
    return tokens


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def memory_table(cells, _):
    columns = [("row", lambda line: line["row"]), ("state", lambda line: line["state"]), ("PSS MB", number("pss", 1)),
               ("CPU µs/req", number("cpu", 1))]
    return table(cells, columns)


def scaling(bench, options):
    """The same load against one and two workers. On two cores load and application take their share of the
    second: then time a request is what counts, and requests a second are what is left."""
    allowed = sorted(os.sched_getaffinity(0))
    shared = len(allowed) < 4
    bench.world.load_cores = set(allowed[1:]) if shared else set(allowed[2:])
    cells = []
    base = {row.name: row for row in ROWS}
    for turn in range(options.rounds):
        for workers in (1, 2):
            for name in ("nginx", "vestibule"):
                if options.rows and name not in options.rows:
                    continue
                row = type(base[name])(f"{name}-{workers}", base[name].start, base[name].needs, base[name].signs_in,
                                       options={"workers": workers, "cores": set(allowed[:workers])})
                if row.name not in bench.running and not bench.start(row):
                    continue
                cell = wrk(bench, row, "/k1", 64, options.seconds, 1 if shared else 2)
                cells.append(cell | {"row": name, "workers": workers, "round": turn, "connections": workers,
                                     "cores": len(allowed), "shared": shared})
                print(f"  round {turn + 1}  {row.name:15} {cell['rps']:9.0f}/s {cell['cpu']:7.1f} us CPU", flush=True)
    return sorted(cells, key=lambda cell: (cell["row"], cell["workers"], cell["round"]))


def scaling_table(cells, _):
    lines = []
    for name in dict.fromkeys(cell["row"] for cell in cells):
        by = {workers: [cell for cell in cells if (cell["row"], cell["workers"]) == (name, workers)] for workers in (1, 2)}
        pairs = list(zip(by[1], by[2]))
        for workers in (1, 2):
            lines.append({"row": name, "workers": str(workers)} | {
                key: median(cell[key] for cell in by[workers]) for key in ("rps", "cpu")})
        lines[-1]["times"] = median(two["rps"] / one["rps"] for one, two in pairs)
        lines[-1]["capacity"] = median(2 * one["cpu"] / two["cpu"] for one, two in pairs)
    columns = [("row", lambda line: line["row"]), ("workers", lambda line: line["workers"]), ("req/s", number("rps")),
               ("× one worker", number("times", 2)), ("CPU µs/req", number("cpu", 1)),
               ("× one worker by CPU", number("capacity", 2))]
    said = "Load and application shared the second core: requests a second cannot double here.\n\n"
    return (said if cells[0]["shared"] else "") + table(lines, columns)


def calls(bench, options, count=5_000):
    """System calls a request over 64 connections that are open already, as are those to the application."""
    cells = []
    for row in bench.start_all("calls", options.rows):
        process, cookie = bench.running[row.name].process, bench.running[row.name].cookie
        output = bench.world.folder / "strace"
        sockets = Sockets(bench, row, 64)
        turns = count // 64
        for _ in range(turns):
            sockets.exchange([cookie] * 64)
        attach = [part for pid in tree(process.pid) for part in ("-p", str(pid))]
        command = ["strace", "-f", "-c", "-U", "calls,name", "-o", output, *attach]
        tracer = bench.world.start(command, bench.world.load_cores, "strace")
        wait_until_traced(process.pid)
        for _ in range(turns):
            sockets.exchange([cookie] * 64)
        bench.world.stop(tracer)
        sockets.close()
        text = output.read_text()
        counted = {name: int(found) / (turns * 64) for found, name in re.findall(r"^\s*(\d+)\s+(\w+)$", text, re.M)}
        counted.pop("total", None)
        if not counted:
            raise Failure("strace counted nothing")
        cells.append({"row": row.name, "requests": turns * 64, "calls": counted})
        print(f"  {row.name:20} {sum(counted.values()):.2f} a request", flush=True)
    return cells


def wait_until_traced(pid):
    """Returns once a tracer holds every thread of the process and its descendants."""
    for _ in range(500):
        threads = [thread for each in tree(pid) for thread in Path(f"/proc/{each}/task").iterdir()]
        if all("TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads):
            return
        time.sleep(0.02)
    raise Failure("strace does not attach: may this process trace others (kernel.yama.ptrace_scope)?")


SOCKET_CALLS = {"read", "readv", "recv", "recvfrom", "recvmsg", "write", "writev", "send", "sendto", "sendmsg", "sendfile"}


def calls_table(cells, _):
    def shown(wanted):
        return lambda line: ", ".join(
            f"{name} {count:.2f}" for name, count in sorted(line["calls"].items(), key=lambda pair: -pair[1])
            if count >= 0.01 and (name in SOCKET_CALLS) == wanted)

    columns = [("row", lambda line: line["row"]), ("reads and writes a request", shown(True)), ("others", shown(False)),
               ("all", lambda line: f"{sum(line['calls'].values()):.2f}")]
    return table(cells, columns)


def instructions(bench, options):
    """(I(2N) - I(N)) / N of requests on one connection, in user space: startup and sign-in cancel out, and the
    machine's mood does not matter."""
    cells = []
    for row in ROWS:
        if "instructions" not in row.what or (options.rows and row.name not in options.rows):
            continue
        if not tool("valgrind"):
            raise Failure("valgrind is missing (try --install)")
        counts = bench.world.place(f"callgrind-{row.name}")
        counts.chmod(0o777)  # nginx's worker gave up root
        under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}/%p", "--trace-children=yes"]
        row.options |= {"under": under, "patience": 180}
        if bench.start(row):
            cells.append({"row": row.name} | counted_instructions(bench, row))
            bench.world.stop(bench.running[row.name].process)
            print(f"  {row.name:20} {cells[-1]['instructions']:,.0f} a request", flush=True)
    return cells


def counted_instructions(bench, row, count=2_000):
    running = bench.running[row.name]
    sockets = Sockets(bench, row, 1)
    for _ in range(count):
        sockets.exchange([running.cookie])
    counts = []
    for rounds in (1, 2):
        control(bench, running, "--zero")
        for _ in range(count * rounds):
            sockets.exchange([running.cookie])
        control(bench, running, "--dump")
        total = 0
        for dump in (bench.world.folder / f"callgrind-{row.name}").iterdir():
            found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(errors="replace"), re.M)
            total += int(found[1]) if found else 0
            dump.unlink()
        counts.append(total)
    sockets.close()
    if counts[1] <= counts[0]:
        raise Failure(f"{row.name}: callgrind counted {counts}: expected more for twice the requests")
    return {"instructions": (counts[1] - counts[0]) / count, "requests": count, "counts": counts}


def control(bench, running, what):
    for pid in tree(running.process.pid):
        subprocess.run(["callgrind_control", what, str(pid)], capture_output=True, timeout=120, check=False)


def instructions_table(cells, _):
    columns = [("row", lambda line: line["row"]), ("instructions a request", number("instructions"))]
    return table(cells, columns)
