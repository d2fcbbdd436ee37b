"""The comparisons: what each measures. A cell is a dict; `rounds` gives it its row, round and connections."""
import statistics

from parts.load import h2load, wrk

BASE = {"tls": "nginx-tls", "h2": "nginx-h2"}


def rounds(bench, options, rows, shapes, measure):
    """Interleaved: all rows in each round, in an order that moves on by one, so that what else the machine
    does meets them all."""
    cells = []
    for turn in range(options.rounds):
        for shape in shapes:
            for row in rows[turn % len(rows):] + rows[:turn % len(rows)]:
                cell = measure(row, shape) | {"row": row.name, "round": turn, "connections": shape}
                cells.append(cell)
                print(f"  round {turn + 1}, {shape:5} connections  {row.name:30} {cell['rps']:9.0f}/s"
                      f"  {cell['cpu']:7.1f} us CPU", flush=True)
    order = [row.name for row in rows]
    return sorted(cells, key=lambda cell: (cell["connections"], order.index(cell["row"]), cell["round"]))


def http(bench, options):
    rows = bench.start_all(options.what, options.rows)
    return rounds(bench, options, rows, [64, 256],
                  lambda row, connections: wrk(bench, row, "/k1", connections, options.seconds))


def bodies(bench, options):
    rows = bench.start_all("bodies", options.rows)
    seconds = max(1, options.seconds // 2)
    return rounds(bench, options, rows, [16], lambda row, connections: wrk(bench, row, "/m1", connections, seconds))


def h2(bench, options):
    rows = bench.start_all("h2", options.rows)
    return rounds(bench, options, rows, [8], lambda row, connections: h2load(bench, row, connections, 32, options.seconds))


def summary(cells, base):
    """Medians over the rounds for each row and number of connections; ratios are medians of ratios to the
    base's cell of the same round."""
    found, groups = [], {}
    for cell in cells:
        groups.setdefault((cell["connections"], cell["row"]), []).append(cell)
    for (connections, row), group in groups.items():
        line = {"row": row, "connections": connections, "ratio": {}}
        numbers = [key for key, value in group[0].items() if isinstance(value, (int, float)) and key != "round"]
        for key in numbers:
            line[key] = statistics.median(cell[key] for cell in group)
        bases = {cell["round"]: cell for cell in groups.get((connections, base), [])}
        for key in ("rps", "p50", "p99", "p999", "cpu", "user", "mb_per_second"):
            pairs = [(cell[key], bases[cell["round"]][key]) for cell in group if key in cell and cell["round"] in bases]
            if pairs and all(below for _, below in pairs):
                line["ratio"][key] = statistics.median(above / below for above, below in pairs)
        found.append(line)
    return found


def table(lines, columns):
    """A Markdown table; a column is (title, what to show of a line)."""
    def shown(value):
        return "–" if value is None else value if isinstance(value, str) else f"{value:,.0f}"

    text = ["| " + " | ".join(title for title, _ in columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    text += ["| " + " | ".join(shown(get(line)) for _, get in columns) + " |" for line in lines]
    return "\n".join(text) + "\n"


def number(key, digits=0):
    return lambda line: None if line.get(key) is None else f"{line[key]:,.{digits}f}"


def times(key):
    return lambda line: f"{line['ratio'][key]:.2f}" if key in line["ratio"] else None


ROW = ("row", lambda line: line["row"])
CPU = [("CPU µs/req", number("cpu", 1)), ("× nginx", times("cpu")), ("user µs", number("user", 1)),
       ("× nginx", times("user")), ("system µs", number("system", 1))]
SPEED = [("req/s", number("rps")), ("× nginx", times("rps"))]
LATENCY = [("p50 ms", number("p50", 2)), ("p99 ms", number("p99", 2)), ("× nginx", times("p99")),
           ("p99.9 ms", number("p999", 2))]
PSS = ("PSS MB", number("pss"))


def http_table(cells, what):
    lines = summary(cells, BASE.get(what, "nginx"))
    parts = []
    for connections in sorted({line["connections"] for line in lines}):
        chosen = [line for line in lines if line["connections"] == connections]
        parts.append(f"**1 KiB, {connections} connections**\n\n" + table(chosen, [ROW, *CPU, *SPEED, *LATENCY, PSS]))
    return "\n".join(parts)


def bodies_table(cells, _):
    columns = [ROW, ("MB/s", number("mb_per_second")), ("× nginx", times("mb_per_second")),
               ("CPU µs/MiB", number("cpu", 0)), ("× nginx", times("cpu")), ("p99 ms", number("p99", 1)), PSS]
    return "**1 MiB, 16 connections**\n\n" + table(summary(cells, "nginx"), columns)


def h2_table(cells, _):
    columns = [ROW, *SPEED, *CPU, PSS]
    return "**1 KiB over HTTP/2 and TLS, 8 connections with 32 streams each**\n\n" + table(
        summary(cells, BASE["h2"]), columns)
