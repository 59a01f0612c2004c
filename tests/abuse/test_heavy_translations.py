"""Large requests that fail in translation: no caller's mistake keeps the others waiting."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from tests.abuse.loop import watched
from tests.gateway.api.surfaces.answers import good
from tests.gateway.fake_upstream import FakeUpstream, raw
from tests.gateway.live import entry, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

BYTES = 900_000
TEXT = "a" * BYTES
# What may pass without anyone else's turn: so many times what it takes here to read the text. LiteLLM copies
# and splits an error's text some dozens of times; searching it for secrets took thousands.
MOST_HELD = 300
MISTAKES: dict[str, Any] = {
    "a part that is none": [{"role": "user", "content": [7, {"type": "text", "text": TEXT}]}],
    "a picture without an address": [
        {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": TEXT}]}
    ],
    "an unknown role": [{"role": "someone", "content": TEXT}],
    "a refusal that quotes all of it": [{"role": "user", "content": TEXT}],
}


def reading_seconds() -> float:
    """What reading the text takes here, in processor time."""
    text, taken = orjson.dumps({"content": TEXT}), []
    for _ in range(9):
        began = time.thread_time()
        orjson.loads(text)
        taken.append(time.thread_time() - began)
    return sorted(taken)[4]


@pytest.mark.parametrize("kind", MISTAKES)
async def test_large_mistakes_hold_nobody_up(kind: str) -> None:
    """A large mistake gets a 400 and holds up no other request, although an error may quote the body."""
    async with FakeUpstream() as upstream:
        held = await longest_hold(upstream, MISTAKES[kind])
    assert held < MOST_HELD, f"held the loop for {held:.0f} times what reading the text takes"


async def longest_hold(upstream: FakeUpstream, messages: list[Any]) -> float:
    """How long these hold the loop, the better of two attempts, in times of reading the text."""
    model = entry("claude-small", f"http://127.0.0.1:{upstream.port}", provider="anthropic")
    upstream.on(
        "claude-small", good("Warmed up."), raw(b'{"error":{"message":"%b"}}' % TEXT.encode(), code=400)
    )
    async with live_gateway([], [model], max_body_bytes=2 * BYTES) as gateway:
        await gateway.ask("claude-small")
        reply, first = await watched(gateway.ask("claude-small", messages=messages))
        _, second = await watched(gateway.ask("claude-small", messages=messages))
    assert reply.status == 400, reply.body[:300]
    return min(first.longest, second.longest) / reading_seconds()
