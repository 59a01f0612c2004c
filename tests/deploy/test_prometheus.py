"""Prometheus' configuration, recording rules and alerts, by its own tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, ROOT, run

SEVERITIES = {"critical", "warning", "info"}


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_configuration_and_rules_are_valid() -> None:
    """Prometheus accepts the configuration with every rule file it names."""
    verdict = run("promtool", "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))

    assert verdict.returncode == 0, verdict.stdout
    assert verdict.stdout.count("rules found") == len(list((DEPLOY / "prometheus/rules").glob("*.yml")))


def test_alerts_fire_on_their_fault_only() -> None:
    """The scenarios hold, and leave out no alert."""
    files = [Path(__file__).with_name(name) for name in ("alerts_test.yml", "alerts_of_hours_test.yml")]

    verdict = run("promtool", "test", "rules", *map(str, files))

    assert verdict.returncode == 0, verdict.stdout
    tested = {
        test["alertname"]
        for file in files
        for scenario in yaml.safe_load(file.read_text())["tests"]
        for test in scenario["alert_rule_test"]
        if test["exp_alerts"]
    }
    assert tested == {alert["alert"] for alert in _alerts()}


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """Each alert has a known severity, a summary, and a runbook section that exists."""
    operations = (ROOT / "docs/operations.md").read_text()
    anchors = {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", operations, re.MULTILINE)}

    for alert in _alerts():
        file, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert alert["labels"]["severity"] in SEVERITIES, alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]
        assert (file, anchor in anchors) == ("docs/operations.md", True), alert["alert"]


def _anchor(heading: str) -> str:
    """What a Markdown page calls a heading in links."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
