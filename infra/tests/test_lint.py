"""scripts/lint-infra.sh finds nothing in what is shipped, and refuses each sample that is bad on purpose."""

import os
import pathlib
import subprocess
import sys

import pytest

from conftest import ROOT

TOOLS = ["cfn-lint", "cfn-guard", "shellcheck", "hadolint", "actionlint", "zizmor"]


def lint(*arguments):
    environment = dict(os.environ, FLUIDITY_VENV=str(pathlib.Path(sys.executable).parents[1]))
    return subprocess.run(
        [ROOT / "scripts" / "lint-infra.sh", *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_shipped_is_clean(tool):
    done = lint(tool)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_refuses_its_bad_samples(tool):
    done = lint(tool, "--self-test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok    {tool} refuses" in done.stdout
