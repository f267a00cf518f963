"""The results on lines as Markdown: a table for each figure, a row for each line, a column for each peer."""
import statistics

import machine
from report import quiet


class Figure:
    """One number of a run, and how it is written."""

    def __init__(self, *keys, digits=0, more_is_better=False):
        self.keys, self.digits, self.more_is_better = keys, digits, more_is_better

    def of(self, run):
        """The figure of one run; a word where there is none, nothing where it was not measured."""
        if "failed" in run:
            return "failed"
        found = run
        for key in self.keys:
            if found.get("state", "ok") != "ok":
                return found["state"].partition(":")[0]
            if key not in found:
                return None
            found = found[key]
        return found

    def median(self, runs):
        """Over the runs; a word where half of them or more have none."""
        values = [value for run in runs if (value := self.of(run)) is not None]
        numbers = [value for value in values if not isinstance(value, str)]
        words = [value for value in values if isinstance(value, str)]
        if not values:
            return None
        if 2 * len(words) >= len(values):
            return f"{words[0]} {len(words)}/{len(values)}"
        # One that is stuck is worse than any number.
        worst = float("-inf") if self.more_is_better else float("inf")
        return statistics.median(numbers + [worst] * len(words))

    def written(self, value):
        return "-" if value is None else value if isinstance(value, str) else f"{value:.{self.digits}f}"


class Wait(Figure):
    """A request's wait for its answer, in ms; at its limit there was none."""

    def of(self, run):
        found = super().of(run)
        return "unanswered" if isinstance(found, float) and found >= run.get("timeout_s", 20) * 1000 else found


def small(*keys):
    return [Wait(*keys, share) for share in ("p50", "p95", "worst")]


TABLES = [
    ("Goodput down, MB/s", [Figure("down", "MBps", digits=3, more_is_better=True)]),
    ("Goodput up, MB/s", [Figure("up", "MBps", digits=3, more_is_better=True)]),
    ("Small requests on an idle line, new tunnels, ms: p50 / p95 / worst", small("idle", "new")),
    ("Small requests on an idle line, an open tunnel, ms: p50 / p95 / worst", small("idle", "open")),
    ("Small requests beside a download, new tunnels, ms: p50 / p95 / worst", small("down", "small", "new")),
    ("Small requests beside a download, an open tunnel, ms: p50 / p95 / worst", small("down", "small", "open")),
    ("Small requests beside an upload, new tunnels, ms: p50 / p95 / worst", small("up", "small", "new")),
    ("Small requests beside an upload, an open tunnel, ms: p50 / p95 / worst", small("up", "small", "open")),
    ("Queue on the line beside a download: mean ms / packets dropped in the first 3 s",
     [Figure("down", "queue_ms"), Figure("down", "lost_at_start")]),
    ("Queue on the line beside an upload: mean ms / MB that the client believed sent",
     [Figure("up", "queue_ms"), Figure("up", "ahead_mb", digits=2)]),
    ("Share beside one TCP cubic download, %: whole time / second half / mean queue, ms",
     [Figure("share-cubic", "share_percent", more_is_better=True), Figure("share-cubic", "late_share_percent"), Figure("share-cubic", "queue_ms")]),
    ("Share beside one TCP bbr download, %: whole time / second half / mean queue, ms",
     [Figure("share-bbr", "share_percent", more_is_better=True), Figure("share-bbr", "late_share_percent"), Figure("share-bbr", "queue_ms")]),
    ("Share beside a second download of its own, %: whole time / mean queue, ms",
     [Figure("share-self", "share_percent", more_is_better=True), Figure("share-self", "queue_ms")]),
    ("The MTU falls, both directions busy: seconds until both carry 80 % of the line", [Figure("mtu", "back_s", digits=1)]),
    ("The link is away for 20 s: seconds until the first answer / of the first new request", [
        Figure("away", "first_answer_s", digits=2), Figure("away", "first_new_request_s", digits=2)]),
    ("A page of 71 objects, ms: hosts new / known", [Figure("page", "new_ms"), Figure("page", "known_ms")]),
]


