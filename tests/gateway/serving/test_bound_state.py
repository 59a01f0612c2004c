"""What only one policy's provider can read goes back to that policy, and its answers take no part."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.experiments.policies import last_user_text
from gateway.experiments.response_ids import Apart, Assignment, Unassigned
from gateway.upstream.bound_state import may_go_without, opaque_parts, state_of, without_state
from gateway.upstream.targets import model_targets
from policy_store.connect import connect
from policy_store.states import ExperimentState
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, body, chunk, raw, status
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.whole import Reply, eventually

# What a message of each provider carries, with the maker's own text in it.
MESSAGES: dict[str, Any] = {
    "thinking blocks": lambda text: {
        "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": text}]
    },
    "redacted thinking": lambda text: {"thinking_blocks": [{"type": "redacted_thinking", "data": text}]},
    "details": lambda text: {"reasoning_details": [{"type": "reasoning.encrypted", "data": text}]},
    "opaque reasoning": lambda text: {"reasoning_opaque": text},
    "signatures of a message": lambda text: {"provider_specific_fields": {"thought_signatures": [text]}},
    "a tool call's signature": lambda text: {
        "tool_calls": [
            {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": "look", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": text}},
            }
        ]
    },
    "a tool call's id": lambda text: {
        "tool_calls": [
            {
                "index": 0,
                "id": f"call_1__thought__{text}",
                "type": "function",
                "function": {"name": "look", "arguments": "{}"},
            }
        ]
    },
}


def bound(shape: str) -> Behaviour:
    """A model that answers with such a part, and refuses those of another model."""

    async def behave(exchange: Exchange) -> None:
        sent = json.dumps(exchange.seen.body["messages"])
        others = {"small": "large", "large": "small"}[exchange.model]
        if f"opaque-of-{others}" in sent:
            await status(400, "Invalid signature in thinking block.")(exchange)
            return
        extra = MESSAGES[shape](f"opaque-of-{exchange.model}-{exchange.number}")
        message = {"role": "assistant", "content": f"I am {exchange.model}.", **extra}
        if exchange.is_stream:
            await exchange.begin()
            await exchange.send(chunk(exchange, message))
            await exchange.send(b"data: [DONE]\n\n")
            await exchange.end()
            return
        whole = json.loads(body(exchange, ""))
        whole["choices"][0]["message"] = message
        await exchange.whole(json.dumps(whole).encode())

    return behave


@pytest.fixture(params=MESSAGES)
def shape(request: pytest.FixtureRequest) -> str:
    """How the part travels."""
    return str(request.param)


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str, shape: str) -> AsyncIterator[Live]:
    """`alpha` (the incumbent, `small`) against `beta` (`large`), by request, with a store."""
    for model in ("small", "large"):
        upstream.on(model, bound(shape))
    base = upstream.api_base
    entries = [entry("small", base), entry("large", base)]
    async with live_gateway([experiment(base)], entries, store_url=embedded_url) as gateway:
        yield gateway


def said(reply: Reply) -> dict[str, Any]:
    """The message of an answer, whole or streamed."""
    assert reply.status == 200, reply.body
    if not reply.body.startswith(b"data:"):
        message: dict[str, Any] = reply.json["choices"][0]["message"]
        return message
    first = json.loads(reply.body.split(b"\n")[0][5:])
    delta: dict[str, Any] = first["choices"][0]["delta"]
    return delta


def turn(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A conversation that goes on from a message."""
    return [
        {"role": "user", "content": "Hello?"},
        message,
        {"role": "user", "content": "And now?"},
    ]


