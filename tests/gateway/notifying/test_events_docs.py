"""docs/events.md holds every kind of event with every field of its detail."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from policy_store.events import DETAILS, EventKind

PAGE = (Path(__file__).parents[3] / "docs" / "events.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE))


def test_the_table_holds_the_kinds_there_are() -> None:
    """All of them, and no other."""
    assert set(ROWS) == {kind.value for kind in EventKind}


@pytest.mark.parametrize("kind", EventKind)
def test_a_row_names_every_field(kind: EventKind) -> None:
    """Those of the detail that events of the kind have, in their order."""
    assert re.findall(r"`(\w+)`", ROWS[kind]) == [field.name for field in fields(DETAILS[kind])]
