"""scripts/deploy.sh against the emulator, with the shipped templates and parameter files. Each test has an account of its own."""

import time

import pytest
import yaml

ENVIRONMENTS = {
    "dev": ["network", "server", "control-plane", "observability"],
    "staging": ["network", "server", "control-plane", "observability"],
    "prod": ["encryption", "network", "server", "control-plane", "observability"],
    "team": ["network", "server", "fleet"],
}


def test_the_schedule_fires(new_cloud):
    cloud = new_cloud()
    cloud.deploy("account")
    cloud.deploy(
        "dev", "--except", "observability", "--set", "SleepRate=rate(1 minute)", "--set", "IdleThresholdMins=0.05",
        "--set", "MaxUnknownMins=0.05",
    )  # fmt: skip
    cloud.client("ecs").update_service(cluster="fluidity-dev", service="fluidity-dev-server", desiredCount=1)
    deadline = time.monotonic() + 180
    while cloud.service("dev")["desiredCount"] == 1:
        assert time.monotonic() < deadline, "nobody has put the server to sleep"
        time.sleep(1)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_deploys_again_without_a_change_and_leaves_nothing(cloud, environment):
    cloud.deploy("account")
    said = cloud.deploy(environment)
    expected = [f"fluidity-{environment}-{part}" for part in ENVIRONMENTS[environment]]
    assert set(cloud.stacks()) == {"fluidity-account", *expected}, said
    assert all(status.endswith("_COMPLETE") and "ROLLBACK" not in status for status in cloud.stacks().values())
    assert cloud.service(environment)["desiredCount"] == 0

    again = cloud.deploy(environment)
    assert [line.strip() for line in again.splitlines() if "no changes" in line] == [f"{n}: no changes" for n in expected]
    assert "~" not in again and "+" not in again

    refused = cloud.deploy_sh("destroy", "account", "--yes")
    assert refused.returncode == 1 and "in need of it" in refused.stderr
    gone = cloud.deploy_sh("destroy", environment, "--yes")
    assert gone.returncode == 0, gone.stderr
    gone = cloud.deploy_sh("destroy", "account", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert leftovers(cloud) == {}


def test_the_pipeline_deploys_by_itself(cloud):
    cloud.deploy("account", "--set", "GitHubOidcProvider=create")
    missing = cloud.deploy_sh("deploy", "prod", "--only", "pipeline", "--yes")
    assert missing.returncode == 1 and "no value for GitHubRepository" in missing.stderr
    cloud.deploy("prod", "--only", "pipeline", "--set", "GitHubRepository=ann/fluidity")
    assert set(cloud.stacks()) == {"fluidity-account", "fluidity-prod-pipeline"}
    role = cloud.outputs("fluidity-prod-pipeline")["DeployRoleArn"].rsplit("/", 1)[-1]
    trust = cloud.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    equals = trust["Statement"][0]["Condition"]["StringEquals"]
    assert equals["token.actions.githubusercontent.com:sub"] == "repo:ann/fluidity:environment:prod"


def test_what_costs_money_at_rest_needs_a_yes(cloud):
    cloud.deploy("account")
    refused = cloud.deploy_sh("deploy", "prod")
    assert refused.returncode == 1
    assert "Key costs 1 USD a month" in refused.stderr and "--yes" in refused.stderr
    assert set(cloud.stacks()) == {"fluidity-account"}, "nothing may be left of it"


def test_a_plan_changes_nothing(cloud):
    planned = cloud.deploy_sh("plan", "prod")
    assert planned.returncode == 0, planned.stderr
    assert "+ Vpc  AWS::EC2::VPC" in planned.stderr
    assert "Key costs 1 USD a month" in planned.stderr
    assert "fluidity-prod-server: new, once there is: SubnetIds SecurityGroupId" in planned.stderr
    assert cloud.stacks() == {}


def test_what_was_changed_by_hand_is_found(new_cloud):
    cloud = new_cloud()
    cloud.deploy("account")
    cloud.deploy("dev")
    cloud.wake_by_hand("dev")
    clean = cloud.deploy_sh("drift", "dev")
    assert clean.returncode == 0, "a woken service is no drift: " + clean.stderr

    cloud.client("lambda").update_function_configuration(FunctionName="fluidity-dev-sleep", Timeout=3)
    cloud.client("ecr").delete_repository(repositoryName="fluidity-dev/server", force=True)
    found = cloud.deploy_sh("drift", "dev")
    assert found.returncode == 3
    assert "/Timeout: deployed 60, is 3" in found.stderr
    assert "DELETED" in found.stderr and "fluidity-dev/server" in found.stderr
    assert "fluidity-dev-network: as deployed" in found.stderr


def test_what_holds_state_is_not_removed_by_a_deployment(new_cloud, templates, tmp_path):
    cloud = new_cloud()
    cloud.deploy("account")
    cloud.deploy("dev", "--only", "network,server")
    stored = cloud.client("cloudformation").get_stack_policy(StackName="fluidity-dev-server")["StackPolicyBody"]
    assert stored == (templates / "stack-policy.json").read_text().rstrip("\n")

    for file in templates.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    server = yaml.safe_load((templates / "server.yaml").read_text())
    del server["Resources"]["Repository"]
    del server["Outputs"]["RepositoryUri"]
    text = yaml.safe_dump(server, sort_keys=False, width=1000)
    text = text.replace("${Repository.RepositoryUri}", "elsewhere.example")
    assert "Repository.Arn" in text or "- Repository\n" in text
    server = yaml.safe_load(text)
    for statement in server["Resources"]["ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
        if statement.get("Sid") == "PullImage":
            statement["Resource"] = "*"
    (tmp_path / "server.yaml").write_text(yaml.safe_dump(server, sort_keys=False, width=1000))

    arguments = ("deploy", "dev", "--yes", "--only", "server")
    refused = cloud.deploy_sh(*arguments, FLUIDITY_TEMPLATES_DIR=str(tmp_path))
    assert refused.returncode == 1
    assert "protects Repository (AWS::ECR::Repository)" in refused.stderr
    assert repositories(cloud) == ["fluidity-dev/server"]
    meant = cloud.deploy_sh(*arguments, "--lift-policy", FLUIDITY_TEMPLATES_DIR=str(tmp_path))
    assert meant.returncode == 0, meant.stderr
    assert repositories(cloud) == []
    stored = cloud.client("cloudformation").get_stack_policy(StackName="fluidity-dev-server")["StackPolicyBody"]
    assert "Deny" in stored, "the policy has to be back"


def test_termination_protection_is_set_where_the_file_asks_for_it(cloud):
    cloud.deploy("account")
    cloud.deploy("prod", "--only", "encryption")
    cloudformation = cloud.client("cloudformation")
    with pytest.raises(cloudformation.exceptions.ClientError, match="TerminationProtection"):
        cloudformation.delete_stack(StackName="fluidity-prod-encryption")


def test_a_failed_first_deployment_says_why_and_is_cleared_away_by_the_next(cloud, templates, tmp_path):
    for file in templates.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    network = yaml.safe_load((templates / "network.yaml").read_text())
    # CloudFormation takes this for well formed, and cannot make it.
    network["Resources"]["Broken"] = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "SecureString", "Value": "x"}}
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network, sort_keys=False, width=1000))
    failed = cloud.deploy_sh("deploy", "dev", "--yes", "--only", "network", FLUIDITY_TEMPLATES_DIR=str(tmp_path))
    assert failed.returncode == 1, failed.stderr
    assert "ROLLBACK_COMPLETE" in failed.stderr and "Broken\t" in failed.stderr, failed.stderr
    said = cloud.deploy("dev", "--only", "network")
    assert "was never finished" in said
    assert cloud.stacks() == {"fluidity-dev-network": "CREATE_COMPLETE"}


