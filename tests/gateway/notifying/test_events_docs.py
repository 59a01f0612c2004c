"""docs/events.md holds every kind of event with every field of its detail, and its program works."""

from __future__ import annotations

import re
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gateway.config.webhooks import WebhookSpec
from gateway.notifying.delivering import WAITS_SECONDS, message_of
from gateway.notifying.sending import signed_headers
from policy_store.events import DETAILS, Begun, EventKind, LoggedEvent, PlacedEvent
from tests.gateway.notifying.receiver import OTHER, SECRET

PAGE = (Path(__file__).parents[3] / "docs" / "events.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE))


def test_the_table_holds_the_kinds_there_are() -> None:
    """The table lists every kind of event and no other."""
    assert set(ROWS) == {kind.value for kind in EventKind}


@pytest.mark.parametrize("kind", EventKind)
def test_a_row_names_every_field(kind: EventKind) -> None:
    """A row lists the fields of the kind's detail in their order."""
    assert re.findall(r"`(\w+)`", ROWS[kind]) == [field.name for field in fields(DETAILS[kind])]


def test_the_program_takes_an_event_once_and_refuses_a_forged_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The receiver on the page, against what the gateway sends."""
    program = re.search(r"```python\n(from standardwebhooks.*?)```", PAGE, re.DOTALL)
    assert program is not None
    names: dict[str, Any] = {}
    exec(program[1], names)  # noqa: S102 - a page of ours
    event = PlacedEvent("evt_0_1-0", "1-0", LoggedEvent.of(1.5, EventKind.STARTED, Begun(1)))
    message = message_of("support", event)
    receiver = WebhookSpec.model_validate({"url": "https://example.com/", "secret": OTHER})
    headers = signed_headers(receiver, message.id, message.body, time.time())

    for _ in range(2):
        assert names["receive"](OTHER, headers, message.body.encode()) == 204
    assert capsys.readouterr().out == "experiment.started support\n"
    assert names["receive"](OTHER, headers, message.body.replace("support", "sales").encode()) == 401
    assert names["receive"](SECRET, headers, message.body.encode()) == 401


def test_the_page_says_when_what_failed_is_sent_again() -> None:
    """The waits that the code has."""
    assert (5, *(60 * each for each in (5, 30)), *(3600 * h for h in (2, 5, 10, 14, 20, 24))) == WAITS_SECONDS
    assert "5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours" in " ".join(PAGE.split())
