#!/usr/bin/env python3
"""How long a start takes: from the exec of `fluidity-server` to its first answer over QUIC, and from there to an agent's tunnel.

The answer is that to a packet of a version that nobody speaks (RFC 9000, section 6): a Version Negotiation packet, which only an
endpoint that accepts connections sends. `--cpu 0.25` holds the server to a quarter of a core by cgroups, as a small task is.
"""
import argparse
import contextlib
import os
import pathlib
import select
import signal
import socket
import statistics
import sys
import time

import machine
import processes
import tunnel
from workshop import Workshop, say

# A reserved version (RFC 9000, section 15), connection ids of eight bytes, and the size of every first datagram.
QUESTION = (b"\xc0\x1a\x2a\x3a\x4a\x08fluidity\x08of-start").ljust(1200, b"\0")
EVERY = 0.0005
# In microseconds: what the kernel and container engines take where nothing is said.
PERIOD = 100_000
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh start", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for hidden in ("--programs", "--fluidity"):
        parser.add_argument(hidden, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=20, help="starts (20)")
    parser.add_argument("--cpu", type=float, help="cores that the server may use, such as 0.25; needs root and cgroups")
    return parser.parse_args()


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def quota(cpu):
    """A cgroup with so much CPU, which what is started under its prefix enters."""
    if not cpu:
        yield []
        return
    second = (CGROUPS / "cgroup.controllers").exists()
    group = CGROUPS / ("" if second else "cpu") / f"fluidity-bench-{os.getpid()}"
    limit = int(cpu * PERIOD)
    try:
        group.mkdir()
        if second:
            (group / "cpu.max").write_text(f"{limit} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(limit))
    except OSError as error:
        raise SystemExit(f"no cgroup with a CPU quota can be made here: {error}") from error
    try:
        yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        processes.wait_until(lambda: not (group / "cgroup.procs").read_text(), 10)
        group.rmdir()


def answered(server, port, began):
    """Seconds until the first answer."""
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.connect(("127.0.0.1", port))
    with asking:
        while time.monotonic() - began < 20 and server.process.alive():
            # Refused while nobody listens.
            with contextlib.suppress(ConnectionRefusedError):
                asking.send(QUESTION)
                if select.select([asking], [], [], EVERY)[0]:
                    answer = asking.recv(2048)
                    if answer[1:5] == b"\0\0\0\0":
                        return time.monotonic() - began
                    raise SystemExit(f"not a Version Negotiation packet: {answer[:32].hex()}")
            time.sleep(EVERY)
    raise SystemExit(f"the server does not answer: {server.process.last_words()}")


def soon(condition, daemon):
    """Waits in shorter steps than `processes.wait_until`: what is waited for is what is timed."""
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end or not daemon.process.alive():
            raise SystemExit(f"{daemon.name} does not start: {daemon.process.last_words()}")
        time.sleep(EVERY)


def one_start(workshop, identities, prefix):
    port = free_port()
    server = tunnel.server(workshop, identities, listen=f"127.0.0.1:{port}")
    server.command = [*prefix, *server.command]
    server.prepare()
    began = time.monotonic()
    server.launch()
    ready = answered(server, port, began)
    agent = tunnel.agent(workshop, identities, "start", f"127.0.0.1:{port}")
    agent.prepare()
    began = time.monotonic()
    agent.launch()
    soon(agent.ports_file.exists, agent)
    agent.await_ports()
    soon(lambda: tunnel.connected(agent), agent)
    connected = time.monotonic() - began
    used, resident = server.process.cpu_to_the_nanosecond(), server.process.memory()
    agent.stop()
    server.stop()
    return ready * 1000, connected * 1000, used * 1000, resident


def main():
    asked = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Workshop(asked.programs, asked.fluidity) as workshop, quota(asked.cpu) as prefix:
        identities = tunnel.Identities(workshop)
        try:
            starts = [one_start(workshop, identities, prefix) for _ in range(asked.repeats)]
        finally:
            processes.stop_all()
    say(machine.line(machine.describe()))
    size = (workshop.fluidity / "fluidity-server").stat().st_size / 1e6
    print(f"{asked.repeats} starts, {asked.cpu or machine.describe()['cores']} cores for the server, program of {size:.1f} MB"
          + (f", commit {asked.commit}" if asked.commit else "") + "\n")
    print("| What | median | least | most |", "|---|---|---|---|", sep="\n")
    names = ("server: exec to its first answer over QUIC, ms", "agent: exec to a tunnel, ms", "CPU of the server until then, ms",
             "resident memory of the server, MiB")
    for name, values in zip(names, zip(*starts)):
        print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f} |")


if __name__ == "__main__":
    main()
