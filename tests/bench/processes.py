"""Processes that a run starts: each in a session of its own, over which CPU and memory are summed, and none left behind."""
import os
import resource
import shlex
import signal
import socket
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
running = []  # every Process that was started and not stopped
closing = threading.Event()  # the run ends: nothing is started any more


class Process:
    """A child and whatever it starts."""

    def __init__(self, command, log, namespace=None, stdin=subprocess.DEVNULL, stdout=None):
        if closing.is_set():
            raise RuntimeError("the run ends")
        argv = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        if namespace:
            argv = ["ip", "netns", "exec", namespace, *argv]
        # A variable that is meant for another agent or server must not steer these.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLUIDITY_")}
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(argv, stdin=stdin, stdout=stdout or out, stderr=out,
                                          start_new_session=True, env=environment)
        self.pid = self.child.pid
        running.append(self)

    def alive(self):
        return self.child.poll() is None

    def pids(self):
        """Everything in the child's session."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and (fields := stat(name)) and int(fields[3]) == self.pid:
                found.append(int(name))
        return found

    def cpu(self):
        """Seconds so far, (user, system), with children that were waited for."""
        user = system = 0
        for pid in self.pids():
            if fields := stat(pid):
                user += int(fields[11]) + int(fields[13])
                system += int(fields[12]) + int(fields[14])
        return user / TICK, system / TICK

    def cpu_to_the_nanosecond(self):
        """Seconds so far of the threads that live: for what is too little to be seen in ticks."""
        total = 0
        for pid in self.pids():
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                        total += int(file.read().split()[0])
            except OSError:
                pass
        return total / 1e9

    def memory(self, key="VmRSS"):
        """MiB."""
        return sum(status(pid, key) for pid in self.pids()) / 1024

    def threads(self):
        return sum(status(pid, "Threads") for pid in self.pids())

    def descriptors(self):
        count = 0
        for pid in self.pids():
            try:
                count += len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                pass
        return count

    def reset_peak(self):
        """VmHWM counts from here."""
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/clear_refs", "w") as file:
                    file.write("5")
            except OSError:
                pass

    def signal(self, number):
        for pid in self.pids() or [self.pid]:
            try:
                os.kill(pid, number)
            except OSError:
                pass

    def stop(self, grace=3.0):
        """In order, or in the end by force."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if not self.alive() and not self.pids():
                break
            self.signal(number)
            wait_until(lambda: not self.alive() and not self.pids(), patience)
        if self in running:
            running.remove(self)

    def last_words(self, lines=5):
        """The end of its log, for a message."""
        try:
            with open(self.log, errors="replace") as file:
                return " / ".join(line.strip() for line in file.readlines()[-lines:])
        except OSError:
            return ""


def stop_all():
    for process in reversed(list(running)):
        process.stop(1)


def stat(pid):
    """The fields of /proc/PID/stat behind the name; none where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def status(pid, key):
    """A number from /proc/PID/status."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(f"{key}:")), 0)
    except OSError:
        return 0


def wait_until(condition, seconds):
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def wait_for_port(address, process, namespace=None, seconds=15.0):
    """Until something listens; an error where the process ends, or nothing does."""
    host, port = address

    def listens():
        if not process.alive():
            raise RuntimeError(f"it ended by itself: {process.last_words()}")
        if namespace:
            knock = ["ip", "netns", "exec", namespace, "bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}"]
            return subprocess.run(knock, capture_output=True).returncode == 0
        try:
            socket.create_connection((host, port), 0.5).close()
            return True
        except OSError:
            return False

    if not wait_until(listens, seconds):
        raise RuntimeError(f"nothing listens on {host}:{port}: {process.last_words()}")


def raise_descriptor_limit(wanted=65536):
    """As far as it may be raised; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
