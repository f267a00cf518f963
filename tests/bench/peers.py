"""A peer: a tunnel (client side and server side), a proxy, or nothing at all, and load on it."""
import json
import os
import pathlib
import re
import shlex
import subprocess
import time

from processes import Process, wait_for_port
from wan import FAR, FAR_ADDRESS, NEAR
from workshop import HERE, ORIGIN_PORT, SINK_PORT, fill, say

PROXY_PORTS, SERVER_PORTS = 21000, 22000


def described(only=None, extra=(), more=()):
    """The entries of peers.json, further ones and those of files of its kind, in the order in which they were asked for."""
    entries = json.loads((HERE / "peers.json").read_text())["peers"] + list(more)
    for path in extra:
        more = json.loads(pathlib.Path(path).read_text())
        entries += more["peers"] if "peers" in more else [more]
    for index, entry in enumerate(entries):
        entry["index"] = index
    if not only:
        return entries
    known = {entry["name"]: entry for entry in entries}
    if unknown := [name for name in only if name not in known]:
        raise SystemExit(f"no such peer: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in only]


def installed(entries, workshop, commit, results):
    """Those of the entries whose programs are there; `results` gets their versions, and what is left out."""
    there = []
    for entry in entries:
        peer = Peer(entry, workshop)
        if lacking := peer.lacking():
            results["failed"].append(f"{peer.name}: not installed ({lacking})")
            say(f"{peer.name}: left out, {lacking} is not installed")
            continue
        version = peer.version()
        if entry["family"] == "ours" and commit:
            version = f"{version} ({commit})"
        results["peers"][peer.name] = {"family": entry["family"], "kind": entry["kind"], "version": version}
        there.append(entry)
    return there


class Peer:
    """One entry, on loopback or across the emulated WAN."""

    def __init__(self, entry, workshop, far=False):
        self.entry, self.name, self.workshop = entry, entry["name"], workshop
        self.near_namespace, self.far_namespace = (NEAR, FAR) if far else (None, None)
        self.directory = workshop.work / self.name
        self.processes = {}
        server = FAR_ADDRESS if far else "127.0.0.1"
        certs = workshop.certs
        self.values = {
            "BIN": workshop.bin, "CARGO": workshop.cargo, "FLUIDITY": workshop.fluidity,
            "CONF": self.directory, "WORK": self.directory,
            "CERT": certs / "server.pem", "KEY": certs / "server.key", "CA": certs / "ca.pem",
            "CCERT": certs / "client.pem", "CKEY": certs / "client.key",
            "PROXY_PORT": PROXY_PORTS + entry["index"], "SERVER_PORT": SERVER_PORTS + entry["index"],
            "SERVER_IP": server, "BIND_IP": server,
        }
        self.proxy = fill(entry["proxy"], self.values)

    def ports(self):
        return [self.values["PROXY_PORT"], self.values["SERVER_PORT"]]

    def lacking(self):
        """The program that is not there; nothing where all are."""
        for side in ("server", "client"):
            if command := self.entry.get(side):
                program = shlex.split(fill(command, self.values))[0]
                if not os.access(program, os.X_OK):
                    return pathlib.Path(program).name
        return None

    def version(self):
        if not (command := self.entry.get("version")):
            return "-"
        said = subprocess.run(shlex.split(fill(command, self.values)), capture_output=True, text=True)
        found = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
        return found.group() if found else "?"

    def start(self):
        """Until a first request has come through. A second attempt is given: some peers now and then hang at first."""
        try:
            self._start()
        except RuntimeError as error:
            say(f"{self.name}: starting once more: {error}")
            self.stop()
            self._start()

    def _start(self):
        self._configure()
        if command := self.entry.get("server"):
            server = self._process("server", command, self.far_namespace)
            if self.entry.get("server_tcp"):
                wait_for_port((self.values["SERVER_IP"], self.values["SERVER_PORT"]), server, self.far_namespace)
            else:
                time.sleep(0.7)
        if command := self.entry.get("client"):
            client = self._process("client", command, self.near_namespace)
            wait_for_port(("127.0.0.1", self.values["PROXY_PORT"]), client, self.near_namespace)
            time.sleep(0.5)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            answer = self.first_answer()
            if answer.get("done"):
                return
            time.sleep(0.3)
        words = "; ".join(f"{side}: {process.last_words()}" for side, process in self.processes.items())
        raise RuntimeError(f"no request came through: {answer.get('first_error')}; {words}")

    def first_answer(self):
        """One request; `done` where it was answered."""
        return self.load("crr", c=1, duration=2, warmup=0, count=1, late=1)

    def _configure(self):
        self.directory.mkdir(exist_ok=True)
        # Some give up root and write here.
        self.directory.chmod(0o777)
        templates = pathlib.Path(self.entry.get("configs") or HERE / "configs" / self.name)
        for template in sorted(templates.iterdir()) if templates.is_dir() else ():
            (self.directory / template.name).write_text(fill(template.read_text(), self.values))
        done = self.directory / "prepared"
        if not done.exists():
            for command in self.entry.get("prepare", ()):
                subprocess.run(shlex.split(fill(command, self.values)), check=True, capture_output=True)
            done.touch()

    def _process(self, side, command, namespace):
        process = Process(fill(command, self.values), self.workshop.log(f"{self.name}-{side}"), namespace)
        self.processes[side] = process
        return process

    def stop(self):
        for side in ("client", "server"):
            if side in self.processes:
                self.processes.pop(side).stop()

    def cpu(self):
        spent = [process.cpu() for process in self.processes.values()]
        return sum(user for user, _ in spent), sum(system for _, system in spent)

    def memory(self, key="VmRSS"):
        return {side: round(process.memory(key), 1) for side, process in self.processes.items()}

    def load_command(self, mode, **options):
        """loadgen's arguments; options are named as its own."""
        target = FAR_ADDRESS if self.far_namespace and self.proxy == "direct" else "127.0.0.1"
        port = SINK_PORT if mode == "up" else ORIGIN_PORT
        argv = [self.workshop.loadgen, mode, "--proxy", self.proxy, "--target", f"{target}:{port}"]
        for name, value in options.items():
            argv += [f"--{name}"] if value is True else [f"--{name}", value]
        return [str(word) for word in argv]

    def load(self, mode, **options):
        """Runs a load to its end: what loadgen says, and the CPU that both sides used for it."""
        argv = self.load_command(mode, **options)
        if self.near_namespace:
            argv = ["ip", "netns", "exec", self.near_namespace, *argv]
        before = self.cpu()
        try:
            run = subprocess.run(argv, capture_output=True, text=True, timeout=120)
            result = json.loads(run.stdout) if run.stdout else {"errors": 1, "first_error": run.stderr[-300:]}
        except (subprocess.TimeoutExpired, ValueError) as error:
            result = {"errors": 1, "first_error": str(error)[:300]}
        user, system = (now - then for now, then in zip(self.cpu(), before))
        result |= {"cpu_user": round(user, 2), "cpu_sys": round(system, 2), "cpu_s": round(user + system, 2)}
        if self.processes and result.get("total_bytes"):
            result["cpu_s_per_gib"] = round(result["cpu_s"] / (result["total_bytes"] / 2**30), 3)
        if self.processes and mode in ("rr", "crr") and result.get("done"):
            # `done` counts the window only, the CPU the whole run.
            whole = 1.0 if options.get("count") else max(1.0, result["wall"] / result["secs"])
            result["cpu_us_per_request"] = round(result["cpu_s"] * 1e6 / (result["done"] * whole), 1)
        if dead := [side for side, process in self.processes.items() if not process.alive()]:
            result["dead"] = dead
        return result
