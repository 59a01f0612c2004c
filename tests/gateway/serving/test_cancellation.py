"""A caller who leaves frees the provider within a second: streaming or not, early or late."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import aiohttp
import orjson
import pytest

from gateway.api import disconnect
from gateway.instrumentation.records import RequestFinished
from gateway.serving import answering
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer, malformed, stall
from tests.gateway.live import Live
from tests.gateway.protocols import both_protocols
from tests.gateway.whole import JSON, QUESTION, eventually
from tests.pace import impatient

pytestmark = both_protocols


async def leave(
    gateway: Live,
    model: str,
    upstream: FakeUpstream,
    *,
    stream: bool,
    after_bytes: int,
    asked: int = 1,
    **fields: Any,
) -> None:
    """Ask, read so many bytes (or none, until so many providers were asked), hang up."""
    body = orjson.dumps({"model": model, **QUESTION, "stream": stream, **fields})
    async with aiohttp.ClientSession(headers=JSON) as session:
        asking = asyncio.create_task(session.post(f"{gateway.url}/v1/chat/completions", data=body))
        if after_bytes:
            response = await asking
            await response.content.readexactly(after_bytes)
            response.close()
        else:
            await eventually(lambda: len(upstream.seen) >= asked, "the providers asked")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize(
    ("stream", "events"), [(False, 0), (True, 0), (True, 2)], ids=["whole", "before", "after the first byte"]
)
@pytest.mark.parametrize("model", ["small", NAME])
async def test_leaving_frees_the_provider(
    gateway: Live, upstream: FakeUpstream, model: str, stream: bool, events: int
) -> None:
    """The provider sees its connection closed, nothing is counted as a failure, no task is left."""
    upstream.on("small", stall(after=events))
    upstream.on("large", stall(after=events))
    before = len(asyncio.all_tasks())
    await leave(gateway, model, upstream, stream=stream, after_bytes=20 if events else 0)
    await eventually(
        lambda: upstream.seen and upstream.in_flight == 0, "the provider free", seconds=impatient(1.0)
    )
    await eventually(lambda: gateway.observer.finished, "the request accounted for")
    assert gateway.observer.failed == []
    assert gateway.observer.fallbacks == []
    if not events:
        assert gateway.observer.finished == [("/v1/chat/completions", 499)]
    await eventually(lambda: len(asyncio.all_tasks()) <= before, "no task left behind")


@pytest.mark.parametrize("events", [0, 2])
async def test_leaving_a_duel_frees_both_providers(
    duel_gateway: Live, upstream: FakeUpstream, events: int
) -> None:
    """Both providers are freed even if only one of them has begun to answer."""
    upstream.on("small", stall(after=events))
    upstream.on("large", stall(after=2))
    await leave(duel_gateway, NAME, upstream, stream=True, after_bytes=20 if events else 0, asked=2, n=2)
    await eventually(
        lambda: len(upstream.seen) == 2 and upstream.in_flight == 0, "both free", seconds=impatient(1.0)
    )


async def test_leaving_while_an_open_answer_waits_frees_the_provider(
    gateway: Live, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has begun, but something else has to end before the caller gets any of it."""

    async def forever(*_: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(answering, "beginning", forever)
    for model in ("small", "large"):
        upstream.on(model, stall(after=2))
    await leave(gateway, NAME, upstream, stream=True, after_bytes=0)
    await eventually(lambda: upstream.seen and upstream.in_flight == 0, "free", seconds=impatient(1.0))
    await eventually(lambda: gateway.observer.finished, "the request accounted for")


async def test_a_broken_stream_is_not_taken_for_a_caller_who_left(
    duel_gateway: Live, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server reports a hang-up once the answer is complete, while the other provider is being freed."""
    monkeypatch.setattr(disconnect, "_BEGIN_AFTER_SECONDS", 0.0)
    upstream.on("small", malformed(after=2))
    upstream.on("large", stall(after=1))
    reply = await duel_gateway.compare(stream=True)
    assert reply.events[-1]["error"]["type"] == "server_error"
    await eventually(lambda: upstream.in_flight == 0, "both providers free", seconds=impatient(1.0))
    await eventually(lambda: duel_gateway.observer.finished, "the request accounted for")
    (finished,) = duel_gateway.observer.of(RequestFinished)
    assert (finished.status, finished.code) == (200, reply.events[-1]["error"]["code"])


async def test_a_caller_who_stops_reading_stops_the_provider(gateway: Live, upstream: FakeUpstream) -> None:
    """Backpressure: the gateway does not buffer what the caller does not take."""
    sent = 0

    async def pour(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.begin()
        for _ in range(2000):
            await exchange.send(b'data: {"x":"' + b"y" * 50_000 + b'"}\n\n')
            sent += 1

    upstream.on("small", pour)
    body = orjson.dumps({"model": "small", **QUESTION, "stream": True})
    async with aiohttp.ClientSession(read_bufsize=1024) as session:
        response = await session.post(f"{gateway.url}/v1/chat/completions", data=body)
        last = -1
        while last != sent:
            last = sent
            await asyncio.sleep(0.2)
        assert sent < 1000
        response.close()
    await eventually(lambda: upstream.in_flight == 0, "the provider free", seconds=impatient(1.0))


async def test_hundreds_of_aborts_leave_nothing_behind(gateway: Live, upstream: FakeUpstream) -> None:
    """No task, no provider connection in use, and answers still go to those who asked."""
    upstream.on("small", stall(after=1))
    before = len(asyncio.all_tasks())
    for _ in range(10):
        await asyncio.gather(
            *(leave(gateway, "small", upstream, stream=True, after_bytes=5) for _ in range(20)),
            return_exceptions=True,
        )
    await eventually(lambda: upstream.in_flight == 0, "the provider free", seconds=impatient(2.0))
    await eventually(lambda: len(asyncio.all_tasks()) <= before, "no task left behind")
    upstream.on("small", answer("still here"))
    assert (await gateway.ask("small")).text == "still here"
