"""The dashboard and the alert rules. That their metrics exist, tests/tests/metrics.rs holds against running daemons."""

import json
import os
import shutil
import subprocess
import warnings

import pytest
import yaml

from conftest import ROOT

MONITORING = ROOT / "infra/monitoring"


def test_every_panel_asks_a_chosen_data_source_and_has_a_place_of_its_own():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert panels
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    places = set()
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(target["expr"] for target in panel["targets"]), panel["title"]
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & places and place["x"] + place["w"] <= 24, panel["title"]
        places |= cells


def test_every_alert_has_a_name_of_its_own_a_severity_and_words():
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    assert names and len(set(names)) == len(names)
    for rule in rules:
        assert rule["expr"].strip() and rule["annotations"]["summary"], rule
        assert rule["labels"]["severity"] in ("critical", "warning"), rule


def test_promtool_takes_the_alert_rules():
    promtool = os.environ.get("FLUIDITY_PROMTOOL") or shutil.which("promtool")
    if not promtool:
        warnings.warn("SKIPPED: there is no promtool here (Debian's package prometheus has it)")
        pytest.skip("there is no promtool here")
    done = subprocess.run([promtool, "check", "rules", MONITORING / "alerts.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
