#!/usr/bin/env python3
"""A stand-in for the wake, sleep and kill Lambdas: a `bootstrap` that speaks the runtime API with the standard library.

It answers as the real ones do where a test of the infrastructure looks: 202 and 200 with a state, 400 for a body that is
no command. It scales the service by plain calls to the emulator, so that a schedule is seen to have fired.
"""

import json
import os
import urllib.request

FUNCTION = os.environ["AWS_LAMBDA_FUNCTION_NAME"].rsplit("-", 1)[-1]
RUNTIME = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"


def ecs(action, **body):
    account = os.environ.get("AWS_ACCESS_KEY_ID", "test")
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        json.dumps(body).encode(),
        {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{action}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={account}/20250101/{os.environ['AWS_REGION']}/ecs/aws4_request, "
            "SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def scale(count):
    cluster, service = os.environ["ECS_CLUSTER_NAME"], os.environ["ECS_SERVICE_NAME"]
    return ecs("UpdateService", cluster=cluster, service=service, desiredCount=count)


def command(event):
    """The posted command, or None where it is none."""
    try:
        body = json.loads(event.get("body") or "{}")
    except ValueError:
        return None
    if not isinstance(body, dict) or set(body) - {"clusterName", "serviceName", "reason"}:
        return None
    if body.get("clusterName", os.environ["ECS_CLUSTER_NAME"]) != os.environ["ECS_CLUSTER_NAME"]:
        return None
    return body


def answer(event):
    if "httpMethod" in event and command(event) is None:
        return 400, {"error": "invalid-request", "message": "not a command"}
    scale(1 if FUNCTION == "wake" else 0)
    if FUNCTION == "wake":
        return 202, {"state": "starting", "desiredCount": 1, "revision": os.environ["FLUIDITY_REVISION"]}
    return 200, {"state": "stopped", "desiredCount": 0, "revision": os.environ["FLUIDITY_REVISION"]}


def main():
    while True:
        with urllib.request.urlopen(f"{RUNTIME}/next") as event:
            request = event.headers["Lambda-Runtime-Aws-Request-Id"]
            status, body = answer(json.load(event))
        text = json.dumps({"statusCode": status, "body": json.dumps(body)})
        urllib.request.urlopen(urllib.request.Request(f"{RUNTIME}/{request}/response", text.encode()))


if __name__ == "__main__":
    main()
