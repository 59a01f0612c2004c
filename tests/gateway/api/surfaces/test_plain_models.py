"""Plain models on every kind of request: relayed byte for byte to providers that speak it."""

from __future__ import annotations

import pytest

from tests.gateway.api.surfaces.answers import TEXT, broken_off, event, streamed, whole
from tests.gateway.api.surfaces.asking import ASKED, ask
from tests.gateway.fake_upstream import Exchange, FakeUpstream
from tests.gateway.live import Live

WHOLE = [
    ("responses", "small"),
    ("completions", "small"),
    ("embeddings", "small"),
    ("messages", "claude-small"),
]
STREAMED = [case for case in WHOLE if case[0] != "embeddings"]


def last(upstream: FakeUpstream) -> Exchange:
    """The provider's side of the last request."""
    return Exchange(upstream.seen[-1], 1, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "model"), WHOLE)
async def test_whole_answers_are_relayed_untouched(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """Every byte of the provider's answer and every field of the caller's request is relayed."""
    reply = await ask(gateway, kind, model, user="u", new_field={"a": 1})
    assert (reply.status, reply.body) == (200, whole(last(upstream), TEXT))
    assert upstream.seen[-1].body == {"model": model, **ASKED[kind], "user": "u", "new_field": {"a": 1}}
    assert upstream.seen[-1].path == f"/v1/{kind}"


@pytest.mark.parametrize(("kind", "model"), STREAMED)
async def test_streams_are_relayed_untouched(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """A stream is relayed to its last event, and the name of that event inside a text ends nothing."""
    reply = await ask(gateway, kind, model, stream=True)
    assert reply.body == b"".join(streamed(last(upstream), TEXT))
    assert reply.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(("kind", "model"), STREAMED)
async def test_connections_are_kept_after_streams(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """The end of a stream is known without waiting for the connection to close."""
    for _ in range(3):
        await ask(gateway, kind, model, stream=True)
    assert upstream.connections == 1


@pytest.mark.parametrize(("kind", "model"), [case for case in STREAMED if case[0] != "completions"])
async def test_a_stream_without_its_last_event_is_broken_off(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """The stream ends with an error of its format, never with an invented last event."""
    upstream.on(model, broken_off())
    reply = await ask(gateway, kind, model, stream=True)
    assert b"event: error\ndata: " in reply.body
    assert b"\nevent: response.completed" not in reply.body
    assert b"\nevent: message_stop" not in reply.body


async def test_anthropic_gets_its_own_headers(gateway: Live, upstream: FakeUpstream) -> None:
    """Anthropic gets the operator's key and the caller's version of the format, but not the caller's key."""
    await ask(gateway, "messages", "claude-small", headers={"x-api-key": "callers"})
    headers = upstream.seen[-1].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-provider", "2023-06-01")
    assert "authorization" not in headers
    chosen = {"anthropic-version": "2099-01-01", "anthropic-beta": "b"}
    await ask(gateway, "messages", "claude-small", headers=chosen)
    assert chosen.items() <= upstream.seen[-1].headers.items()


@pytest.mark.parametrize(("kind", "model"), WHOLE)
async def test_a_trace_goes_on_to_the_provider(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """A trace is sent on unchanged, and malformed trace headers are not sent."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await ask(gateway, kind, model, headers={"traceparent": trace, "tracestate": "a=b"})
    assert upstream.seen[-1].headers["traceparent"] == trace
    assert upstream.seen[-1].headers["tracestate"] == "a=b"
    await ask(gateway, kind, model, headers={"traceparent": "nonsense"})
    assert "traceparent" not in upstream.seen[-1].headers


async def test_rate_limits_are_passed_on(gateway: Live, upstream: FakeUpstream) -> None:
    """Plain models pass them on with every answer; an experiment's would show which policy answered."""

    async def limited(exchange: Exchange) -> None:
        code = 429 if exchange.seen.body.get("user") else 200
        await exchange.whole(whole(exchange, ""), code=code, x_ratelimit_remaining_requests="3", x_other="x")

    for model in ("small", "large"):
        upstream.on(model, limited)
    for fields, status in (({}, 200), ({"user": "u"}, 429)):
        reply = await ask(gateway, "responses", "small", **fields)
        assert (reply.status, reply.headers["x-ratelimit-remaining-requests"]) == (status, "3")
        assert "x-other" not in reply.headers
        reply = await ask(gateway, "responses", "support", **fields)
        assert reply.status == status
        assert "x-ratelimit-remaining-requests" not in reply.headers


async def test_a_rate_limit_that_no_server_may_send_is_left_out(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """An answer whose headers hold control characters reaches the caller without these headers."""

    async def odd(exchange: Exchange) -> None:
        limits = {"x_ratelimit_limit_requests": "a\x01b", "x_ratelimit_limit_tokens": "9"}
        await exchange.whole(whole(exchange, ""), **limits)

    upstream.on("small", odd)
    reply = await ask(gateway, "responses", "small")
    assert (reply.status, reply.headers["x-ratelimit-limit-tokens"]) == (200, "9")
    assert "x-ratelimit-limit-requests" not in reply.headers


async def test_a_response_that_failed_is_a_failure(gateway: Live, upstream: FakeUpstream) -> None:
    """A failed response is a failure even if it comes in a stream in place of the last event."""
    failed = {"id": "r", "status": "failed", "output": [], "error": {"code": "server_error", "message": "no"}}

    async def fail(exchange: Exchange) -> None:
        if exchange.is_stream:
            await exchange.begin()
            for one in (*streamed(exchange, TEXT)[:2], event("response.failed", response=failed)):
                await exchange.send(one)
            await exchange.end()
        else:
            await exchange.whole(b'{"status": "failed", "output": [], "error": {"message": "no"}}')

    upstream.on("small", fail)
    assert (await ask(gateway, "responses", "small")).status == 502
    reply = await ask(gateway, "responses", "small", stream=True)
    assert b"event: error" in reply.body
    assert b"event: response.failed" not in reply.body
