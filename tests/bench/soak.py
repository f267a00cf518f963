#!/usr/bin/env python3
"""Mixed load for a long time: is memory flat, is every descriptor given back, does no session stay?

Two servers. The first is never restarted; a steady agent carries bulk, small requests, WebSockets, idle tunnels and
aborts to it, and another agent is killed and started over and over. The second server is killed and stopped over and over,
under the load of a third agent, which has to come back each time.
"""
import argparse
import contextlib
import csv
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import machine
import origin
import processes
import tunnel
from soak_load import Load
from workshop import Workshop, say

# What may be left of growth between the first and the last third of the time after the warm-up.
GROWTH_MIB, GROWTH_PART = 4.0, 0.05
# Sockets that a daemon may have more at the end than at the start: a name server's, a tunnel on its way out.
DESCRIPTORS = 2
# How long the load goes on before it rests for a sample.
REST_EVERY = 120.0
# How long daemons that nobody uses are left alone before a sample: they look every 5 s whether memory can be given back.
REST = 12.0
ACTIVE = {"fluidity-server": "fluidity_server_sessions", "fluidity": "fluidity_agent_sessions_active"}


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh soak", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fluidity", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples (10)")
    parser.add_argument("--out", type=pathlib.Path, help="where results go (the cache directory's bench/results)")
    parser.add_argument("--keep", action="store_true", help="keep the run's directory, with the logs of every process")
    asked = parser.parse_args()
    asked.out = asked.out or pathlib.Path(asked.programs) / "results"
    return asked


class Soak:
    """The daemons, and what was seen of those that live from the start to the end."""

    def __init__(self, workshop):
        identities = tunnel.Identities(workshop)
        self.server = tunnel.server(workshop, identities, "server").start()
        self.restarted = tunnel.server(workshop, identities, "server-restarted").start()
        self.restarted.settings[0] = f"listen: {self.restarted.ports['quic']}"
        first, second = self.server.ports["quic"], self.restarted.ports["quic"]
        self.steady = tunnel.agent(workshop, identities, "steady", first).start()
        self.killed = tunnel.agent(workshop, identities, "killed", first).start()
        self.returning = tunnel.agent(workshop, identities, "returning", second).start()
        for agent in (self.steady, self.killed, self.returning):
            if not processes.wait_until(lambda agent=agent: tunnel.connected(agent), 20):
                raise RuntimeError(f"{agent.name} does not connect: {agent.process.last_words()}")
        self.watched = {"server": self.server, "steady agent": self.steady, "returning agent": self.returning}
        self.everyone = [*self.watched.values(), self.restarted, self.killed]
        self.samples = []
        self.began = time.monotonic()

    def sample(self, state):
        """One row; it is kept."""
        row = {"seconds": round(time.monotonic() - self.began, 1), "state": state}
        for name, daemon in self.watched.items():
            metrics = daemon.metrics()
            seen = daemon.cost() | {"sessions": int(metrics[active(daemon)])}
            if daemon is self.server:
                seen["connections"] = int(metrics["fluidity_server_connections"])
            else:
                seen["clients"] = int(metrics["fluidity_agent_clients"])
                seen["reconnects"] = int(metrics["fluidity_agent_reconnects_total"])
            row |= {f"{name} {what}": value for what, value in seen.items()}
        self.samples.append(row)
        return row

    def restart_server(self, number):
        """Killed and stopped in turn; it comes back where it was."""
        self.restarted.process.signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
        self.restarted.stop()
        self.restarted.start()

    def kill_agent(self, _):
        self.killed.process.signal(signal.SIGKILL)
        self.killed.stop()
        self.killed.start()

    def quiet(self):
        """Whether no client is there any more. Agents keep some sessions of plain HTTP for the next client, for a while."""
        agents = (self.steady, self.returning, self.killed)
        return all(agent.metrics()["fluidity_agent_clients"] == 0 for agent in agents)

    def left(self):
        """Where sessions stay that nobody has any more: each daemon's own account, and every socket of this machine."""
        told = {}
        # The soak's own result counts, whatever cannot be had of this.
        with contextlib.suppress(OSError):
            sockets = ["ss", "--tcp", "--numeric", "--processes", "--options", "--extended"]
            told["sockets"] = subprocess.run(sockets, capture_output=True, text=True).stdout.splitlines()
            told["status"] = {daemon.name: json.loads(daemon.page("/api/status")) for daemon in self.everyone}
        return told

    def settled(self):
        """Whether nobody has a session any more."""
        return all(daemon.metrics()[active(daemon)] == 0 for daemon in self.everyone)


def active(daemon):
    return ACTIVE[daemon.command[0].name]


def run(asked, workshop):
    workshop.make("127.0.0.1")
    source = origin.Origin(workshop)
    soak = Soak(workshop)
    load = Load(workshop, {daemon.name: daemon for daemon in soak.everyone})
    # The baseline is that of daemons which have worked once: lazily made things are made.
    load.touch([soak.steady, soak.killed, soak.returning])
    if not processes.wait_until(soak.settled, 20):
        raise RuntimeError("sessions of the first requests stay")
    baseline = soak.sample("start")
    say(f"baseline: {baseline}")
    load.steady(soak.steady)
    load.returning(soak.returning, soak.restart_server)
    load.killed(soak.killed, soak.kill_agent)
    end = soak.began + 60 * asked.minutes
    rest_at = soak.began + REST_EVERY
    while time.monotonic() < end and load.alive():
        time.sleep(min(asked.every, max(0.0, end - time.monotonic())))
        tell(soak, soak.sample("load"))
        if time.monotonic() > rest_at:
            load.rest()
            # A restart may be under way, which nobody answers for.
            with contextlib.suppress(OSError):
                processes.wait_until(soak.quiet, 30)
            time.sleep(REST)
            tell(soak, soak.sample("rest"))
            load.resume()
            rest_at = time.monotonic() + REST_EVERY
    load.stop()
    left = {} if processes.wait_until(soak.settled, 120) else soak.left()
    # Connections that were closed a moment ago leave the tables of the kernel and of the daemons.
    processes.wait_until(lambda: given_back(soak.sample("end"), baseline, soak.watched), 30)
    source.stop()
    return verdict(soak, load, baseline, asked) | {"left": left}