def markdown(results):
    """The whole page."""
    peers = results["peers"]
    lines = [
        "# Tunnels on lines", "",
        f"Machine: {machine.line(results['machine'])}.", "",
        f"{rounds(results)} of {results['duration']:g} s a transfer, {results['share_duration']:g} s beside a rival; a small request "
        f"each {results['interval_ms']:g} ms, unanswered after {results['timeout_s']:g} s. Peers take turns. A cell has medians. The last column "
        "is Fluidity beside the better of the other QUIC tunnels: above 1 is better, whatever is counted.", "",
        quiet(results), "",
        "| Peer | What | Version |", "|---|---|---|",
        *(f"| {name} | {peer['kind']} | {peer['version']} |" for name, peer in peers.items()), "",
        "| Line | What |", "|---|---|", *(f"| {name} | {line['what']} |" for name, line in results["lines"].items()),
    ]
    for title, figures in TABLES:
        lines += table(title, figures, results)
    if results["failed"]:
        lines += ["", "## What failed, or is not there", "", *(f"- {one}" for one in results["failed"])]
    return "\n".join(lines) + "\n"


def rounds(results):
    """In words: how often each was measured."""
    counts = {len(runs) for line in results["lines"].values() for runs in line["runs"].values()} or {0}
    least, most = min(counts), max(counts)
    if least != most:
        return f"{least} to {most} rounds"
    return "1 round" if most == 1 else f"{most} rounds"


def table(title, figures, results):
    peers, rows = results["peers"], []
    for name, line in results["lines"].items():
        medians = {peer: [figure.median(line["runs"].get(peer, [])) for figure in figures] for peer in peers}
        if all(value is None for values in medians.values() for value in values):
            continue
        cells = " | ".join(cell(figures, medians[peer]) for peer in peers)
        ratios = " / ".join(beside(figure, peers, {peer: values[index] for peer, values in medians.items()}) for index, figure in enumerate(figures))
        rows.append(f"| {name} | {cells} | {ratios} |")
    if not rows:
        return []
    head = ["", f"## {title}", "", f"| Line | {' | '.join(peers)} | beside the better |", "|---" * (len(peers) + 2) + "|"]
    return head + rows


def cell(figures, values):
    """The values, or one word where all say the same."""
    written = [figure.written(value) for figure, value in zip(figures, values)]
    return written[0] if len(set(written)) == 1 and not written[0][0].isdigit() else " / ".join(written)


def beside(figure, peers, medians):
    ours = next((medians[name] for name, peer in peers.items() if peer["family"] == "ours"), None)
    others = [medians[name] for name, peer in peers.items() if peer["family"] == "quic"]
    others = [value for value in others if isinstance(value, (int, float))]
    if not isinstance(ours, (int, float)) or not others:
        return "-"
    best = max(others) if figure.more_is_better else min(others)
    above, below = (ours, best) if figure.more_is_better else (best, ours)
    return f"{above / below:.2f}" if below > 0 else "-"


def summary(run):
    """One run in a line."""
    told = []
    for way in ("down", "up"):
        if way in run:
            words = [f"{way} {run[way].get('MBps', run[way]['state'])}"]
            for tunnel, times in run[way].get("small", {}).items():
                words.append(f"{tunnel} {'/'.join(str(round(times[key])) for key in ('p50', 'p95', 'worst') if key in times)}")
            told.append(" ".join(words))
    for name in ("share-cubic", "share-bbr", "share-self"):
        if name in run:
            told.append(f"{name} {run[name].get('share_percent', run[name]['state'])} % queue {run[name]['queue_ms']:.0f} ms")
    if "mtu" in run:
        told.append(f"mtu {run['mtu']['mtu']}: {run['mtu']['each_back_s']}")
    if "away" in run:
        told.append(f"away: {run['away']['survives']} first {run['away']['first_answer_s']} s")
    if "page" in run:
        told.append(f"page new {run['page'].get('new_ms', run['page']['state'])} known {run['page'].get('known_ms', '-')} ms")
    return "; ".join(told)
