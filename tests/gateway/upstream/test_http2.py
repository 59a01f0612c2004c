"""Providers asked over HTTP/2: one connection for many, which no slow or leaving caller can break.

What holds for both versions of HTTP is shown where it is tested for HTTP/1.1 (`both_protocols`).
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes

from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, UpstreamRequest
from gateway.upstream.http import http2_connection
from gateway.upstream.http.http2_answer import Http2Answer, StreamOwner
from gateway.upstream.http.inflating import PIECE_BYTES
from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.sse import DONE
from tests.gateway.fake_http2 import FakeHttp2Upstream, give_up
from tests.gateway.fake_upstream import Behaviour, Exchange, answer, body, chunk, hang_up, stall, status
from tests.gateway.upstream.asking import LIMITS, QUESTION, ask, read_all, request
from tests.gateway.whole import eventually
from tests.pace import impatient


def on_release(release: asyncio.Event, text: str = "At last.") -> Behaviour:
    """Answer when the test says so."""

    async def behave(exchange: Exchange) -> None:
        await release.wait()
        await answer(text)(exchange)

    return behave


async def test_many_requests_at_once_share_one_connection(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """Whole answers and streams, each with its own."""
    release = asyncio.Event()
    provider.on("small", on_release(release))
    whole = [asyncio.create_task(ask(relay, provider)) for _ in range(40)]
    streams = [
        asyncio.create_task(relay.stream(request(provider, f"m{number}", stream=True)))
        for number in range(40)
    ]
    said = [await read_all(stream) for stream in await asyncio.gather(*streams)]
    release.set()
    assert set(await asyncio.gather(*whole)) == {"At last."}
    for number, text in enumerate(said):
        assert f'"model":"m{number}"'.encode() in text
        assert text.endswith(b"data: [DONE]\n\n")
    assert provider.connections == 1
    assert provider.resets == []


async def test_more_than_a_connection_takes_get_another(relay: Relay) -> None:
    """No request waits for a place, and none is refused."""
    async with FakeHttp2Upstream(max_streams=8) as provider:
        release = asyncio.Event()
        provider.on("small", on_release(release))
        asking = [asyncio.create_task(ask(relay, provider)) for _ in range(20)]
        await eventually(lambda: len(provider.seen) == 20, "all requests to arrive")
        assert provider.connections == 3
        release.set()
        assert len(await asyncio.gather(*asking)) == 20


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_leaving_resets_the_stream_and_nothing_else(
    relay: Relay, provider: FakeHttp2Upstream, is_streamed: bool
) -> None:
    """The provider is free within a second, and goes on with the others on the same connection."""
    release = asyncio.Event()
    provider.on("small", on_release(release))
    provider.on("slow", stall(after=2 if is_streamed else 0))
    staying = asyncio.create_task(ask(relay, provider))
    leaving = asyncio.create_task(
        _read_on(relay, request(provider, "slow", stream=True))
        if is_streamed
        else ask(relay, provider, "slow")
    )
    await eventually(lambda: len(provider.seen) == 2, "both asked")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await eventually(lambda: provider.in_flight == 1, "the provider free", seconds=impatient(1.0))
    assert provider.resets == [ErrorCodes.CANCEL]
    release.set()
    assert await staying == "At last."
    assert await ask(relay, provider, "next") == "I am next."
    assert provider.connections == 1


async def _read_on(relay: Relay, asked: UpstreamRequest) -> None:
    stream = await relay.stream(asked)
    try:
        while await stream.read():
            pass
    finally:
        await stream.aclose()


async def test_a_caller_who_leaves_while_connecting_takes_nobody_along(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """All requests that arrived meanwhile wait for the same connection."""
    first = asyncio.create_task(ask(relay, provider))
    second = asyncio.create_task(ask(relay, provider))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "I am small."
    assert provider.connections == 1


async def test_a_stream_that_ended_is_not_reset(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """The end of a stream is read as over HTTP/1.1."""
    for _ in range(3):
        await read_all(await relay.stream(request(provider, stream=True)))
    assert (provider.resets, provider.connections) == ([], 1)


async def test_goaway_lets_answers_under_way_end(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """New requests go to a new connection meanwhile; the old one is closed when it is idle."""
    release = asyncio.Event()
    provider.on("small", on_release(release))
    provider.on("slow", answer("a b c d", pause_seconds=0.05))
    asking = asyncio.create_task(ask(relay, provider))
    stream = await relay.stream(request(provider, "slow", stream=True))
    (old,) = provider.live
    old.go_away()
    assert (await read_all(stream)).endswith(b"data: [DONE]\n\n")
    assert await ask(relay, provider, "next") == "I am next."
    release.set()
    assert await asking == "At last."
    await eventually(lambda: old not in provider.live, "the old connection closed")
    assert provider.connections == 2
    assert len(provider.seen) == 3


async def test_what_goaway_says_was_not_begun_is_asked_again(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """A request that was not begun is sent once more on another connection; a begun one is not."""

    async def say_goodbye(exchange: Exchange) -> None:
        provider.live[0].go_away(last_stream=1)
        await exchange.until_left()

    release = asyncio.Event()
    provider.on("begun", on_release(release))
    provider.on("small", say_goodbye, answer())
    begun = asyncio.create_task(ask(relay, provider, "begun"))
    await eventually(lambda: len(provider.seen) == 1, "the first asked")
    assert await ask(relay, provider) == "I am small."
    release.set()
    assert await begun == "At last."
    assert (provider.connections, provider.calls_of("begun"), provider.calls_of("small")) == (2, 1, 2)


async def test_a_refused_stream_is_asked_again(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """The provider says that it did nothing with it."""
    provider.on("small", give_up(ErrorCodes.REFUSED_STREAM), answer())
    assert await ask(relay, provider) == "I am small."
    assert provider.calls_of("small") == 2


async def test_asking_again_is_paid_from_the_retry_budget(provider: FakeHttp2Upstream) -> None:
    """Second attempts use the retry budget as over HTTP/1.1."""
    relay = Relay(LIMITS, RetryBudget(ratio=0.0, burst=2))
    provider.on("small", give_up(ErrorCodes.REFUSED_STREAM))
    for _ in range(5):
        with pytest.raises(UpstreamError) as failed:
            await ask(relay, provider)
        assert (failed.value.status, failed.value.reason) == (502, "connect")
    await relay.aclose()
    assert len(provider.seen) == 5 + 2


@pytest.mark.parametrize(
    ("after", "reason"), [(0, "connect"), (10, "cut")], ids=["before its head", "in its body"]
)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_stream_the_provider_gives_up_fails_alone(
    relay: Relay, provider: FakeHttp2Upstream, after: int, reason: str, is_streamed: bool
) -> None:
    """The stream is not asked for again, since work may have been done; other streams continue."""
    release = asyncio.Event()
    provider.on("small", on_release(release))
    provider.on("broken", give_up(ErrorCodes.INTERNAL_ERROR, after))
    staying = asyncio.create_task(ask(relay, provider))
    call = relay.stream if is_streamed else relay.complete
    with pytest.raises(UpstreamError) as failed:
        await call(request(provider, "broken", stream=is_streamed))
    assert failed.value.reason == reason
    release.set()
    assert await staying == "At last."
    assert (provider.connections, provider.calls_of("broken")) == (1, 1)


async def test_a_provider_that_hangs_up_fails_all_it_was_asked(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """Requests that may have been answered are not repeated, and the next request is answered."""
    await ask(relay, provider)
    provider.on("small", stall())
    asking = [asyncio.create_task(ask(relay, provider)) for _ in range(3)]
    await eventually(lambda: provider.in_flight == 3, "all asked")
    provider.live[0].hang_up()
    failures = await asyncio.gather(*asking, return_exceptions=True)
    assert [getattr(failure, "reason", failure) for failure in failures] == ["connect"] * 3
    provider.on("small", answer())
    assert await ask(relay, provider) == "I am small."
    assert provider.calls_of("small") == 5


async def test_a_kept_connection_that_turns_out_closed_is_replaced(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """A closed connection is replaced as over HTTP/1.1."""
    await ask(relay, provider)
    provider.on("small", hang_up(), answer())
    assert await ask(relay, provider) == "I am small."
    assert provider.connections == 2


async def test_who_does_not_read_holds_nobody_up(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """Each stream waits for its own reader; the provider is held back long before memory is full."""
    sent = 0

    async def pour(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.begin()
        for _ in range(10_000):
            await exchange.send(b'data: {"x":"' + b"y" * 10_000 + b'"}\n\n')
            sent += 1

    provider.on("pours", pour)
    dawdling = [await relay.stream(request(provider, "pours", stream=True)) for _ in range(4)]
    provider.on("small", answer("z" * 2_000_000))
    for _ in range(12):  # more than all of the connection's room
        assert len(await ask(relay, provider)) == 2_000_000
    assert sent * 10_000 < 4 * 400_000
    assert provider.connections == 1
    for stream in dawdling:
        await stream.aclose()
    await eventually(lambda: provider.in_flight == 0, "the provider free", seconds=impatient(1.0))


async def test_answers_nobody_waits_for_use_up_no_room(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """Bytes that arrive after the reset still count for the connection's window."""

    async def pour(exchange: Exchange) -> None:
        await exchange.begin()
        while True:
            await exchange.send(b'data: {"x":"' + b"y" * 16_000 + b'"}\n\n')

    provider.on("pours", pour)
    for _ in range(100):  # each leaves up to 256 KiB behind
        stream = await relay.stream(request(provider, "pours", stream=True))
        await stream.aclose()
    provider.on("small", answer("z" * 2_000_000))
    assert len(await ask(relay, provider)) == 2_000_000
    assert provider.connections == 1


