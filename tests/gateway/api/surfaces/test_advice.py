"""Fields that advise, that shape the answer, and that say nothing, where a request is translated."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.api.surfaces.answers import good
from tests.gateway.api.surfaces.asking import ask
from tests.gateway.api.surfaces.recorded import CLAUDE_CODE, CODEX, TOOL_RUNNER
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

SAID = "I am here."
# Each program's requests, the path they go to, and the fields of Anthropic's or OpenAI's format in them.
PROGRAMS: list[tuple[str, str, dict[str, Any]]] = [
    ("codex", "responses", CODEX),
    ("claude-code", "messages", CLAUDE_CODE),
    ("tool-runner", "messages", TOOL_RUNNER),
]
IDS = [name for name, _, _ in PROGRAMS]
# Where requests are translated: the kind, the model, and what the format of its provider has besides.
TRANSLATED = [
    ("chat/completions", "claude-small"),
    ("responses", "claude-small"),
    ("completions", "claude-small"),
    ("messages", "small"),
]
ADVICE: dict[str, Any] = {
    "client_metadata": {"turn": "1"},
    "prompt_cache_key": "abc",
    "prompt_cache_retention": "24h",
    "service_tier": "auto",
    "store": False,
    "unheard_of": {"deep": [1]},
    "enable_thinking": True,
    "cache_prompt": True,
}


@pytest.fixture(autouse=True)
def plain_answers(upstream: FakeUpstream) -> None:
    """Answers without oddities."""
    for model in ("small", "large", "claude-small", "claude-large"):
        upstream.on(model, good(SAID))


@pytest.mark.parametrize(("_name", "kind", "request_"), PROGRAMS, ids=IDS)
@pytest.mark.parametrize("model", ["small", "claude-small", "support", "claude"])
async def test_what_agents_send_is_answered_by_every_model(
    gateway: Live, upstream: FakeUpstream, _name: str, kind: str, request_: dict[str, Any], model: str
) -> None:
    """Plain or an experiment, relayed or translated; nothing but the provider is asked, and once."""
    reply = await ask(gateway, kind, model, **request_)
    assert reply.status == 200, reply.body
    assert b"here." in reply.body
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(("_name", "kind", "request_"), PROGRAMS, ids=IDS)
async def test_what_agents_send_is_relayed_as_it_is(
    gateway: Live, upstream: FakeUpstream, _name: str, kind: str, request_: dict[str, Any]
) -> None:
    """Every field reaches a provider of the format."""
    model = "small" if kind == "responses" else "claude-small"
    assert (await ask(gateway, kind, model, **request_)).status == 200
    assert upstream.seen[-1].body.items() >= request_.items()


@pytest.mark.parametrize("kind_and_policies", [("responses", "claude"), ("messages", "support")])
async def test_a_policys_prompt_comes_before_an_agents(
    gateway: Live, upstream: FakeUpstream, kind_and_policies: tuple[str, str]
) -> None:
    """The agent's own instructions and its tools are still there, where they are translated, too."""
    kind, name = kind_and_policies
    request = CODEX if kind == "responses" else CLAUDE_CODE
    assert (await ask(gateway, kind, name, **request)).status == 200
    seen = upstream.seen[-1].body
    told = str(seen.get("system") or [one for one in seen["messages"] if one["role"] == "system"])
    assert "You are alpha." in told or "You are beta." in told
    own = "You are a coding agent." if kind == "responses" else "You are a Claude agent."
    assert told.index("You are ") < told.index(own)
    tools = [(tool.get("function") or tool)["name"] for tool in seen["tools"]]
    assert {"responses": "exec_command", "messages": "Bash"}[kind] in tools
    assert "4711" in str(seen["messages"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "model"), TRANSLATED)
async def test_advice_is_left_out_where_it_means_nothing(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str, stream: bool
) -> None:
    """Known to some format or to none: the answer is right without it, and the provider is not told."""
    reply = await ask(gateway, kind, model, stream=stream, **ADVICE)
    assert reply.status == 200, reply.body
    assert not upstream.seen[-1].body.keys() & ADVICE.keys()


