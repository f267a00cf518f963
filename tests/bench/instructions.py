#!/usr/bin/env python3
"""How many instructions a session's open and a relayed MiB take, by callgrind: figures that do not depend on the machine's load.

Both ends of a tunnel and both sockets run in one process on one thread (wire/benches/tunnel.rs). Each count is the difference
between a long run and a short one, so that the start, the handshake and slow start are not in it. The kernel's part is not
counted. The crypto is not the machine's best: valgrind knows no AVX-512.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

# What is counted: the unit, the runs' lengths, and for how many units a run makes.
COUNTED = {"open": ("session opened, a byte each way, ended", 200, 1200), "relay": ("MiB relayed from the origin to the client", 16, 80)}
REFS = re.compile(r"Collected\s*:\s*(\d+)")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh instructions", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for hidden in ("--programs", "--fluidity", "--commit"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each length (3)")
    parser.add_argument("--functions", type=int, metavar="N", help="also the N functions that take the most")
    asked = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    program = build()
    print("| What | Instructions | least | most |", "|---|---|---|---|", sep="\n")
    for what, (unit, short, long) in COUNTED.items():
        counts = [(count(program, what, long) - count(program, what, short)) / (long - short) for _ in range(asked.repeats)]
        middle = statistics.median(counts)
        print(f"| {unit} | {middle:,.0f} | {min(counts):,.0f} | {max(counts):,.0f} |", flush=True)
        if asked.functions:
            print(functions(program, what, long, asked.functions))


def build():
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = os.environ | {"CARGO_PROFILE_BENCH_DEBUG": "1", "CARGO_PROFILE_BENCH_STRIP": "none"}
    built = subprocess.run(["cargo", "bench", "--locked", "-p", "fluidity-wire", "--bench", "tunnel", "--no-run",
                            "--message-format", "json"], cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(message["executable"] for message in messages
                if message.get("executable") and message["target"]["name"] == "tunnel")


def callgrind(program, what, length, file):
    run = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", program, what, str(length)],
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = REFS.search(run.stderr)
    if run.returncode or not found:
        sys.exit(f"callgrind failed: {run.stderr[-500:]}")
    return int(found.group(1))


def count(program, what, length):
    return callgrind(program, what, length, os.devnull)


def functions(program, what, length, most):
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "out"
        callgrind(program, what, length, file)
        told = subprocess.run(["callgrind_annotate", file], check=True, capture_output=True, text=True).stdout
    lines = [line for line in told.splitlines() if re.match(r"\s*[\d,]+ \(", line) and "PROGRAM TOTALS" not in line]
    return "\n".join(["", "```text", *(line[:160] for line in lines[:most]), "```", ""])


if __name__ == "__main__":
    main()
