"""Where a run works: its programs, a directory of its own for everything it writes, certificates, files to download."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Below the ports that the system gives to clients, so that no connection of the load has one by chance.
ORIGIN_PORT, ORIGIN_TLS_PORT, SINK_PORT = 18080, 18443, 18081
FILES = {"1k": 1 << 10, "64k": 1 << 16, "1m": 1 << 20, "1g": 1 << 30}


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


class Workshop:
    """Made for one run, and gone with it unless it is kept."""

    def __init__(self, programs, fluidity, keep=False):
        self.programs, self.fluidity, self.keep = pathlib.Path(programs), pathlib.Path(fluidity), keep
        self.bin, self.cargo = self.programs / "bin", self.programs / "cargo" / "bin"
        self.loadgen = self.programs / "build" / "loadgen" / "release" / "loadgen"
        self.netsim = self.programs / "build" / "netsim" / "release" / "netsim"
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="fluidity-bench-"))
        self.log_directory, self.certs = self.work / "log", self.work / "certs"
        # nginx and squid give up root, and must still reach what is theirs.
        self.work.chmod(0o711)
        self.log_directory.mkdir()
        # In memory: a disk must not be what is measured.
        memory = pathlib.Path("/dev/shm")
        room = shutil.disk_usage(memory).free if memory.is_dir() and os.access(memory, os.W_OK) else 0
        parent = memory if room > 2 * FILES["1g"] else self.work
        self.www = pathlib.Path(tempfile.mkdtemp(prefix="fluidity-bench-www-", dir=parent))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.www, ignore_errors=True)
        if self.keep:
            say("kept:", self.work)
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    def log(self, name):
        return self.log_directory / f"{name}.log"

    def make(self, far_address):
        """Certificates for the peers that do not make their own, and what the origin serves."""
        self.certificates(far_address)
        self.www.chmod(0o755)
        for name, size in FILES.items():
            block = os.urandom(min(size, 1 << 20))
            with (self.www / name).open("wb") as file:
                for _ in range(0, size, len(block)):
                    file.write(block)
            (self.www / name).chmod(0o644)

    def certificates(self, far_address):
        """A CA, and a server's and a client's certificate: P-256, PKCS#8."""
        self.certs.mkdir()
        (self.certs / "san.cnf").write_text(
            f"subjectAltName=DNS:bench.local,DNS:localhost,IP:127.0.0.1,IP:{far_address}\n"
            "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n")

        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=self.certs, check=True, capture_output=True)

        def key(name):
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", f"{name}.key")

        key("ca")
        openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "30", "-subj", "/CN=bench-ca", "-out", "ca.pem",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        for name, subject in (("server", "bench.local"), ("client", "agent")):
            key(name)
            openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={subject}", "-out", f"{name}.csr")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "30", "-extfile", "san.cnf", "-out", f"{name}.pem")


def fill(text, values):
    """Puts values in the place of @NAMES@."""
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def free(ports):
    """An error where one of these is taken."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise SystemExit(f"port {port} is taken by another program ({error}); the benchmark needs it") from error