def tell(soak, row):
    say(row["state"], " ".join(f"{name}: {row[f'{name} rss_mib']:.1f} MiB, {row[f'{name} descriptors']} fd, "
                               f"{row[f'{name} sessions']} sessions;" for name in soak.watched))


def given_back(row, baseline, names):
    return all(row[f"{name} descriptors"] <= baseline[f"{name} descriptors"] + DESCRIPTORS for name in names)


def verdict(soak, load, baseline, asked):
    """Everything that was seen, and what it means."""
    last, checks = soak.samples[-1], []
    warm = [row for row in soak.samples if row["seconds"] > min(0.2 * 60 * asked.minutes, 300)]
    # Under load, memory is what the moment needs. At rest, what stays.
    state = "rest" if sum(row["state"] == "rest" for row in warm) >= 3 else "load"
    warm = [row for row in warm if row["state"] == state]
    third = max(1, len(warm) // 3)
    memory = {}
    for name in soak.watched:
        early = statistics.median(row[f"{name} rss_mib"] for row in warm[:third])
        late = statistics.median(row[f"{name} rss_mib"] for row in warm[-third:])
        memory[name] = {"baseline": baseline[f"{name} rss_mib"], "first_third": early, "last_third": late,
                        "most": max(row[f"{name} rss_mib"] for row in soak.samples), "end": last[f"{name} rss_mib"]}
        allowed = max(GROWTH_MIB, GROWTH_PART * early)
        checks.append((f"{name}: memory flat", late - early <= allowed, f"{early:.1f} -> {late:.1f} MiB (at most {allowed:.1f} more)"))
        before, after = baseline[f"{name} descriptors"], last[f"{name} descriptors"]
        checks.append((f"{name}: descriptors given back", after <= before + DESCRIPTORS, f"{before} -> {after}"))
        checks.append((f"{name}: threads", last[f"{name} threads"] <= baseline[f"{name} threads"] + 1,
                       f"{baseline[f'{name} threads']} -> {last[f'{name} threads']}"))
    for daemon in soak.everyone:
        count = int(daemon.metrics()[active(daemon)])
        checks.append((f"{daemon.name}: no session left", count == 0, str(count)))
    checks.append(("nothing went wrong that was not meant to", not load.unexpected,
                   f"{len(load.unexpected)} errors" + (f", the first: {load.unexpected[0]}" if load.unexpected else "")))
    checks.append(("every load did something", not load.silent(), ", ".join(load.silent()) or "yes"))
    return {
        "machine": machine.describe(), "commit": asked.commit, "minutes": asked.minutes, "compared": state, "memory": memory, "load": load.counts,
        "checks": [{"what": what, "good": good, "seen": seen} for what, good, seen in checks], "unexpected": load.unexpected[:50],
        "samples": soak.samples,
    }


def markdown(result):
    memory, counts = result["memory"], result["load"]
    good = all(check["good"] for check in result["checks"])
    return "\n".join([
        f"# Soak: {result['minutes']:g} minutes, {'passed' if good else 'FAILED'}", "",
        f"Machine: {machine.line(result['machine'])}. Commit {result['commit'] or 'unknown'}.", "",
        "Memory is compared at rest, with no client there." if result["compared"] == "rest" else
        "**Too short to compare memory at rest: under load it is compared, which says little.**", "",
        "| Resident memory, MiB | at the start | first third | last third | most | at the end, idle |", "|---|---|---|---|---|---|",
        *(f"| {name} | {seen['baseline']:.1f} | {seen['first_third']:.1f} | {seen['last_third']:.1f} | {seen['most']:.1f} "
          f"| {seen['end']:.1f} |" for name, seen in memory.items()), "",
        "| Checked | | Seen |", "|---|---|---|",
        *(f"| {check['what']} | {'good' if check['good'] else '**BAD**'} | {check['seen']} |" for check in result["checks"]), "",
        "| Load | |", "|---|---|", *(f"| {what} | {count:,.0f} |" for what, count in sorted(counts.items())), "",
    ])


def save(result, directory):
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / time.strftime("soak-%Y%m%d-%H%M%S")
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(result))
    with stem.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, result["samples"][0].keys())
        table.writeheader()
        table.writerows(result["samples"])
    return stem


def main():
    asked = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.raise_descriptor_limit()
    with Workshop(asked.programs, asked.fluidity, asked.keep) as workshop:
        try:
            result = run(asked, workshop)
        finally:
            processes.stop_all()
    stem = save(result, asked.out)
    print(markdown(result))
    print(f"Saved: {stem}.json, .csv and .md")
    sys.exit(0 if all(check["good"] for check in result["checks"]) else 1)


if __name__ == "__main__":
    main()
