"""What Vestibule has to reach, and whether the last results say that it does."""
import json
from statistics import median

from parts.kinds import BASE, summary, table

# Title, whether less is better, must, aim, digits; in the order of `measured`.
GOALS = [
    ("signed-in request, CPU a request against nginx, 64 connections", True, 1.15, 0.95, 2),
    ("the same, 256 connections", True, 1.15, 0.95, 2),
    ("the same, 64 connections, against nginx with a request as long", True, 1.15, 0.95, 2),
    ("its user-space part alone, µs, 64 connections", True, 6.0, 4.5, 1),
    ("p99 against nginx, 64 connections", True, 1.25, 1.0, 2),
    ("p99 against nginx, 256 connections", True, 1.25, 1.0, 2),
    ("signed-in over open route, CPU a request, µs, 64 connections", True, 1.5, 0.7, 1),
    ("1 MiB bodies, MB/s against nginx with default buffers", False, 2.0, 3.0, 2),
    ("1 MiB bodies, MB/s against nginx with large buffers", False, 1.0, 1.3, 2),
    ("TLS 1.3 keep-alive, CPU a request against nginx, 64 connections", True, 1.2, 1.0, 2),
    ("HTTP/2 over TLS, 32 streams, requests a second against nginx", False, 1.0, 1.3, 2),
    ("PSS with 256 connections, MB", True, 30, 20, 0),
    ("PSS with 10,000 idle connections, MB", True, 160, 100, 0),
    ("PSS with 100,000 live sessions, MB", True, 120, 60, 0),
    ("two cores against one, requests a second (by CPU time a request where cores are shared)", False, 1.7, 1.9, 2),
]


class Results:
    """The cells of the last results; whatever was not measured is `None`."""

    def __init__(self, folder):
        self.folder = folder

    def cells(self, what):
        file = self.folder / f"{what}.json"
        return json.loads(file.read_text())["cells"] if file.exists() else []

    def median(self, what, row, connections, key, base=None):
        """A median, or with `base` the median of the ratios to that row."""
        for line in summary(self.cells(what), base):
            if (line["row"], line["connections"]) == (row, connections):
                return (line["ratio"] if base else line).get(key)
        return None

    def over_open(self, connections):
        rounds = {}
        for cell in self.cells("http"):
            if cell["connections"] == connections:
                rounds.setdefault(cell["round"], {})[cell["row"]] = cell["cpu"]
        both = [by for by in rounds.values() if {"vestibule", "vestibule-open"} <= set(by)]
        return median(by["vestibule"] - by["vestibule-open"] for by in both) if both else None

    def memory(self, state):
        cells = [cell for cell in self.cells("memory") if cell["row"] == "vestibule"]
        return max((cell["pss"] for cell in cells if cell["state"].startswith(state)), default=None)

    def scaling(self):
        by = {(cell["round"], cell["workers"]): cell for cell in self.cells("scaling") if cell["row"] == "vestibule"}
        pairs = [(by[turn, 1], by[turn, 2]) for turn, workers in by if workers == 1 and (turn, 2) in by]
        ratios = [2 * one["cpu"] / two["cpu"] if one["shared"] else two["rps"] / one["rps"] for one, two in pairs]
        return median(ratios) if ratios else None


def measured(results):
    value = results.median
    return [
        value("http", "vestibule", 64, "cpu", "nginx"), value("http", "vestibule", 256, "cpu", "nginx"),
        value("http", "vestibule", 64, "cpu", "nginx-same-request"),
        value("http", "vestibule", 64, "user"),
        value("http", "vestibule", 64, "p99", "nginx"), value("http", "vestibule", 256, "p99", "nginx"),
        results.over_open(64),
        value("bodies", "vestibule", 16, "mb_per_second", "nginx"),
        value("bodies", "vestibule", 16, "mb_per_second", "nginx-large-buffers"),
        value("tls", "vestibule-tls", 64, "cpu", BASE["tls"]), value("h2", "vestibule-h2", 8, "rps", BASE["h2"]),
        results.memory("256"), results.memory("10,000"), results.memory("100,000"), results.scaling(),
    ]


def goals_table(folder):
    lines = []
    for (title, less, must, aim, digits), found in zip(GOALS, measured(Results(folder)), strict=True):
        def reached(goal, found=found, less=less):
            return found is not None and (found <= goal if less else found >= goal)

        sign = "≤" if less else "≥"
        verdict = "not measured" if found is None else "aim" if reached(aim) else "must" if reached(must) else "**no**"
        lines.append([title, f"{sign} {must}", f"{sign} {aim}", None if found is None else f"{found:.{digits}f}", verdict])
    titles = ["what", "must", "aim", "measured", "reached"]
    return table(lines, [(name, lambda line, at=at: line[at]) for at, name in enumerate(titles)])
