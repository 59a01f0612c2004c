"""The dashboard as a file.

`test_live_dashboard.py` runs its queries, `test_dashboard_types.py` checks its types.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import DEPLOY, Query, annotation_queries, dashboards, panel_queries, run

DASHBOARDS = dashboards()
QUERIES = [query for board in DASHBOARDS for query in panel_queries(board) + annotation_queries(board)]
every_dashboard = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board["uid"])


def test_every_expression_parses(tmp_path: Path) -> None:
    """Prometheus accepts every query, with Grafana's variables filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": query.fill(experiment="e")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    verdict = run("promtool", "check", "rules", str(file))

    assert verdict.returncode == 0, verdict.stdout
    assert f"{len(QUERIES)} rules found" in verdict.stdout


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_counters_are_rated_and_gauges_of_replicas_are_not_added_up(query: Query) -> None:
    """Every replica exposes the same experiment gauges: adding them would multiply by the replicas."""
    is_mean = "/ on () group_left () count(" in query.expression
    added_up = re.findall(r"sum by \([^)]*\) \((\w+)", query.expression)

    assert is_mean or set(added_up) <= {"rate", "max"}  # `max by` has taken one replica's


@every_dashboard
def test_panels_are_told_apart_explained_and_do_not_overlap(board: dict[str, Any]) -> None:
    """Ids are unique, every panel says what it shows, and no two share a place on the grid."""
    panels = board["panels"]
    shown = [panel for panel in panels if panel["type"] != "row"]
    cells = [cell for panel in panels for cell in _cells(panel["gridPos"])]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [panel["title"] for panel in shown if not panel["description"]] == []
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24


def _cells(place: dict[str, int]) -> itertools.product[tuple[int, int]]:
    columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return itertools.product(columns, rows)


@every_dashboard
def test_every_query_asks_the_chosen_data_source(board: dict[str, Any]) -> None:
    """The dashboard can be imported beside any Prometheus: no data source is named by its own id."""
    asked = [target["datasource"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked += [item["datasource"] for item in board["annotations"]["list"] if not item.get("builtIn")]

    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in asked)
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "experiment"}


def test_grafana_is_provisioned_with_what_the_compose_file_mounts() -> None:
    """The provider looks where the dashboards are mounted, and the home page is one of them."""
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/llmpo.yaml").read_text())[
        "providers"
    ][0]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).relative_to(provider["options"]["path"])).exists()
    for kind in ("datasources", "dashboards"):
        assert mounts[f"./grafana/provisioning/{kind}"] == f"/etc/grafana/provisioning/{kind}"


def test_data_source_is_the_compose_files_prometheus() -> None:
    """Grafana asks the Prometheus service, and knows how often it scrapes."""
    files = DEPLOY / "grafana/provisioning/datasources/prometheus.yaml", DEPLOY / "prometheus/prometheus.yml"
    provisioned, prometheus = (yaml.safe_load(file.read_text()) for file in files)
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    source = provisioned["datasources"][0]

    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
