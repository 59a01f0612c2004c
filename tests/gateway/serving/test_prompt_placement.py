"""Where a policy's prompt stands beside the caller's own: in one message where a model takes one only."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.config.experiments import PolicySpec
from gateway.config.gateway_file import ModelEntry
from gateway.experiments.policies import CompiledPolicy, compile_policy
from gateway.experiments.policy_content import content_fingerprint, policy_content
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, answer
from tests.gateway.live import entry, experiment, live_gateway

USER = {"role": "user", "content": "Hello?"}
SPEC = PolicySpec.model_validate({"model": "m", "system": "Policy."})
LOCAL = {"model": "openai/qwen", "api_base": "http://vllm:8000/v1"}
OPENAI = {"model": "openai/gpt"}


def model(params: dict[str, Any], merge_system: str = "auto") -> ModelEntry:
    """A model of the file."""
    return ModelEntry.model_validate(
        {"model_name": "m", "litellm_params": params, "merge_system": merge_system}
    )


def sent(policy: CompiledPolicy, *messages: Any) -> list[Any]:
    """The messages it sends for a caller's."""
    found: list[Any] = policy.render({"messages": list(messages)})["messages"]
    return found


@pytest.mark.parametrize(
    ("params", "merges"),
    [
        (LOCAL, True),
        ({"model": "hosted_vllm/qwen", "api_base": "http://vllm:8000/v1"}, True),
        ({"model": "ollama/qwen"}, True),
        ({"model": "mistral/large"}, True),
        (OPENAI, False),
        ({"model": "openai/gpt", "api_base": "https://api.openai.com/v1"}, False),
        ({"model": "openai/gpt", "api_base": "https://me.openai.azure.com/openai/v1"}, False),
        ({"model": "openai/gpt", "api_base": "https://openai.com.example/v1"}, True),
        ({"model": "azure/gpt", "api_base": "https://me.openai.azure.com"}, False),
        ({"model": "anthropic/claude"}, False),
        ({"model": "gemini/gemini"}, False),
        ({"model": "bedrock/claude"}, False),
    ],
)
def test_prompts_are_merged_where_a_template_may_take_one_only(params: dict[str, Any], merges: bool) -> None:
    """Prompts are merged by default, and the file can override this."""
    assert model(params).merges_system is merges
    assert model(params, "always").merges_system
    assert not model(params, "never").merges_system


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_merged_prompt_is_one_leading_message(role: str) -> None:
    """The policy's text first, then the caller's in their order; what comes later stays where it is."""
    policy = compile_policy("p", SPEC, model(LOCAL))
    first, second = {"role": role, "content": "Caller."}, {"role": "system", "content": "Again."}
    late = {"role": "system", "content": "Late."}
    assert sent(policy, first, second, USER, late) == [
        {"role": "system", "content": "Policy.\n\nCaller.\n\nAgain."},
        USER,
        late,
    ]
    assert sent(policy, USER) == [{"role": "system", "content": "Policy."}, USER]


def test_parts_stay_parts() -> None:
    """What is marked for a cache, say, keeps its mark."""
    policy = compile_policy("p", SPEC, model(LOCAL))
    part = {"type": "text", "text": "Caller.", "cache_control": {"type": "ephemeral"}}
    message = sent(policy, {"role": "system", "content": [part]}, USER)[0]
    assert message == {"role": "system", "content": [{"type": "text", "text": "Policy."}, part]}


def test_elsewhere_the_prompt_has_a_message_of_its_own_in_the_callers_role() -> None:
    """OpenAI takes several messages, but not a system message beside a developer message."""
    policy = compile_policy("p", SPEC, model(OPENAI))
    for role in ("system", "developer"):
        caller = {"role": role, "content": "Caller."}
        assert sent(policy, caller, USER) == [{"role": role, "content": "Policy."}, caller, USER]
        assert policy.put_to({"messages": [caller, USER]})[1].is_beside_system
    assert not policy.put_to({"messages": [USER, {"role": "system", "content": "Late."}]})[1].is_beside_system


def test_a_responses_first_items_go_into_its_instructions() -> None:
    """Servers that answer responses by a template get one system message too."""
    item = {"role": "developer", "content": [{"type": "input_text", "text": "Caller."}]}
    body = {"instructions": "Given.", "input": [item, USER]}
    merged = compile_policy("p", SPEC, model(LOCAL)).render(body, "responses")
    assert merged == {"instructions": "Policy.\n\nGiven.\n\nCaller.", "input": [USER]}
    apart = compile_policy("p", SPEC, model(OPENAI)).render(body, "responses")
    assert apart == {"instructions": "Policy.\n\nGiven.", "input": [item, USER]}


def test_only_a_policy_that_sends_something_else_is_another_policy() -> None:
    """One without a prompt sends the same either way."""
    bare = PolicySpec.model_validate({"model": "m"})
    for spec, differs in ((SPEC, True), (bare, False)):
        prints = {
            content_fingerprint(policy_content(spec, model(LOCAL, word))) for word in ("always", "never")
        }
        assert (len(prints) == 2) is differs


def strict() -> Behaviour:
    """A server whose template takes one system message, at the beginning."""

    async def behave(exchange: Exchange) -> None:
        roles = [message["role"] for message in exchange.seen.body["messages"]]
        if set(roles[1:]) & {"system", "developer"}:
            error = {"message": "System message must be at the beginning.", "type": "BadRequestError"}
            await exchange.whole(json.dumps({"error": error}).encode(), code=400)
        else:
            await answer()(exchange)

    return behave


CALLERS: list[Any] = [{"role": "system", "content": "Mine."}, USER]


@pytest.mark.parametrize("merges", [True, False], ids=["merged", "apart"])
async def test_a_prompt_in_the_wrong_place_counts_against_the_policy(merges: bool) -> None:
    """Merged, it is in none; apart, no caller hears of it as their mistake, and the policy is ejected."""
    async with FakeUpstream() as upstream:
        upstream.on("large", strict())
        base = upstream.api_base
        live = experiment(base)
        live = replace(live, policies=tuple(replace(one, merges_system=merges) for one in live.policies))
        async with live_gateway([live], [entry("small", base), entry("large", base)]) as gateway:
            replies = [await gateway.ask(NAME, messages=CALLERS) for _ in range(40)]
    assert {reply.status for reply in replies} == {200}
    failed = {(policy, reason) for _, policy, reason in gateway.observer.failed if reason != "ejected"}
    assert failed == (set() if merges else {("beta", "status_4xx")})
    assert bool(gateway.observer.ejected) is not merges


async def test_with_nobody_to_stand_in_it_is_a_bad_gateway() -> None:
    """The incumbent's own prompt is no mistake of the caller's, either."""
    async with FakeUpstream() as upstream:
        upstream.on("small", strict())
        base = upstream.api_base
        live = experiment(base, share=0.0)
        live = replace(live, policies=tuple(replace(one, merges_system=False) for one in live.policies))
        async with live_gateway([live], [entry("small", base), entry("large", base)]) as gateway:
            reply = await gateway.ask(NAME, messages=CALLERS)
    assert reply.status == 502
    assert "System message" not in reply.body.decode()
