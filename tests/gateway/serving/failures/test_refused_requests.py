"""Requests that providers refuse: they use up nothing that others need, and are never called a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer, status
from tests.gateway.live import Live, entry, experiment, live_gateway

REQUESTS = 60


@pytest.fixture
def burst() -> int:
    """Second attempts there are; none is ever added."""
    return 1


@pytest.fixture
async def gateway(upstream: FakeUpstream, burst: int) -> AsyncIterator[Live]:
    """An experiment of `small` and `large`, and `small` as the fallback of the plain model `large`."""
    base = upstream.api_base
    models = [entry("small", base), entry("large", base).model_copy(update={"fallbacks": ["small"]})]
    async with live_gateway([experiment(base)], models, retry_ratio=0.0, retry_burst=burst) as gateway:
        yield gateway


async def test_refused_requests_do_not_use_second_attempts_up(gateway: Live, upstream: FakeUpstream) -> None:
    """Whichever policy is drawn, the answer is the refusal; and the next failure still finds an attempt."""
    for model in ("small", "large"):
        upstream.on(model, status(400, "No such field."))
    for _ in range(REQUESTS):
        reply = await gateway.ask(NAME)
        assert (reply.status, reply.error["message"]) == (400, "No such field.")
    assert gateway.observer.refused_retries == 0
    assert not gateway.observer.failed

    upstream.on("large", status(500))
    upstream.on("small", answer())
    assert (await gateway.ask("large")).text == "I am small."


@pytest.mark.parametrize("burst", [0])
async def test_a_refusal_is_told_where_second_attempts_are_used_up(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """A candidate said what is wrong with the request; that is no failure, and no other policy is asked."""
    upstream.on("large", status(400, "No such field."))
    upstream.on("small", answer())
    replies = [await gateway.ask(NAME) for _ in range(REQUESTS)]
    assert {reply.status for reply in replies} == {200, 400}
    assert gateway.observer.refused_retries > 0
    assert not gateway.observer.failed
