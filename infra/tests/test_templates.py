"""What no linter knows of the templates, parameter files and scripts. Needs no emulator."""

import json
import pathlib
import re

import pytest
import yaml
from cfnlint.decode import cfn_yaml

from emulator import CLOUDFORMATION, LACKING

ROOT = CLOUDFORMATION.parents[1]
PARAMS = ROOT / "infra" / "params"
TEMPLATES = sorted(CLOUDFORMATION.glob("*.yaml"))


def load(name):
    return json.loads(json.dumps(cfn_yaml.load(str(CLOUDFORMATION / f"{name}.yaml")), default=str))


@pytest.fixture(scope="module")
def all_templates():
    return {path.stem: load(path.stem) for path in TEMPLATES}


def resources(templates, kind):
    for template in templates.values():
        for name, resource in template["Resources"].items():
            if resource["Type"] == kind:
                yield name, resource


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_fits_into_one_call(path):
    # CloudFormation takes 51,200 bytes; above that it wants a bucket, which is not there at first.
    assert path.stat().st_size < 50_000


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_the_layout_that_deploy_sh_reads(path):
    """deploy.sh finds the parameters by their indentation."""
    found, inside = {}, False
    for line in path.read_text().splitlines():
        if re.match(r"[A-Za-z]", line):
            inside = line.startswith("Parameters:")
        elif inside and (name := re.fullmatch(r"  ([A-Za-z0-9]+):", line)):
            found[last := name[1]] = False
        elif inside and line.startswith("    Default:"):
            found[last] = True
    assert found == {name: "Default" in parameter for name, parameter in load(path.stem).get("Parameters", {}).items()}


def test_parameter_files_name_only_what_the_templates_know(all_templates):
    for path in PARAMS.glob("*.conf"):
        section = None
        for line in path.read_text().splitlines():
            if match := re.fullmatch(r"\[(.+)\]", line):
                section = match[1]
            elif (match := re.match(r"([A-Za-z0-9]+) *=", line)) and section not in ("deploy", "all"):
                assert match[1] in all_templates[section]["Parameters"], f"{path.name}: [{section}] {match[1]}"
            elif match and section == "all":
                known = [name for name, template in all_templates.items() if match[1] in template.get("Parameters", {})]
                assert known, f"{path.name}: no template knows {match[1]}"


def test_every_parameter_says_what_it_is(all_templates):
    for name, template in all_templates.items():
        for parameter, definition in template.get("Parameters", {}).items():
            assert definition.get("Description"), f"{name}: {parameter}"


def test_no_template_takes_a_secret_as_a_parameter(all_templates):
    for name, template in all_templates.items():
        for parameter in template.get("Parameters", {}):
            assert not re.search(r"(?i)password|privatekey|token|certificate|secret(?!arn)|pem", parameter.replace("IdentitySecretArn", "")), (
                f"{name}: {parameter}"
            )


def test_the_fleets_task_is_the_servers_but_for_names_and_the_health_port(all_templates):
    def containers(name):
        definition = all_templates[name]["Resources"]["TaskDefinition"]["Properties"]
        return json.dumps(definition["ContainerDefinitions"], sort_keys=True), {
            key: value for key, value in definition.items() if key not in ("ContainerDefinitions", "Family")
        }

    fleet, fleet_rest = containers("fleet")
    for ours, theirs in [
        ('{"Ref": "ServerLogGroup"}', '{"Ref": "LogGroup"}'),
        ("${IdentitySecretArn}", "${IdentitySecret.Id}"),
        ("${RepositoryUri}", "${Repository.RepositoryUri}"),
        ('{"Ref": "ClusterName"}', '{"Ref": "Cluster"}'),
        ("fluidity-${Environment}-fleet", "fluidity-${Environment}-server"),
        ('"awslogs-stream-prefix": "fleet"', '"awslogs-stream-prefix": "task"'),
        (', {"ContainerPort": {"Ref": "HealthPort"}, "Protocol": "tcp"}', ""),
        ('{"Name": "FLUIDITY_HEALTH_LISTEN", "Value": {"Fn::Sub": "0.0.0.0:${HealthPort}"}}, ', ""),
    ]:
        assert ours in fleet, ours
        fleet = fleet.replace(ours, theirs)
    server, server_rest = containers("server")
    assert json.loads(fleet) == json.loads(server)
    assert fleet_rest | {"ExecutionRoleArn": 0, "TaskRoleArn": 0} == server_rest | {"ExecutionRoleArn": 0, "TaskRoleArn": 0}


