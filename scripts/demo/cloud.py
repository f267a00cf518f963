"""The part of AWS: an emulator with the shipped templates deployed into it, and ECS played for one service.

The emulator keeps ECS's books and runs no containers. `Runner` does that part: while the service's `desiredCount` is 1, a
process fluidity-server runs on this machine, under the id of the task that the emulator has in its books.
"""

import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

import botocore.config
import botocore.session

from stage import Failed, free_port, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "infra" / "cloudformation"
ENVIRONMENT = "dev"
NAMES = {"cluster": f"fluidity-{ENVIRONMENT}", "service": f"fluidity-{ENVIRONMENT}-server"}
FUNCTIONS = ("wake", "sleep", "kill")
# The account of those who call the emulator without a signature, as agents do.
ACCOUNT = "000000000000"
REGION = "eu-west-1"

# Resource types that the emulator refuses. None of them has to do with what is shown.
LACKING = {
    "AWS::Budgets::Budget",
    "AWS::EC2::FlowLog",
    "AWS::IAM::OIDCProvider",
    "AWS::WAFv2::WebACLAssociation",
}

# Shorter than on AWS, by the templates' own parameters. The nightly kill would only disturb.
SHORTENED = {
    "IdleThresholdMins": "0.1",
    "LookbackPeriodMins": "1",
    "MaxUnknownMins": "3",
    "MetricPeriodSecs": "10",
    "SleepRate": "rate(1 minute)",
    "KillCron": "cron(0 0 1 1 ? 2199)",
    # Room for somebody who plays.
    "RateLimit": "50",
    "BurstLimit": "50",
}


