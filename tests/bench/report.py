"""The results as Markdown: medians with the least and the most, and Fluidity beside the best of the others."""
import dataclasses
import statistics

import machine


@dataclasses.dataclass(frozen=True)
class Column:
    title: str
    case: str
    key: str
    digits: int
    more_is_better: bool = False

    def of(self, runs):
        """The value in each run that has one."""
        return [run[self.case][self.key] for run in runs if self.key in (run.get(self.case) or {}) and usable(run[self.case])]


LOOPBACK = {
    "Bulk": [
        Column("down, 1 tunnel, MB/s", "down1", "MBps", 0, True),
        Column("down, 8, MB/s", "down8", "MBps", 0, True),
        Column("up, 1 tunnel, MB/s", "up1", "MBps", 0, True),
        Column("up, 8, MB/s", "up8", "MBps", 0, True),
        Column("CPU s/GiB down", "down1", "cpu_s_per_gib", 2),
        Column("CPU s/GiB up", "up1", "cpu_s_per_gib", 2),
    ],
    "Requests on open tunnels": [
        Column("1 at a time, req/s", "rr1", "rate", 0, True),
        Column("p50 ms", "rr1", "lat_p50_ms", 3),
        Column("p99 ms", "rr1", "lat_p99_ms", 3),
        Column("64 at a time, req/s", "rr64", "rate", 0, True),
        Column("64: p50 ms", "rr64", "lat_p50_ms", 2),
        Column("64: p99 ms", "rr64", "lat_p99_ms", 2),
        Column("64: CPU µs/req", "rr64", "cpu_us_per_request", 0),
    ],
    "A new tunnel for each request": [
        Column("1 at a time, per s", "crr1", "rate", 0, True),
        Column("p50 ms", "crr1", "lat_p50_ms", 3),
        Column("p99 ms", "crr1", "lat_p99_ms", 3),
        Column("32 at a time, per s", "crr32", "rate", 0, True),
        Column("32: p50 ms", "crr32", "lat_p50_ms", 2),
        Column("32: p99 ms", "crr32", "lat_p99_ms", 2),
        Column("32: CPU µs/tunnel", "crr32", "cpu_us_per_request", 0),
    ],
    "Plain HTTP through the proxy (no CONNECT)": [
        Column("64 at a time, req/s", "abs64", "rate", 0, True),
        Column("64: p50 ms", "abs64", "lat_p50_ms", 2),
        Column("64: p99 ms", "abs64", "lat_p99_ms", 2),
        Column("64: CPU µs/req", "abs64", "cpu_us_per_request", 0),
    ],
    "Memory of both sides": [
        Column("at the start, MiB", "memory", "start", 0),
        Column("an idle tunnel, KiB", "memory", "tunnel", 0),
        Column("peak under load, MiB", "memory", "peak", 0),
        Column("CPU % with idle tunnels", "memory", "cpu", 1),
    ],
}
FAR = [
    Column("new tunnel's first byte, p50 ms", "ttfb", "lat_p50_ms", 0),
    Column("p99 ms", "ttfb", "lat_p99_ms", 0),
    Column("down MB/s", "down1", "MBps", 2, True),
    Column("up MB/s", "up1", "MBps", 2, True),
    Column("small requests under a download, p50 ms", "rr8_under_bulk", "lat_p50_ms", 0),
    Column("p99 ms", "rr8_under_bulk", "lat_p99_ms", 0),
    Column("per s", "rr8_under_bulk", "rate", 0, True),
]


