"""Whether requests wait for the store: not for one that is silent, and sessions not for one that is slow."""

from __future__ import annotations

import pytest

from gateway.experiments.store_history import StoreHistory
from gateway.learning.store_watch import StoreWatch
from gateway.running.store_breaker import StoreBreaker
from gateway.running.store_health import StoreHealth
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.vitals import Pulse, StoreVitals
from tests.pace import PATIENCE_SECONDS


def test_one_slow_answer_means_little() -> None:
    """Anything may take long once; two in a row are a slow store, until an answer is quick."""
    breaker = StoreBreaker(lambda: 0.0, slow_seconds=0.25)
    found = []
    for seconds in (0.3, 0.1, 0.3, 0.3, 0.4, 0.1, 0.3):
        breaker.took(seconds)
        found.append(breaker.spares_sessions)
    assert found == [False, False, False, True, True, False, False]
    assert not breaker.is_open


def test_a_silent_store_spares_sessions_too() -> None:
    """As long as it is not known to answer."""
    breaker = StoreBreaker(lambda: 0.0)
    breaker.failed(StoreUnavailableError("away"))
    assert breaker.spares_sessions
    breaker.answered()
    assert not breaker.spares_sessions


async def test_the_watch_finds_a_slow_store(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as one that answers: only sessions are spared."""
    redis = connect(embedded_url, timeout_seconds=5)
    vitals, health = StoreVitals(redis, timeout_seconds=PATIENCE_SECONDS), StoreHealth()
    now, takes, pulse = [0.0], [0.3], vitals.pulse

    async def slow_pulse(*, may_begin: bool) -> Pulse:
        now[0] += takes[0]
        return await pulse(may_begin=may_begin)

    monkeypatch.setattr(vitals, "pulse", slow_pulse)
    breaker = StoreBreaker(lambda: now[0], slow_seconds=0.25)
    watch = StoreWatch(vitals, StoreHistory(), health, breaker, timer=lambda: now[0])
    await watch.look()
    await watch.look()
    assert (breaker.spares_sessions, breaker.is_open, health.is_writable) == (True, False, True)
    takes[0] = 0.1
    await watch.look()
    assert not breaker.spares_sessions
    await redis.aclose()
