"""From `model_list` to an address and a wire format."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.gateway_file import ModelEntry
from gateway.upstream.base import ModelTarget
from gateway.upstream.targets import model_target, model_targets

ENVIRON = {"OPENAI_API_KEY": "sk-env"}


def target(**params: Any) -> ModelTarget:
    """The target of an entry with these parameters."""
    return model_target(_entry("m", **params), ENVIRON)


def _entry(name: str, **params: Any) -> ModelEntry:
    return ModelEntry.model_validate({"model_name": name, "litellm_params": params})


def test_openai_itself_is_relayed() -> None:
    """OpenAI gets the key of the environment if the entry has none."""
    openai = target(model="openai/gpt-4o-mini")
    assert (openai.wire, openai.model, openai.api_base) == (
        "openai",
        "gpt-4o-mini",
        "https://api.openai.com/v1",
    )
    assert openai.api_key == "sk-env"
    assert target(model="openai/gpt-4o-mini", api_key="sk-own").api_key == "sk-own"


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm", "openai_like", "custom_openai", "lm_studio"])
def test_servers_of_the_openai_format_are_relayed(provider: str) -> None:
    """They are asked at their own address and never with OpenAI's key."""
    server = target(model=f"{provider}/org/name", api_base="http://vllm:8000/v1/")
    assert (server.wire, server.model, server.api_base) == ("openai", "org/name", "http://vllm:8000/v1")
    assert server.api_key is None


def test_every_other_provider_goes_through_litellm() -> None:
    """LiteLLM gets the full model name and the operator's further arguments."""
    azure = target(model="azure/gpt", api_base="https://x.example", api_key="sk-a", api_version="2025-01-01")
    assert (azure.wire, azure.provider, azure.model, azure.api_key) == ("litellm", "azure", "gpt", "sk-a")
    assert dict(azure.options) == {"api_version": "2025-01-01"}
    assert target(model="gemini/x", timeout=30).timeout_seconds == 30


def test_anthropic_is_relayed_in_its_own_format() -> None:
    """It is relayed at any address, written with or without the path."""
    claude = target(model="anthropic/claude-x", api_key="sk-a")
    assert (claude.wire, claude.model, claude.api_key) == ("anthropic", "claude-x", "sk-a")
    assert claude.api_base == "https://api.anthropic.com"
    for address in ("http://x:1", "http://x:1/", "http://x:1/v1", "http://x:1/v1/messages"):
        own = target(model="anthropic/y", api_base=address)
        assert (own.wire, own.api_base, own.api_key) == ("anthropic", "http://x:1", None)


def test_a_server_without_an_address_is_left_to_litellm() -> None:
    """LiteLLM may know the address of such a server."""
    assert target(model="hosted_vllm/x").wire == "litellm"


def test_headers_and_organization_are_sent() -> None:
    """The organization and further headers are sent as OpenAI reads them."""
    headers = target(model="openai/x", organization="org-1", extra_headers={"x-a": "b"}).headers
    assert headers == {"x-a": "b", "OpenAI-Organization": "org-1"}


def test_secrets_do_not_show() -> None:
    """A target that ends up in a log tells no key."""
    assert "sk-own" not in repr(target(model="openai/x", api_key="sk-own", extra_headers={"x": "sk-own"}))


def test_all_models_by_name() -> None:
    """The targets have the names that the snapshot holds."""
    assert list(model_targets([_entry("a", model="openai/x"), _entry("b", model="openai/y")], {})) == [
        "a",
        "b",
    ]
