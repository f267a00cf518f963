"""The story of scripts/demo-scale-to-zero.sh: every step is waited for and seen, or the demo fails."""

import argparse
import concurrent.futures
import http.client
import json
import signal
import subprocess
import sys
import time

from cloud import Cloud, Functions, Metrics, Runner, Watcher
from stage import Failed, Stage, until


class Agent(Watcher):
    """The real agent, and what it says of itself."""

    def __init__(self, stage, cloud):
        super().__init__(0.1)
        self.stage = stage
        stage.write("api.key", cloud.api_key).chmod(0o600)
        self.config = stage.write(
            "agent.yaml",
            f"""\
# Written by scripts/demo-scale-to-zero.sh. docs/samples/agent.yaml has every key.
listen: 127.0.0.1:0
admin: 127.0.0.1:0
wake-endpoint: {cloud.api}/wake
kill-endpoint: {cloud.api}/kill
api-key-file: api.key
start: on-demand
idle-disconnect: 5s
connection-retry-interval: 1s
connection-timeout: 60s
on-shutdown: kill-if-last
state-file: ledger.json
identity: {{ certificate: pki/agent-demo.pem, key: pki/agent-demo.key, ca: pki/ca.pem }}
drain-grace: 3s
""",
        )
        ports = stage.dir / "agent-ports.json"
        self.process = stage.start(
            "agent",
            [stage.bin_dir / "fluidity", "run", "-c", self.config, "--ports-file", ports],
        )
        found = json.loads(self.process.file(ports))
        self.proxy, self.admin = found["proxy"], found["admin"]
        self.states = []
        self.status = {}

    def look(self):
        self.status = json.loads(get(self.admin, "/api/status")[1])
        state = self.status["state"]
        if self.states and self.states[-1] == state:
            return
        self.states.append(state)
        text = state
        if state == "dormant":
            text += ": there is no connection; the next request has the server woken"
        elif state == "waking":
            text += ": the control plane is asked for the server"
        elif state == "connected":
            text += f" to {self.status['server']['address']}"
        self.stage.say("agent", text)

    def stop(self):
        self.end()
        return self.process.stop()


