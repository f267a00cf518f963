"""A long way between two network namespaces: delay, loss, a rate and a queue, made by loadgen's relay."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

from origin import Origin
from processes import Process, wait_until
from workshop import HERE, ORIGIN_PORT, SINK_PORT

NEAR, FAR = "fluidity-bench-a", "fluidity-bench-b"  # the agent's side, the server's
NEAR_ADDRESS, FAR_ADDRESS = "10.99.0.1", "10.99.0.2"
DEFAULT = "50,1,200,100"


def impossible():
    """Why there can be no emulated WAN here; nothing where there can be."""
    if os.geteuid() != 0:
        return "it makes network namespaces, which needs root"
    if not shutil.which("ip"):
        return "iproute2 is missing"
    if not pathlib.Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    return None


class Wan:
    """`delay,loss,rate,queue[,congestion]`: ms each way, % each way, Mbit/s, ms, TCP's congestion control."""

    def __init__(self, text, workshop):
        parts = text.split(",")
        if len(parts) not in (4, 5):
            raise SystemExit(f"--wan {text}: write DELAY_MS,LOSS_PERCENT,MBIT,QUEUE_MS[,TCP_CC]")
        self.delay, self.loss, self.rate, self.queue = map(float, parts[:4])
        self.congestion = parts[4] if len(parts) > 4 else None
        self.workshop, self.processes, self.origin = workshop, [], None
        self.label = (f"{self.delay:g} ms each way, {self.loss:g} % loss each way, {self.rate:g} Mbit/s, "
                      f"queue {self.queue:g} ms, TCP {self.congestion or 'as the system has it'}")

    def __enter__(self):
        self._remove()
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.origin:
            self.origin.stop()
        for process in self.processes:
            process.stop(1)
        self._remove()

    def _make(self):
        for namespace in (NEAR, FAR):
            ip("netns", "add", namespace)
            inside(namespace, "ip", "link", "set", "lo", "up")
            if self.congestion:
                inside(namespace, "sysctl", "-q", "-w", f"net.ipv4.tcp_congestion_control={self.congestion}")
        relay = [self.workshop.loadgen, "relay", "--ns-a", NEAR, "--ns-b", FAR, "--delay-ms", self.delay,
                 "--loss", self.loss, "--rate-mbit", self.rate, "--queue-ms", self.queue]
        relay = Process(relay, self.workshop.log("relay"))
        self.processes.append(relay)
        for namespace in (NEAR, FAR):
            shown = ["ip", "-n", namespace, "link", "show", "wan0"]
            if not wait_until(lambda: subprocess.run(shown, capture_output=True).returncode == 0, 5):
                raise RuntimeError(f"the emulated WAN did not start: {relay.last_words()}")
        for namespace, own, other in ((NEAR, NEAR_ADDRESS, FAR_ADDRESS), (FAR, FAR_ADDRESS, NEAR_ADDRESS)):
            inside(namespace, "ip", "addr", "add", own, "peer", other, "dev", "wan0")
            inside(namespace, "ip", "link", "set", "wan0", "up", "mtu", "1500", "txqueuelen", "20000")
        self.origin = Origin(self.workshop, FAR)
        # The row without a proxy reaches the origin through a plain forward at the far end.
        for port in (ORIGIN_PORT, SINK_PORT):
            forward = [sys.executable, HERE / "forward.py", FAR_ADDRESS, port, "127.0.0.1", port]
            self.processes.append(Process(forward, self.workshop.log("forward"), FAR))
        time.sleep(0.5)

    @staticmethod
    def _remove():
        for namespace in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def inside(namespace, *words):
    subprocess.run(["ip", "netns", "exec", namespace, *words], check=True)
