"""The AWS emulator of the tests, and the one place that says what it lacks.

MiniStack speaks AWS's wire and holds its state in memory. `Emulator` starts it on a free port; `templates` copies the
shipped templates and leaves out what it does not know: nothing else differs from what is deployed to AWS.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import yaml
from cfnlint.decode import cfn_yaml

CLOUDFORMATION = pathlib.Path(__file__).parents[1] / "cloudformation"

# Resource types that the emulator refuses. They are linted, and nothing more.
LACKING = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::EC2::FlowLog",
    "AWS::IAM::OIDCProvider",
    "AWS::Logs::QueryDefinition",
    "AWS::WAFv2::WebACLAssociation",
    "AWS::XRay::Group",
}


def templates(directory):
    """Writes the templates, without what is lacking, in their own layout and under their own names."""
    for source in CLOUDFORMATION.glob("*.yaml"):
        template = cfn_yaml.load(str(source))
        template["Resources"] = {
            name: resource for name, resource in template["Resources"].items() if resource["Type"] not in LACKING
        }
        plain = json.loads(json.dumps(template, default=str))
        number_of_tasks(plain["Resources"])
        (directory / source.name).write_text(yaml.safe_dump(plain, sort_keys=False, width=1000))
    shutil.copy(CLOUDFORMATION / "stack-policy.json", directory)
    return directory


def number_of_tasks(resources):
    """A parameter's number reaches ECS as text, which AWS takes and the emulator does not."""
    for resource in resources.values():
        match resource.get("Properties", {}).get("DesiredCount"):
            case {"Fn::If": [condition, {"Ref": _}, otherwise]}:
                resource["Properties"]["DesiredCount"] = {"Fn::If": [condition, 2, otherwise]}


class Emulator:
    """A MiniStack process. Every 12-digit access key is an account of its own, so tests share the process."""

    def __init__(self, log):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = dict(
            os.environ,
            BIND_HOST="127.0.0.1",
            GATEWAY_PORT=str(self.port),
            MINISTACK_HOST="127.0.0.1",
            IOT_MTLS_ENABLED="0",
        )
        self.process = subprocess.Popen(
            [pathlib.Path(sys.executable).with_name("ministack")], env=environment, stdout=log, stderr=log
        )

    def wait(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the emulator ended with {self.process.returncode}")
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2):
                    return self
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the emulator does not answer")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