def markdown(results):
    """The whole page."""
    peers = results["peers"]
    lines = [
        "# Tunnels side by side", "",
        f"Machine: {machine.line(results['machine'])}.", "",
        f"Loopback: {results['repeats']} rounds of {results['duration']:g} s a test; WAN: {results['wan_repeats']} rounds. The peers "
        "take turns within a round. A cell has the median, and in brackets the least and the most. CPU and memory are those of "
        "both sides together.", "",
        quiet(results), "",
        "| Peer | What | Version |", "|---|---|---|",
        *(f"| {name} | {peer['kind']} | {peer['version']} |" for name, peer in peers.items()),
    ]
    if results["loopback"]:
        runs = {name: [with_memory(run) for run in runs] for name, runs in results["loopback"].items()}
        for title, columns in LOOPBACK.items():
            lines += section(f"Loopback: {title[0].lower()}{title[1:]}", runs, columns)
        lines += ratios("Loopback", peers, runs, [column for columns in LOOPBACK.values() for column in columns], LOOPBACK)
    for wan in results["wan"]:
        lines += section(f"WAN: {wan['label']}", wan["runs"], FAR)
        lines += ratios("WAN", peers, wan["runs"], FAR, {})
    if results["failed"]:
        lines += ["", "## What failed, or is not there", "", *(f"- {one}" for one in results["failed"])]
    return "\n".join(lines) + "\n"


def quiet(results):
    others = results["others_cpu_percent"]
    if not others:
        return "What others used of the machine was not measured."
    text = f"Before each start, others used {statistics.median(others):g} % of the machine's CPU (at most {max(others):g} %)."
    return text if statistics.median(others) < 5 else f"**{text} Such figures are worth little.**"


def section(title, runs, columns):
    columns = [column for column in columns if any(column.of(some) for some in runs.values())]
    if not columns:
        return []
    heads = "".join(f" {column.title} |" for column in columns)
    lines = ["", f"## {title}", "", f"| Peer |{heads} Errors |", "|---" * (len(columns) + 2) + "|"]
    cases = {column.case for column in columns}
    for name, some in runs.items():
        errors = sum(run[case].get("errors", 0) for run in some for case in cases if case in run)
        cells = "".join(f" {cell(column.of(some), column.digits)} |" for column in columns)
        lines.append(f"| {name} |{cells} {errors} |")
    return lines


def ratios(title, peers, runs, columns, groups):
    """Ours beside the best of the QUIC tunnels, and of all tunnels. Above 1 is better than that one, whatever is counted."""
    ours = next((name for name, peer in peers.items() if peer["family"] == "ours" and runs.get(name)), None)
    if not ours:
        return []
    group_of = {column: group for group, members in groups.items() for column in members}
    lines = []
    for column in columns:
        mine = column.of(runs[ours])
        quic = best(column, {name: some for name, some in runs.items() if peers[name]["family"] == "quic"})
        tunnel = best(column, {name: some for name, some in runs.items() if peers[name]["family"] in ("quic", "tls", "tcp")})
        if mine and quic:
            measure = ": ".join(filter(None, (group_of.get(column), column.title)))
            value = statistics.median(mine)
            lines.append(f"| {measure} | {value:.{column.digits}f} | {against(column, value, quic)} | {against(column, value, tunnel)} |")
    if not lines:
        return []
    return ["", f"## {title}: Fluidity and the best of the others", "",
            "A ratio above 1 means that Fluidity is better, whether much or little is wanted.", "",
            "| | Fluidity | Best QUIC tunnel | Best tunnel of any kind |", "|---|---|---|---|", *lines]


def best(column, runs):
    """(median, name) of the best; nothing where no one has a value."""
    medians = [(statistics.median(values), name) for name, some in runs.items() if (values := column.of(some))]
    return (max if column.more_is_better else min)(medians, default=None)


def against(column, mine, other):
    value, name = other
    ratio = mine / value if column.more_is_better and value else value / mine if not column.more_is_better and mine else None
    said = "-" if ratio is None else f"**{ratio:.2f}**"
    return f"{said} ({value:.{column.digits}f}, {name})"


def cell(values, digits):
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def usable(case):
    """A case in which nothing was done has no figures."""
    return "errors" not in case or case.get("done") or case.get("bytes") or case.get("open")


def with_memory(run):
    """The run, with what it says about memory in one place."""
    idle, told = run.get("idle", {}), {}
    if run.get("rss_start"):
        told["start"] = sum(run["rss_start"].values())
    if run.get("rss_peak"):
        told["peak"] = sum(run["rss_peak"].values())
    if "kib_per_tunnel" in idle:
        told |= {"tunnel": idle["kib_per_tunnel"], "cpu": idle["cpu_percent"]}
    return {**run, "memory": told}
