"""Where the files under test are, and the tools that read them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def dashboards() -> list[dict[str, Any]]:
    """The dashboards that are provisioned."""
    return [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]


def installed(name: str) -> str:
    """Path of a tool: from this environment, or from the system."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed; `make setup` installs what the tests need")
    return path


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A tool's verdict, its words in one text; options are `subprocess.run`'s."""
    return subprocess.run(
        [installed(command[0]), *command[1:]],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **options,
    )


@dataclass(frozen=True)
class Query:
    """One Prometheus query of a dashboard: a panel's target or an annotation."""

    place: str
    expression: str
    is_instant: bool = False

    def fill(self, *, experiment: str, interval: str = "1s", rate_interval: str = "1m") -> str:
        """The expression as Grafana would send it."""
        values = {"$experiment": experiment, "$__interval": interval, "$__rate_interval": rate_interval}
        return reduce(lambda text, item: text.replace(*item), values.items(), self.expression)


def panel_queries(dashboard: dict[str, Any]) -> list[Query]:
    """Every query of every panel."""
    return [
        Query(f"{panel['title']} {target['refId']}", target["expr"], target.get("instant", False))
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def annotation_queries(dashboard: dict[str, Any]) -> list[Query]:
    """Every query that marks moments on the time axis."""
    annotations = [item for item in dashboard["annotations"]["list"] if not item.get("builtIn")]
    return [Query(item["name"], item["target"]["expr"]) for item in annotations]
