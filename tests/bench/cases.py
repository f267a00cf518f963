"""What is measured on a peer, on loopback and across the emulated WAN."""
import json
import os
import subprocess
import time

from processes import Process

NAMES = ("down1", "down8", "up1", "up8", "rr1", "rr64", "crr1", "crr32", "abs64")


def loopback(peer, asked):
    """Every case on one peer, from its start to its end."""
    results = {}
    peer.start()
    try:
        results["rss_start"] = peer.memory()
        if peer.processes and asked.idle:
            results["idle"] = idle(peer, asked.idle)
        for process in peer.processes.values():
            process.reset_peak()
        for name in asked.tests:
            if name == "abs64" and not peer.proxy.startswith("http"):
                continue
            results[name] = one(name, peer, asked.duration)
            if results[name].get("dead"):
                break
        results["rss_peak"] = peer.memory("VmHWM")
    finally:
        peer.stop()
    return results


def one(name, peer, seconds):
    count = int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
    match name.rstrip("0123456789"):
        case "down":
            return peer.load("down", c=count, path="/1g", duration=seconds, warmup=0.7)
        case "up":
            return peer.load("up", c=count, duration=seconds)
        case "rr":
            return peer.load("rr", c=count, duration=seconds, warmup=0.5)
        case "crr":
            return peer.load("crr", c=count, duration=seconds, warmup=0.3)
        case "abs":
            return peer.load("rr", c=count, duration=seconds, warmup=0.5, absolute=True)
    raise ValueError(name)


def idle(peer, count, settle=1.0):
    """Memory and CPU with so many tunnels that are open, were used, and are idle."""
    before = peer.memory()
    holder = Process(peer.load_command("idle", c=count), peer.workshop.log("idle"), peer.near_namespace,
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        result = first_line(holder, 60) or {"open": 0, "errors": count}
        time.sleep(settle)
        spent, began = sum(peer.cpu()), time.monotonic()
        time.sleep(max(1.0, settle))
        spent, took = sum(peer.cpu()) - spent, time.monotonic() - began
        during = peer.memory()
        result |= {"rss_before": before, "rss_idle": during, "cpu_percent": round(100 * spent / took, 1)}
        if result["open"]:
            more = sum(during.values()) - sum(before.values())
            result["kib_per_tunnel"] = round(1024 * more / result["open"], 1)
    finally:
        holder.child.stdin.close()
        holder.stop(2)
    time.sleep(0.5)
    return result


def first_line(process, seconds):
    """The first line that a process prints, as JSON; nothing where it prints none in time."""
    out, line, end = process.child.stdout, b"", time.monotonic() + seconds
    os.set_blocking(out.fileno(), False)
    while b"\n" not in line and time.monotonic() < end and process.alive():
        line += out.read() or b""
        time.sleep(0.05)
    line += out.read() or b""
    return json.loads(line) if line else None


def far(peer, asked):
    """Every case across the emulated WAN."""
    results = {}
    peer.start()
    try:
        results["ttfb"] = peer.load("crr", c=1, duration=20, warmup=0, count=asked.wan_count)
        results["down1"] = peer.load("down", c=1, path="/1g", duration=asked.wan_duration, warmup=2)
        results["up1"] = peer.load("up", c=1, duration=asked.wan_duration)
        # Small requests on tunnels of their own while a bulk download runs: head-of-line blocking shows here.
        bulk = peer.load_command("down", c=1, path="/1g", duration=8, warmup=1)
        bulk = Process(bulk, peer.workshop.log("bulk"), peer.near_namespace)
        try:
            time.sleep(2.5)
            results["rr8_under_bulk"] = peer.load("rr", c=8, duration=5, warmup=0)
            bulk.child.wait(40)
        finally:
            bulk.stop()
    finally:
        peer.stop()
    return results
