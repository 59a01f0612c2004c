"""When the store counts as unreachable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.running import store_health
from gateway.running.store_health import StoreHealth
from policy_store.errors import StoreUnavailableError

AWAY = StoreUnavailableError("away")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is logged, however other tests set logging up before."""
    monkeypatch.setattr(store_health, "_log", structlog.get_logger())
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_one_look_that_comes_to_nothing_at_the_start_is_no_outage(said: list[Any]) -> None:
    """A machine on which everything starts is slow to answer; nothing is known yet."""
    health = StoreHealth()

    health.failed(AWAY)
    assert health.is_up is None
    health.answered()

    assert health.is_up is True
    assert said == []


def test_two_looks_in_a_row_are_an_outage_said_once(said: list[Any]) -> None:
    """The log has one line when the outage begins and one when it is over."""
    health = StoreHealth()
    for _ in range(3):
        health.failed(AWAY)
    assert health.is_up is False
    health.answered()

    assert [line["event"] for line in said] == ["store_unreachable", "store_back"]


def test_a_store_that_answered_before_is_missed_at_once(said: list[Any]) -> None:
    """Requests are answered from the last snapshot from then on."""
    health = StoreHealth()
    health.answered()

    health.failed(AWAY)

    assert health.is_up is False
    assert [line["event"] for line in said] == ["store_unreachable"]
