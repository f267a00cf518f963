"""What is measured on an emulated line. Each trial ends in bounded time, and a transfer that stands still is `stuck`, no figure."""
import time

import series
from processes import wait_until

BULK = ("down", "up", "small-down", "small-up")
NAMES = (*BULK, "share-cubic", "share-bbr", "share-self", "mtu", "away", "page")
# The first packets of a download, in which startup may lose some.
STARTUP = 3.0
AWAY = 20.0


def run(peer, path, line, asked):
    """Every trial that was asked for and that the line has, from the peer's start to its end."""
    wanted = [name for name in line.get("tests", BULK) if name in asked.tests]
    results = {"timeout_s": asked.timeout}
    peer.start()
    try:
        results["idle"] = idle(peer, line, asked)
        for way in ("down", "up"):
            if way in wanted or f"small-{way}" in wanted:
                results[way] = bulk(peer, path, line, asked, way, requests=f"small-{way}" in wanted)
                time.sleep(1.5)
        for name in wanted:
            if name.startswith("share-"):
                results[name] = share(peer, path, asked, name.removeprefix("share-"))
            elif name in TRIALS:
                results[name] = TRIALS[name](peer, path, line, asked)
        if dead := [side for side, process in peer.processes.items() if not process.alive()]:
            results["dead"] = dead
    finally:
        peer.stop()
    return results


def idle(peer, line, asked, count=10):
    """Small requests on a line that carries nothing else."""
    interval = line.get("interval", asked.interval)
    most = {"interval": interval, "duration": count * interval / 1000, "timeout": asked.timeout}
    clients = {tunnel: peer.client("small", tunnel=tunnel, **most) for tunnel in ("new", "open")}
    return {tunnel: finish(client, most["duration"], asked) for tunnel, client in clients.items()}


def finish(client, duration, asked):
    """The latencies of a client that was started to run so long."""
    try:
        client.wait(duration + 3 * asked.timeout)
        return series.latencies([one for one in client.said() if "ms" in one or "error" in one], asked.timeout)
    finally:
        client.stop(1)


def bulk(peer, path, line, asked, way, requests):
    """One transfer, and beside it small requests on new tunnels and on one that was open before."""
    length, direction = length_of(line, asked), "ba" if way == "down" else "ab"
    most = {"interval": line.get("interval", asked.interval), "duration": max(1.0, length - STARTUP - 0.5), "timeout": asked.timeout}
    beside, transfer = {}, None
    try:
        if requests:
            beside["open"] = peer.client("small", tunnel="open", after=STARTUP, **most)
            wait_until(lambda: any("open" in one for one in beside["open"].said()), asked.timeout)
        path.stats()
        began, name = time.time(), f"{peer.name}-{time.time():.3f}"
        transfer = transfer_of(peer, way, name, length)
        time.sleep(STARTUP)
        first = path.stats()[direction]
        if requests:
            beside["new"] = peer.client("small", tunnel="new", **most)
        time.sleep(max(0.0, began + length - time.time()))
        later = path.stats()[direction]
        # An upload's client waits until the origin has everything: that shows how far "sent" was ahead.
        transfer.wait(asked.timeout)
        told = {tunnel: finish(client, 0, asked) for tunnel, client in sorted(beside.items())}
        points = path.uploaded(name) if way == "up" else transfer.points()
        result = carried(points, began, length, transfer.end())
        if way == "up":
            result |= ahead(transfer, points, began + length)
        result |= {"lost_at_start": dropped(first), "lost": dropped(later), "queue_ms": later["queue_ms"],
                   "queue_most_ms": later["queue_most_ms"]}
        return result | ({"small": told} if told else {})
    finally:
        for client in (transfer, *beside.values()):
            if client:
                client.stop(1)


def ahead(transfer, points, end):
    """How much an upload's client believed sent and had not arrived at its end, and how long that took."""
    answered = next((one["t"] for one in transfer.said() if one.get("end") == "answered"), None)
    return {"ahead_mb": round((series.at(transfer.points(), end) - series.at(points, end)) / 1e6, 3),
            "drained_s": round(answered - end, 1) if answered else None}


def length_of(line, asked):
    """Where little passes, or slowly, it takes longer to see how much."""
    return asked.duration if asked.quick else max(asked.duration, line.get("duration", 0))


def transfer_of(peer, way, name, length):
    return peer.client("down", duration=length) if way == "down" else peer.client("up", duration=length, name=name)


def dropped(counts):
    return counts["tail_dropped"] + counts["policed"]


def carried(points, began, length, end=None):
    """Goodput of the last two thirds; or that there was none."""
    speed = series.rate(points, began + length / 3, began + length)
    last = series.rate(points, began + 2 * length / 3, began + length)
    result = {"whole_MBps": round(series.rate(points, began, began + length) / 1e6, 3)}
    if end and end not in ("time", "answered", "complete") and (not points or points[-1][0] < began + length - 1):
        return result | {"state": f"cut: {end}"}
    if last <= 0:
        return result | {"state": "stuck"}
    return result | {"state": "ok", "MBps": round(speed / 1e6, 3)}


