"""Deployments of an environment that is there already: one of `dev`, which these tests share, in their order."""

from conftest import package


def test_a_deployment_never_resets_a_woken_service(dev):
    dev.wake_by_hand("dev")
    dev.deploy("dev")
    assert dev.service("dev")["desiredCount"] == 1
    # A change of the service itself, not only of its neighbours.
    said = dev.deploy("dev", "--set", "server.LogLevel=debug")
    assert "~ Service  AWS::ECS::Service" in said and "the server is awake" in said
    woken = dev.service("dev")
    assert woken["desiredCount"] == 1
    assert {"key": "fluidity:last-wake", "value": "1700000000"} in woken["tags"]


def test_a_sleeping_service_is_not_woken_by_a_deployment(dev):
    dev.client("ecs").update_service(cluster="fluidity-dev", service="fluidity-dev-server", desiredCount=0)
    said = dev.deploy("dev", "--set", "server.LogLevel=warn")
    assert "~ Service  AWS::ECS::Service" in said
    assert dev.service("dev")["desiredCount"] == 0


def test_a_new_setting_of_a_function_reaches_the_version_behind_the_alias(dev):
    functions = dev.client("lambda")

    def live():
        return functions.get_function_configuration(FunctionName="fluidity-dev-sleep", Qualifier="live")

    before = live()
    dev.deploy("dev", "--set", "IdleThresholdMins=45")
    after = live()
    assert after["Environment"]["Variables"]["IDLE_THRESHOLD_MINS"] == "45"
    assert int(after["Version"]) == int(before["Version"]) + 1


def test_new_code_reaches_the_version_behind_the_alias_and_stays_where_none_is_given(dev, tmp_path):
    functions = dev.client("lambda")

    def sha():
        return functions.get_function_configuration(FunctionName="fluidity-dev-wake", Qualifier="live")["CodeSha256"]

    before = sha()
    for name in ("wake", "sleep", "kill"):
        package(tmp_path / f"{name}.zip", f"#!/bin/sh\n# another {name}\n")
    dev.deploy("dev", "--lambdas", str(tmp_path))
    changed = sha()
    assert changed != before
    dev.deploy("dev", FLUIDITY_LAMBDA_DIR="")
    assert sha() == changed
    dev.deploy("dev")
    assert sha() == before


def test_an_image_tag_stays_until_another_is_given(dev):
    def image():
        task = dev.service("dev")["taskDefinition"]
        described = dev.client("ecs").describe_task_definition(taskDefinition=task)["taskDefinition"]
        return described["containerDefinitions"][0]["image"]

    dev.deploy("dev", "--image-tag", "1.2.3")
    assert image().endswith("/fluidity-dev/server:1.2.3")
    dev.deploy("dev")
    assert image().endswith("/fluidity-dev/server:1.2.3")


def test_status_tells_whether_the_server_is_awake(dev):
    dev.wake_by_hand("dev")
    said = dev.deploy_sh("status", "dev")
    assert said.returncode == 0, said.stderr
    assert "awake (desired 1, running 1, pending 0), last woken" in said.stdout
    assert "/live/wake" in said.stdout


def test_agents_get_their_variables_in_a_file_of_their_own(dev, tmp_path):
    path = tmp_path / "agent.env"
    done = dev.deploy_sh("agent-env", "dev", "--file", str(path))
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert set(lines) == {"FLUIDITY_WAKE_ENDPOINT", "FLUIDITY_KILL_ENDPOINT", "FLUIDITY_API_KEY"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines["FLUIDITY_API_KEY"] not in done.stderr + done.stdout
