"""The machine that a run was on, and how much of it was others'."""
import datetime
import os
import time


def describe():
    model = first("/proc/cpuinfo", "model name") or os.uname().machine
    memory = int((first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as file:
        congestion = file.read().strip()
    return {
        "cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory, 1), "kernel": os.uname().release,
        "tcp": congestion, "when": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
    }


def line(machine):
    return (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, Linux {machine['kernel']}, "
            f"TCP {machine['tcp']}, {machine['when'].replace('T', ' ')}")


def busy(seconds=0.5):
    """Percent of all cores that are in use: asked while nothing of ours runs, it is what others use."""
    def ticks():
        with open("/proc/stat") as file:
            fields = [int(field) for field in file.readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    total, idle = ticks()
    time.sleep(seconds)
    total_after, idle_after = ticks()
    return round(100 * (1 - (idle_after - idle) / max(1, total_after - total)), 1)


def first(path, key):
    with open(path) as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key)), None)