class Cloud:
    """The emulator, and what is deployed into it."""

    def __init__(self, stage):
        self.stage = stage
        self.server_port = free_port(socket.SOCK_DGRAM)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = stage.environment(
            AWS_ENDPOINT_URL=self.url,
            AWS_ACCESS_KEY_ID=ACCOUNT,
            AWS_SECRET_ACCESS_KEY="of no use",
            AWS_REGION=REGION,
            AWS_DEFAULT_REGION=REGION,
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            PATH=f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        )
        # AWS's own library reads it in this process, too.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update({name: value for name, value in self.environment.items() if name.startswith("AWS_")})
        self.emulator = stage.start(
            "emulator",
            [pathlib.Path(sys.executable).with_name("ministack")],
            stage.environment(
                BIND_HOST="127.0.0.1", GATEWAY_PORT=str(self.port), MINISTACK_HOST="127.0.0.1", IOT_MTLS_ENABLED="0"
            ),
        )
        self.schedule = None

    def wait(self):
        until(60, self._answers, "the AWS emulator", self.emulator)
        self.stage.say("aws", f"the emulator answers at {self.url}, process {self.emulator.pid}")

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as peer:
                peer.settimeout(2)
                peer.sendall(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return peer.recv(16).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def client(self, service):
        """A client of AWS's own library; one for each thread."""
        return botocore.session.get_session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="of no use",
            config=botocore.config.Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 3}, proxies={}),
        )

    # ---- deployment

    def deploy(self):
        templates, packages = self._templates(), self._packages()
        self._deploy_sh("deploy", "account", templates, packages)
        settings = SHORTENED | {"EndpointUrl": self.url, "ServerPort": str(self.server_port)}
        options = [word for key, value in settings.items() for word in ("--set", f"control-plane.{key}={value}")]
        self._deploy_sh("deploy", ENVIRONMENT, templates, packages, "--except", "observability", *options)
        printed = self._deploy_sh("agent-env", ENVIRONMENT, templates, packages)
        self.api_key = dict(line.split("=", 1) for line in printed.splitlines())["FLUIDITY_API_KEY"]
        found = self.client("cloudformation").describe_stacks(StackName=f"fluidity-{ENVIRONMENT}-control-plane")
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Stacks"][0]["Outputs"]}
        # What is https://API.execute-api.… on AWS.
        self.api = f"{self.url}/restapis/{outputs['ApiId']}/live/_user_request_"
        schedule = self.client("scheduler").get_schedule(Name="sleep", GroupName=f"fluidity-{ENVIRONMENT}")
        self.schedule = schedule["CreationDate"].timestamp()

    def next_schedule(self):
        """In how many seconds the schedule fires: a minute after it was made, and every minute from then on."""
        return 60 - (time.time() - self.schedule) % 60

    def _deploy_sh(self, command, environment, templates, packages, *options):
        if command == "deploy":
            self.stage.say("deploy.sh", f"deploy {environment}")
            options = ("--yes", *options)
        log = self.stage.dir / "deploy.log"
        process = subprocess.Popen(
            [ROOT / "scripts" / "deploy.sh", command, environment, *options],
            env=self.environment
            | {
                "FLUIDITY_TEMPLATES_DIR": str(templates),
                "FLUIDITY_LAMBDA_DIR": str(packages),
                "FLUIDITY_POLL_SECONDS": "0.2",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if command == "deploy" else subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        printed = []
        try:
            with log.open("a") as kept:
                for line in process.stdout:
                    printed.append(line)
                    if command != "deploy":
                        continue
                    kept.write(line)
                    if found := re.match(r"  (fluidity-[a-z-]+): new$", line):
                        self.stage.say("deploy.sh", f"  stack {found[1]}")
            if process.wait() != 0:
                raise Failed(f"scripts/deploy.sh {command} {environment} failed", log)
        finally:
            if process.poll() is None:
                # With the aws tool that it waits for.
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        return "".join(printed)

    def _templates(self):
        """The shipped ones, without what the emulator lacks."""
        directory = self.stage.dir / "templates"
        directory.mkdir()
        for name in ("account", "network", "server", "control-plane"):
            text = (TEMPLATES / f"{name}.yaml").read_text()
            parts = re.split(r"(?m)^(?=  [A-Za-z0-9]+:$|[A-Za-z]+:$)", text)
            types = [re.search(r"(?m)^    Type: (\S+)$", part) for part in parts]
            text = "".join(part for part, kind in zip(parts, types) if not (kind and kind[1] in LACKING))
            if name == "control-plane":
                # The emulator's tasks have no network interface, whose public address wake would tell. A fixed host is
                # another of wake's settings.
                line = "          SERVER_PORT: !Ref ServerPort\n"
                if text.count(line) != 1:
                    raise Failed("control-plane.yaml does not set SERVER_PORT as this demo expects")
                text = text.replace(line, line + "          SERVER_HOST: 127.0.0.1\n")
            (directory / f"{name}.yaml").write_text(text)
        shutil.copy(TEMPLATES / "stack-policy.json", directory)
        return directory

    def _packages(self):
        """The real functions, as Lambda wants them: a program `bootstrap` in a zip."""
        directory = self.stage.dir / "lambdas"
        directory.mkdir()
        for name in FUNCTIONS:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            program = (self.stage.bin_dir / f"fluidity-{name}").read_bytes()
            with zipfile.ZipFile(directory / f"{name}.zip", "w", compresslevel=1) as package:
                package.writestr(entry, program)
        return directory


class Watcher(threading.Thread):
    """Calls `look` again and again, until it is told to end. What goes wrong in it is kept."""

    def __init__(self, period):
        super().__init__(daemon=True)
        self.period = period
        self.over = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.over.wait(self.period):
                self.look()
        except Exception as error:  # whatever it is: the story asks for it
            if not self.over.is_set():
                self.error = error
        finally:
            self.finish()

    def finish(self):
        """The last thing that the thread does."""

    def end(self):
        self.over.set()
        if self.is_alive():
            self.join(30)


class Runner(Watcher):
    """ECS for one service, with a process for a task."""

    def __init__(self, cloud, origin):
        super().__init__(0.2)
        self.cloud, self.stage = cloud, cloud.stage
        self.ecs = cloud.client("ecs")
        self.origin = origin
        self.desired = 0
        self.server = None
        self.started = 0
        self.exits = []

    def look(self):
        service = self.ecs.describe_services(cluster=NAMES["cluster"], services=[NAMES["service"]])["services"][0]
        desired = service["desiredCount"]
        if desired != self.desired:
            self.stage.say("ecs", f"desiredCount {self.desired} -> {desired}")
            self.desired = desired
        if self.server and self.server.ended() is not None:
            self.stage.say("server", f"has ended by itself, exit code {self.server.ended()}")
            self.exits.append(self.server.stop())
            self.server = None
        if desired > 0 and not self.server:
            self._start()
        elif desired == 0 and self.server:
            self.finish()

    def _start(self):
        tasks = self.ecs.list_tasks(cluster=NAMES["cluster"], serviceName=NAMES["service"])["taskArns"]
        if not tasks:
            return
        task = tasks[0].rsplit("/", 1)[-1]
        self.stage.say("runner", f"task {task[:8]}… begins; on Fargate this takes some 30 s, here {START_TAKES} s")
        if self.over.wait(START_TAKES):
            return
        port, ports = self.cloud.server_port, self.stage.dir / "server-ports.json"
        ports.unlink(missing_ok=True)
        config = self.stage.write(
            "server.yaml",
            f"""\
# Written by scripts/demo-scale-to-zero.sh. docs/samples/server.yaml has every key.
listen: 127.0.0.1:{port}
admin: 127.0.0.1:0
identity: {{ certificate: pki/server-fluidity-server.pem, key: pki/server-fluidity-server.key, ca: pki/ca.pem }}
policy:
  allow:
    # Private addresses are closed but for the demo origin.
    - {{ cidr: 127.0.0.1/32, ports: [{self.origin.rsplit(":", 1)[-1]}] }}
cloudwatch: {{ cluster-name: {NAMES["cluster"]}, service-name: {NAMES["service"]}, task-id: "{task}", period: 10s }}
drain-grace: 3s
# So that it stops soon, too, when an agent has just left half a handshake behind.
quic: {{ idle-timeout: 4s }}
""",
        )
        program = self.stage.bin_dir / "fluidity-server"
        server = self.stage.start(
            "server", [program, "run", "-c", config, "--ports-file", ports], self.cloud.environment
        )
        self.server = server
        server.file(ports)
        self.started += 1
        self.stage.say("server", f"fluidity-server runs, process {server.pid}, UDP port {port}")

    def finish(self):
        """The end of the task."""
        if not self.server:
            return
        began = time.monotonic()
        code = self.server.stop()
        self.stage.say("server", f"stopped by SIGTERM after {time.monotonic() - began:.1f} s, exit code {code}")
        self.exits.append(code)
        self.server = None


class Metrics(Watcher):
    """Tells what the server has told CloudWatch, when it changes."""

    def __init__(self, cloud):
        super().__init__(1)
        self.stage = cloud.stage
        self.cloudwatch = cloud.client("cloudwatch")
        self.newest = None
        self.active = None

    def look(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        found = self.cloudwatch.get_metric_statistics(
            Namespace="Fluidity",
            MetricName="ActiveConnections",
            Dimensions=[
                {"Name": "ClusterName", "Value": NAMES["cluster"]},
                {"Name": "ServiceName", "Value": NAMES["service"]},
            ],
            StartTime=now - datetime.timedelta(seconds=60),
            EndTime=now + datetime.timedelta(seconds=10),
            Period=10,
            Statistics=["Maximum"],
        )["Datapoints"]
        if not found:
            return
        newest = max(found, key=lambda point: point["Timestamp"])
        if self.newest == newest["Timestamp"]:
            return
        self.newest = newest["Timestamp"]
        if self.active != newest["Maximum"]:
            self.active = newest["Maximum"]
            self.stage.say("cloudwatch", f"the server tells: ActiveConnections {self.active:.0f}")


class Functions(Watcher):
    """Tells what the three functions say of each call, by their log in CloudWatch Logs."""

    def __init__(self, cloud):
        super().__init__(0.5)
        self.stage = cloud.stage
        self.logs = cloud.client("logs")
        self.seen = set()
        self.last = {}
        # (function, state, decision) of every call.
        self.calls = []

    def look(self):
        for name in FUNCTIONS:
            group = f"/fluidity/{ENVIRONMENT}/{name}"
            for event in self.logs.filter_log_events(logGroupName=group)["events"]:
                # The emulator gives its events no ids; every call has a stream of its own.
                identity = (event["logStreamName"], event["timestamp"], event["message"])
                if identity in self.seen:
                    continue
                self.seen.add(identity)
                for line in event["message"].splitlines():
                    self._tell(name, line)

    def _tell(self, name, line):
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict) or said.get("message") not in ("done", "failed", "refused"):
            return
        decision = json.loads(said.get("decision") or "{}")
        self.calls.append((name, said.get("state"), decision))
        text = said.get("answer") or said.get("reason") or said["message"]
        # An agent that waits asks the same again and again.
        if name == "sleep" or self.last.get(name) != text:
            source = {"schedule": "by its schedule", "api-gateway": f"by POST /{name}"}.get(said.get("source"), "directly")
            self.stage.say(name, f"called {source}: {text}")
        self.last[name] = text

    def stopped_when_idle(self):
        return any(
            name == "sleep" and decision.get("action") == "stop" and decision.get("reason") == "idle"
            for name, _, decision in self.calls
        )


# Long enough to see that a request is held.
START_TAKES = 2
