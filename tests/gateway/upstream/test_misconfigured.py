"""Models whose provider cannot be asked, whatever the request: the operator's mistake, not the caller's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.gateway_file import ModelEntry
from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.surfaces import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Surface
from gateway.upstream.translating.upstream import LitellmUpstream
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import entry, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

HELLO = [{"role": "user", "content": "Hello?"}]
REQUESTS: dict[Surface, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    RESPONSES: {"input": "Hello?"},
    COMPLETIONS: {"prompt": "Hello?"},
    EMBEDDINGS: {"input": "Hello?"},
    MESSAGES: {"max_tokens": 7, "messages": HELLO},
}
# What LiteLLM finds no equivalent of, and what the gateway itself does not hand to it.
UNSUPPORTED = [{"messages": HELLO, "logit_bias": {"5": 1}}, {"messages": HELLO, "grammar": "root ::= [0-9]"}]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "CLOUDFLARE_API_KEY", "AZURE_API_BASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def upstream() -> AsyncIterator[LitellmUpstream]:
    """Litellm."""
    upstream = LitellmUpstream(Timeouts(connect=1, first_byte=5, total=5))
    yield upstream
    await upstream.aclose()


def target(provider: str, api_key: str | None = None, api_base: str | None = None) -> ModelTarget:
    """A model of that provider, with as much as the operator thought of."""
    return ModelTarget("m", "litellm", provider, "gemini-pro", api_base, api_key)


NOTHING_WRONG = [
    (asked, surface, is_streamed)
    for asked in (target("gemini"), target("azure_ai", "k"), target("antropic", "k"))
    for surface in REQUESTS
    for is_streamed in (False, True)
    # Embeddings are not streamed; with a key alone, litellm would ask for them somewhere.
    if surface is not EMBEDDINGS or (not is_streamed and asked.provider != "azure_ai")
]


@pytest.mark.parametrize(
    ("asked", "surface", "is_streamed"),
    NOTHING_WRONG,
    ids=lambda what: getattr(what, "provider", getattr(what, "name", what)),
)
async def test_a_request_nothing_is_wrong_with_is_not_blamed(
    upstream: LitellmUpstream, asked: ModelTarget, surface: Surface, is_streamed: bool
) -> None:
    """A key, an address or the right name of the provider is missing, so that others may stand in."""
    ask = upstream.stream if is_streamed else upstream.complete
    with pytest.raises(UpstreamError, match="operator") as failed:
        await ask(UpstreamRequest(asked, REQUESTS[surface], surface))
    assert (failed.value.status, failed.value.is_callers_fault) == (502, False)


@pytest.mark.parametrize("request_fields", UNSUPPORTED)
async def test_nor_is_one_that_has_mistakes_of_its_own(
    upstream: LitellmUpstream, request_fields: dict[str, Any]
) -> None:
    """No request could be answered; what else is wrong with this one can wait."""
    with pytest.raises(UpstreamError) as failed:
        await upstream.complete(UpstreamRequest(target("gemini"), request_fields))
    assert not failed.value.is_callers_fault


@pytest.mark.parametrize("request_fields", UNSUPPORTED)
async def test_with_nothing_missing_its_mistakes_are_the_callers(
    upstream: LitellmUpstream, request_fields: dict[str, Any]
) -> None:
    """The mistake is found without asking the provider; nothing listens at its address."""
    asked = target("gemini", "k", "http://127.0.0.1:1")
    with pytest.raises(UpstreamError) as failed:
        await upstream.complete(UpstreamRequest(asked, request_fields))
    assert (failed.value.status, failed.value.is_callers_fault) == (400, True)


async def test_a_model_that_was_changed_is_looked_at_anew(upstream: LitellmUpstream) -> None:
    """What was found out about asking it is not about the one that has its name now."""
    found = []
    for asked in (target("gemini", "k", "http://127.0.0.1:1"), target("gemini")):
        with pytest.raises(UpstreamError) as failed:
            await upstream.complete(UpstreamRequest(asked, UNSUPPORTED[0]))
        found.append(failed.value.is_callers_fault)
    assert found == [True, False]


async def test_a_kind_nobody_there_answers_is_the_callers_mistake_whatever_else_is_wrong(
    upstream: LitellmUpstream,
) -> None:
    """Litellm finds the field first that the provider has no equivalent of."""
    asked = target("anthropic", "k", "http://127.0.0.1:1")
    with pytest.raises(UpstreamError, match="kind of request") as failed:
        await upstream.complete(UpstreamRequest(asked, {"input": "Hello?", "dimensions": 1}, EMBEDDINGS))
    assert (failed.value.status, failed.value.is_callers_fault) == (400, True)


async def test_a_fallback_stands_in_for_a_model_without_its_key() -> None:
    """A model without its key counts as failing, so its fallback answers."""
    async with FakeUpstream() as provider:
        keyless = ModelEntry.model_validate(
            {
                "model_name": "keyless",
                "litellm_params": {"model": "gemini/gemini-pro"},
                "fallbacks": ["small"],
            }
        )
        async with live_gateway([], [keyless, entry("small", provider.api_base)]) as gateway:
            reply = await gateway.ask("keyless")
    assert (reply.status, reply.text) == (200, "I am small.")
