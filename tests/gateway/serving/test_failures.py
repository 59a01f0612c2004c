"""Truth under failure: before the first byte another model answers; after it the stream says it broke."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.experiments.response_ids import Unassigned
from gateway.upstream.base import Timeouts
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import (
    Behaviour,
    FakeUpstream,
    answer,
    cut,
    hang_up,
    malformed,
    raw,
    stall,
    status,
    stream_error,
    without_done,
)
from tests.gateway.live import PATIENT, Live, entry, experiment, live_gateway
from tests.gateway.protocols import both_protocols
from tests.gateway.whole import Reply
from tests.pace import impatient

pytestmark = both_protocols

HASTY = Timeouts(
    connect=impatient(0.3), first_byte=impatient(0.3), stall=impatient(0.3), total=impatient(0.6)
)

BEFORE_THE_FIRST_BYTE: dict[str, tuple[Behaviour, int, str]] = {
    # what the provider does, the status a caller sees if there is no fallback, the reason counted
    "hangs up": (hang_up(), 502, "connect"),
    "401": (status(401), 502, "status_4xx"),
    "403": (status(403), 502, "status_4xx"),
    "404": (status(404), 502, "status_4xx"),
    "429": (status(429, retry_after="3"), 429, "rate_limited"),
    "500": (status(500), 502, "status_5xx"),
    "503": (status(503), 502, "status_5xx"),
    "redirects": (status(307, location="http://127.0.0.1:1/"), 502, "protocol"),
    "stalls": (stall(), 504, "timeout"),
    "malformed": (malformed(), 502, "protocol"),
    "wrong type": (raw(b"<html>", content_type="text/html"), 502, "protocol"),
    "error with status 200": (raw(b'{"error":{"message":"x","code":500}}'), 502, "status_5xx"),
    "no choices": (raw(b'{"id":"x"}'), 502, "protocol"),
}
STREAMED_ONLY: dict[str, tuple[Behaviour, int, str]] = {
    "no event at all": (without_done(after=0), 502, "cut"),
    "cut before an event": (cut(after=0), 502, "cut"),
    "error as first event": (stream_error(), 502, "status_5xx"),
    "rate limit as first event": (stream_error(code=429), 429, "rate_limited"),
}
NOT_STREAMED_ONLY: dict[str, tuple[Behaviour, int, str]] = {"cut": (cut(), 502, "cut")}

CASES = [
    *(pytest.param(case, False, id=f"{name}, whole") for name, case in BEFORE_THE_FIRST_BYTE.items()),
    *(pytest.param(case, False, id=f"{name}, whole") for name, case in NOT_STREAMED_ONLY.items()),
    *(pytest.param(case, True, id=f"{name}, streamed") for name, case in BEFORE_THE_FIRST_BYTE.items()),
    *(pytest.param(case, True, id=f"{name}, streamed") for name, case in STREAMED_ONLY.items()),
]
AFTER_THE_FIRST_BYTE: dict[str, tuple[Behaviour, str]] = {
    "cut": (cut(after=2), "cut"),
    "ends without [DONE]": (without_done(after=2), "cut"),
    "stalls": (stall(after=2), "timeout"),
    "reports an error": (stream_error(after=2), "status_5xx"),
}


@pytest.fixture
async def failing(upstream: FakeUpstream, request: pytest.FixtureRequest) -> AsyncIterator[Live]:
    """`beta` is drawn for half the requests of `support`. Impatient only where a provider stalls.

    Elsewhere a pause of the machine would be taken for the provider's.
    """
    base = upstream.api_base
    live = experiment(base)
    async with live_gateway(
        [live, replace(live, name="incumbent-only", share=0.0)],
        [entry("small", base), entry("large", base)],
        timeouts=HASTY if "stalls" in request.node.name else PATIENT,
        http2=upstream.is_http2,
    ) as gateway:
        yield gateway


async def ask_until_beta_was_called(gateway: Live, upstream: FakeUpstream, *, stream: bool) -> Reply:
    """Ask until the coin falls on `beta`."""
    while True:
        reply = await gateway.ask(stream=stream)
        if upstream.calls_of("large"):
            return reply


@pytest.mark.parametrize(("case", "is_streamed"), CASES)
async def test_a_failing_candidate_is_replaced_by_the_incumbent(
    failing: Live, upstream: FakeUpstream, case: tuple[Behaviour, int, str], is_streamed: bool
) -> None:
    """The caller gets the incumbent's answer, which takes no part in the experiment; both are counted."""
    behaviour, _, reason = case
    upstream.on("large", behaviour)
    reply = await ask_until_beta_was_called(failing, upstream, stream=is_streamed)
    assert reply.status == 200
    assert (reply.said() if is_streamed else reply.text).strip() == "I am small."
    response_id = reply.events[0]["id"] if is_streamed else reply.json["id"]
    assert failing.sealer.open(response_id) == Unassigned(NAME)
    assert failing.observer.fallbacks == [(NAME, reason)]
    assert failing.observer.failed == [(NAME, "beta", reason)]
    assert reply.headers["x-llmpo-policy"] == "alpha"


