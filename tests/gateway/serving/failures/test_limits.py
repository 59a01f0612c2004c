"""Limits of a model's own win over the gateway's; one deadline covers all that precedes a first event."""

from __future__ import annotations

import pytest

from gateway.config.gateway_file import ModelEntry
from gateway.upstream.base import Timeouts
from gateway.upstream.targets import model_targets
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, answer, stall
from tests.gateway.live import entry, live_gateway
from tests.gateway.protocols import both_protocols
from tests.gateway.serving.failures.faults import drip
from tests.pace import impatient

pytestmark = both_protocols

LONG = Timeouts(connect=5, first_byte=30, stall=30, total=30)


def limited(upstream: FakeUpstream, **limits: float) -> ModelEntry:
    """The model `small` with limits of its own."""
    return entry("small", upstream.api_base).model_copy(update=limits)


@pytest.mark.parametrize("behaviour", [stall(), drip()], ids=["stalls", "drips"])
async def test_a_model_may_be_given_less_time_for_its_first_event(
    upstream: FakeUpstream, behaviour: Behaviour
) -> None:
    """Bytes that are no event do not prolong it."""
    upstream.on("small", behaviour)
    async with live_gateway(
        [], [limited(upstream, first_byte_timeout=impatient(0.2))], timeouts=LONG, http2=upstream.is_http2
    ) as gateway:
        reply = await gateway.ask("small", stream=True)
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")


async def test_a_model_may_be_given_less_time_between_events(upstream: FakeUpstream) -> None:
    """What came is kept."""
    upstream.on("small", stall(after=2))
    async with live_gateway(
        [], [limited(upstream, stall_timeout=impatient(0.2))], timeouts=LONG, http2=upstream.is_http2
    ) as gateway:
        reply = await gateway.ask("small", stream=True)
    assert len(reply.events) == 3
    assert reply.events[-1]["error"]["code"] == "upstream_timeout"


async def test_silence_may_be_shorter_than_the_wait_for_the_first_event(upstream: FakeUpstream) -> None:
    """A model that thinks long before it speaks is not taken for one that fell silent."""
    upstream.on("small", answer("one two", pause_seconds=impatient(0.3)))
    small = limited(upstream, first_byte_timeout=30.0, stall_timeout=impatient(0.6))
    slow_start = limited(upstream, first_byte_timeout=30.0, stall_timeout=impatient(0.2))
    for model, is_whole in ((small, True), (slow_start, False)):
        async with live_gateway([], [model], timeouts=LONG, http2=upstream.is_http2) as gateway:
            reply = await gateway.ask("small", stream=True)
        assert reply.status == 200
        assert reply.is_done is is_whole


def test_a_fallbacks_own_fallbacks_come_right_after_it(upstream: FakeUpstream) -> None:
    """Each fallback is listed once, in the order in which it is asked."""
    lists = {"a": ["b", "c"], "b": ["d"], "c": ["d", "e"], "d": [], "e": []}
    entries = [
        entry(name, "http://127.0.0.1:1/v1").model_copy(update={"fallbacks": fallbacks})
        for name, fallbacks in lists.items()
    ]
    targets = model_targets(entries, {})
    assert [target.name for target in targets["a"].fallbacks] == ["b", "d", "c", "e"]
    assert targets["a"].fallbacks[0] is targets["b"]
