"""The dashboard held against Grafana's published TypeScript types, since no Grafana can be run here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.tools import ROOT, dashboards

pytestmark = pytest.mark.long

MODULES = ROOT / ".venv" / "types" / "node_modules"  # `make test-long` installs them
STRICT = "--noEmit --skipLibCheck --strict --target es2022 --module nodenext --moduleResolution nodenext"


@pytest.fixture(scope="module")
def type_check(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict[str, Any]]], str]:
    """What TypeScript says of dashboards held against Grafana's published types; empty if nothing."""
    if not MODULES.exists():
        pytest.skip("needs the types that `make test-long` installs")
    folder = tmp_path_factory.mktemp("types")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(MODULES)
    program = Path(__file__).with_name("dashboard_types.ts").read_text()

    def check(boards: list[dict[str, Any]]) -> str:
        (folder / "boards.ts").write_text(program.replace("DASHBOARDS sat", f"{json.dumps(boards)} sat"))
        command = ["node_modules/.bin/tsc", *STRICT.split(), "boards.ts"]
        return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True).stdout

    return check


def test_dashboards_have_grafanas_types(type_check: Callable[[list[dict[str, Any]]], str]) -> None:
    """Every property and panel option exists in Grafana and has its type."""
    assert type_check(dashboards()) == ""


def test_a_misspelt_panel_option_would_be_found(type_check: Callable[[list[dict[str, Any]]], str]) -> None:
    """The check above is able to fail."""
    boards = dashboards()
    boards[0]["panels"][0]["options"]["textmode"] = "name"

    assert "textmode" in type_check(boards)
