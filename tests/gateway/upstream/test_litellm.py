"""Providers of another wire format, for real: litellm against a server that speaks Anthropic's."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import UpstreamError
from gateway.upstream.base import AnswerStream, ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.translating.former_clients import FormerClients
from gateway.upstream.translating.upstream import LitellmUpstream
from tests.gateway.fake_upstream import (
    Behaviour,
    Exchange,
    FakeUpstream,
    Hangup,
    hang_up,
    raw,
    raw_stream,
    stall,
)
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.whole import eventually
from tests.pace import PATIENCE_SECONDS, impatient

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

ROOT = Path(__file__).parents[3]
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}


def event(kind: str, **fields: Any) -> bytes:
    """One event of Anthropic's stream."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def text(part: str) -> bytes:
    """A piece of the answer."""
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": part})


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "stop_sequence": None,
}
START = [
    event(
        "message_start",
        message={
            **MESSAGE,
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        },
    ),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
]
END = [
    event("content_block_stop", index=0),
    event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 7}
    ),
    event("message_stop"),
]
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def anthropic(said: str = "Hello there.") -> Behaviour:
    """A good answer, streamed or whole."""
    whole = {
        **MESSAGE,
        "content": [{"type": "text", "text": said}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }

    async def behave(exchange: Exchange) -> None:
        if exchange.is_stream:
            await raw_stream(*START, *(text(f"{word} ") for word in said.split()), *END)(exchange)
        else:
            await raw(json.dumps(whole).encode())(exchange)

    return behave


def refusal(code: int, message: str) -> Behaviour:
    """An error as Anthropic reports it."""
    error = {"type": "error", "error": {"type": "fake", "message": message}}

    async def behave(exchange: Exchange) -> None:
        await exchange.whole(json.dumps(error).encode(), code=code, retry_after="4")

    return behave


def torn(*events: bytes) -> Behaviour:
    """A stream whose connection breaks."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin()
        for one in events:
            await exchange.send(one)
        raise Hangup

    return behave


def stalling(*events: bytes) -> Behaviour:
    """A stream that goes silent."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin()
        for one in events:
            await exchange.send(one)
        await exchange.until_left()

    return behave


@pytest.fixture
async def provider() -> AsyncIterator[FakeUpstream]:
    """The server; model `claude` answers."""
    async with FakeUpstream() as provider:
        provider.on("claude", anthropic())
        yield provider


@pytest.fixture
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[LitellmUpstream]:
    """litellm, impatient where the provider stalls."""
    seconds = impatient(0.3) if "stalls" in request.node.name else PATIENCE_SECONDS
    upstream = LitellmUpstream(Timeouts(connect=1, first_byte=seconds, total=2 * seconds))
    yield upstream
    await upstream.aclose()


def request(provider: FakeUpstream, model: str = "claude", **fields: Any) -> UpstreamRequest:
    """A question for a model of the provider."""
    target = ModelTarget(
        "m",
        "anthropic",
        "anthropic",
        model,
        api_base=f"http://127.0.0.1:{provider.port}",
        api_key="sk-operator",
    )
    return UpstreamRequest(target, {**QUESTION, **fields})


async def read_all(stream: AnswerStream) -> list[bytes]:
    """Every block of a stream."""
    blocks = []
    while block := await stream.read():
        blocks.append(block)
    return blocks


async def test_a_whole_answer_is_in_openais_format(upstream: LitellmUpstream, provider: FakeUpstream) -> None:
    """The answer has a text, a finish reason and tokens."""
    answer = orjson.loads((await upstream.complete(request(provider, temperature=0.2))).body)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hello there."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == 12
    (seen,) = provider.seen
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == "sk-operator"
    assert seen.body["temperature"] == 0.2


async def test_a_stream_is_in_openais_format(upstream: LitellmUpstream, provider: FakeUpstream) -> None:
    """The stream has one id, text in pieces, a finish reason, usage and [DONE]."""
    stream = await upstream.stream(request(provider, stream=True, stream_options={"include_usage": True}))
    *blocks, done = await read_all(stream)
    await stream.aclose()
    assert done == b"data: [DONE]\n\n"
    chunks = [orjson.loads(block.removeprefix(b"data: ")) for block in blocks]
    assert len({chunk["id"] for chunk in chunks}) == 1
    said = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(said) == "Hello there. "
    assert "stop" in [choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"]]
    assert chunks[-1]["usage"]["total_tokens"] == 12


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        (refusal(400, "too long"), 400, "status_4xx"),
        (refusal(401, "bad key sk-operator"), 502, "status_4xx"),
        (refusal(404, "no such model"), 502, "status_4xx"),
        (refusal(429, "slow down"), 429, "rate_limited"),
        (refusal(500, "oops"), 502, "status_5xx"),
        (refusal(529, "overloaded"), 502, "status_5xx"),
        (hang_up(), 502, "status_5xx"),
        (stall(), 504, "timeout"),
    ],
    ids=["400", "401", "404", "429", "500", "529", "hangs up", "stalls"],
)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_failures_are_told_as_the_relay_tells_them(
    upstream: LitellmUpstream,
    provider: FakeUpstream,
    behaviour: Behaviour,
    status: int,
    reason: str,
    is_streamed: bool,
) -> None:
    """Statuses and reasons are the relay's; there is one attempt and no word about the operator's key."""
    provider.on("claude", behaviour)
    ask = upstream.stream if is_streamed else upstream.complete
    with pytest.raises(UpstreamError) as failed:
        await ask(request(provider))
    error = failed.value
    assert (error.status, error.reason) == (status, reason)
    assert error.is_callers_fault is (status == 400)
    assert "sk-operator" not in str(error)
    assert len(provider.seen) == 1
    if status == 400:
        assert str(error) == "too long"
        assert orjson.loads(error.body or b"")["error"]["message"] == "too long"
    if status == 429:
        assert error.retry_after == "4"


