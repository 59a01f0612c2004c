"""Many large bodies at once: together they take no more memory than the operator allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from tests.abuse.raw import resident_bytes, said_to, statuses
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream, answer, stall
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole, eventually

MEGABYTE = 1024 * 1024
BODY_BYTES = 2 * MEGABYTE
AT_ONCE = 40
ROOM_BYTES = 30 * MEGABYTE
# For the rest: buffers of sockets, and what the allocator keeps. All of the bodies would take four to eight
# times as much.
SPARE_BYTES = 25 * MEGABYTE
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
TEXTS = {"narrow": b"a" * BODY_BYTES, "wide": "😀".encode() + b"a" * BODY_BYTES}


def asking(model: str, text: bytes) -> bytes:
    """A question of so many bytes."""
    return b'{"model":"%b","messages":[{"role":"user","content":"%b"}]}' % (model.encode(), text)


def announced(body: bytes) -> Iterator[bytes]:
    """A request that says how long it is."""
    yield HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    yield from (body[at : at + 65536] for at in range(0, len(body), 65536))


def in_chunks(body: bytes) -> Iterator[bytes]:
    """A request that does not."""
    yield HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    for at in range(0, len(body), 65536):
        piece = body[at : at + 65536]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A provider whose `plain` never answers, and whose `warm` does."""
    async with FakeUpstream() as upstream:
        upstream.on("plain", stall())
        upstream.on("warm", answer("Fine."))
        yield upstream


@pytest.fixture
async def served(tmp_path: Path, upstream: FakeUpstream) -> AsyncIterator[tuple[Served, Whole]]:
    """A gateway with room for a few such bodies."""
    async with aiohttp.ClientSession(headers=JSON) as session:
        served = Served(tmp_path, config_fields(api_base=upstream.api_base), session)
        try:
            gateway = await served.start(
                LLMPO_BODIES_MEMORY_BYTES=str(ROOM_BYTES), LLMPO_MAX_BODY_BYTES=str(3 * MEGABYTE)
            )
            yield served, gateway
        finally:
            served.clean_up()


@pytest.mark.parametrize(
    ("sent", "text"), [(announced, "narrow"), (in_chunks, "wide")], ids=["announced", "in chunks, wide"]
)
async def test_memory_stays_within_the_room_for_bodies(
    served: tuple[Served, Whole], upstream: FakeUpstream, sent: object, text: str
) -> None:
    """Requests beyond it get a retry-after, small requests are answered, and remaining room is used."""
    process, gateway = served[0].process, served[1]
    assert process is not None
    assert callable(sent)
    port = urlsplit(gateway.url).port or 0
    assert (await gateway.ask("warm")).status == 200
    before, most = resident_bytes(process.pid), 0
    body = asking("plain", TEXTS[text])
    asked = [asyncio.create_task(said_to(port, sent(body))) for _ in range(AT_ONCE)]

    async def are_refused() -> bool:
        nonlocal most
        most = max(most, resident_bytes(process.pid))
        return sum(task.done() for task in asked) + upstream.in_flight >= AT_ONCE

    await eventually(are_refused, "all of them refused, or with the provider")
    # A refusal may be lost with the connection, which ends before all is sent.
    answers = [found for task in asked if task.done() and (found := (await task)[0])]
    (small, large) = await gateway.ask("warm"), await said_to(port, sent(asking("warm", TEXTS[text])))

    assert {status for each in answers for status in statuses(each)} == {503}
    assert b"retry-after: 1" in answers[0]
    error = orjson.loads(answers[0].partition(b"\r\n\r\n")[2])["error"]
    assert (error["type"], error["code"]) == ("server_error", "too_many_large_requests")
    assert 1 <= upstream.in_flight <= ROOM_BYTES // (3 * BODY_BYTES)
    assert most - before < ROOM_BYTES + SPARE_BYTES
    assert small.status == 200
    assert statuses(large[0]) in ([503], [])
    assert upstream.calls_of("warm") == 2

    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await eventually(lambda: upstream.in_flight == 0, "the callers' leaving noticed")
    again, _ = await said_to(port, sent(asking("warm", TEXTS[text])))
    assert statuses(again) == [200]
