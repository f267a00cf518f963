"""One emulator for all tests of a worker; each test or module has an AWS account of its own in it.

pytest.ini has several workers run them. Tests that share a deployment run in one worker, in their order.
"""

import functools
import itertools
import json
import os
import pathlib
import subprocess
import stat
import sys
import tempfile
import time
import zipfile

import botocore.session
import pytest

import emulator

ROOT = pathlib.Path(__file__).parents[2]
REGION = "eu-west-1"
FUNCTIONS = ("wake", "sleep", "kill")
# Tests that share a deployment.
SHARED = ("test_api.py", "test_images.py", "test_update.py")
accounts = itertools.count(100_000_000_001)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than processors: there is always one that waits for a schedule."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 7) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class SharedDeployments(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module = nodeid.split("::")[0]
            return module if module.rsplit("/", 1)[-1] in SHARED else nodeid

    return SharedDeployments(config, log)


def pytest_terminal_summary(terminalreporter):
    """What tests have measured: a worker has no terminal."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if report.when == "call":
                terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    log = tmp_path_factory.mktemp("emulator") / "log"
    with log.open("w") as out:
        running = emulator.Emulator(out)
        try:
            yield running.wait()
        finally:
            running.stop()


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    return emulator.templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="session")
def lambdas(tmp_path_factory):
    """The packages: real ones from FLUIDITY_LAMBDA_DIR, else the stand-in."""
    if given := os.environ.get("FLUIDITY_LAMBDA_DIR"):
        return pathlib.Path(given)
    directory = tmp_path_factory.mktemp("lambdas")
    for name in FUNCTIONS:
        package(directory / f"{name}.zip", (pathlib.Path(__file__).parent / "stub_lambda.py").read_text())
    return directory


def package(path, bootstrap):
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, bootstrap)


@pytest.fixture(scope="session")
def aws_tool():
    """A directory with an `aws` that need not be started anew for each call."""
    script = pathlib.Path(__file__).with_name("aws_cli.py")
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="aws-") as directory:
        address = pathlib.Path(directory) / "socket"
        tool = pathlib.Path(directory) / "aws"
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{script}" call "{address}" "$@"\n')
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        # Its standard input is a pipe of ours: whatever becomes of us, it ends.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        server = subprocess.Popen([sys.executable, script, "serve", address], stdin=subprocess.PIPE, env=plain)
        deadline = time.monotonic() + 60
        while not address.exists():
            assert server.poll() is None and time.monotonic() < deadline, "the aws tool does not start"
            time.sleep(0.05)
        yield pathlib.Path(directory)
        server.stdin.close()
        server.wait(10)


class Cloud:
    """An AWS account, and scripts/deploy.sh in it."""

    def __init__(self, aws, aws_tool, templates, lambdas, account=None):
        self.aws, self.lambdas = aws, lambdas
        self.account = account or str(next(accounts))
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "FLUIDITY_")) and name != "CI"
        } | {
            "PATH": os.pathsep.join([str(aws_tool), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": "of no use",
            "AWS_DEFAULT_REGION": REGION,
            "FLUIDITY_TEMPLATES_DIR": str(templates),
            "FLUIDITY_LAMBDA_DIR": str(lambdas),
            "FLUIDITY_POLL_SECONDS": "0.2",
        }

    def script(self, name, *arguments, **environment):
        return subprocess.run(
            [ROOT / "scripts" / name, *arguments],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def deploy_sh(self, *arguments, **environment):
        return self.script("deploy.sh", *arguments, **environment)

    def deploy(self, environment, *arguments, **variables):
        """Deploys, and returns what was said. The emulator lists resources whose condition is false, so that it seems
        to be about to cost something: hence --yes."""
        done = self.deploy_sh(
            "deploy", environment, "--yes", "--set", f"control-plane.EndpointUrl={self.aws.url}", *arguments, **variables
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    @functools.cache  # noqa: B019, an account lives as long as the tests
    def client(self, service):
        return botocore.session.get_session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.aws.url,
            aws_access_key_id=self.account,
            aws_secret_access_key="of no use",
        )

    def outputs(self, stack):
        found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def stacks(self):
        found = self.client("cloudformation").describe_stacks()["Stacks"]
        return {stack["StackName"]: stack["StackStatus"] for stack in found}

    def service(self, environment):
        found = self.client("ecs").describe_services(
            cluster=f"fluidity-{environment}", services=[f"fluidity-{environment}-server"], include=["TAGS"]
        )
        return found["services"][0]

    def wake_by_hand(self, environment):
        names = {"cluster": f"fluidity-{environment}", "service": f"fluidity-{environment}-server"}
        self.client("ecs").update_service(**names, desiredCount=1)
        self.client("ecs").tag_resource(
            resourceArn=self.service(environment)["serviceArn"],
            tags=[{"key": "fluidity:last-wake", "value": "1700000000"}],
        )


@pytest.fixture(scope="session")
def new_cloud(aws, aws_tool, templates, lambdas):
    return lambda account=None: Cloud(aws, aws_tool, templates, lambdas, account)


@pytest.fixture
def cloud(new_cloud):
    return new_cloud()


@pytest.fixture(scope="module")
def dev(new_cloud):
    """An account with the account stack and the environment dev."""
    cloud = new_cloud()
    cloud.deploy("account")
    cloud.deploy("dev")
    return cloud


def plain(value):
    return json.loads(json.dumps(value, default=str))
