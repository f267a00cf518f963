"""The deployed API, as an agent calls it. With the real functions where FLUIDITY_LAMBDA_DIR names their packages.

The emulator answers unsigned calls for its default account only, so this module has that one.
"""

import concurrent.futures
import json
import os
import time
import urllib.error
import urllib.request

import pytest

DEFAULT_ACCOUNT = "000000000000"
KEY = "FLUIDITY_API_KEY"


class Api:
    def __init__(self, cloud):
        self.cloud = cloud
        identifier = cloud.outputs("fluidity-dev-control-plane")["ApiId"]
        self.base = f"{cloud.aws.url}/restapis/{identifier}/live/_user_request_"
        printed = cloud.deploy_sh("agent-env", "dev").stdout
        self.key = dict(line.split("=", 1) for line in printed.splitlines())[KEY]

    def post(self, path, body=b"{}", key=None, content_type="application/json"):
        headers = {"Content-Type": content_type}
        if key is not None:
            headers["x-api-key"] = key
        request = urllib.request.Request(f"{self.base}{path}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer), answer.headers
        except urllib.error.HTTPError as refused:
            text = refused.read()
            return refused.code, json.loads(text or b"{}"), refused.headers

    def rested(self, path, *arguments, **options):
        """Tries again while the burst that another test has used up is not there again."""
        deadline = time.monotonic() + 60
        while True:
            status, body, headers = self.post(path, *arguments, **options)
            if status != 429 or time.monotonic() > deadline:
                return status, body, headers
            time.sleep(1)


@pytest.fixture(scope="module")
def api(new_cloud):
    cloud = new_cloud(DEFAULT_ACCOUNT)
    cloud.deploy("account")
    cloud.deploy("dev", "--except", "observability", "--set", "SchedulesState=DISABLED")
    return Api(cloud)


@pytest.mark.parametrize("path", ["/wake", "/kill"])
@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_without_the_key_nothing_is_done(api, path, key):
    before = api.cloud.service("dev")["desiredCount"]
    status, body, _ = api.rested(path, key=key)
    assert status == 403
    assert set(body) <= {"error", "message", "retryable", "requestId"}
    assert api.cloud.service("dev")["desiredCount"] == before


def test_wake_wakes_and_kill_kills_and_both_may_be_repeated(api):
    for _ in range(2):
        status, body, _ = api.rested("/wake", key=api.key)
        assert status in (200, 202), body
        assert body["state"] in ("starting", "running") and body["desiredCount"] == 1
        assert api.cloud.service("dev")["desiredCount"] == 1
    for _ in range(2):
        status, body, _ = api.rested("/kill", key=api.key)
        assert status in (200, 202), body
        assert body["state"] in ("draining", "stopped") and body["desiredCount"] == 0
        assert api.cloud.service("dev")["desiredCount"] == 0


@pytest.mark.parametrize(
    "body", [b"{", b'{"unknown": 1}', b'{"clusterName": "another"}', b'["clusterName"]', b'"wake"'], ids=repr
)
def test_a_bad_body_is_refused_by_the_function_itself(api, body):
    # The emulator does not apply request validators: this is the function's own answer.
    status, answer, _ = api.rested("/wake", body, key=api.key)
    assert status == 400
    assert answer["error"] == "invalid-request"
    assert api.cloud.service("dev")["desiredCount"] == 0


def test_an_empty_body_is_a_command(api):
    status, body, _ = api.rested("/kill", b"", key=api.key)
    assert status in (200, 202), body


def test_past_the_burst_callers_are_told_to_wait(api):
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: api.post("/kill", key=api.key), range(40)))
    statuses = {status for status, _, _ in answers}
    assert 429 in statuses and statuses <= {200, 202, 429}
    headers = next(headers for status, _, headers in answers if status == 429)
    assert headers.get("Retry-After") == "5"


def test_the_functions_are_called_behind_their_alias(api):
    function = api.cloud.client("lambda").get_function_configuration(FunctionName="fluidity-dev-wake", Qualifier="live")
    assert function["Version"] != "$LATEST"
    assert function["Timeout"] == 30
    assert function["Environment"]["Variables"]["ECS_SERVICE_NAME"] == "fluidity-dev-server"


def test_both_methods_check_key_and_body(api):
    gateway = api.cloud.client("apigateway")
    identifier = api.cloud.outputs("fluidity-dev-control-plane")["ApiId"]
    resources = {r["path"]: r["id"] for r in gateway.get_resources(restApiId=identifier)["items"]}
    for path in ("/wake", "/kill"):
        method = gateway.get_method(restApiId=identifier, resourceId=resources[path], httpMethod="POST")
        assert method["apiKeyRequired"]
        # The emulator forgets the validator; that each method has one is a rule of infra/guard/.
        assert method["requestModels"] == {"$default": "Command"}


@pytest.mark.skipif("FLUIDITY_LAMBDA_DIR" not in os.environ, reason="the stand-in takes direct calls on trust")
def test_a_direct_call_is_checked_as_well(api):
    answer = api.cloud.client("lambda").invoke(
        FunctionName="fluidity-dev-kill", Qualifier="live", Payload=json.dumps({"clusterName": "another"})
    )
    assert "Fluidity.invalid-request" in answer["Payload"].read().decode()
