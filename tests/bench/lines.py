#!/usr/bin/env python3
"""Tunnels on twenty kinds of lines: goodput, small requests beside bulk, a share beside TCP, pages.

Needs root, and what scripts/bench.sh installs and builds. Standard library only. What each line and trial is: docs/performance.md.
"""
import argparse
import json
import os
import pathlib
import signal
import sys
import threading
import time

import lines_aims
import lines_pictures
import lines_report
import machine
import peers
import processes
import trials
import wan
from bench import names, turns
from line_peer import LinePeer
from path import Path, remove_left
from workshop import HERE, Workshop, say

DEFAULT_PEERS = ["fluidity", "sb-hy2", "sb-tuic", "tcp-cubic", "tcp-bbr"]


def options():
    table = json.loads((HERE / "lines.json").read_text())
    parser = argparse.ArgumentParser(prog="scripts/bench.sh lines", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fluidity", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
    parser.add_argument("--only", type=names, default=DEFAULT_PEERS, help=f"these peers, in this order ({','.join(DEFAULT_PEERS)})")
    parser.add_argument("--lines", type=names, metavar="NAMES", help=f"of {','.join(line['name'] for line in table['lines'])} (all)")
    parser.add_argument("--tests", type=names, default=list(trials.NAMES), help=f"of {','.join(trials.NAMES)} (all)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument("--duration", type=float, default=12.0, help="seconds of each transfer (12)")
    parser.add_argument("--share-duration", type=float, default=60.0, help="seconds beside a rival (60)")
    parser.add_argument("--interval", type=float, default=250.0, help="ms between small requests (250); slow lines have their own")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds until a request counts as unanswered (20)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N",
                        help="so many peers at the same time, each on a line of its own, where that has 50 Mbit/s or less (1)")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works, not to measure")
    parser.add_argument("--extra", action="append", default=[], metavar="FILE", help="further peers, written as in tests/bench/peers.json")
    parser.add_argument("--build", action="append", default=[], metavar="NAME=DIR", help="another build of Fluidity as a peer: before=DIR")
    parser.add_argument("--out", type=pathlib.Path, help="where results go (the cache directory's bench/results)")
    parser.add_argument("--pictures", type=pathlib.Path, help="where the SVGs go, docs/performance for example (as --out)")
    parser.add_argument("--read", type=names, metavar="JSON,…", help="measure nothing: one page and its pictures of what earlier runs saved")
    parser.add_argument("--keep", action="store_true", help="keep the run's directory, with the logs of every process")
    asked = parser.parse_args()
    if unknown := set(asked.tests) - set(trials.NAMES):
        parser.error(f"no such test: {', '.join(sorted(unknown))}")
    known = {line["name"]: line for line in table["lines"]}
    if unknown := set(asked.lines or ()) - set(known):
        parser.error(f"no such line: {', '.join(sorted(unknown))}")
    asked.lines = [known[name] for name in asked.lines or known]
    asked.lines = [line for line in asked.lines if set(line.get("tests", trials.BULK)) & set(asked.tests)]
    asked.more = table["peers"] + [build(parser, text) for text in asked.build]
    if asked.quick:
        asked.repeats, asked.duration, asked.share_duration = 1, 6.0, 15.0
    asked.out = asked.out or pathlib.Path(asked.programs) / "results"
    asked.pictures = asked.pictures or asked.out
    return asked


def build(parser, text):
    """Fluidity's entry, with the programs of another directory."""
    name, equals, directory = text.partition("=")
    if not equals or not os.access(pathlib.Path(directory) / "fluidity", os.X_OK):
        parser.error(f"--build {text}: write NAME=DIR, where DIR has fluidity and fluidity-server")
    entry = next(entry for entry in peers.described() if entry["name"] == "fluidity")
    text = json.dumps(entry).replace("@FLUIDITY@", str(pathlib.Path(directory).resolve()))
    return json.loads(text) | {"name": name, "family": "build", "kind": f"{entry['kind']}, another build", "configs": str(HERE / "configs" / "fluidity")}


class Matrix:
    """One run: every line, on it every peer in turns."""

    def __init__(self, asked, workshop):
        self.asked, self.workshop, self.broken = asked, workshop, []
        self.lock = threading.Lock()
        self.results = {
            "machine": machine.describe(), "repeats": asked.repeats, "duration": asked.duration,
            "share_duration": asked.share_duration, "interval_ms": asked.interval, "timeout_s": asked.timeout,
            "peers": {}, "lines": {}, "failed": [], "others_cpu_percent": [],
        }
        self.stem = asked.out / time.strftime("lines-%Y%m%d-%H%M%S")
        entries = peers.described(asked.only, asked.extra, asked.more)
        self.entries = peers.installed(entries, workshop, asked.commit, self.results)

    def run(self):
        for line in self.asked.lines:
            section = self.results["lines"][line["name"]] = {**line, "runs": {}}
            for number in range(self.asked.repeats):
                entries, some = turns(self.entries, number), self.asked.at_once if is_slow(line) else 1
                for first in range(0, len(entries), some):
                    self.results["others_cpu_percent"].append(machine.busy())
                    self.together(line, entries[first:first + some], number, section["runs"])

    def together(self, line, entries, number, runs):
        """Each in a thread that is left behind when the run is ended: what it waits for is stopped."""
        threads = [threading.Thread(target=self.one, args=(line, entry, number, runs.setdefault(entry["name"], [])), daemon=True)
                   for entry in entries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def one(self, line, entry, number, runs):
        """One peer on one line, once, on a path of its own. A peer that fails is a cell that says so, not the end of the run."""
        began, where = time.monotonic(), f"{line['name']}, round {number + 1}: {entry['name']}"
        try:
            with Path(line, self.workshop, seed=number + 1) as path:
                result = trials.run(LinePeer(entry, self.workshop, path), path, line, self.asked)
            with self.lock:
                runs.append(result)
            say(f"{where}: {lines_report.summary(result)} [{time.monotonic() - began:.0f} s]")
        except Exception as error:
            if processes.closing.is_set():
                return
            with self.lock:
                self.broken.append(where)
                runs.append({"failed": str(error)[:300]})
                self.results["failed"].append(f"{where}: {error}")
            say(f"{where}: FAILED: {error}")
        self.save()

    def save(self):
        """After every peer, so that a run that is cut leaves what it has."""
        with self.lock:
            self.asked.out.mkdir(parents=True, exist_ok=True)
            self.stem.with_suffix(".json").write_text(json.dumps(self.results, indent=1) + "\n")
            self.stem.with_suffix(".md").write_text(page(self.results))


def is_slow(line):
    """Whether several of its kind leave the machine room."""
    rates = [float(word.split("=")[1]) for word in line["set"].split() if word.split("=")[0].endswith("rate")]
    return bool(rates) and max(rates) <= 50


def page(results):
    """Figures, and what is missing of them."""
    return lines_report.markdown(results) + "\n".join([*lines_aims.markdown(results), ""])


def together(paths):
    """The results of several runs as those of one; each round counts."""
    first, *others = [json.loads(pathlib.Path(path).read_text()) for path in paths]
    for other in others:
        first["peers"] = other["peers"] | first["peers"]
        first["failed"] += other["failed"]
        first["others_cpu_percent"] += other["others_cpu_percent"]
        for name, line in other["lines"].items():
            runs = first["lines"].setdefault(name, {**line, "runs": {}})["runs"]
            for peer, some in line["runs"].items():
                runs[peer] = runs.get(peer, []) + some
    return first


def main():
    asked = options()
    if asked.read:
        results = together(asked.read)
        lines_pictures.draw(results, asked.pictures)
        print(page(results))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    if reason := wan.impossible():
        sys.exit(f"no emulated lines: {reason}")
    processes.raise_descriptor_limit()
    try:
        with Workshop(asked.programs, asked.fluidity, asked.keep) as workshop:
            try:
                workshop.certificates(wan.FAR_ADDRESS)
                matrix = Matrix(asked, workshop)
                matrix.run()
            finally:
                processes.closing.set()
                processes.stop_all()
                remove_left(own=True)
    except KeyboardInterrupt:
        sys.exit(130)
    lines_pictures.draw(matrix.results, asked.pictures)
    print(page(matrix.results))
    print(f"Saved: {matrix.stem}.json and {matrix.stem}.md")
    sys.exit(1 if matrix.broken else 0)


if __name__ == "__main__":
    os.umask(0o022)
    main()
