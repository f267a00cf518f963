"""What the demo stands on: a place for its files, its processes, and a way to say what happens when.

Every process has a session of its own, so that the terminal's Ctrl-C is the demo's alone, and ends with the demo whatever
becomes of it: in order where that can be, by the kernel where the demo itself is killed.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time


class Failed(Exception):
    """A step that did not come about, in words for people."""

    def __init__(self, text, log=None):
        super().__init__(text)
        self.log = log


class Stage:
    """Where the files are, and what time it is."""

    def __init__(self, bin_dir, keep):
        self.bin_dir = pathlib.Path(bin_dir)
        self.began = time.monotonic()
        self.keep = keep
        self._printing = threading.Lock()
        if keep:
            self.dir = pathlib.Path(keep)
            self.dir.mkdir(parents=True, exist_ok=True)
            if any(self.dir.iterdir()):
                raise Failed(f"{keep} is not empty; --keep wants a directory of its own")
            self.dir.chmod(0o700)
        else:
            self.dir = pathlib.Path(tempfile.mkdtemp(prefix="fluidity-demo-"))
        (self.dir / "tmp").mkdir()

    def heading(self, text):
        self._print(f"\n== {text}")

    def say(self, who, text):
        self._print(f"{time.monotonic() - self.began:7.1f} s  {who:<10}  {text}")

    def _print(self, text):
        with self._printing:
            try:
                print(text, flush=True)
            except BrokenPipeError:
                # Nobody looks on any more: to the end, in order.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.kill(os.getpid(), signal.SIGTERM)

    def write(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return path

    def environment(self, **more):
        """Ours, without what could lead to a real AWS account, another tunnel, or past this one."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "FLUIDITY_", "ECS_")) and not name.lower().endswith("_proxy")
        }
        return kept | {"TMPDIR": str(self.dir / "tmp")} | more

    def start(self, name, command, environment=None):
        return Process(name, command, environment or self.environment(), self.dir / f"{name}.log")

    def clear(self):
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


class Process:
    """A program that runs, with its output in a file."""

    def __init__(self, name, command, environment, log):
        self.name, self.log = name, log
        with log.open("a") as out:
            self._process = subprocess.Popen(
                [*WITH_PARENT, *(str(word) for word in command)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self):
        return self._process.poll()

    def stop(self, patience=20):
        """In order, or in the end by force. Returns the exit code."""
        if self.ended() is None:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        # And what it started itself, in its own group.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        return self._process.wait()

    def file(self, path, seconds=30):
        """Waits until it has written `path`."""
        until(seconds, lambda: path.exists() and path.stat().st_size > 0, f"{self.name} to start", self)
        return path.read_text()


def until(seconds, condition, what, *processes, pause=0.1):
    """Waits until `condition` holds, and returns what it gave. Fails when that takes too long or a process has ended."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        for process in processes:
            if process.ended() is not None:
                raise Failed(f"{process.name} has ended by itself (exit code {process.ended()})", process.log)
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s for {what}, in vain", processes[0].log if processes else None)
        time.sleep(pause)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# For a demo that is killed (Linux). It goes by the thread that started the process: who starts one has to outlive it.
WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
