"""Requests that cannot be put into the other format: the caller's mistake, which affects no one else."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import UpstreamError
from gateway.upstream.translating.calls import LIBRARY_CALLS, Library
from tests.gateway.api.surfaces.answers import good
from tests.gateway.api.surfaces.asking import ask
from tests.gateway.api.surfaces.conftest import entries
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, experiment, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

USER = {"role": "user"}
# The kind of request, a model whose provider does not speak it, and fields that cannot be translated.
MALFORMED: list[tuple[str, str, dict[str, Any]]] = [
    ("messages", "small", {"thinking": {"type": "enabled", "budget_tokens": "many"}}),
    ("messages", "small", {"thinking": {"type": "enabled"}}),
    ("messages", "small", {"tools": [7]}),
    ("chat/completions", "claude-small", {"messages": [{**USER, "content": [{"type": "image_url"}]}]}),
    ("chat/completions", "claude-small", {"messages": [{**USER, "content": [7]}]}),
    ("responses", "claude-small", {"tools": [7]}),
    ("responses", "claude-small", {"tools": ""}),
    ("responses", "claude-small", {"temperature": [None]}),
    ("completions", "claude-small", {"prompt": [7, 8]}),
    ("completions", "claude-small", {"prompt": [[7], [8]]}),
    ("completions", "claude-small", {"prompt": ["One.", "Two."]}),
    ("completions", "claude-small", {"prompt": []}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model", "fields"), MALFORMED)
async def test_what_cannot_be_translated_is_the_callers_mistake(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, fields: dict[str, Any], stream: bool
) -> None:
    """A 400, and the provider is not asked."""
    reply = await ask(gateway, kind, model, stream=stream, **fields)
    assert reply.status == 400, reply.body
    assert "cannot be translated" in reply.error["message"]
    assert not upstream.seen


async def test_malformed_requests_do_not_take_a_provider_out_of_use(gateway: Live) -> None:
    """Any number of them in a row says nothing about the provider."""
    for _ in range(8):
        await ask(gateway, "messages", "small", tools=[7])
    assert (await ask(gateway, "messages", "small")).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("params", [{"min_p": 0.1}, {"seed": 7}, {"logit_bias": {"5": 1}}])
async def test_what_a_policy_sets_and_cannot_be_translated_is_the_policys_failure(
    upstream: FakeUpstream, params: dict[str, Any], stream: bool
) -> None:
    """The incumbent answers, the failures count, and the log names the parameter; callers see nothing."""
    policies = {"alpha": {"model": "claude-small"}, "beta": {"model": "claude-large", "params": params}}
    async with live_gateway([experiment(upstream.api_base, policies)], entries(upstream)) as gateway:
        with capture_logs() as lines:
            replies = [await ask(gateway, "chat/completions", "support", stream=stream) for _ in range(12)]
    assert [reply.status for reply in replies] == [200] * 12
    assert {seen.body["model"] for seen in upstream.seen} == {"claude-small"}
    assert set(gateway.observer.failed) == {(NAME, "beta", "status_4xx")}
    (name,) = params
    assert name in next(line["detail"] for line in lines if line["event"] == "provider_failed")


async def test_what_a_caller_sends_is_told_from_what_a_policy_sets(upstream: FakeUpstream) -> None:
    """The same field: a policy that sets others only is not to blame."""
    policies = {name: {"model": "claude-small", "params": {"temperature": 0.5}} for name in ("alpha", "beta")}
    async with live_gateway([experiment(upstream.api_base, policies)], entries(upstream)) as gateway:
        for _ in range(4):
            reply = await ask(gateway, "chat/completions", "support", logit_bias={"5": 1})
            assert (reply.status, "logit_bias" in reply.error["message"]) == (400, True)
    assert (upstream.seen, gateway.observer.failed) == ([], [])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("budget", "effort"), [(1024, "low"), (2048, "medium"), (4096, "high"), (32_000, "high"), (1, "low")]
)
async def test_thinking_becomes_an_effort(
    gateway: Live, upstream: FakeUpstream, budget: int, effort: str, stream: bool
) -> None:
    """A provider of OpenAI's format is asked for a chat completion, with its own word for the budget."""
    upstream.on("small", good("I am here."))
    thinking = {"type": "enabled", "budget_tokens": budget}
    reply = await ask(gateway, "messages", "small", stream=stream, thinking=thinking)
    assert reply.status == 200, reply.body
    seen = upstream.seen[-1]
    assert (seen.path, seen.body["reasoning_effort"]) == ("/v1/chat/completions", effort)
    assert "thinking" not in seen.body


@pytest.mark.parametrize("prompt", [[7, 8], [[7], [8]], ["One.", "Two."]])
async def test_any_prompt_reaches_providers_with_completions_of_their_own(prompt: list[Any]) -> None:
    """Tokens are of their vocabulary, and each of several texts gets its choice."""
    asked: list[Any] = []

    class Root:
        async def atext_completion(self, **fields: Any) -> None:
            asked.append(fields["prompt"])

    start = LIBRARY_CALLS["completions"].start
    await start(Library(Root(), None), {"prompt": prompt}, {"model": "text-completion-openai/davinci"})
    with pytest.raises(UpstreamError):
        await start(Library(Root(), None), {"prompt": prompt}, {"model": "anthropic/claude"})
    assert asked == [prompt]
