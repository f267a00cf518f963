"""What is aimed at on lines, and where Fluidity falls short of it."""
from lines_report import Figure, Wait

# Of the better of the other QUIC tunnels.
LEAST_GOODPUT, MOST_WAIT, MOST_PAGE = 0.97, 1.1, 0.95
SHARE = (35, 65)
MOST_OWN_QUEUE_MS = 30
MOST_BACK_S, MOST_RETURN_S = 3.0, 1.2
# A small request beside bulk on a line that loses nothing: so many round trips, and ms.
CLEAN_WAIT = (1.5, 10)
LOSSY_MBPS = {"down": 22.0, "up": 20.0}


def judged(results):
    """(how many aims there were figures for, [where one is missed])."""
    aims = [aim for name, line in results["lines"].items() for aim in of_line(name, line, results["peers"])]
    return len(aims), [words for held, words in aims if not held]


def of_line(name, line, peers):
    """(whether it holds, what was found) of each aim."""
    ours = next((line["runs"].get(peer, []) for peer, about in peers.items() if about["family"] == "ours"), [])
    others = {peer: line["runs"].get(peer, []) for peer, about in peers.items() if about["family"] == "quic"}
    quiet = name.startswith("clean")
    for way in ("down", "up"):
        yield from beside(name, f"{way} MB/s", Figure(way, "MBps", digits=2, more_is_better=True), ours, others, LEAST_GOODPUT)
        if name == "lossy-200":
            yield from within(name, f"{way} MB/s", Figure(way, "MBps", digits=2, more_is_better=True), ours, LOSSY_MBPS[way], None)
        for tunnel in ("new", "open"):
            for share in ("p50", "p95"):
                figure, what = Wait(way, "small", tunnel, share), f"{tunnel} beside {way}, {share} ms"
                yield from beside(name, what, figure, ours, others, MOST_WAIT)
                if quiet and share == "p95":
                    yield from within(name, what, figure, ours, None, CLEAN_WAIT[0] * round_trip(line) + CLEAN_WAIT[1])
    tuic = {peer: runs for peer, runs in others.items() if peer == "sb-tuic"}
    yield from beside(name, "packets lost at the start", Figure("down", "lost_at_start"), ours, tuic, 1.0)
    for rival in ("cubic", "bbr"):
        yield from within(name, f"share beside {rival}, %", Figure(f"share-{rival}", "share_percent"), ours, *SHARE)
    yield from within(name, "queue of two of its own, ms", Figure("share-self", "queue_ms"), ours, None, MOST_OWN_QUEUE_MS)
    yield from within(name, "back after the MTU fell, s", Figure("mtu", "back_s", digits=1), ours, None, MOST_BACK_S)
    yield from within(name, "first new request after the link's return, s", Figure("away", "first_new_request_s", digits=2), ours, None, MOST_RETURN_S)
    yield from beside(name, "page on new hosts, ms", Figure("page", "new_ms"), ours, others, MOST_PAGE)


def beside(line, what, figure, ours, others, bound):
    """Against the better of the others, where one has a figure."""
    mine, theirs = figure.median(ours), [figure.median(runs) for runs in others.values()]
    theirs = [value for value in theirs if isinstance(value, (int, float))]
    if mine is None or not theirs:
        return
    best = max(theirs) if figure.more_is_better else min(theirs)
    if isinstance(mine, str):
        yield False, f"{line}: {what}: {mine}; the better peer {figure.written(best)}"
        return
    held = mine >= bound * best if figure.more_is_better else mine <= bound * best
    ratio = f"{mine / best:.2f}" if best else "more"
    yield held, f"{line}: {what}: {figure.written(mine)}, the better peer {figure.written(best)}: {ratio}, aimed at {bound}"


def within(line, what, figure, ours, least, most):
    mine = figure.median(ours)
    if mine is None:
        return
    if isinstance(mine, str):
        yield False, f"{line}: {what}: {mine}"
        return
    held = (least is None or mine >= least) and (most is None or mine <= most)
    aim = f"{least:g} to {most:g}" if least is not None and most is not None else f"at most {most:g}" if least is None else f"at least {least:g}"
    yield held, f"{line}: {what}: {figure.written(mine)}, but {aim} is aimed at"


def round_trip(line):
    """ms of a line that has one delay for both ways."""
    return 2 * float(dict(word.split("=") for word in line["set"].split())["delay"])


def markdown(results):
    """A section, where Fluidity was measured."""
    count, missed = judged(results)
    if not count:
        return []
    return ["", "## Aims that are missed", "", f"{len(missed)} of {count}. What is aimed at: tests/bench/lines_aims.py.", "",
            *(f"- {words}" for words in missed)]