class Story:
    """What is to be seen, in order."""

    def __init__(self, stage):
        self.stage = stage
        self.cloud = self.origin = self.runner = self.functions = self.metrics = self.agent = None
        self.pool = concurrent.futures.ThreadPoolExecutor(32)
        self.seen = []

    def prepare(self):
        stage = self.stage
        stage.heading("An AWS emulator, and the control plane in it")
        self.cloud = Cloud(stage)
        self.cloud.wait()
        self.cloud.deploy()
        stage.heading("A private CA, and an origin to be reached")
        for words in (["init"], ["issue", "server", "fluidity-server"], ["issue", "agent", "demo"]):
            self.pki(*words)
        address = stage.dir / "origin.address"
        self.origin = stage.start("origin", [stage.bin_dir / "examples/demo_origin", "serve", "127.0.0.1:0", address])
        self.target = self.origin.file(address).strip()
        stage.say("origin", f"serves http://{self.target}/")

    def pki(self, *words):
        command = [self.stage.bin_dir / "fluidity", "pki", *words, "--dir", self.stage.dir / "pki"]
        done = subprocess.run(command, env=self.stage.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"fluidity pki {words[0]} failed: {done.stderr}")

    def tell(self, once):
        self.dormant()
        first = self.wakes("1. A request wakes the server, and is held meanwhile", "first wake")
        self.traffic()
        self.goes_dormant()
        self.falls_asleep()
        second = self.wakes("5. The next request wakes it again", "second wake")
        if first == second:
            raise Failed("the second wake did not bring another server")
        if once:
            self.kills()
        self.summary()

    def dormant(self):
        self.stage.heading("0. At rest: no server runs, the agent is dormant")
        self.functions, self.metrics = Functions(self.cloud), Metrics(self.cloud)
        self.functions.start()
        self.metrics.start()
        self.runner = Runner(self.cloud, self.target)
        self.runner.start()
        self.agent = Agent(self.stage, self.cloud)
        self.agent.start()
        self.stage.say("agent", f"fluidity runs, process {self.agent.process.pid}: the proxy is http://{self.agent.proxy}")
        self.wait(20, lambda: self.agent.states == ["dormant"], "the agent to be dormant")
        if self.runner.desired or self.runner.server:
            raise Failed("the service is not at zero")
        self.step("at rest", "desiredCount 0, no server, nothing that costs")

    def wakes(self, heading, name):
        self.stage.heading(heading)
        servers, states, calls = self.runner.started, len(self.agent.states), len(self.functions.calls)
        began = time.monotonic()
        self.stage.say("you", f"GET http://{self.target}/ through the proxy")
        held = self.pool.submit(self.request, "/")
        self.wait(60, lambda: held.done() or None, "the first answer")
        code, body = held.result()
        took = time.monotonic() - began
        if code != 200 or not body.startswith("Hello from the demo origin."):
            raise Failed(f"the request was answered with {code}: {body.strip()}", self.agent.process.log)
        self.stage.say("you", f'{code} "{body.splitlines()[0]}", held for {took:.1f} s')
        self.wait(20, lambda: self.agent.states[-1] == "connected", "the agent to be connected")
        if "waking" not in self.agent.states[states:]:
            raise Failed("the agent was not seen to wake the server")
        if self.runner.started != servers + 1:
            raise Failed(f"{self.runner.started - servers} servers were started, not one")
        self.wait(20, lambda: any(c[0] == "wake" for c in self.functions.calls[calls:]), "the log of wake")
        self.step(name, f"one server, started for a request that was answered after {took:.1f} s")
        return self.agent.status["server"]["instance"]

    def traffic(self):
        self.stage.heading("2. Traffic")
        began = time.monotonic()
        answers = list(self.pool.map(lambda _: self.request("/")[0], range(REQUESTS)))
        if answers != [200] * REQUESTS:
            raise Failed(f"not every request was answered with 200: {answers}", self.agent.process.log)
        self.stage.say("you", f"{REQUESTS} requests at once: all 200, in {time.monotonic() - began:.2f} s")
        self.stage.say("you", "GET /clock: ten lines, one a second; longer than the agent waits for more to do")
        code, body = self.request("/clock")
        lines = len(body.splitlines())
        if code != 200 or lines != 10 or self.agent.states[-1] != "connected":
            raise Failed(f"/clock was cut: {code}, {lines} lines", self.agent.process.log)
        self.stage.say("you", f"{lines} lines, whole")
        self.step("traffic", f"{REQUESTS} requests and one long answer")

    def goes_dormant(self):
        self.stage.heading("3. Nobody wants the tunnel: after 5 s the agent lets go of it")
        self.wait(30, lambda: self.agent.states[-1] == "dormant", "the agent to go dormant")
        if not self.runner.server:
            raise Failed("the server was gone before it was put to sleep")
        self.step("dormant", "the agent has disconnected; the server runs on, and knows of nobody")

    def falls_asleep(self):
        self.stage.heading("4. The schedule finds it idle: to sleep, to zero")
        self.stage.say(
            "aws",
            "idle is: nobody for 6 s by two metrics of 10 s. The schedule looks every minute, "
            f"next in {self.cloud.next_schedule():.0f} s",
        )
        began = time.monotonic()
        self.wait(200, lambda: self.functions.stopped_when_idle() or None, "sleep to find the server idle")
        self.wait(30, lambda: self.runner.desired == 0 and not self.runner.server, "the server to stop")
        if self.runner.exits[-1:] != [0]:
            raise Failed(f"the server ended with {self.runner.exits}", self.stage.dir / "server.log")
        if self.agent.states[-1] != "dormant":
            raise Failed(f"the agent is {self.agent.states[-1]}, and should have stayed dormant")
        self.step("asleep", f"desiredCount 0 again, {time.monotonic() - began:.0f} s after the agent had left")

    def kills(self):
        self.stage.heading("6. The agent stops; nobody else is connected, so it has the server killed")
        self.wait(20, lambda: self.agent.status["server"]["others"] is not None, "the server to say who else is there")
        code = self.agent.stop()
        self.stage.say("agent", f"stopped by SIGTERM, exit code {code}")
        if code != 0:
            raise Failed(f"the agent ended with {code}", self.agent.process.log)
        until(30, lambda: self.watched() and self.runner.desired == 0 and not self.runner.server, "the server to stop")
        until(20, lambda: any(call[0] == "kill" for call in self.functions.calls), "the log of kill")
        self.step("killed", "at zero at once, without waiting for the schedule")

    def play(self):
        agent, fluidity = self.agent, self.stage.bin_dir / "fluidity"
        self.stage.heading("Yours: this goes on until Ctrl-C")
        print(
            f"""
    curl --noproxy '' --proxy http://{agent.proxy} http://{self.target}/clock
    {fluidity} status --admin {agent.admin}
    {fluidity} wake -c {agent.config}
    {fluidity} kill -c {agent.config}

Leave it alone for two minutes and it sleeps; ask for something and it wakes.
""",
            flush=True,
        )
        while True:
            self.watched()
            time.sleep(0.5)

    # ---- seeing

    def step(self, name, what):
        self.seen.append((name, what))
        self.stage.say("ok", what)

    def summary(self):
        self.stage.heading("Seen")
        for name, what in self.seen:
            print(f"    {name:<12} {what}", flush=True)

    def wait(self, seconds, condition, what):
        return until(seconds, lambda: self.watched() and condition(), what, self.agent.process)

    def watched(self):
        """Whether everything that the story stands on is there; else it fails."""
        for process in (self.cloud.emulator, self.origin):
            if process.ended() is not None:
                raise Failed(f"the {process.name} has ended by itself", process.log)
        for watcher in (self.runner, self.functions, self.metrics, self.agent):
            if watcher.error:
                raise watcher.error if isinstance(watcher.error, Failed) else Failed(
                    f"{type(watcher).__name__.lower()}: {watcher.error!r}"
                )
        return True

    def request(self, path):
        """Through the proxy, on a connection of its own."""
        try:
            return get(self.agent.proxy, f"http://{self.target}{path}", 90)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"GET {path} through the proxy: {error!r}", self.agent.process.log) from error

    def end(self):
        """Everything in order: the agent first, so that nothing of it is cut; the emulator last."""
        if self.agent:
            self.agent.stop()
            if self.runner.server and self.cloud.emulator.ended() is None:
                # It has had the server killed, if it was the last: let that be seen.
                deadline = time.monotonic() + 2
                while self.runner.desired and time.monotonic() < deadline:
                    time.sleep(0.1)
        for watcher in (self.runner, self.functions, self.metrics):
            if watcher:
                watcher.end()
        if self.origin:
            self.origin.stop()
        if self.cloud:
            self.cloud.emulator.stop(5)
        self.pool.shutdown(wait=False, cancel_futures=True)


def get(address, target, timeout=10):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin-dir", required=True)
    parser.add_argument("--keep")
    parser.add_argument("--once", action="store_true")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        stage = Stage(arguments.bin_dir, arguments.keep)
    except Failed as error:
        print(error, file=sys.stderr)
        return 2
    story = Story(stage)
    code, told = 1, False
    try:
        story.prepare()
        story.tell(arguments.once)
        told = True
        if not arguments.once:
            story.play()
        code = 0
    except KeyboardInterrupt:
        # Playing has no other end.
        code = 0 if told else 130
    except Failed as error:
        failed(error)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stage.heading("Stopping")
        story.end()
        stage.clear()
    if code == 0 and told:
        print(f"\nEvery step was seen, in {time.monotonic() - stage.began:.0f} s.", flush=True)
    return code


def failed(error):
    print(f"\nFAILED: {error}", file=sys.stderr)
    if error.log and error.log.exists():
        print(f"The last lines of {error.log.name}:", file=sys.stderr)
        for line in error.log.read_text(errors="replace").splitlines()[-20:]:
            print(f"    {line}", file=sys.stderr)
    sys.stderr.flush()


REQUESTS = 20

if __name__ == "__main__":
    sys.exit(main())