async def test_a_malformed_answer_is_a_failure(upstream: LitellmUpstream, provider: FakeUpstream) -> None:
    """Streamed or not, before anything was passed on."""
    provider.on("claude", raw(b"{nope"))
    with pytest.raises(UpstreamError):
        await upstream.complete(request(provider))
    with pytest.raises(UpstreamError):
        await upstream.stream(request(provider))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (raw_stream(*START, text("Hello ")), "cut"),
        (torn(*START, text("Hello ")), "cut"),
        (raw_stream(*START, text("Hello "), OVERLOADED), "cut"),
        (stalling(*START, text("Hello ")), "timeout"),
    ],
    ids=["just ends", "connection breaks", "reports an error", "stalls"],
)
async def test_a_stream_that_breaks_raises(
    upstream: LitellmUpstream, provider: FakeUpstream, behaviour: Behaviour, reason: str
) -> None:
    """A finish reason litellm made up is not passed on as the provider's."""
    provider.on("claude", behaviour)
    stream = await upstream.stream(request(provider))
    first = await stream.read()
    assert b"Hello " in first
    with pytest.raises(UpstreamError) as failed:
        await read_all(stream)
    await stream.aclose()
    assert failed.value.reason == reason


@pytest.mark.parametrize("is_reading", [False, True], ids=["between reads", "while reading"])
async def test_closing_a_stream_frees_the_provider(
    upstream: LitellmUpstream, provider: FakeUpstream, is_reading: bool
) -> None:
    """The provider is freed within a second, in the middle of an answer."""
    provider.on("claude", stalling(*START, text("Hello ")))
    stream = await upstream.stream(request(provider))
    await stream.read()
    if is_reading:
        reading = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await stream.aclose()
    await stream.aclose()
    await eventually(lambda: provider.in_flight == 0, "the provider free", seconds=impatient(1.0))


async def test_a_cancelled_call_frees_the_provider(upstream: LitellmUpstream, provider: FakeUpstream) -> None:
    """The provider is freed before the first byte, whether the call is streamed or not."""
    provider.on("claude", stall())
    for ask in (upstream.complete, upstream.stream):
        call = asyncio.ensure_future(ask(request(provider)))
        await eventually(lambda: provider.in_flight == 1, "the provider asked")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await eventually(lambda: provider.in_flight == 0, "the provider free", seconds=impatient(1.0))


async def test_only_openais_fields_reach_litellm(upstream: LitellmUpstream, provider: FakeUpstream) -> None:
    """What other servers understand is refused by name; what has no meaning there is left out."""
    with pytest.raises(UpstreamError, match="guided_json") as failed:
        await upstream.complete(request(provider, guided_json={}))
    assert failed.value.is_callers_fault
    await upstream.complete(request(provider, metadata={"session_id": "x"}, store=False, seed=None))
    assert provider.seen[0].body.keys() <= {"model", "messages", "max_tokens"}


