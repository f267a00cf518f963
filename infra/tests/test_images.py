"""The images: built, held to their limits, and run as two containers on two networks with traffic through the tunnel.

Needs a Docker engine: the machine's, or dockerd, which the test then starts for itself (as root). Without either it is
skipped, and says so. Builds static release binaries, unless FLUIDITY_STATIC_BINARIES names a directory that has them, or
FLUIDITY_IMAGE_TAG images that are there.
"""

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import ROOT

USER = 65532
LIMIT = 12_000_000
CHUNKS, CHUNK = 40, b"x" * 5000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    if not shutil.which("docker"):
        pytest.skip("SKIPPED: there is no docker; install Debian's docker.io to test the images")
    if answers(os.environ):
        yield dict(os.environ)
        return
    if not shutil.which("dockerd") or os.geteuid() != 0:
        pytest.skip("SKIPPED: no Docker engine answers, and none can be started (dockerd, as root)")
    directory = tmp_path_factory.mktemp("docker")
    environment = dict(os.environ, DOCKER_HOST=f"unix://{directory}/docker.sock")
    with (directory / "log").open("w") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", directory / "data", "--exec-root", directory / "exec", "-H",
             environment["DOCKER_HOST"], "--pidfile", directory / "pid"],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            wait(lambda: daemon.poll() is None and answers(environment), "dockerd answers", 60)
            yield environment
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)


def answers(environment):
    return subprocess.run(["docker", "info"], env=environment, capture_output=True).returncode == 0


