"""Servers of any format that answer Anthropic's messages themselves, and the tokens a message would take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.config.gateway_file import GatewayConfig, ModelEntry
from gateway.config.load import load_config
from gateway.errors import ConfigError
from tests.gateway.api.surfaces.answers import TEXT, good
from tests.gateway.api.surfaces.asking import MESSAGES, ask
from tests.gateway.api.surfaces.recorded import CLAUDE_CODE
from tests.gateway.api.surfaces.test_experiments import spoken
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import Exchange, FakeUpstream, raw, status
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.whole import Whole, quick_settings, whole_gateway

PROMPT = "You are "
POLICIES = {
    name: {"model": model, "system": f"{PROMPT}{name}.", "params": {"temperature": 0.25}}
    for name, model in (("alpha", "small"), ("beta", "large"))
}
COUNT = raw(b'{"input_tokens": 42}')


def native(name: str, api_base: str, **params: Any) -> ModelEntry:
    """A model whose server answers messages."""
    return entry(name, api_base, **params).model_copy(update={"messages": "native"})


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A server that answers every kind of request."""
    async with FakeUpstream() as upstream:
        for model in ("small", "large"):
            upstream.on(model, good())
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """`small` and `large`, and an experiment of both, `support`."""
    base = upstream.api_base
    entries = [native(name, base) for name in ("small", "large")]
    async with live_gateway([experiment(base, POLICIES)], entries) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["small", "support"])
async def test_messages_are_relayed_to_a_server_that_answers_them(
    gateway: Live, upstream: FakeUpstream, model: str, stream: bool
) -> None:
    """Messages go to the server's own path with its key and the format's version; chat works as before."""
    reply = await ask(gateway, "messages", model, stream=stream)
    assert (reply.status, spoken(reply)) == (200, TEXT)
    seen = upstream.seen[-1]
    assert (seen.path, seen.headers["authorization"]) == ("/v1/messages", "Bearer sk-provider")
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert (await ask(gateway, "chat/completions", model)).status == 200
    assert upstream.seen[-1].path == "/v1/chat/completions"


async def test_every_field_reaches_such_a_server(gateway: Live, upstream: FakeUpstream) -> None:
    """Every field arrives as the client sent it."""
    reply = await ask(gateway, "messages", "small", **CLAUDE_CODE)
    assert reply.status == 200, reply.body
    assert upstream.seen[-1].body.items() >= CLAUDE_CODE.items()


async def test_a_policy_is_put_into_what_is_relayed(gateway: Live, upstream: FakeUpstream) -> None:
    """A policy's prompt comes first, its parameters win, and the answer has the experiment's name."""
    request = {**CLAUDE_CODE, "temperature": 1.0, "stream": False}
    reply = await ask(gateway, "messages", "support", **request)
    assert (reply.status, reply.json["model"]) == (200, "support")
    assert gateway.sealer.open(reply.json["id"]).experiment == "support"
    seen = upstream.seen[-1].body
    assert seen["temperature"] == 0.25
    assert seen["system"][0]["text"].startswith(PROMPT)
    assert seen["system"][1:] == CLAUDE_CODE["system"]


@pytest.mark.parametrize(
    ("provider", "address"), [("ollama", ""), ("openai", "/v1"), ("openai", "/v1/"), ("hosted_vllm", "/v1")]
)
async def test_the_address_is_found_beside_that_of_chat(
    upstream: FakeUpstream, provider: str, address: str
) -> None:
    """The address is found for every provider name, with and without the version in the address."""
    base = f"http://127.0.0.1:{upstream.port}{address}"
    async with live_gateway([], [native("small", base, provider=provider)]) as gateway:
        reply = await ask(gateway, "messages", "small")
    assert reply.status == 200, reply.body
    assert upstream.seen[-1].path == "/v1/messages"


