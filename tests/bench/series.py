"""What series of bytes and of latencies say. Pure: `python3 -m doctest` checks it."""
import math


def rate(points, start, end):
    """Bytes a second between two times; `points` are [(time, bytes so far)].

    >>> rate([(10, 0), (12, 400), (14, 400)], 11, 13)
    100.0
    """
    return (at(points, end) - at(points, start)) / (end - start)


def at(points, time):
    """Bytes at a time: between two points, as if they came evenly.

    >>> [at([(10, 0), (12, 400)], time) for time in (9, 10, 11, 12, 20)]
    [0.0, 0.0, 200.0, 400.0, 400.0]
    >>> at([], 5)
    0.0
    """
    earlier = None
    for when, count in points:
        if when >= time:
            if earlier is None:
                return 0.0
            return earlier[1] + (count - earlier[1]) * (time - earlier[0]) / (when - earlier[0])
        earlier = (when, count)
    return float(earlier[1]) if earlier else 0.0


def back(points, event, wanted, end, window=1.0, step=0.1):
    """Seconds from the event until the next `window` seconds carry `wanted` bytes a second; nothing where they never do.

    >>> fell = [(0, 0), (4, 400), (6, 400), (16, 1400)]
    >>> back(fell, 4, 80, 16), back(fell, 4, 200, 16)
    (1.8, None)
    """
    for number in range(int((end - window - event) / step) + 1):
        begin = event + number * step
        if rate(points, begin, begin + window) >= wanted:
            return round(number * step, 1)
    return None


def quantile(values, share):
    """The least value that so large a share of them does not exceed.

    >>> [quantile(range(1, 21), share) for share in (0.5, 0.95, 1)]
    [10, 19, 20]
    """
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None


def latencies(requests, timeout):
    """p50, p95, worst in ms. One that was never answered took all the time there was.

    >>> told = latencies([{"ms": 20}, {"ms": 30}, {"ms": 5, "error": "cut"}], 20)
    >>> told["p50"], told["worst"], told["unanswered"]
    (30, 20000, 1)
    """
    limit = timeout * 1000
    times = [limit if "error" in request else min(request["ms"], limit) for request in requests]
    unanswered = sum("error" in request for request in requests)
    told = {"count": len(times), "unanswered": unanswered}
    if times:
        told |= {"p50": quantile(times, 0.5), "p95": quantile(times, 0.95), "worst": max(times)}
    if unanswered:
        told["first_error"] = next(request["error"] for request in requests if "error" in request)[:120]
    return told
