"""What a request names of a provider's memory: it follows that provider, or is refused by name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from gateway.upstream.references import Scope, references
from tests.gateway.api.surfaces.answers import good
from tests.gateway.api.surfaces.asking import MESSAGES, ask
from tests.gateway.fake_upstream import Exchange, FakeUpstream, raw, status
from tests.gateway.live import Live, entry, experiment, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

SAID = "I am here."
USER = {"role": "user", "content": "Hello?"}


def turn(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A conversation with this part in its second message."""
    return [USER, {"role": "user", "content": [{"type": "text", "text": "This?"}, part]}]


CHAT_FILE = turn({"type": "file", "file": {"file_id": "file-1"}})
INPUT_FILE = turn({"type": "input_file", "file_id": "file-1"})
CLAUDE_FILE = turn({"type": "document", "source": {"type": "file", "file_id": "file-1"}})
# The kind of request, the fields that name something, and where that stands.
KEPT: list[tuple[str, dict[str, Any], str]] = [
    ("chat/completions", {"messages": CHAT_FILE}, "messages[1].content[1].file.file_id"),
    (
        "chat/completions",
        {"messages": [USER, {"role": "assistant", "audio": {"id": "a1"}}]},
        "messages[1].audio.id",
    ),
    ("chat/completions", {"cached_content": "cachedContents/1"}, "cached_content"),
    ("chat/completions", {"google": {"cached_content": "cachedContents/1"}}, "google"),
    ("chat/completions", {"vector_store_ids": ["vs_1"]}, "vector_store_ids"),
    ("responses", {"input": INPUT_FILE}, "input[1].content[1].file_id"),
    ("responses", {"input": turn({"type": "input_image", "file_id": "f"})}, "input[1].content[1].file_id"),
    ("responses", {"input": [USER, {"type": "item_reference", "id": "msg_1"}]}, "input[1].id"),
    ("responses", {"input": [USER, {"id": "msg_1"}]}, "input[1].id"),
    (
        "responses",
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        "tools[0].vector_store_ids",
    ),
    ("responses", {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "tools[0].container"),
    (
        "responses",
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]},
        "tools[0].container.file_ids",
    ),
    ("messages", {"messages": CLAUDE_FILE}, "messages[1].content[1].source.file_id"),
    (
        "messages",
        {"messages": turn({"type": "container_upload", "file_id": "file-1"})},
        "messages[1].content[1].file_id",
    ),
    ("messages", {"container": "container_1"}, "container"),
    ("messages", {"container": {"id": "container_1"}}, "container"),
]
# What only looks like it.
NOTHING_KEPT: list[dict[str, Any]] = [
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"file_id": {}}}}]},
    {"messages": turn({"type": "tool_use", "id": "t1", "name": "f", "input": {"file_id": "file-1"}})},
    {"messages": turn({"type": "tool_result", "tool_use_id": "t1", "content": "file_id"})},
    {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"file_id": "x"}'}]},
    {"input": [{"type": "message", "id": "msg_1", "role": "assistant", "content": "Hello."}]},
    {"prompt": "Continue."},
    {"container": {"id": None}, "thread": {"type": "create"}},
    {"input": turn({"type": "input_file", "file_data": "data:application/pdf;base64,AA=="})},
]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A provider of both formats, and another one of OpenAI's."""
    async with FakeUpstream() as upstream:
        for model in ("small", "large", "claude-small", "claude-large", "other"):
            upstream.on(model, good(SAID))
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """Experiments on one account of each format, `openai` and `claude`, and on two accounts, `mixed`."""
    base, root = upstream.api_base, f"http://127.0.0.1:{upstream.port}"
    entries = [
        *(entry(name, base) for name in ("small", "large")),
        entry("other", base, api_key="sk-of-another-account"),
        *(entry(name, root, provider="anthropic") for name in ("claude-small", "claude-large")),
        entry("failing", base).model_copy(update={"fallbacks": ["other", "small"]}),
    ]
    pairs = {
        "openai": ("small", "large"),
        "claude": ("claude-small", "claude-large"),
        "mixed": ("small", "other"),
        "spare": ("failing", "small"),
    }
    experiments = [
        experiment(base, {"alpha": {"model": one}, "beta": {"model": other}}, name=name)
        for name, (one, other) in pairs.items()
    ]
    async with live_gateway(experiments, entries) as gateway:
        yield gateway


@pytest.mark.parametrize(("_kind", "fields", "where"), KEPT)
def test_each_name_is_found_where_it_stands(_kind: str, fields: dict[str, Any], where: str) -> None:
    """One name, and its place in the request."""
    assert [one.where for one in references(fields)] == [where]


@pytest.mark.parametrize("fields", NOTHING_KEPT)
def test_what_only_looks_like_a_name_is_none(fields: dict[str, Any]) -> None:
    """Arguments and results of tools are the caller's own."""
    assert references(fields) == []


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt", "thread"])
def test_what_continues_an_answer_is_no_matter_of_the_account(field: str) -> None:
    """A field that continues an answer has a meaning for one way of answering only."""
    inside = {"thread": "previous_message_id"}.get(field, "id")
    (found,) = references({field: {inside: "x"}})
    assert (found.where, found.scope) == (field, Scope.ANSWER)


@pytest.mark.parametrize(("kind", "fields", "where"), KEPT)
async def test_what_one_account_keeps_is_refused_where_several_may_be_asked(
    gateway: Live, upstream: FakeUpstream, kind: str, fields: dict[str, Any], where: str
) -> None:
    """The field is refused by name before any provider is asked, so no policy fails because of it."""
    reply = await ask(gateway, kind, "mixed", **fields)
    assert (reply.status, upstream.seen) == (400, [])
    assert repr(where) in reply.error["message"]
    assert gateway.observer.failed == []


