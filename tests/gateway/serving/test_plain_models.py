"""Plain models: relayed byte for byte."""

from __future__ import annotations

import pytest

from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer, raw, raw_stream
from tests.gateway.live import Live
from tests.gateway.protocols import both_protocols

pytestmark = both_protocols

ODD_BODY = (
    b'{ "id" :"x",\n "model":"odd","choices":[{"index":0,"message":{"content":"\\u00e9"}}],"extra":1.10 }'
)


async def test_a_whole_answer_is_relayed_untouched(gateway: Live, upstream: FakeUpstream) -> None:
    """Every byte of the provider's body arrives, whatever its spacing."""
    upstream.on("small", raw(ODD_BODY))
    reply = await gateway.ask("small")
    assert (reply.status, reply.body) == (200, ODD_BODY)
    assert reply.headers["content-type"] == "application/json"


async def test_a_stream_is_relayed_untouched(gateway: Live, upstream: FakeUpstream) -> None:
    """Comments, named events and line ends included."""
    parts = (
        b'event: x\r\ndata: {"id":"1"}\r\n\r\n',
        b": ping\n\n",
        b'data: {"a":1}\n\nda',
        b"ta: [DONE]\n\n",
    )
    upstream.on("small", raw_stream(*parts))
    reply = await gateway.ask("small", stream=True)
    assert reply.body == b"".join(parts)
    assert reply.headers["content-type"].startswith("text/event-stream")


async def test_the_provider_gets_its_own_model_name_and_the_operators_key(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """The caller's own key stays at the gateway; all its fields go on."""
    fields = {"temperature": 0.5, "tools": [], "metadata": {"a": "b"}, "min_p": 0.1}
    await gateway.ask("large", headers={"Authorization": "Bearer callers"}, **fields)
    (seen,) = upstream.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == "Bearer sk-provider"
    assert seen.body == {"model": "large", "messages": [{"role": "user", "content": "Hello?"}], **fields}


async def test_headers_of_the_provider_stay_behind(gateway: Live, upstream: FakeUpstream) -> None:
    """Only the gateway's own headers reach the caller, with a request id."""

    async def tell(exchange: Exchange) -> None:
        await exchange.whole(b'{"choices":[]}', x_provider="secret", set_cookie="a=b")

    upstream.on("small", tell)
    reply = await gateway.ask("small")
    assert "x-provider" not in reply.headers
    assert "set-cookie" not in reply.headers
    assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("size", [10, 300_000])
async def test_large_answers_pass(gateway: Live, upstream: FakeUpstream, size: int) -> None:
    """Length does not matter, streamed or not."""
    upstream.on("small", answer("x" * size))
    assert (await gateway.ask("small")).text == "x" * size
    assert (await gateway.ask("small", stream=True)).said() == "x" * size + " "


async def test_connections_to_the_provider_are_kept(gateway: Live, upstream: FakeUpstream) -> None:
    """Successive requests, streams included, share one connection."""
    for is_streamed in (False, True, False, True, True):
        await gateway.ask("small", stream=is_streamed)
    assert upstream.connections == 1


async def test_overhead_and_status_are_observed(gateway: Live, upstream: FakeUpstream) -> None:
    """Time spent waiting for the provider is not overhead."""
    upstream.on("small", answer(pause_seconds=0.2))
    await gateway.ask("small")
    assert gateway.observer.finished == [("/v1/chat/completions", 200)]
    (overhead,) = gateway.observer.overheads
    assert 0 < overhead < 0.15
