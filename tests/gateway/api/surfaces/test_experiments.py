"""Experiments on responses and messages: the policy in the request, the experiment in the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.config.values import PromptTemplate
from gateway.experiments.collecting import WAYS
from gateway.experiments.response_ids import Unassigned
from tests.gateway.api.surfaces.answers import TEXT, good
from tests.gateway.api.surfaces.asking import ask
from tests.gateway.fake_upstream import FakeUpstream, status
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.whole import Reply

CASES = [("responses", "support"), ("messages", "claude")]
PART = {"type": "input_text", "text": "Hi"}
HEAD = {"responses": "response", "messages": "message"}


def spoken(reply: Reply) -> str:
    """The text of an answer, whole or streamed."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        answer = reply.json
        return str((answer.get("content") or answer["output"][0]["content"])[0]["text"])
    deltas = [event["delta"] for event in reply.events if event["type"].endswith("delta")]
    return "".join(delta if isinstance(delta, str) else delta.get("text", "") for delta in deltas)


def heads(kind: str, reply: Reply) -> list[dict[str, Any]]:
    """The answers, or beginnings of one, that carry an id."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return [reply.json]
    return [event[HEAD[kind]] for event in reply.events if HEAD[kind] in event]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model"), CASES)
async def test_answers_carry_the_experiments_name_and_an_id_for_feedback(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, stream: bool
) -> None:
    """Name and id have the format's own form in every event that has them, and the text is unchanged."""
    reply = await ask(gateway, kind, model, stream=stream)
    assert spoken(reply) == TEXT
    labels = {(head["id"], head["model"]) for head in heads(kind, reply)}
    ((response_id, name),) = labels
    assert name == model
    assert response_id.startswith({"responses": "resp_", "messages": "msg_"}[kind])
    assert gateway.sealer.open(response_id).experiment == model


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model"), CASES)
async def test_nothing_tells_which_policy_answered(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, stream: bool
) -> None:
    """Many answers of both policies show neither a model's name nor anything that a policy put in."""
    seen = []
    for _ in range(12):
        reply = await ask(gateway, kind, model, stream=stream, temperature=0.5)
        told = [{**head, "id": ""} for head in heads(kind, reply)]
        seen.append(orjson.dumps(told))
        for hidden in (b"small", b"large", b"alpha", b"beta", b"0.25", b"0.75"):
            assert hidden not in reply.body
    assert {seen.body["model"].removeprefix("claude-") for seen in upstream.seen} == {"small", "large"}
    assert len(set(seen)) == 1


@pytest.mark.parametrize(
    ("kind", "model", "given", "field", "expected"),
    [
        ("responses", "support", None, "instructions", "You are {}."),
        ("responses", "support", "Be brief.", "instructions", "You are {}.\n\nBe brief."),
        ("messages", "claude", None, "system", "You are {}."),
        ("messages", "claude", "Be brief.", "system", "You are {}.\n\nBe brief."),
        (
            "messages",
            "claude",
            [{"type": "text", "text": "Be brief."}],
            "system",
            [{"type": "text", "text": "You are {}."}, {"type": "text", "text": "Be brief."}],
        ),
    ],
)
async def test_the_policys_prompt_goes_before_the_callers(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, given: Any, field: str, expected: Any
) -> None:
    """Each format has its own place for the policy's prompt."""
    await ask(gateway, kind, model, **({field: given} if given else {}))
    body = upstream.seen[-1].body
    name = {"small": "alpha", "large": "beta"}[body["model"].removeprefix("claude-")]
    assert body[field] == orjson.loads(orjson.dumps(expected).replace(b"{}", name.encode()))


@pytest.mark.parametrize(
    ("kind", "model", "limit"),
    [("responses", "support", "max_output_tokens"), ("messages", "claude", "max_tokens")],
)
async def test_the_policys_parameters_win_under_the_formats_names(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, limit: str
) -> None:
    """`max_tokens` is called differently, and none of its other names is sent."""
    for _ in range(12):
        await ask(gateway, kind, model, **{"temperature": 0.5, limit: 77})
    fixed = {(seen.body["temperature"], seen.body[limit]) for seen in upstream.seen}
    assert fixed == {(0.25, 77), (0.75, 9)}
    assert all("max_completion_tokens" not in seen.body for seen in upstream.seen)


async def test_parameters_inside_an_object_join_the_callers(upstream: FakeUpstream) -> None:
    """A policy's reasoning effort and verbosity join what else the caller set in the object."""
    params = {"reasoning_effort": "low", "verbosity": "high"}
    policies = {name: {"model": "small", "params": params} for name in ("alpha", "beta")}
    base = upstream.api_base
    async with live_gateway([experiment(base, policies)], [entry("small", base)]) as gateway:
        await ask(gateway, "responses", "support", reasoning={"summary": "auto", "effort": "high"})
    body = upstream.seen[-1].body
    assert body["reasoning"] == {"summary": "auto", "effort": "low"}
    assert body["text"] == {"verbosity": "high"}