@pytest.mark.parametrize(("kind", "fields", "_where"), KEPT)
async def test_what_one_account_keeps_reaches_it(
    gateway: Live, upstream: FakeUpstream, kind: str, fields: dict[str, Any], _where: str
) -> None:
    """This holds for a plain model, and for an experiment whose policies all use that account."""
    wire = "claude" if kind == "messages" else "openai"
    for model in (wire, "claude-small" if kind == "messages" else "small"):
        reply = await ask(gateway, kind, model, **fields)
        assert reply.status == 200, reply.body
        assert upstream.seen[-1].body.items() >= fields.items()


@pytest.mark.parametrize(
    ("kind", "model"), [("responses", "claude-small"), ("responses", "claude"), ("messages", "small")]
)
async def test_what_a_translation_loses_is_refused(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """Without the refusal the request would be answered as if it had named nothing."""
    is_handed_on = "file_id" if kind == "responses" else None
    cases = [fields for of, fields, where in KEPT if of == kind and where.rpartition(".")[2] != is_handed_on]
    for fields in (*cases, *([{"previous_response_id": "resp_1"}] if kind == "responses" else [])):
        reply = await ask(gateway, kind, model, **fields)
        assert (reply.status, upstream.seen) == (400, []), fields


async def test_a_missing_file_is_the_callers_mistake(gateway: Live, upstream: FakeUpstream) -> None:
    """The provider's 404 about what was named counts against no policy; about its model, it does."""
    missing = status(404, "No such File object: file-1")
    upstream.on("small", missing)
    upstream.on("large", missing)
    for model in ("small", "openai"):
        reply = await ask(gateway, "chat/completions", model, messages=CHAT_FILE)
        assert (reply.status, "file-1" in reply.error["message"]) == (404, True)
    assert gateway.observer.failed == []
    assert (await ask(gateway, "chat/completions", "small")).status == 502


@pytest.mark.parametrize("model", ["failing", "spare"])
async def test_only_the_same_account_stands_in(gateway: Live, upstream: FakeUpstream, model: str) -> None:
    """A fallback that does not have what is named is passed over."""
    upstream.on("failing", status(500))
    reply = await ask(gateway, "chat/completions", model, messages=CHAT_FILE)
    assert reply.status == 200, reply.body
    assert "other" not in {seen.body["model"] for seen in upstream.seen}


@pytest.mark.parametrize("model", ["small", "openai", "claude"])
async def test_a_thread_that_is_not_kept_is_said_to_be_so(
    gateway: Live, upstream: FakeUpstream, model: str
) -> None:
    """A new one is begun without keeping it; Anthropic's client knows the error, and sends it all again."""
    assert (await ask(gateway, "messages", model, thread={"type": "create"})).status == 200
    assert "thread" not in upstream.seen[-1].body
    going_on = {"type": "continue", "previous_message_id": "msg_1"}
    reply = await ask(gateway, "messages", model, thread=going_on)
    assert (reply.status, len(upstream.seen)) == (404, 1)
    assert reply.error["details"] == {"error_code": "thread_not_found"}


async def test_a_thread_of_anthropics_is_its_own_matter(gateway: Live, upstream: FakeUpstream) -> None:
    """A plain model's provider keeps it."""
    going_on = {"type": "continue", "previous_message_id": "msg_1"}
    assert (await ask(gateway, "messages", "claude-small", thread=going_on)).status == 200
    assert upstream.seen[-1].body["thread"] == going_on


@pytest.mark.parametrize("model", ["claude-small", "claude", "openai"])
async def test_anthropics_tool_runner_comes_to_an_answer(
    gateway: Live, upstream: FakeUpstream, model: str
) -> None:
    """A tool's result arrives with its thread, or with all earlier messages if the model keeps no threads."""

    @anthropic.beta_async_tool
    async def number(name: str) -> str:
        """The number of a name."""
        return "4711" if name == "x" else "?"

    for each in ("small", "large", "claude-small", "claude-large"):
        upstream.on(each, calling_once)
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client:
        runner = client.beta.messages.tool_runner(
            model=model, max_tokens=50, messages=MESSAGES, tools=[number], cache_control={"type": "ephemeral"}
        )
        final = await runner.until_done()
    assert final.content[0].text == "It is 4711."  # type: ignore[union-attr]
    last = upstream.seen[-1].body
    assert ("thread" in last) == (model == "claude-small")
    assert "thread" in last or "Hello?" in str(last["messages"])


async def send(exchange: Exchange, answer: dict[str, Any]) -> None:
    """A whole answer, with what each format has besides."""
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "input_tokens": 5,
        "output_tokens": 7,
    }
    more = {"model": exchange.model, "stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
    await raw(json.dumps({**answer, **more}).encode())(exchange)


async def calling_once(exchange: Exchange) -> None:
    """A call of the tool, then what it gave back."""
    sent = str(exchange.seen.body["messages"])
    is_chat = exchange.seen.path.endswith("/chat/completions")
    if "4711" in sent:
        await good("It is 4711.")(exchange)
    elif is_chat:
        called = {"name": "number", "arguments": '{"name": "x"}'}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": called}],
        }
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        await send(
            exchange, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "choices": [choice]}
        )
    else:
        block = {"type": "tool_use", "id": "toolu_1", "name": "number", "input": {"name": "x"}}
        await send(exchange, {"id": "msg_1", "type": "message", "role": "assistant", "content": [block]})
