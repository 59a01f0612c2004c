"""Requests to providers of the other format: translated by litellm, with the same promises."""

from __future__ import annotations

import pytest

from tests.gateway.api.surfaces.answers import broken_off, good, stalling
from tests.gateway.api.surfaces.asking import ASKED, ask
from tests.gateway.api.surfaces.test_experiments import spoken
from tests.gateway.fake_upstream import FakeUpstream, cut, hang_up, status, stream_error, without_done
from tests.gateway.live import Live, entry, live_gateway
from tests.gateway.whole import eventually
from tests.pace import impatient

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

SAID = "I am here."
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
# The kind of request, a model whose provider does not speak it, and what the provider is asked instead.
CASES = [
    ("messages", "small", "/v1/chat/completions"),
    ("responses", "claude-small", "/v1/messages"),
]


@pytest.fixture(autouse=True)
def plain_answers(upstream: FakeUpstream) -> None:
    """Answers without oddities."""
    for model in ("small", "large", "claude-small", "claude-large"):
        upstream.on(model, good(SAID))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model", "path"), CASES)
async def test_the_answer_comes_in_the_format_that_was_asked(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, path: str, stream: bool
) -> None:
    """Text, tokens and the format's own end."""
    reply = await ask(gateway, kind, model, stream=stream)
    assert reply.status == 200, reply.body
    assert upstream.seen[-1].path == path
    assert spoken(reply).strip() == SAID
    if stream:
        last = {"messages": "message_stop", "responses": "response.completed"}[kind]
        assert [event["type"] for event in reply.events].count(last) == 1
        assert reply.events[-1]["type"] == last
    else:
        assert (reply.json["usage"]["input_tokens"], reply.json["usage"]["output_tokens"]) == (5, 7)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "model", "prefix"),
    [
        ("chat/completions", "claude-small", "chatcmpl-"),
        ("responses", "claude-small", "resp_"),
        ("completions", "claude-small", "cmpl-"),
        ("messages", "small", "msg_"),
    ],
)
async def test_ids_begin_as_those_of_the_format(
    gateway: Live, kind: str, model: str, prefix: str, stream: bool
) -> None:
    """Whole or streamed, one id for one answer; clients and their stores tell kinds of answers by it."""
    reply = await ask(gateway, kind, model, stream=stream)
    assert reply.status == 200, reply.body
    holders = [reply.json] if not stream else reply.events
    inside = {"messages": "message", "responses": "response"}.get(kind) if stream else None
    heads = [event[inside] for event in holders if inside in event] if inside else holders
    ids = {head["id"] for head in heads}
    assert len(ids) == 1
    assert ids.pop().startswith(prefix)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("chat/completions", "claude-small"),
        ("responses", "claude-small"),
        ("completions", "claude-small"),
        ("messages", "small"),
    ],
)
async def test_a_trace_goes_on_to_the_provider(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, stream: bool
) -> None:
    """A translated request keeps its trace, and headers of the caller's format alone are not sent."""
    sent = {"traceparent": TRACE, "tracestate": "a=b", "anthropic-beta": "of-the-caller"}
    reply = await ask(gateway, kind, model, headers=sent, stream=stream)
    assert reply.status == 200, reply.body
    seen = upstream.seen[-1].headers
    assert (seen["traceparent"], seen["tracestate"]) == (TRACE, "a=b")
    assert "of-the-caller" not in seen.get("anthropic-beta", "")
    await ask(gateway, kind, model, headers={"traceparent": "nonsense"}, stream=stream)
    assert "traceparent" not in upstream.seen[-1].headers


async def test_a_trace_goes_on_with_embeddings(upstream: FakeUpstream) -> None:
    """Embeddings keep their trace at a translated provider whose format is close to OpenAI's."""
    upstream.on("embed", good())
    embed = entry("embed", upstream.api_base, provider="together_ai")
    async with live_gateway([], [embed]) as gateway:
        reply = await ask(gateway, "embeddings", "embed", headers={"traceparent": TRACE})
    assert reply.status == 200, reply.body
    assert upstream.seen[-1].headers["traceparent"] == TRACE


