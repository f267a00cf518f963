#!/usr/bin/env python3
"""How cost grows: idle sessions, active sessions, and agents on one server. Time, memory and CPU at every point.

Each point has daemons of its own, so that none inherits what an earlier one made of the allocator.
"""
import argparse
import json
import pathlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cases
import chart
import machine
import origin
import processes
import tunnel
from workshop import ORIGIN_PORT, Workshop, say

POINTS = {
    "idle": (1, 10, 100, 300, 1000, 3000, 10_000),
    "active": (1, 3, 10, 30, 100, 300, 1000),
    "agents": (1, 3, 10, 30, 100, 200),
}
# Only beyond the defaults, which are 4,096 each, and only where it is needed, so that the other points show the defaults.
DEFAULT_SESSIONS = 4000
SERVER_LIMITS, AGENT_LIMITS = "limits: { sessions-per-agent: 16384 }", "limits: { clients: 20000 }"


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh scaling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fluidity", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=list(POINTS), action="append", help="one of the three; may be repeated")
    parser.add_argument("--most", type=int, default=10_000, help="no point beyond this (10000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a point is looked at (5)")
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes (the cache directory's bench/results)")
    parser.add_argument("--pictures", type=pathlib.Path, help="where the SVGs go, docs/performance for example (as --out)")
    parser.add_argument("--keep", action="store_true", help="keep the run's directory, with the logs of every process")
    asked = parser.parse_args()
    asked.out = asked.out or pathlib.Path(asked.programs) / "results"
    asked.pictures = asked.pictures or asked.out
    return asked


class Pair:
    """A server and an agent that is connected to it, for one point."""

    def __init__(self, workshop, identities, sessions):
        self.workshop = workshop
        of_server, of_agent = (SERVER_LIMITS, AGENT_LIMITS) if sessions > DEFAULT_SESSIONS else ("", "")
        self.server = tunnel.server(workshop, identities, limits=of_server).start()
        self.agent = tunnel.agent(workshop, identities, "scaling", self.server.ports["quic"], of_agent)
        self.agent.start()
        self.daemons = {"server": self.server, "agent": self.agent}
        if not processes.wait_until(lambda: tunnel.connected(self.agent), 20):
            raise RuntimeError(f"the agent does not connect: {self.agent.process.last_words()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.agent.stop()
        self.server.stop()

    def command(self, mode, **options):
        argv = [self.workshop.loadgen, mode, "--proxy", f"http://{self.agent.ports['proxy']}", "--target", f"127.0.0.1:{ORIGIN_PORT}"]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return [str(word) for word in argv]

    def spent(self):
        return {name: sum(daemon.process.cpu()) for name, daemon in self.daemons.items()}

    def memory(self, key="VmRSS"):
        return {name: daemon.process.memory(key) for name, daemon in self.daemons.items()}


def idle(workshop, identities, count, seconds):
    """So many sessions that are open, were used once, and are silent."""
    with Pair(workshop, identities, count) as pair:
        before, spent = pair.memory(), pair.spent()
        holder = processes.Process(pair.command("idle", c=count), workshop.log("idle"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            opened = cases.first_line(holder, 120) or {"open": 0, "errors": count, "secs": 0}
            point = {"open": opened["open"], "errors": opened["errors"], "open_s": opened["secs"]}
            for name, now in pair.spent().items():
                point[f"{name}_open_cpu_s"] = round(now - spent[name], 3)
            time.sleep(1)
            for name, percent in idle_cpu(pair.daemons, seconds).items():
                point[f"{name}_cpu_percent"] = percent
            for name, now in pair.memory().items():
                point[f"{name}_mib"] = round(now, 2)
                point[f"{name}_kib_each"] = round(1024 * (now - before[name]) / max(1, opened["open"]), 2)
        finally:
            holder.child.stdin.close()
            holder.stop(2)
        return point


def idle_cpu(daemons, seconds):
    """Percent of a core that each uses while nobody asks for anything."""
    spent, began = {name: daemon.process.cpu_to_the_nanosecond() for name, daemon in daemons.items()}, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {name: round(100 * (daemon.process.cpu_to_the_nanosecond() - spent[name]) / took, 3) for name, daemon in daemons.items()}


def active(workshop, identities, count, seconds):
    """So many sessions that each ask for a small answer as soon as they have one."""
    with Pair(workshop, identities, count) as pair:
        spent = pair.spent()
        done = subprocess.run(pair.command("rr", c=count, duration=seconds, warmup=1), capture_output=True, text=True, timeout=120)
        result = json.loads(done.stdout)
        point = {"errors": result["errors"], "rate": result["rate"], "p50_ms": result["lat_p50_ms"], "p99_ms": result["lat_p99_ms"]}
        requests = max(1.0, result["done"] * result["wall"] / result["secs"])
        for name, now in pair.spent().items():
            point[f"{name}_cpu_us_each"] = round((now - spent[name]) * 1e6 / requests, 2)
        for name, most in pair.memory("VmHWM").items():
            point[f"{name}_mib"] = round(most, 2)
        return point


def agents(workshop, identities, count, seconds):
    """So many agents on one server, each a process with an identity of its own."""
    server = tunnel.server(workshop, identities).start()
    crowd = [tunnel.agent(workshop, identities, f"a{number}", server.ports["quic"]) for number in range(count)]
    try:
        spent, began = sum(server.process.cpu()), time.monotonic()
        # All at once: their handshakes are what is timed, and some other work of 200 starting processes with them.
        for agent in crowd:
            agent.prepare()
            agent.launch()
        if not processes.wait_until(lambda: server.metrics()["fluidity_server_connections"] == count, 120):
            raise RuntimeError(f"only {server.metrics()['fluidity_server_connections']:.0f} agents are connected")
        point = {"connect_s": round(time.monotonic() - began, 3), "connect_cpu_s": round(sum(server.process.cpu()) - spent, 3)}
        time.sleep(1)
        point["server_cpu_percent"] = idle_cpu({"server": server}, seconds)["server"]
        point["server_mib"] = round(server.process.memory(), 2)
        for agent in crowd:
            agent.await_ports()
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda agent: first_request(workshop, agent), crowd))
        point["errors"] = sum(not result.get("done") for result in results)
        latencies = sorted(result["lat_p50_ms"] for result in results if result.get("done"))
        point["first_request_p50_ms"] = latencies[len(latencies) // 2] if latencies else None
        point["server_used_mib"] = round(server.process.memory(), 2)
        return point
    finally:
        for agent in crowd:
            if agent.process:
                agent.process.signal(signal.SIGTERM)
        for agent in crowd:
            agent.stop()
        server.stop()


def first_request(workshop, agent):
    command = [workshop.loadgen, "crr", "--proxy", f"http://{agent.ports['proxy']}", "--target", f"127.0.0.1:{ORIGIN_PORT}",
               "--c", "1", "--count", "1", "--duration", "10", "--warmup", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.stdout else {}


def pictures(result, directory):
    """One SVG for each of the three."""
    directory.mkdir(parents=True, exist_ok=True)
    subtitle = machine.line(result["machine"])

    def series(name, **keys):
        return {title.replace("_", " "): [(int(count), point.get(key)) for count, point in result.get(name, {}).items()]
                for title, key in keys.items()}

    drawn = {
        "idle": ("Idle sessions on one tunnel", "idle sessions", [
            ("Resident memory, MiB", series("idle", server="server_mib", agent="agent_mib")),
            ("CPU while idle, % of a core", series("idle", server="server_cpu_percent", agent="agent_cpu_percent")),
            ("Time to open them all, s", series("idle", **{"32 at a time": "open_s"})),
        ]),
        "active": ("Sessions that ask without a pause", "active sessions", [
            ("Requests per second", series("active", answered="rate")),
            ("Time to the answer, ms", series("active", p50="p50_ms", p99="p99_ms")),
            ("CPU of a request, µs", series("active", server="server_cpu_us_each", agent="agent_cpu_us_each")),
            ("Most resident memory, MiB", series("active", server="server_mib", agent="agent_mib")),
        ]),
        "agents": ("Agents on one server", "agents", [
            ("Server's resident memory, MiB", series("agents", idle="server_mib", **{"after a request each": "server_used_mib"})),
            ("Server's CPU while idle, % of a core", series("agents", server="server_cpu_percent")),
            ("Until all are connected, s", series("agents", **{"wall clock": "connect_s", "server's CPU": "connect_cpu_s"})),
        ]),
    }
    for name, (title, x_label, panels) in drawn.items():
        if result.get(name):
            (directory / f"scaling-{name}.svg").write_text(chart.svg(title, subtitle, x_label, panels))
            say(f"drawn: {directory / f'scaling-{name}.svg'}")


def main():
    asked = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.raise_descriptor_limit()
    result = {"machine": machine.describe(), "commit": asked.commit, "others_cpu_percent": machine.busy(2)}
    measures = {"idle": idle, "active": active, "agents": agents}
    with Workshop(asked.programs, asked.fluidity, asked.keep) as workshop:
        try:
            workshop.make("127.0.0.1")
            source = origin.Origin(workshop)
            identities = tunnel.Identities(workshop)
            for name in asked.only or POINTS:
                result[name] = {}
                for count in (count for count in POINTS[name] if count <= asked.most):
                    point = measures[name](workshop, identities, count, asked.seconds)
                    result[name][count] = point
                    say(f"{name} {count}: {point}")
            source.stop()
        finally:
            processes.stop_all()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / time.strftime("scaling-%Y%m%d-%H%M%S.json")
    path.write_text(json.dumps(result, indent=1) + "\n")
    pictures(result, asked.pictures)
    print(f"Saved: {path}")
    sys.exit(1 if any(point["errors"] for name in POINTS for point in result.get(name, {}).values()) else 0)


if __name__ == "__main__":
    main()
