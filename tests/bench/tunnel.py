"""Fluidity's daemons, as the soak and the scaling run them: free ports, what their admin pages say, what they cost."""
import json
import re
import subprocess
import urllib.request

from processes import Process, wait_until

SAMPLE = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Identities:
    """A private CA, and what it issues."""

    def __init__(self, workshop):
        self.program, self.directory = workshop.fluidity / "fluidity", workshop.work / "pki"
        self._pki("init")
        self._pki("issue", "server", "fluidity-server")

    def agent(self, name):
        """Issued once, however often it is asked for."""
        stem = f"agent-{name}"
        if not (self.directory / f"{stem}.pem").exists():
            self._pki("issue", "agent", name)
        return stem

    def _pki(self, *words):
        subprocess.run([self.program, "pki", *words, "--dir", self.directory], check=True, capture_output=True)

    def yaml(self, stem):
        lines = (f"  {what}: {self.directory / name}"
                 for what, name in (("certificate", f"{stem}.pem"), ("key", f"{stem}.key"), ("ca", "ca.pem")))
        return "\n".join(["identity:", *lines, ""])


class Daemon:
    """`fluidity` or `fluidity-server`, started again with the same settings as often as is wanted."""

    def __init__(self, workshop, name, program, settings):
        self.workshop, self.name = workshop, name
        self.configuration, self.ports_file = workshop.work / f"{name}.yaml", workshop.work / f"{name}-ports.json"
        self.command = [workshop.fluidity / program, "run", "-c", self.configuration, "--ports-file", self.ports_file]
        self.settings, self.process, self.ports = settings, None, {}

    def start(self):
        self.prepare()
        self.launch()
        self.await_ports()
        return self

    def prepare(self):
        self.configuration.write_text("\n".join([*self.settings, "admin: 127.0.0.1:0", "log: { level: warn }", ""]))
        self.ports_file.unlink(missing_ok=True)

    def launch(self):
        self.process = Process(self.command, self.workshop.log(self.name))

    def await_ports(self):
        if not wait_until(lambda: self.ports_file.exists() or not self.process.alive(), 20) or not self.process.alive():
            raise RuntimeError(f"{self.name} did not start: {self.process.last_words()}")
        self.ports = json.loads(self.ports_file.read_text())

    def page(self, path):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{self.ports['admin']}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        """Each metric, summed over its labels."""
        sums = {}
        for name, value in SAMPLE.findall(self.page("/metrics")):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def cost(self):
        """What the system says of the process."""
        process = self.process
        return {"rss_mib": round(process.memory(), 2), "descriptors": process.descriptors(), "threads": process.threads(),
                "cpu_s": round(sum(process.cpu()), 2)}

    def stop(self):
        if self.process:
            self.process.stop(5)


def server(workshop, identities, name="server", listen="127.0.0.1:0", limits=""):
    """A server whose policy lets agents reach this machine."""
    settings = [f"listen: {listen}", identities.yaml("server-fluidity-server"),
                "policy: { allow: [{ cidr: 127.0.0.0/8 }] }", "drain-grace: 1s", limits]
    return Daemon(workshop, name, "fluidity-server", settings)


def agent(workshop, identities, name, address, limits=""):
    settings = ["listen: 127.0.0.1:0", f'server: {{ address: "{address}" }}', identities.yaml(identities.agent(name)),
                "drain-grace: 1s", limits]
    return Daemon(workshop, f"agent-{name}", "fluidity", settings)


def connected(daemon):
    """Whether an agent has its tunnel."""
    try:
        return json.loads(daemon.page("/api/status"))["state"] == "connected"
    except OSError:
        return False