async def test_the_operators_own_trace_wins(upstream: FakeUpstream) -> None:
    """The operator's header is the only trace header, in whatever case it is written."""
    base = f"http://127.0.0.1:{upstream.port}"
    own = {"Traceparent": "the operator's", "x-team": "blue"}
    claude = entry("claude-small", base, provider="anthropic", extra_headers=own)
    async with live_gateway([], [claude]) as gateway:
        await gateway.ask("claude-small", headers={"traceparent": TRACE})
    seen = upstream.seen[-1].headers
    assert (seen["traceparent"], seen["x-team"]) == ("the operator's", "blue")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "experiment"), [("messages", "support"), ("responses", "claude")])
async def test_experiments_are_translated_too(
    gateway: Live, upstream: FakeUpstream, kind: str, experiment: str, stream: bool
) -> None:
    """The policy's prompt reaches the provider; the answer has the experiment's name and id."""
    reply = await ask(gateway, kind, experiment, stream=stream)
    assert reply.status == 200, reply.body
    assert b"You are " in str(upstream.seen[-1].body).encode()
    assert b"small" not in reply.body
    assert b"large" not in reply.body
    head = reply.events[0][{"messages": "message", "responses": "response"}[kind]] if stream else reply.json
    assert head["model"] == experiment
    assert gateway.sealer.open(head["id"]).experiment == experiment


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model", "path"), CASES)
async def test_the_providers_refusal_keeps_its_words(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, path: str, stream: bool
) -> None:
    """The caller can mend what they read."""
    upstream.on(model, status(400, "the prompt is too long"))
    reply = await ask(gateway, kind, model, stream=stream)
    assert reply.status == 400
    assert reply.error["message"] == "the prompt is too long"
    assert upstream.calls_of(model) == 1


@pytest.mark.parametrize(("kind", "model", "path"), CASES)
async def test_a_dead_provider_is_a_bad_gateway(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, path: str
) -> None:
    """The caller gets a 502 and none of litellm's own words."""
    upstream.on(model, hang_up())
    reply = await ask(gateway, kind, model)
    assert reply.status in {500, 502}
    assert b"itellm" not in reply.body


@pytest.mark.parametrize(
    "failure", [cut(2), without_done(2), stream_error(2)], ids=["cut", "no end", "error"]
)
async def test_half_an_answer_of_a_chat_is_not_made_whole(
    gateway: Live, upstream: FakeUpstream, failure: object
) -> None:
    """Litellm would end the message properly; here it ends with an error."""
    upstream.on("small", failure)  # type: ignore[arg-type]
    reply = await ask(gateway, "messages", "small", stream=True)
    assert reply.events[-1]["type"] == "error"
    assert "message_stop" not in [event["type"] for event in reply.events]
    assert b"itellm" not in reply.body


async def test_half_an_answer_of_anthropics_is_not_made_whole(gateway: Live, upstream: FakeUpstream) -> None:
    """A response that stops early ends with an error too."""
    upstream.on("claude-small", broken_off(5))
    reply = await ask(gateway, "responses", "claude-small", stream=True)
    assert reply.events[-1]["type"] == "error"
    assert "response.completed" not in [event["type"] for event in reply.events]


@pytest.mark.parametrize(("kind", "model", "path"), CASES)
async def test_a_caller_who_leaves_frees_the_provider(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, path: str
) -> None:
    """This works through all of litellm's wrappers."""
    upstream.on(model, stalling(events=4))
    body = {"model": model, **ASKED[kind], "stream": True}
    async with gateway.session.post(f"{gateway.url}/v1/{kind}", json=body) as response:
        assert response.status == 200
        await response.content.readany()
        assert upstream.in_flight == 1
    await eventually(lambda: upstream.in_flight == 0, "the provider free", seconds=impatient(2.0))


async def test_what_a_provider_cannot_do_is_the_callers_to_know(gateway: Live) -> None:
    """This holds for fields without an equivalent and for kinds of request."""
    reply = await ask(gateway, "responses", "claude-small", previous_response_id="resp_1")
    assert (reply.status, "previous_response_id" in reply.error["message"]) == (400, True)
    reply = await ask(gateway, "embeddings", "claude-small")
    assert (reply.status, "kind of request" in reply.error["message"]) == (400, True)


async def test_text_completions_of_a_chat_provider(gateway: Live, upstream: FakeUpstream) -> None:
    """The prompt becomes a message, and the answer becomes a text."""
    reply = await ask(gateway, "completions", "claude-small", max_tokens=9)
    assert reply.json["choices"][0]["text"] == SAID
    reply = await ask(gateway, "completions", "claude-small", max_tokens=9, stream=True)
    assert "".join(event["choices"][0].get("text") or "" for event in reply.events).strip() == SAID
    assert reply.is_done
