"""Answers without end or measure, from providers that litellm asks."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from gateway.errors import UpstreamError
from gateway.upstream.base import Timeouts
from gateway.upstream.translating.asking import BrokenAnswerError, asking
from gateway.upstream.translating.upstream import LitellmUpstream, provider_names
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream
from tests.gateway.live import entry, experiment, live_gateway
from tests.gateway.upstream.test_litellm import START, event, read_all, request, text
from tests.pace import PATIENCE_SECONDS

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

ENDLESS_LINE = b"".join(START) + b'data: {"type": "'


def endless(beginning: bytes, part: bytes, *, encoding: str = "identity", code: int = 200) -> Behaviour:
    """An answer that repeats a part until the client leaves."""

    async def behave(exchange: Exchange) -> None:
        kind = "text/event-stream" if exchange.is_stream else "application/json"
        head = f"HTTP/1.1 {code} X\r\ncontent-type: {kind}\r\ncontent-encoding: {encoding}\r\n\r\n"
        exchange.writer.write(head.encode() + beginning)
        while not exchange.is_left:
            exchange.writer.write(part)
            await exchange.writer.drain()

    return behave


def packed(beginning: bytes, part: bytes) -> Behaviour:
    """Such an answer in gzip, a thousandth of which travels."""
    packing = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first, repeated = (
        packing.compress(data) + packing.flush(zlib.Z_FULL_FLUSH) for data in (beginning, part * 1024)
    )
    return endless(first, repeated, encoding="gzip")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are reached soon."""
    provider_names()  # imports litellm
    bounds = "gateway.upstream.translating.bounds"
    monkeypatch.setattr(f"{bounds}.MAX_WHOLE_BYTES", 256 * 1024)
    monkeypatch.setattr(f"{bounds}.MAX_STREAM_BYTES", 16 * 1024)
    monkeypatch.setattr(f"{bounds}.MAX_EVENT_BYTES", 8 * 1024)
    monkeypatch.setattr(f"{bounds}.MAX_ERROR_BYTES", 1024)
    monkeypatch.setattr("gateway.upstream.http.inflating.PIECE_BYTES", 1024)


@pytest.fixture
async def provider() -> AsyncIterator[FakeUpstream]:
    """It does what the test says if asked for `claude`."""
    async with FakeUpstream() as provider:
        yield provider


@pytest.fixture
async def upstream() -> AsyncIterator[LitellmUpstream]:
    """litellm, patient."""
    upstream = LitellmUpstream(Timeouts(connect=1, first_byte=PATIENCE_SECONDS, total=PATIENCE_SECONDS))
    yield upstream
    await upstream.aclose()


@pytest.mark.parametrize("kind", [endless, packed])
async def test_a_whole_answer_is_read_up_to_its_bound(
    upstream: LitellmUpstream, provider: FakeUpstream, kind: Callable[[bytes, bytes], Behaviour]
) -> None:
    """A longer one is the provider's failure, as through the relay, and is not asked for again."""
    provider.on("claude", kind(b'{"id": "', b"x" * 4096))
    with pytest.raises(UpstreamError, match="too long") as failed:
        await upstream.complete(request(provider))
    assert (failed.value.status, failed.value.reason) == (502, "protocol")
    assert len(provider.seen) == 1


