"""The scripts' own errors, and the way of an identity into AWS."""

import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import ROOT

SCRIPTS = ["scripts/deploy.sh", "scripts/certs-to-aws.sh", "scripts/lint-infra.sh", "infra/docker/build.sh", "infra/lambda/build.sh"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_and_changes_nothing(script):
    done = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: {script}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a command and an environment are needed"),
        (["deploy"], "a command and an environment are needed"),
        (["delopy", "dev"], "delopy is no command"),
        (["deploy", "Dev"], "Dev is no name"),
        (["deploy", "../dev"], "is no name"),
        (["deploy", "dev", "--fast"], "--fast is no option"),
        (["deploy", "dev", "--set"], "--set needs a value"),
    ],
)
def test_a_wrong_call_is_told_so(cloud, arguments, said):
    done = cloud.deploy_sh(*arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[servre]\n", "dev.conf:1: [servre] is no stack"),
        ("[server]\n[server]\n", "dev.conf:2: [server] is there twice"),
        ("Port = 443\n", "dev.conf:1: Port stands before the first [section]"),
        ("[server]\nPort = 443\nPort = 444\n", "dev.conf:3: Port is there twice"),
        ("[server]\nFirstDeploy = true\n", "FirstDeploy is worked out by scripts/deploy.sh"),
        ("[server]\nwhat is this\n", "dev.conf:2: neither [section] nor Key = value"),
        ("[account]\n", "[account] belongs into account.conf"),
        ("[network]\nVpcCider = 10.0.0.0/16\n", "network.yaml has no such parameter"),
        ("[deploy]\nAccount = 999999999999\n[network]\n", "is for 999999999999"),
    ],
)
def test_a_wrong_parameter_file_is_refused_before_anything_is_made(cloud, tmp_path, text, said):
    (tmp_path / "dev.conf").write_text(text)
    done = cloud.deploy_sh("deploy", "dev", FLUIDITY_PARAMS_DIR=str(tmp_path))
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert cloud.stacks() == {}


@pytest.mark.parametrize(("script", "arguments"), [("deploy.sh", ["status", "dev"]), ("certs-to-aws.sh", ["dev", "--delete"])])
def test_the_region_may_be_named_as_version_2_of_the_tool_does(cloud, script, arguments):
    named = cloud.script(script, *arguments, AWS_DEFAULT_REGION="", AWS_REGION="eu-west-1")
    assert named.returncode == 0 and "region" not in named.stderr, named.stderr


def test_the_same_binaries_make_the_same_packages(tmp_path):
    made = []
    for out, built in [("first", 1_700_000_000), ("second", 1_800_000_000)]:
        for name in ("wake", "sleep", "kill"):
            (tmp_path / f"fluidity-{name}").write_text(f"the binary of {name}")
            os.utime(tmp_path / f"fluidity-{name}", (built, built))
        subprocess.run(
            [ROOT / "infra" / "lambda" / "build.sh", "--binaries", ".", "--out", out], cwd=tmp_path, check=True
        )
        made.append({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()})
    assert made[0] == made[1] and set(made[0]) == {"wake.zip", "sleep.zip", "kill.zip"}
    with zipfile.ZipFile(tmp_path / "first" / "kill.zip") as package:
        assert package.read("bootstrap") == b"the binary of kill"
        assert package.getinfo("bootstrap").external_attr >> 16 & 0o777 == 0o755


def test_an_environment_without_a_file_is_refused(cloud):
    done = cloud.deploy_sh("deploy", "nowhere")
    assert done.returncode == 1 and "there is no" in done.stderr


def test_packages_for_another_processor_are_refused(cloud, tmp_path):
    for name in ("wake", "sleep", "kill"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("bootstrap", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44))
    cloud.deploy("account")
    done = cloud.deploy_sh("deploy", "dev", "--only", "control-plane", "--lambdas", str(tmp_path))
    assert done.returncode == 1
    if shutil.which("unzip"):
        assert "is for arm64, and LambdaArchitecture is x86_64" in done.stderr


def test_a_control_plane_without_packages_is_told_where_they_come_from(cloud):
    done = cloud.deploy_sh("deploy", "dev", "--only", "control-plane", FLUIDITY_LAMBDA_DIR="")
    assert done.returncode == 1 and "--lambdas DIR" in done.stderr


