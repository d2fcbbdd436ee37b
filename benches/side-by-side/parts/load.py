"""Load: wrk for HTTP/1.1, h2load for HTTP/2, plain sockets for connections that only stay open."""
import json
import re
import socket
import subprocess
import time
from urllib.parse import urlsplit

from parts.world import HERE, Failure, cpu, pss


def wrk(bench, row, path, connections, seconds, threads=1):
    """One cell: figures of wrk and of the proxy's processes meanwhile."""
    bench.freshen(row)
    cookie = bench.running[row.name].cookie
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
               "-s", HERE / "conf" / "percentiles.lua", *(["-H", f"Cookie: {cookie}"] if cookie else []),
               bench.url(row, path)]
    cell, text = during(bench, row, command, seconds)
    cell |= json.loads(re.search(r"^{.*}$", text, re.M)[0])
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    cell["bad"] = max(int(other[1]) if other else 0, cell.pop("bad_status"))
    size = 1024 * 1024 if path.endswith("m1") else 1024
    # A redirect to sign in is a 3xx, which wrk takes for success: it would be short.
    if cell["requests"] and cell["bytes"] / cell["requests"] < size:
        cell["bad"] = cell["bad"] or cell["requests"]
    cell["mb_per_second"] = cell["bytes"] / cell["seconds"] / 1e6
    return finished(bench, row, path, cell)


def h2load(bench, row, connections, streams, seconds):
    """One cell of HTTP/2 over TLS. h2load knows no percentiles over a duration."""
    bench.freshen(row)
    cookie = bench.running[row.name].cookie
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}",
               *(["-H", f"cookie: {cookie}"] if cookie else []), bench.url(row, "/k1")]
    cell, text = during(bench, row, command, seconds)
    if "Application protocol: h2" not in text:
        raise Failure(f"{row.name}: no HTTP/2:\n{text}")
    good, *others = map(int, re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text).groups())
    wrong = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
    cell |= {"requests": good, "seconds": float(seconds), "bad": sum(others),
             "socket_errors": sum(map(int, wrong.groups()))}
    return finished(bench, row, "/k1", cell)


def during(bench, row, command, seconds):
    """Runs a load tool on the load cores; the proxy's time before and after, its memory near the end."""
    running = bench.running[row.name]
    before = cpu(running.process.pid)
    tool = bench.world.start(command, bench.world.load_cores, "load", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(seconds * 0.8)
    memory = pss(running.process.pid)
    text = tool.communicate(timeout=seconds + 60)[0].decode()
    bench.world.processes.remove(tool)
    after = cpu(running.process.pid)
    bench.shorten_log(row)
    if tool.returncode:
        raise Failure(f"{command[0]} failed against {row.name}:\n{text}")
    return {"user": after[0] - before[0], "system": after[1] - before[1], "pss": memory}, text


def finished(bench, row, path, cell):
    """Times a request in microseconds; a cell with other answers than 200 is void."""
    count = cell["requests"]
    if not count:
        raise Failure(f"{row.name}: not one request was answered")
    if cell["bad"]:
        raise Failure(f"{row.name}: void: {cell['bad']} of {count} answers were not the file that was asked for")
    if bench.ask(row, path)[0] != 200:
        raise Failure(f"{row.name}: void: after the load {path} is not answered with 200")
    cell["rps"] = count / cell["seconds"]
    for part in ("user", "system"):
        cell[part] *= 1e6 / count
    cell["cpu"] = cell["user"] + cell["system"]
    return cell


class Sockets:
    """Plain keep-alive connections, each used for whole exchanges of requests without a body."""

    def __init__(self, bench, row, count):
        parts = urlsplit(bench.running[row.name].origin)
        self.host, self.prefix, self.open = parts.netloc, row.prefix, []
        for _ in range(count):
            self.open.append(socket.create_connection((parts.hostname, parts.port), 10))

    def send(self, each, cookie, path="/k1"):
        line = f"Cookie: {cookie}\r\n" if cookie else ""
        each.sendall(f"GET {self.prefix}{path} HTTP/1.1\r\nHost: {self.host}\r\n{line}\r\n".encode())

    def receive(self, each):
        """Reads one response with a Content-Length and gives back its status."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more(each)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        left = length - len(body)
        while left > 0:
            left -= len(self.more(each))
        return int(head.split()[1])

    def more(self, each):
        try:
            data = each.recv(65_536)
        except OSError as fault:
            raise Failure(f"the proxy does not answer: {fault}") from fault
        if not data:
            raise Failure("the proxy closed a connection that should have stayed open")
        return data

    def exchange(self, cookies, start=0):
        """One request a cookie, each on a connection of its own from `start`; all answers must be 200."""
        used = self.open[start:start + len(cookies)]
        for each, cookie in zip(used, cookies):
            self.send(each, cookie)
        for each in used:
            status = self.receive(each)
            if status != 200:
                raise Failure(f"expected 200, found {status}")

    def close(self):
        for each in self.open:
            each.close()