def share(peer, path, asked, rival):
    """A download beside a plain TCP one, or beside a second one of the peer's own."""
    length = asked.share_duration
    path.stats()
    began = time.time()
    own = peer.client("down", duration=length)
    other = peer.client("down", duration=length) if rival == "self" else peer.rival(rival, duration=length)
    try:
        time.sleep(max(0.0, began + length - time.time()))
        counts = path.stats()["ba"]
        own.wait(5)
        bytes_of = [series.at(client.points(), began + length) for client in (own, other)]
        late = [series.rate(client.points(), began + length / 2, began + length) for client in (own, other)]
        result = {"MBps": round(bytes_of[0] / length / 1e6, 3), "rival_MBps": round(bytes_of[1] / length / 1e6, 3),
                  "queue_ms": counts["queue_ms"], "queue_most_ms": counts["queue_most_ms"], "state": "ok" if late[0] > 0 else "stuck"}
        if result["state"] == "ok" and sum(bytes_of):
            result["share_percent"] = round(100 * bytes_of[0] / sum(bytes_of), 1)
            result["late_share_percent"] = round(100 * late[0] / sum(late), 1)
        return result
    finally:
        own.stop(1)
        other.stop(1)


def both_ways(peer, length):
    name = f"{peer.name}-{time.time():.3f}"
    return name, peer.client("down", duration=length), peer.client("up", duration=length, name=name, patience=5)


def mtu(peer, path, line, asked):
    """Both directions are busy, and packets above a limit begin to vanish: until each carries 80 % of the line for a second."""
    watched, limit = 30.0, (1280, 1300, 1320, 1354)[path.seed % 4]
    name, down, up = both_ways(peer, 5 + watched)
    try:
        time.sleep(4)
        path.say(f"mtu={limit}")
        event = time.time()
        time.sleep(watched)
        wanted = 0.8 * line_rate(line) / 8
        times = {"down": series.back(down.points(), event, wanted, event + watched),
                 "up": series.back(path.uploaded(name), event, wanted, event + watched)}
        late = {"down": series.rate(down.points(), event + watched - 10, event + watched),
                "up": series.rate(path.uploaded(name), event + watched - 10, event + watched)}
        before = {"down": series.rate(down.points(), event - 2, event), "up": series.rate(path.uploaded(name), event - 2, event)}
        worst = None if None in times.values() else max(times.values())
        return {"mtu": limit, "back_s": worst, "state": "ok" if worst is not None else "stuck", "each_back_s": times,
                "before_MBps": megabytes(before), "late_MBps": megabytes(late)}
    finally:
        path.say("mtu=0")
        for client in (down, up):
            client.stop(1)


def megabytes(speeds):
    return {way: round(speed / 1e6, 3) for way, speed in speeds.items()}


def line_rate(line):
    return float(dict(word.split("=") for word in line["set"].split())["rate"]) * 1e6


def away(peer, path, line, asked):
    """The link is down for a while, with both directions busy and a new request each second."""
    after = 20.0
    name, down, up = both_ways(peer, 4 + AWAY + after + 5)
    requests = peer.client("small", interval=1000, duration=4 + AWAY + after - 3, timeout=AWAY + after)
    try:
        time.sleep(4)
        path.say("link=down")
        time.sleep(AWAY)
        path.say("link=up")
        event = time.time()
        time.sleep(after)
        # What was in buffers may still come; whoever moves in the last seconds has survived.
        moved = {"down": series.rate(down.points(), event + after - 6, event + after) > 0,
                 "up": series.rate(path.uploaded(name), event + after - 6, event + after) > 0}
        answered = [one for one in requests.said() if "ms" in one and "error" not in one]
        ends = sorted(one["t"] + one["ms"] / 1000 - event for one in answered)
        first = next((end for end in ends if end > 0), None)
        fresh = [one["t"] + one["ms"] / 1000 - event for one in answered if one["t"] >= event]
        return {"survives": moved, "state": "ok" if all(moved.values()) else "cut", "ends": {"down": down.end(), "up": up.end()},
                "first_answer_s": rounded(first), "first_new_request_s": rounded(min(fresh, default=None)),
                "failed": sum("error" in one for one in requests.said())}
    finally:
        for client in (down, up, requests):
            client.stop(1)


def rounded(seconds):
    return None if seconds is None else round(seconds, 2)


def page(peer, path, line, asked):
    """The model page thrice on hosts that the tunnel does not know, each time once more when it does."""
    times = {"new": [], "known": []}
    for number in range(1, 4):
        for kind in ("new", "known"):
            client = peer.page(number, timeout=60)
            try:
                client.wait(70)
                said = client.said()
            finally:
                client.stop(1)
            failed = not said or "error" in said[0]
            times[kind].append(None if failed else said[0]["ms"])
            if failed:
                return {"state": "stuck", "error": said[0]["error"] if said else "no end", "times": times}
            time.sleep(0.5)
    return {"state": "ok", "new_ms": series.quantile(times["new"], 0.5), "known_ms": series.quantile(times["known"], 0.5),
            "times": times}


TRIALS = {"mtu": mtu, "away": away, "page": page}
