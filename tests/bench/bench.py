#!/usr/bin/env python3
"""Tunnels side by side on one machine: the same work, in turns, medians with the least and the most.

Needs what scripts/bench.sh installs and builds. Standard library only.
"""
import argparse
import json
import os
import pathlib
import signal
import sys
import time

import cases
import machine
import origin
import peers
import processes
import report
import wan
from workshop import ORIGIN_PORT, ORIGIN_TLS_PORT, SINK_PORT, Workshop, free, say


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fluidity", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="start each peer, one request each, stop: on loopback and, as root, across the WAN")
    parser.add_argument("--quick", action="store_true", help="one round of one second a test: to see that it works, not to measure")
    parser.add_argument("--only", type=names, help="these peers, in this order: direct,fluidity,ombrac")
    parser.add_argument("--tests", type=names, default=list(cases.NAMES), help=f"of {','.join(cases.NAMES)}")
    parser.add_argument("--repeats", type=int, default=3, help="rounds on loopback (3)")
    parser.add_argument("--duration", type=float, default=4.0, help="seconds a test (4)")
    parser.add_argument("--idle", type=int, default=1000, help="idle tunnels whose memory is measured (1000; 0 for none)")
    parser.add_argument("--no-lan", action="store_true", help="not on loopback")
    parser.add_argument("--wan", action="append", nargs="?", const=wan.DEFAULT, metavar="DELAY,LOSS,MBIT,QUEUE[,CC]",
                        help=f"also across an emulated WAN, as root: ms and %% each way, Mbit/s, ms ({wan.DEFAULT}); may be repeated")
    parser.add_argument("--wan-repeats", type=int, default=3, help="rounds across the WAN (3)")
    parser.add_argument("--wan-duration", type=float, default=10.0, help="seconds of bulk across the WAN (10)")
    parser.add_argument("--wan-count", type=int, default=20, help="new tunnels timed across the WAN (20)")
    parser.add_argument("--extra", action="append", default=[], metavar="FILE", help="further peers, written as in tests/bench/peers.json")
    parser.add_argument("--out", type=pathlib.Path, help="where results go (the cache directory's bench/results)")
    parser.add_argument("--keep", action="store_true", help="keep the run's directory, with the logs of every process")
    asked = parser.parse_args()
    if unknown := set(asked.tests) - set(cases.NAMES):
        parser.error(f"no such test: {', '.join(sorted(unknown))}")
    if asked.quick:
        asked.repeats, asked.duration, asked.idle = 1, 1.0, min(asked.idle, 100)
        asked.wan_repeats, asked.wan_duration, asked.wan_count = 1, 3.0, 5
    asked.out = asked.out or pathlib.Path(asked.programs) / "results"
    return asked


def names(text):
    return [name for name in text.split(",") if name]


class Benchmark:
    """One run over all peers."""

    def __init__(self, asked, workshop):
        self.asked, self.workshop = asked, workshop
        self.broken = []
        self.results = {
            "machine": machine.describe(), "repeats": asked.repeats, "duration": asked.duration,
            "wan_repeats": asked.wan_repeats, "wan_duration": asked.wan_duration, "idle_tunnels": asked.idle,
            "peers": {}, "loopback": {}, "wan": [], "failed": [], "others_cpu_percent": [],
        }
        self.stem = asked.out / time.strftime("bench-%Y%m%d-%H%M%S")
        self.entries = peers.installed(peers.described(asked.only, asked.extra), workshop, asked.commit, self.results)

    def loopback(self):
        free([ORIGIN_PORT, ORIGIN_TLS_PORT, SINK_PORT])
        free(port for entry in self.entries for port in peers.Peer(entry, self.workshop).ports())
        source = origin.Origin(self.workshop)
        try:
            rounds = 1 if self.asked.check else self.asked.repeats
            for number in range(rounds):
                for entry in turns(self.entries, number):
                    runs = self.results["loopback"].setdefault(entry["name"], [])
                    self.one(f"loopback, round {number + 1}", peers.Peer(entry, self.workshop), cases.loopback, runs)
        finally:
            source.stop()

    def far(self, text):
        with wan.Wan(text, self.workshop) as way:
            section = {"label": way.label, "config": text, "runs": {}}
            if not self.asked.check:
                self.results["wan"].append(section)
            # A proxy that is no tunnel has no far side.
            entries = [entry for entry in self.entries if entry.get("server") or entry["proxy"] == "direct"]
            for number in range(1 if self.asked.check else self.asked.wan_repeats):
                for entry in turns(entries, number):
                    runs = section["runs"].setdefault(entry["name"], [])
                    self.one(f"WAN, round {number + 1}", peers.Peer(entry, self.workshop, far=True), cases.far, runs)

    def one(self, where, peer, measure, runs):
        """One peer, once. A peer that fails is a row that fails, not the end of the run."""
        began = time.monotonic()
        try:
            if self.asked.check:
                peer.start()
                say(f"{peer.name}: ok ({where.partition(',')[0]})")
                return
            self.results["others_cpu_percent"].append(machine.busy())
            run = measure(peer, self.asked)
            runs.append(run)
            say(f"{where}: {peer.name}: {summary(run)} [{time.monotonic() - began:.0f} s]")
        except Exception as error:
            self.broken.append(peer.name)
            self.results["failed"].append(f"{peer.name}, {where}: {error}")
            say(f"{where}: {peer.name}: FAILED: {error}")
        finally:
            peer.stop()
            self.save()

    def save(self):
        """After every peer, so that a run that is cut leaves what it has."""
        if self.asked.check:
            return
        self.asked.out.mkdir(parents=True, exist_ok=True)
        self.results["loopback"] = {name: self.results["loopback"][name] for name in self.results["peers"] if name in self.results["loopback"]}
        self.stem.with_suffix(".json").write_text(json.dumps(self.results, indent=1) + "\n")
        self.stem.with_suffix(".md").write_text(report.markdown(self.results))


def turns(entries, number):
    """Each round begins with another peer, so that nobody always comes first on a cold machine."""
    first = number % max(1, len(entries))
    return entries[first:] + entries[:first]


def summary(run):
    told = []
    for name, case in run.items():
        if isinstance(case, dict) and "errors" in case:
            value = case.get("kib_per_tunnel") or case.get("MBps") or case.get("rate") or "-"
            told.append(f"{name}={value}" + (f" ({case['errors']} errors: {case.get('first_error')})" if case["errors"] else ""))
    return " ".join(told)


def main():
    asked = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.raise_descriptor_limit()
    ways = asked.wan or ([wan.DEFAULT] if asked.check else [])
    if ways and (reason := wan.impossible()):
        if not asked.check or asked.wan:
            sys.exit(f"no emulated WAN: {reason}")
        say(f"SKIPPED: the emulated WAN: {reason}")
        ways = []
    try:
        with Workshop(asked.programs, asked.fluidity, asked.keep) as workshop:
            try:
                workshop.make(wan.FAR_ADDRESS)
                run = Benchmark(asked, workshop)
                if not asked.no_lan:
                    run.loopback()
                for way in ways:
                    run.far(way)
            finally:
                processes.stop_all()
    except KeyboardInterrupt:
        sys.exit(130)
    if asked.check:
        absent = [line for line in run.results["failed"] if "not installed" in line]
        say(f"{len(run.entries)} peers checked, {len(set(run.broken))} failed, {len(absent)} not installed")
    else:
        print(report.markdown(run.results))
        print(f"Saved: {run.stem}.json and {run.stem}.md")
    sys.exit(1 if run.broken else 0)


if __name__ == "__main__":
    os.umask(0o022)
    main()