@pytest.mark.parametrize("kind", ["responses", "messages"])
async def test_a_policys_parameter_without_a_place_is_refused(upstream: FakeUpstream, kind: str) -> None:
    """Without the refusal the experiment would compare other policies than the declared ones."""
    policies = {
        "alpha": {"model": "small"},
        "beta": {"model": "small", "params": {"seed": 7}},
    }
    base = upstream.api_base
    async with live_gateway([experiment(base, policies)], [entry("small", base)]) as gateway:
        reply = await ask(gateway, kind, "support")
        assert (reply.status, upstream.seen) == (400, [])
        assert "chat completions" in reply.error["message"]
        assert (await ask(gateway, "chat/completions", "support")).status == 200


@pytest.mark.parametrize("kind", ["completions", "embeddings"])
async def test_what_has_no_conversation_is_for_plain_models(gateway: Live, kind: str) -> None:
    """The refusal says what an experiment does answer."""
    reply = await ask(gateway, kind, "support")
    assert (reply.status, reply.error["param"]) == (400, "model")
    assert "chat completions, responses or messages" in reply.error["message"]


@pytest.mark.parametrize("kind", ["responses", "messages"])
async def test_two_choices_need_chat_completions(upstream: FakeUpstream, kind: str) -> None:
    """The other formats hold one answer: the incumbent gives it, and two are refused."""
    base = upstream.api_base
    side_by_side = experiment(base, collect="side_by_side")
    async with live_gateway([side_by_side], [entry("small", base), entry("large", base)]) as gateway:
        one = await ask(gateway, kind, "support")
        two = await ask(gateway, kind, "support", metadata={"llmpo_choices": "2"})
        (response_id,) = {head["id"] for head in heads(kind, one)}
        assert gateway.sealer.open(response_id) == Unassigned("support")
    assert (one.status, two.status) == (200, 400)
    assert "chat completions" in two.error["message"]
    assert [seen.body["model"] for seen in upstream.seen] == ["small"]


async def test_a_kind_of_request_outside_of_the_way_of_collecting_is_the_incumbents(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incumbent answers kinds that cannot take part, because their callers did nothing wrong."""
    monkeypatch.setitem(WAYS, "matched", replace(WAYS["matched"], surfaces=frozenset({"chat"})))
    base = upstream.api_base
    async with live_gateway([experiment(base)], [entry("small", base), entry("large", base)]) as gateway:
        for _ in range(6):
            reply = await ask(gateway, "responses", "support")
            (response_id,) = {head["id"] for head in heads("responses", reply)}
            assert gateway.sealer.open(response_id) == Unassigned("support")
    assert {seen.body["model"] for seen in upstream.seen} == {"small"}


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
async def test_experiments_cannot_continue_what_a_provider_keeps(gateway: Live, field: str) -> None:
    """The next policy's provider does not know the earlier answer; a plain model's provider does."""
    reply = await ask(gateway, "responses", "support", **{field: "x"})
    assert (reply.status, reply.error["param"]) == (400, field)
    assert (await ask(gateway, "responses", "small", **{field: "x"})).status == 200


@pytest.mark.parametrize(("kind", "model"), CASES)
async def test_the_incumbent_answers_for_a_failing_candidate(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """No caller sees the candidate's failure, and the answer belongs to no comparison."""
    for name in ("large", "claude-large"):
        upstream.on(name, status(500))
    for _ in range(8):
        assert (await ask(gateway, kind, model)).status == 200
    assert gateway.observer.fallbacks


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model"), CASES)
async def test_tokens_are_counted(gateway: Live, kind: str, model: str, stream: bool) -> None:
    """Tokens are found under each format's names, wherever a stream reports them."""
    await ask(gateway, kind, model, stream=stream)
    ((_, _, prompt, completion),) = gateway.observer.tokens
    assert (prompt, completion) == (5, 7)


async def test_metadata_serves_the_session_and_goes_no_further_than_it_may(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """Anthropic knows `user_id` there and refuses everything else."""
    await ask(gateway, "messages", "claude", metadata={"session_id": "s", "user_id": "u"})
    assert upstream.seen[-1].body["metadata"] == {"user_id": "u"}
    await ask(gateway, "messages", "claude", metadata={"session_id": "s"})
    assert "metadata" not in upstream.seen[-1].body


@pytest.mark.parametrize(
    ("kind", "model", "fields"),
    [
        ("responses", "small", {"input": [{"role": "user", "content": [PART]}]}),
        ("responses", "small", {"input": "Hi"}),
        ("messages", "claude-small", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
async def test_templates_read_the_conversation(
    upstream: FakeUpstream, kind: str, model: str, fields: dict[str, Any]
) -> None:
    """`user_message` is the last thing the user said, in any format."""
    template = PromptTemplate("t.j2", "They said {{ user_message }} in {{ messages | length }}.")
    policies = {name: {"model": model, "template": template} for name in ("alpha", "beta")}
    upstream.on(model, good())
    base = upstream.api_base
    provider = "anthropic" if kind == "messages" else "openai"
    entries = [entry(model, base, provider=provider)]
    async with live_gateway([experiment(base, policies)], entries) as gateway:
        reply = await ask(gateway, kind, "support", **fields)
    assert reply.status == 200, reply.body
    body = upstream.seen[-1].body
    assert body.get("instructions", body.get("system")) == "They said Hi in 1."