def repositories(cloud):
    return [found["repositoryName"] for found in cloud.client("ecr").describe_repositories()["repositories"]]


def leftovers(cloud):
    """Everything in the account that a deployment could have left."""
    found = {
        "stacks": list(cloud.stacks()),
        "buckets": cloud.client("s3").list_buckets()["Buckets"],
        "clusters": cloud.client("ecs").list_clusters()["clusterArns"],
        "repositories": repositories(cloud),
        "functions": cloud.client("lambda").list_functions()["Functions"],
        "apis": cloud.client("apigateway").get_rest_apis()["items"],
        "api keys": cloud.client("apigateway").get_api_keys()["items"],
        "usage plans": cloud.client("apigateway").get_usage_plans()["items"],
        "schedules": cloud.client("scheduler").list_schedules()["Schedules"],
        "queues": cloud.client("sqs").list_queues().get("QueueUrls", []),
        "topics": cloud.client("sns").list_topics()["Topics"],
        "alarms": cloud.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "dashboards": cloud.client("cloudwatch").list_dashboards()["DashboardEntries"],
        "log groups": cloud.client("logs").describe_log_groups()["logGroups"],
        "roles": cloud.client("iam").list_roles()["Roles"],
        "secrets": cloud.client("secretsmanager").list_secrets()["SecretList"],
        "parameters": cloud.client("ssm").describe_parameters()["Parameters"],
        "vpcs": [vpc for vpc in cloud.client("ec2").describe_vpcs()["Vpcs"] if not vpc["IsDefault"]],
        "load balancers": cloud.client("elbv2").describe_load_balancers()["LoadBalancers"],
        "firewalls": cloud.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"],
        "rules": cloud.client("events").list_rules()["Rules"],
    }
    return {kind: things for kind, things in found.items() if things}
