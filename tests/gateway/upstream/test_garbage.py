"""What a request leaves behind is freed at once.

In a cycle of references it would wait, with every buffer of its request, for the next garbage collection:
memory would rise by megabytes between two of them, and all requests would stop while one runs.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from gateway.errors import UpstreamError
from gateway.instrumentation.hooks import Hooks
from gateway.serving.attempts import Attempts
from gateway.serving.dueling import both
from gateway.serving.ejection import EjectionBook
from gateway.serving.exchange import Question, Respondent
from gateway.upstream import relay as relaying
from gateway.upstream.base import AnswerStream, UpstreamRequest
from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from tests.gateway.fake_http2 import FakeHttp2Upstream
from tests.gateway.fake_upstream import (
    Behaviour,
    Exchange,
    FakeUpstream,
    answer,
    cut,
    hang_up,
    malformed,
    stall,
    status,
)
from tests.gateway.upstream.asking import read_all, request

Provider = FakeUpstream | FakeHttp2Upstream
Reading = Callable[[AnswerStream], Awaitable[object]]


@pytest.fixture(params=[False, True], ids=["http1", "http2"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """One that speaks HTTP/1.1, and one that speaks HTTP/2."""
    async with FakeHttp2Upstream() if request.param else FakeUpstream() as provider:
        yield provider


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def request_to(provider: Provider, *, stream: bool = False) -> UpstreamRequest:
    """A question in the version of HTTP it speaks."""
    return request(provider, http2=isinstance(provider, FakeHttp2Upstream), stream=stream)


async def left_after_one_block(stream: AnswerStream) -> None:
    """A caller who leaves."""
    await stream.read()
    await stream.aclose()


async def read_until_it_breaks(stream: AnswerStream) -> None:
    """A caller who gets all there is."""
    with pytest.raises(UpstreamError):
        await read_all(stream)
    await stream.aclose()


@pytest.mark.parametrize(
    ("behaviour", "reading"),
    [
        (answer("Hello."), read_all),
        (stall(after=1), left_after_one_block),
        (cut(after=1), read_until_it_breaks),
        (malformed(after=1), read_until_it_breaks),
    ],
    ids=["read to its end", "left", "broken off", "malformed"],
)
async def test_a_stream_is_freed_when_it_is_over(
    relay: Relay, provider: Provider, behaviour: Behaviour, reading: Reading
) -> None:
    """The provider's connection is released after every kind of end."""
    provider.on("small", behaviour)
    stream = await relay.stream(request_to(provider, stream=True))
    alive = weakref.ref(stream)
    await reading(stream)
    del stream
    await asyncio.sleep(0)
    assert alive() is None


@pytest.mark.parametrize("behaviour", [status(500), hang_up()], ids=["refused", "hung up"])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_a_failure_is_freed_when_it_was_dealt_with(
    relay: Relay, provider: Provider, behaviour: Behaviour, is_streamed: bool
) -> None:
    """The error is freed together with the frames of its traceback."""
    provider.on("small", behaviour)
    ask = relay.stream if is_streamed else relay.complete
    try:
        await ask(request_to(provider, stream=is_streamed))
    except UpstreamError as error:
        alive = weakref.ref(error)
    await asyncio.sleep(0)
    assert alive() is None


async def test_an_answer_without_end_is_read_no_further(
    relay: Relay, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest answer is read whole; a longer one is a failure, and its provider is left at once."""
    body = b'{"choices":[],"pad":"%b"}' % (b"x" * 300_000)

    async def whole(exchange: Exchange) -> None:
        await exchange.whole(body)

    provider.on("small", whole)
    monkeypatch.setattr(relaying, "MAX_ANSWER_BYTES", len(body))
    assert (await relay.complete(request_to(provider))).body == body
    monkeypatch.setattr(relaying, "MAX_ANSWER_BYTES", len(body) - 1)
    with pytest.raises(UpstreamError, match="too long") as failed:
        await relay.complete(request_to(provider))
    assert failed.value.reason == "protocol"


async def test_an_answer_of_nothing_but_structure_is_not_parsed(relay: Relay, provider: Provider) -> None:
    """Empty objects of a few megabytes would take half a gigabyte; it is the provider's failure."""
    body = b'{"choices":[' + b"{}," * 4_300_000 + b"{}]}"

    async def whole(exchange: Exchange) -> None:
        await exchange.whole(body)

    provider.on("small", whole)
    with pytest.raises(UpstreamError, match="too much structure") as failed:
        await relay.complete(request_to(provider))
    assert (failed.value.status, failed.value.reason) == (502, "protocol")


async def test_the_failures_of_a_model_and_all_its_fallbacks_are_freed(
    relay: Relay, provider: Provider
) -> None:
    """The one that is raised is one of those kept until then."""
    provider.on("small", status(500))
    attempts = Attempts(relay, EjectionBook(Hooks()), RetryBudget(), Hooks(), total_seconds=10)
    asked = request_to(provider)
    respondent = Respondent(asked.target)
    exchange = attempts.begin("req_1", Question(dict(asked.payload), is_streamed=False))
    try:
        await attempts.first_of([respondent, respondent], asked.payload, exchange)
    except UpstreamError as error:
        alive = weakref.ref(error)
    await asyncio.sleep(0)
    assert alive() is None


async def test_a_duel_of_two_failures_is_freed(relay: Relay, provider: Provider) -> None:
    """Failures of both sides of a duel are results, and both providers are freed."""
    provider.on("small", status(500))
    asked = request_to(provider)
    results = await both(relay.complete(asked), relay.complete(asked))
    alive = [weakref.ref(result) for result in results]
    assert all(isinstance(result, UpstreamError) for result in results)
    del results
    await asyncio.sleep(0)
    assert [each() for each in alive] == [None, None]