def test_a_model_without_a_server_of_its_own_cannot_be_native(tmp_path: Path) -> None:
    """OpenAI itself has no such route; the fault says what to do."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "model_list:\n- model_name: small\n  messages: native\n  litellm_params: "
        "{model: openai/o3, api_key: sk-abcd}\n"
    )
    with pytest.raises(ConfigError, match=r"no api_base.* Give litellm_params\.api_base"):
        load_config(file, {})


@pytest.fixture
async def whole(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """The whole gateway: an experiment, a native model, a translated one, and one of Anthropic's."""
    base = upstream.api_base
    fields = config_fields(api_base=base)
    fields["experiments"]["support"]["policies"]["plain"]["system"] = "Be kind to everyone who asks."
    params = {"api_base": base, "api_key": "sk-provider"}
    fields["model_list"] += [
        {
            "model_name": "native",
            "messages": "native",
            "litellm_params": {"model": "openai/native", **params},
        },
        {"model_name": "translated", "litellm_params": {"model": "openai/translated", **params}},
        {
            "model_name": "claude",
            "litellm_params": {
                "model": "anthropic/claude",
                "api_base": f"http://127.0.0.1:{upstream.port}",
                "api_key": "sk-provider",
            },
        },
    ]
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        yield gateway


async def counted(whole: Whole, model: str, **fields: Any) -> int:
    """The answer to Anthropic's client."""
    async with anthropic.AsyncAnthropic(base_url=whole.url, api_key="any", max_retries=0) as client:
        answer = await client.messages.count_tokens(model=model, messages=MESSAGES, **fields)  # type: ignore[arg-type]
    return answer.input_tokens


@pytest.mark.parametrize("model", ["native", "claude"])
async def test_a_provider_of_the_format_counts_itself(
    whole: Whole, upstream: FakeUpstream, model: str
) -> None:
    """A provider of the format counts tokens at its own route, whatever other formats it speaks."""
    upstream.on(model, COUNT)
    assert await counted(whole, model, system="Be kind.") == 42
    seen = upstream.seen[-1]
    assert seen.path == "/v1/messages/count_tokens"
    assert (seen.body["system"], "max_tokens" in seen.body) == ("Be kind.", False)


async def test_other_models_are_estimated(whole: Whole, upstream: FakeUpstream) -> None:
    """Tokens are estimated as a quarter of all characters, tools included, without a call to any provider."""
    alone = await counted(whole, "translated")
    tool = {"name": "y" * 400, "input_schema": {}}
    longer = await counted(whole, "translated", system="x" * 400, tools=[tool])
    assert alone < 10
    assert longer == pytest.approx(alone + 200, abs=2)
    assert upstream.seen == []


@pytest.mark.parametrize("code", [404, 405, 401, 500])
async def test_a_provider_that_cannot_count_is_no_failure(
    whole: Whole, upstream: FakeUpstream, code: int
) -> None:
    """A server may answer messages and have no such route: the estimate stands in."""
    upstream.on("native", status(code))
    assert await counted(whole, "native") == await counted(whole, "translated")


async def test_what_is_wrong_with_the_request_is_told(whole: Whole, upstream: FakeUpstream) -> None:
    """The reason is the provider's or the gateway's, in Anthropic's shape."""
    upstream.on("native", status(400, "messages: roles must alternate"))
    with pytest.raises(anthropic.BadRequestError, match="must alternate"):
        await counted(whole, "native")
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        await counted(whole, "nobody")
    for wrong in ({"messages": []}, {"system": 3}, {"api_base": "x"}):
        fields = {"messages": MESSAGES, **wrong}
        reply = await whole.call("POST", "/v1/messages/count_tokens", {"model": "native", **fields})
        assert (reply.status, reply.json["type"]) == (400, "error")


async def test_an_experiment_counts_with_its_incumbents_prompt(whole: Whole) -> None:
    """The prompt takes tokens, too."""
    assert await counted(whole, "support") > await counted(whole, "plain")


async def test_the_count_stands_beside_messages(whole: Whole, upstream: FakeUpstream) -> None:
    """A behaviour that answers messages gets no count for one."""

    async def behave(exchange: Exchange) -> None:
        assert exchange.seen.path == "/v1/messages"
        await good()(exchange)

    upstream.on("native", behave)
    body = {"model": "native", "messages": MESSAGES, "max_tokens": 9}
    assert (await whole.call("POST", "/v1/messages", body)).status == 200
