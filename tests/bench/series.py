"""What series of bytes and of latencies say. Pure."""
import math


def rate(points, start, end):
    """Bytes a second between two times; `points` are [(time, bytes so far)]."""
    return (at(points, end) - at(points, start)) / (end - start)


def at(points, time):
    """Bytes at a time: between two points, as if they came evenly."""
    earlier = None
    for when, count in points:
        if when >= time:
            if earlier is None:
                return 0.0
            return earlier[1] + (count - earlier[1]) * (time - earlier[0]) / (when - earlier[0])
        earlier = (when, count)
    return float(earlier[1]) if earlier else 0.0


def back(points, event, wanted, end, window=1.0, step=0.1):
    """Seconds from the event until the next `window` seconds carry `wanted` bytes a second; nothing where they never do."""
    for number in range(int((end - window - event) / step) + 1):
        begin = event + number * step
        if rate(points, begin, begin + window) >= wanted:
            return round(number * step, 1)
    return None


def quantile(values, share):
    """The least value that so large a share of them does not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None


def latencies(requests, timeout):
    """p50, p95, worst in ms. One that was never answered took all the time there was."""
    limit = timeout * 1000
    times = [limit if "error" in request else min(request["ms"], limit) for request in requests]
    unanswered = sum("error" in request for request in requests)
    told = {"count": len(times), "unanswered": unanswered}
    if times:
        told |= {"p50": quantile(times, 0.5), "p95": quantile(times, 0.95), "worst": max(times)}
    if unanswered:
        told["first_error"] = next(request["error"] for request in requests if "error" in request)[:120]
    return told
