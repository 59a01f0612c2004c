"""The table of providers' key variables, held against LiteLLM and the gateway's own targets."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest

from gateway.config.gateway_file import LitellmParams, ModelEntry
from gateway.errors import UpstreamError
from gateway.upstream.base import Timeouts, UpstreamRequest
from gateway.upstream.provider_needs import KEY_VARIABLES, missing_key, names_in_package
from gateway.upstream.surfaces import CHAT, EMBEDDINGS, Surface
from gateway.upstream.targets import OUR_PROVIDERS, model_target
from gateway.upstream.translating.upstream import LitellmUpstream, provider_names

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

PAIRS = [(provider, name) for provider, names in KEY_VARIABLES.items() for name in names]
EMBEDDERS = {"voyage", "jina_ai"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, name in PAIRS:
        monkeypatch.delenv(name, raising=False)


def params(provider: str, **fields: Any) -> LitellmParams:
    """An entry of that provider."""
    return LitellmParams.model_validate({"model": f"{provider}/model", **fields})


@pytest.mark.parametrize(("provider", "name"), PAIRS, ids=[f"{one}-{name}" for one, name in PAIRS])
async def test_a_provider_is_asked_with_the_key_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, provider: str, name: str
) -> None:
    """The request carries the key from any of the provider's variables."""
    monkeypatch.setenv(name, f"key-in-{name}")
    fields = {"api_base": "http://127.0.0.1:1"} if provider == "azure" else {}
    target = model_target(ModelEntry(model_name="m", litellm_params=params(provider, **fields)))
    if target.wire != "litellm":
        assert target.api_key == f"key-in-{name}"
        return
    sent: list[httpx.Request] = []

    async def keep(_client: httpx.AsyncClient, request: httpx.Request, **_options: Any) -> httpx.Response:
        sent.append(request)
        # A refusal is not tried again, as a connection that fails is by some of litellm's clients.
        return httpx.Response(
            401, json={"error": {"message": "This test asks no provider."}}, request=request
        )

    monkeypatch.setattr(httpx.AsyncClient, "send", keep)
    upstream = LitellmUpstream(Timeouts(connect=1, first_byte=20, total=20))
    surface: Surface = EMBEDDINGS if provider in EMBEDDERS else CHAT
    payload = {"input": "x"} if surface is EMBEDDINGS else {"messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(UpstreamError):
        await upstream.complete(UpstreamRequest(target, payload, surface))
    await upstream.aclose()

    assert sent
    assert f"key-in-{name}" in f"{sent[0].headers.raw} {sent[0].url}"


@pytest.mark.parametrize("provider", KEY_VARIABLES)
def test_a_key_that_is_nowhere_is_missed(provider: str) -> None:
    """The error names every variable; any of them, or a key in the entry, corrects the fault."""
    said = missing_key(params(provider), {})
    for name in KEY_VARIABLES[provider]:
        assert name in str(said)
        assert missing_key(params(provider), {name: "k"}) is None
        assert missing_key(params(provider), {name: ""}) is not None
    assert missing_key(params(provider, api_key="k"), {}) is None


@pytest.mark.parametrize("provider", ["openai", "anthropic", "mistral"])
def test_a_server_of_ones_own_may_do_without_a_key(provider: str) -> None:
    """Many servers on the operator's own machines need no key."""
    assert missing_key(params(provider, api_base="http://127.0.0.1:8000/v1"), {}) is None


def test_the_names_of_providers_are_those_litellm_has() -> None:
    """The names are read from LiteLLM's package as text, without importing it."""
    names = names_in_package()
    assert names == provider_names()
    assert OUR_PROVIDERS | KEY_VARIABLES.keys() <= names
    assert "LITELLM_LOCAL_MODEL_COST_MAP" in os.environ  # the gateway's own import, not a bare one