def wait(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


class Docker:
    def __init__(self, environment):
        self.environment = environment
        self.tag = os.environ.get("FLUIDITY_IMAGE_TAG", "test")

    def __call__(self, *arguments, check=True):
        done = subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def inspect(self, name):
        return json.loads(self("inspect", name))[0]

    def logs(self, name):
        done = subprocess.run(["docker", "logs", name], env=self.environment, capture_output=True, text=True)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def docker(engine):
    docker = Docker(engine)
    if "FLUIDITY_IMAGE_TAG" not in os.environ:
        options = ["--tag", docker.tag]
        if binaries := os.environ.get("FLUIDITY_STATIC_BINARIES"):
            options += ["--binaries", binaries]
        built = subprocess.run(
            [ROOT / "infra" / "docker" / "build.sh", "all", *options], env=engine, capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr
    return docker


@pytest.mark.parametrize("name", ["server", "agent"])
def test_an_image_is_small_and_not_roots(docker, name, record_property):
    image = docker.inspect(f"fluidity-{name}:{docker.tag}")
    record_property(f"fluidity-{name}", f"{image['Size'] / 1e6:.1f} MB")
    if "FLUIDITY_IMAGE_TAG" not in os.environ:
        assert image["Size"] <= LIMIT
        assert len(image["RootFS"]["Layers"]) == 2
    assert image["Config"]["User"] == f"{USER}:{USER}"
    assert image["Config"]["Healthcheck"]["Test"][0] == "CMD", "no shell is there"


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers at once, and /slow piece by piece over four seconds."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        pieces = CHUNKS if self.path == "/slow" else 1
        self.send_response(200)
        self.send_header("Content-Length", str(pieces * len(CHUNK)))
        self.end_headers()
        for _ in range(pieces):
            self.wfile.write(CHUNK)
            if pieces > 1:
                time.sleep(0.1)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def tunnel(docker, tmp_path_factory):
    """Server and agent as infra/docker/compose.yaml has them, by hand, so that the test needs no compose."""
    names, suffix = [], f"{os.getpid()}"
    networks = {name: f"fluidity-{name}-{suffix}" for name in ("tunnel", "exit", "clients")}
    pki = tmp_path_factory.mktemp("pki")
    os.chown(pki, USER, USER)
    agent_image, server_image = f"fluidity-agent:{docker.tag}", f"fluidity-server:{docker.tag}"
    hardened = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    with contextlib.ExitStack() as stack:
        for arguments in (["init"], ["issue", "server", "fluidity-server"], ["issue", "agent", "laptop"]):
            docker("run", "--rm", *hardened, "-v", f"{pki}:/pki", agent_image, "pki", *arguments, "--dir", "/pki")
        for name, network in networks.items():
            docker("network", "create", *(["--internal"] if name == "tunnel" else []), network)
            stack.callback(docker, "network", "rm", network, check=False)
        gateway = docker.inspect(networks["exit"])["IPAM"]["Config"][0]
        origin = http.server.ThreadingHTTPServer((gateway["Gateway"], 0), Origin)
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        stack.callback(origin.shutdown)

        def start(name, image, network, *arguments):
            container = f"fluidity-{name}-{suffix}"
            docker("create", "--name", container, *hardened, "--network", network, "--network-alias", name,
                   "-v", f"{pki}:/identity:ro", *arguments, image)  # fmt: skip
            names.append(container)
            stack.callback(docker, "rm", "--force", container, check=False)
            return container

        server = start(
            "server", server_image, networks["tunnel"], "--sysctl", "net.ipv4.ip_unprivileged_port_start=443",
            "-e", "FLUIDITY_LISTEN=0.0.0.0:443", "-e", "FLUIDITY_DRAIN_GRACE=20s",
            "-e", "FLUIDITY_IDENTITY_CERTIFICATE=/identity/server-fluidity-server.pem",
            "-e", "FLUIDITY_IDENTITY_KEY=/identity/server-fluidity-server.key", "-e", "FLUIDITY_IDENTITY_CA=/identity/ca.pem",
            "-e", f"FLUIDITY_POLICY_ALLOW=[{{ cidr: {gateway['Subnet']} }}]",
        )  # fmt: skip
        docker("network", "connect", networks["exit"], server)
        docker("start", server)
        agent = start(
            "agent", agent_image, networks["tunnel"], "-e", "FLUIDITY_LISTEN=0.0.0.0:8080",
            "-e", "FLUIDITY_SERVER_ADDRESS=server:443", "-p", "127.0.0.1::8080/tcp",
            "-e", "FLUIDITY_IDENTITY_CERTIFICATE=/identity/agent-laptop.pem",
            "-e", "FLUIDITY_IDENTITY_KEY=/identity/agent-laptop.key", "-e", "FLUIDITY_IDENTITY_CA=/identity/ca.pem",
        )  # fmt: skip
        docker("network", "connect", networks["clients"], agent)
        docker("start", agent)
        wait(lambda: docker.inspect(agent)["NetworkSettings"]["Ports"].get("8080/tcp"), "the proxy's port is published")
        port = int(docker.inspect(agent)["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])
        target = f"http://{gateway['Gateway']}:{origin.server_address[1]}"
        yield {"server": server, "agent": agent, "proxy": port, "target": target}


def fetch(proxy, url, started=None):
    """Through the proxy by hand, so that a cut body is seen as one. Returns the status and the body's length."""
    with socket.create_connection(("127.0.0.1", proxy), timeout=30) as connection:
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            if started and b"\r\n\r\n" in received:
                started.set()
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), len(body)


def test_both_containers_turn_healthy(docker, tunnel):
    for name in ("server", "agent"):
        state = functools.partial(lambda name: docker.inspect(tunnel[name])["State"]["Health"]["Status"], name)
        wait(lambda state=state: state() == "healthy", f"{name} turns healthy; {docker.logs(tunnel[name])[-1000:]}", 60)


def test_traffic_goes_through_the_tunnel(docker, tunnel):
    assert fetch(tunnel["proxy"], tunnel["target"] + "/") == (200, len(CHUNK)), docker.logs(tunnel["agent"])[-2000:]


def test_the_processes_have_no_rights_and_write_nothing(docker, tunnel):
    for name in ("server", "agent"):
        pid = docker.inspect(tunnel[name])["State"]["Pid"]
        status = dict(
            line.split(":", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":" in line
        )
        assert status["Uid"].split() == [str(USER)] * 4
        assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        assert docker.inspect(tunnel[name])["HostConfig"]["ReadonlyRootfs"]
        # /dev, /proc and what Docker itself mounts may show up here; files of the image may not.
        changed = [line for line in docker("diff", tunnel[name]).splitlines() if not line.startswith(("C /dev", "A /dev"))]
        assert not [line for line in changed if line.split()[1] not in ("/identity", "/etc", "/proc", "/sys")], changed


def test_docker_stop_lets_a_session_end(docker, tunnel):
    result, started = {}, threading.Event()
    slow = threading.Thread(
        target=lambda: result.update(got=fetch(tunnel["proxy"], tunnel["target"] + "/slow", started)), daemon=True
    )
    slow.start()
    assert started.wait(20)
    before = time.monotonic()
    docker("stop", "--time", "30", tunnel["server"])
    took = time.monotonic() - before
    slow.join(30)
    assert result["got"] == (200, CHUNKS * len(CHUNK)), docker.logs(tunnel["server"])[-2000:]
    state = docker.inspect(tunnel["server"])["State"]
    assert state["ExitCode"] == 0 and took < 25, (state, took)
