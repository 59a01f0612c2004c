"""Callers, many of which hang up; each has a marker that no other answer may contain."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
import orjson

from tests.gateway.fake_upstream import Behaviour, Exchange, body, chunk

EVENTS = 8
MARKER = re.compile(rb"<marker-\d+>")
Patience = Literal["leaves at once", "leaves before the first byte", "leaves after it", "stays"]


def echo(pause_seconds: float) -> Behaviour:
    """Answer with the caller's own marker in every event, `pause_seconds` before each part."""

    async def behave(exchange: Exchange) -> None:
        marker = exchange.seen.body["messages"][-1]["content"]
        await asyncio.sleep(pause_seconds)
        if not exchange.is_stream:
            await exchange.whole(body(exchange, marker * EVENTS))
            return
        await exchange.begin()
        for _ in range(EVENTS):
            await exchange.send(chunk(exchange, {"content": marker}))
            await asyncio.sleep(pause_seconds)
        await exchange.send(b"data: [DONE]\n\n")
        await exchange.end()

    return behave


class Crowd:
    """Asks again and again, and checks every byte that comes back.

    Args:
        url: Where the gateway listens.
        models: What is asked for, in turn.
        seed: Of who leaves when.
        fields: What else a request for a model says.
    """

    def __init__(
        self, url: str, models: list[str], seed: int, fields: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._models = models
        self._fields = fields or {}
        self._rng = random.Random(seed)
        self._number = 0
        self.left: Counter[Patience] = Counter()

    async def ask_until_left(self, times: int, *, at_once: int) -> None:
        """Ask until so many requests were abandoned, so many callers at once."""
        goal = self.aborts + times

        async def caller() -> None:
            async with aiohttp.ClientSession(headers={"content-type": "application/json"}) as session:
                while self.aborts < goal:
                    await self._ask(session)

        await asyncio.gather(*(caller() for _ in range(at_once)))

    @property
    def aborts(self) -> int:
        """How many requests were abandoned."""
        return sum(count for patience, count in self.left.items() if patience != "stays")

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        self._number += 1
        marker = b"<marker-%d>" % self._number
        model = self._models[self._number % len(self._models)]
        is_stream = self._rng.random() < 0.7
        patience = self._patience(is_stream=is_stream)
        question = {
            "model": model,
            "stream": is_stream,
            "messages": [{"role": "user", "content": marker.decode()}],
            **self._fields.get(model, {}),
        }
        asking = asyncio.create_task(session.post(self._url, data=orjson.dumps(question)))
        self.left[patience] += 1
        if patience in {"leaves at once", "leaves before the first byte"}:
            await asyncio.wait([asking], timeout=0.0 if patience == "leaves at once" else 0.01)
            asking.cancel()
            for response in await asyncio.gather(asking, return_exceptions=True):
                if isinstance(response, aiohttp.ClientResponse):
                    response.close()
            return
        response = await asking
        assert response.status == 200
        if patience == "leaves after it":
            check(await response.content.readany(), marker)
            response.close()
        else:
            answer = await response.read()
            check(answer, marker)
            assert is_complete(answer, is_stream=is_stream)

    def _patience(self, *, is_stream: bool) -> Patience:
        kinds: list[Patience] = ["leaves at once", "leaves before the first byte", "stays"]
        return self._rng.choice([*kinds, "leaves after it"] if is_stream else kinds)


def check(received: bytes, marker: bytes) -> None:
    """Fail if a byte of another caller's answer is there."""
    assert set(MARKER.findall(received)) <= {marker}, (marker, received)


def is_complete(answer: bytes, *, is_stream: bool) -> bool:
    """Whether nothing is missing: one choice's worth of markers, or two choices'."""
    choices = answer.count(b'"message"') if not is_stream else 2 if b'"index":1' in answer else 1
    ends = answer.rstrip().endswith(b"[DONE]" if is_stream else b"}")
    return ends and len(MARKER.findall(answer)) == EVENTS * choices