@pytest.mark.parametrize("kind", [endless, packed])
async def test_a_whole_answer_has_a_bound_on_its_structure(
    upstream: LitellmUpstream,
    provider: FakeUpstream,
    kind: Callable[[bytes, bytes], Behaviour],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Empty objects take many times the room of their brackets, so they are counted unparsed."""
    monkeypatch.setattr("gateway.upstream.translating.bounds._LIGHT_BYTES", 1024)
    monkeypatch.setattr("gateway.upstream.translating.bounds.MOST_STRUCTURE_BYTES", 1024 * 1024)
    provider.on("claude", kind(b'{"content": [', b"{}," * 1024))
    with pytest.raises(UpstreamError, match="too much structure") as failed:
        await upstream.complete(request(provider))
    assert (failed.value.status, failed.value.reason) == (502, "protocol")
    assert len(provider.seen) == 1


@pytest.mark.parametrize("kind", [endless, packed])
async def test_an_event_is_read_up_to_its_bound(
    upstream: LitellmUpstream, provider: FakeUpstream, kind: Callable[[bytes, bytes], Behaviour]
) -> None:
    """A line without end is the provider's failure, as through the relay."""
    provider.on("claude", kind(ENDLESS_LINE, b"x" * 4096))
    with pytest.raises(UpstreamError, match="event without end") as failed:
        await upstream.stream(request(provider))
    assert (failed.value.status, failed.value.reason) == (502, "protocol")


async def test_a_stream_is_read_up_to_its_bound(upstream: LitellmUpstream, provider: FakeUpstream) -> None:
    """What came before is passed on; then the stream breaks off."""
    # litellm breaks off a stream that repeats itself.
    provider.on("claude", endless(b"".join(START), b"".join(text(f"{number} or ") for number in range(40))))
    stream = await upstream.stream(request(provider))
    assert b"0 or " in await stream.read()
    with pytest.raises(UpstreamError, match="too long"):
        await read_all(stream)
    await stream.aclose()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_of_an_error_only_the_beginning_is_read(
    upstream: LitellmUpstream, provider: FakeUpstream, is_streamed: bool
) -> None:
    """However long it goes on, its status is what failed."""
    provider.on("claude", endless(b'{"error": "', b"x" * 4096, code=529))
    ask = upstream.stream if is_streamed else upstream.complete
    with pytest.raises(UpstreamError) as failed:
        await ask(request(provider))
    assert failed.value.reason == "status_5xx"


async def test_an_encoding_without_a_bound_is_refused(
    upstream: LitellmUpstream, provider: FakeUpstream
) -> None:
    """What cannot be unpacked in pieces was not asked for, and is the provider's failure."""
    provider.on("claude", endless(b"", b"\x1b" * 4096, encoding="br"))
    with pytest.raises(UpstreamError, match="encoding"):
        await upstream.complete(request(provider))
    assert provider.seen[0].headers["accept-encoding"] == "gzip, deflate"


async def test_clients_over_httpx_are_bounded(provider: FakeUpstream) -> None:
    """A few providers are asked through them, some of these in threads."""
    provider.on("claude", endless(b"", b"x" * 4096))
    url, question = f"http://127.0.0.1:{provider.port}", {"model": "claude"}
    with asking():
        async with httpx.AsyncClient() as client:
            with pytest.raises(BrokenAnswerError, match="too long"):
                await client.post(url, json=question)
        with httpx.Client() as client_in_thread, pytest.raises(BrokenAnswerError, match="too long"):
            await asyncio.to_thread(client_in_thread.post, url, json=question)


async def test_others_have_their_turn_while_nothing_comes_of_a_stream(
    upstream: LitellmUpstream, provider: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of lines that arrive at once do not stop the event loop."""
    monkeypatch.setattr("gateway.upstream.translating.bounds._TURN_SECONDS", 0.0)
    provider.on("claude", endless(b"".join(START), event("ping") * 400))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    with pytest.raises(UpstreamError, match="too long"):
        await upstream.stream(request(provider))
    counting.cancel()
    assert turns > 16 * 1024 / len(event("ping"))


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_the_incumbent_answers_in_place_of_an_answer_without_end(
    provider: FakeUpstream, is_streamed: bool
) -> None:
    """A translated candidate without measure is replaced like any that fails."""
    provider.on("claude", endless(ENDLESS_LINE, b"x" * 4096))
    base = provider.api_base
    policies = {"alpha": {"model": "small"}, "beta": {"model": "claude"}}
    other = entry("claude", base.removesuffix("/v1"), provider="anthropic")
    async with live_gateway([experiment(base, policies)], [entry("small", base), other]) as gateway:
        for _ in range(4):
            reply = await gateway.ask(stream=is_streamed)
            assert (reply.said() if is_streamed else reply.text).strip() == "I am small."
        assert set(gateway.observer.fallbacks) == {("support", "protocol")}