def test_the_server_is_told_only_settings_that_it_knows(all_templates):
    keys_file = ROOT / "server" / "src" / "config" / "keys.rs"
    if not keys_file.exists():
        pytest.skip("the server has no settings yet")
    keys = re.findall(r'^\s*(?:key\()?"([a-z0-9.-]+)",', keys_file.read_text(), re.M)
    keys += re.findall(r'key\("([a-z0-9.-]+)"', keys_file.read_text())
    known = {"FLUIDITY_" + key.upper().replace(".", "_").replace("-", "_") for key in keys}
    server = all_templates["server"]["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    told = {entry["Name"] for entry in server["Environment"] if "Name" in entry}
    assert {name for name in told if name.startswith("FLUIDITY_")} <= known


def test_the_identity_comes_as_secrets_from_the_store_that_is_chosen(all_templates):
    container = all_templates["server"]["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    for part in ("certificate", "key", "ca"):
        source = next(s["ValueFrom"] for s in container["Secrets"] if s["Name"] == f"FLUIDITY_IDENTITY_{part.upper()}_PEM")
        condition, secret, parameter = source["Fn::If"]
        assert condition == "WithSecretsManager"
        assert secret == {"Fn::Sub": f"${{IdentitySecret.Id}}:{part}::"}
        assert parameter["Fn::Sub"].endswith(f":parameter/fluidity/${{Environment}}/server/{part}")


def test_a_task_has_time_to_drain(all_templates):
    for template in ("server", "fleet"):
        container = all_templates[template]["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
        grace = next(entry["Value"] for entry in container["Environment"] if entry.get("Name") == "FLUIDITY_DRAIN_GRACE")
        assert container["StopTimeout"] == 120 and grace == "110s"


def test_there_are_never_two_addresses(all_templates):
    service = all_templates["server"]["Resources"]["Service"]["Properties"]
    assert service["DeploymentConfiguration"]["MinimumHealthyPercent"] == 0
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100


def test_the_number_of_tasks_is_named_at_the_first_deployment_only(all_templates):
    service = all_templates["server"]["Resources"]["Service"]["Properties"]
    assert service["DesiredCount"] == {"Fn::If": ["IsFirstDeploy", 0, {"Ref": "AWS::NoValue"}]}
    assert "Tags" not in service, "wake's stamp would be reported as drift"


def test_every_function_logs_into_its_own_group_and_is_called_by_its_alias(all_templates):
    found = all_templates["control-plane"]["Resources"]
    timeouts = {}
    for name in ("Wake", "Sleep", "Kill"):
        function = found[f"{name}Function"]["Properties"]
        timeouts[name] = function["Timeout"]
        assert function["LoggingConfig"]["LogGroup"] == {"Ref": f"{name}LogGroup"}
        assert found[f"{name}Alias"]["Properties"]["FunctionVersion"] == {"Fn::GetAtt": [f"{name}VersionRev0", "Version"]}
    assert timeouts == {"Wake": 30, "Sleep": 60, "Kill": 30}

def test_the_gateway_lets_through_what_the_functions_understand_and_nothing_else(all_templates):
    schema = all_templates["control-plane"]["Resources"]["CommandModel"]["Properties"]["Schema"]
    source = (ROOT / "control-plane" / "core" / "src" / "request.rs").read_text()
    fields = re.findall(r"^    (\w+): ", re.search(r"struct Fields \{(.*?)\n\}", source, re.S)[1], re.M)
    assert set(schema["properties"]) == {re.sub(r"_(\w)", lambda found: found[1].upper(), field) for field in fields}
    assert schema["additionalProperties"] is False and schema["type"] == "object"
    assert schema["properties"]["reason"]["maxLength"] == int(re.search(r"MAX_REASON: usize = (\d+);", source)[1])


def test_no_function_runs_more_often_at_once_than_it_may(all_templates):
    found = all_templates["control-plane"]
    for name in ("Wake", "Sleep", "Kill"):
        limit = found["Resources"][f"{name}Function"]["Properties"]["ReservedConcurrentExecutions"]
        assert limit == {"Fn::If": ["WithReservedConcurrency", {"Ref": f"{name}Concurrency"}, {"Ref": "AWS::NoValue"}]}
    assert found["Parameters"]["ReservedConcurrency"]["Default"] == "true"
    assert found["Parameters"]["SleepConcurrency"]["Default"] == 1


def test_a_call_that_failed_to_its_end_is_kept(all_templates):
    found = all_templates["control-plane"]["Resources"]
    for name in ("Sleep", "Kill"):
        kept = found[f"{name}Failures"]["Properties"]
        assert kept["Qualifier"] == "live", "schedules call the alias"
        assert kept["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}


def test_what_costs_money_at_rest_is_off_in_dev_and_by_default(all_templates):
    for template, resource, condition in [
        ("control-plane", "WebAcl", "WithFirewall"),
        ("control-plane", "WebAclAssociation", "WithFirewall"),
        ("observability", "DashboardPage", "WithDashboard"),
        ("observability", "Refusals", "WithRefusalsAlarm"),
        ("server", "IdentitySecret", "WithSecretsManager"),
    ]:
        found = all_templates[template]
        assert found["Resources"][resource]["Condition"] == condition
        parameter, on = found["Conditions"][condition]["Fn::Equals"]
        assert found["Parameters"][parameter["Ref"]]["Default"] != on
        assert not re.search(rf"^{parameter['Ref']} *= *{on}$", (PARAMS / "dev.conf").read_text(), re.M)
        assert re.search(rf"^{parameter['Ref']} *= *{on}$", (PARAMS / "prod.conf").read_text(), re.M)


def test_every_alarm_and_event_reaches_the_topic(all_templates):
    found = all_templates["observability"]["Resources"]
    alarms = dict(resources({"o": all_templates["observability"]}, "AWS::CloudWatch::Alarm"))
    for name, alarm in alarms.items():
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": "Topic"}], name
    watched = {(alarm["Properties"]["Namespace"], alarm["Properties"]["MetricName"]) for alarm in alarms.values() if isinstance(alarm["Properties"]["MetricName"], str)}
    assert {("AWS/Lambda", "Errors"), ("AWS/Lambda", "Invocations"), ("AWS/ApiGateway", "5XXError"), ("AWS/SQS", "ApproximateNumberOfMessagesVisible")} <= watched
    assert {"NeverRan", "UnknownTooLong", "InDoubt", "AwakeLong"} <= set(alarms)
    assert found["FailedTasks"]["Properties"]["Targets"][0]["Arn"] == {"Ref": "Topic"}
    for kind in ("AWS::Budgets::Budget", "AWS::CE::AnomalySubscription"):
        assert '{"Ref": "Topic"}' in json.dumps([one for _, one in resources(all_templates, kind)]), kind


def test_active_tracing_covers_the_api_and_every_function(all_templates):
    found = all_templates["control-plane"]["Resources"]
    assert found["Stage"]["Properties"]["TracingEnabled"] == {"Fn::If": ["WithActiveTracing", True, False]}
    for name in ("Wake", "Sleep", "Kill"):
        mode = found[f"{name}Function"]["Properties"]["TracingConfig"]["Mode"]
        assert mode == {"Fn::If": ["WithActiveTracing", "Active", "PassThrough"]}


def test_the_functions_have_a_collector_only_where_its_layer_is_named(all_templates):
    found = all_templates["control-plane"]
    assert found["Parameters"]["CollectorLayerArn"]["Default"] == ""
    traces = {"Fn::Or": [{"Condition": "WithActiveTracing"}, {"Condition": "WithCollector"}]}
    assert found["Conditions"]["WithTraces"] == traces

    def only_with_collector(value):
        return {"Fn::If": ["WithCollector", value, {"Ref": "AWS::NoValue"}]}

    for name in ("Wake", "Sleep", "Kill"):
        function = found["Resources"][f"{name}Function"]["Properties"]
        variables = {key: value for key, value in function["Environment"]["Variables"].items() if key.startswith("OTEL_")}
        assert variables == {
            "OTEL_EXPORTER_OTLP_ENDPOINT": only_with_collector("http://localhost:4318"),
            "OTEL_SERVICE_NAME": only_with_collector({"Fn::Sub": f"fluidity-${{Environment}}-{name.lower()}"}),
            "OTEL_RESOURCE_ATTRIBUTES": only_with_collector({"Fn::Sub": "deployment.environment.name=${Environment}"}),
        }
        condition, layers, otherwise = function["Layers"]["Fn::If"]
        assert condition == "WithLayers" and otherwise == {"Ref": "AWS::NoValue"}
        assert layers[0] == only_with_collector({"Ref": "CollectorLayerArn"})
        assert function["MemorySize"] == {"Fn::If": ["WithCollector", 256, 128]}
        statements = found["Resources"][f"{name}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        assert [s["Fn::If"][0] for s in statements if "Fn::If" in s and s["Fn::If"][1]["Sid"] == "PublishTraces"] == ["WithTraces"]


@pytest.mark.parametrize("name", ["server", "fleet"])
def test_the_collector_beside_the_server_can_fail_and_the_server_does_not(all_templates, name):
    server, optional = all_templates[name]["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    condition, collector, otherwise = optional["Fn::If"]
    assert condition == "WithTracing" and otherwise == {"Ref": "AWS::NoValue"}
    assert collector["Essential"] is False and server["Essential"] is True
    # It ends after the server, which has spans to the last; and starts without waiting for its health.
    depends = server["DependsOn"]["Fn::If"]
    assert depends == ["WithTracing", [{"ContainerName": "collector", "Condition": "START"}], {"Ref": "AWS::NoValue"}]
    environment = {entry["Name"]: entry["Value"] for entry in collector["Environment"]}
    told = yaml.safe_load(environment["AOT_CONFIG_CONTENT"])
    listens = told["receivers"]["otlp"]["protocols"]
    sends = {e["Fn::If"][1]["Name"]: e["Fn::If"][1]["Value"] for e in server["Environment"] if "Fn::If" in e}
    assert set(listens) == {"http"} and sends["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://{listens['http']['endpoint']}"
    pipeline = told["service"]["pipelines"]["traces"]
    assert pipeline == {"receivers": ["otlp"], "processors": ["memory_limiter", "batch"], "exporters": ["awsxray"]}
    assert "awsxray" in told["exporters"]
    # What /healthcheck of the image asks, without a shell.
    assert told["extensions"]["health_check"]["endpoint"] == "127.0.0.1:13133"
    assert told["service"]["extensions"] == ["health_check"]
    assert collector["HealthCheck"]["Command"] == ["CMD", "/healthcheck"]
    # In the smallest task the server keeps more than half.
    limit = told["processors"]["memory_limiter"]["limit_mib"]
    assert limit < int(environment["GOMEMLIMIT"].removesuffix("MiB")) < collector["Memory"] < 512 / 2
    assert collector["User"].split(":")[0] not in ("0", "root")


def test_schedules_report_what_they_could_not_deliver(all_templates):
    found = dict(resources(all_templates, "AWS::Scheduler::Schedule"))
    assert set(found) == {"SleepSchedule", "KillSchedule"}
    for schedule in found.values():
        target = schedule["Properties"]["Target"]
        assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    sleep = found["SleepSchedule"]["Properties"]["Target"]["RetryPolicy"]
    assert sleep["MaximumRetryAttempts"] == 0 and sleep["MaximumEventAgeInSeconds"] <= 240
    assert found["KillSchedule"]["Properties"]["Target"]["RetryPolicy"]["MaximumRetryAttempts"] > 0


def test_the_stack_policy_protects_every_type_that_holds_state(all_templates):
    policy = json.loads((CLOUDFORMATION / "stack-policy.json").read_text())
    deny = next(statement for statement in policy["Statement"] if statement["Effect"] == "Deny")
    protected = set(deny["Condition"]["StringEquals"]["ResourceType"])
    assert set(deny["Action"]) == {"Update:Delete", "Update:Replace"}
    present = {resource["Type"] for template in all_templates.values() for resource in template["Resources"].values()}
    assert protected <= present, "a type that no template has: a typo?"
    kept = {
        resource["Type"]
        for template in all_templates.values()
        for resource in template["Resources"].values()
        if resource.get("UpdateReplacePolicy") == "Retain" and resource["Type"] != "AWS::Lambda::Version"
    }
    assert kept <= protected


def test_every_alarm_is_in_the_runbook(all_templates):
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    names = [alarm["Properties"]["AlarmName"]["Fn::Sub"] for _, alarm in resources(all_templates, "AWS::CloudWatch::Alarm")]
    assert len(names) >= 11
    for name in names:
        short = name.removeprefix("fluidity-${Environment}-")
        assert f"### {short}\n" in runbook, f"docs/runbook.md has no section {short}"


def test_at_most_ten_alarms_by_default(all_templates):
    found = [alarm for _, alarm in resources({"o": all_templates["observability"]}, "AWS::CloudWatch::Alarm")]
    assert len([alarm for alarm in found if "Condition" not in alarm]) <= 10


def test_the_words_of_sleep_and_of_the_filters_are_the_same(all_templates):
    verdict = ROOT / "control-plane" / "core" / "src" / "decision" / "verdict.rs"
    words = set(re.findall(r'Self::[A-Za-z]+ => "([a-z-]+)"', verdict.read_text()))
    patterns = " ".join(
        found["Properties"]["FilterPattern"] for _, found in resources(all_templates, "AWS::Logs::MetricFilter")
    )
    assert set(re.findall(r'"([a-z-]+)"', patterns)) == words


def test_the_table_of_roles_lists_every_statement(all_templates):
    table = (ROOT / "docs" / "deployment-aws.md").read_text()
    for name, role in resources(all_templates, "AWS::IAM::Role"):
        for policy in role["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                for one in statement["Fn::If"][1:] if "Fn::If" in statement else [statement]:
                    if "Sid" in one:
                        assert f"`{one['Sid']}`" in table, f"docs/deployment-aws.md: {name}, {one['Sid']}"


def test_the_emulator_lacks_nothing_that_is_no_longer_there(all_templates):
    present = {resource["Type"] for template in all_templates.values() for resource in template["Resources"].values()}
    assert LACKING <= present


def test_every_action_of_the_workflows_is_pinned_to_one_commit_per_version():
    pins = {}
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for action, commit, version in re.findall(r"uses: ([^@\s]+)@([0-9a-f]{40}) # (v[\d.]+)$", path.read_text(), re.M):
            assert pins.setdefault(action, (commit, version)) == (commit, version), f"{path.name}: {action}"
        used = re.findall(r"uses: (?!\$/)(\S+)", path.read_text())
        assert all(re.search(r"@[0-9a-f]{40}$", one) for one in used), path.name
    assert pins


def test_the_workflows_deploy_environments_that_exist():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for listed in re.findall(r"environment: \[(.+)\]", path.read_text()):
            for environment in listed.split(", "):
                assert (PARAMS / f"{environment}.conf").exists()


def test_compose_and_dockerfiles_agree_with_the_task(all_templates):
    container = all_templates["server"]["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    dockerfile = (ROOT / "infra" / "docker" / "server.Dockerfile").read_text()
    assert f"USER {container['User']}" in dockerfile
    command = json.loads(re.search(r"HEALTHCHECK .* CMD (\[.+\])", dockerfile)[1])
    assert container["HealthCheck"]["Command"] == ["CMD", *command]


def test_nothing_names_this_machine():
    for path in [*ROOT.glob("infra/**/*"), *ROOT.glob(".github/**/*"), *ROOT.glob("scripts/*.sh")]:
        if path.is_file() and path != pathlib.Path(__file__) and "__pycache__" not in path.parts:
            assert not re.search(r"/root/|/work/", path.read_text()), path