def of(gateway: Live, reply: Reply) -> Assignment | Unassigned:
    """What an answer's id says."""
    text = reply.body.split(b"\n")[0].removeprefix(b"data:")
    return gateway.sealer.open(json.loads(text)["id"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_turn_goes_to_the_policy_that_made_what_it_carries(gateway: Live, stream: bool) -> None:
    """The draw for the next request does not matter; ten conversations of several turns lose none."""
    for _ in range(10):
        message = said(await gateway.ask(stream=stream))
        for _ in range(2):
            reply = await gateway.ask(messages=turn(message), stream=stream)
            assert said(reply)["content"] == message["content"]
            assert of(gateway, reply) == Unassigned(NAME, why=Apart.PROVIDER_STATE)
            message = said(reply)


async def test_feedback_on_such_a_turn_is_not_counted(gateway: Live) -> None:
    """The reply is a 200 with a reason of its own."""
    message = said(await gateway.ask())
    reply = await gateway.ask(messages=turn(message))
    told = await gateway.feed(id=reply.json["id"], signal="thumb", value=True)
    assert (told.status, told.json["status"], told.json["reason"]) == (200, "not_counted", "provider_state")


async def test_after_a_decision_conversations_stay_where_they_were(gateway: Live) -> None:
    """Conversations with the policy that lost stay with it as well."""
    messages = [said(await gateway.ask()) for _ in range(10)]
    gateway.change(state=ExperimentState.PROMOTED, incumbent=1)
    for message in messages:
        assert said(await gateway.ask(messages=turn(message)))["content"] == message["content"]


@pytest.mark.parametrize("shape", ["thinking blocks"], indirect=True)
async def test_another_replica_knows_the_maker(
    gateway: Live, upstream: FakeUpstream, embedded_url: str
) -> None:
    """The store tells it; without the store the incumbent goes on without what it cannot read."""
    message = said(await gateway.ask())
    while message["content"] != "I am large.":
        message = said(await gateway.ask())
    redis = connect(embedded_url)

    async def is_shared() -> bool:
        return bool(await redis.keys("*:maker:*"))

    await eventually(is_shared, "the maker shared")
    assert "opaque" not in str(await redis.keys("*"))
    await redis.aclose()
    base = upstream.api_base
    entries = [entry("small", base), entry("large", base)]
    async with live_gateway([experiment(base)], entries, store_url=embedded_url) as other:
        assert said(await other.ask(messages=turn(message)))["content"] == "I am large."
    async with live_gateway([experiment(base)], entries) as alone:
        reply = await alone.ask(messages=turn(message))
        assert said(reply)["content"] == "I am small."
        assert of(alone, reply) == Unassigned(NAME, why=Apart.PROVIDER_STATE)


@pytest.mark.parametrize("shape", ["thinking blocks"], indirect=True)
async def test_where_the_maker_fails_another_goes_on_without_its_parts(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """What only it can read is left out, and nothing else."""
    message = said(await gateway.ask())
    while message["content"] != "I am large.":
        message = said(await gateway.ask())
    upstream.on("large", status(500))

    reply = await gateway.ask(messages=turn(message))

    assert said(reply)["content"] == "I am small."
    sent = upstream.seen[-1].body["messages"]
    assert {"role": "assistant", "content": "I am large."} in sent


def test_what_callers_and_models_wrote_is_no_state() -> None:
    """Names mean something only where a provider puts them."""
    written = {"signature": "mine", "encrypted_content": "mine", "thought_signature": "mine"}
    assert not state_of({"messages": [{"role": "user", "content": [written]}]})
    call = {"type": "tool_use", "id": "t", "name": "sign", "input": written}
    assert not state_of({"messages": [{"role": "assistant", "content": [call]}]})
    assert not state_of({"messages": [{"role": "assistant", "content": "signature"}], "input": "signature"})


@pytest.mark.parametrize("shape", ["thinking blocks"], indirect=True)
async def test_answers_only_lenient_readers_understand_are_remembered_as_well(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """A provider may write `NaN`, or half of a pair, where its own parts are."""
    block = b'{"type":"thinking","signature":"\\ud83d","odds":NaN}'
    message = b'{"role":"assistant","content":"Hm.","thinking_blocks":[' + block + b"]}"
    for model in ("small", "large"):
        upstream.on(model, raw(b'{"choices":[{"index":0,"message":' + message + b"}]}"))
    reply = await gateway.ask()
    assert (reply.status, b"NaN" in reply.body) == (200, True)


@pytest.mark.parametrize("odd", [None, True, 5, 1.5, "x", [], [{}], [[]], {}, {"type": []}])
def test_callers_values_may_have_any_type(odd: Any) -> None:
    """A role, kind or signature that is no text is no provider's: it is passed on, and no lookup fails."""
    turns = [
        {"role": odd, "content": "Hello?"},
        {"role": "assistant", "content": [{"type": odd, "signature": odd, "data": odd, "id": odd}]},
        {"role": "assistant", "provider_specific_fields": {"thought_signatures": [odd, "sealed"]}},
        {"type": odd, "encrypted_content": "sealed"},
    ]
    payload = {"messages": turns, "input": odd, "thinking": odd}

    assert [part for part in state_of(payload) if part != odd] == ["sealed", "sealed"]
    assert without_state(payload, {"sealed"}.__contains__)["messages"][-1] == {"type": odd}
    assert may_go_without(payload, model_targets([entry("claude-3", "http://x/v1")])["claude-3"])


def test_items_of_responses_are_state() -> None:
    """Encrypted reasoning stands beside the messages."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    payload = {"input": [{"role": "user", "content": "Hi"}, item, {"role": "assistant", "content": "Ho"}]}
    assert state_of(payload) == ["sealed"]
    assert list(opaque_parts({"type": "response.output_item.done", "item": item})) == ["sealed"]
    assert without_state(payload, lambda _: True)["input"] == [payload["input"][0], payload["input"][2]]
    assert without_state(payload, lambda part: part != "sealed") == payload


def test_claude_keeps_its_thinking_between_a_call_and_its_result() -> None:
    """Elsewhere a conversation may go on without it."""
    claude = entry_target("claude-sonnet-4-5")
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "5"}]}
    loop = {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "assistant", "content": [thinking]}, result],
    }
    assert not may_go_without(loop, claude)
    assert may_go_without(loop, entry_target("gpt-5"))
    assert may_go_without({"messages": loop["messages"]}, claude)
    assert may_go_without({**loop, "messages": loop["messages"][:1]}, claude)


ODD: tuple[Any, ...] = (None, True, 0, "", "x", [], [[]], [None, 5, {}], {}, {"type": []}, {"type": {}})


def swapped(value: Any) -> Iterator[Any]:
    """A value with each part of it, at every level, swapped for one of every kind."""
    yield from ODD
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: odd} for odd in swapped(part))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from ([*value[:place], odd, *value[place + 1 :]] for odd in swapped(part))


def test_state_is_looked_for_in_conversations_of_any_shape() -> None:
    """Callers write anything where a role, a type or a signature stands; nothing fails over it."""
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    turn = {
        "role": "assistant",
        "content": [thinking, {"type": "tool_use", "id": "t__thought__x"}],
        "provider_specific_fields": {"thought_signatures": ["s"]},
    }
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
    item = {"type": "reasoning", "summary": [], "encrypted_content": "s"}
    whole = {"thinking": {"type": "enabled"}, "messages": [turn, result], "input": [item, turn]}
    claude = entry_target("claude-sonnet-4-5")
    for payload in (one for one in swapped(whole) if isinstance(one, dict)):
        assert all(isinstance(part, str) for part in state_of(payload))
        without_state(payload, lambda _: True)
        assert may_go_without(payload, claude) in {True, False}
        last_user_text(payload["input"] if isinstance(payload.get("input"), list) else [])


def entry_target(model: str) -> Any:
    """A model of that name."""
    return model_targets([entry(model, "http://127.0.0.1:9/v1")], {})[model]
