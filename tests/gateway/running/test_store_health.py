"""When the store counts as unreachable."""

from __future__ import annotations

import pytest

from gateway.running.store_health import StoreHealth
from policy_store.errors import StoreUnavailableError

AWAY = StoreUnavailableError("away")


def test_one_look_that_comes_to_nothing_at_the_start_is_no_outage(capsys: pytest.CaptureFixture[str]) -> None:
    """A machine on which everything starts is slow to answer; nothing is known yet."""
    health = StoreHealth()

    health.failed(AWAY)
    assert health.is_up is None
    health.answered()

    assert health.is_up is True
    assert capsys.readouterr().out == ""


def test_two_looks_in_a_row_are_an_outage_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Then that it is over."""
    health = StoreHealth()
    for _ in range(3):
        health.failed(AWAY)
    assert health.is_up is False
    health.answered()

    said = capsys.readouterr().out
    assert (said.count("store_unreachable"), said.count("store_back")) == (1, 1)


def test_a_store_that_answered_before_is_missed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests are answered from the last snapshot from then on."""
    health = StoreHealth()
    health.answered()

    health.failed(AWAY)

    assert health.is_up is False
    assert capsys.readouterr().out.count("store_unreachable") == 1
