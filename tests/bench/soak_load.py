"""The load of a soak: loadgen for what is heavy, asyncio for what is rude."""
import asyncio
import json
import random
import subprocess
import threading
import time

import rude
from processes import Process
from workshop import ORIGIN_PORT, SINK_PORT, say


class Load:
    """Threads that go on until `stop`; what they did is in `counts`, what should not have been in `unexpected`."""

    def __init__(self, workshop, daemons):
        self.workshop, self.daemons = workshop, daemons
        self.counts, self.unexpected = dict.fromkeys(WHAT, 0), []
        self.over, self.lock, self.threads = threading.Event(), threading.Lock(), []
        self.resting = threading.Event()

    def touch(self, agents):
        """One request through each."""
        for agent in agents:
            result = self._loadgen(agent, "crr", c=1, duration=5, warmup=0, count=1)
            if result.get("errors") or not result.get("done"):
                raise RuntimeError(f"{agent.name}: the first request failed: {result}")

    def steady(self, agent):
        """Everything at once, on a tunnel that nobody disturbs: no error is meant to be."""
        self._repeat("bulk", lambda: self._bulk(agent))
        self._repeat("small", lambda: self._small(agent, None))
        self._repeat("idle", lambda: self._idle(agent))
        self._thread("rude", lambda: asyncio.run(self._rude(agent, 6, 1.0, None)))

    def returning(self, agent, restart):
        """Load while the server goes and comes: what is under way then is cut, and that is no error."""
        self._repeat("small-returning", lambda: self._small(agent, "requests cut by a restart"))
        self._thread("rude-returning", lambda: asyncio.run(self._rude(agent, 2, 0.5, "others cut by a restart")))
        self._repeat("restarts", self._now_and_then(restart, 20, 40, "server restarts"))

    def killed(self, agent, kill):
        self._repeat("small-killed", lambda: self._small(agent, "requests cut by a killed agent"))
        self._repeat("kills", self._now_and_then(kill, 15, 30, "agents killed"))

    def alive(self):
        return not self.over.is_set()

    def rest(self):
        """What is under way is ended, and nothing is begun until `resume`."""
        self.resting.set()

    def resume(self):
        self.resting.clear()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(90)

    def silent(self):
        """What was never done."""
        return [what for what, count in self.counts.items() if not count and "cut by" not in what]

    def count(self, what, more=1):
        with self.lock:
            self.counts[what] += more

    def error(self, what, text, excuse=None):
        """With an excuse it is counted as that, else it is a failure of the soak."""
        if excuse:
            self.count(excuse)
        else:
            with self.lock:
                self.unexpected.append(f"{what}: {text}")
            say(f"UNEXPECTED: {what}: {text}")

    def _thread(self, name, work):
        def guarded():
            try:
                work()
            except Exception as error:
                self.error(name, f"the load itself failed: {error!r}")
        self.threads.append(threading.Thread(target=guarded, name=name, daemon=True))
        self.threads[-1].start()

    def _repeat(self, name, work):
        def forever():
            while not self.over.is_set():
                if self.resting.is_set():
                    time.sleep(0.2)
                else:
                    work()
        self._thread(name, forever)

    def _pause(self, seconds):
        """Shorter where there is to be rest, or an end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over.is_set() and not self.resting.is_set():
            time.sleep(0.2)

    def _now_and_then(self, act, least, most, what):
        number = 0

        def once():
            nonlocal number
            if not self.over.wait(random.uniform(least, most)):
                act(number)
                number += 1
                self.count(what)
        return once

    def _command(self, agent, mode, **options):
        port = SINK_PORT if mode == "up" else ORIGIN_PORT
        argv = [self.workshop.loadgen, mode, "--proxy", f"http://{agent.ports['proxy']}", "--target", f"127.0.0.1:{port}"]
        for name, value in options.items():
            argv += [f"--{name}"] if value is True else [f"--{name}", value]
        return [str(word) for word in argv]

    def _loadgen(self, agent, mode, **options):
        done = subprocess.run(self._command(agent, mode, **options), capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.stdout else {"errors": 1, "first_error": done.stderr[-200:]}

    def _bulk(self, agent):
        for mode, what in (("down", "MB down"), ("up", "MB up")):
            options = {"path": "/1g"} if mode == "down" else {}
            result = self._loadgen(agent, mode, c=2, duration=4, **options)
            if result.get("errors"):
                self.error(f"bulk {mode}", result.get("first_error"))
            self.count(what, result.get("total_bytes", 0) / 1e6)
            self._pause(1)

    def _small(self, agent, excuse):
        for mode, what, options in (("rr", "requests on open tunnels", {"c": 32}), ("crr", "tunnels opened and closed", {"c": 8}),
                                    ("rr", "plain HTTP requests", {"c": 16, "absolute": True})):
            result = self._loadgen(agent, mode, duration=3, **options)
            for _ in range(result.get("errors", 0)):
                self.error(what, result.get("first_error"), excuse)
            self.count(what, result.get("done", 0))
            self._pause(0.5)

    def _idle(self, agent):
        holder = Process(self._command(agent, "idle", c=200), self.workshop.log("idle"), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
        line = holder.child.stdout.readline()
        result = json.loads(line) if line else {"errors": 1}
        if result.get("errors"):
            self.error("idle tunnels", str(result))
        self.count("tunnels held idle", result.get("open", 0))
        self._pause(20)
        holder.child.stdin.close()
        holder.stop(2)
        self._pause(5)

    async def _rude(self, agent, lanes, pause, excuse):
        """WebSockets, and every way to leave in the middle."""
        origin = await rude.Origin.start()
        until = self.over

        async def lane(number):
            while not until.is_set():
                if self.resting.is_set():
                    await asyncio.sleep(0.2)
                    continue
                # Each in turn, beginning with another one: the load is the same from minute to minute.
                number += 1
                kind, work = rude.KINDS[number % len(rude.KINDS)]
                began = time.monotonic()
                try:
                    host, port = agent.ports["proxy"].rsplit(":", 1)
                    await asyncio.wait_for(work((host, int(port)), origin), 60)
                    self.count(kind)
                except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
                    self.error(f"{kind} after {time.monotonic() - began:.1f} s", repr(error), excuse)
                    await asyncio.sleep(0.2)
                await asyncio.sleep(random.uniform(0, pause))

        await asyncio.gather(*(lane(number) for number in range(lanes)))
        origin.close()


WHAT = ("MB down", "MB up", "requests on open tunnels", "plain HTTP requests", "tunnels opened and closed", "tunnels held idle",
        *(kind for kind, _ in rude.KINDS), "server restarts", "agents killed", "requests cut by a restart",
        "others cut by a restart", "requests cut by a killed agent")