@pytest.mark.parametrize("arguments", [["sts", "get-caller-identity"], ["ecr", "no-such-thing"], ["s3api", "head-bucket", "--bucket", "b"]])
def test_the_aws_of_the_tests_is_the_installed_tool(cloud, aws_tool, arguments):
    """It is only kept in memory between calls (aws_cli.py)."""
    ours, installed = (
        subprocess.run([tool, *arguments], env=cloud.environment, capture_output=True, text=True)
        for tool in (aws_tool / "aws", pathlib.Path(sys.executable).with_name("aws"))
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (installed.returncode, installed.stdout, installed.stderr)


# ---- identities


class Pki:
    """What `fluidity pki` leaves in its directory, for as many days as a test wants."""

    def __init__(self, directory, days=365):
        self.directory = pathlib.Path(directory)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fluidity-server")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=400))
            .not_valid_after(now + datetime.timedelta(days=days, hours=1))
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        (self.directory / "server-fluidity-server.pem").write_text(self.certificate)
        (self.directory / "server-fluidity-server.key").write_text(self.key)
        (self.directory / "ca.pem").write_text(self.certificate)
        (self.directory / "ca.key").write_text("the CA's key, which nobody may have")


def stored(cloud, name):
    return cloud.client("ssm").get_parameter(Name=f"/fluidity/{name}", WithDecryption=True)["Parameter"]


def test_an_identity_goes_encrypted_into_ssm_and_away_again(cloud, tmp_path):
    pki = Pki(tmp_path)
    for _ in range(2):
        done = cloud.script("certs-to-aws.sh", "dev", "--pki", str(tmp_path))
        assert done.returncode == 0, done.stderr
    certificate, key = stored(cloud, "dev/server/certificate"), stored(cloud, "dev/server/key")
    assert (certificate["Type"], certificate["Value"].strip()) == ("SecureString", pki.certificate.strip())
    assert (key["Type"], key["Value"].strip()) == ("SecureString", pki.key.strip())
    assert "PRIVATE KEY" not in done.stdout + done.stderr
    names = {found["Name"] for found in cloud.client("ssm").describe_parameters()["Parameters"]}
    assert names == {f"/fluidity/dev/server/{name}" for name in ("certificate", "key", "ca", "not-after")}
    gone = cloud.deploy_sh("destroy", "dev", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert cloud.client("ssm").describe_parameters()["Parameters"] == []


def test_an_identity_goes_into_the_secret_of_the_stack(cloud, tmp_path):
    pki = Pki(tmp_path)
    early = cloud.script("certs-to-aws.sh", "prod", "--pki", str(tmp_path))
    assert early.returncode == 1 and "the secret is made by the server stack" in early.stderr
    cloud.deploy("prod", "--only", "network,server")
    done = cloud.script("certs-to-aws.sh", "prod", "--pki", str(tmp_path))
    assert done.returncode == 0, done.stderr
    secret = cloud.client("secretsmanager").get_secret_value(SecretId="fluidity/prod/server")
    assert json.loads(secret["SecretString"]) == {"certificate": pki.certificate, "key": pki.key, "ca": pki.certificate}
    # What the task definition takes its three secrets from; the emulator does not hand those back.
    assert cloud.outputs("fluidity-prod-server")["IdentitySecretArn"] == secret["ARN"]


def test_the_end_of_a_certificate_is_seen_without_the_key(cloud, tmp_path):
    Pki(tmp_path, days=20)
    assert cloud.script("certs-to-aws.sh", "dev", "--pki", str(tmp_path)).returncode == 0
    soon = cloud.script("certs-to-aws.sh", "dev", "--check", "30")
    assert soon.returncode == 3 and "in 20 days" in soon.stderr
    late = cloud.script("certs-to-aws.sh", "dev", "--check", "10")
    assert late.returncode == 0, late.stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / "server-fluidity-server.key").unlink(), "there is no"),
        (lambda d: (d / "ca.pem").write_text((d / "server-fluidity-server.key").read_text()), "holds no BEGIN CERTIFICATE"),
        (lambda d: (d / "ca.pem").open("a").write((d / "server-fluidity-server.key").read_text()), "holds a private key"),
        (lambda d: Pki(d, days=-2), "has ended"),
    ],
)
def test_a_wrong_identity_is_not_put(cloud, tmp_path, spoil, said):
    Pki(tmp_path)
    spoil(tmp_path)
    done = cloud.script("certs-to-aws.sh", "dev", "--pki", str(tmp_path))
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert cloud.client("ssm").describe_parameters()["Parameters"] == []
