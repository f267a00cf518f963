"""An emulated line between two network namespaces, an origin at its far end, and its control socket: tests/netsim."""
import itertools
import json
import os
import pathlib
import socket
import subprocess

from processes import Process, wait_until
from wan import FAR_ADDRESS, NEAR_ADDRESS, inside, ip
from workshop import ORIGIN_PORT

TLS_PORT = 443
# The origin's end of a plain TCP connection has the congestion control of its port.
PREFIX = "fluidity-lines-"
CONGESTION_PORTS = {"cubic": 18082, "bbr": 18083}


numbers = itertools.count(1)


class Path:
    """A line of lines.json, from `with` to its end. The same seed loses the same packets."""

    def __init__(self, line, workshop, seed):
        self.line, self.workshop, self.seed = line, workshop, seed
        self.processes, self.socket = [], None
        # The agent's side, the server's.
        self.number = next(numbers)
        self.near, self.far = (f"{PREFIX}{os.getpid()}-{self.number}-{side}" for side in "ab")
        self.control, self.own = (workshop.work / f"{name}-{self.number}" for name in ("control", "answers"))

    def __enter__(self):
        remove_left()
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stop(1)
        if self.socket:
            self.socket.close()
        for left in (self.control, self.own):
            left.unlink(missing_ok=True)
        remove(self.near, self.far)

    def _make(self):
        for namespace in (self.near, self.far):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        # Ahead of what it carries: on a full machine the line must not become another one.
        path = Process(["nice", "-n", "-10", self.workshop.netsim, "path", "--ns-a", self.near, "--ns-b", self.far, "--control", self.control,
                        "--set", self.line["set"], "--seed", self.seed], self.workshop.log(f"path-{self.number}"))
        self.processes.append(path)
        if not wait_until(lambda: self.control.exists() or not path.alive(), 10) or not path.alive():
            raise RuntimeError(f"the emulated line did not start: {path.last_words()}")
        for namespace, own, other in ((self.near, NEAR_ADDRESS, FAR_ADDRESS), (self.far, FAR_ADDRESS, NEAR_ADDRESS)):
            ip("-n", namespace, "addr", "add", own, "peer", other, "dev", "wan0")
            ip("-n", namespace, "link", "set", "wan0", "up", "mtu", "1500", "txqueuelen", "20000")
        # What a NAT on the line makes of the near side's address.
        ip("-n", self.far, "route", "add", "10.98.0.0/16", "dev", "wan0")
        for namespace in (self.near, self.far):
            # Plain TCP would begin with what it learned in the trial before.
            inside(namespace, "sysctl", "-q", "-w", "net.ipv4.tcp_no_metrics_save=1")
        places = [f"0.0.0.0:{ORIGIN_PORT}", f"0.0.0.0:{TLS_PORT}"]
        places += [f"0.0.0.0:{port}={name}" for name, port in CONGESTION_PORTS.items()]
        self.origin_log = self.workshop.log(f"origin-{self.number}")
        origin = Process([self.workshop.netsim, "origin", "--listen", ",".join(places)], self.origin_log, self.far)
        self.processes.append(origin)
        if not wait_until(lambda: "ready" in self.origin_log.read_text() or not origin.alive(), 10) or not origin.alive():
            raise RuntimeError(f"the origin did not start: {origin.last_words()}")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.own))
        self.socket.settimeout(5)

    def say(self, words):
        """Changes the line."""
        self.socket.sendto(words.encode(), str(self.control))
        answer = self.socket.recv(4096).decode()
        if answer.startswith("error"):
            raise RuntimeError(f"{words}: {answer}")
        return answer

    def stats(self):
        """What both directions counted since the last time."""
        return json.loads(self.say("stats"))

    def uploaded(self, name):
        """How far an upload came at the origin: [(time, bytes)]."""
        with self.origin_log.open() as log:
            said = [json.loads(line) for line in log if f'"{name}"' in line and line.endswith("}\n")]
        return [(point["t"], point["bytes"]) for point in said]


def remove(*namespaces):
    for namespace in namespaces:
        subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)


def remove_left(own=False):
    """Namespaces of runs that were killed, or of this one when it ends."""
    place = pathlib.Path("/var/run/netns")
    for found in place.glob(f"{PREFIX}*") if place.is_dir() else ():
        process = found.name.removeprefix(PREFIX).split("-")[0]
        if own if process == str(os.getpid()) else not pathlib.Path("/proc", process).exists():
            remove(found.name)