@pytest.mark.parametrize("model", ["incumbent-only", "small"])
@pytest.mark.parametrize(("case", "is_streamed"), CASES)
async def test_with_nobody_left_the_caller_gets_an_openai_error(
    failing: Live, upstream: FakeUpstream, case: tuple[Behaviour, int, str], is_streamed: bool, model: str
) -> None:
    """Incumbents and plain models: a status the caller can act on, and OpenAI's shape."""
    behaviour, code, reason = case
    upstream.on("small", behaviour)
    reply = await failing.ask(model, stream=is_streamed)
    assert reply.status == code
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert reply.headers["content-type"] == "application/json"
    assert failing.observer.finished[-1] == ("/v1/chat/completions", code)
    if model != "small":
        assert failing.observer.failed == [("incumbent-only", "alpha", reason)]
        assert b"small" not in reply.body


async def test_a_provider_nobody_listens_at_is_bad_gateway(upstream: FakeUpstream, free_port: int) -> None:
    """A refused connection is the operator's matter."""
    gone = entry("gone", f"http://127.0.0.1:{free_port}/v1")
    async with live_gateway([], [gone], http2=upstream.is_http2) as gateway:
        reply = await gateway.ask("gone")
    assert (reply.status, reply.error["code"]) == (502, "upstream_connect")


async def test_rate_limits_keep_their_retry_after(gateway: Live, upstream: FakeUpstream) -> None:
    """OpenAI's clients wait as long as `retry-after` says."""
    upstream.on("small", status(429, retry_after="3"))
    reply = await gateway.ask("small")
    assert (reply.status, reply.headers["retry-after"]) == (429, "3")
    assert (reply.error["type"], reply.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")


@pytest.mark.parametrize("code", [401, 403, 404])
async def test_the_operators_mistakes_are_not_the_callers(
    gateway: Live, upstream: FakeUpstream, code: int
) -> None:
    """A wrong provider key is never reported as the caller's, nor the provider's words about it repeated."""
    upstream.on("small", status(code, "Incorrect API key provided: sk-prov*der"))
    reply = await gateway.ask("small")
    assert reply.status == 502
    assert b"sk-" not in reply.body


async def test_an_invalid_request_comes_back_in_the_providers_words(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """If the incumbent refuses it too, no policy is blamed and no model is named."""
    upstream.on("large", status(400, "large cannot do that"))
    upstream.on("small", status(400, "small: temperature must be below 2"))
    reply = await ask_until_beta_was_called(gateway, upstream, stream=False)
    assert reply.status == 400
    assert reply.error["message"] == "support: temperature must be below 2"
    assert gateway.observer.failed == []
    assert gateway.observer.fallbacks == []


async def test_a_request_only_the_candidate_refuses_is_answered(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """A policy that cannot do what the incumbent can has failed."""
    upstream.on("large", status(400, "no tools here"))
    reply = await ask_until_beta_was_called(gateway, upstream, stream=False)
    assert reply.text == "I am small."
    assert gateway.observer.failed == [(NAME, "beta", "status_4xx")]


@pytest.mark.parametrize("model", [NAME, "small"])
@pytest.mark.parametrize("name", AFTER_THE_FIRST_BYTE)
async def test_a_stream_that_breaks_says_so(
    failing: Live, upstream: FakeUpstream, name: str, model: str
) -> None:
    """What came is kept, an error event follows, and no [DONE] is made up."""
    behaviour, reason = AFTER_THE_FIRST_BYTE[name]
    upstream.on("small", behaviour)
    upstream.on("large", behaviour)
    reply = await failing.ask(model, stream=True)
    *events, error = reply.events
    assert [event["choices"][0]["delta"]["content"] for event in events] == ["word ", "word "]
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert error["error"]["code"] == f"upstream_{reason}"
    assert not reply.is_done
    assert failing.observer.fallbacks == []
    if model == NAME:
        assert [failed[2] for failed in failing.observer.failed] == [reason]


async def test_a_malformed_event_ends_an_experiments_stream(failing: Live, upstream: FakeUpstream) -> None:
    """What cannot be relabelled must not be passed on."""
    upstream.on("small", malformed(after=2))
    reply = await failing.ask("incumbent-only", stream=True)
    assert reply.events[-1]["error"]["code"] == "upstream_protocol"
    assert not reply.is_done


async def test_a_connection_the_provider_closed_meanwhile_is_replaced(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """A kept connection that turns out dead is no failure: the request is sent again on a new one."""
    await gateway.ask("small")
    upstream.on("small", hang_up(), answer())
    assert (await gateway.ask("small")).status == 200
    assert upstream.connections == 2


async def test_a_provider_that_hangs_up_is_asked_once(gateway: Live, upstream: FakeUpstream) -> None:
    """A request on a new connection is not sent again, because the provider may have worked on it."""
    upstream.on("small", hang_up())
    assert (await gateway.ask("small")).status == 502
    assert upstream.calls_of("small") == 1


async def test_a_slow_answer_within_bounds_is_waited_for(upstream: FakeUpstream) -> None:
    """The first-byte limit is for streams; a whole answer may take as long as the total allows."""
    upstream.on("small", answer(pause_seconds=0.4))
    limits = replace(PATIENT, first_byte=0.2, stall=0.2)
    models = [entry("small", upstream.api_base)]
    async with live_gateway([], models, timeouts=limits, http2=upstream.is_http2) as gateway:
        assert (await gateway.ask("small")).status == 200