async def test_what_the_provider_lacks_is_the_callers_mistake(
    upstream: LitellmUpstream, provider: FakeUpstream
) -> None:
    """The error names the parameter instead of dropping it."""
    with pytest.raises(UpstreamError, match="logprobs") as failed:
        await upstream.complete(request(provider, logprobs=True))
    assert (failed.value.status, failed.value.is_callers_fault) == (400, True)
    assert provider.seen == []


@pytest.fixture
async def mixed(provider: FakeUpstream) -> AsyncIterator[Live]:
    """An experiment of a relayed incumbent against a translated candidate."""
    base, other = provider.api_base, f"http://127.0.0.1:{provider.port}"
    live = experiment(
        base,
        {
            "alpha": {"model": "small", "system": "Be alpha."},
            "beta": {"model": "claude", "system": "Be beta."},
        },
    )
    entries = [entry("small", base), entry("claude", other, provider="anthropic")]
    async with live_gateway([live], entries) as gateway:
        yield gateway


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_policies_of_both_kinds_answer_one_experiment(
    mixed: Live, provider: FakeUpstream, is_streamed: bool
) -> None:
    """The caller cannot tell them apart by anything but what they say."""
    said = set()
    for _ in range(8):
        reply = await mixed.ask(stream=is_streamed)
        said.add((reply.said() if is_streamed else reply.text).strip())
        answer = reply.events[0] if is_streamed else reply.json
        assert answer["model"] == "support"
        assert mixed.sealer.open(answer["id"]).experiment == "support"
        assert b"claude" not in reply.body
    assert said == {"I am small.", "Hello there."}
    system = [seen.body["system"] for seen in provider.seen if seen.path == "/v1/messages"]
    assert system[0] in ("Be beta.", [{"type": "text", "text": "Be beta."}])


async def test_a_failing_translated_candidate_is_replaced(mixed: Live, provider: FakeUpstream) -> None:
    """A translated candidate that fails is replaced like any other."""
    provider.on("claude", refusal(529, "overloaded"))
    assert {(await mixed.ask()).text for _ in range(8)} == {"I am small."}
    assert set(mixed.observer.fallbacks) == {("support", "status_5xx")}


def test_litellm_is_not_imported_before_it_is_needed() -> None:
    """Start-up neither waits for it nor pays its memory."""
    loading = "import sys, gateway.upstream.translating.upstream"
    program = f"{loading}; print('litellm' in sys.modules, 'openai' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "False"]


async def test_clients_of_former_targets_are_let_go_and_streams_end_on_them(provider: FakeUpstream) -> None:
    """A rotated key leaves no client behind for each key there was; nothing under way is broken off."""
    upstream, may_end = LitellmUpstream(Timeouts()), asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.begin()
        for one in (*START, text("Hello "), None, text("there."), *END):
            await (may_end.wait() if one is None else exchange.send(one))
        await exchange.end()

    provider.on("slow", slowly)
    stream = await upstream.stream(request(provider, "slow", stream=True))
    kept = upstream._library.root.in_memory_llm_clients_cache.cache_dict
    sizes = []
    for number in range(5):
        asked = request(provider)
        await upstream.complete(asked._replace(target=replace(asked.target, api_key=f"sk-{number}")))
        sizes.append(len(kept))
        upstream.keep({})
        assert not kept
    may_end.set()

    assert b"there." in b"".join(await read_all(stream))
    assert len(set(sizes[1:])) == 1
    await upstream.aclose()


async def test_closing_leaves_no_client_open(provider: FakeUpstream) -> None:
    """This includes the client that litellm keeps beside its cache, for streams in Anthropic's format."""
    for _ in range(2):  # at first it is in the cache as well
        upstream = LitellmUpstream(Timeouts())
        stream = await upstream.stream(request(provider, stream=True))
        await read_all(stream)
        await stream.aclose()
        client = upstream._library.root.module_level_aclient.client
        assert not client.is_closed
        upstream.keep({})
        await upstream.aclose()
        assert client.is_closed


async def test_former_clients_are_closed_when_no_request_can_be_under_way() -> None:
    """Each client is closed after its own time, and all at the end; a failure to close one stops no other."""
    closed: list[str] = []

    class Client:
        def __init__(self, name: str) -> None:
            self._name = name

        async def aclose(self) -> None:
            closed.append(self._name)
            if self._name == "broken":
                raise RuntimeError

    former = FormerClients()
    former.retire([Client("later")], 1_000)
    former.retire([Client("broken"), Client("soon")], 0.01)
    await eventually(lambda: closed == ["broken", "soon"], "the time of two to be over")
    await former.aclose()
    assert closed == ["broken", "soon", "later"]