async def test_a_large_request_is_sent_as_the_provider_takes_it(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """It is sent whole in frames within the windows, and small requests pass meanwhile."""
    text = "x" * 3_000_000
    large = asyncio.create_task(ask(relay, provider, "large", user=text))
    assert await ask(relay, provider) == "I am small."
    assert await large == "I am large."
    (seen,) = [one for one in provider.seen if one.body["model"] == "large"]
    assert seen.body["user"] == text
    assert provider.connections == 1


async def test_an_answer_before_the_request_was_read_is_the_answer(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """The rest of the request is not sent, and the stream does not stay open."""
    provider.is_rash = True
    provider.on("None", status(413, "too large"))
    with pytest.raises(UpstreamError, match="too large") as failed:
        await ask(relay, provider, user="x" * 1_000_000)
    assert failed.value.is_callers_fault
    await eventually(lambda: provider.resets == [ErrorCodes.CANCEL], "the stream closed")
    provider.on("None", answer())
    assert await ask(relay, provider, user="x" * 1_000_000) == "I am None."
    await eventually(lambda: len(provider.resets) == 2, "the stream closed")


async def test_headers_are_those_of_http1(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """Header names are in lower case, and headers about the connection are left out."""
    own = {"X-Team": "blue", "Connection": "close", "Transfer-Encoding": "chunked", "Host": "elsewhere"}
    target = ModelTarget(
        "m", "openai", "openai", "small", provider.api_base, "sk-operator", http2=True, headers=own
    )
    await relay.complete(UpstreamRequest(target, QUESTION, headers={"traceparent": "t", "x-team": "red"}))
    headers = provider.seen[0].headers
    assert (headers[":method"], headers[":path"]) == ("POST", "/v1/chat/completions")
    assert (headers[":authority"], headers[":scheme"]) == ("elsewhere", "http")
    assert (headers["authorization"], headers["content-type"]) == ("Bearer sk-operator", "application/json")
    assert (headers["x-team"], headers["traceparent"]) == ("blue", "t")
    assert not {"connection", "transfer-encoding", "host"} & headers.keys()


async def test_rate_limits_are_read(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """Rate limits are read from answers and from refusals."""

    async def limited(exchange: Exchange) -> None:
        await exchange.whole(b'{"choices":[]}', x_ratelimit_remaining_requests="7", x_other="no")

    provider.on("small", limited)
    reply = await relay.complete(request(provider))
    assert reply.headers == ((b"x-ratelimit-remaining-requests", b"7"),)
    provider.on("small", status(429, retry_after="9", x_ratelimit_limit_tokens="1"))
    with pytest.raises(UpstreamError) as failed:
        await relay.complete(request(provider))
    assert failed.value.retry_after == "9"
    assert failed.value.headers == ((b"x-ratelimit-limit-tokens", b"1"),)


async def test_an_encoding_nobody_asked_for_is_refused(relay: Relay, provider: FakeHttp2Upstream) -> None:
    """Without the check, compressed bytes would be passed on as text."""

    async def zipped(exchange: Exchange) -> None:
        await exchange.whole(b"\x1f\x8b", content_encoding="br")

    provider.on("small", zipped)
    with pytest.raises(UpstreamError, match="encoding") as failed:
        await relay.complete(request(provider))
    assert failed.value.reason == "protocol"


async def test_a_connection_nobody_answers_on_is_given_up(
    relay: Relay, provider: FakeHttp2Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a request times out and a ping gets no answer, the other requests do not wait as long."""
    monkeypatch.setattr(http2_connection, "_PROBE_SECONDS", 0.1)
    provider.on("small", stall())
    leaving, staying = (asyncio.create_task(ask(relay, provider)) for _ in range(2))
    await eventually(lambda: provider.in_flight == 2, "both asked")
    (dead,) = provider.live
    assert dead.transport is not None
    dead.transport.pause_reading()
    leaving.cancel()
    with pytest.raises(UpstreamError) as failed:
        await staying
    assert failed.value.reason == "connect"
    provider.on("small", answer())
    assert await ask(relay, provider) == "I am small."
    assert provider.connections == 2


async def test_an_idle_connection_is_closed_after_a_while(
    relay: Relay, provider: FakeHttp2Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in use is not."""
    monkeypatch.setattr(http2_connection, "KEEP_SECONDS", 0.05)
    provider.on("slow", answer(pause_seconds=0.3))
    assert await ask(relay, provider, "slow") == "I am slow."
    await eventually(lambda: provider.live == [], "the connection closed")
    assert await ask(relay, provider) == "I am small."
    assert provider.connections == 2


@pytest.mark.parametrize(
    ("encoding", "compressed"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_heads_and_encodings_that_clients_take_are_taken(
    relay: Relay,
    provider: FakeHttp2Upstream,
    encoding: str,
    compressed: Callable[[bytes], bytes],
    is_streamed: bool,
) -> None:
    """Headers of 60 KiB, or a body that is compressed without being asked for it."""
    big = "v" * 60 * 1024 if compressed is bytes else "v"  # packing and unpacking this takes half a second

    async def behave(exchange: Exchange) -> None:
        said = chunk(exchange, {"content": "Hi"}) + DONE if is_streamed else body(exchange, "Hi")
        await exchange.whole(compressed(said), content_encoding=encoding, x_big=big)

    provider.on("small", behave)
    if is_streamed:
        assert b'"Hi"' in await read_all(await relay.stream(request(provider, stream=True)))
    else:
        assert await ask(relay, provider) == "Hi"


async def test_a_packed_body_is_unpacked_in_pieces() -> None:
    """What takes a kilobyte on its way may take a megabyte, which is not all in memory at once."""

    class Owner(StreamOwner):
        """A connection that nobody reads from."""

    reply, said = Http2Answer(Owner(), 1), bytes(1_000_000)
    reply.head([(b":status", b"200"), (b"content-encoding", b"gzip")])
    reply.data(gzip.compress(said), 1000)
    reply.end()
    pieces = []
    while piece := await reply.some():
        pieces.append(piece)
    assert b"".join(pieces) == said
    assert max(map(len, pieces)) == PIECE_BYTES


async def test_a_body_that_is_not_in_its_encoding_is_a_failure(
    relay: Relay, provider: FakeHttp2Upstream
) -> None:
    """A body with a false encoding fails like any answer that cannot be read."""

    async def behave(exchange: Exchange) -> None:
        await exchange.whole(body(exchange, "Hi"), content_encoding="gzip")

    provider.on("small", behave)
    with pytest.raises(UpstreamError) as failed:
        await ask(relay, provider)
    assert failed.value.reason == "protocol"
