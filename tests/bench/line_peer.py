"""A peer on an emulated line, and netsim's clients through it."""
import json
import subprocess

from path import CONGESTION_PORTS, TLS_PORT
from peers import Peer
from processes import Process
from wan import FAR_ADDRESS
from workshop import ORIGIN_PORT


class LinePeer(Peer):
    """A tunnel between the ends of a line, or plain TCP from one to the other."""

    def __init__(self, entry, workshop, path=None):
        super().__init__(entry, workshop, far=True)
        if path:
            self.near_namespace, self.far_namespace = path.near, path.far
        self.congestion, self.count = entry.get("congestion"), 0

    def target(self, host="127.0.0.1", port=ORIGIN_PORT):
        """Where a client asks to go: the far side's loopback, or its address where there is no tunnel."""
        if self.proxy == "direct":
            return f"{FAR_ADDRESS}:{CONGESTION_PORTS.get(self.congestion, port)}"
        return f"{host}:{port}"

    def client(self, mode, target=None, **options):
        """Starts one of netsim's clients."""
        self.count += 1
        argv = [self.workshop.netsim, mode, "--proxy", self.proxy, "--target", target or self.target()]
        if self.congestion:
            argv += ["--congestion", self.congestion]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return Client(argv, self.workshop.log(f"{self.name}-{mode}-{self.count}"), self.near_namespace)

    def rival(self, congestion, **options):
        """A plain TCP download beside the peer."""
        self.count += 1
        argv = [self.workshop.netsim, "down", "--target", f"{FAR_ADDRESS}:{CONGESTION_PORTS[congestion]}", "--congestion", congestion]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return Client(argv, self.workshop.log(f"{self.name}-rival-{self.count}"), self.near_namespace)

    def page(self, number, **options):
        """Loads the model page; the same number is the same thirteen hosts."""
        distinct = 0 if self.proxy == "direct" else 1
        target = self.target(f"127.1.{number}.1", TLS_PORT)
        return self.client("page", target, distinct=distinct, **options)

    def first_answer(self):
        client = self.client("small", interval=100000, duration=0.01, timeout=5)
        try:
            client.wait(8)
            answers = client.said()
        finally:
            client.stop(1)
        if answers and "error" not in answers[0]:
            return {"done": 1}
        return {"first_error": answers[0]["error"] if answers else client.last_words()}


class Client(Process):
    """Prints JSON lines into its log."""

    def __init__(self, argv, log, namespace):
        log.unlink(missing_ok=True)
        super().__init__(argv, log, namespace)

    def said(self):
        """What it has printed so far."""
        objects = []
        with self.log.open(errors="replace") as log:
            for line in log:
                try:
                    objects.append(json.loads(line))
                except ValueError:
                    if line.endswith("\n"):
                        objects.append({"error": line.strip()})
        return objects

    def wait(self, seconds):
        """Whether it ended by itself in time."""
        try:
            self.child.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def points(self):
        """[(time, bytes so far)]."""
        return [(one["t"], one["bytes"]) for one in self.said() if "bytes" in one]

    def end(self):
        """How it ended; nothing while it runs."""
        said = self.said()
        if said and "end" in said[-1]:
            return said[-1]["end"]
        return next((one["error"] for one in said if "error" in one), None)