@pytest.mark.parametrize(("kind", "model"), TRANSLATED)
async def test_what_shapes_the_answer_is_refused_by_name(
    gateway: Live, upstream: FakeUpstream, kind: str, model: str
) -> None:
    """A caller who asks for another answer does not silently get this one."""
    shaping = {"messages": {"mcp_servers": [{"type": "url", "name": "x", "url": "https://x"}]}}
    (name, value), *_ = shaping.get(kind, {"guided_json": {"type": "object"}}).items()
    reply = await ask(gateway, kind, model, **{name: value})
    assert (reply.status, upstream.seen) == (400, [])
    assert repr(name) in reply.error["message"]


@pytest.mark.parametrize("kind", ["chat/completions", "completions"])
async def test_defaults_say_nothing(gateway: Live, upstream: FakeUpstream, kind: str) -> None:
    """Clients send them along; a provider whose format lacks them is asked nevertheless."""
    said = {"n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "stop": [], "min_p": 0}
    reply = await ask(gateway, kind, "claude-small", **said, guided_json=None, ignore_eos=False)
    assert reply.status == 200, reply.body
    refused = await ask(gateway, kind, "claude-small", **{**said, "frequency_penalty": 0.5})
    assert (refused.status, len(upstream.seen)) == (400, 1)


async def test_hints_reach_providers_that_take_them(upstream: FakeUpstream) -> None:
    """Effort in each format's words, for a model that is known to think, and for no other."""
    upstream.on("o3-mini", good(SAID))
    thinker = entry("o3-mini", upstream.api_base)
    async with live_gateway([], [thinker, entry("small", upstream.api_base)]) as gateway:
        for model, effort in (("o3-mini", "high"), ("small", None)):
            reply = await ask(gateway, "messages", model, output_config={"effort": "max"})
            assert reply.status == 200, reply.body
            assert upstream.seen[-1].body.get("reasoning_effort") == effort
            assert "output_config" not in upstream.seen[-1].body


async def test_a_format_of_answers_is_translated(gateway: Live, upstream: FakeUpstream) -> None:
    """Either field in which Anthropic's clients send the format is translated."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "schema": schema}
    for fields in ({"output_format": wanted}, {"output_config": {"format": wanted, "effort": "low"}}):
        reply = await ask(gateway, "messages", "small", **fields)
        assert reply.status == 200, reply.body
        assert upstream.seen[-1].body["response_format"]["type"] == "json_schema"


async def test_a_users_name_is_passed_where_it_fits(upstream: FakeUpstream) -> None:
    """OpenAI takes 64 characters; a longer one is of no use to it."""
    upstream.on("gpt-4o", good(SAID))
    async with live_gateway([], [entry("gpt-4o", upstream.api_base)]) as gateway:
        for length, passed in ((64, "u" * 64), (65, None)):
            reply = await ask(gateway, "messages", "gpt-4o", metadata={"user_id": "u" * length})
            assert reply.status == 200, reply.body
            assert upstream.seen[-1].body.get("user") == passed


async def test_a_policys_own_parameters_are_never_left_out(upstream: FakeUpstream) -> None:
    """A policy whose model does not take them fails, instead of being compared as another one."""
    base = f"http://127.0.0.1:{upstream.port}"
    policies = {
        "alpha": {"model": "claude-small"},
        "beta": {"model": "claude-large", "params": {"verbosity": "low"}},
    }
    models = [entry(name, base, provider="anthropic") for name in ("claude-small", "claude-large")]
    async with live_gateway([experiment(base, policies)], models) as gateway:
        replies = [await gateway.ask(verbosity="high") for _ in range(8)]
        assert [reply.status for reply in replies] == [200] * 8
    assert {seen.body["model"] for seen in upstream.seen} == {"claude-small"}
    assert {policy for _, policy, _ in gateway.observer.failed} == {"beta"}
